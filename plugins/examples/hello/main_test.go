package main

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/evalrun/evalrun/backends/backendtest"
	"github.com/evalrun/evalrun/core"
	"github.com/evalrun/evalrun/plugins"
	"github.com/evalrun/evalrun/plugins/plugintest"
)

// host builds the plugin into a folder of its own and gives a host that finds
// it there.
func host(t *testing.T) *plugins.Host {
	t.Helper()
	dir := t.TempDir()
	build := exec.Command("go", "build", "-o", filepath.Join(dir, "evalrun-backend-hello"), ".")
	build.Stderr = os.Stderr
	if err := build.Run(); err != nil {
		t.Fatal(err)
	}
	h := plugins.NewHost(plugins.HostOptions{Dirs: []string{dir}})
	t.Cleanup(func() {
		if err := h.Close(); err != nil {
			t.Error(err)
		}
	})
	return h
}

func TestContract(t *testing.T) {
	t.Run("bare", func(t *testing.T) {
		backendtest.Run(t, bare, backendtest.Options{})
	})
	t.Run("wire", func(t *testing.T) {
		backendtest.Run(t, func(t *testing.T) core.Backend { return plugintest.Loopback(t, bare(t)) }, backendtest.Options{})
	})
	h := host(t)
	t.Run("process", func(t *testing.T) {
		backendtest.Run(t, func(t *testing.T) core.Backend {
			b, err := h.Backend(t.Context(), "hello", core.Config{})
			if err != nil {
				t.Fatal(err)
			}
			return b
		}, backendtest.Options{})
	})
	t.Run("mistake", func(t *testing.T) {
		_, err := h.Backend(t.Context(), "hello", core.Config{Adapters: []core.Adapter{{Name: "a"}}})
		var user *core.UserError
		if !errors.As(err, &user) || user.Where != "--adapter" {
			t.Errorf("an adapter gave %v", err)
		}
	})
}

func bare(t *testing.T) core.Backend {
	b, err := newBackend(core.Config{})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestGreeting(t *testing.T) {
	b, err := newBackend(core.Config{Model: "good morning"})
	if err != nil {
		t.Fatal(err)
	}
	s, err := b.Open(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.Send(core.Request{ID: "1", Kind: core.Generate, Prompt: "Ada"}); err != nil {
		t.Fatal(err)
	}
	for e, err := range s.Events() {
		if err != nil {
			t.Fatal(err)
		}
		if e.Kind == core.EventResponse {
			if e.Response.Text != "good morning, Ada" {
				t.Errorf("got %q", e.Response.Text)
			}
			return
		}
	}
	t.Error("no answer")
}
