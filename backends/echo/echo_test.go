package echo_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/evalrun/evalrun/backends/backendtest"
	"github.com/evalrun/evalrun/backends/echo"
	"github.com/evalrun/evalrun/core"
)

func newEcho(t testing.TB, options map[string]string) core.Backend {
	t.Helper()
	b, err := echo.New(core.Config{Options: options})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestContract(t *testing.T) {
	for name, options := range map[string]map[string]string{
		"plain":  nil,
		"slow":   {"latency": "20ms"},
		"stream": {"stream": "true", "jitter": "1ms"},
		"narrow": {"concurrency": "2", "mode": "label:yes|no"},
	} {
		t.Run(name, func(t *testing.T) {
			backendtest.Run(t, func(t *testing.T) core.Backend { return newEcho(t, options) }, backendtest.Options{})
		})
	}
}

func ask(t testing.TB, b core.Backend, r core.Request) (*core.Response, *core.Error) {
	t.Helper()
	s, err := b.Open(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.Send(r); err != nil {
		return nil, core.AsError(err)
	}
	for ev, err := range s.Events() {
		if err != nil {
			t.Fatal(err)
		}
		switch ev.Kind {
		case core.EventResponse:
			return ev.Response, nil
		case core.EventError:
			return nil, ev.Err
		}
	}
	t.Fatal("events ended without an answer")
	return nil, nil
}

func TestRules(t *testing.T) {
	tests := []struct {
		mode, prompt string
		g            core.Generation
		text         string
		finish       core.FinishReason
	}{
		{"prompt", "a b c", core.Generation{}, "a b c", core.FinishStop},
		{"prompt", "a b c", core.Generation{MaxTokens: 2}, "a b", core.FinishLength},
		{"prompt", "a b c", core.Generation{Stop: []string{" c", "b"}}, "a ", core.FinishStop},
		{"last_line", "one\ntwo\n", core.Generation{}, "two", core.FinishStop},
		{"last_line", "", core.Generation{}, "", core.FinishStop},
		{"constant:yes: it is", "x", core.Generation{}, "yes: it is", core.FinishStop},
		{"constant:", "x", core.Generation{}, "", core.FinishStop},
		{"label:only", "x", core.Generation{}, "only", core.FinishStop},
	}
	for _, tt := range tests {
		t.Run(tt.mode, func(t *testing.T) {
			resp, e := ask(t, newEcho(t, map[string]string{"mode": tt.mode}), core.Request{
				ID: "1", Kind: core.Generate, Prompt: tt.prompt, Generation: tt.g,
			})
			if e != nil {
				t.Fatal(e)
			}
			if resp.Text != tt.text || resp.Finish != tt.finish {
				t.Errorf("got %q, %s; want %q, %s", resp.Text, resp.Finish, tt.text, tt.finish)
			}
		})
	}
}

func TestBadOptions(t *testing.T) {
	for _, options := range []map[string]string{
		{"mode": "shout"}, {"mode": "constant"}, {"latency": "x"}, {"speed": "1"}, {"error_code": "odd"},
	} {
		_, err := echo.New(core.Config{Options: options})
		var u *core.UserError
		if !errors.As(err, &u) || u.Hint == "" {
			t.Errorf("%v: got %v, want a user error with a hint", options, err)
		}
	}
}

func TestScoreLikesTheRulesAnswer(t *testing.T) {
	resp, e := ask(t, newEcho(t, map[string]string{"mode": "constant:no"}), core.Request{
		ID: "1", Kind: core.ScoreText, Prompt: "q", Continuations: []string{" yes", " no", " perhaps"},
	})
	if e != nil {
		t.Fatal(e)
	}
	for i, s := range resp.Scores {
		if (i == 1) != s.Greedy || i != 1 && s.LogProb >= resp.Scores[1].LogProb {
			t.Errorf("scores %+v", resp.Scores)
		}
	}
}

func TestContext(t *testing.T) {
	b := newEcho(t, map[string]string{"context": "3"})
	r := core.Request{ID: "1", Kind: core.Generate, Prompt: "a b c d e"}
	if _, e := ask(t, b, r); e == nil || e.Code != core.CodeContextLength {
		t.Errorf("got %v, want context_length", e)
	}
	r.Overflow = core.OverflowKeepTail
	resp, e := ask(t, b, r)
	if e != nil {
		t.Fatal(e)
	}
	if resp.Text != "c d e" || resp.Truncated != 2 {
		t.Errorf("got %q, %d dropped", resp.Text, resp.Truncated)
	}
}

func TestFailures(t *testing.T) {
	b := newEcho(t, map[string]string{"error_first": "2", "error_code": "rate_limit"})
	for i := range 4 {
		_, e := ask(t, b, core.Request{ID: "1", Kind: core.Generate, Prompt: "x"})
		if (e != nil) != (i < 2) || e != nil && e.Code != core.CodeRateLimit {
			t.Errorf("try %d: %v", i, e)
		}
	}
	b = newEcho(t, map[string]string{"error_rate": "0.3"})
	failed := 0
	for i := range 1000 {
		if _, e := ask(t, b, core.Request{ID: "1", Kind: core.Generate, Prompt: fmt.Sprint(i)}); e != nil {
			failed++
		}
	}
	if failed < 230 || failed > 370 {
		t.Errorf("%d of 1000 failed, want about 300", failed)
	}
}

func TestLost(t *testing.T) {
	b := newEcho(t, map[string]string{"lost_after": "2", "latency": "1ms"})
	s, err := b.Open(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for i := range 3 {
		s.Send(core.Request{ID: fmt.Sprint(i), Kind: core.Generate, Prompt: "x"})
		time.Sleep(10 * time.Millisecond)
	}
	var last error
	answers := 0
	for _, err := range s.Events() {
		if err != nil {
			last = err
		} else {
			answers++
		}
	}
	if !errors.Is(last, core.ErrSessionLost) || answers != 2 {
		t.Errorf("%d answers, then %v", answers, last)
	}
	if _, e := ask(t, b, core.Request{ID: "1", Kind: core.Generate, Prompt: "x"}); e != nil {
		t.Errorf("a new session fails: %v", e)
	}
}

func Example() {
	b, err := echo.New(core.Config{Options: map[string]string{"mode": "last_line"}})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer b.Close()
	s, err := b.Open(context.Background())
	if err != nil {
		fmt.Println(err)
		return
	}
	defer s.Close()
	if err := s.Send(core.Request{ID: "1", Kind: core.Generate, Prompt: "Repeat:\nhello"}); err != nil {
		fmt.Println(err)
		return
	}
	for ev, err := range s.Events() {
		if err != nil {
			fmt.Println(err)
			return
		}
		if ev.Kind == core.EventResponse {
			fmt.Println(ev.Response.Text)
			break
		}
	}
	// Output: hello
}
