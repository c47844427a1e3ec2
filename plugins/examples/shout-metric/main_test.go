package main

import (
	"errors"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/evalrun/evalrun/core"
	"github.com/evalrun/evalrun/plugins"
	"github.com/evalrun/evalrun/plugins/plugintest"
)

func process(t *testing.T, spec core.MetricSpec) (core.Metric, error) {
	t.Helper()
	dir := t.TempDir()
	build := exec.Command("go", "build", "-o", filepath.Join(dir, "evalrun-metric-shout"), ".")
	build.Stderr = os.Stderr
	if err := build.Run(); err != nil {
		t.Fatal(err)
	}
	h := plugins.NewHost(plugins.HostOptions{Dirs: []string{dir}})
	t.Cleanup(func() {
		if err := h.Close(); err != nil {
			t.Error(err)
		}
	})
	return h.Metric(t.Context(), "shout", spec, core.Strict)
}

func TestShout(t *testing.T) {
	spec := core.MetricSpec{Name: "shout", Params: map[string]any{"least": 0.25}}
	bare, err := newMetric(spec, core.Strict)
	if err != nil {
		t.Fatal(err)
	}
	built, err := process(t, spec)
	if err != nil {
		t.Fatal(err)
	}
	for name, m := range map[string]core.Metric{"bare": bare, "wire": plugintest.LoopbackMetric(t, bare), "process": built} {
		t.Run(name, func(t *testing.T) {
			scores, err := m.Score(t.Context(), []core.Item{{Text: "HELLO"}, {Text: "Hello"}, {Text: "123"}, {Text: "HÉll"}})
			if err != nil {
				t.Fatal(err)
			}
			for i, want := range []float64{1, 0, 0, 0.5} {
				if scores[i].Value != want {
					t.Errorf("item %d scores %v, want %v", i, scores[i].Value, want)
				}
			}
			if same := m.Aggregate([]core.Score{{Value: 0}, {Value: 0}, {Value: 1, Skipped: "x"}}); same.N != 2 || same.Skipped != 1 || same.High95 < 0.5 {
				t.Errorf("two values alike tell little: %+v", same)
			}
			a := m.Aggregate(scores)
			if a.N != 4 || a.Failed != 1 || math.Abs(a.Score-0.375) > 1e-12 || !(a.Low95 < a.Score && a.Score < a.High95) {
				t.Errorf("aggregate %+v", a)
			}
		})
	}
}

func TestMistake(t *testing.T) {
	var user *core.UserError
	if _, err := process(t, core.MetricSpec{Params: map[string]any{"loud": 2}}); !errors.As(err, &user) || user.Hint == "" {
		t.Errorf("an unknown parameter gave %v", err)
	}
}
