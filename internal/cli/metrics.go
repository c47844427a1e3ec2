package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/spf13/pflag"

	"github.com/evalrun/evalrun/core"
	"github.com/evalrun/evalrun/core/run"
	"github.com/evalrun/evalrun/metrics"
	"github.com/evalrun/evalrun/plugins"
	"github.com/evalrun/evalrun/tasks"
)

// metricNames lists what task files may name: the built-in metrics, and the
// plugins evalrun-metric-NAME that are found. No process is started.
func metricNames() []string {
	names := metrics.Names()
	for _, p := range metricPlugins() {
		if !slices.Contains(names, p.Name) {
			names = append(names, p.Name)
		}
	}
	return names
}

// metricPlugins lists the metric plugins that are found; a built-in metric goes
// before a plugin of its name.
func metricPlugins() (out []plugins.Found) {
	host := newHost(true)
	defer host.Close()
	for _, p := range host.List() {
		if p.Kind == plugins.KindMetric {
			out = append(out, p)
		}
	}
	return out
}

// A metricMaker makes metrics by name: built-in ones in this process, others in
// their plugin's, which starts with its first metric and ends with Close. The
// zero value is ready for use, by several goroutines.
type metricMaker struct {
	// unsafeCode has metrics that run models' code do so with whatever isolation
	// this machine gives.
	unsafeCode bool

	mu   sync.Mutex
	host *plugins.Host
}

// unsafeCodeFlag adds --unsafe-code to a verb that judges answers.
func unsafeCodeFlag(fl *pflag.FlagSet, value *bool) {
	fl.BoolVar(value, "unsafe-code", false, "run models' programs even where this machine cannot isolate them")
}

// metric makes one metric. What the user got wrong is a *core.UserError.
func (f *metricMaker) metric(ctx context.Context, spec core.MetricSpec, profile core.Profile) (core.Metric, error) {
	m, err := metrics.New(spec, profile)
	if unsafe, ok := m.(interface{ AllowUnsafeCode() }); ok && f.unsafeCode {
		unsafe.AllowUnsafeCode()
	}
	if err == nil || !errors.Is(err, metrics.ErrUnknown) {
		return m, err
	}
	f.mu.Lock()
	if f.host == nil {
		f.host = newHost(false)
	}
	host := f.host
	f.mu.Unlock()
	return host.Metric(ctx, spec.Name, spec, profile)
}

// judges makes a task's judges.
func (f *metricMaker) judges(ctx context.Context, file *tasks.File, own core.Profile) ([]run.Judge, error) {
	judges, err := run.Judges(file.Task, own, func(spec core.MetricSpec, p core.Profile) (core.Metric, error) {
		m, err := f.metric(ctx, spec, p)
		return m, at(file, "metrics", err)
	})
	var se *run.SpecError
	if errors.As(err, &se) {
		key := "metrics"
		if se.Index >= 0 {
			key = fmt.Sprintf("metrics.%d", se.Index)
		}
		return nil, tasks.Problems{file.Problem(key, -1, se.Error(), "docs/tasks.md tells what stands under metrics:")}
	}
	return judges, err
}

// Close ends the plugins' processes. The maker can be used again.
func (f *metricMaker) Close() error {
	f.mu.Lock()
	host := f.host
	f.host = nil
	f.mu.Unlock()
	if host == nil {
		return nil
	}
	return host.Close()
}
