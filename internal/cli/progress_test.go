package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/evalrun/evalrun/core/run"
)

func TestStatusLine(t *testing.T) {
	s := run.Snapshot{Model: "openai:m", Task: "b", Done: 120, Total: 300, APIErrors: 2, Cached: 7, Prompt: 10000, Completion: 2000, CostUSD: 0.25, Elapsed: 10 * time.Second,
		Tasks: []run.TaskProgress{{Name: "a", Sum: 1, N: 1, Binary: true}, {Name: "b", Sum: 50, Squares: 50, N: 100, Binary: true}}, Note: "waiting"}
	line := statusLine(s, 18, 5)
	for _, want := range []string{"openai:m  120/300", "b 0.500 [0.40–0.60]", "1.2k tok/s", "2 API errors", "7 cached", "$0.2500 of $5", "ETA 10s", "waiting"} {
		if !strings.Contains(line, want) {
			t.Errorf("no %q in %q", want, line)
		}
	}
	s.Total, s.Tasks[1].Binary, s.Tasks[1].Squares = -1, false, 30
	line = statusLine(s, 18, 0)
	for _, want := range []string{"120/?", "b 0.500 ±0.04"} {
		if !strings.Contains(line, want) {
			t.Errorf("no %q in %q", want, line)
		}
	}
	if strings.Contains(line, "ETA") || strings.Contains(line, " of $") {
		t.Errorf("%q tells what is not known", line)
	}
	if c := clipLine("żółw "+line, 20); len([]rune(c)) != 20 || !strings.HasSuffix(c, "…") {
		t.Errorf("clipped to %q", c)
	}
}

// Elsewhere than on a terminal there are whole lines, and with --quiet nothing.
func TestWatcher(t *testing.T) {
	for _, quiet := range []bool{false, true} {
		path := filepath.Join(t.TempDir(), "err")
		f, err := os.Create(path)
		if err != nil {
			t.Fatal(err)
		}
		w := newWatcher(f, quiet, 0, 0)
		w.every = 5 * time.Millisecond
		w.watch(func() run.Snapshot { return run.Snapshot{Model: "m", Done: 5, Total: 10} })
		time.Sleep(60 * time.Millisecond)
		w.finish()
		w.finish()
		f.Close()
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if quiet != (len(b) == 0) || strings.ContainsAny(string(b), "\r\x1b") || !quiet && !strings.HasSuffix(string(b), "m  5/10\n") {
			t.Errorf("quiet %v: %q", quiet, b)
		}
	}
}
