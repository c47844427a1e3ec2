package plugins

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"google.golang.org/grpc"

	"github.com/evalrun/evalrun/core"
	"github.com/evalrun/evalrun/plugins/pb"
)

// maxDeaths is how many times in a row a plugin may die without having
// answered anything before it is given up.
const maxDeaths = 3

// A link is a live connection to a plugin.
type link interface {
	conn() *grpc.ClientConn
	// lastWords waits briefly for the process behind a broken connection to be
	// gone and says how it ended and what it said last; empty when unknown.
	lastWords() string
	// end asks the process to end and waits until it has.
	end()
}

// A supervisor keeps one plugin process going: it starts it when it is needed
// and not there, and gives up on one that only dies. What is done first with a
// new process (configure) belongs to the start.
type supervisor struct {
	// title names the plugin in errors: backend plugin "hello".
	title string
	// where is its file.
	where     string
	start     func(context.Context) (link, error)
	configure func(context.Context, grpc.ClientConnInterface) (version string, err error)

	// starting is a lock that a context can interrupt: it holds one token.
	starting chan struct{}
	mu       sync.Mutex
	current  *incarnation
	deaths   int
	words    string // of the last death
	closed   bool
	ends     sync.WaitGroup // of processes that died or came too late
}

// An incarnation is one process of a plugin's series.
type incarnation struct {
	link
	version string
	// answered tells whether it has answered any request.
	answered atomic.Bool
	dead     bool // under supervisor.mu
}

func newSupervisor(title, where string, start func(context.Context) (link, error), configure func(context.Context, grpc.ClientConnInterface) (version string, err error)) *supervisor {
	return &supervisor{title: title, where: where, start: start, configure: configure, starting: make(chan struct{}, 1)}
}

// get gives the living process, starting one if there is none.
func (s *supervisor) get(ctx context.Context) (*incarnation, error) {
	select {
	case s.starting <- struct{}{}:
		defer func() { <-s.starting }()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	s.mu.Lock()
	current, closed, deaths, words := s.current, s.closed, s.deaths, s.words
	s.mu.Unlock()
	switch {
	case closed:
		return nil, fmt.Errorf("%s: used after Close", s.title)
	case current != nil:
		return current, nil
	case deaths >= maxDeaths:
		return nil, &core.UserError{
			Where:   s.where,
			Message: fmt.Sprintf("%s died %d times in a row without answering anything: %s", s.title, deaths, words),
			Hint:    "what it said last tells why; if it said nothing, mend or rebuild the plugin: its own log lines are shown with debug logging on",
		}
	}
	l, err := s.start(ctx)
	if err != nil {
		return nil, err
	}
	inc := &incarnation{link: l}
	if inc.version, err = s.configure(ctx, l.conn()); err != nil {
		err = s.explain(inc, err)
		l.end()
		return nil, err
	}
	s.mu.Lock()
	closed = s.closed
	if !closed {
		s.current = inc
	}
	s.mu.Unlock()
	if closed {
		l.end()
		return nil, fmt.Errorf("%s: used after Close", s.title)
	}
	return inc, nil
}

// explain looks at an error of inc: when it says that the connection is gone,
// the process is counted as dead, and the error gains its last words.
func (s *supervisor) explain(inc *incarnation, err error) error {
	var lost *lostError
	if !errors.As(err, &lost) || !lost.gone {
		return err
	}
	words := inc.lastWords()
	if words == "" {
		words = lost.text
	}
	s.mu.Lock()
	first := !inc.dead
	if first {
		inc.dead = true
		s.words = words
		if inc.answered.Load() {
			s.deaths = 0
		} else {
			s.deaths++
		}
		if s.current == inc {
			s.current = nil
		}
	}
	// What the host holds for it is freed: beside the caller, or by it when
	// close no longer waits for others.
	here := first && s.closed
	if first && !here {
		s.ends.Go(inc.end)
	}
	s.mu.Unlock()
	if here {
		inc.end()
	}
	title := s.title
	if inc.version != "" {
		title += " version " + inc.version
	}
	return &lostError{text: fmt.Sprintf("%s ended: %s", title, words), gone: true}
}

// close ends the process; goodbye is said to it first.
func (s *supervisor) close(goodbye func(grpc.ClientConnInterface) error) error {
	s.mu.Lock()
	inc, closed := s.current, s.closed
	s.current, s.closed = nil, true
	s.mu.Unlock()
	defer s.ends.Wait()
	if closed || inc == nil {
		return nil
	}
	var err error
	if goodbye != nil {
		err = goodbye(inc.conn())
	}
	inc.end()
	return err
}

// kill ends the process without a word to it.
func (s *supervisor) kill() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.current == nil {
		return
	}
	if p, ok := s.current.link.(*process); ok {
		p.run.kill(errKilled)
	}
}

var errKilled = errors.New("the host ended it")

// remoteBackend is a core.Backend that lives behind the wire.
type remoteBackend struct {
	*supervisor
	// onClose tells the host that there is nothing left to end.
	onClose func()
}

var _ core.Backend = (*remoteBackend)(nil)

// newRemoteBackend gives a backend that start connects to; every process gets
// the same cfg.
func newRemoteBackend(title, where string, cfg core.Config, start func(context.Context) (link, error)) *remoteBackend {
	configure := func(ctx context.Context, conn grpc.ClientConnInterface) (string, error) {
		reply, err := pb.NewBackendClient(conn).Configure(ctx, &pb.ConfigureRequest{Config: configToPB(cfg)})
		if err != nil {
			return "", callError(ctx, err)
		}
		return reply.GetVersion(), failureFromPB(reply.GetFailure())
	}
	return &remoteBackend{supervisor: newSupervisor(title, where, start, configure), onClose: func() {}}
}

func (b *remoteBackend) Info(ctx context.Context) (core.Info, error) {
	inc, err := b.get(ctx)
	if err != nil {
		return core.Info{}, err
	}
	reply, err := pb.NewBackendClient(inc.conn()).Info(ctx, &pb.InfoRequest{})
	if err != nil {
		return core.Info{}, b.explain(inc, callError(ctx, err))
	}
	if f := reply.GetFailure(); f != nil {
		return core.Info{}, failureFromPB(f)
	}
	return infoFromPB(reply.GetInfo()), nil
}

func (b *remoteBackend) Open(ctx context.Context) (core.Session, error) {
	inc, err := b.get(ctx)
	if err != nil {
		return nil, err
	}
	return openSession(ctx, pb.NewBackendClient(inc.conn()),
		func(err error) error { return b.explain(inc, err) },
		func() { inc.answered.Store(true) })
}

// Close lets the backend free what it holds and ends its process.
func (b *remoteBackend) Close() error {
	err := b.close(func(conn grpc.ClientConnInterface) error {
		ctx, cancel := context.WithTimeout(context.Background(), goodbyeTime)
		defer cancel()
		reply, err := pb.NewBackendClient(conn).Close(ctx, &pb.CloseRequest{})
		if err != nil {
			// A process that is gone, or ends without a word, is closed.
			return nil
		}
		return failureFromPB(reply.GetFailure())
	})
	b.onClose()
	return err
}
