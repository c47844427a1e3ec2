package session

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"sync"

	"github.com/evalrun/evalrun/core"
)

// Work is what makes a session out of a function that answers one request.
type Work struct {
	// Limit is the number of requests without a final event at which Send
	// begins to block; 0 means 1024.
	Limit int
	// Check refuses a request before it is accepted; nil accepts all.
	Check func(*core.Request) *core.Error
	// Answer gives the answer to one request. It is called on a goroutine of
	// the request's own, up to Limit at once; ctx ends on Cancel, Close and the
	// end of the session's context. delta hands on a piece of the answer.
	// An error that holds no *core.Error becomes CodeInternal, and one that
	// comes with an ended ctx CodeCancelled.
	Answer func(ctx context.Context, r *core.Request, delta func(text string)) (core.Response, error)
}

// Open makes the session. ctx bounds its life as core.Backend.Open says: when
// ctx ends, what is in flight gets CodeCancelled and Events ends after that.
func (w Work) Open(ctx context.Context) *Session {
	if w.Limit <= 0 {
		w.Limit = 1024
	}
	s := &Session{
		work:     w,
		slots:    make(chan struct{}, w.Limit),
		inFlight: make(map[string]context.CancelFunc),
		out:      NewOutbox(),
	}
	s.ctx, s.stop = context.WithCancel(ctx)
	s.forget = context.AfterFunc(ctx, s.drain)
	return s
}

// Session is a core.Session over Work.
type Session struct {
	work Work
	ctx  context.Context
	stop context.CancelFunc
	// forget takes drain off the context that the session was opened with.
	forget func() bool
	slots  chan struct{}
	out    *Outbox

	mu       sync.Mutex
	ended    bool // no request is accepted any more
	inFlight map[string]context.CancelFunc
	running  sync.WaitGroup
}

// Send accepts r, or says why not.
func (s *Session) Send(r core.Request) error {
	if s.work.Check != nil {
		if e := s.work.Check(&r); e != nil {
			return e
		}
	}
	select {
	case s.slots <- struct{}{}:
	case <-s.ctx.Done():
		return s.closedError()
	}
	s.mu.Lock()
	if s.ended || s.ctx.Err() != nil {
		s.mu.Unlock()
		<-s.slots
		return s.closedError()
	}
	if _, twice := s.inFlight[r.ID]; twice {
		s.mu.Unlock()
		<-s.slots
		return &core.Error{Code: core.CodeInvalid, Message: fmt.Sprintf("a request with id %q is already in flight", r.ID)}
	}
	ctx, cancel := context.WithCancel(s.ctx)
	s.inFlight[r.ID] = cancel
	s.running.Add(1)
	s.mu.Unlock()
	go s.answer(ctx, cancel, &r)
	return nil
}

func (s *Session) answer(ctx context.Context, cancel context.CancelFunc, r *core.Request) {
	defer s.running.Done()
	defer cancel()
	resp, err := s.work.Answer(ctx, r, func(text string) {
		if text != "" {
			s.out.Put(core.Event{Kind: core.EventDelta, ID: r.ID, Text: text})
		}
	})
	ev := core.Event{Kind: core.EventResponse, ID: r.ID}
	if err != nil {
		ev.Kind = core.EventError
		ev.Err = failure(ctx, err)
	} else {
		resp.ID = r.ID
		ev.Response = &resp
	}
	// The id is free before its final event can be seen: the caller may use it
	// again at once.
	s.mu.Lock()
	delete(s.inFlight, r.ID)
	s.mu.Unlock()
	s.out.Put(ev)
	<-s.slots
}

// failure makes the event's error: a cancelled request is told as such,
// whatever the answering function made of the end of its context.
func failure(ctx context.Context, err error) *core.Error {
	var e *core.Error
	if ctx.Err() != nil && (!errors.As(err, &e) || e.Code == core.CodeCancelled) {
		return &core.Error{Code: core.CodeCancelled, Message: "the request was cancelled"}
	}
	return core.AsError(err)
}

func (s *Session) closedError() error {
	s.mu.Lock()
	ended := s.ended
	s.mu.Unlock()
	if cause := context.Cause(s.ctx); cause != nil && !ended {
		return fmt.Errorf("%w: %w", core.ErrSessionClosed, cause)
	}
	return core.ErrSessionClosed
}

// Cancel ends the context of the request, if it is in flight.
func (s *Session) Cancel(id string) error {
	s.mu.Lock()
	cancel := s.inFlight[id]
	s.mu.Unlock()
	if cancel != nil {
		cancel()
	}
	return nil
}

// Tell puts news that belongs to no request among the events.
func (s *Session) Tell(p core.Progress) {
	s.out.Put(core.Event{Kind: core.EventProgress, Progress: &p})
}

// Break ends the session as lost: Events yields err after what was put before.
// err should wrap core.ErrSessionLost.
func (s *Session) Break(err error) {
	s.mu.Lock()
	s.ended = true
	s.mu.Unlock()
	s.out.End(err)
	s.stop()
}

// drain runs when the context that the session was opened with ends.
func (s *Session) drain() {
	s.mu.Lock()
	if s.ended {
		s.mu.Unlock()
		return
	}
	s.ended = true
	s.mu.Unlock()
	s.running.Wait()
	s.out.End(nil)
}

// Events yields until Close, the end of the context, or Break.
func (s *Session) Events() iter.Seq2[core.Event, error] { return s.out.Events() }

// Close cancels what is in flight, waits for it, and ends Events.
func (s *Session) Close() error {
	s.mu.Lock()
	s.ended = true
	s.mu.Unlock()
	s.out.Close()
	s.forget()
	s.stop()
	s.running.Wait()
	return nil
}
