package metrics

import (
	"fmt"
	"math"
	"strings"

	"github.com/evalrun/evalrun/core"
	"github.com/evalrun/evalrun/core/text"
)

const bleuOrder = 4

// bleuFactory makes BLEU as sacrebleu computes it (Papineni et al. 2002; Post
// 2018), 0 … 100: the geometric mean of the precisions of runs of 1 to 4 words,
// each clipped to the reference that has it most often, times exp(1 − r/c) where
// the answers' c words are fewer than the r of the references closest in length.
// Sums are over all items; a precision without hits is smoothed (exp: half of
// the last such one). An item's own score leaves out the orders that it is too
// short for (effective order).
func bleuFactory() Factory {
	return Factory{Name: "bleu", Summary: "corpus BLEU as sacrebleu computes it, 0 to 100", Params: []string{"tokenize", "smooth", "lowercase"},
		make: func(spec core.MetricSpec, profile core.Profile) (core.Metric, error) {
			tokenize, err := choiceParam(spec.Params, "tokenize", "13a", "none", "char")
			if err != nil {
				return nil, err
			}
			smooth, err := choiceParam(spec.Params, "smooth", "exp", "none", "floor", "add-k")
			if err != nil {
				return nil, err
			}
			lower, err := boolParam(spec.Params, "lowercase")
			if err != nil {
				return nil, err
			}
			words := func(s string) []string {
				if lower {
					s = text.Lower(s)
				}
				s = text.RStrip(s)
				switch tokenize {
				case "none":
					return text.Split(s)
				case "char":
					return text.Split(strings.Join(strings.Split(s, ""), " "))
				}
				return tokens13a(s)
			}
			info := core.MetricInfo{Name: "bleu", Profile: profile, Low: 0, High: 100, HigherIsBetter: true, Parts: bleuParts()}
			return &corpusMetric{info,
				func(it *core.Item) []float64 { return bleuSums(words(it.Text), it.Targets, words) },
				func(sums []float64, item bool) float64 { return bleu(sums, smooth, item) },
			}, nil
		}}
}

// bleuParts names the sums.
func bleuParts() []string {
	names := []string{"words", "reference_words"}
	for _, what := range []string{"hits", "runs"} {
		for n := 1; n <= bleuOrder; n++ {
			names = append(names, fmt.Sprintf("%s_%d", what, n))
		}
	}
	return names
}

// bleuSums gives the lengths of answer and closest reference, then the clipped
// hits and the runs of the answer for each order.
func bleuSums(answer []string, targets []string, words func(string) []string) []float64 {
	sums := make([]float64, 2+2*bleuOrder)
	most := map[wordRun]int{} // of each run in any one reference
	closest := -1
	for _, t := range targets {
		reference := words(t)
		n := len(reference)
		before, now := abs(closest-len(answer)), abs(n-len(answer))
		if closest < 0 || now < before || now == before && n < closest {
			closest = n
		}
		for run, c := range runs(reference, nil) {
			most[run] = max(most[run], c)
		}
	}
	sums[0], sums[1] = float64(len(answer)), float64(closest)
	for run, c := range runs(answer, most) {
		sums[2+run.order()] += float64(min(c, most[run]))
	}
	for n := range bleuOrder {
		sums[2+bleuOrder+n] = float64(max(0, len(answer)-n))
	}
	return sums
}

func abs(n int) int {
	if n < 0 {
		return -n
	}
	return n
}

// A wordRun is up to bleuOrder words; behind the last one stand empty texts,
// which no word is.
type wordRun [bleuOrder]string

// order is the number of words less one.
func (r wordRun) order() int {
	n := 0
	for n < bleuOrder-1 && r[n+1] != "" {
		n++
	}
	return n
}

