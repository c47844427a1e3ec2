package metrics

import (
	"fmt"
	"math"
	"slices"
	"unicode/utf8"

	"github.com/evalrun/evalrun/core"
	"github.com/evalrun/evalrun/core/prompt"
	"github.com/evalrun/evalrun/core/text"
)

// The log-likelihood metrics are those of lm-evaluation-harness. A choice's
// log-likelihood is that of the delimiter and the choice after the prompt; its
// length is that of the choice alone.
func likelihoodMetrics() []Factory {
	return []Factory{
		choiceFactory("acc", "the right choice is the likeliest", func(ll float64, _ string) float64 { return ll }),
		choiceFactory("acc_norm", "the same, each log-likelihood divided by the characters of the choice", func(ll float64, choice string) float64 { return ll / float64(utf8.RuneCountInString(choice)) }),
		choiceFactory("acc_bytes", "the same, divided by the bytes of the choice", func(ll float64, choice string) float64 { return ll / float64(len(choice)) }),
		mutualInfoFactory(),
		brierFactory(),
		greedyFactory(),
		perplexityFactory(),
		rollingFactory("word_perplexity", "perplexity of whole texts, by words", textWords, perplexityOf),
		rollingFactory("byte_perplexity", "perplexity of whole texts, by bytes", textBytes, perplexityOf),
		rollingFactory("bits_per_byte", "negative log-likelihood of whole texts in bits, by bytes", textBytes, bitsOf),
	}
}

// scored makes a metric on log-likelihoods; score gets no item without one for
// each choice.
func scored(info core.MetricInfo, score func(*core.Item) core.Score) core.Metric {
	return &itemMetric{info, func(it *core.Item) core.Score {
		if len(it.Choices) == 0 {
			return core.Score{Skipped: "the row brings no choices"}
		}
		if len(it.Scores) != len(it.Choices) {
			return core.Score{Skipped: fmt.Sprintf("the backend gave %d log-likelihoods for %d choices", len(it.Scores), len(it.Choices))}
		}
		return score(it)
	}}
}

// goldWarning speaks of a row that no answer can get right.
const goldWarning = "the target is none of the choices"

// judgeChoice is the verdict on the choice at place best.
func judgeChoice(it *core.Item, best int) core.Score {
	if best < 0 {
		return failed("no log-likelihood is a number")
	}
	s := hit(it.Choices[best], slices.Contains(it.Gold, best))
	if slices.Contains(it.Gold, -1) || len(it.Gold) == 0 {
		s.Warning = goldWarning
	}
	return s
}

// likeliest is the place of the highest value, the first of equals; -1 where
// none is a number.
func likeliest(values []float64) int {
	best := -1
	for i, v := range values {
		if !math.IsNaN(v) && (best < 0 || v > values[best]) {
			best = i
		}
	}
	return best
}

func accuracyInfo(name string, profile core.Profile, needs ...string) core.MetricInfo {
	return core.MetricInfo{Name: name, Profile: profile, Low: 0, High: 1, HigherIsBetter: true, Binary: true, Needs: append([]string{"scores"}, needs...)}
}

func choiceFactory(name, summary string, value func(ll float64, choice string) float64) Factory {
	return Factory{Name: name, Summary: "accuracy on log-likelihoods: " + summary, make: func(_ core.MetricSpec, profile core.Profile) (core.Metric, error) {
		return scored(accuracyInfo(name, profile, "choices"), func(it *core.Item) core.Score {
			values := make([]float64, len(it.Choices))
			for i, c := range it.Choices {
				values[i] = value(it.Scores[i].LogProb, c)
			}
			return judgeChoice(it, likeliest(values))
		}), nil
	}}
}

// mutualInfoFactory makes acc_mutual_info: the choice whose log-likelihood rises
// most by the prompt, against that after nothing. It asks for the latter.
func mutualInfoFactory() Factory {
	const name = "acc_mutual_info"
	return Factory{Name: name, Summary: "accuracy on log-likelihoods: the right choice gains most by the prompt", make: func(_ core.MetricSpec, profile core.Profile) (core.Metric, error) {
		return scored(accuracyInfo(name, profile, "choices"), func(it *core.Item) core.Score {
			if len(it.Judged) == 0 {
				req := core.Request{Kind: core.ScoreText, Overflow: core.OverflowKeepTail}
				for _, c := range it.Choices {
					req.Continuations = append(req.Continuations, prompt.Delimiter(it.Task)+c)
				}
				return core.Score{Requests: []core.Request{req}}
			}
			alone := it.Judged[0].Scores
			if len(alone) != len(it.Choices) {
				return core.Score{Skipped: fmt.Sprintf("the backend gave %d log-likelihoods for %d choices without a prompt", len(alone), len(it.Choices))}
			}
			values := make([]float64, len(it.Choices))
			for i := range values {
				values[i] = it.Scores[i].LogProb - alone[i].LogProb
			}
			return judgeChoice(it, likeliest(values))
		}), nil
	}}
}

