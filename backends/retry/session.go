package retry

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	sess "github.com/evalrun/evalrun/backends/internal/session"
	"github.com/evalrun/evalrun/core"
)

// pending is a request that was accepted and has no final event yet. The
// session's mutex guards it.
type pending struct {
	r         core.Request
	attempts  int  // times sent
	lost      int  // times that a session was lost while it had the request
	sent      bool // the current inner session has it
	cancelled bool // the caller asked for its end
	// stop takes the next try off the clock; nil while the request is not
	// waiting for one.
	stop func() bool
	err  *core.Error // of the try before that wait
	// turn is closed when the current try is over; nil unless somebody waits.
	turn chan struct{}
	// told are the deltas handed on, got those of the current try: a further
	// try continues where the told ones end, or stays silent when it differs.
	told, got string
}

type session struct {
	o     *Options
	b     *Backend
	ctx   context.Context
	leave context.CancelFunc
	out   *sess.Outbox
	done  sync.WaitGroup // the pump and the tries under way

	mu       sync.Mutex
	inner    core.Session  // nil while a lost session is being replaced
	gone     chan struct{} // closed when inner is
	careful  bool          // requests go out one by one: see oneByOne
	flight   map[string]*pending
	closed   bool // no request is accepted any more
	silent   int  // sessions lost in a row without an answer
	rng      *rand.Rand
	lastNews time.Time
	ending   sync.Once // of endSoon
}

func newSession(ctx context.Context, b *Backend, inner core.Session) *session {
	s := &session{
		o: &b.o, b: b, out: sess.NewOutbox(), inner: inner, gone: make(chan struct{}),
		flight: make(map[string]*pending), rng: rand.New(rand.NewPCG(b.o.Seed, 0)),
	}
	s.ctx, s.leave = context.WithCancel(ctx)
	s.done.Add(2)
	go s.pump(inner)
	go s.watchLast()
	return s
}

// watchLast ends the waits when nothing shall be tried again.
func (s *session) watchLast() {
	defer s.done.Done()
	select {
	case <-s.b.last:
	case <-s.ctx.Done():
		return
	}
	s.mu.Lock()
	var waiting []*pending
	for _, p := range s.flight {
		if p.stop != nil && p.stop() {
			waiting = append(waiting, p)
		}
	}
	s.mu.Unlock()
	for _, p := range waiting {
		s.failed(p, p.err)
	}
}

// endSoon cancels what is still in flight after a while. It is called where nothing
// shall be tried again and the service has asked for a pause, or does not answer: a
// backend may still hold requests that it has not sent, and nobody need wait for those.
func (s *session) endSoon() {
	s.ending.Do(func() {
		s.o.After(pauseKept, func() {
			s.mu.Lock()
			ids := slices.Collect(maps.Keys(s.flight))
			s.mu.Unlock()
			for _, id := range ids {
				_ = s.Cancel(id)
			}
		})
	})
}

// pauseKept is how long answers under way may take then.
const pauseKept = 10 * time.Second

// isLast tells whether nothing shall be tried again.
func (s *session) isLast() bool {
	select {
	case <-s.b.last:
		return true
	default:
		return false
	}
}

// Send accepts a request. While a lost session is being replaced it returns at
// once and the request goes out with the others.
func (s *session) Send(r core.Request) error {
	s.mu.Lock()
	if s.closed || s.ctx.Err() != nil {
		s.mu.Unlock()
		return s.closedError()
	}
	if s.flight[r.ID] != nil {
		s.mu.Unlock()
		return &core.Error{Code: core.CodeInvalid, Message: fmt.Sprintf("a request with id %q is already in flight", r.ID)}
	}
	p := &pending{r: r}
	s.flight[r.ID] = p
	inner := s.inner
	if inner == nil || s.careful {
		s.mu.Unlock()
		return nil // goes out with the others
	}
	p.attempts++
	p.sent = true
	s.done.Add(1)
	s.mu.Unlock()
	defer s.done.Done()
	err := inner.Send(r)
	if err == nil {
		s.cancelLate(inner, p)
		return nil
	}
	var e *core.Error
	isError := errors.As(err, &e)
	s.mu.Lock()
	if s.flight[r.ID] != p || s.inner != inner && !s.closed {
		s.mu.Unlock()
		return nil // it got its event meanwhile, or went to a new session
	}
	switch {
	case isError && e.Temporary():
		s.mu.Unlock()
		s.failed(p, e)
		return nil
	case isError:
		s.remove(p)
		s.mu.Unlock()
		return err
	}
	defer s.mu.Unlock()
	if s.closed || s.ctx.Err() != nil {
		s.remove(p)
		return s.closedErrorLocked()
	}
	return nil // the session broke: the pump will see it and send r again
}

