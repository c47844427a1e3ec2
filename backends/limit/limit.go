// Package limit holds a backend to a rate: requests a minute, tokens a minute,
// requests at once. Send blocks until there is room, so the caller feels the
// limit as back pressure and nothing is queued.
package limit

import (
	"context"
	"fmt"
	"iter"
	"math"
	"sync"

	"golang.org/x/time/rate"

	"github.com/evalrun/evalrun/backends/internal/tokens"
	"github.com/evalrun/evalrun/core"
)

// Options of a limited backend; a zero field sets no limit.
type Options struct {
	RequestsPerMinute float64
	// TokensPerMinute counts a request's guessed input tokens and its
	// MaxTokens before it is sent, which is how services count too.
	TokensPerMinute float64
	// InFlight is the number of requests without a final event.
	InFlight int
}

// Wrap limits b. The limits hold over all its sessions together. Close closes b.
func Wrap(b core.Backend, o Options) core.Backend {
	if o == (Options{}) {
		return b
	}
	l := &backend{Backend: b}
	if o.RequestsPerMinute > 0 {
		l.requests = limiter(o.RequestsPerMinute)
	}
	if o.TokensPerMinute > 0 {
		l.tokens = limiter(o.TokensPerMinute)
	}
	if o.InFlight > 0 {
		l.slots = make(chan struct{}, o.InFlight)
	}
	return l
}

// limiter gives out perMinute evenly; what may go at once is a second's worth.
func limiter(perMinute float64) *rate.Limiter {
	perSecond := perMinute / 60
	burst := int(math.Min(math.Ceil(perSecond), 1<<30))
	return rate.NewLimiter(rate.Limit(perSecond), max(burst, 1))
}

type backend struct {
	core.Backend
	requests, tokens *rate.Limiter
	slots            chan struct{}
}

// Info tells the lower of the limit and what keeps the backend busy.
func (b *backend) Info(ctx context.Context) (core.Info, error) {
	info, err := b.Backend.Info(ctx)
	if n := cap(b.slots); n > 0 && (info.InFlight == 0 || info.InFlight > n) {
		info.InFlight = n
	}
	return info, err
}

func (b *backend) Open(ctx context.Context) (core.Session, error) {
	inner, err := b.Backend.Open(ctx)
	if err != nil {
		return nil, err
	}
	s := &session{b: b, inner: inner, waiting: map[string]context.CancelFunc{}}
	s.ctx, s.stop = context.WithCancel(ctx)
	return s, nil
}

type session struct {
	b     *backend
	inner core.Session
	ctx   context.Context
	stop  context.CancelFunc

	mu      sync.Mutex
	held    int // slots of this session
	closed  bool
	waiting map[string]context.CancelFunc // requests that Send holds back
}

// Send waits for the limits, then hands the request on.
func (s *session) Send(r core.Request) error {
	if err := s.wait(&r); err != nil {
		return err
	}
	err := s.inner.Send(r)
	if err != nil {
		s.release()
	}
	return err
}

func (s *session) wait(r *core.Request) error {
	ctx, cancel := context.WithCancel(s.ctx)
	defer cancel()
	s.mu.Lock()
	s.waiting[r.ID] = cancel
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		delete(s.waiting, r.ID)
		s.mu.Unlock()
	}()
	if s.b.slots != nil {
		select {
		case s.b.slots <- struct{}{}:
		case <-ctx.Done():
			return s.ended()
		}
		s.mu.Lock()
		if s.closed {
			s.mu.Unlock()
			<-s.b.slots
			return core.ErrSessionClosed
		}
		s.held++
		s.mu.Unlock()
	}
	err := take(ctx, s.b.requests, 1)
	if err == nil && s.b.tokens != nil {
		err = take(ctx, s.b.tokens, tokens.Prompt(r)+r.Generation.MaxTokens)
	}
	if err != nil {
		s.release()
		return s.ended()
	}
	return nil
}

// ended tells why a waiting Send gives up: the session ended, or the request
// was cancelled while it waited.
func (s *session) ended() error {
	s.mu.Lock()
	closed := s.closed
	s.mu.Unlock()
	if closed {
		return core.ErrSessionClosed
	}
	if cause := context.Cause(s.ctx); cause != nil {
		return fmt.Errorf("%w: %w", core.ErrSessionClosed, cause)
	}
	return &core.Error{Code: core.CodeCancelled, Message: "cancelled while it waited for the rate limit"}
}

// take waits for n units, a burst at a time: a request larger than the burst
// pays over several.
func take(ctx context.Context, l *rate.Limiter, n int) error {
	if l == nil {
		return nil
	}
	for n > 0 {
		k := min(n, l.Burst())
		if err := wait(ctx, l, k); err != nil {
			return err
		}
		n -= k
	}
	return nil
}

// wait is Limiter.WaitN, but a deadline that lies too near is no error before
// it has passed.
func wait(ctx context.Context, l *rate.Limiter, n int) error {
	if _, ok := ctx.Deadline(); !ok {
		return l.WaitN(ctx, n)
	}
	bare, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer context.AfterFunc(ctx, cancel)()
	defer cancel()
	return l.WaitN(bare, n)
}

func (s *session) release() {
	if s.b.slots == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.held > 0 {
		s.held--
		<-s.b.slots
	}
}

// Cancel also reaches a request that Send still holds back: Send then returns
// an *Error with CodeCancelled.
func (s *session) Cancel(id string) error {
	s.mu.Lock()
	if cancel := s.waiting[id]; cancel != nil {
		cancel()
	}
	s.mu.Unlock()
	return s.inner.Cancel(id)
}

func (s *session) Events() iter.Seq2[core.Event, error] {
	if s.b.slots == nil {
		return s.inner.Events()
	}
	return func(yield func(core.Event, error) bool) {
		for ev, err := range s.inner.Events() {
			if err == nil && (ev.Kind == core.EventResponse || ev.Kind == core.EventError) {
				s.release()
			}
			if !yield(ev, err) {
				return
			}
		}
	}
}

func (s *session) Close() error {
	s.mu.Lock()
	s.closed = true
	for ; s.held > 0 && s.b.slots != nil; s.held-- {
		<-s.b.slots
	}
	s.mu.Unlock()
	s.stop()
	return s.inner.Close()
}
