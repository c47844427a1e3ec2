package plugins

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"
	"unicode/utf8"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/evalrun/evalrun/core"
	"github.com/evalrun/evalrun/plugins/pb"
)

// serverSession is the plugin's end of a session.
//
// The stream's reader never waits for anything but the stream, so that a
// cancellation always gets through: requests go to a queue whose length the
// host keeps within the window, and feed hands them to the backend's session
// one by one. pump takes its events, write sends all that wait in one message.
type serverSession struct {
	inner  core.Session
	stream pb.Backend_SessionServer

	mu                        sync.Mutex
	queued, outReady, outRoom *sync.Cond

	queue []core.Request
	// sending is the request that feed is handing over right now; a
	// cancellation that comes meanwhile is repeated when it has been taken,
	// since the inner session may not have known it yet.
	sending         string
	busy            bool
	cancelSending   bool
	out             []*pb.Event
	outSizes        []int
	outBytes        int
	accepted        int64
	acceptedBytes   int
	failure         error
	closing, ending bool
}

// serveSession runs a session of backend over stream until either side ends it
// or life, the process's own context, is over.
func serveSession(life context.Context, backend core.Backend, stream pb.Backend_SessionServer) error {
	ctx, cancel := context.WithCancel(stream.Context())
	defer cancel()
	defer context.AfterFunc(life, cancel)()
	inner, err := backend.Open(ctx)
	if err != nil {
		return stream.Send(&pb.ServerMessage{Failure: failureToPB(err)})
	}
	s := &serverSession{inner: inner, stream: stream}
	s.queued, s.outReady, s.outRoom = sync.NewCond(&s.mu), sync.NewCond(&s.mu), sync.NewCond(&s.mu)

	fed, pumped, written := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	read := make(chan error, 1)
	if err := stream.Send(&pb.ServerMessage{Opened: true}); err != nil {
		_ = inner.Close()
		return err
	}
	go func() { read <- s.read() }()
	go func() { defer close(fed); s.feed() }()
	go func() { defer close(pumped); s.pump() }()
	go func() { written <- s.write() }()

	// Ends: the host closed its side or is gone (read), or the inner session
	// was lost and everything up to that has been written (written).
	var result error
	wrote := false
	select {
	case result = <-read:
	case result = <-written:
		wrote = true
	case <-life.Done():
		result = status.Error(codes.Unavailable, "the plugin is ending")
	}
	s.mu.Lock()
	s.closing = true
	s.wakeAll()
	s.mu.Unlock()
	closeErr := inner.Close()
	// A backend that keeps Send or Events going after Close breaks its
	// contract; the stream is not held up for it.
	limit := time.NewTimer(closeGrace)
	defer limit.Stop()
	for _, done := range []chan struct{}{fed, pumped} {
		select {
		case <-done:
		case <-limit.C:
			return status.Error(codes.Internal, "the backend's session does not end after Close")
		}
	}
	if !wrote {
		s.mu.Lock()
		s.ending = true
		s.wakeAll()
		s.mu.Unlock()
		<-written
	}
	if result == nil && closeErr != nil {
		return status.Error(codes.Internal, "closing the session: "+closeErr.Error())
	}
	return result
}

func (s *serverSession) wakeAll() {
	s.queued.Broadcast()
	s.outReady.Broadcast()
	s.outRoom.Broadcast()
}

// read takes what the host sends; nil means that the host closed its side.
func (s *serverSession) read() error {
	for {
		message, err := s.stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		s.mu.Lock()
		for _, r := range message.GetSend() {
			s.queue = append(s.queue, requestFromPB(r))
		}
		over := len(s.queue) > window
		s.queued.Signal()
		s.mu.Unlock()
		if over {
			return status.Errorf(codes.ResourceExhausted, "more than %d requests wait: the host must wait for accepted", window)
		}
		for _, id := range message.GetCancel() {
			s.cancel(id)
		}
	}
}

// cancel ends a request wherever it is.
func (s *serverSession) cancel(id string) {
	s.mu.Lock()
	for i := range s.queue {
		if s.queue[i].ID != id {
			continue
		}
		size := requestSize(&s.queue[i])
		s.queue = append(s.queue[:i], s.queue[i+1:]...)
		s.took(size)
		s.emit(core.Event{Kind: core.EventError, ID: id, Err: &core.Error{
			Code: core.CodeCancelled, Message: "cancelled before it was begun",
		}})
		s.mu.Unlock()
		return
	}
	if s.busy && s.sending == id {
		s.cancelSending = true
	}
	s.mu.Unlock()
	// An error here is the session's end, which Events tells.
	_ = s.inner.Cancel(id)
}

