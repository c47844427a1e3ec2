package engine

import (
	"errors"
	"fmt"
	"runtime"
	"sync"

	"github.com/evalrun/evalrun/backends/local/arch"
	"github.com/evalrun/evalrun/backends/local/lora"
	"github.com/evalrun/evalrun/backends/local/nn"
	"github.com/evalrun/evalrun/backends/local/tier"
	"github.com/evalrun/evalrun/kernels"
)

// adapter is one that requests may name. Its files are known and fit the model, or
// broken says why not; where its values are changes from batch to batch.
type adapter struct {
	name, path string
	at         int   // place in the order of the options, from 1
	broken     error // an *AdapterError
	bytes      int64 // of its image
	size       int64 // on the device

	// hash of its content, by which what was computed with it is known. The first
	// that reads the files sets it, under Engine.mu; it never changes.
	hash string

	// The run loop's own.
	reading          bool
	host             *image         // in the host's memory, nil where it is not
	copy             kernels.Staged // on the device or on its way there
	parts            *nn.Adapter    // once it is there
	content          string         // its hash then
	waiting, running int            // sequences, counted before each batch
}

// image is an adapter in the host's memory, ready to be copied.
type image struct {
	shape *arch.Image
	mem   []byte
	hash  string
}

// order sorts the rows of a batch, those of the base model first.
func (a *adapter) order() int {
	if a == nil {
		return 0
	}
	return a.at
}

// An AdapterError says why an adapter answers nothing, the model being sound.
type AdapterError struct {
	Path string
	Err  error
	// Hint says what to do about it.
	Hint string
}

// Error gives the place and the reason.
func (e *AdapterError) Error() string { return "adapter " + e.Path + ": " + e.Err.Error() }

// Unwrap gives the reason.
func (e *AdapterError) Unwrap() error { return e.Err }

const (
	hintFolder  = "give a folder with adapter_config.json and adapter_model.safetensors that was trained on this base model"
	hintChanged = "keep an adapter's files as they are while it is used; what was trained anew gets a folder of its own, or a new start"
)

var errChanged = errors.New("its files are others than when they were first read")

func (a *adapter) failed(err error) error {
	e := &AdapterError{Path: a.path, Err: err, Hint: hintFolder}
	if errors.Is(err, errChanged) {
		e.Hint = hintChanged
	}
	return e
}

// openAdapters looks at the adapters of the options and settles how much memory
// they may take. Values are read when they are wanted.
func (e *Engine) openAdapters() error {
	var most adapter // the most that one takes
	all := int64(0)
	for i, p := range e.opts.Adapters {
		a := &adapter{name: p.Name, path: p.Path, at: i + 1}
		if p.Name == "" {
			return &AdapterError{p.Path, errors.New("it has no name"), "give it one"}
		}
		if e.adapters[p.Name] != nil {
			return &AdapterError{p.Path, fmt.Errorf("two adapters are named %q", p.Name), "write DIR=name to give one another name"}
		}
		e.adapters[p.Name] = a
		e.inOrder = append(e.inOrder, a)
		if err := e.look(a); err != nil {
			a.broken = a.failed(err)
			continue
		}
		most.bytes, most.size, all = max(most.bytes, a.bytes), max(most.size, a.size), all+a.size
	}
	device, host := e.tierBudgets(most.size, most.bytes)
	for _, a := range e.inOrder {
		switch {
		case a.broken != nil:
		case a.size > device:
			a.broken = tooLarge(a, "device", a.size, device, "adapter_mb")
		case a.bytes > host:
			a.broken = tooLarge(a, "host", a.bytes, host, "adapter_host_mb")
		}
	}
	e.onDevice, e.onHost = tier.New[*adapter](device), tier.New[*adapter](host)
	e.plan.AdapterBytes = min(device, all)
	return nil
}

func tooLarge(a *adapter, where string, bytes, budget int64, option string) error {
	const mib = 1 << 20
	return &AdapterError{a.path, fmt.Errorf("it takes %d MiB of the %s's memory, and adapters may take %d", (bytes+mib-1)/mib, where, budget/mib),
		fmt.Sprintf("raise %s to %d or more", option, (bytes+mib-1)/mib)}
}

// look opens an adapter's files for their header alone.
func (e *Engine) look(a *adapter) error {
	file, err := lora.Open(a.path)
	if err != nil {
		return err
	}
	shape, err := e.model.ImageShape(file)
	if err == nil {
		a.bytes = shape.Bytes
		a.size, err = e.model.AdapterBytes(shape)
	}
	return errors.Join(err, file.Close())
}

const (
	// defaultAdapterBytes bounds adapters on a device in the host's memory.
	defaultAdapterBytes = 1 << 30
	// defaultHostBytes bounds the host tier of a device with memory of its own,
	// readBytes what was read and is not yet on another.
	defaultHostBytes = 2 << 30
	readBytes        = 256 << 20
)

// tierBudgets are the bytes that adapters may take on the device and on the host;
// those that are not set hold the largest adapter. A device with memory of its own
// gives half of what weights, keys and values left free. On others both tiers are the
// same memory: what is on the device is not kept a second time.
func (e *Engine) tierBudgets(size, bytes int64) (device, host int64) {
	device, host = e.opts.AdapterBytes, e.opts.AdapterHostBytes
	if device == 0 {
		device = defaultAdapterBytes
		if m, ok := e.dev.(interface{ Memory() (free, total int64) }); ok {
			free, _ := m.Memory()
			device = free / 2
		}
		device = max(device, size)
	}
	if host == 0 {
		host = defaultHostBytes
		if e.stager == nil {
			host = readBytes
		}
		host = max(host, bytes)
	}
	return device, host
}

// identify holds an adapter to the content it had when it was first read.
func (e *Engine) identify(a *adapter, hash string) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if a.hash == "" {
		a.hash = hash
	}
	if a.hash != hash {
		return errChanged
	}
	return nil
}

// Broken is the first adapter that answers nothing, as far as headers tell, an
// *AdapterError; nil where there is none. Others are usable all the same.
func (e *Engine) Broken() error {
	for _, a := range e.inOrder {
		if a.broken != nil {
			return a.broken
		}
	}
	return nil
}

// AdapterInfo is an adapter that requests may name.
type AdapterInfo struct {
	Name, Path string
	// Hash of the content, Bytes on the device.
	Hash  string
	Bytes int64
	// Err says why it answers nothing, an *AdapterError.
	Err error
}

// Adapters are those that requests may name, in the order of the options. Their
// files are read for the hashes, some at a time.
func (e *Engine) Adapters() []AdapterInfo {
	all := make([]AdapterInfo, len(e.inOrder))
	var wait sync.WaitGroup
	turns := make(chan struct{}, runtime.GOMAXPROCS(0))
	for i, a := range e.inOrder {
		all[i] = AdapterInfo{Name: a.name, Path: a.path, Bytes: a.size, Err: a.broken}
		if a.broken != nil {
			continue
		}
		turns <- struct{}{}
		wait.Go(func() {
			defer func() { <-turns }()
			hash, err := lora.Hash(a.path)
			if err == nil {
				err = e.identify(a, hash)
			}
			if all[i].Hash = hash; err != nil {
				all[i].Err = a.failed(err)
			}
		})
	}
	wait.Wait()
	return all
}
