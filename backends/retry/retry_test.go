package retry_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/evalrun/evalrun/backends/backendtest"
	"github.com/evalrun/evalrun/backends/echo"
	"github.com/evalrun/evalrun/backends/internal/session"
	"github.com/evalrun/evalrun/backends/retry"
	"github.com/evalrun/evalrun/core"
)

// clock runs each function at once and notes the wait.
type clock struct {
	mu    sync.Mutex
	waits []time.Duration
	hold  bool // functions never run
}

func (c *clock) After(d time.Duration, f func()) func() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.waits = append(c.waits, d)
	if c.hold {
		return func() bool { return true }
	}
	return time.AfterFunc(0, f).Stop
}

// fake is a backend whose answers a test writes.
type fake struct {
	answer func(ctx context.Context, s *session.Session, r *core.Request, delta func(string)) (core.Response, error)
	opens  atomic.Int64
	open   func(n int64) error
}

func (f *fake) Info(context.Context) (core.Info, error) {
	return core.Info{Name: "fake", Model: "fake", Kinds: []core.Kind{core.Generate}, Forms: []core.Form{core.FormCompletion}}, nil
}
func (f *fake) Close() error { return nil }
func (f *fake) Open(ctx context.Context) (core.Session, error) {
	n := f.opens.Add(1)
	if f.open != nil {
		if err := f.open(n); err != nil {
			return nil, err
		}
	}
	var s *session.Session
	ready := make(chan struct{})
	s = session.Work{
		Check: func(r *core.Request) *core.Error { return session.Check(r, []core.Kind{core.Generate}) },
		Answer: func(ctx context.Context, r *core.Request, delta func(string)) (core.Response, error) {
			<-ready
			return f.answer(ctx, s, r, delta)
		},
	}.Open(ctx)
	close(ready)
	return s, nil
}

type result struct {
	events map[string]core.Event
	text   map[string]string // joined deltas
	news   []core.Progress
	err    error
}

