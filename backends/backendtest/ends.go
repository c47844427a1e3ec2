package backendtest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/evalrun/evalrun/core"
)

func (h *harness) slow(id string) core.Request {
	r := h.o.Slow
	r.ID = id
	return r
}

// openSlow opens a session with n slow requests in flight, slow0 and up; a
// backend that does none skips the test.
func (h *harness) openSlow(n int) *line {
	if !slices.Contains(h.inf.Kinds, h.o.Slow.Kind) {
		h.Skip("the backend does not do the slow request")
	}
	l := h.open()
	for i := range n {
		if err := l.s.Send(h.slow(fmt.Sprint("slow", i))); err != nil {
			h.Fatalf("send: %v", err)
		}
	}
	return l
}

func (h *harness) cancel() {
	const n = 4
	l := h.openSlow(n)
	for i := range n {
		if err := l.s.Cancel(fmt.Sprint("slow", i)); err != nil {
			h.Errorf("cancel: %v", err)
		}
	}
	l.waitFor(n)
	for i := range n {
		if ev := l.final(fmt.Sprint("slow", i)); ev.Err != nil && ev.Err.Code != core.CodeCancelled {
			h.Errorf("cancelled request: %+v, want code cancelled or an answer", ev.Err)
		}
	}
	l.answer(h.request("after"))
}

func (h *harness) cancelUnknown() {
	l := h.open()
	if err := l.s.Cancel("nobody"); err != nil {
		h.Errorf("cancel of an unknown id: %v", err)
	}
	l.answer(h.request("after"))
	if err := l.s.Cancel("after"); err != nil {
		h.Errorf("cancel of an answered id: %v", err)
	}
	l.answer(h.request("still"))
}

func (h *harness) sendAfterClose() {
	l := h.open()
	l.answer(h.request("before"))
	if err := l.s.Close(); err != nil {
		h.Errorf("close: %v", err)
	}
	l.end()
	if err := l.s.Send(h.request("late")); !errors.Is(err, core.ErrSessionClosed) {
		h.Errorf("send after close: %v, want ErrSessionClosed", err)
	}
}

func (h *harness) closeInFlight() {
	l := h.openSlow(4)
	closed := make(chan error, 1)
	go func() { closed <- l.s.Close() }()
	select {
	case err := <-closed:
		if err != nil {
			h.Errorf("close: %v", err)
		}
	case <-time.After(h.o.Timeout):
		h.Fatalf("close takes more than %v", h.o.Timeout)
	}
	l.end()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.broken != nil {
		h.Errorf("close broke the session: %v", l.broken)
	}
}

func (h *harness) closeTwice() {
	l := h.open()
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			if err := l.s.Close(); err != nil {
				h.Errorf("close: %v", err)
			}
		})
	}
	wg.Wait()
	l.end()
	if err := l.s.Cancel("x"); err != nil && !errors.Is(err, core.ErrSessionClosed) {
		h.Errorf("cancel after close: %v", err)
	}
}

// contextEnd: what is in flight is cancelled, or Events ends; nothing more is
// accepted.
func (h *harness) contextEnd() {
	const n = 4
	l := h.openSlow(n)
	l.cancel()
	deadline := time.After(h.o.Timeout)
	for {
		l.mu.Lock()
		got := len(l.finals)
		l.mu.Unlock()
		if got == n {
			break
		}
		select {
		case <-l.news:
			continue
		case <-l.ended:
		case <-deadline:
			h.Fatalf("%d of %d requests cancelled %v after the end of the context", got, n, h.o.Timeout)
		}
		break
	}
	l.mu.Lock()
	for id, evs := range l.finals {
		if e := evs[0].Err; len(evs) != 1 || e != nil && e.Code != core.CodeCancelled {
			h.Errorf("request %s: %d final events, error %+v; want one, cancelled or answered", id, len(evs), e)
		}
	}
	l.mu.Unlock()
	if err := l.s.Send(h.request("late")); err == nil {
		h.Error("a request was accepted after the end of the context")
	}
	if err := l.s.Close(); err != nil {
		h.Errorf("close: %v", err)
	}
	l.end()
}

func (h *harness) openEnded() {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	s, err := h.b.Open(ctx)
	if err != nil {
		return
	}
	defer s.Close()
	if err := s.Send(h.request("late")); err == nil {
		h.Error("a session with an ended context accepts requests")
	}
}
