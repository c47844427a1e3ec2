// Package engine answers many requests at once with one model. It joins the
// running sequences to batches (sched plans them), keeps their keys and values
// in shared pages (kv), and turns logits into tokens (sample).
//
// The law of the house: an answer has the same bits alone and in any batch,
// with a shared prefix or without, with one thread or many.
//
// First call: Load, then Engine.NewSession. Everything that touches the model
// happens on one goroutine; Submit encodes on the caller's.
package engine

import (
	"errors"
	"fmt"
	"math"
	"sync"

	"github.com/evalrun/evalrun/backends/local/arch"
	"github.com/evalrun/evalrun/backends/local/device"
	"github.com/evalrun/evalrun/backends/local/kv"
	"github.com/evalrun/evalrun/backends/local/lora"
	"github.com/evalrun/evalrun/backends/local/nn"
	"github.com/evalrun/evalrun/backends/local/tier"
	"github.com/evalrun/evalrun/kernels"
	"github.com/evalrun/evalrun/kernels/cuda"
)

// Tokenizer is what the engine needs of one.
type Tokenizer interface {
	// Encode gives the ids of text, with the tokens that the model wants around
	// it if addSpecial is set. With literal, names of special tokens are text.
	Encode(text string, addSpecial, literal bool) ([]int32, error)
	// Stream decodes an answer to a prompt, token by token.
	Stream(prompt []int32) TextStream
	// BOS and EOS are the tokens around a text, false where there are none.
	BOS() (int32, bool)
	EOS() (int32, bool)
	// Token is the vocabulary's own writing of an id.
	Token(id int32) (string, bool)
}

// TextStream decodes one answer. Special tokens give no text.
type TextStream interface {
	// Push takes a token and gives the text that is complete with it, never
	// half a character.
	Push(id int32) string
	// Flush gives what is left at the end.
	Flush() string
}

// Options choose how a model is run. The zero value suits a small model.
type Options struct {
	// Device computes; nil is the one that DeviceName names (device.Open), with
	// Threads threads, which the engine closes.
	Device     kernels.Device
	DeviceName string
	Threads    int
	// Context is the longest sequence, prompt and answer together; 0 is the
	// model's own, or what KVBytes hold if that is less.
	Context int
	// KVBytes is the memory for keys and values; 0 is 256 MiB.
	KVBytes int64
	// Sequences is the number of sequences computed side by side; 0 is 64.
	Sequences int
	// BatchRows is the number of tokens in a batch; 0 is 512.
	BatchRows int
	// Queue is the number of sequences that may wait before Submit blocks; 0
	// is 1024.
	Queue int
	// NoSharing computes every prompt from its first token.
	NoSharing bool
	// Adapters are those that requests may name. They are looked at when the model
	// is loaded, and read when they are wanted.
	Adapters []AdapterPath
	// AdapterBytes is the memory of the device that adapters may take at a time, 0
	// half of what weights, keys and values leave free of a device's own, 1 GiB of
	// the host's. AdapterHostBytes is that of the host beside a device with memory
	// of its own, from which they are copied; 0 is 2 GiB.
	AdapterBytes, AdapterHostBytes int64
	// Weights say how the checkpoint's numbers are held.
	Weights arch.Options
	// Tokenizer takes the place of the model's own.
	Tokenizer Tokenizer

	read func(dir string) (*lora.Adapter, error) // reads an adapter; tests have others
}

// AdapterPath is an adapter's folder and the name that requests give it.
type AdapterPath struct{ Name, Path string }

const (
	defaultKVBytes   = 256 << 20
	defaultSequences = 64
	defaultRows      = 512
	defaultQueue     = 1024
	logitRows        = 64
)

// Plan is the memory and the limits that an engine runs with.
type Plan struct {
	Context, Sequences, BatchRows int
	Pages                         int
	WeightBytes                   int64 // beside the mapped checkpoint
	KVBytes                       int64
	WorkspaceBytes                int64
	// AdapterBytes are the most that adapters take on the device.
	AdapterBytes int64
	Device       string
}

// Bytes is all that the engine holds beside the mapped checkpoint.
func (p Plan) Bytes() int64 {
	return p.WeightBytes + p.KVBytes + p.WorkspaceBytes + p.AdapterBytes
}

// Engine runs one model. Make it with Load; Close ends it.
type Engine struct {
	model    *arch.Model
	ownModel bool
	dev      kernels.Device
	ownDev   bool
	tok      Tokenizer
	opts     Options
	plan     Plan
	eos      map[int32]bool

	adapters map[string]*adapter
	inOrder  []*adapter
	stager   kernels.Stager // nil where the device has none

	// The run loop's own.
	work    *nn.Workspace
	caches  []kernels.KV
	pool    *kv.Pool
	waiting []*seq
	running []*seq
	logits  []float32
	idle    bool // nothing can be computed until there is news

	onDevice, onHost *tier.Book[*adapter]
	reading          int // adapters, by goroutines
	readers          sync.WaitGroup
	adapterStats     AdapterStats

	generated int64

	mu        sync.Mutex
	wake      sync.Cond // for the run loop: something to do
	room      sync.Cond // for Submit: the queue is shorter
	inbox     []*job
	cancelled []*job
	arrivals  []arrival
	queued    int
	sessions  map[*Session]bool
	closed    bool
	done      chan struct{}
	stats     Stats
}

