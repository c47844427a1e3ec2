package cached

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"sync"
	"time"

	sess "github.com/evalrun/evalrun/backends/internal/session"
	"github.com/evalrun/evalrun/core"
)

// limit is the number of requests of a session without a final event at which
// Send blocks. The queues between the stages hold as many, so that no stage
// ever waits for another one's queue.
const limit = 4096

// keepBatch is the most answers in one transaction, keepWait how long a small
// one waits for company.
const (
	keepBatch = 256
	keepWait  = 2 * time.Millisecond
)

// pending is a request without a final event. The session's mutex guards it.
type pending struct {
	r         core.Request
	key       Key
	flight    *flight // nil: the answer cannot be identified and is not kept
	sent      bool    // the inner session has it
	cancelled bool
}

// flight is one question under way: the request that asks it, and the equal
// ones that wait for its answer.
type flight struct {
	leader    *pending
	followers []*pending
}

// answered is an answer on its way into the file.
type answered struct {
	p    *pending
	resp *core.Response
}

// session works in four stages, each a goroutine: look (asks the file), forward
// (sends what the file lacks), pump (reads the inner session's events), and
// keep (stores answers, then hands them on). look and keep work in batches of
// what has gathered while they were busy.
type session struct {
	b     *Backend
	id    identity
	model modelID
	inner core.Session
	out   *sess.Outbox
	ctx   context.Context
	leave context.CancelFunc

	slots   chan struct{}
	lookups chan *pending
	misses  chan *pending
	answers chan answered
	stages  sync.WaitGroup // look and forward
	kept    chan struct{}  // closed when keep is done
	over    chan struct{}  // closed when pump is done, the last of all

	mu      sync.Mutex
	pending map[string]*pending
	flights map[Key]*flight
	closed  bool
	warned  bool
}

func newSession(ctx context.Context, b *Backend, inner core.Session, info core.Info) *session {
	s := &session{
		b: b, id: identify(info, b.o.Scope), inner: inner, out: sess.NewOutbox(),
		model:   modelID{info.Name, info.Model, info.Revision},
		slots:   make(chan struct{}, limit),
		lookups: make(chan *pending, limit),
		misses:  make(chan *pending, limit),
		answers: make(chan answered, limit),
		pending: make(map[string]*pending),
		flights: make(map[Key]*flight),
		kept:    make(chan struct{}),
		over:    make(chan struct{}),
	}
	s.ctx, s.leave = context.WithCancel(ctx)
	s.stages.Go(s.look)
	s.stages.Go(s.forward)
	go s.pump()
	go s.keep()
	return s
}

// Send accepts a request; all else happens behind it.
func (s *session) Send(r core.Request) error {
	select {
	case s.slots <- struct{}{}:
	case <-s.ctx.Done():
		return s.closedError()
	}
	p := &pending{r: r}
	key, known := s.id.key(&r)
	s.mu.Lock()
	if s.closed || s.ctx.Err() != nil {
		s.mu.Unlock()
		<-s.slots
		return s.closedError()
	}
	if s.pending[r.ID] != nil {
		s.mu.Unlock()
		<-s.slots
		return &core.Error{Code: core.CodeInvalid, Message: fmt.Sprintf("a request with id %q is already in flight", r.ID)}
	}
	s.pending[r.ID] = p
	queue := s.misses
	if known {
		p.key = key
		if f := s.flights[key]; f != nil {
			p.flight = f
			f.followers = append(f.followers, p)
			s.mu.Unlock()
			return nil
		}
		p.flight = &flight{leader: p}
		s.flights[key] = p.flight
		queue = s.lookups
	}
	s.mu.Unlock()
	queue <- p // never blocks: there are as many places as slots
	return nil
}

func (s *session) closedError() error {
	s.mu.Lock()
	closed := s.closed
	s.mu.Unlock()
	if cause := context.Cause(s.ctx); cause != nil && !closed {
		return fmt.Errorf("%w: %w", core.ErrSessionClosed, cause)
	}
	return core.ErrSessionClosed
}

// gather takes what waits in c after first, up to n in all.
func gather[T any](first T, c <-chan T, n int, into []T) []T {
	into = append(into[:0], first)
	for len(into) < n {
		select {
		case v, ok := <-c:
			if !ok {
				return into
			}
			into = append(into, v)
		default:
			return into
		}
	}
	return into
}