// runs counts the runs of 1 to bleuOrder words; of those in known alone, unless
// that is nil: an answer may be very long, a reference hardly.
func runs(words []string, known map[wordRun]int) map[wordRun]int {
	counts := map[wordRun]int{}
	for i := range words {
		var run wordRun
		for n := 0; n < bleuOrder && i+n < len(words); n++ {
			run[n] = words[i+n]
			if known != nil && known[run] == 0 {
				break // nor are the longer ones
			}
			counts[run]++
		}
	}
	return counts
}

// bleu combines sums; item turns the effective order on.
func bleu(sums []float64, smooth string, item bool) float64 {
	answer, reference := sums[0], sums[1]
	hits, all := sums[2:2+bleuOrder], sums[2+bleuOrder:]
	penalty := 1.0
	switch {
	case answer == 0:
		penalty = 0
	case answer < reference:
		penalty = math.Exp(1 - reference/answer)
	}
	any := false
	for _, h := range hits {
		any = any || h > 0
	}
	if !any {
		return 0
	}
	var precisions [bleuOrder]float64
	orders, halving := bleuOrder, 1.0
	for n := range bleuOrder {
		hit, total := hits[n], all[n]
		if smooth == "add-k" && n > 0 {
			hit, total = hit+1, total+1
		}
		if total == 0 {
			break
		}
		if item {
			orders = n + 1
		}
		switch {
		case hit > 0:
			precisions[n] = 100 * hit / total
		case smooth == "exp":
			halving *= 2
			precisions[n] = 100 / (halving * total)
		case smooth == "floor":
			precisions[n] = 100 * 0.1 / total
		}
	}
	sum := 0.0
	for _, p := range precisions[:orders] {
		if p == 0 {
			return 0 // sacrebleu takes −9999999999 for log 0
		}
		sum += math.Log(p)
	}
	return min(100, penalty*math.Exp(sum/float64(orders))) // rounding may pass it
}

// tokens13a cuts a line as mteval-v13a does: punctuation is a token, periods
// and commas only where no digit stands on both sides, a dash behind a digit.
func tokens13a(s string) []string {
	s = strings.ReplaceAll(s, "<skipped>", "")
	s = strings.ReplaceAll(s, "-\n", "")
	s = strings.ReplaceAll(s, "\n", " ")
	if strings.Contains(s, "&") {
		for _, e := range [][2]string{{"&quot;", `"`}, {"&amp;", "&"}, {"&lt;", "<"}, {"&gt;", ">"}} {
			s = strings.ReplaceAll(s, e[0], e[1])
		}
	}
	var b strings.Builder
	for _, r := range " " + s + " " {
		if r >= '{' && r <= '~' || r >= '[' && r <= '`' || r >= ' ' && r <= '&' || r >= '(' && r <= '+' || r >= ':' && r <= '@' || r == '/' {
			b.WriteByte(' ')
			b.WriteRune(r)
			b.WriteByte(' ')
		} else {
			b.WriteRune(r)
		}
	}
	isDigit := func(r rune) bool { return r >= '0' && r <= '9' }
	stop := func(r rune) bool { return r == '.' || r == ',' }
	// Three substitutions of pairs of characters, each from left to right and
	// without overlap, as re.sub does.
	runes := pairs([]rune(b.String()), func(x, y rune) bool { return !isDigit(x) && stop(y) }, "x y ")
	runes = pairs(runes, func(x, y rune) bool { return stop(x) && !isDigit(y) }, " x y")
	runes = pairs(runes, func(x, y rune) bool { return isDigit(x) && y == '-' }, "x y ")
	return text.Split(string(runes))
}

// pairs replaces pairs of neighbours; x and y stand for them in form.
func pairs(in []rune, take func(x, y rune) bool, form string) []rune {
	out := make([]rune, 0, len(in)+len(in)/4)
	for i := 0; i < len(in); i++ {
		if i+1 == len(in) || !take(in[i], in[i+1]) {
			out = append(out, in[i])
			continue
		}
		for _, f := range form {
			switch f {
			case 'x':
				f = in[i]
			case 'y':
				f = in[i+1]
			}
			out = append(out, f)
		}
		i++
	}
	return out
}
