package backendtest

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/evalrun/evalrun/core"
)

// line is an open session with what its events told so far.
type line struct {
	h      *harness
	s      core.Session
	cancel context.CancelFunc

	mu     sync.Mutex
	finals map[string][]core.Event
	deltas map[string]string
	broken error
	news   chan struct{} // one token a change
	ended  chan struct{} // closed when Events returned
}

func (h *harness) open() *line {
	h.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	s, err := h.b.Open(ctx)
	if err != nil {
		cancel()
		h.Fatalf("open: %v", err)
	}
	l := &line{
		h: h, s: s, cancel: cancel,
		finals: map[string][]core.Event{}, deltas: map[string]string{},
		news: make(chan struct{}, 1), ended: make(chan struct{}),
	}
	go l.read()
	h.Cleanup(func() { s.Close(); cancel() })
	return l
}

func (l *line) read() {
	defer close(l.ended)
	for ev, err := range l.s.Events() {
		l.mu.Lock()
		switch {
		case err != nil:
			l.broken = err
		case ev.Kind == core.EventDelta:
			if len(l.finals[ev.ID]) > 0 {
				l.h.Errorf("request %q got a delta after its final event", ev.ID)
			}
			if ev.Text == "" || !utf8.ValidString(ev.Text) {
				l.h.Errorf("request %q got a delta %q that is empty or ends within a character", ev.ID, ev.Text)
			}
			l.deltas[ev.ID] += ev.Text
		case ev.Kind == core.EventResponse:
			if ev.Response == nil {
				l.h.Errorf("request %q got a response event without a response", ev.ID)
			} else if ev.Response.ID != ev.ID {
				l.h.Errorf("event of %q carries the response to %q", ev.ID, ev.Response.ID)
			}
			l.finals[ev.ID] = append(l.finals[ev.ID], ev)
		case ev.Kind == core.EventError:
			if ev.Err == nil || ev.Err.Code == "" || ev.Err.Message == "" || strings.Contains(ev.Err.Message, "\n") {
				l.h.Errorf("request %q failed without a code or a message of one line: %+v", ev.ID, ev.Err)
			}
			l.finals[ev.ID] = append(l.finals[ev.ID], ev)
		case ev.Kind == core.EventProgress:
			if ev.Progress == nil {
				l.h.Error("progress event without progress")
			}
		default:
			l.h.Errorf("event of unknown kind %d", ev.Kind)
		}
		l.mu.Unlock()
		select {
		case l.news <- struct{}{}:
		default:
		}
	}
}

// waitFor waits until n requests have their final events.
func (l *line) waitFor(n int) {
	l.h.Helper()
	deadline := time.After(l.h.o.Timeout)
	for {
		l.mu.Lock()
		got, broken := len(l.finals), l.broken
		l.mu.Unlock()
		if got >= n {
			return
		}
		if broken != nil {
			l.h.Fatalf("session broke with %d of %d answers: %v", got, n, broken)
		}
		select {
		case <-l.news:
		case <-l.ended:
			l.mu.Lock()
			got = len(l.finals)
			l.mu.Unlock()
			if got < n {
				l.h.Fatalf("events ended with %d of %d answers", got, n)
			}
			return
		case <-deadline:
			l.h.Fatalf("%d of %d answers after %v", got, n, l.h.o.Timeout)
		}
	}
}

// final gives the request's only final event.
func (l *line) final(id string) core.Event {
	l.h.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	if n := len(l.finals[id]); n != 1 {
		l.h.Fatalf("request %q got %d final events, want 1", id, n)
	}
	return l.finals[id][0]
}

// ask sends one request and gives its final event. A refusal by Send counts
// as the request's error.
func (l *line) ask(r core.Request) core.Event {
	l.h.Helper()
	if err := l.s.Send(r); err != nil {
		var e *core.Error
		if !errors.As(err, &e) {
			l.h.Fatalf("send %s request: %v (want nil or a *core.Error)", r.Kind, err)
		}
		return core.Event{Kind: core.EventError, ID: r.ID, Err: e}
	}
	l.mu.Lock()
	n := len(l.finals)
	if len(l.finals[r.ID]) > 0 {
		n--
	}
	l.mu.Unlock()
	l.waitFor(n + 1)
	return l.final(r.ID)
}

// answer is ask for requests that must succeed.
func (l *line) answer(r core.Request) *core.Response {
	l.h.Helper()
	ev := l.ask(r)
	if ev.Kind != core.EventResponse {
		l.h.Fatalf("%s request failed: %+v", r.Kind, ev.Err)
	}
	return ev.Response
}

// end waits until Events returned.
func (l *line) end() {
	l.h.Helper()
	select {
	case <-l.ended:
	case <-time.After(l.h.o.Timeout):
		l.h.Fatalf("events go on %v after the end", l.h.o.Timeout)
	}
}