func (s *session) look() {
	var work []*pending
	var keys, bad []Key
	hits := make(map[Key]core.Response, batch)
	for {
		select {
		case first := <-s.lookups:
			work = gather(first, s.lookups, batch, work)
		case <-s.ctx.Done():
			return
		}
		keys = keys[:0]
		for _, p := range work {
			keys = append(keys, p.key)
		}
		clear(hits)
		err := s.b.store.get(keys, func(k Key, answer []byte) {
			if r, err := decodeValue(answer); err == nil {
				hits[k] = r
			} else {
				bad = append(bad, k)
			}
		})
		if len(bad) > 0 {
			s.warn("%d stored answers are damaged; they are asked for again", len(bad))
			if err == nil {
				err = s.b.store.remove(bad)
			}
			bad = bad[:0]
		}
		if err != nil {
			s.warn("reading the response cache: %v; its answers are not used", err)
		}
		for _, p := range work {
			if resp, ok := hits[p.key]; ok {
				resp.Cached = true
				s.b.hits.Add(1)
				s.finish(p, &resp)
				continue
			}
			s.b.misses.Add(1)
			s.misses <- p
		}
	}
}

func (s *session) forward() {
	for {
		var p *pending
		select {
		case p = <-s.misses:
		case <-s.ctx.Done():
			return
		}
		s.mu.Lock()
		if p.cancelled {
			s.mu.Unlock()
			s.fail(p, cancelledError())
			continue
		}
		p.sent = true
		s.mu.Unlock()
		err := s.inner.Send(p.r)
		var e *core.Error
		switch {
		case err == nil:
			s.mu.Lock()
			late := p.cancelled && s.pending[p.r.ID] == p
			s.mu.Unlock()
			if late {
				s.inner.Cancel(p.r.ID)
			}
		case errors.As(err, &e):
			s.fail(p, e)
		}
		// Anything else ended the session, and pump sees that too.
	}
}

func (s *session) pump() {
	defer close(s.over)
	var lost error
	for ev, err := range s.inner.Events() {
		if err != nil {
			lost = err
			break
		}
		s.mu.Lock()
		p := s.pending[ev.ID]
		s.mu.Unlock()
		switch ev.Kind {
		case core.EventResponse:
			switch {
			case p == nil:
			case p.flight != nil && worthKeeping(&p.r, ev.Response):
				s.answers <- answered{p, ev.Response}
			default:
				s.finish(p, ev.Response)
			}
		case core.EventError:
			if p != nil {
				s.fail(p, ev.Err)
			}
		case core.EventDelta:
			if p != nil {
				s.out.Put(ev)
			}
		default:
			s.out.Put(ev)
		}
	}
	// The session ends: nothing more is accepted, what came is stored first.
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	ended := s.ctx.Err() != nil
	s.leave()
	s.stages.Wait()
	close(s.answers)
	if lost == nil && !ended {
		lost = fmt.Errorf("events ended before the session was closed: %w", core.ErrSessionLost)
	}
	<-s.kept
	if lost != nil {
		s.out.End(lost)
		return
	}
	s.mu.Lock()
	left := s.pending
	s.pending = map[string]*pending{}
	s.mu.Unlock()
	for id := range left {
		s.out.Put(core.Event{Kind: core.EventError, ID: id, Err: cancelledError()})
	}
	s.out.End(nil)
}

// keep stores answers in batches and hands each on once it is in the file.
func (s *session) keep() {
	defer close(s.kept)
	var work []answered
	var rows []row
	for first := range s.answers {
		work = s.wait(gather(first, s.answers, keepBatch, work))
		rows = rows[:0]
		for _, a := range work {
			rows = append(rows, row{key: a.p.key, model: s.model, cost: a.resp.CostUSD, answer: encodeValue(a.resp)})
		}
		if err := s.b.store.add(rows); err != nil {
			s.warn("storing answers in the response cache: %v; the run goes on without it", err)
		}
		for _, a := range work {
			s.finish(a.p, a.resp)
		}
	}
}

// wait lets a batch grow for a moment when more answers are on their way: a
// transaction costs as much as storing twenty rows in it.
func (s *session) wait(work []answered) []answered {
	s.mu.Lock()
	most := min(len(s.pending), keepBatch/8)
	s.mu.Unlock()
	if len(work) >= most || s.ctx.Err() != nil {
		return work
	}
	timer := time.NewTimer(keepWait)
	defer timer.Stop()
	for len(work) < most {
		select {
		case a, ok := <-s.answers:
			if !ok {
				return work
			}
			work = append(work, a)
		case <-timer.C:
			return work
		}
	}
	return work
}

