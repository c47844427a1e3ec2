package plugins

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/evalrun/evalrun/core"
)

// An AnswerFunc answers one request. It is called by many goroutines at once.
// ctx ends when the request is cancelled; delta may be called, in order, with
// pieces of the text as it comes, each ending between characters. An error that
// holds a *core.Error is told as such, any other as core.CodeInternal.
//
// The response's ID, and Seconds where it is 0, are filled in.
type AnswerFunc func(ctx context.Context, r core.Request, delta func(text string)) (core.Response, error)

// Simple makes a backend of a description and a function: enough for one that
// asks a service or computes each answer on its own. It refuses requests of
// kinds that info does not list and those that no backend can answer, keeps at
// most info.InFlight answers in work (0 means 16), and sees to cancelling.
func Simple(info core.Info, answer AnswerFunc) core.Backend {
	if info.InFlight <= 0 {
		info.InFlight = 16
	}
	return &simple{info: info, answer: answer}
}

type simple struct {
	info   core.Info
	answer AnswerFunc
}

func (b *simple) Info(context.Context) (core.Info, error) { return b.info, nil }

func (b *simple) Close() error { return nil }

func (b *simple) Open(ctx context.Context) (core.Session, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	s := &simpleSession{
		backend: b,
		places:  make(chan struct{}, b.info.InFlight),
		events:  make(chan core.Event),
		cancels: map[string]context.CancelFunc{},
	}
	s.ctx, s.stop = context.WithCancel(ctx)
	return s, nil
}

type simpleSession struct {
	backend *simple
	ctx     context.Context // ends with Close or the caller's context
	stop    context.CancelFunc
	places  chan struct{} // one taken by each request in work
	events  chan core.Event

	mu      sync.Mutex // guards closed, cancels and the adding to work
	closed  bool
	cancels map[string]context.CancelFunc
	work    sync.WaitGroup
}

func (s *simpleSession) Send(r core.Request) error {
	if err := check(&s.backend.info, &r); err != nil {
		return err
	}
	select {
	case s.places <- struct{}{}:
	case <-s.ctx.Done():
		return core.ErrSessionClosed
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.ctx.Err() != nil {
		<-s.places
		return core.ErrSessionClosed
	}
	ctx, cancel := context.WithCancel(s.ctx)
	s.cancels[r.ID] = cancel
	s.work.Go(func() {
		defer func() { <-s.places }()
		defer cancel()
		e := s.answer(ctx, r)
		s.mu.Lock()
		delete(s.cancels, r.ID)
		s.mu.Unlock()
		s.tell(e)
	})
	return nil
}

// answer gives the final event of a request.
func (s *simpleSession) answer(ctx context.Context, r core.Request) core.Event {
	began := time.Now()
	response, err := s.backend.answer(ctx, r, func(text string) {
		if text != "" {
			s.tell(core.Event{Kind: core.EventDelta, ID: r.ID, Text: text})
		}
	})
	var own *core.Error
	switch {
	case err == nil:
		response.ID = r.ID
		if response.Seconds == 0 {
			response.Seconds = time.Since(began).Seconds()
		}
		return core.Event{Kind: core.EventResponse, ID: r.ID, Response: &response}
	case ctx.Err() != nil && !errors.As(err, &own):
		own = &core.Error{Code: core.CodeCancelled, Message: "cancelled"}
	default:
		own = core.AsError(err)
	}
	return core.Event{Kind: core.EventError, ID: r.ID, Err: own}
}

func (s *simpleSession) tell(e core.Event) {
	select {
	case s.events <- e:
	case <-s.ctx.Done():
	}
}

func (s *simpleSession) Cancel(id string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if cancel := s.cancels[id]; cancel != nil {
		cancel()
	}
	return nil
}

func (s *simpleSession) Events() iter.Seq2[core.Event, error] {
	return func(yield func(core.Event, error) bool) {
		for {
			select {
			case e := <-s.events:
				if !yield(e, nil) {
					return
				}
			case <-s.ctx.Done():
				return
			}
		}
	}
}

func (s *simpleSession) Close() error {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.stop()
	s.work.Wait()
	return nil
}

// check refuses what no backend can answer.
func check(info *core.Info, r *core.Request) error {
	refuse := func(format string, args ...any) error {
		return &core.Error{Code: core.CodeInvalid, Message: fmt.Sprintf(format, args...)}
	}
	g := &r.Generation
	switch {
	case !slices.Contains(info.Kinds, r.Kind):
		return refuse("the backend %s does not do %s", info.Name, r.Kind)
	case r.Messages != nil && len(r.Messages) == 0:
		return refuse("the chat holds no message")
	case r.Messages != nil && !slices.Contains(info.Forms, core.FormChat):
		return refuse("the backend %s takes no chats", info.Name)
	case r.Kind == core.ScoreText && len(r.Continuations) == 0:
		return refuse("there are no continuations to score")
	case g.MaxTokens < 0:
		return refuse("max_tokens is %d", g.MaxTokens)
	case !(g.Temperature >= 0) || math.IsInf(g.Temperature, 0):
		return refuse("temperature is %v", g.Temperature)
	case !(g.TopP >= 0 && g.TopP <= 1):
		return refuse("top_p is %v", g.TopP)
	}
	return nil
}
