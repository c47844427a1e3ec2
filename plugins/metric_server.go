package plugins

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/evalrun/evalrun/core"
	"github.com/evalrun/evalrun/plugins/pb"
)

// A MetricFactory makes a metric for its parameters and a profile. A mistake
// of the user's is told as a *core.UserError.
type MetricFactory func(core.MetricSpec, core.Profile) (core.Metric, error)

// metricServer serves the metrics that one factory makes. Each is used by one
// goroutine at a time, as core.Metric allows.
type metricServer struct {
	pb.UnimplementedMetricServer
	name, version string
	factory       MetricFactory
	// begin is called before the factory; it may be called more than once.
	begin func()

	mu   sync.Mutex
	last int64
	open map[int64]*openMetric
}

type openMetric struct {
	mu     sync.Mutex
	metric core.Metric
}

func newMetricServer(name, version string, factory MetricFactory) *metricServer {
	return &metricServer{name: name, version: version, factory: factory, begin: func() {}, open: map[int64]*openMetric{}}
}

func (s *metricServer) Open(_ context.Context, r *pb.OpenMetricRequest) (*pb.OpenMetricReply, error) {
	s.begin()
	metric, err := s.factory(specFromPB(r.GetSpec()), core.Profile(r.GetProfile()))
	if err == nil && metric == nil {
		err = errors.New("the plugin's factory gave no metric")
	}
	if err != nil {
		return &pb.OpenMetricReply{Result: &pb.OpenMetricReply_Failure{Failure: failureToPB(err)}}, nil
	}
	info := metricInfoToPB(metric.Info())
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last++
	s.open[s.last] = &openMetric{metric: metric}
	return &pb.OpenMetricReply{Result: &pb.OpenMetricReply_Opened{Opened: &pb.OpenedMetric{
		Handle: s.last, Info: info, Name: s.name, Version: s.version,
	}}}, nil
}

func (s *metricServer) get(handle int64) (*openMetric, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := s.open[handle]
	if m == nil {
		return nil, status.Errorf(codes.FailedPrecondition, "no metric has the handle %d", handle)
	}
	return m, nil
}

func (s *metricServer) Score(ctx context.Context, r *pb.ScoreRequest) (*pb.ScoreReply, error) {
	m, err := s.get(r.GetHandle())
	if err != nil {
		return nil, err
	}
	tasks := each(r.GetTasks(), taskFromPB)
	items := each(r.GetItems(), func(it *pb.Item) core.Item { return itemFromPB(it, tasks) })
	m.mu.Lock()
	scores, err := m.metric.Score(ctx, items)
	m.mu.Unlock()
	if err == nil && len(scores) != len(items) {
		err = fmt.Errorf("the metric gave %d scores for %d items", len(scores), len(items))
	}
	if err != nil {
		return &pb.ScoreReply{Failure: failureToPB(err)}, nil
	}
	reply := &pb.ScoreReply{Scores: each(scores, scoreToPB)}
	if n, over := tooLarge(reply, MaxMessage+1); over {
		return &pb.ScoreReply{Failure: &pb.Failure{Text: fmt.Sprintf(
			"scores of %s are larger than the %s that may cross from a plugin", mib(n), mib(MaxMessage))}}, nil
	}
	return reply, nil
}

func (s *metricServer) Aggregate(stream pb.Metric_AggregateServer) error {
	var m *openMetric
	var scores []core.Score
	for {
		r, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		if m == nil {
			if m, err = s.get(r.GetHandle()); err != nil {
				return err
			}
		}
		for _, score := range r.GetScores() {
			scores = append(scores, scoreFromPB(score))
		}
	}
	if m == nil {
		return status.Error(codes.InvalidArgument, "no handle was sent")
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return stream.SendAndClose(&pb.AggregateReply{
		Result: &pb.AggregateReply_Aggregate{Aggregate: aggregateToPB(m.metric.Aggregate(scores))},
	})
}

func (s *metricServer) Release(_ context.Context, r *pb.ReleaseRequest) (*pb.ReleaseReply, error) {
	s.mu.Lock()
	m := s.open[r.GetHandle()]
	delete(s.open, r.GetHandle())
	s.mu.Unlock()
	if m != nil {
		m.close()
	}
	return &pb.ReleaseReply{}, nil
}

// close lets a metric that holds something (a process, a folder) free it.
func (m *openMetric) close() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if c, ok := m.metric.(io.Closer); ok {
		// There is nobody left whom an error here could help.
		_ = c.Close()
	}
}

// end closes every metric, when the process ends.
func (s *metricServer) end() {
	s.mu.Lock()
	open := s.open
	s.open = map[int64]*openMetric{}
	s.mu.Unlock()
	for _, m := range open {
		m.close()
	}
}
