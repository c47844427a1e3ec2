package engine

import (
	"fmt"
	"iter"
	"sync"
)

// Session is one caller's line to the engine: requests go in by Submit, their
// events come out of Events. Submit and Cancel may be called by several
// goroutines; Events is ranged over by one.
//
// Every accepted request ends in exactly one event with a Response or an
// error, unless the session is closed first.
type Session struct {
	engine *Engine

	mu     sync.Mutex
	news   sync.Cond
	events []Event
	live   map[string]*job
	closed bool
}

// NewSession opens a session. Close it. A session of a closed engine is closed.
func (e *Engine) NewSession() *Session {
	s := &Session{engine: e, live: map[string]*job{}}
	s.news.L = &s.mu
	e.mu.Lock()
	defer e.mu.Unlock()
	s.closed = e.closed
	e.sessions[s] = true
	return s
}

// Submit hands a request over. It blocks while the engine's queue is full. An
// error, which wraps ErrInvalid, ErrContext, ErrNoAdapter, an *AdapterError or
// ErrClosed, means that the request was not accepted and no event will come.
func (s *Session) Submit(r Request) error {
	j, err := s.engine.newJob(s, r)
	if err != nil {
		return fmt.Errorf("request %q: %w", r.ID, err)
	}
	s.mu.Lock()
	switch {
	case s.closed:
		err = ErrClosed
	case s.live[r.ID] != nil:
		err = fmt.Errorf("the id is in use: %w", ErrInvalid)
	default:
		s.live[r.ID] = j
	}
	s.mu.Unlock()
	if err == nil {
		err = s.engine.enqueue(j)
		if err != nil {
			s.forget(r.ID)
		}
	}
	if err != nil {
		return fmt.Errorf("request %q: %w", r.ID, err)
	}
	return nil
}

// Cancel asks for an end of the request. Its last event is then ErrCancelled,
// or the answer if that was already made. An unknown id is no error.
func (s *Session) Cancel(id string) {
	s.mu.Lock()
	j := s.live[id]
	s.mu.Unlock()
	if j != nil {
		s.engine.cancel(j)
	}
}

// Events yields events until the session or the engine is closed. Events of
// one request are in order; requests end in any order.
func (s *Session) Events() iter.Seq[Event] {
	return func(yield func(Event) bool) {
		for {
			s.mu.Lock()
			for len(s.events) == 0 && !s.closed {
				s.news.Wait()
			}
			batch := s.events
			s.events = nil
			s.mu.Unlock()
			if len(batch) == 0 {
				return
			}
			for _, e := range batch {
				if !yield(e) {
					return
				}
			}
		}
	}
}

// Close cancels what is in flight and ends Events. Idempotent.
func (s *Session) Close() error {
	s.mu.Lock()
	var live []*job
	for _, j := range s.live {
		live = append(live, j)
	}
	s.closed = true
	s.events = nil
	s.news.Broadcast()
	s.mu.Unlock()
	for _, j := range live {
		s.engine.cancel(j)
	}
	s.engine.mu.Lock()
	defer s.engine.mu.Unlock()
	delete(s.engine.sessions, s)
	return nil
}

// emit queues an event; it never blocks the engine.
func (s *Session) emit(e Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e.Response != nil || e.Err != nil {
		delete(s.live, e.ID)
	}
	if !s.closed {
		s.events = append(s.events, e)
		s.news.Signal()
	}
}

func (s *Session) forget(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.live, id)
}

func (s *Session) isClosed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closed
}