// Stats counts an engine's work since it was loaded.
type Stats struct {
	Batches   int64
	Rows      int64 // tokens computed
	Prompt    int64 // prompt tokens of admitted sequences
	Shared    int64 // of them, found in the cache
	Generated int64
	Adapters  AdapterStats
}

// AdapterStats counts the ways of adapters.
type AdapterStats struct {
	Read   int64 // from the disk
	Copied int64 // to the device
	Bytes  int64 // of those
}

// Load opens the model at path, a Hugging Face folder or a GGUF file, plans
// memory and starts the engine.
func Load(path string, o Options) (*Engine, error) {
	e, err := newEngine(o)
	if err != nil {
		return nil, err
	}
	if e.dev == nil {
		dev, err := device.Open(o.DeviceName, o.Threads)
		if err != nil {
			return nil, err
		}
		e.dev, e.ownDev = dev, true
	}
	if err := e.load(path); err != nil {
		return nil, errors.Join(e.explain(err), e.free())
	}
	go e.run()
	return e, nil
}

// explain adds the plan to an error of a GPU whose memory is too small: what was
// loaded until then says which part of it is too large.
func (e *Engine) explain(err error) error {
	if small := (*cuda.MemoryError)(nil); !errors.As(err, &small) {
		return err
	}
	const mib = 1 << 20
	p := &e.plan
	text := fmt.Sprintf("keys and values of %d tokens %d MiB", p.Pages*kernels.PageTokens, p.KVBytes/mib)
	if p.WeightBytes > 0 {
		text = fmt.Sprintf("weights %d MiB, %s", p.WeightBytes/mib, text)
	}
	if p.WorkspaceBytes > 0 {
		text += fmt.Sprintf(", workspace %d MiB", p.WorkspaceBytes/mib)
	}
	return fmt.Errorf("%w; planned: %s", err, text)
}

// Over starts an engine on a model that lives already, on Options.Device, where
// it was built with its own context. Both stay the caller's, who must leave them
// alone until the engine is closed. Options.Weights do not count.
func Over(m *arch.Model, o Options) (*Engine, error) {
	e, err := newEngine(o)
	if err != nil {
		return nil, err
	}
	e.model = m
	if err = e.size(m.Config); err == nil {
		err = e.prepare()
	}
	if err != nil {
		return nil, errors.Join(err, e.free())
	}
	go e.run()
	return e, nil
}

// PlanOf is the plan of an engine for a shape, as far as it needs no weights.
func PlanOf(c *arch.Config, o Options) (Plan, error) {
	e, err := newEngine(o)
	if err == nil {
		err = e.size(c)
	}
	if err != nil {
		return Plan{}, err
	}
	return e.plan, nil
}

// PlanOver is the plan of an engine over a model of this shape.
func PlanOver(m *arch.Model, o Options) (Plan, error) {
	e, err := newEngine(o)
	if err == nil {
		err = e.size(m.Config)
	}
	if err != nil {
		return Plan{}, err
	}
	e.plan.WorkspaceBytes = m.WorkspaceBytes(e.plan.BatchRows, logitRows)
	return e.plan, nil
}

func newEngine(o Options) (*Engine, error) {
	if err := o.fill(); err != nil {
		return nil, fmt.Errorf("engine options: %w", err)
	}
	e := &Engine{dev: o.Device, opts: o, idle: true, tok: o.Tokenizer, eos: map[int32]bool{}, adapters: map[string]*adapter{}, sessions: map[*Session]bool{}, done: make(chan struct{})}
	e.wake.L, e.room.L = &e.mu, &e.mu
	return e, nil
}

func (o *Options) fill() error {
	for _, f := range []struct {
		name  string
		value *int
		zero  int
	}{
		{"Context", &o.Context, 0}, {"Sequences", &o.Sequences, defaultSequences},
		{"BatchRows", &o.BatchRows, defaultRows}, {"Queue", &o.Queue, defaultQueue}, {"Threads", &o.Threads, 0},
	} {
		if *f.value < 0 || *f.value > math.MaxInt32 {
			return fmt.Errorf("%s is %d", f.name, *f.value)
		}
		if *f.value == 0 {
			*f.value = f.zero
		}
	}
	if o.KVBytes < 0 || o.AdapterBytes < 0 || o.AdapterHostBytes < 0 {
		return fmt.Errorf("KVBytes is %d, AdapterBytes %d, AdapterHostBytes %d", o.KVBytes, o.AdapterBytes, o.AdapterHostBytes)
	}
	if o.read == nil {
		o.read = lora.Read
	}
	if o.KVBytes == 0 {
		o.KVBytes = defaultKVBytes
	}
	return nil
}

