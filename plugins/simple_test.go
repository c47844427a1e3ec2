package plugins_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/evalrun/evalrun/backends/backendtest"
	"github.com/evalrun/evalrun/core"
	"github.com/evalrun/evalrun/plugins"
	"github.com/evalrun/evalrun/plugins/plugintest"
)

func shout() core.Backend {
	info := core.Info{
		Name: "shout", Version: "1", Model: "shout", Kinds: []core.Kind{core.Generate},
		Forms: []core.Form{core.FormCompletion}, Deterministic: true,
	}
	return plugins.Simple(info, func(ctx context.Context, r core.Request, delta func(string)) (core.Response, error) {
		switch r.Prompt {
		case "slow":
			<-ctx.Done()
			return core.Response{}, ctx.Err()
		case "broken":
			return core.Response{}, errors.New("it broke")
		case "limited":
			return core.Response{}, fmt.Errorf("asking: %w", &core.Error{Code: core.CodeRateLimit, Message: "slow down"})
		}
		text := strings.ToUpper(strings.ToValidUTF8(r.Prompt, "?"))
		delta("")
		delta(text)
		return core.Response{Text: text, Finish: core.FinishStop, Usage: core.Usage{Prompt: 1, Completion: 1}}, nil
	})
}

func TestSimple(t *testing.T) {
	options := backendtest.Options{Slow: core.Request{Kind: core.Generate, Prompt: "slow"}}
	t.Run("bare", func(t *testing.T) {
		backendtest.Run(t, func(*testing.T) core.Backend { return shout() }, options)
	})
	t.Run("wire", func(t *testing.T) {
		backendtest.Run(t, func(t *testing.T) core.Backend { return plugintest.Loopback(t, shout()) }, options)
	})
}

func TestSimpleErrors(t *testing.T) {
	s, err := shout().Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	want := map[string]core.Code{"broken": core.CodeInternal, "limited": core.CodeRateLimit}
	for prompt := range want {
		if err := s.Send(core.Request{ID: prompt, Kind: core.Generate, Prompt: prompt}); err != nil {
			t.Fatal(err)
		}
	}
	got := 0
	for e := range s.Events() {
		if e.Err == nil || e.Err.Code != want[e.ID] {
			t.Errorf("%s came as %+v", e.ID, e)
		}
		if got++; got == len(want) {
			break
		}
	}
}

func ExampleSimple() {
	backend := plugins.Simple(
		core.Info{Name: "hello", Model: "hello", Kinds: []core.Kind{core.Generate}, Forms: []core.Form{core.FormCompletion}},
		func(_ context.Context, r core.Request, _ func(string)) (core.Response, error) {
			return core.Response{Text: "hello, " + r.Prompt, Finish: core.FinishStop}, nil
		})
	session, err := backend.Open(context.Background())
	if err != nil {
		fmt.Println(err)
		return
	}
	defer session.Close()
	if err := session.Send(core.Request{ID: "1", Kind: core.Generate, Prompt: "world"}); err != nil {
		fmt.Println(err)
		return
	}
	for event, err := range session.Events() {
		fmt.Println(event.Response.Text, err)
		break
	}
	// Output: hello, world <nil>
}
