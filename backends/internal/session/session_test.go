package session

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/evalrun/evalrun/core"
)

func request(id string) core.Request {
	return core.Request{ID: id, Kind: core.Generate, Prompt: "x"}
}

func TestSendBlocksAtTheLimit(t *testing.T) {
	release := make(chan struct{})
	var most, now atomic.Int64
	s := Work{Limit: 3, Answer: func(ctx context.Context, r *core.Request, _ func(string)) (core.Response, error) {
		most.Store(max(most.Load(), now.Add(1)))
		<-release
		now.Add(-1)
		return core.Response{Text: r.ID}, nil
	}}.Open(context.Background())
	defer s.Close()
	sent := make(chan int, 10)
	go func() {
		for i := range 5 {
			if err := s.Send(request(fmt.Sprint(i))); err != nil {
				t.Errorf("send: %v", err)
			}
			sent <- i
		}
	}()
	for range 3 {
		<-sent
	}
	select {
	case i := <-sent:
		t.Fatalf("request %d was accepted above the limit", i)
	case <-time.After(30 * time.Millisecond):
	}
	close(release)
	n := 0
	for range s.Events() {
		if n++; n == 5 {
			break
		}
	}
	if most.Load() > 3 {
		t.Errorf("%d at once", most.Load())
	}
}

func TestDuplicateID(t *testing.T) {
	s := Work{Answer: func(ctx context.Context, r *core.Request, _ func(string)) (core.Response, error) {
		<-ctx.Done()
		return core.Response{}, ctx.Err()
	}}.Open(context.Background())
	defer s.Close()
	if err := s.Send(request("a")); err != nil {
		t.Fatal(err)
	}
	var e *core.Error
	if err := s.Send(request("a")); !errors.As(err, &e) || e.Code != core.CodeInvalid {
		t.Errorf("second request of one id: %v", err)
	}
}

func TestErrors(t *testing.T) {
	fail := map[string]error{
		"core":   fmt.Errorf("wrapped: %w", &core.Error{Code: core.CodeTimeout, Message: "slow"}),
		"plain":  errors.New("odd"),
		"own":    context.DeadlineExceeded, // not the request's context
		"answer": nil,
	}
	want := map[string]core.Code{"core": core.CodeTimeout, "plain": core.CodeInternal, "own": core.CodeInternal}
	s := Work{Answer: func(ctx context.Context, r *core.Request, _ func(string)) (core.Response, error) {
		return core.Response{Text: "ok"}, fail[r.ID]
	}}.Open(context.Background())
	defer s.Close()
	for id := range fail {
		if err := s.Send(request(id)); err != nil {
			t.Fatal(err)
		}
	}
	n := 0
	for ev := range s.Events() {
		if code := want[ev.ID]; code == "" && ev.Response == nil || code != "" && (ev.Err == nil || ev.Err.Code != code) {
			t.Errorf("%s: %+v", ev.ID, ev)
		}
		if n++; n == len(fail) {
			break
		}
	}
}

// A reader that stops reading does not hold Close up.
func TestCloseWithASlowReader(t *testing.T) {
	s := Work{Limit: 2000, Answer: func(context.Context, *core.Request, func(string)) (core.Response, error) {
		return core.Response{}, nil
	}}.Open(context.Background())
	for i := range 1000 { // more than the outbox holds
		if err := s.Send(request(fmt.Sprint(i))); err != nil {
			t.Fatal(err)
		}
	}
	closed := make(chan struct{})
	go func() { s.Close(); close(closed) }()
	select {
	case <-closed:
	case <-time.After(5 * time.Second):
		t.Fatal("close hangs")
	}
}

func TestContextEndDeliversThenEnds(t *testing.T) {
	ctx, cancel := context.WithCancelCause(context.Background())
	s := Work{Answer: func(ctx context.Context, r *core.Request, _ func(string)) (core.Response, error) {
		<-ctx.Done()
		return core.Response{}, ctx.Err()
	}}.Open(ctx)
	defer s.Close()
	for i := range 10 {
		if err := s.Send(request(fmt.Sprint(i))); err != nil {
			t.Fatal(err)
		}
	}
	why := errors.New("interrupted")
	cancel(why)
	cancelled := 0
	for ev, err := range s.Events() {
		if err != nil || ev.Err == nil || ev.Err.Code != core.CodeCancelled {
			t.Errorf("%+v, %v", ev, err)
		}
		cancelled++
	}
	if cancelled != 10 {
		t.Errorf("%d of 10 were told", cancelled)
	}
	if err := s.Send(request("late")); !errors.Is(err, core.ErrSessionClosed) {
		t.Errorf("send after the end: %v", err)
	}
}

func TestOutboxEnd(t *testing.T) {
	o := NewOutbox()
	o.Put(core.Event{ID: "a"})
	o.End(core.ErrSessionLost)
	o.End(nil) // only the first counts
	if o.Put(core.Event{ID: "late"}) {
		t.Error("an ended outbox takes events")
	}
	var ids []string
	var last error
	for ev, err := range o.Events() {
		if err != nil {
			last = err
			continue
		}
		ids = append(ids, ev.ID)
	}
	if len(ids) != 1 || !errors.Is(last, core.ErrSessionLost) {
		t.Errorf("events %v, error %v", ids, last)
	}
}

func TestCheck(t *testing.T) {
	kinds := []core.Kind{core.Generate, core.ScoreText}
	good := request("a")
	if e := Check(&good, kinds); e != nil {
		t.Errorf("a good request: %v", e)
	}
	tests := []struct {
		say    string
		change func(*core.Request)
	}{
		{"no id", func(r *core.Request) { r.ID = "" }},
		{"does not do embed", func(r *core.Request) { r.Kind = core.Embed }},
		{"kind 9 is unknown", func(r *core.Request) { r.Kind = 9 }},
		{"empty list", func(r *core.Request) { r.Messages = []core.Message{} }},
		{"message 1 has no role", func(r *core.Request) { r.Messages = []core.Message{{Role: "user"}, {Content: "x"}} }},
		{"message 0 is not valid UTF-8 at byte 2", func(r *core.Request) { r.Messages = []core.Message{{Role: "user", Content: "é\xff"}} }},
		{"the prompt is not valid UTF-8 at byte 1", func(r *core.Request) { r.Prompt = "a\xc3" }},
		{"at least one continuation", func(r *core.Request) { r.Kind = core.ScoreText }},
		{"continuation 1 is empty", func(r *core.Request) { r.Kind, r.Continuations = core.ScoreText, []string{"a", ""} }},
		{"max_tokens is -1", func(r *core.Request) { r.Generation.MaxTokens = -1 }},
		{"temperature is NaN", func(r *core.Request) { r.Generation.Temperature = math.NaN() }},
		{"temperature is +Inf", func(r *core.Request) { r.Generation.Temperature = math.Inf(1) }},
		{"top_p is 1.5", func(r *core.Request) { r.Generation.TopP = 1.5 }},
		{"min_p is -1", func(r *core.Request) { r.Generation.MinP = -1 }},
		{"top_k is -3", func(r *core.Request) { r.Generation.TopK = -3 }},
		{"stop text 0 is empty", func(r *core.Request) { r.Generation.Stop = []string{""} }},
		{"stop text 1 is not valid UTF-8", func(r *core.Request) { r.Generation.Stop = []string{"a", "\xff"} }},
	}
	for _, tt := range tests {
		r := request("a")
		tt.change(&r)
		if e := Check(&r, kinds); e == nil || e.Code != core.CodeInvalid || !strings.Contains(e.Message, tt.say) {
			t.Errorf("want %q, got %v", tt.say, e)
		}
	}
}