// run sends the requests and reads until each has its final event or the
// session ends.
func run(t *testing.T, b core.Backend, requests ...core.Request) result {
	t.Helper()
	s, err := b.Open(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	go func() {
		for _, r := range requests {
			if err := s.Send(r); err != nil {
				t.Errorf("send: %v", err)
			}
		}
	}()
	res := result{events: map[string]core.Event{}, text: map[string]string{}}
	if len(requests) == 0 {
		return res
	}
	for ev, err := range s.Events() {
		if err != nil {
			res.err = err
			break
		}
		switch ev.Kind {
		case core.EventProgress:
			res.news = append(res.news, *ev.Progress)
		case core.EventDelta:
			res.text[ev.ID] += ev.Text
		default:
			if _, twice := res.events[ev.ID]; twice {
				t.Errorf("second final event for %s", ev.ID)
			}
			res.events[ev.ID] = ev
		}
		if len(res.events) == len(requests) {
			break
		}
	}
	return res
}

func ask(id, prompt string) core.Request {
	return core.Request{ID: id, Kind: core.Generate, Prompt: prompt}
}

func TestContract(t *testing.T) {
	for name, options := range map[string]map[string]string{
		"calm":   {"latency": "5ms"},
		"stormy": {"error_first": "2", "jitter": "2ms", "stream": "true"},
	} {
		t.Run(name, func(t *testing.T) {
			backendtest.Run(t, func(t *testing.T) core.Backend {
				b, err := echo.New(core.Config{Options: options})
				if err != nil {
					t.Fatal(err)
				}
				return retry.Wrap(b, retry.Options{Base: time.Millisecond})
			}, backendtest.Options{})
		})
	}
}

func TestWaitsGrowAndHonourRetryAfter(t *testing.T) {
	var tries atomic.Int64
	f := &fake{answer: func(_ context.Context, _ *session.Session, r *core.Request, _ func(string)) (core.Response, error) {
		switch n := tries.Add(1); {
		case n == 3:
			return core.Response{}, &core.Error{Code: core.CodeRateLimit, Message: "slow down", RetryAfter: 42 * time.Second}
		case n < 5:
			return core.Response{}, &core.Error{Code: core.CodeUnavailable, Message: "down"}
		}
		return core.Response{Text: "ok"}, nil
	}}
	c := &clock{}
	res := run(t, retry.Wrap(f, retry.Options{Base: time.Second, Seed: 7, After: c.After}), ask("a", "x"))
	resp := res.events["a"].Response
	if resp == nil || resp.Text != "ok" || resp.Attempts != 5 {
		t.Fatalf("got %+v", res.events["a"])
	}
	if len(c.waits) != 4 {
		t.Fatalf("waits %v", c.waits)
	}
	for i, bounds := range [][2]time.Duration{{500, 1000}, {1000, 2000}, {42000, 42000}, {4000, 8000}} {
		if w := c.waits[i] / time.Millisecond; w < bounds[0] || w > bounds[1] {
			t.Errorf("wait %d is %v, want %v ms", i, c.waits[i], bounds)
		}
	}
	if len(res.news) == 0 || res.news[0].Stage != "retry" {
		t.Errorf("news %v", res.news)
	}
}

func TestGivesUp(t *testing.T) {
	tests := []struct {
		name  string
		err   *core.Error
		tries int64
	}{
		{"temporary", &core.Error{Code: core.CodeTimeout, Message: "too long"}, 3},
		{"for ever", &core.Error{Code: core.CodeAuth, Message: "no key"}, 1},
		{"asks for too long a wait", &core.Error{Code: core.CodeRateLimit, Message: "tomorrow", RetryAfter: time.Hour}, 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var tries atomic.Int64
			f := &fake{answer: func(context.Context, *session.Session, *core.Request, func(string)) (core.Response, error) {
				tries.Add(1)
				return core.Response{}, tt.err
			}}
			c := &clock{}
			res := run(t, retry.Wrap(f, retry.Options{Attempts: 3, After: c.After}), ask("a", "x"))
			if e := res.events["a"].Err; e == nil || e.Code != tt.err.Code {
				t.Errorf("got %+v", res.events["a"])
			}
			if tries.Load() != tt.tries {
				t.Errorf("%d tries, want %d", tries.Load(), tt.tries)
			}
		})
	}
}

// A lost session costs a restart: every request is answered, once.
func TestLostSession(t *testing.T) {
	b, err := echo.New(core.Config{Options: map[string]string{"lost_after": "50", "latency": "1ms", "concurrency": "16"}})
	if err != nil {
		t.Fatal(err)
	}
	var requests []core.Request
	for i := range 200 {
		requests = append(requests, ask(fmt.Sprint("r", i), fmt.Sprint("text ", i)))
	}
	res := run(t, retry.Wrap(b, retry.Options{Base: time.Millisecond}), requests...)
	if res.err != nil || len(res.events) != 200 {
		t.Fatalf("%d answers, %v", len(res.events), res.err)
	}
	restarted := 0
	for i := range 200 {
		ev := res.events[fmt.Sprint("r", i)]
		if ev.Response == nil || ev.Response.Text != fmt.Sprint("text ", i) {
			t.Errorf("request %d: %+v", i, ev)
		}
	}
	for _, p := range res.news {
		if p.Stage == "restarted" {
			restarted++
		}
	}
	if restarted != 1 {
		t.Errorf("%d restarts told, want 1", restarted)
	}
}

