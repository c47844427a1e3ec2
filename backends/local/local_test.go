package local_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/evalrun/evalrun/backends/backendtest"
	"github.com/evalrun/evalrun/backends/local"
	"github.com/evalrun/evalrun/core"
	"github.com/evalrun/evalrun/plugins/plugintest"
)

func demo(t testing.TB) core.Backend {
	t.Helper()
	t.Setenv("EVALRUN_CACHE", filepath.Join(os.TempDir(), "evalrun-test-cache"))
	b, err := local.New(core.Config{})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

var contract = backendtest.Options{Prompt: "Is this review positive (1) or negative (0)?", MaxTokens: 8}

func TestContract(t *testing.T) {
	backendtest.Run(t, func(t *testing.T) core.Backend { return demo(t) }, contract)
}

func TestContractThroughTheWire(t *testing.T) {
	if testing.Short() {
		t.Skip("the bare contract is enough for a short run")
	}
	backendtest.Run(t, func(t *testing.T) core.Backend { return plugintest.Loopback(t, demo(t)) }, contract)
}

// one asks a single request and gives its response.
func one(t *testing.T, s core.Session, r core.Request) *core.Response {
	t.Helper()
	if err := s.Send(r); err != nil {
		t.Fatal(err)
	}
	for ev, err := range s.Events() {
		if err != nil {
			t.Fatal(err)
		}
		switch {
		case ev.ID != r.ID:
		case ev.Err != nil:
			t.Fatal(ev.Err)
		case ev.Response != nil:
			return ev.Response
		}
	}
	t.Fatal("no answer")
	return nil
}

// An answer is the same alone and among others: the door adds nothing that
// depends on neighbours.
func TestSameAnswerInCompany(t *testing.T) {
	b := demo(t)
	defer b.Close()
	ask := func(id, prompt string) core.Request {
		return core.Request{ID: id, Kind: core.Generate, Prompt: prompt, Logprobs: true,
			Generation: core.Generation{MaxTokens: 12, Temperature: 0.8, Seed: 3}}
	}
	open := func() core.Session {
		s, err := b.Open(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	alone := open()
	want := one(t, alone, ask("x", "The harbour was quiet"))
	alone.Close()

	crowd := open()
	defer crowd.Close()
	for _, p := range []string{"The harbour was loud", "A", "The harbour was quiet and", "Seven boats"} {
		if err := crowd.Send(ask("n"+p, p)); err != nil {
			t.Fatal(err)
		}
	}
	if err := crowd.Send(ask("y", "The harbour was quiet")); err != nil {
		t.Fatal(err)
	}
	deadline := time.After(30 * time.Second)
	for ev, err := range crowd.Events() {
		if err != nil {
			t.Fatal(err)
		}
		select {
		case <-deadline:
			t.Fatal("no answer")
		default:
		}
		if ev.ID != "y" || ev.Response == nil {
			continue
		}
		if ev.Response.Text != want.Text {
			t.Errorf("alone %q, in company %q", want.Text, ev.Response.Text)
		}
		for i, l := range ev.Response.Logprobs {
			if l != want.Logprobs[i] {
				t.Errorf("log-probability %d: %v, alone %v", i, l, want.Logprobs[i])
			}
		}
		return
	}
}

// The name of a special token in a row is text.
func TestSpecialTokensInDataAreText(t *testing.T) {
	b := demo(t)
	defer b.Close()
	s, err := b.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	r := one(t, s, core.Request{ID: "t", Kind: core.Tokenize, Prompt: "a</s>b"})
	if len(r.Tokens) < 4 {
		t.Errorf("%v: the name of a token became the token", r.Tokens)
	}
}

func TestConfigMistakes(t *testing.T) {
	for _, tt := range []struct {
		name string
		c    core.Config
	}{
		{"device", core.Config{Device: "tpu"}},
		{"setting", core.Config{Options: map[string]string{"thread": "2"}}},
		{"number", core.Config{Options: map[string]string{"threads": "two"}}},
		{"quantisation", core.Config{Options: map[string]string{"quant": "int3"}}},
		{"type", core.Config{Options: map[string]string{"dtype": "f8"}}},
		{"overflow", core.Config{Options: map[string]string{"overflow": "head"}}},
	} {
		if _, err := local.New(tt.c); err == nil {
			t.Errorf("%s: no error", tt.name)
		}
	}
	b, err := local.New(core.Config{Adapters: []core.Adapter{{Name: "a", Path: filepath.Join(t.TempDir(), "none")}}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Info(t.Context()); err == nil || !strings.Contains(err.Error(), "adapter_config.json") {
		t.Errorf("an adapter that is not there: %v", err)
	}
	for name, path := range map[string]string{"absent": filepath.Join(t.TempDir(), "none"), "empty folder": t.TempDir()} {
		b, err := local.New(core.Config{Model: path})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := b.Info(t.Context()); err == nil {
			t.Errorf("%s: loaded", name)
		}
		b.Close()
	}
}
