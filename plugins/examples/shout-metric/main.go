// Command evalrun-metric-shout is a small evalrun metric: the share of an
// answer's letters that are upper case. Built into a folder of PATH, it is used
// in a task with
//
//	metrics:
//	  - name: shout
package main

import (
	"context"
	"math"
	"unicode"

	"github.com/evalrun/evalrun/core"
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

// Aggregate gives the mean with its interval by the normal approximation.
func (m *shout) Aggregate(scores []core.Score) core.Aggregate {
	a := core.Aggregate{N: len(scores), Method: "normal approximation"}
	if len(scores) == 0 {
		a.Skip = "no items"
		return a
	}
	var sum, squares float64
	for _, s := range scores {
		sum += s.Value
		squares += s.Value * s.Value
		if s.Failed {
			a.Failed++
		}
	}
	n := float64(len(scores))
	a.Score = sum / n
	half := 1.96 * math.Sqrt(max(squares/n-a.Score*a.Score, 0)/n)
	a.Low95, a.High95 = max(a.Score-half, 0), min(a.Score+half, 1)
	return a
}