func (e *Engine) load(path string) error {
	config, file, err := arch.Open(path)
	if err != nil {
		return err
	}
	if err = e.size(config); err != nil {
		err = fmt.Errorf("plan memory for %s: %w", path, err)
	} else if e.tok == nil {
		if e.tok, err = OpenTokenizer(path, file); err != nil {
			err = fmt.Errorf("tokenizer of %s: %w", path, err)
		}
	}
	if err != nil {
		return errors.Join(err, file.Close())
	}
	if e.model, err = arch.Build(e.dev, config, file, e.plan.Context, e.opts.Weights); err != nil {
		return err
	}
	e.ownModel, e.plan.WeightBytes = true, e.model.Bytes()
	return e.prepare()
}

// prepare makes what the model computes with beside its weights.
func (e *Engine) prepare() (err error) {
	e.plan.Device = device.Describe(e.dev)
	e.stager, _ = e.dev.(kernels.Stager)
	e.plan.WorkspaceBytes = e.model.WorkspaceBytes(e.plan.BatchRows, logitRows)
	if e.work, err = e.model.NewWorkspace(e.dev, e.plan.BatchRows, logitRows); err != nil {
		return err
	}
	if e.caches, err = e.model.NewCaches(e.dev, e.plan.Pages); err != nil {
		return err
	}
	if err := e.openAdapters(); err != nil {
		return err
	}
	e.pool = kv.New(e.plan.Pages)
	e.logits = make([]float32, logitRows*e.model.Vocab)
	for _, id := range e.model.Config.EOS {
		e.eos[id] = true
	}
	if e.tok != nil {
		if id, ok := e.tok.EOS(); ok {
			e.eos[id] = true
		}
	}
	return nil
}

// size plans the context and the cache.
func (e *Engine) size(c *arch.Config) error {
	o, p, pageBytes := e.opts, &e.plan, c.PageBytes()
	const page = kernels.PageTokens
	fit := o.KVBytes / pageBytes // pages that KVBytes hold
	p.Context = o.Context
	if p.Context == 0 {
		p.Context = int(min(int64(c.Context), fit*page))
	}
	if p.Context > c.Context {
		return fmt.Errorf("context of %d tokens is more than the model's %d", p.Context, c.Context)
	}
	each := int64(p.Context+page-1) / page
	if p.Context < 2 || each > fit {
		return fmt.Errorf("a context of %d tokens needs %d MiB of keys and values, %d MiB are allowed: raise KVBytes or lower Context",
			max(p.Context, 2), (max(each, 1)*pageBytes+1<<20-1)>>20, o.KVBytes>>20)
	}
	p.Sequences, p.BatchRows = o.Sequences, o.BatchRows
	p.Pages = int(min(fit, each*int64(p.Sequences)))
	p.KVBytes = int64(p.Pages) * pageBytes
	return nil
}

// Plan is what the engine runs with.
func (e *Engine) Plan() Plan { return e.plan }

// Config is the model's shape.
func (e *Engine) Config() arch.Config { return *e.model.Config }

// Tokenizer is the model's, nil if it has none.
func (e *Engine) Tokenizer() Tokenizer { return e.tok }

// Stats of the work so far.
func (e *Engine) Stats() Stats {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.stats
}

// Close ends the engine after the batch that is running, and with it all
// sessions; requests in flight get no event. Idempotent.
func (e *Engine) Close() error {
	e.mu.Lock()
	first := !e.closed
	e.closed = true
	e.wake.Broadcast()
	e.room.Broadcast()
	e.mu.Unlock()
	<-e.done
	if !first {
		return nil
	}
	return e.free()
}

func (e *Engine) free() error {
	var errs []error
	e.freeAdapters()
	if e.ownModel {
		errs = append(errs, e.model.Close())
	}
	if e.ownDev {
		errs = append(errs, e.dev.Close())
	}
	return errors.Join(errs...)
}

// enqueue hands a job to the run loop, once there is room.
func (e *Engine) enqueue(j *job) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	for e.queued >= e.opts.Queue && !e.closed && !j.session.isClosed() {
		e.room.Wait()
	}
	if e.closed || j.session.isClosed() {
		return ErrClosed
	}
	e.queued += len(j.seqs)
	e.inbox = append(e.inbox, j)
	e.wake.Signal()
	return nil
}

func (e *Engine) cancel(j *job) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.cancelled = append(e.cancelled, j)
	e.wake.Signal()
	e.room.Broadcast()
}
