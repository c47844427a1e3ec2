package cli

import (
	"context"
	"os"
	"os/exec"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/evalrun/evalrun/core"
	"github.com/evalrun/evalrun/plugins"
)

// TestMain lets the test binary be evalrun, for the sessions of testdata and
// for the plugin processes that an evalrun starts: those are this binary again.
func TestMain(m *testing.M) {
	if len(os.Args) == 5 && os.Args[1] == "plugin" && os.Args[2] == "serve" {
		os.Exit(Main(os.Args[1:]))
	}
	if os.Getenv("EVALRUN_TEST_MAIN") != "" {
		os.Exit(Main(os.Args[1:]))
	}
	testscript.Main(m, map[string]func(){
		"evalrun":             func() { os.Exit(Main(os.Args[1:])) },
		"evalrun-metric-long": func() { plugins.ServeMetric("long", "1", newLong) },
	})
}

// long is a metric plugin of the sessions: whether an answer has as many
// letters as its parameter says, 4 unless told.
type long struct {
	least   int
	profile core.Profile
}

func newLong(spec core.MetricSpec, profile core.Profile) (core.Metric, error) {
	m := &long{4, profile}
	for name, value := range spec.Params {
		n, ok := value.(int)
		if name != "least" || !ok {
			return nil, &core.UserError{Message: "metric long has no parameter " + name, Hint: "write least: 3"}
		}
		m.least = n
	}
	return m, nil
}

func (m *long) Info() core.MetricInfo {
	return core.MetricInfo{Name: "long", Profile: m.profile, High: 1, HigherIsBetter: true, Binary: true}
}

func (m *long) Score(_ context.Context, items []core.Item) ([]core.Score, error) {
	scores := make([]core.Score, len(items))
	for i, item := range items {
		if len(item.Text) >= m.least {
			scores[i].Value = 1
		}
	}
	return scores, nil
}

func (m *long) Aggregate(scores []core.Score) core.Aggregate {
	a := core.Aggregate{N: len(scores), High95: 1}
	for _, s := range scores {
		a.Score += s.Value / float64(len(scores))
	}
	return a
}

func TestSessions(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/sessions",
		Setup: func(e *testscript.Env) error {
			if path, err := exec.LookPath("evalrun"); err == nil {
				e.Setenv("EVALRUN", path)
			}
			e.Setenv("EVALRUN_CACHE", e.WorkDir+"/.cache")
			e.Setenv("HF_HUB_OFFLINE", "1")
			e.Setenv("HF_HOME", e.WorkDir+"/.hf")
			return nil
		},
	})
}
