package training

import (
	"context"
	"errors"
	"iter"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/evalrun/evalrun/backends/echo"
	"github.com/evalrun/evalrun/core"
	"github.com/evalrun/evalrun/core/run"
	"github.com/evalrun/evalrun/metrics"
)

// scorer is one of the task over rows, of which those with the ids are held out.
func scorer(t *testing.T, metric string, rows iter.Seq2[run.Row, error], ids ...string) *Scorer {
	t.Helper()
	one := task()
	one.Metrics = []core.MetricSpec{{Name: metric}}
	one.Generation.MaxTokens = 4
	judges, err := run.Judges(one, core.Strict, metrics.New)
	if err != nil {
		t.Fatal(err)
	}
	s := &Scorer{Job: &run.Job{Task: one, Profile: core.Strict, Judges: judges[:1]}, Rows: func(context.Context) iter.Seq2[run.Row, error] { return rows }, Dir: t.TempDir()}
	for _, id := range ids {
		s.Held = append(s.Held, Row{ID: id})
	}
	return s
}

// asked keeps the adapters that requests name, which echo knows none of.
type asked struct {
	core.Backend
	adapters map[string]int
}

func (a *asked) Open(ctx context.Context) (core.Session, error) {
	s, err := a.Backend.Open(ctx)
	return &askedSession{s, a}, err
}

type askedSession struct {
	core.Session
	to *asked
}

func (s *askedSession) Send(r core.Request) error {
	s.to.adapters[r.Adapter]++
	r.Adapter = ""
	return s.Session.Send(r)
}

func answering(t *testing.T, options map[string]string) *asked {
	t.Helper()
	b, err := echo.New(core.Config{Options: options})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() })
	return &asked{b, map[string]int{}}
}

// The rows held out, and only they, are put to the model in training, as many
// as it asks for; the task's metric judges them.
func TestScore(t *testing.T) {
	s := scorer(t, "accuracy", rows("1a", "0b", "1c", "1d", "0e", "1f"), "b", "c", "e", "f")
	b := answering(t, map[string]string{"mode": "constant:1"})
	for _, c := range []struct {
		rows int
		want float64
	}{{0, 0.5}, {3, 1. / 3}, {99, 0.5}, {1, 0}} {
		ask := &core.TrainScore{Step: 10 + c.rows, Adapter: "now", Rows: c.rows}
		if err := s.Score(t.Context(), b, ask); err != nil || ask.Value == nil || math.Abs(*ask.Value-c.want) > 1e-12 {
			t.Errorf("%d rows: %v, %v, want %g", c.rows, ask.Value, err, c.want)
		}
	}
	if b.adapters["now"] != 4+3+4+1 || len(b.adapters) != 1 {
		t.Errorf("asked %v", b.adapters)
	}
	text, err := os.ReadFile(filepath.Join(s.Dir, "answers-13.jsonl"))
	if err != nil || strings.Count(string(text), "\n") != 3 || strings.Index(string(text), `"sample":"b"`) > strings.Index(string(text), `"sample":"e"`) {
		t.Errorf("%v\n%s", err, text)
	}
}

// A score over other rows than the last one would mislead: there is none.
func TestScoreFails(t *testing.T) {
	all := rows("1a", "0b", "1c", "1d", "0e", "1f")
	for name, c := range map[string]struct {
		scorer  *Scorer
		options map[string]string
		want    string
	}{
		"no answers":    {scorer(t, "accuracy", all, "a", "b"), map[string]string{"error_rate": "1", "error_code": "internal"}, "step 7: 2 of 2 validation rows got no answer"},
		"rows are gone": {scorer(t, "accuracy", all, "a", "z"), nil, "1 of 2 rows held out for validation are not there"},
		"rows fail":     {scorer(t, "accuracy", func(yield func(run.Row, error) bool) { yield(run.Row{}, errors.New("cannot be read")) }, "a"), nil, "cannot be read"},
	} {
		ask := &core.TrainScore{Step: 7, Adapter: "now"}
		if err := c.scorer.Score(t.Context(), answering(t, c.options), ask); err == nil || !strings.Contains(err.Error(), c.want) || ask.Value != nil {
			t.Errorf("%s: %v, %v", name, err, ask.Value)
		}
	}
}
