package plugins

import (
	"context"
	"fmt"
	"net"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"

	"github.com/evalrun/evalrun/core"
	"github.com/evalrun/evalrun/plugins/pb"
)

// Loopback gives backend as it is seen from across the border: every request
// and event takes the real road (translation, batching, gRPC, flow control)
// within this process. It is meant for tests; package plugintest wraps it.
// Closing what it gives closes backend.
func Loopback(ctx context.Context, backend core.Backend) (core.Backend, error) {
	start := func(context.Context) (link, error) {
		server := newBackendServer("loopback", "0", func(core.Config) (core.Backend, error) { return backend, nil })
		return newLoop(func(r grpc.ServiceRegistrar) { pb.RegisterBackendServer(r, server) },
			func() { _ = server.shutdown(goodbyeTime) })
	}
	b := newRemoteBackend("loopback backend", "", core.Config{}, start)
	if _, err := b.get(ctx); err != nil {
		return nil, err
	}
	return b, nil
}

// LoopbackMetric gives the metric that factory makes as it is seen from across
// the border, as [Loopback] does for backends. What it gives may be closed
// (io.Closer).
func LoopbackMetric(ctx context.Context, factory MetricFactory, spec core.MetricSpec, profile core.Profile) (core.Metric, error) {
	start := func(context.Context) (link, error) {
		server := newMetricServer("loopback", "0", factory)
		return newLoop(func(r grpc.ServiceRegistrar) { pb.RegisterMetricServer(r, server) }, server.end)
	}
	p := newMetricProcess("loopback metric", "", start)
	m, err := p.metric(ctx, spec, profile)
	if err != nil {
		_ = p.close(nil)
		return nil, err
	}
	return &loopMetric{m, p}, nil
}

// loopMetric ends its own server when it is closed.
type loopMetric struct {
	core.Metric
	process *metricProcess
}

func (m *loopMetric) Close() error { return m.process.close(nil) }

// loop is a link to a server in this process.
type loop struct {
	client   *grpc.ClientConn
	server   *grpc.Server
	shutdown func()
}

func newLoop(register func(grpc.ServiceRegistrar), shutdown func()) (link, error) {
	listener := bufconn.Listen(1 << 20)
	server := grpc.NewServer(serverOptions()...)
	register(server)
	go func() { _ = server.Serve(listener) }() // ends with Stop
	options := append(dialOptions(),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			return listener.DialContext(ctx)
		}))
	client, err := grpc.NewClient("passthrough:loopback", options...)
	if err != nil {
		server.Stop()
		return nil, fmt.Errorf("loopback: %w", err)
	}
	return &loop{client: client, server: server, shutdown: shutdown}, nil
}

func (l *loop) conn() *grpc.ClientConn { return l.client }
func (l *loop) lastWords() string      { return "" }
func (l *loop) end() {
	_ = l.client.Close()
	l.server.Stop()
	l.shutdown()
}