// finish hands the answer of p to it and to those who wait for it.
func (s *session) finish(p *pending, resp *core.Response) {
	s.mu.Lock()
	if s.pending[p.r.ID] != p {
		s.mu.Unlock()
		return
	}
	delete(s.pending, p.r.ID)
	var followers []*pending
	if p.flight != nil {
		delete(s.flights, p.key)
		followers = p.flight.followers
		for _, f := range followers {
			delete(s.pending, f.r.ID)
		}
	}
	s.mu.Unlock()
	resp.ID = p.r.ID
	copies := make([]core.Response, len(followers)) // resp is the reader's once it is put
	for i, f := range followers {
		c := *resp
		c.ID, c.Cached, c.CostUSD, c.Attempts = f.r.ID, true, 0, 0
		c.Logprobs, c.Scores = slices.Clone(resp.Logprobs), slices.Clone(resp.Scores)
		c.Embedding, c.Tokens = slices.Clone(resp.Embedding), slices.Clone(resp.Tokens)
		copies[i] = c
	}
	s.out.Put(core.Event{Kind: core.EventResponse, ID: p.r.ID, Response: resp})
	<-s.slots
	for i := range copies {
		s.b.shared.Add(1)
		s.out.Put(core.Event{Kind: core.EventResponse, ID: copies[i].ID, Response: &copies[i]})
		<-s.slots
	}
}

// fail hands an error to p. Those who wait for its answer get the error too,
// unless p was only cancelled: then the first of them asks in its place.
func (s *session) fail(p *pending, e *core.Error) {
	s.mu.Lock()
	if s.pending[p.r.ID] != p {
		s.mu.Unlock()
		return
	}
	delete(s.pending, p.r.ID)
	failed := []*pending{p}
	var next *pending
	if f := p.flight; f != nil {
		if e.Code == core.CodeCancelled && len(f.followers) > 0 && s.ctx.Err() == nil && !s.closed {
			next = f.followers[0]
			f.leader, f.followers = next, f.followers[1:]
		} else {
			delete(s.flights, p.key)
			for _, w := range f.followers {
				delete(s.pending, w.r.ID)
				failed = append(failed, w)
			}
		}
	}
	s.mu.Unlock()
	if next != nil {
		s.misses <- next
	}
	for _, w := range failed {
		own := *e
		s.out.Put(core.Event{Kind: core.EventError, ID: w.r.ID, Err: &own})
		<-s.slots
	}
}

func cancelledError() *core.Error {
	return &core.Error{Code: core.CodeCancelled, Message: "the request was cancelled"}
}

// warn tells a trouble of the file, once a session: it costs money, not
// answers.
func (s *session) warn(format string, args ...any) {
	s.mu.Lock()
	again := s.warned
	s.warned = true
	s.mu.Unlock()
	if !again {
		s.out.Put(core.Event{Kind: core.EventProgress, Progress: &core.Progress{Stage: "cache", Message: fmt.Sprintf(format, args...)}})
	}
}

// Cancel ends the request's own wait; an equal request that waits for the same
// answer still gets it.
func (s *session) Cancel(id string) error {
	s.mu.Lock()
	p := s.pending[id]
	if p == nil {
		s.mu.Unlock()
		return nil
	}
	p.cancelled = true
	if f := p.flight; f != nil && f.leader != p {
		if i := slices.Index(f.followers, p); i >= 0 {
			f.followers = slices.Delete(f.followers, i, i+1)
		}
		delete(s.pending, id)
		s.mu.Unlock()
		go func() { // the caller may be the one who reads the events
			s.out.Put(core.Event{Kind: core.EventError, ID: id, Err: cancelledError()})
			<-s.slots
		}()
		return nil
	}
	sent := p.sent
	s.mu.Unlock()
	if !sent {
		return nil // forward ends it
	}
	return s.inner.Cancel(id)
}

func (s *session) Events() iter.Seq2[core.Event, error] { return s.out.Events() }

// Close ends the session; answers that had come are stored before it returns.
func (s *session) Close() error {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.out.Close()
	s.leave()
	err := s.inner.Close()
	<-s.over
	return err
}
