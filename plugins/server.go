package plugins

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/evalrun/evalrun/core"
	"github.com/evalrun/evalrun/plugins/pb"
)

// goodbyeTime bounds how long a backend may take to close.
const goodbyeTime = 5 * time.Second

// A BackendFactory makes a backend from its settings. It is called once a
// process, before anything else is asked. A mistake of the user's is told as a
// *core.UserError.
type BackendFactory func(core.Config) (core.Backend, error)

// backendServer serves one backend over the wire.
type backendServer struct {
	pb.UnimplementedBackendServer
	name, version string
	factory       BackendFactory
	// begin is called before the factory.
	begin func()

	// life ends all sessions when the process is told to end.
	life context.Context
	end  context.CancelFunc

	mu       sync.Mutex
	backend  core.Backend
	asked    bool // Configure was called
	closed   bool
	sessions sync.WaitGroup
	// stopTraining ends the context of the training that runs; nil is none.
	stopTraining context.CancelFunc
	// scores takes the answer to the training's question for a score.
	scores chan<- *float64
}

func newBackendServer(name, version string, factory BackendFactory) *backendServer {
	s := &backendServer{name: name, version: version, factory: factory, begin: func() {}}
	s.life, s.end = context.WithCancel(context.Background())
	return s
}

func (s *backendServer) Configure(_ context.Context, r *pb.ConfigureRequest) (*pb.ConfigureReply, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	reply := &pb.ConfigureReply{Name: s.name, Version: s.version}
	if s.asked {
		return nil, status.Error(codes.FailedPrecondition, "the backend is configured already")
	}
	s.asked = true
	s.begin()
	backend, err := s.factory(configFromPB(r.GetConfig()))
	if err == nil && backend == nil {
		err = errors.New("the plugin's factory gave no backend")
	}
	if err != nil {
		reply.Failure = failureToPB(err)
		return reply, nil
	}
	s.backend = backend
	return reply, nil
}

// use gives the backend and holds its closing back until done is called.
func (s *backendServer) use() (backend core.Backend, done func(), err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed:
		return nil, nil, status.Error(codes.Unavailable, "the backend is closed")
	case s.backend == nil:
		return nil, nil, status.Error(codes.FailedPrecondition, "the backend is not configured")
	}
	s.sessions.Add(1)
	return s.backend, s.sessions.Done, nil
}

func (s *backendServer) Info(ctx context.Context, _ *pb.InfoRequest) (*pb.InfoReply, error) {
	backend, done, err := s.use()
	if err != nil {
		return nil, err
	}
	defer done()
	info, err := backend.Info(ctx)
	if err != nil {
		return &pb.InfoReply{Result: &pb.InfoReply_Failure{Failure: failureToPB(err)}}, nil
	}
	return &pb.InfoReply{Result: &pb.InfoReply_Info{Info: infoToPB(info)}}, nil
}

func (s *backendServer) Session(stream pb.Backend_SessionServer) error {
	backend, done, err := s.use()
	if err != nil {
		return err
	}
	defer done()
	return serveSession(s.life, backend, stream)
}

func (s *backendServer) Close(context.Context, *pb.CloseRequest) (*pb.CloseReply, error) {
	return &pb.CloseReply{Failure: failureToPB(s.shutdown(goodbyeTime - time.Second))}, nil
}

// shutdown ends the sessions and closes the backend, once. It gives up waiting
// after the limit, since the process ends anyhow.
func (s *backendServer) shutdown(limit time.Duration) error {
	s.mu.Lock()
	backend, closed := s.backend, s.closed
	s.closed = true
	s.mu.Unlock()
	s.end()
	if closed || backend == nil {
		return nil
	}
	result := make(chan error, 1)
	go func() {
		s.sessions.Wait()
		result <- backend.Close()
	}()
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case err := <-result:
		return err
	case <-timer.C:
		return fmt.Errorf("the backend did not close within %s", limit)
	}
}
