// Package backends lists the backends that come with evalrun. Each lives in a
// folder of its own; decorators (cached, retry, limit, budget) wrap any of
// them, in this order from outside:
//
//	cached( budget( retry( limit( backend ))))
package backends

import (
	"github.com/evalrun/evalrun/backends/echo"
	"github.com/evalrun/evalrun/core"
)

// An Entry is a backend of the house.
type Entry struct {
	Name        string
	Description string
	New         func(core.Config) (core.Backend, error)
	// Env names the environment variables that hold its secrets.
	Env []string
}

// Builtin lists the backends of the house.
func Builtin() []Entry {
	return []Entry{
		{Name: echo.Name, Description: "answers by rule, without a model", New: echo.New},
	}
}