// brierFactory makes the Brier score of several classes, from 0 to 2: the
// squared distance between the choices' probabilities, the softmax of their
// log-likelihoods, and the right one's certainty.
func brierFactory() Factory {
	return Factory{Name: "brier_score", Summary: "squared error of the choices' probabilities, 0 to 2, lower is better", make: func(_ core.MetricSpec, profile core.Profile) (core.Metric, error) {
		info := accuracyInfo("brier_score", profile, "choices")
		info.High, info.HigherIsBetter, info.Binary = 2, false, false
		return scored(info, func(it *core.Item) core.Score {
			if len(it.Gold) == 0 || it.Gold[0] < 0 {
				return core.Score{Skipped: goldWarning}
			}
			most := math.Inf(-1)
			for _, l := range it.Scores {
				most = math.Max(most, l.LogProb)
			}
			p, sum := make([]float64, len(it.Scores)), 0.0
			for i, l := range it.Scores {
				p[i] = math.Exp(l.LogProb - most)
				sum += p[i]
			}
			value := 0.0
			for i := range p {
				d := p[i] / sum
				if i == it.Gold[0] {
					d--
				}
				value += d * d
			}
			return core.Score{Value: value}
		}), nil
	}}
}

// greedyFactory makes what lm-evaluation-harness calls exact_match of choices
// and acc of single continuations: the model, decoding greedily, says the target.
func greedyFactory() Factory {
	const name = "greedy_match"
	return Factory{Name: name, Summary: "every token of the target is the likeliest one", make: func(_ core.MetricSpec, profile core.Profile) (core.Metric, error) {
		return scored(accuracyInfo(name, profile), func(it *core.Item) core.Score {
			s := hit("", slices.ContainsFunc(it.Gold, func(g int) bool { return g >= 0 && it.Scores[g].Greedy }))
			if slices.Contains(it.Gold, -1) {
				s.Warning = goldWarning
			}
			return s
		}), nil
	}}
}

// perplexityFactory makes exp(-mean log-likelihood) of the targets after their
// prompts, whole and not by tokens, as lm-evaluation-harness has it.
func perplexityFactory() Factory {
	return Factory{Name: "perplexity", Summary: "exp of the mean negative log-likelihood of the targets", make: func(_ core.MetricSpec, profile core.Profile) (core.Metric, error) {
		return nats("perplexity", profile, "scores", perplexityOf, func(string) int { return 1 }), nil
	}}
}

// rollingFactory makes a metric on the log-likelihood of whole texts by their
// units.
func rollingFactory(name, summary string, units func(string) int, figure func(nats float64) float64) Factory {
	return Factory{Name: name, Summary: summary, make: func(_ core.MetricSpec, profile core.Profile) (core.Metric, error) {
		return nats(name, profile, "rolling", figure, units), nil
	}}
}

// nats makes a metric whose number is figure of the sum of negative
// log-likelihoods over the sum of units. A sample's score is its own negative
// log-likelihood by unit: its figure might be too large a number.
func nats(name string, profile core.Profile, need string, figure func(float64) float64, units func(string) int) core.Metric {
	info := core.MetricInfo{Name: name, Profile: profile, Low: 0, High: math.Inf(1), Needs: []string{need}, Parts: []string{"nats", "units"}}
	judge := scored(info, func(it *core.Item) core.Score {
		if len(it.Gold) == 0 || it.Gold[0] < 0 {
			return core.Score{Skipped: goldWarning}
		}
		l, n := -it.Scores[it.Gold[0]].LogProb, float64(units(it.Choices[it.Gold[0]]))
		return core.Score{Value: l / n, Parts: map[string]float64{"nats": l, "units": n}}
	})
	return &summed{judge, &corpusMetric{info: info, combine: func(sums []float64, _ bool) float64 { return figure(sums[0] / sums[1]) }}}
}

// summed judges items by one metric and makes the number by another.
type summed struct {
	core.Metric
	corpus *corpusMetric
}

// Aggregate is the corpus's.
func (m *summed) Aggregate(scores []core.Score) core.Aggregate { return m.corpus.Aggregate(scores) }

func perplexityOf(nats float64) float64 { return math.Exp(nats) }

func bitsOf(nats float64) float64 { return nats / math.Ln2 }

func textBytes(s string) int { return len(s) }

// textWords is the number of pieces between runs of white space, the empty ones
// at the ends included: len(re.split(r"\s+", s)).
func textWords(s string) int {
	n, inside := 1, false
	for _, r := range s {
		space := text.IsSpace(r)
		if space && !inside {
			n++
		}
		inside = space
	}
	return n
}
