// Command evalrun-metric-shout is a small evalrun metric: the share of an
// answer's letters that are upper case. Built into a folder of PATH, it is used
// in a task with
//
//	metrics:
//	  - name: shout
package main

import (
	"context"
	"unicode"

	"github.com/evalrun/evalrun/core"
	"github.com/evalrun/evalrun/core/stats"
	"github.com/evalrun/evalrun/plugins"
)

func main() { plugins.ServeMetric("shout", "0.1.0", newMetric) }

// newMetric takes one parameter: least, the share below which an answer
// scores 0.
func newMetric(spec core.MetricSpec, profile core.Profile) (core.Metric, error) {
	m := &shout{profile: profile}
	for name, value := range spec.Params {
		least, ok := number(value)
		if name != "least" || !ok || least < 0 || least > 1 {
			return nil, &core.UserError{
				Message: "metric shout: parameter " + name + " is not known or not between 0 and 1",
				Hint:    "write least: 0.5, or leave it out",
			}
		}
		m.least = least
	}
	return m, nil
}

func number(v any) (float64, bool) {
	switch v := v.(type) {
	case int:
		return float64(v), true
	case float64:
		return v, true
	}
	return 0, false
}

type shout struct {
	profile core.Profile
	least   float64
}

func (m *shout) Info() core.MetricInfo {
	return core.MetricInfo{Name: "shout", Profile: m.profile, High: 1, HigherIsBetter: true}
}

func (m *shout) Score(_ context.Context, items []core.Item) ([]core.Score, error) {
	scores := make([]core.Score, len(items))
	for i, item := range items {
		letters, upper := 0, 0
		for _, r := range item.Text {
			if unicode.IsLetter(r) {
				letters++
			}
			if unicode.IsUpper(r) {
				upper++
			}
		}
		scores[i].Extracted = item.Text
		if letters == 0 {
			scores[i].Failed = true
			continue
		}
		if share := float64(upper) / float64(letters); share >= m.least {
			scores[i].Value = share
		}
	}
	return scores, nil
}

// Aggregate gives the mean with its interval. Method says that it is Student's:
// evalrun then minds that answers to one row, and rows of one cluster, are no
// independent evidence.
func (m *shout) Aggregate(scores []core.Score) core.Aggregate {
	a, judged := core.Judged(scores)
	if a.Skip != "" {
		return a
	}
	values := make([]float64, len(judged))
	for i, at := range judged {
		values[i] = scores[at].Value
	}
	interval := stats.MeanInterval(values, 0, 1, 0.95)
	a.Score, a.StdErr = stats.MeanStderr(values)
	a.Low95, a.High95, a.Method = interval.Low, interval.High, "student-t"
	return a
}
