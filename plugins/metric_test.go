package plugins

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/evalrun/evalrun/core"
)

func items(n int, size int) []core.Item {
	tasks := []*core.Task{{Name: "one", Source: []byte("name: one")}, {Name: "two"}}
	out := make([]core.Item, n)
	for i := range out {
		task := tasks[i%2]
		out[i] = core.Item{ID: fmt.Sprint(i), Task: task, Text: strings.Repeat("x", 1+i%size), Targets: []string{task.Name}}
	}
	return out
}

func TestMetricProcess(t *testing.T) {
	h := testHost(t, nil)
	single, err := h.Metric(t.Context(), "fake", core.MetricSpec{Name: "length"}, core.Strict)
	if err != nil {
		t.Fatal(err)
	}
	double, err := h.Metric(t.Context(), "fake", core.MetricSpec{Name: "length", Params: map[string]any{"double": true}}, core.Bakeoff)
	if err != nil {
		t.Fatal(err)
	}
	if i := double.Info(); i.Name != "length" || i.Profile != core.Bakeoff || i.High != 100 {
		t.Errorf("info %+v", i)
	}
	// More than one message's worth, with tasks in turns.
	list := items(2000, 3000)
	for i, m := range []core.Metric{single, double} {
		scores, err := m.Score(t.Context(), list)
		if err != nil {
			t.Fatal(err)
		}
		if len(scores) != len(list) {
			t.Fatalf("%d scores for %d items", len(scores), len(list))
		}
		sum := 0.0
		for k, s := range scores {
			want := float64((i + 1) * len(list[k].Text))
			if s.Value != want || s.Extracted != list[k].Text {
				t.Fatalf("item %d: %v, want %v", k, s.Value, want)
			}
			sum += want
		}
		if a := m.Aggregate(scores); a.Score != sum || a.N != len(list) {
			t.Errorf("aggregate %+v, want the sum %v", a, sum)
		}
	}
	if a := single.Aggregate(nil); a.N != 0 || a.Skip != "" {
		t.Errorf("aggregate of nothing: %+v", a)
	}
	if scores, err := single.Score(t.Context(), nil); err != nil || len(scores) != 0 {
		t.Errorf("scores of nothing: %v, %v", scores, err)
	}

	// A failure of the metric's own, then its death, then life goes on.
	_, err = single.Score(t.Context(), []core.Item{{Text: "fail"}})
	var user *core.UserError
	if !errors.As(err, &user) || user.Hint != "install it" {
		t.Errorf("a failure came as %v", err)
	}
	_, err = single.Score(t.Context(), []core.Item{{Text: "crash"}})
	if !errors.Is(err, core.ErrSessionLost) || !strings.Contains(err.Error(), "panic: as you wish") {
		t.Errorf("a crash came as %v", err)
	}
	for i, m := range []core.Metric{single, double} {
		scores, err := m.Score(t.Context(), []core.Item{{Text: "abc"}})
		if err != nil || scores[0].Value != float64(3*(i+1)) {
			t.Errorf("after the restart: %v, %v", scores, err)
		}
	}
	if _, err := h.Metric(t.Context(), "fake", core.MetricSpec{Name: "unknown"}, core.Strict); !errors.As(err, &user) {
		t.Errorf("an unknown metric came as %v", err)
	}
}

func TestMetricLoopback(t *testing.T) {
	inner := &fakeMetric{spec: core.MetricSpec{Name: "length"}}
	m, err := LoopbackMetric(context.Background(), func(core.MetricSpec, core.Profile) (core.Metric, error) { return inner, nil },
		core.MetricSpec{Name: "length"}, core.Strict)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.Score(t.Context(), []core.Item{{ID: "1", Fields: map[string]any{"f": func() {}}}}); err == nil || !strings.Contains(err.Error(), `column "f"`) {
		t.Errorf("a column that cannot cross: %v", err)
	}
	if err := m.(io.Closer).Close(); err != nil {
		t.Fatal(err)
	}
	if !inner.closed {
		t.Error("the metric was not closed with its process")
	}
	if a := m.Aggregate([]core.Score{{Value: 1}}); a.Skip == "" {
		t.Errorf("an aggregate without a process: %+v", a)
	}
}
