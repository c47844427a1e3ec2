package run

import (
	"testing"

	"github.com/evalrun/evalrun/core"
)

// A judge's name tells it from those of the same metric, and gives that away.
func TestSplitName(t *testing.T) {
	for _, c := range []struct {
		judge Judge
		name  string
	}{
		{Judge{}, "m"},
		{Judge{As: "lower"}, "m:lower"},
		{Judge{Pipeline: "strict"}, "m,strict"},
		{Judge{As: "a.b", Pipeline: "strict", Reduce: Reduce{Kind: "majority", K: 3}}, "m:a.b,strict majority@3"},
	} {
		c.judge.Metric = &exact{name: "m"}
		if got := c.judge.Name(); got != c.name {
			t.Errorf("got %q, want %q", got, c.name)
		}
		if metric, reduce := SplitName(c.name); metric != "m" || reduce != c.judge.Reduce {
			t.Errorf("%q is %q and %v", c.name, metric, reduce)
		}
	}
	task := &core.Task{Name: "t", Metrics: []core.MetricSpec{{Name: "m"}, {Name: "m", As: "other"}}}
	metric := func(core.MetricSpec, core.Profile) (core.Metric, error) { return &exact{name: "m"}, nil }
	if _, err := Judges(task, core.Strict, metric); err != nil {
		t.Error(err)
	}
	task.Metrics[0].As = "other"
	if _, err := Judges(task, core.Strict, metric); err == nil {
		t.Error("two judges of one name got through")
	}
}
