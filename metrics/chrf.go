package metrics

import (
	"fmt"
	"strings"

	"github.com/evalrun/evalrun/core"
	"github.com/evalrun/evalrun/core/text"
)

// chrfFactory makes chrF as sacrebleu computes it (Popović 2015), 0 … 100: the
// F-measure with β = 2 of the mean precision and the mean recall of runs of 1 to
// 6 characters, without white space; word_order 2 adds runs of words (chrF++).
// Sums are over all items; of several references the one with the best F counts.
func chrfFactory() Factory {
	return Factory{Name: "chrf", Summary: "corpus chrF as sacrebleu computes it, 0 to 100", Params: []string{"char_order", "word_order", "beta", "lowercase"},
		make: func(spec core.MetricSpec, profile core.Profile) (core.Metric, error) {
			chars, err := intParam(spec.Params, "char_order", 6, 1, 12)
			if err != nil {
				return nil, err
			}
			words, err := intParam(spec.Params, "word_order", 0, 0, 6)
			if err != nil {
				return nil, err
			}
			beta, err := intParam(spec.Params, "beta", 2, 1, 10)
			if err != nil {
				return nil, err
			}
			lower, err := boolParam(spec.Params, "lowercase")
			if err != nil {
				return nil, err
			}
			cut := func(s string) chrfText {
				if lower {
					s = text.Lower(s)
				}
				return newChrfText(s, words > 0)
			}
			info := core.MetricInfo{Name: "chrf", Profile: profile, Low: 0, High: 100, HigherIsBetter: true, Parts: chrfParts(chars, words)}
			return &corpusMetric{info, func(it *core.Item) []float64 {
				answer := cut(it.Text)
				var best []float64
				bestF := -1.0
				for _, t := range it.Targets {
					sums := chrfSums(answer, cut(t), chars, words)
					if f := chrf(sums, beta); f > bestF {
						best, bestF = sums, f
					}
				}
				return best
			}, func(sums []float64, _ bool) float64 { return chrf(sums, beta) }}, nil
		}}
}

// chrfParts names the sums.
func chrfParts(chars, words int) (names []string) {
	for n := range chars + words {
		unit, order := "characters", n+1
		if n >= chars {
			unit, order = "words", n-chars+1
		}
		for _, what := range []string{"answer", "reference", "common"} {
			names = append(names, fmt.Sprintf("%s_%s_%d", what, unit, order))
		}
	}
	return names
}

// chrfText is a text cut for chrF: its characters without white space, and its
// words with the punctuation at an end apart.
type chrfText struct {
	runes []rune
	words []string
}

func newChrfText(s string, words bool) chrfText {
	fields := text.Split(s)
	t := chrfText{runes: []rune(strings.Join(fields, ""))}
	if !words {
		return t
	}
	for _, w := range fields {
		r := []rune(w)
		first, last := string(r[:1]), string(r[len(r)-1:])
		switch {
		case len(r) == 1:
			t.words = append(t.words, w)
		case strings.Contains(punctuation, last):
			t.words = append(t.words, string(r[:len(r)-1]), last)
		case strings.Contains(punctuation, first):
			t.words = append(t.words, first, string(r[1:]))
		default:
			t.words = append(t.words, w)
		}
	}
	return t
}

// chrfSums gives, for each order, first of characters, then of words, the runs of
// the answer (none where the reference has none), those of the reference, and
// those in common.
func chrfSums(answer, reference chrfText, chars, words int) []float64 {
	sums := make([]float64, 0, 3*(chars+words))
	for n := 1; n <= chars; n++ {
		run := func(t chrfText) func(i int) string { return func(i int) string { return string(t.runes[i : i+n]) } }
		sums = append(sums, common(len(answer.runes)-n+1, len(reference.runes)-n+1, run(answer), run(reference))...)
	}
	for n := 1; n <= words; n++ {
		run := func(t chrfText) func(i int) string {
			return func(i int) string { return strings.Join(t.words[i:i+n], " ") }
		}
		sums = append(sums, common(len(answer.words)-n+1, len(reference.words)-n+1, run(answer), run(reference))...)
	}
	return sums
}

// common counts runs; only those of the reference are kept, since an answer may
// be very long.
func common(given, wanted int, answer, reference func(i int) string) []float64 {
	if given, wanted = max(given, 0), max(wanted, 0); wanted == 0 {
		return []float64{0, 0, 0}
	}
	left := make(map[string]int, wanted)
	for i := range wanted {
		left[reference(i)]++
	}
	same := 0
	for i := range given {
		if run := answer(i); left[run] > 0 {
			left[run]--
			same++
		}
	}
	return []float64{float64(given), float64(wanted), float64(same)}
}

// chrf combines sums; orders that either side has no run of are left out.
func chrf(sums []float64, beta int) float64 {
	precision, recall, orders := 0.0, 0.0, 0.0
	for i := 0; i < len(sums); i += 3 {
		if sums[i] > 0 && sums[i+1] > 0 {
			precision += sums[i+2] / sums[i]
			recall += sums[i+2] / sums[i+1]
			orders++
		}
	}
	if precision+recall == 0 {
		return 0
	}
	precision, recall = precision/orders, recall/orders
	f := float64(beta * beta)
	return 100 * (1 + f) * precision * recall / (f*precision + recall)
}
