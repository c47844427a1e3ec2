package plugins_test

import (
	"testing"

	"github.com/evalrun/evalrun/backends/backendtest"
	"github.com/evalrun/evalrun/core"
	"github.com/evalrun/evalrun/plugins"
	"github.com/evalrun/evalrun/plugins/plugintest"
)

func TestContractOverTheWire(t *testing.T) {
	backendtest.Run(t, func(t *testing.T) core.Backend {
		b, err := plugins.NewFake(core.Config{Options: map[string]string{"strict": "yes"}})
		if err != nil {
			t.Fatal(err)
		}
		return plugintest.Loopback(t, b)
	}, backendtest.Options{Slow: core.Request{Kind: core.Generate, Prompt: "slow"}})
}

func TestContractBare(t *testing.T) {
	backendtest.Run(t, func(t *testing.T) core.Backend {
		b, err := plugins.NewFake(core.Config{})
		if err != nil {
			t.Fatal(err)
		}
		return b
	}, backendtest.Options{Slow: core.Request{Kind: core.Generate, Prompt: "slow"}})
}
