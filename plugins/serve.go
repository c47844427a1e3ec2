package plugins

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"
	goplugin "github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"

	"github.com/evalrun/evalrun/plugins/pb"
)

// orphanTime bounds what a plugin does after its host has gone, so that it is
// out of the process list within a second.
const orphanTime = 700 * time.Millisecond

// ServeBackend makes this process a backend plugin: it is all that main has to
// call. It blocks until the host has finished and then returns; when it was
// not started by a host, it says so on standard error and exits with 1.
//
// The process must write nothing to standard output and read nothing from
// standard input before the call. From then on standard output is free to use
// (the host logs it), log/slog writes to the host's log, and standard input is
// empty. The process ends when its host ends, however that happens.
//
// A panic in the backend is a crash: the host reports it with what was written
// to standard error, and starts the process again for the next session.
func ServeBackend(name, version string, factory BackendFactory) {
	server := newBackendServer(name, version, factory)
	server.begin = settle()
	serve(KindBackend, name, version,
		func(s *grpc.Server) { pb.RegisterBackendServer(s, server) },
		func(limit time.Duration) { _ = server.shutdown(limit) },
		server.leaveTraining)
}

// ServeMetric makes this process a metric plugin, as [ServeBackend] does for
// backends.
func ServeMetric(name, version string, factory MetricFactory) {
	server := newMetricServer(name, version, factory)
	server.begin = settle()
	serve(KindMetric, name, version,
		func(s *grpc.Server) { pb.RegisterMetricServer(s, server) },
		func(time.Duration) { server.end() },
		func() bool { return false })
}

// settle gives a function to be called once go-plugin has had its way with the
// process. It points both standard outputs at the real standard error: carried
// over gRPC, the last words before an end would be lost. And it takes away the
// marks of a plugin, which processes that this one starts must not inherit.
func settle() func() {
	var once sync.Once
	stderr := os.Stderr
	return func() {
		once.Do(func() {
			os.Stdout, os.Stderr = stderr, stderr
			for _, key := range []string{envCookie, envLifeline} {
				// It fails for malformed names only.
				_ = os.Unsetenv(key)
			}
		})
	}
}

// serve runs the plugin side of go-plugin. shutdown is called once at the end;
// leave at the first SIGTERM: false where there is nothing that would end by
// itself, and the process ends then.
func serve(kind, name, version string, register func(*grpc.Server), shutdown func(time.Duration), leave func() bool) {
	if os.Getenv(envCookie) != cookie {
		fmt.Fprint(os.Stderr, byHand(kind, name, version))
		os.Exit(1)
	}
	level := logLevel(os.Getenv(envLog))
	slog.SetDefault(slog.New(logHandler(os.Stderr, level)))

	var once sync.Once
	down := func(limit time.Duration) { once.Do(func() { shutdown(limit) }) }
	if os.Getenv(envLifeline) == "stdin" {
		line := os.Stdin
		if null, err := os.Open(os.DevNull); err == nil {
			os.Stdin = null
		}
		go func() {
			// The host writes nothing here: whatever ends the read, it is gone.
			_, _ = io.Copy(io.Discard, line)
			orphaned(down)
		}()
	}
	go func() {
		terms := make(chan os.Signal, 1)
		signal.Notify(terms, syscall.SIGTERM)
		<-terms
		if leave() {
			<-terms
		}
		os.Exit(128 + int(syscall.SIGTERM))
	}()
	hclogLevel := hclog.Warn
	if level <= slog.LevelDebug {
		hclogLevel = hclog.Debug
	}
	goplugin.Serve(&goplugin.ServeConfig{
		HandshakeConfig:  handshake,
		VersionedPlugins: pluginSets(kind, &wireService{register: register}),
		GRPCServer: func(options []grpc.ServerOption) *grpc.Server {
			return grpc.NewServer(append(options, serverOptions()...)...)
		},
		Logger: hclog.New(&hclog.LoggerOptions{Level: hclogLevel, Output: os.Stderr, JSONFormat: true}),
	})
	// The host allows two seconds between asking and killing.
	down(1500 * time.Millisecond)
}

// orphaned ends a process whose host is gone.
func orphaned(down func(time.Duration)) {
	ctx, cancel := context.WithTimeout(context.Background(), orphanTime)
	defer cancel()
	go func() {
		down(orphanTime)
		cancel()
	}()
	<-ctx.Done()
	// The host can no longer remove the folder of the socket.
	if dir := os.Getenv(goplugin.EnvUnixSocketDir); strings.HasPrefix(filepath.Base(dir), "plugin-dir") {
		_ = os.RemoveAll(dir)
	}
	endGroup()
	os.Exit(3)
}

// byHand is what someone reads who started a plugin in a terminal.
func byHand(kind, name, version string) string {
	use := "evalrun TASK --backend " + name
	if kind == KindMetric {
		use = "a task with \"metric: " + name + "\""
	}
	return fmt.Sprintf("this is evalrun's %s plugin %q, version %s; evalrun starts it by itself.\n"+
		"Put it on your PATH as evalrun-%s-%s and use it with: %s\n", kind, name, version, kind, name, use)
}
