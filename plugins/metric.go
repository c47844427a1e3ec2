package plugins

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/evalrun/evalrun/core"
	"github.com/evalrun/evalrun/plugins/pb"
)

// metricProcess is the process that all metrics of one name share.
type metricProcess struct{ *supervisor }

func newMetricProcess(title, where string, start func(context.Context) (link, error)) *metricProcess {
	configure := func(context.Context, grpc.ClientConnInterface) (string, error) { return "", nil }
	return &metricProcess{newSupervisor(title, where, start, configure)}
}

// metric makes one metric, in the living process or a new one.
func (p *metricProcess) metric(ctx context.Context, spec core.MetricSpec, profile core.Profile) (core.Metric, error) {
	m := &remoteMetric{process: p, spec: spec, profile: profile}
	if _, _, err := m.made(ctx); err != nil {
		return nil, err
	}
	return m, nil
}

// remoteMetric is a core.Metric that lives behind the wire. The process may
// have died since it was made there: it is then made again.
type remoteMetric struct {
	process *metricProcess
	spec    core.MetricSpec
	profile core.Profile

	mu     sync.Mutex
	home   *incarnation // where handle is known
	handle int64
	info   core.MetricInfo
}

var _ core.Metric = (*remoteMetric)(nil)

// made gives the process in which the metric exists.
func (m *remoteMetric) made(ctx context.Context) (*incarnation, int64, error) {
	inc, err := m.process.get(ctx)
	if err != nil {
		return nil, 0, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.home == inc {
		return inc, m.handle, nil
	}
	spec, err := specToPB(m.spec)
	if err != nil {
		return nil, 0, err
	}
	reply, err := pb.NewMetricClient(inc.conn()).Open(ctx, &pb.OpenMetricRequest{Spec: spec, Profile: string(m.profile)})
	if err != nil {
		return nil, 0, m.process.explain(inc, callError(ctx, err))
	}
	if f := reply.GetFailure(); f != nil {
		return nil, 0, failureFromPB(f)
	}
	opened := reply.GetOpened()
	m.home, m.handle, m.info = inc, opened.GetHandle(), metricInfoFromPB(opened.GetInfo())
	return inc, m.handle, nil
}

func (m *remoteMetric) Info() core.MetricInfo {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.info
}

// Score cuts the items into messages of about batchBytes: since each item is
// judged on its own, that changes nothing.
func (m *remoteMetric) Score(ctx context.Context, items []core.Item) ([]core.Score, error) {
	inc, handle, err := m.made(ctx)
	if err != nil {
		return nil, err
	}
	client := pb.NewMetricClient(inc.conn())
	out := make([]core.Score, 0, len(items))
	for len(items) > 0 {
		request, n, err := scoreRequest(items)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", m.process.title, err)
		}
		request.Handle = handle
		reply, err := client.Score(ctx, request)
		if err != nil {
			return nil, m.process.explain(inc, callError(ctx, err))
		}
		if f := reply.GetFailure(); f != nil {
			return nil, failureFromPB(f)
		}
		if len(reply.GetScores()) != n {
			return nil, fmt.Errorf("%s: %d scores for %d items", m.process.title, len(reply.GetScores()), n)
		}
		inc.answered.Store(true)
		for _, s := range reply.GetScores() {
			out = append(out, scoreFromPB(s))
		}
		items = items[n:]
	}
	return out, nil
}

// scoreRequest takes as many items as fit into one message, at least one.
func scoreRequest(items []core.Item) (*pb.ScoreRequest, int, error) {
	request := &pb.ScoreRequest{}
	places := map[*core.Task]int{}
	bytes := 0
	for i := range items {
		it := &items[i]
		place, known := places[it.Task]
		var task *pb.Task
		size := 0
		if it.Task != nil && !known {
			var err error
			if task, err = taskToPB(it.Task); err != nil {
				return nil, 0, err
			}
			place = len(request.Tasks) + 1
			size += proto.Size(task)
		}
		item, err := itemToPB(it, place)
		if err != nil {
			return nil, 0, err
		}
		size += proto.Size(item)
		if size > MaxMessage {
			return nil, 0, fmt.Errorf("item %q of %s is larger than the %s that may cross to a plugin", it.ID, mib(size), mib(MaxMessage))
		}
		if i > 0 && bytes+size > batchBytes {
			return request, i, nil
		}
		if task != nil {
			request.Tasks = append(request.Tasks, task)
			places[it.Task] = place
		}
		request.Items = append(request.Items, item)
		bytes += size
	}
	return request, len(items), nil
}

// Aggregate has no way to fail but to give no score and say why.
func (m *remoteMetric) Aggregate(scores []core.Score) core.Aggregate {
	a, err := m.aggregate(context.Background(), scores)
	if err != nil {
		return core.Aggregate{Skip: fmt.Sprintf("%s: %v", m.process.title, err)}
	}
	return a
}

func (m *remoteMetric) aggregate(ctx context.Context, scores []core.Score) (core.Aggregate, error) {
	var none core.Aggregate
	inc, handle, err := m.made(ctx)
	if err != nil {
		return none, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	broken := func(err error) error { return m.process.explain(inc, callError(ctx, err)) }
	stream, err := pb.NewMetricClient(inc.conn()).Aggregate(ctx)
	if err != nil {
		return none, broken(err)
	}
	for first := true; first || len(scores) > 0; first = false {
		n, bytes := 0, 0
		message := &pb.AggregateRequest{Handle: handle}
		for n < len(scores) && (n == 0 || bytes < batchBytes) {
			s := scores[n]
			// The answers to judge by are of no use any more, and may be large.
			s.Requests = nil
			bytes += 2*perItem + len(s.Extracted) + len(s.Note) + len(s.Skipped) + perItem*len(s.Parts)
			message.Scores = append(message.Scores, scoreToPB(s))
			n++
		}
		scores = scores[n:]
		if err := stream.Send(message); err != nil {
			break // CloseAndRecv gets the reason
		}
	}
	reply, err := stream.CloseAndRecv()
	if err != nil {
		return none, broken(err)
	}
	if f := reply.GetFailure(); f != nil {
		return none, failureFromPB(f)
	}
	return aggregateFromPB(reply.GetAggregate()), nil
}

// Close forgets the metric on the far side; a core.Metric need not be closed,
// since its process ends with the host.
func (m *remoteMetric) Close() error {
	m.mu.Lock()
	inc, handle := m.home, m.handle
	m.home = nil
	m.mu.Unlock()
	if inc == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), goodbyeTime)
	defer cancel()
	_, err := pb.NewMetricClient(inc.conn()).Release(ctx, &pb.ReleaseRequest{Handle: handle})
	if err = callError(ctx, err); errors.Is(err, core.ErrSessionLost) {
		return nil // nothing is left to forget
	}
	return err
}