func (s *session) closedError() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closedErrorLocked()
}

func (s *session) closedErrorLocked() error {
	if cause := context.Cause(s.ctx); cause != nil && !s.closed {
		return fmt.Errorf("%w: %w", core.ErrSessionClosed, cause)
	}
	return core.ErrSessionClosed
}

// cancelLate passes on a Cancel that came before inner knew the request.
func (s *session) cancelLate(inner core.Session, p *pending) {
	s.mu.Lock()
	late := p.cancelled && s.flight[p.r.ID] == p
	s.mu.Unlock()
	if late {
		inner.Cancel(p.r.ID)
	}
}

// again sends a request whose wait is over.
func (s *session) again(p *pending) {
	s.mu.Lock()
	if s.flight[p.r.ID] != p || s.closed {
		s.mu.Unlock()
		return
	}
	p.stop = nil
	inner := s.inner
	if inner == nil || s.careful {
		s.mu.Unlock()
		return // goes out with the others
	}
	p.sent = true
	s.done.Add(1)
	s.mu.Unlock()
	defer s.done.Done()
	s.transmit(inner, p)
}

// remove ends p's flight; it needs the mutex.
func (s *session) remove(p *pending) {
	delete(s.flight, p.r.ID)
	p.endTurn()
}

func (p *pending) endTurn() {
	if p.turn != nil {
		close(p.turn)
		p.turn = nil
	}
}

// transmit sends p to inner once more.
func (s *session) transmit(inner core.Session, p *pending) {
	s.mu.Lock()
	p.attempts++
	p.got = ""
	s.mu.Unlock()
	err := inner.Send(p.r)
	var e *core.Error
	switch {
	case err == nil:
		s.cancelLate(inner, p)
	case errors.As(err, &e):
		s.mu.Lock()
		stale := s.inner != inner // p went to a new session meanwhile
		s.mu.Unlock()
		if !stale {
			s.failed(p, e)
		}
	}
	// Anything else broke the session, and the pump sees that too.
}

// failed deals with an error of p: another try later, or its final event.
func (s *session) failed(p *pending, e *core.Error) {
	s.mu.Lock()
	if s.flight[p.r.ID] != p {
		s.mu.Unlock()
		return
	}
	if p.cancelled || s.closed || s.ctx.Err() != nil || s.isLast() || !e.Temporary() ||
		p.attempts >= s.o.Attempts || e.RetryAfter > s.o.MaxRetryAfter {
		s.remove(p)
		n := p.attempts
		s.mu.Unlock()
		if n > 1 && e.Temporary() {
			tried := *e
			tried.Message = fmt.Sprintf("%s (tried %d times)", e.Message, n)
			e = &tried
		}
		s.out.Put(core.Event{Kind: core.EventError, ID: p.r.ID, Err: e})
		if (e.Code == core.CodeRateLimit || e.Code == core.CodeTimeout) && s.isLast() {
			s.endSoon()
		}
		return
	}
	wait := max(s.o.backoff(p.attempts, s.rng.Float64()), e.RetryAfter)
	p.sent, p.err = false, e
	p.stop = s.o.After(wait, func() { s.again(p) })
	p.endTurn()
	n, news := p.attempts, s.newsDue()
	s.mu.Unlock()
	if news {
		s.tell("retry", "%s; trying again in %s (try %d of %d)", e.Error(), wait.Round(time.Millisecond), n+1, s.o.Attempts)
	}
}

// newsDue keeps the news of waits to one a second.
func (s *session) newsDue() bool {
	now := time.Now()
	if now.Sub(s.lastNews) < time.Second {
		return false
	}
	s.lastNews = now
	return true
}

