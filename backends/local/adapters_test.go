package local_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/evalrun/evalrun/backends/local"
	"github.com/evalrun/evalrun/backends/local/internal/fixture"
	"github.com/evalrun/evalrun/core"
	"github.com/evalrun/evalrun/plugins/plugintest"
)

// An adapter that breaks while the backend lives fails its own requests with a line
// of advice, also through the wire; one larger than its memory is told at the start.
func TestAdapterBreaksLater(t *testing.T) {
	c := core.Config{Model: chatModel(t, instTemplate), Options: map[string]string{"adapter_mb": "1", "adapter_host_mb": "1"}}
	for i, name := range []string{"gone", "sound"} {
		c.Adapters = append(c.Adapters, core.Adapter{Name: name, Path: fixture.WriteAdapter(t, uint64(i), 4, map[string][2]int{"q_proj": {40, 40}}, fixture.Tiny.Layers, nil)})
	}
	b, err := local.New(c)
	if err != nil {
		t.Fatal(err)
	}
	b = plugintest.Loopback(t, b)
	defer b.Close()
	info, err := b.Info(t.Context())
	if err != nil || len(info.Adapters) != 2 || info.Adapters[0].Hash == info.Adapters[1].Hash {
		t.Fatalf("%+v, %v", info.Adapters, err)
	}
	if err := os.Remove(filepath.Join(c.Adapters[0].Path, "adapter_model.safetensors")); err != nil {
		t.Fatal(err)
	}
	s, err := b.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for _, name := range []string{"gone", "sound"} {
		if err := s.Send(core.Request{ID: name, Kind: core.Generate, Adapter: name, Prompt: "one", Generation: core.Generation{MaxTokens: 3}}); err != nil {
			t.Fatal(err)
		}
	}
	left := 2
	for ev, err := range s.Events() {
		if err != nil {
			t.Fatal(err)
		}
		if ev.Err == nil && ev.Response == nil {
			continue
		}
		e := ev.Err
		if failed := e != nil; failed != (ev.ID == "gone") || failed && (e.Code != core.CodeNotFound || e.Hint == "" || !strings.Contains(e.Message, c.Adapters[0].Path)) {
			t.Errorf("%s: %+v", ev.ID, ev.Err)
		}
		if left--; left == 0 {
			break
		}
	}

	c.Adapters = []core.Adapter{{Name: "large", Path: fixture.WriteAdapter(t, 1, 1600, map[string][2]int{"down_proj": {40, 72}}, fixture.Tiny.Layers, nil)}}
	large, err := local.New(c)
	if err != nil {
		t.Fatal(err)
	}
	defer large.Close()
	var user *core.UserError
	if _, err := large.Info(t.Context()); !errors.As(err, &user) || !strings.Contains(user.Hint, "adapter_mb") || !strings.Contains(err.Error(), "adapters may take 1") {
		t.Errorf("an adapter that is too large: %v", err)
	}
}
