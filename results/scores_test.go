package results

import (
	"encoding/json"
	"math"
	"strings"
	"testing"

	"github.com/evalrun/evalrun/core"
	"github.com/evalrun/evalrun/core/run"
)

func line(t *testing.T, info core.MetricInfo, a core.Aggregate, task *core.Task) (Score, string) {
	t.Helper()
	var s Scores
	s.Add(run.Summary{Task: task.Name, Model: "m", Results: []run.Result{{Metric: info, Profile: core.Strict, Aggregate: a}}}, task)
	if len(s.Tasks) != 1 {
		t.Fatalf("%d lines", len(s.Tasks))
	}
	b, err := json.Marshal(s.Tasks[0])
	if err != nil {
		t.Fatal(err)
	}
	return s.Tasks[0], string(b)
}

func TestInterval(t *testing.T) {
	info := core.MetricInfo{Name: "accuracy", Low: 0, High: 1, HigherIsBetter: true}
	for _, tt := range []struct {
		name      string
		a         core.Aggregate
		low, high float64
		none      bool
	}{
		{"within", core.Aggregate{N: 4, Score: 0.5, Low95: 0.2, High95: 0.8}, 0.2, 0.8, false},
		{"clipped to what the metric can give", core.Aggregate{N: 4, Score: 0.9, Low95: -0.1, High95: 1.3}, 0, 1, false},
		{"none", core.Aggregate{N: 1, Score: 0.5, Low95: math.NaN(), High95: math.NaN()}, 0, 0, true},
	} {
		l, text := line(t, info, tt.a, &core.Task{Name: "t"})
		if tt.none {
			if l.Interval != nil || strings.Contains(text, `"interval"`) {
				t.Errorf("%s: %s", tt.name, text)
			}
			continue
		}
		if len(l.Interval) != 2 || float64(l.Interval[0]) != tt.low || float64(l.Interval[1]) != tt.high {
			t.Errorf("%s: interval %v", tt.name, l.Interval)
		}
	}
	unbounded := core.MetricInfo{Name: "loss", Low: math.Inf(-1), High: math.Inf(1)}
	if l, _ := line(t, unbounded, core.Aggregate{N: 3, Low95: -7, High95: 9}, &core.Task{Name: "t"}); l.Interval[0] != -7 || l.Interval[1] != 9 {
		t.Errorf("unbounded: %v", l.Interval)
	}
}

// The keys of a line are those that scripts read; no score is null, and then
// there is no interval.
func TestKeys(t *testing.T) {
	_, text := line(t, core.MetricInfo{Name: "accuracy"}, core.Aggregate{}, &core.Task{Name: "t"})
	for _, key := range []string{"task", "model", "metric", "profile", "score", "baseline", "n", "api_errors", "extraction_failed", "truncated", "cut", "cost_usd", "seconds"} {
		if !strings.Contains(text, `"`+key+`":`) {
			t.Errorf("no key %s in %s", key, text)
		}
	}
	if !strings.Contains(text, `"score":null`) || strings.Contains(text, `"interval":`) {
		t.Errorf("without an answer: %s", text)
	}
}

// A published score stands only beside a metric that measures the same.
func TestPublishedWhereComparable(t *testing.T) {
	for _, tt := range []struct {
		task string
		info core.MetricInfo
		want bool
	}{
		{"boolq", core.MetricInfo{Name: "binary_accuracy_flex", Binary: true, HigherIsBetter: true}, true},
		{"boolq", core.MetricInfo{Name: "rouge", HigherIsBetter: true}, false},
		{"drop", core.MetricInfo{Name: "rouge", HigherIsBetter: true}, true},
		{"drop", core.MetricInfo{Name: "rougeL", HigherIsBetter: true}, false},
		{"drop", core.MetricInfo{Name: "exact_match", Binary: true, HigherIsBetter: true}, false},
		{"glue_stsb", core.MetricInfo{Name: "stsb", HigherIsBetter: true}, true},
		{"magicoder", core.MetricInfo{Name: "humaneval", Binary: true, HigherIsBetter: true}, true},
		{"nothing of the report", core.MetricInfo{Name: "exact_match", Binary: true, HigherIsBetter: true}, false},
	} {
		p := PublishedFor(core.Paper{Task: tt.task, Prompt: "own"}, tt.info)
		if (p != nil) != tt.want {
			t.Errorf("%s by %s: %+v", tt.task, tt.info.Name, p)
		}
		if p != nil && !p.OtherPrompt {
			t.Errorf("%s: our own prompt is not marked", tt.task)
		}
	}
}