func (s *session) tell(stage, format string, args ...any) {
	s.out.Put(core.Event{Kind: core.EventProgress, Progress: &core.Progress{Stage: stage, Message: fmt.Sprintf(format, args...)}})
}

// pump carries the events of the current inner session outwards and replaces
// it when it is lost.
func (s *session) pump(inner core.Session) {
	defer s.done.Done()
	for inner != nil {
		var lost error
		for ev, err := range inner.Events() {
			if err != nil {
				lost = err
				break
			}
			s.event(ev)
		}
		if s.isClosed() {
			return
		}
		if s.ctx.Err() != nil {
			s.cancelAll()
			return
		}
		if lost == nil {
			lost = fmt.Errorf("events ended before the session was closed: %w", core.ErrSessionLost)
		}
		if !errors.Is(lost, core.ErrSessionLost) {
			s.breakOff(lost)
			return
		}
		inner = s.replace(inner, lost)
	}
}

func (s *session) isClosed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closed
}

func (s *session) event(ev core.Event) {
	switch ev.Kind {
	case core.EventDelta:
		s.mu.Lock()
		p := s.flight[ev.ID]
		if p == nil {
			s.mu.Unlock()
			return
		}
		ev.Text = p.next(ev.Text)
		s.mu.Unlock()
		if ev.Text == "" {
			return
		}
	case core.EventResponse:
		s.mu.Lock()
		p := s.flight[ev.ID]
		s.silent = 0
		attempts := 0
		if p != nil {
			attempts = p.attempts
			s.remove(p)
		}
		s.mu.Unlock()
		if p == nil {
			return
		}
		if attempts > 1 {
			r := *ev.Response
			r.Attempts = max(r.Attempts, 1) + attempts - 1
			ev.Response = &r
		}
	case core.EventError:
		s.mu.Lock()
		p := s.flight[ev.ID]
		s.silent = 0
		s.mu.Unlock()
		if p != nil {
			s.failed(p, ev.Err)
		}
		return
	}
	s.out.Put(ev)
}

// next gives the part of a try's next piece that was not told by an earlier
// try.
func (p *pending) next(piece string) string {
	p.got += piece
	if rest, agrees := strings.CutPrefix(p.got, p.told); agrees {
		p.told = p.got
		return rest
	}
	return ""
}

func cancelledEvent(id string) core.Event {
	return core.Event{Kind: core.EventError, ID: id, Err: &core.Error{Code: core.CodeCancelled, Message: "the request was cancelled"}}
}

// cancelAll runs when the context has ended: what has no final event gets one,
// then Events ends.
func (s *session) cancelAll() {
	for _, id := range s.clear() {
		s.out.Put(cancelledEvent(id))
	}
	s.out.End(nil)
}

// breakOff ends the session with an error; what is in flight gets no event.
func (s *session) breakOff(err error) {
	s.clear()
	s.out.End(err)
}

func (s *session) clear() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	var ids []string
	for id, p := range s.flight {
		if p.stop != nil {
			p.stop()
		}
		p.endTurn()
		ids = append(ids, id)
	}
	clear(s.flight)
	return ids
}

// Cancel ends a wait at once, or passes the wish on.
func (s *session) Cancel(id string) error {
	s.mu.Lock()
	p := s.flight[id]
	if p == nil {
		s.mu.Unlock()
		return nil
	}
	p.cancelled = true
	inner := s.inner
	if p.stop != nil && p.stop() {
		s.remove(p)
		s.done.Add(1)
		s.mu.Unlock()
		go func() { // the caller may be the one who reads the events
			defer s.done.Done()
			s.out.Put(cancelledEvent(id))
		}()
		return nil
	}
	s.mu.Unlock()
	if inner == nil {
		return nil
	}
	return inner.Cancel(id)
}

func (s *session) Events() iter.Seq2[core.Event, error] { return s.out.Events() }

func (s *session) Close() error {
	s.clear()
	s.mu.Lock()
	inner := s.inner
	s.mu.Unlock()
	s.out.Close()
	s.leave()
	var err error
	if inner != nil {
		err = inner.Close()
	}
	s.done.Wait()
	return err
}
