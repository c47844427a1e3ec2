package plugins

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"sync"
	"time"

	"github.com/evalrun/evalrun/core"
	"github.com/evalrun/evalrun/plugins/pb"
)

const (
	// closeGrace is how long Close waits for the far side to close its session
	// before it drops the stream.
	closeGrace = 2 * time.Second
	// cancelGrace is how long cancelled requests may take to say so once the
	// session's context has ended.
	cancelGrace = time.Second
)

// session is the host's end of a session: a core.Session over one stream.
//
// Three parties work on it: callers of Send and Cancel fill the outgoing lists;
// write empties them, everything that waits into one message; read fills the
// list of events, which Events empties. A full list makes its filler wait, with
// two exceptions that keep the session from locking up: cancellations are
// always taken (there are no more than requests in flight), and read drops
// events instead of waiting once the session is closed.
type session struct {
	ctx    context.Context // the caller's
	stream pb.Backend_SessionClient
	// drop ends the stream at once.
	drop context.CancelFunc
	// explain adds to a broken stream's error what is known of the process.
	explain func(error) error
	// answered is called for every event of a request.
	answered func()
	stopWait func() bool // detaches from the caller's context

	mu sync.Mutex
	// outReady wakes write, room wakes Send, inReady wakes Events, inRoom
	// wakes read, idle wakes expire.
	outReady, room, inReady, inRoom, idle *sync.Cond

	out      []*pb.Request
	outSizes []int
	cancels  []*flight
	// waiting holds the sizes of the requests that the far side has not yet
	// taken from its queue, in order.
	waiting      []int
	waitingBytes int
	inFlight     map[string]*flight

	in      []core.Event
	inBytes int

	closed   bool  // Close was called
	drained  bool  // the caller's context ended, and every request has its final event
	closing  bool  // write must end the sending side
	lost     error // the stream broke
	readDone chan struct{}
}

// A flight is a request without its final event.
type flight struct {
	id        string
	written   bool // the far side has it
	cancelled bool // it is, or was, in cancels
}

var _ core.Session = (*session)(nil)

// openSession waits for the far side's word that the session is open. ctx
// bounds the opening and the session's life.
func openSession(ctx context.Context, client pb.BackendClient, explain func(error) error, answered func()) (core.Session, error) {
	// The stream must outlive ctx, so that requests cancelled by its end can
	// still get their final events.
	streamCtx, drop := context.WithCancel(context.WithoutCancel(ctx))
	stopOpening := context.AfterFunc(ctx, drop)
	fail := func(err error) (core.Session, error) {
		stopOpening()
		drop()
		return nil, err
	}
	stream, err := client.Session(streamCtx)
	if err != nil {
		return fail(explain(callError(ctx, err)))
	}
	first, err := stream.Recv()
	if err != nil {
		return fail(explain(callError(ctx, err)))
	}
	if f := first.GetFailure(); f != nil {
		return fail(failureFromPB(f))
	}
	if !first.GetOpened() {
		return fail(errors.New("the plugin's first message does not open the session"))
	}
	if !stopOpening() {
		return fail(context.Cause(ctx))
	}
	s := &session{
		ctx:      ctx,
		stream:   stream,
		drop:     drop,
		explain:  explain,
		answered: answered,
		inFlight: map[string]*flight{},
		readDone: make(chan struct{}),
	}
	for _, c := range []**sync.Cond{&s.outReady, &s.room, &s.inReady, &s.inRoom, &s.idle} {
		*c = sync.NewCond(&s.mu)
	}
	go s.read()
	go s.write()
	s.stopWait = context.AfterFunc(ctx, func() { s.expire(context.Cause(ctx)) })
	return s, nil
}