// feed hands the queue to the inner session.
func (s *serverSession) feed() {
	for {
		s.mu.Lock()
		for len(s.queue) == 0 && !s.closing {
			s.queued.Wait()
		}
		if s.closing {
			s.mu.Unlock()
			return
		}
		r := s.queue[0]
		s.queue[0] = core.Request{}
		s.queue = s.queue[1:]
		s.sending, s.busy, s.cancelSending = r.ID, true, false
		s.mu.Unlock()

		err := s.inner.Send(r)

		s.mu.Lock()
		s.busy = false
		again := s.cancelSending && err == nil
		s.took(requestSize(&r))
		var own *core.Error
		switch {
		case err == nil:
		case errors.As(err, &own):
			s.emit(core.Event{Kind: core.EventError, ID: r.ID, Err: own})
		default:
			if !s.closing && s.failure == nil {
				s.failure = err
				s.outReady.Signal()
			}
			s.mu.Unlock()
			return
		}
		s.mu.Unlock()
		if again {
			_ = s.inner.Cancel(r.ID)
		}
	}
}

// took counts a request that left the queue. The lock is held.
func (s *serverSession) took(size int) {
	s.accepted++
	s.acceptedBytes += size
	if s.accepted >= ackEvery || s.acceptedBytes >= ackBytes {
		s.outReady.Signal()
	}
}

// emit queues an event. The lock is held.
func (s *serverSession) emit(e core.Event) {
	m := eventToPB(e)
	if m == nil {
		return
	}
	size := eventSize(&e)
	if n, over := tooLarge(m, size); over {
		switch e.Kind {
		case core.EventDelta:
			s.emitPieces(e)
			return
		case core.EventResponse, core.EventError:
			e = core.Event{Kind: core.EventError, ID: e.ID, Err: &core.Error{
				Code:    core.CodeInternal,
				Message: fmt.Sprintf("answer of %s is larger than the %s that may cross from a plugin", mib(n), mib(MaxMessage)),
			}}
			m, size = eventToPB(e), eventSize(&e)
		default:
			return // progress of that size is no news
		}
	}
	s.out = append(s.out, m)
	s.outSizes = append(s.outSizes, size)
	s.outBytes += size
	s.outReady.Signal()
}

// emitPieces cuts a large delta into small ones, between characters.
func (s *serverSession) emitPieces(e core.Event) {
	for text := e.Text; text != ""; {
		n := min(batchBytes/2, len(text))
		for cut := n; cut < len(text) && cut > n-utf8.UTFMax; cut-- {
			if utf8.RuneStart(text[cut]) {
				n = cut
				break
			}
		}
		e.Text, text = text[:n], text[n:]
		s.emit(e)
	}
}

// pump takes the inner session's events until they end.
func (s *serverSession) pump() {
	var failure error
	for e, err := range s.inner.Events() {
		s.mu.Lock()
		for s.outBytes > eventBytes && !s.closing {
			s.outRoom.Wait()
		}
		if err != nil {
			failure = err
		} else if !s.closing {
			s.emit(e)
		}
		s.mu.Unlock()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing {
		return
	}
	switch {
	case failure != nil:
		s.failure = failure
	case s.failure == nil:
		s.failure = errors.New("the backend ended the session")
	}
	s.outReady.Signal()
}

// write sends what waits; it returns nil after it has sent a failure, and when
// the session is ending.
func (s *serverSession) write() error {
	for {
		s.mu.Lock()
		for len(s.out) == 0 && s.accepted < ackEvery && s.acceptedBytes < ackBytes && s.failure == nil && !s.ending {
			s.outReady.Wait()
		}
		if s.ending {
			s.mu.Unlock()
			return nil
		}
		n, bytes := 0, 0
		for n < len(s.out) && (n == 0 || bytes+s.outSizes[n] <= batchBytes) {
			bytes += s.outSizes[n]
			n++
		}
		message := &pb.ServerMessage{Accepted: s.accepted, Events: s.out[:n:n]}
		s.accepted, s.acceptedBytes = 0, 0
		s.outBytes -= bytes
		if n == len(s.out) {
			s.out, s.outSizes = nil, nil
			message.Failure = failureToPB(s.failure)
		} else {
			s.out, s.outSizes = s.out[n:], s.outSizes[n:]
		}
		s.outRoom.Broadcast()
		s.mu.Unlock()
		if err := s.stream.Send(message); err != nil {
			return err
		}
		if message.Failure != nil {
			return nil
		}
	}
}