// One request that ends the backend each time fails on its own.
func TestPoison(t *testing.T) {
	f := &fake{answer: func(_ context.Context, s *session.Session, r *core.Request, _ func(string)) (core.Response, error) {
		if r.Prompt == "poison" {
			s.Break(fmt.Errorf("process died: %w", core.ErrSessionLost))
			return core.Response{}, context.Canceled
		}
		return core.Response{Text: r.Prompt}, nil
	}}
	c := &clock{}
	requests := []core.Request{ask("p", "poison")}
	for i := range 40 {
		requests = append(requests, ask(fmt.Sprint("r", i), "fine"))
	}
	res := run(t, retry.Wrap(f, retry.Options{After: c.After}), requests...)
	if e := res.events["p"].Err; e == nil || e.Code != core.CodeUnavailable || e.Hint == "" {
		t.Errorf("poison got %+v", res.events["p"])
	}
	for _, r := range requests[1:] {
		if res.events[r.ID].Response == nil {
			t.Errorf("%s got %+v, session %v", r.ID, res.events[r.ID], res.err)
		}
	}
}

func TestRestartsEnd(t *testing.T) {
	f := &fake{
		answer: func(_ context.Context, s *session.Session, r *core.Request, _ func(string)) (core.Response, error) {
			s.Break(core.ErrSessionLost)
			return core.Response{}, context.Canceled
		},
		open: func(n int64) error {
			if n > 1 {
				return errors.New("no such program")
			}
			return nil
		},
	}
	c := &clock{}
	res := run(t, retry.Wrap(f, retry.Options{Restarts: 2, After: c.After}), ask("a", "x"))
	if !errors.Is(res.err, core.ErrSessionLost) || len(res.events) != 0 {
		t.Errorf("got %v, events %v", res.err, res.events)
	}
	if strings.Count(res.err.Error(), "no such program") != 1 {
		t.Errorf("%v: the reason is not there once", res.err)
	}
}

