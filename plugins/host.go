package plugins

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/evalrun/evalrun/core"
)

// HostOptions say what a host knows of the world.
type HostOptions struct {
	// Self is the file that serves the built-ins; empty is this program.
	Self string
	// SelfArgs gives the arguments with which Self becomes a built-in plugin;
	// nil means plugin serve KIND NAME.
	SelfArgs func(kind, name string) []string
	// Backends and Metrics name the built-ins. They win over files of the same
	// name.
	Backends, Metrics []string
	// Dirs are the folders with external plugins; nil means [Folders].
	Dirs []string
	// Env gives further variables (NAME=value) for one plugin: the place for
	// its secrets. Everything else a plugin sees is listed in docs/plugins.md.
	Env func(kind, name string) []string
	// Logger gets the plugins' log lines, each with the plugin's name; nil
	// drops them.
	Logger *slog.Logger
	// StartTime bounds the start of a plugin up to the handshake; 0 is 15 s.
	StartTime time.Duration
}

// A Host starts plugins and ends them. It may be used by several goroutines.
type Host struct {
	options HostOptions

	mu       sync.Mutex
	closed   bool
	backends map[*remoteBackend]struct{}
	metrics  map[string]*metricProcess
}

// NewHost checks nothing and starts nothing: a plugin is started when it is
// asked for.
func NewHost(options HostOptions) *Host {
	if options.SelfArgs == nil {
		options.SelfArgs = func(kind, name string) []string { return []string{"plugin", "serve", kind, name} }
	}
	if options.Env == nil {
		options.Env = func(string, string) []string { return nil }
	}
	if options.Logger == nil {
		options.Logger = slog.New(slog.DiscardHandler)
	}
	if options.StartTime == 0 {
		options.StartTime = 15 * time.Second
	}
	return &Host{options: options, backends: map[*remoteBackend]struct{}{}, metrics: map[string]*metricProcess{}}
}

// List names every plugin that can be used: built-ins first, then files, each
// group by kind and name. A file that a built-in hides is not listed.
func (h *Host) List() []Found {
	var builtin []Found
	for _, name := range h.options.Backends {
		builtin = append(builtin, Found{Kind: KindBackend, Name: name, Builtin: true})
	}
	for _, name := range h.options.Metrics {
		builtin = append(builtin, Found{Kind: KindMetric, Name: name, Builtin: true})
	}
	dirs := h.options.Dirs
	if dirs == nil {
		dirs = Folders()
	}
	external := slices.DeleteFunc(scan(dirs), func(f Found) bool {
		return slices.ContainsFunc(builtin, func(b Found) bool { return b.Kind == f.Kind && b.Name == f.Name })
	})
	order := func(a, b Found) int {
		return strings.Compare(a.Kind+" "+a.Name, b.Kind+" "+b.Name)
	}
	slices.SortFunc(builtin, order)
	slices.SortFunc(external, order)
	return append(builtin, external...)
}

// find gives the command that starts a plugin.
func (h *Host) find(kind, name string) (*command, error) {
	c := &command{
		kind:      kind,
		name:      name,
		log:       h.options.Logger.With("plugin", kind+"/"+name),
		startTime: h.options.StartTime,
		env:       append(commonEnv(), h.options.Env(kind, name)...),
	}
	builtin := h.options.Backends
	if kind == KindMetric {
		builtin = h.options.Metrics
	}
	if slices.Contains(builtin, name) {
		c.path = h.options.Self
		if c.path == "" {
			self, err := os.Executable()
			if err != nil {
				return nil, fmt.Errorf("finding this program to start %s %q: %w", kind, name, err)
			}
			c.path = self
		}
		c.args = h.options.SelfArgs(kind, name)
		return c, nil
	}
	// Only now are folders read: a built-in starts without.
	var names []string
	for _, f := range h.List() {
		if f.Kind != kind {
			continue
		}
		if f.Name == name {
			c.path = f.Path
			return c, nil
		}
		names = append(names, f.Name)
	}
	have := "there is none"
	if len(names) > 0 {
		have = "there are " + strings.Join(names, ", ")
	}
	return nil, &core.UserError{
		Message: fmt.Sprintf("no %s %q: %s", kind, name, have),
		Hint:    fmt.Sprintf("put a plugin on PATH as evalrun-%s-NAME to use it as NAME", kind),
	}
}

// Backend starts the backend plugin of that name with the settings given, in a
// process of its own. Closing the backend ends the process; so does closing
// the host.
//
// When the process dies, its sessions end with an error that is a
// core.ErrSessionLost and tells how the process ended; the next Info or Open
// starts it again. One that dies three times without having answered anything
// is given up: Info and Open then return a *core.UserError.
func (h *Host) Backend(ctx context.Context, name string, cfg core.Config) (core.Backend, error) {
	c, err := h.find(KindBackend, name)
	if err != nil {
		return nil, err
	}
	b := newRemoteBackend(c.title(), c.path, cfg, func(ctx context.Context) (link, error) { return startProcess(ctx, c) })
	b.onClose = func() {
		h.mu.Lock()
		delete(h.backends, b)
		h.mu.Unlock()
	}
	h.mu.Lock()
	if h.closed {
		h.mu.Unlock()
		return nil, errHostClosed
	}
	h.backends[b] = struct{}{}
	h.mu.Unlock()
	if _, err := b.get(ctx); err != nil {
		_ = b.Close()
		return nil, err
	}
	return b, nil
}

// Metric makes a metric of the metric plugin of that name. Metrics of one name
// share a process, which ends with the host.
func (h *Host) Metric(ctx context.Context, name string, spec core.MetricSpec, profile core.Profile) (core.Metric, error) {
	h.mu.Lock()
	if h.closed {
		h.mu.Unlock()
		return nil, errHostClosed
	}
	p := h.metrics[name]
	h.mu.Unlock()
	if p == nil {
		c, err := h.find(KindMetric, name)
		if err != nil {
			return nil, err
		}
		fresh := newMetricProcess(c.title(), c.path, func(ctx context.Context) (link, error) { return startProcess(ctx, c) })
		h.mu.Lock()
		if p = h.metrics[name]; p == nil && !h.closed {
			p = fresh
			h.metrics[name] = p
		}
		h.mu.Unlock()
		if p == nil {
			return nil, errHostClosed
		}
	}
	return p.metric(ctx, spec, profile)
}

var errHostClosed = errors.New("the plugin host is closed")

// Kill ends the backends' processes at once, whatever they are doing, and then
// closes: for a user who does not wait.
func (h *Host) Kill() error {
	h.mu.Lock()
	for b := range h.backends {
		b.kill()
	}
	h.mu.Unlock()
	return h.Close()
}

// Close ends every process that the host started and waits until they are
// gone: a few milliseconds, or seconds for one that must be killed. Idempotent.
func (h *Host) Close() error {
	h.mu.Lock()
	h.closed = true
	var ends []func() error
	for b := range h.backends {
		ends = append(ends, b.Close)
	}
	for _, m := range h.metrics {
		ends = append(ends, func() error { return m.close(nil) })
	}
	h.metrics = map[string]*metricProcess{}
	h.mu.Unlock()
	errs := make([]error, len(ends))
	var all sync.WaitGroup
	for i, end := range ends {
		all.Go(func() { errs[i] = end() })
	}
	all.Wait()
	return errors.Join(errs...)
}
