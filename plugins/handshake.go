package plugins

import (
	"context"
	"fmt"

	goplugin "github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"
)

// The two kinds of plugins. A file named evalrun-KIND-NAME is found as NAME.
const (
	KindBackend = "backend"
	KindMetric  = "metric"
)

// ProtocolVersion is the version of the protocol in plugins/proto that this
// package speaks. A later one gets a further entry in the sets below, so that
// host and plugin agree on the newest that both know.
const ProtocolVersion = 1

// Variables in a plugin's environment.
const (
	// envCookie marks a process as started by a host. It guards against
	// mistakes, not against malice.
	envCookie = "EVALRUN_PLUGIN"
	cookie    = "evalrun-plugin-border-v1"
	// envLifeline says where the plugin finds the pipe that closes when its
	// host is gone; the only value is stdin.
	envLifeline = "EVALRUN_PLUGIN_LIFELINE"
	// envLog is the lowest level of log lines worth writing.
	envLog = "EVALRUN_PLUGIN_LOG"
)

var handshake = goplugin.HandshakeConfig{
	ProtocolVersion:  ProtocolVersion,
	MagicCookieKey:   envCookie,
	MagicCookieValue: cookie,
}

// wireService is one gRPC service as go-plugin wants to see it.
type wireService struct {
	goplugin.NetRPCUnsupportedPlugin
	register func(*grpc.Server) // plugin's side
}

// GRPCServer is called by go-plugin in the plugin.
func (w *wireService) GRPCServer(_ *goplugin.GRPCBroker, s *grpc.Server) error {
	if w.register == nil {
		return fmt.Errorf("no service to serve")
	}
	w.register(s)
	return nil
}

// GRPCClient is called by go-plugin in the host; it gives the connection.
func (w *wireService) GRPCClient(_ context.Context, _ *goplugin.GRPCBroker, conn *grpc.ClientConn) (any, error) {
	return conn, nil
}

func pluginSets(kind string, service *wireService) map[int]goplugin.PluginSet {
	return map[int]goplugin.PluginSet{ProtocolVersion: {kind: service}}
}