func TestCancelWhileWaiting(t *testing.T) {
	f := &fake{answer: func(context.Context, *session.Session, *core.Request, func(string)) (core.Response, error) {
		return core.Response{}, &core.Error{Code: core.CodeUnavailable, Message: "down"}
	}}
	c := &clock{hold: true}
	s, err := retry.Wrap(f, retry.Options{After: c.After}).Open(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.Send(ask("a", "x")); err != nil {
		t.Fatal(err)
	}
	for ev := range s.Events() {
		if ev.Kind == core.EventProgress { // it waits now
			s.Cancel("a")
			continue
		}
		if ev.Err == nil || ev.Err.Code != core.CodeCancelled {
			t.Errorf("got %+v", ev)
		}
		break
	}
}

// After LastTries those that wait end at once with what they failed with, and
// a try under way is the last.
func TestLastTries(t *testing.T) {
	under, release := make(chan struct{}), make(chan struct{})
	f := &fake{answer: func(_ context.Context, _ *session.Session, r *core.Request, _ func(string)) (core.Response, error) {
		if r.ID == "slow" {
			close(under)
			<-release
		}
		return core.Response{}, &core.Error{Code: core.CodeUnavailable, Message: "down"}
	}}
	b := retry.Wrap(f, retry.Options{Base: time.Hour, Max: time.Hour})
	s, err := b.Open(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for _, id := range []string{"slow", "quick"} {
		if err := s.Send(ask(id, "x")); err != nil {
			t.Fatal(err)
		}
	}
	<-under
	var ended []string
	for ev := range s.Events() {
		if ev.Kind == core.EventProgress { // "quick" waits now
			b.LastTries()
			continue
		}
		if ev.Err == nil || ev.Err.Code != core.CodeUnavailable {
			t.Errorf("got %+v", ev)
		}
		if ended = append(ended, ev.ID); len(ended) == 1 {
			close(release)
			continue
		}
		break
	}
	if fmt.Sprint(ended) != "[quick slow]" {
		t.Errorf("ended %v", ended)
	}
}

// Where the service has asked for a pause, what still waits in the backend is
// cancelled after a while.
func TestLastTriesDuringAPause(t *testing.T) {
	f := &fake{answer: func(ctx context.Context, _ *session.Session, r *core.Request, _ func(string)) (core.Response, error) {
		if r.ID == "behind" { // the backend keeps the pause
			<-ctx.Done()
			return core.Response{}, ctx.Err()
		}
		return core.Response{}, &core.Error{Code: core.CodeRateLimit, Message: "slow down", RetryAfter: time.Minute}
	}}
	var waits []time.Duration
	b := retry.Wrap(f, retry.Options{After: func(d time.Duration, f func()) func() bool {
		waits = append(waits, d)
		if d >= time.Minute {
			return func() bool { return true }
		}
		return time.AfterFunc(0, f).Stop
	}})
	s, err := b.Open(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for _, id := range []string{"behind", "told"} {
		if err := s.Send(ask(id, "x")); err != nil {
			t.Fatal(err)
		}
	}
	var ended []string
	for ev := range s.Events() {
		if ev.Kind == core.EventProgress {
			b.LastTries()
			continue
		}
		if ended = append(ended, fmt.Sprint(ev.ID, " ", ev.Err.Code)); len(ended) == 2 {
			break
		}
	}
	if got := fmt.Sprint(ended); got != "[told rate_limit behind cancelled]" {
		t.Errorf("%s after waits of %v", got, waits)
	}
}

// The deltas of a try that was cut go on where they were.
func TestDeltasAcrossTries(t *testing.T) {
	tests := []struct {
		name          string
		first, second []string
		want          string
	}{
		{"same answer", []string{"one ", "two "}, []string{"one", " two thr", "ee"}, "one two three"},
		{"other answer", []string{"one ", "two "}, []string{"uno ", "dos ", "tres"}, "one two "},
		{"nothing before", nil, []string{"a", "b"}, "ab"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var tries atomic.Int64
			f := &fake{answer: func(_ context.Context, _ *session.Session, _ *core.Request, delta func(string)) (core.Response, error) {
				if tries.Add(1) == 1 {
					for _, d := range tt.first {
						delta(d)
					}
					return core.Response{}, &core.Error{Code: core.CodeCut, Message: "cut"}
				}
				text := ""
				for _, d := range tt.second {
					delta(d)
					text += d
				}
				return core.Response{Text: text}, nil
			}}
			c := &clock{}
			res := run(t, retry.Wrap(f, retry.Options{After: c.After}), ask("a", "x"))
			if res.text["a"] != tt.want {
				t.Errorf("deltas %q, want %q", res.text["a"], tt.want)
			}
		})
	}
}

func TestSameSeedSameWaits(t *testing.T) {
	waits := func() []time.Duration {
		b, err := echo.New(core.Config{Options: map[string]string{"error_first": "4"}})
		if err != nil {
			t.Fatal(err)
		}
		c := &clock{}
		run(t, retry.Wrap(b, retry.Options{Seed: 3, After: c.After}), ask("a", "x"))
		return c.waits
	}
	a, b := waits(), waits()
	if len(a) != 4 || fmt.Sprint(a) != fmt.Sprint(b) {
		t.Errorf("waits %v and %v", a, b)
	}
	for i, w := range a {
		if limit := float64(500*time.Millisecond) * math.Pow(2, float64(i)); float64(w) > limit || float64(w) < limit/2 {
			t.Errorf("wait %d is %v", i, w)
		}
	}
}

// BenchmarkOverhead is the cost of the decorator around a backend that answers
// at once.
func BenchmarkOverhead(b *testing.B) {
	inner, err := echo.New(core.Config{Options: map[string]string{"mode": "constant:yes"}})
	if err != nil {
		b.Fatal(err)
	}
	for name, be := range map[string]core.Backend{"bare": inner, "retry": retry.Wrap(inner, retry.Options{})} {
		b.Run(name, func(b *testing.B) {
			s, err := be.Open(context.Background())
			if err != nil {
				b.Fatal(err)
			}
			defer s.Close()
			b.ReportAllocs()
			go func() {
				for i := range b.N {
					s.Send(ask(fmt.Sprint(i), "question"))
				}
			}()
			n := 0
			for range s.Events() {
				if n++; n == b.N {
					break
				}
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "requests/s")
		})
	}
}
