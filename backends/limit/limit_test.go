package limit_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/evalrun/evalrun/backends/backendtest"
	"github.com/evalrun/evalrun/backends/echo"
	"github.com/evalrun/evalrun/backends/internal/session"
	"github.com/evalrun/evalrun/backends/limit"
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
	backendtest.Run(t, func(t *testing.T) core.Backend {
		return limit.Wrap(newEcho(t, map[string]string{"latency": "2ms"}), limit.Options{
			RequestsPerMinute: 600_000, TokensPerMinute: 600_000_000, InFlight: 4,
		})
	}, backendtest.Options{})
}

// peak is a backend that notes how many requests are at work at once.
type peak struct {
	core.Backend
	now, most atomic.Int64
}

func (p *peak) Open(ctx context.Context) (core.Session, error) {
	return session.Work{Answer: func(ctx context.Context, r *core.Request, _ func(string)) (core.Response, error) {
		n := p.now.Add(1)
		for m := p.most.Load(); n > m && !p.most.CompareAndSwap(m, n); m = p.most.Load() {
		}
		time.Sleep(time.Millisecond)
		p.now.Add(-1)
		return core.Response{Text: "x"}, nil
	}}.Open(ctx), nil
}

func drive(t *testing.T, b core.Backend, n int) time.Duration {
	t.Helper()
	s, err := b.Open(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	start := time.Now()
	go func() {
		for i := range n {
			if err := s.Send(core.Request{ID: fmt.Sprint(i), Kind: core.Generate, Prompt: "four words are here"}); err != nil {
				t.Errorf("send: %v", err)
			}
		}
	}()
	got := 0
	for _, err := range s.Events() {
		if err != nil {
			t.Fatal(err)
		}
		if got++; got == n {
			break
		}
	}
	return time.Since(start)
}

func TestInFlight(t *testing.T) {
	p := &peak{Backend: newEcho(t, nil)}
	drive(t, limit.Wrap(p, limit.Options{InFlight: 5}), 100)
	// A slot is free once its answer was read, so the backend may have begun
	// the next one when the peak counter still holds the last.
	if m := p.most.Load(); m > 5 {
		t.Errorf("%d requests at once, want at most 5", m)
	}
	info, err := limit.Wrap(p, limit.Options{InFlight: 5}).Info(context.Background())
	if err != nil || info.InFlight != 5 {
		t.Errorf("info tells %d in flight, %v", info.InFlight, err)
	}
}

func TestRequestsPerMinute(t *testing.T) {
	// 100 a second, of which a second's worth may go at once.
	d := drive(t, limit.Wrap(newEcho(t, nil), limit.Options{RequestsPerMinute: 6000}), 130)
	if d < 280*time.Millisecond || d > 3*time.Second {
		t.Errorf("130 requests took %v, want about 300 ms", d)
	}
}

func TestTokensPerMinute(t *testing.T) {
	// Each request counts 4 tokens; 200 a second.
	d := drive(t, limit.Wrap(newEcho(t, nil), limit.Options{TokensPerMinute: 12000}), 110)
	if d < 1100*time.Millisecond || d > 5*time.Second {
		t.Errorf("440 tokens took %v, want about 1.2 s", d)
	}
}

func TestRequestAboveTheBurst(t *testing.T) {
	b := limit.Wrap(newEcho(t, nil), limit.Options{TokensPerMinute: 60_000})
	s, err := b.Open(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	start := time.Now()
	err = s.Send(core.Request{ID: "1", Kind: core.Generate, Prompt: "x", Generation: core.Generation{MaxTokens: 1200}})
	if err != nil {
		t.Fatal(err)
	}
	if d := time.Since(start); d < 150*time.Millisecond {
		t.Errorf("1201 tokens at 1000 a second took %v", d)
	}
}

func TestCancelAndCloseReachAWaitingSend(t *testing.T) {
	b := limit.Wrap(newEcho(t, nil), limit.Options{RequestsPerMinute: 1})
	s, err := b.Open(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.Send(core.Request{ID: "1", Kind: core.Generate, Prompt: "x"}); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		id  string
		end func()
		ok  func(error) bool
	}{
		{"2", func() { s.Cancel("2") }, func(err error) bool {
			var e *core.Error
			return errors.As(err, &e) && e.Code == core.CodeCancelled
		}},
		{"3", func() { s.Close() }, func(err error) bool { return errors.Is(err, core.ErrSessionClosed) }},
	} {
		sent := make(chan error, 1)
		go func() { sent <- s.Send(core.Request{ID: tt.id, Kind: core.Generate, Prompt: "x"}) }()
		time.Sleep(20 * time.Millisecond)
		tt.end()
		select {
		case err := <-sent:
			if !tt.ok(err) {
				t.Errorf("request %s: send gave %v", tt.id, err)
			}
		case <-time.After(5 * time.Second):
			t.Fatalf("request %s still waits", tt.id)
		}
	}
}

func TestNoLimitIsNoDecorator(t *testing.T) {
	b := newEcho(t, nil)
	if limit.Wrap(b, limit.Options{}) != b {
		t.Error("a backend without limits is wrapped")
	}
}
