// Package plugintest takes backends and metrics over the plugin border within
// a test, so that a contract suite can run on them bare and through the wire:
//
//	backendtest.Run(t, func(t *testing.T) core.Backend {
//		return plugintest.Loopback(t, mybackend.New())
//	}, backendtest.Options{})
package plugintest

import (
	"context"
	"io"
	"testing"
	"time"

	"github.com/evalrun/evalrun/core"
	"github.com/evalrun/evalrun/plugins"
)

// startTime bounds the making of the loop, which needs no process.
const startTime = 10 * time.Second

// Loopback gives backend as it is seen from across the border. Closing what it
// gives closes backend; the test's end does so at the latest.
func Loopback(t testing.TB, backend core.Backend) core.Backend {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), startTime)
	defer cancel()
	b, err := plugins.Loopback(ctx, backend)
	if err != nil {
		t.Fatalf("taking the backend over the wire: %v", err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Errorf("closing the backend over the wire: %v", err)
		}
	})
	return b
}

// LoopbackMetric gives metric as it is seen from across the border.
func LoopbackMetric(t testing.TB, metric core.Metric) core.Metric {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), startTime)
	defer cancel()
	factory := func(core.MetricSpec, core.Profile) (core.Metric, error) { return metric, nil }
	info := metric.Info()
	m, err := plugins.LoopbackMetric(ctx, factory, core.MetricSpec{Name: info.Name}, info.Profile)
	if err != nil {
		t.Fatalf("taking the metric over the wire: %v", err)
	}
	t.Cleanup(func() {
		if c, ok := m.(io.Closer); ok {
			if err := c.Close(); err != nil {
				t.Errorf("closing the metric over the wire: %v", err)
			}
		}
	})
	return m
}
