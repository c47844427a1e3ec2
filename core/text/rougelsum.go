package text

import "strings"

// Lsum scores texts cut into sentences (rougeLsum): for each reference sentence
// the words of the union of its longest common subsequences with every sentence
// of the prediction count, each word at most as often as both texts have it.
// How a text is cut is the caller's matter and makes the difference between
// packages: rouge_score cuts at "\n" (see Lines), torchmetrics with NLTK's
// punkt.
func (r *Rouge) Lsum(prediction, reference []string) PRF {
	t := &r.table
	t.reset()
	t.stem, t.unicode = r.Variant == GoogleStem, r.Unicode
	var left []int32 // how often the reference still has each token
	wanted := make([][]int32, len(reference))
	total := 0
	for i, sentence := range reference {
		t.scan(sentence, func(start, end int, hash uint32) {
			id := t.intern(start, end, hash)
			for int(id) >= len(left) {
				left = append(left, 0)
			}
			left[id]++
			wanted[i] = append(wanted[i], id)
			total++
		})
	}
	given := make([]int32, len(left)) // how often the prediction has them
	predicted := make([][]int32, len(prediction))
	answered := 0
	for i, sentence := range prediction {
		t.scan(sentence, func(start, end int, hash uint32) {
			id := t.find(start, end, hash)
			if id >= 0 {
				given[id]++
			}
			predicted[i] = append(predicted[i], id)
			answered++
		})
	}
	hits := 0
	var table []int32
	for _, sentence := range wanted {
		common := make([]bool, len(sentence))
		for _, other := range predicted {
			table = markCommon(common, sentence, other, table)
		}
		for i, id := range sentence {
			if common[i] && left[id] > 0 && given[id] > 0 {
				left[id]--
				given[id]--
				hits++
			}
		}
	}
	return NewPRF(hits, answered, total)
}

// markCommon marks the positions of a that its longest common subsequence with
// b uses. Where there are several, the walk back through the table decides as
// it does in rouge_score and torchmetrics: from the ends, a match is taken, and
// otherwise b is shortened only if that loses less than shortening a.
func markCommon(common []bool, a, b, table []int32) []int32 {
	width := len(b) + 1
	if need := (len(a) + 1) * width; cap(table) < need {
		table = make([]int32, need)
	} else {
		table = table[:need]
		clear(table)
	}
	for i, x := range a {
		above, row := table[i*width:(i+1)*width], table[(i+1)*width:(i+2)*width]
		for j, y := range b {
			if x == y {
				row[j+1] = above[j] + 1
			} else {
				row[j+1] = max(above[j+1], row[j])
			}
		}
	}
	for i, j := len(a), len(b); i > 0 && j > 0; {
		switch {
		case a[i-1] == b[j-1]:
			common[i-1] = true
			i--
			j--
		case table[i*width+j-1] > table[(i-1)*width+j]:
			j--
		default:
			i--
		}
	}
	return table
}

// Lines cuts a text as rouge_score does for rougeLsum: at "\n", without empty
// lines.
func Lines(s string) []string {
	var lines []string
	for line := range strings.SplitSeq(s, "\n") {
		if line != "" {
			lines = append(lines, line)
		}
	}
	return lines
}
