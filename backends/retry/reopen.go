package retry

import (
	"errors"
	"fmt"
	"time"

	"github.com/evalrun/evalrun/core"
)

// replace opens a new session in the place of the lost one and sends it what
// is in flight. It returns nil when the session is over.
func (s *session) replace(old core.Session, lost error) core.Session {
	s.mu.Lock()
	s.inner = nil
	close(s.gone)
	s.mu.Unlock()
	old.Close()
	first := lost
	for {
		s.mu.Lock()
		s.silent++
		n, u := s.silent, s.rng.Float64()
		s.mu.Unlock()
		if n > s.o.Restarts {
			s.breakOff(fmt.Errorf("gave up after %d restarts without an answer: %w", s.o.Restarts, lost))
			return nil
		}
		if n > 1 && !s.sleep(s.o.backoff(n-1, u)) {
			if !s.isClosed() {
				s.cancelAll()
			}
			return nil
		}
		inner, err := s.b.Backend.Open(s.ctx)
		if err != nil {
			if s.ctx.Err() != nil {
				if !s.isClosed() {
					s.cancelAll()
				}
				return nil
			}
			lost = fmt.Errorf("opening the session again: %w (it was lost: %w)", err, first)
			if !errors.Is(lost, core.ErrSessionLost) {
				lost = fmt.Errorf("%w: %w", core.ErrSessionLost, lost)
			}
			continue
		}
		return s.resend(inner, lost)
	}
}

// sleep waits on the options' clock; false means that the session ended.
func (s *session) sleep(d time.Duration) bool {
	over := make(chan struct{})
	stop := s.o.After(d, func() { close(over) })
	select {
	case <-over:
		return true
	case <-s.ctx.Done():
	case <-s.out.Closed():
	}
	stop()
	return false
}

// resend makes inner the current session and sends what is in flight. The
// requests go out on a goroutine, since Send may wait for events to be read.
func (s *session) resend(inner core.Session, lost error) core.Session {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		inner.Close()
		return nil
	}
	s.inner, s.gone, s.careful = inner, make(chan struct{}), false
	var send []*pending
	var over []core.Event
	for id, p := range s.flight {
		if p.sent {
			p.lost++
			p.sent = false
		}
		switch {
		case p.stop != nil: // waits for its next try; goes to the new session then
		case p.cancelled:
			s.remove(p)
			over = append(over, cancelledEvent(id))
		case p.attempts >= s.o.Attempts:
			s.remove(p)
			over = append(over, core.Event{Kind: core.EventError, ID: id, Err: &core.Error{
				Code:    core.CodeUnavailable,
				Message: fmt.Sprintf("the backend was lost %d times while it worked on this request: %v", p.lost, lost),
				Hint:    "the request itself may be what ends the backend: try it alone",
			}})
		default:
			send = append(send, p)
			s.careful = s.careful || p.lost >= 2
		}
	}
	careful := s.careful
	if !careful {
		for _, p := range send {
			p.sent = true
		}
	}
	gone := s.gone
	s.done.Add(1)
	s.mu.Unlock()
	s.tell("restarted", "%v; opened again, %d requests sent again", lost, len(send))
	for _, ev := range over {
		s.out.Put(ev)
	}
	go func() {
		defer s.done.Done()
		if careful {
			s.oneByOne(inner, gone)
			return
		}
		s.sendAll(inner, send)
	}()
	return inner
}

// oneByOne is how requests go out when some of them were with two sessions that
// were lost: these suspects go first, each waiting for the one before it, so
// that a request which ends the backend does so alone. The others, and what was
// sent meanwhile, follow together.
func (s *session) oneByOne(inner core.Session, gone chan struct{}) {
	for {
		s.mu.Lock()
		if s.inner != inner || s.closed {
			s.mu.Unlock()
			return
		}
		var next *pending
		var others []*pending
		for _, p := range s.flight {
			switch {
			case p.sent || p.stop != nil:
			case p.lost < 2:
				others = append(others, p)
			case next == nil || p.r.ID < next.r.ID:
				next = p
			}
		}
		if next == nil {
			s.careful = false
			for _, p := range others {
				p.sent = true
			}
			s.mu.Unlock()
			s.sendAll(inner, others)
			return
		}
		turn := make(chan struct{})
		next.turn, next.sent = turn, true
		s.mu.Unlock()
		s.transmit(inner, next)
		select {
		case <-turn:
		case <-gone:
			return
		case <-s.ctx.Done():
			return
		}
	}
}

func (s *session) sendAll(inner core.Session, all []*pending) {
	for _, p := range all {
		s.mu.Lock()
		skip := s.flight[p.r.ID] != p || s.inner != inner || s.closed
		s.mu.Unlock()
		if !skip {
			s.transmit(inner, p)
		}
	}
}