func (s *session) Send(r core.Request) error {
	m, size := requestToPB(&r), requestSize(&r)
	if n, over := tooLarge(m, size); over {
		return &core.Error{
			Code:    core.CodeInvalid,
			Message: fmt.Sprintf("request of %s is larger than the %s that may cross to a plugin", mib(n), mib(MaxMessage)),
			Hint:    "shorten the input: check the columns that the prompt uses",
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.usable() == nil && (len(s.waiting) >= window || s.waitingBytes >= windowBytes) {
		s.room.Wait()
	}
	if err := s.usable(); err != nil {
		return err
	}
	if _, twice := s.inFlight[r.ID]; twice {
		return &core.Error{Code: core.CodeInvalid, Message: fmt.Sprintf("request id %q is in flight already", r.ID)}
	}
	s.inFlight[r.ID] = &flight{id: r.ID}
	s.waiting = append(s.waiting, size)
	s.waitingBytes += size
	s.out = append(s.out, m)
	s.outSizes = append(s.outSizes, size)
	s.outReady.Signal()
	return nil
}

// usable says why nothing can be sent any more. The lock is held.
func (s *session) usable() error {
	switch {
	case s.closed:
		return core.ErrSessionClosed
	case s.ctx.Err() != nil:
		return fmt.Errorf("%w: %w", core.ErrSessionClosed, context.Cause(s.ctx))
	case s.lost != nil:
		return s.lost
	}
	return nil
}

func (s *session) Cancel(id string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if f := s.inFlight[id]; f != nil && !s.closed && s.lost == nil {
		s.cancel(f)
		s.outReady.Signal()
	}
	return nil
}

// cancel queues a cancellation, once a request. The lock is held.
func (s *session) cancel(f *flight) {
	if !f.cancelled {
		f.cancelled = true
		s.cancels = append(s.cancels, f)
	}
}

// write sends what waits until the session ends.
func (s *session) write() {
	for {
		s.mu.Lock()
		for len(s.out) == 0 && len(s.cancels) == 0 && !s.closing && s.lost == nil {
			s.outReady.Wait()
		}
		if s.closing || s.lost != nil {
			s.out, s.cancels = nil, nil
			s.mu.Unlock()
			_ = s.stream.CloseSend()
			return
		}
		message := s.batch()
		s.mu.Unlock()
		if err := s.stream.Send(message); err != nil {
			return // read gets the reason
		}
	}
}

// batch takes what waits into one message. A cancellation stays back until the
// request that it names has gone. The lock is held.
func (s *session) batch() *pb.ClientMessage {
	n, bytes := 0, 0
	for n < len(s.out) && (n == 0 || bytes+s.outSizes[n] <= batchBytes) {
		if f := s.inFlight[s.out[n].GetId()]; f != nil {
			f.written = true
		}
		bytes += s.outSizes[n]
		n++
	}
	message := &pb.ClientMessage{Send: s.out[:n:n]}
	if n == len(s.out) {
		s.out, s.outSizes = nil, nil
	} else {
		s.out, s.outSizes = s.out[n:], s.outSizes[n:]
	}
	var stay []*flight
	for _, f := range s.cancels {
		switch {
		case s.inFlight[f.id] != f: // answered meanwhile; the id may be another's now
		case f.written:
			message.Cancel = append(message.Cancel, f.id)
		default:
			stay = append(stay, f)
		}
	}
	s.cancels = stay
	return message
}

// read takes in what the far side says until the stream ends.
func (s *session) read() {
	defer close(s.readDone)
	for {
		message, err := s.stream.Recv()
		if err == nil && message.GetFailure() == nil {
			s.take(message)
			continue
		}
		var lost error
		switch {
		case err == nil:
			s.take(message)
			lost = &farLoss{failureFromPB(message.GetFailure())}
		case errors.Is(err, io.EOF):
			lost = &lostError{text: "the plugin ended the session"}
		default:
			lost = callError(context.Background(), err)
			if !errors.Is(lost, core.ErrSessionLost) {
				lost = &lostError{text: lost.Error()}
			}
		}
		s.mu.Lock()
		ours := s.closed || s.closing
		s.mu.Unlock()
		if !ours {
			// Outside the lock: this may wait for the process to be gone.
			lost = s.explain(lost)
		}
		s.mu.Lock()
		s.lost = lost
		s.wakeAll()
		s.mu.Unlock()
		s.drop()
		return
	}
}

// A farLoss is a session lost on the far side, whose process lives on.
type farLoss struct{ err error }

func (e *farLoss) Error() string {
	if errors.Is(e.err, core.ErrSessionLost) {
		return e.err.Error()
	}
	return core.ErrSessionLost.Error() + ": " + e.err.Error()
}
func (e *farLoss) Unwrap() []error { return []error{core.ErrSessionLost, e.err} }

// take handles one message; it waits while too many events lie unread.
func (s *session) take(message *pb.ServerMessage) {
	events := make([]core.Event, 0, len(message.GetEvents()))
	bytes := 0
	for _, m := range message.GetEvents() {
		e := eventFromPB(m)
		events = append(events, e)
		bytes += eventSize(&e)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := min(int(message.GetAccepted()), len(s.waiting)); n > 0 {
		for _, size := range s.waiting[:n] {
			s.waitingBytes -= size
		}
		s.waiting = s.waiting[n:]
		s.room.Broadcast()
	}
	for s.inBytes > eventBytes && !s.closed {
		s.inRoom.Wait()
	}
	if s.closed {
		return
	}
	spoke := false
	for i, e := range events {
		if e.Kind == 0 {
			continue // of a later protocol: nothing this side knows
		}
		if e.Kind != core.EventProgress {
			// An event for no request in flight would break the promise of
			// one final event each.
			if _, ok := s.inFlight[e.ID]; !ok {
				continue
			}
			spoke = true
		}
		if final(message.GetEvents()[i]) {
			delete(s.inFlight, e.ID)
		}
		s.in = append(s.in, e)
	}
	s.inBytes += bytes
	if spoke {
		s.answered()
	}
	if len(s.in) > 0 {
		s.inReady.Signal()
	}
	if len(s.inFlight) == 0 {
		s.idle.Broadcast()
	}
}

func (s *session) Events() iter.Seq2[core.Event, error] {
	return func(yield func(core.Event, error) bool) {
		for {
			s.mu.Lock()
			for len(s.in) == 0 && !s.closed && s.lost == nil && !s.drained {
				s.inReady.Wait()
			}
			events := s.in
			s.in, s.inBytes = nil, 0
			s.inRoom.Signal()
			closed, lost, drained := s.closed, s.lost, s.drained
			s.mu.Unlock()
			if closed {
				return
			}
			for _, e := range events {
				if !yield(e, nil) {
					return
				}
			}
			if len(events) > 0 {
				continue
			}
			if drained {
				return
			}
			if lost != nil {
				yield(core.Event{}, lost)
				return
			}
		}
	}
}

// expire cancels everything in flight, because the caller's context ended, and
// ends the session when each has its final event. What the far side does not
// answer in time is answered here.
func (s *session) expire(cause error) {
	s.mu.Lock()
	if s.closed || s.lost != nil {
		s.mu.Unlock()
		return
	}
	for _, f := range s.inFlight {
		s.cancel(f)
	}
	s.wakeAll()
	late := false
	timer := time.AfterFunc(cancelGrace, func() {
		s.mu.Lock()
		late = true
		s.idle.Broadcast()
		s.mu.Unlock()
	})
	for len(s.inFlight) > 0 && !late && !s.closed && s.lost == nil {
		s.idle.Wait()
	}
	timer.Stop()
	for id := range s.inFlight {
		s.in = append(s.in, core.Event{Kind: core.EventError, ID: id, Err: &core.Error{
			Code: core.CodeCancelled, Message: "cancelled: " + cause.Error(),
		}})
		delete(s.inFlight, id)
	}
	s.drained = true
	s.wakeAll()
	s.mu.Unlock()
	s.endStream()
}

// wakeAll lets every waiting party look again. The lock is held.
func (s *session) wakeAll() {
	for _, c := range []*sync.Cond{s.outReady, s.room, s.inReady, s.inRoom, s.idle} {
		c.Broadcast()
	}
}

func (s *session) Close() error {
	s.stopWait()
	s.mu.Lock()
	s.closed = true
	s.in = nil
	s.wakeAll()
	s.mu.Unlock()
	s.endStream()
	return nil
}

// endStream asks the far side to close its session, waits until it has, and
// drops the stream. It may be called more than once.
func (s *session) endStream() {
	s.mu.Lock()
	s.closing = true
	s.wakeAll()
	s.mu.Unlock()
	timer := time.NewTimer(closeGrace)
	defer timer.Stop()
	select {
	case <-s.readDone:
	case <-timer.C:
	}
	s.drop()
}
