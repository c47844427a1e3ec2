// Package backends lists the backends that come with evalrun. Each lives in a
// folder of its own; decorators (cached, budget, retry, limit) wrap any of
// them, in this order from outside:
//
//	cached( budget( retry( limit( backend ))))
//
// so that a stored answer costs no reservation, a retried request is paid for
// once, and every try keeps to the rate.
package backends

import (
	"slices"

	"github.com/evalrun/evalrun/backends/echo"
	"github.com/evalrun/evalrun/backends/local"
	"github.com/evalrun/evalrun/backends/openai"
	"github.com/evalrun/evalrun/backends/replay"
	"github.com/evalrun/evalrun/core"
	"github.com/evalrun/evalrun/internal/nearest"
)

// An Entry is a backend of the house.
type Entry struct {
	Name        string
	Description string
	// New looks at the configuration and the environment alone: what is wrong
	// with them is told before anything is read, sent or loaded.
	New func(core.Config) (core.Backend, error)
	// Env names the environment variables that hold its secrets and settings:
	// only a process that serves this backend is given them.
	Env []string
}

// Builtin lists the backends of the house, sorted by name.
func Builtin() []Entry {
	return []Entry{
		{Name: echo.Name, Description: "answers by rule, without a model", New: echo.New},
		{Name: local.Name, Description: "a model on this machine; without --model the embedded demonstration model", New: local.New},
		{Name: openai.Name, Description: "any service with OpenAI's HTTP interface", New: openai.New, Env: openai.Env()},
		{Name: replay.Name, Description: "answers from a stored run", New: replay.New},
	}
}

// Find gives the built-in backend of that name.
func Find(name string) (Entry, bool) {
	list := Builtin()
	i := slices.IndexFunc(list, func(e Entry) bool { return e.Name == name })
	if i < 0 {
		return Entry{}, false
	}
	return list[i], true
}

// Nearest gives the built-in name that is closest to a mistyped one, or
// nothing.
func Nearest(name string) string {
	var names []string
	for _, e := range Builtin() {
		names = append(names, e.Name)
	}
	return nearest.Word(name, names)
}
