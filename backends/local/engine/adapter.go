package engine

import (
	"errors"
	"fmt"
	"slices"

	"github.com/evalrun/evalrun/backends/local/lora"
	"github.com/evalrun/evalrun/backends/local/nn"
)

// adapter is one that is loaded: its file, its parts on the device, and the
// hash of its content, by which what was computed with it is known.
type adapter struct {
	name  string
	file  *lora.Adapter
	parts *nn.Adapter
	hash  string
	at    int // place in the order of loading, from 1
}

// order sorts the rows of a batch, those of the base model first.
func (a *adapter) order() int {
	if a == nil {
		return 0
	}
	return a.at
}

// An AdapterError says why an adapter's folder is not loaded, the model being
// sound.
type AdapterError struct {
	Path string
	Err  error
}

// Error gives the place and the reason.
func (e *AdapterError) Error() string { return "adapter " + e.Path + ": " + e.Err.Error() }

// Unwrap gives the reason.
func (e *AdapterError) Unwrap() error { return e.Err }

// loadAdapters loads those of the options.
func (e *Engine) loadAdapters() error {
	for _, p := range e.opts.Adapters {
		if err := e.loadAdapter(p); err != nil {
			return &AdapterError{p.Path, err}
		}
	}
	return nil
}

func (e *Engine) loadAdapter(p AdapterPath) error {
	if p.Name == "" {
		return errors.New("it has no name")
	}
	if e.adapters[p.Name] != nil {
		return fmt.Errorf("two adapters are named %q", p.Name)
	}
	file, err := lora.Open(p.Path)
	if err != nil {
		return err
	}
	a := &adapter{name: p.Name, file: file, at: len(e.adapters) + 1}
	e.adapters[p.Name] = a // from here on free closes it
	if a.hash, err = file.Hash(); err != nil {
		return err
	}
	if a.parts, err = e.model.Adapter(file); err != nil {
		return err
	}
	e.plan.AdapterBytes += a.parts.Bytes
	return nil
}

// AdapterInfo is a loaded adapter.
type AdapterInfo struct {
	Name, Path, Hash string
	Bytes            int64
}

// Adapters are those that requests may name, in the order of loading.
func (e *Engine) Adapters() []AdapterInfo {
	var all []AdapterInfo
	for _, a := range e.adapters {
		all = append(all, AdapterInfo{a.name, a.file.Path, a.hash, a.parts.Bytes})
	}
	slices.SortFunc(all, func(a, b AdapterInfo) int { return e.adapters[a.Name].at - e.adapters[b.Name].at })
	return all
}
