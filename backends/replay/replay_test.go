package replay_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/evalrun/evalrun/backends/backendtest"
	"github.com/evalrun/evalrun/backends/echo"
	"github.com/evalrun/evalrun/backends/replay"
	"github.com/evalrun/evalrun/core"
	"github.com/evalrun/evalrun/core/record"
)

func writeRun(t testing.TB, records ...record.Record) string {
	t.Helper()
	var b bytes.Buffer
	for _, r := range records {
		r.V = record.Version
		line, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		b.Write(append(line, '\n'))
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "samples.jsonl"), b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

func newReplay(t testing.TB, dir string, options map[string]string) core.Backend {
	t.Helper()
	b, err := replay.New(core.Config{Model: dir, Options: options})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func ask(t testing.TB, b core.Backend, r core.Request) (*core.Response, *core.Error) {
	t.Helper()
	s, err := b.Open(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	r.ID = "1"
	if err := s.Send(r); err != nil {
		return nil, core.AsError(err)
	}
	for ev, err := range s.Events() {
		if err != nil {
			t.Fatal(err)
		}
		return ev.Response, ev.Err
	}
	t.Fatal("no event")
	return nil, nil
}

// The contract asks this and that: everything that it may ask is recorded, by
// letting it ask another backend first.
func TestContract(t *testing.T) {
	asked := &recorder{}
	backendtest.Run(t, func(t *testing.T) core.Backend {
		b, err := echo.New(core.Config{Options: map[string]string{"latency": "1ms"}})
		if err != nil {
			t.Fatal(err)
		}
		asked.Backend = b
		return asked
	}, backendtest.Options{})
	var records []record.Record
	for i, r := range asked.requests {
		rec := record.Record{
			Task: "t", Model: "echo:prompt", Sample: fmt.Sprint(i), Prompt: r.Prompt, Messages: r.Messages,
			Continuations: r.Continuations, Generation: record.FromGeneration(r.Generation), Repeat: r.Repeat,
			Response: "yes", Finish: core.FinishStop, Usage: core.Usage{Prompt: 1, Completion: 1},
		}
		for range r.Continuations {
			rec.Response = ""
			rec.Likelihoods = append(rec.Likelihoods, core.Likelihood{LogProb: -1, Tokens: 1})
		}
		records = append(records, rec)
	}
	dir := writeRun(t, records...)
	backendtest.Run(t, func(t *testing.T) core.Backend { return newReplay(t, dir, nil) }, backendtest.Options{})
}

// recorder notes what is asked of a backend.
type recorder struct {
	core.Backend
	mu       sync.Mutex
	requests []core.Request
}

type recording struct {
	core.Session
	r *recorder
}

func (r *recorder) Open(ctx context.Context) (core.Session, error) {
	s, err := r.Backend.Open(ctx)
	return &recording{s, r}, err
}

func (s *recording) Send(r core.Request) error {
	if !math.IsNaN(r.Generation.Temperature) {
		s.r.mu.Lock()
		s.r.requests = append(s.r.requests, r)
		s.r.mu.Unlock()
	}
	return s.Session.Send(r)
}

func TestMatching(t *testing.T) {
	g := record.FromGeneration(core.Generation{MaxTokens: 8, Stop: []string{"\n"}})
	dir := writeRun(t,
		record.Record{Task: "a", Model: "m", Sample: "0", Prompt: "p0", Generation: g, Response: "old"},
		record.Record{Task: "a", Model: "m", Sample: "0", Prompt: "p0", Generation: g, Response: "r0", Seconds: 2.5, CostUSD: 1,
			Finish: core.FinishLength, Usage: core.Usage{Prompt: 3, Completion: 8}, Truncated: 4},
		record.Record{Task: "a", Model: "m", Sample: "0", Repeat: 1, Prompt: "p0", Generation: g, Response: "r0 again"},
		record.Record{Task: "a", Model: "m", Sample: "1", Error: &record.Error{Code: core.CodeTimeout, Message: "slow"}},
		record.Record{Task: "a", Model: "m", Sample: "2", Messages: []core.Message{{Role: "user", Content: "hi"}}, Generation: g, Response: "chat"},
		record.Record{Task: "b", Model: "m", Sample: "0", Prompt: "p0", Continuations: []string{" x", " y"},
			Likelihoods: []core.Likelihood{{LogProb: -1, Tokens: 1, Greedy: true}, {LogProb: -2, Tokens: 1}}},
	)
	b := newReplay(t, dir, nil)
	same := core.Generation{MaxTokens: 8, Stop: []string{"\n"}}
	other := core.Generation{MaxTokens: 99}
	tests := []struct {
		name string
		r    core.Request
		want string // text, or the error's beginning
	}{
		{"by content", core.Request{Kind: core.Generate, Prompt: "p0", Generation: same, Task: "x", Sample: "77"}, "r0"},
		{"repeat", core.Request{Kind: core.Generate, Prompt: "p0", Generation: same, Repeat: 1}, "r0 again"},
		{"messages", core.Request{Kind: core.Generate, Messages: []core.Message{{Role: "user", Content: "hi"}}, Generation: same}, "chat"},
		{"by place, other parameters", core.Request{Kind: core.Generate, Prompt: "p0", Generation: other, Task: "a", Sample: "0"}, "r0"},
		{"other parameters, no place", core.Request{Kind: core.Generate, Prompt: "p0", Generation: other}, "the stored run has no answer to this request"},
		{"other prompt", core.Request{Kind: core.Generate, Prompt: "p9", Generation: same, Task: "a", Sample: "0"}, "the stored run answered task a, sample 0, repeat 0 to another prompt"},
		{"failed then", core.Request{Kind: core.Generate, Prompt: "p1", Generation: same, Task: "a", Sample: "1"}, "the stored run has no answer to task a, sample 1, repeat 0 either: it failed with timeout"},
		{"log-probabilities", core.Request{Kind: core.Generate, Prompt: "p0", Generation: same, Logprobs: true}, "a run stores no log-probabilities"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			resp, e := ask(t, b, tt.r)
			if e != nil {
				if e.Code != core.CodeNotFound || !strings.HasPrefix(e.Message, tt.want) {
					t.Errorf("got %v", e)
				}
				return
			}
			if resp.Text != tt.want || !resp.Cached || resp.CostUSD != 0 {
				t.Errorf("got %+v", resp)
			}
		})
	}
	resp, e := ask(t, b, tests[0].r)
	if e != nil || resp.Seconds != 2.5 || resp.Finish != core.FinishLength || resp.Truncated != 4 || resp.Usage.Completion != 8 {
		t.Errorf("got %+v, %v", resp, e)
	}
	resp, e = ask(t, b, core.Request{Kind: core.ScoreText, Prompt: "p0", Continuations: []string{" x", " y"}})
	if e != nil || len(resp.Scores) != 2 || !resp.Scores[0].Greedy {
		t.Errorf("got %+v, %v", resp, e)
	}
}

func TestLabels(t *testing.T) {
	dir := writeRun(t,
		record.Record{Task: "a", Model: "local:dir/Base-7B+x", Sample: "0", Prompt: "p", Response: "base"},
		record.Record{Task: "a", Model: "openai:gpt-4-0613", Sample: "0", Prompt: "p", Response: "gpt"},
	)
	_, err := newReplay(t, dir, nil).Info(context.Background())
	var u *core.UserError
	if !errors.As(err, &u) || !strings.Contains(u.Hint, "openai:gpt-4-0613") {
		t.Errorf("two labels: %v", err)
	}
	_, err = newReplay(t, dir, map[string]string{"label": "none"}).Info(context.Background())
	if !errors.As(err, &u) || !strings.Contains(u.Message, `"none"`) {
		t.Errorf("unknown label: %v", err)
	}
	for label, want := range map[string][2]string{
		"local:dir/Base-7B+x": {"base", "base-7b"}, "openai:gpt-4-0613": {"gpt", "gpt-4-0613"},
	} {
		b := newReplay(t, dir, map[string]string{"label": label})
		info, err := b.Info(context.Background())
		if err != nil || info.Family != want[1] || info.Model != label {
			t.Errorf("info %+v, %v", info, err)
		}
		if resp, e := ask(t, b, core.Request{Kind: core.Generate, Prompt: "p"}); e != nil || resp.Text != want[0] {
			t.Errorf("%s: %+v, %v", label, resp, e)
		}
	}
}

func TestBadRun(t *testing.T) {
	var u *core.UserError
	for _, model := range []string{"", filepath.Join(t.TempDir(), "none"), t.TempDir()} {
		if _, err := replay.New(core.Config{Model: model}); !errors.As(err, &u) || u.Hint == "" {
			t.Errorf("%q: %v", model, err)
		}
	}
	dir := t.TempDir()
	path := filepath.Join(dir, "samples.jsonl")
	for text, say := range map[string]string{"": "holds no samples", "garbage\n": "samples.jsonl:1"} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := newReplay(t, dir, nil).Info(context.Background()); err == nil || !strings.Contains(err.Error(), say) {
			t.Errorf("%q: %v", text, err)
		}
	}
}
