package metrics

import (
	"fmt"
	"math"
	"slices"
	"unicode/utf8"

	"github.com/evalrun/evalrun/core"
)

// likelihoodFactory makes the multiple-choice accuracies of lm-eval: the answer
// is the task label whose log-likelihood after the prompt is highest, the
// first of equals. acc_norm divides each by the number of code points of the
// label; the blank that joins it to the prompt is not counted.
func likelihoodFactory(name, summary string) Factory {
	return Factory{Name: name, Summary: "accuracy on log-likelihoods: " + summary, make: func(_ core.MetricSpec, profile core.Profile) (core.Metric, error) {
		info := core.MetricInfo{Name: name, Profile: profile, Low: 0, High: 1, HigherIsBetter: true, Binary: true, Needs: []string{"scores"}}
		return &itemMetric{info, func(it *core.Item) core.Score {
			if it.Task == nil || len(it.Task.Labels) == 0 {
				return core.Score{Skipped: "the task lists no labels to choose from"}
			}
			labels := it.Task.Labels
			if len(it.Scores) != len(labels) {
				return core.Score{Skipped: fmt.Sprintf("the backend gave %d log-likelihoods for %d labels", len(it.Scores), len(labels))}
			}
			best, top := -1, math.Inf(-1)
			for i, l := range it.Scores {
				value := l.LogProb
				if name == "acc_norm" {
					value /= float64(max(1, utf8.RuneCountInString(labels[i])))
				}
				if value > top || best < 0 && !math.IsNaN(value) {
					best, top = i, value
				}
			}
			if best < 0 {
				return failed("no log-likelihood is a number")
			}
			s := hit(labels[best], slices.Contains(it.Targets, labels[best]))
			if !slices.ContainsFunc(it.Targets, func(t string) bool { return slices.Contains(labels, t) }) {
				s.Note = "the target is none of the task's labels"
			}
			return s
		}}, nil
	}}
}
