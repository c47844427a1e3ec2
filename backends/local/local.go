// Package local answers with a model on this machine, and fine-tunes it. It is
// the engine's one door: this package alone knows both core's words and the
// engine's.
package local

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/evalrun/evalrun/backends/local/arch"
	"github.com/evalrun/evalrun/backends/local/chat"
	"github.com/evalrun/evalrun/backends/local/demo"
	"github.com/evalrun/evalrun/backends/local/engine"
	"github.com/evalrun/evalrun/backends/local/sample"
	"github.com/evalrun/evalrun/core"
	"github.com/evalrun/evalrun/kernels/cpu"
)

// Name of the backend.
const Name = "local"

// engineVersion stands in cache keys: it changes when answers may.
const engineVersion = "2"

// DemoNote is the sentence that stands beside every number of the embedded
// model.
const DemoNote = "demonstration model: a few million parameters, trained on generated text for these task shapes; its scores show that the road works, not what a language model can do."

// backend loads its model when it is first needed.
type backend struct {
	config   core.Config
	settings settings

	mu     sync.Mutex
	engine *engine.Engine
	inputs *inputs
	info   core.Info
	closed bool
	// lent answers in the place of the backend's own engine while a training
	// waits for a score.
	lent *lent
}

// New makes the backend. Config.Model is a Hugging Face folder, a .gguf file,
// or empty for the embedded demonstration model; Config.Adapters are folders as
// PEFT writes them, which requests name. The options are listed in
// docs/backends.md.
func New(c core.Config) (core.Backend, error) {
	o, err := settingsOf(c)
	if err != nil {
		return nil, err
	}
	return &backend{config: c, settings: o}, nil
}

// load opens the model once.
func (b *backend) load() (*engine.Engine, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return nil, errors.New("the backend is closed")
	}
	if b.engine != nil {
		return b.engine, nil
	}
	path, err := b.path()
	if err != nil {
		return nil, err
	}
	e, err := engine.Load(path, b.settings.Options)
	var adapters []core.AdapterInfo
	if err == nil {
		// What is known to be broken is told before anything is asked; what breaks
		// later fails its own requests.
		if adapters, err = adaptersOf(e); err != nil {
			e.Close()
		}
	}
	var adapter *engine.AdapterError
	if errors.As(err, &adapter) {
		return nil, &core.UserError{Where: adapter.Path, Message: "loading the adapter", Err: adapter.Err, Hint: adapter.Hint}
	}
	if user := b.gpuError(err); user != nil {
		return nil, user
	}
	if err != nil {
		return nil, unreadable(path, err)
	}
	hash, err := fingerprint(path)
	if err != nil {
		e.Close()
		return nil, err
	}
	in := newInputs(path, e.Tokenizer())
	form, err := b.settings.preferred(in)
	if err != nil {
		e.Close()
		return nil, err
	}
	c := e.Config()
	b.info = b.describe(&c, in, form, e.Plan())
	b.info.ModelHash, b.info.Adapters = hash, adapters
	b.engine, b.inputs = e, in
	return e, nil
}

// path is the model's, which is there.
func (b *backend) path() (string, error) {
	path := b.config.Model
	if path == "" {
		var err error
		if path, err = demo.File(); err != nil {
			return "", fmt.Errorf("unpack the demonstration model: %w", err)
		}
	}
	if _, err := os.Stat(path); err != nil {
		return "", &core.UserError{Where: "--model " + path, Message: "no such model folder or file", Hint: "give a Hugging Face folder (config.json, *.safetensors, tokenizer.json) or a .gguf file"}
	}
	return path, nil
}

func unreadable(path string, err error) error {
	if errors.Is(err, cpu.ErrNoPath) {
		return &core.UserError{Where: cpu.PathVariable, Message: "starting the device", Err: err, Hint: "unset it, or set it to one of those"}
	}
	return &core.UserError{Where: path, Message: "loading the model", Err: err, Hint: "evalrun reads " + strings.Join(arch.Families(), ", ") + " as safetensors; docs/backends.md lists the formats"}
}

// describe is what the shape of a model, its tokenizer and a plan tell.
func (b *backend) describe(c *arch.Config, in *inputs, form core.Form, plan engine.Plan) core.Info {
	info := core.Info{
		Name: Name, Version: engineVersion, Model: b.config.Model, Family: c.Family,
		Kinds: []core.Kind{core.Generate, core.ScoreText, core.Embed, core.Tokenize},
		Forms: []core.Form{form}, ContextLength: plan.Context, Deterministic: true,
		Until: !b.settings.noUntil, Choices: true, Trains: true, InFlight: 3 * plan.Sequences, Device: plan.Device,
	}
	if in.chats() {
		other := core.FormChat
		if form == core.FormChat {
			other = core.FormCompletion
		}
		info.Forms = append(info.Forms, other)
	}
	if b.config.Model == "" {
		info.Model = "demo"
		info.Notes = []string{DemoNote}
	}
	return info
}

// adaptersOf are the engine's adapters with their hashes, or the error of one.
func adaptersOf(e *engine.Engine) (all []core.AdapterInfo, err error) {
	if err := e.Broken(); err != nil {
		return nil, err
	}
	for _, a := range e.Adapters() {
		if a.Err != nil {
			return nil, a.Err
		}
		all = append(all, core.AdapterInfo{Name: a.Name, Hash: a.Hash})
	}
	return all, nil
}

// shape is Info without weights: nothing is loaded, hashed or computed with.
func (b *backend) shape() (core.Info, error) {
	path, err := b.path()
	if err != nil {
		return core.Info{}, err
	}
	c, file, err := arch.Open(path)
	if err != nil {
		return core.Info{}, unreadable(path, err)
	}
	defer file.Close()
	tok, err := engine.OpenTokenizer(path, file)
	if err != nil {
		return core.Info{}, unreadable(path, err)
	}
	in := newInputs(path, tok)
	form, err := b.settings.preferred(in)
	if err != nil {
		return core.Info{}, err
	}
	plan, err := engine.PlanOf(c, b.settings.Options)
	if err != nil {
		return core.Info{}, unreadable(path, err)
	}
	return b.describe(c, in, form, plan), nil
}

// Info loads the model, unless its shape is all that is asked for.
func (b *backend) Info(context.Context) (core.Info, error) {
	if b.settings.shapeOnly {
		return b.shape()
	}
	if _, err := b.load(); err != nil {
		return core.Info{}, err
	}
	return b.info, nil
}

// answering is the engine that new sessions are of.
func (b *backend) answering() (*engine.Engine, *inputs, error) {
	b.mu.Lock()
	l := b.lent
	b.mu.Unlock()
	if l != nil {
		return l.engine, l.inputs, nil
	}
	e, err := b.load()
	return e, b.inputs, err
}

// Open starts a session on the shared engine: requests of all sessions are
// batched together.
func (b *backend) Open(ctx context.Context) (core.Session, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	e, in, err := b.answering()
	if err != nil {
		return nil, err
	}
	s := &session{inner: e.NewSession(), engine: e, settings: b.settings, inputs: in, sent: map[string]time.Time{}, own: make(chan core.Event, 64), done: make(chan struct{})}
	s.stop = context.AfterFunc(ctx, func() { s.Close() })
	return s, nil
}

// Close ends the engine.
func (b *backend) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	if b.engine == nil {
		return nil
	}
	e := b.engine
	b.engine = nil
	return e.Close()
}

// session translates requests and events.
type session struct {
	inner    *engine.Session
	engine   *engine.Engine
	settings settings
	inputs   *inputs
	stop     func() bool

	mu     sync.Mutex
	sent   map[string]time.Time
	closed bool
	own    chan core.Event // answers that need no engine
	done   chan struct{}
}

// Send checks, translates and submits a request.
func (s *session) Send(r core.Request) error {
	if err := check(r); err != nil {
		return err
	}
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return core.ErrSessionClosed
	}
	if _, twice := s.sent[r.ID]; twice {
		s.mu.Unlock()
		return &core.Error{Code: core.CodeInvalid, Message: fmt.Sprintf("the id %q is in use", r.ID)}
	}
	s.sent[r.ID] = time.Now()
	s.mu.Unlock()
	in, err := s.inputs.of(r)
	if err != nil {
		s.forget(r.ID)
		return err
	}
	if r.Kind == core.Tokenize {
		if s.engine.Tokenizer() == nil {
			s.forget(r.ID)
			return &core.Error{Code: core.CodeInvalid, Message: "the model has no tokenizer", Hint: "put tokenizer.json or tokenizer.model beside its weights"}
		}
		return s.tokenize(r.ID, in)
	}
	err = s.inner.Submit(s.settings.translate(r, in))
	if err != nil {
		s.forget(r.ID)
		if errors.Is(err, engine.ErrClosed) {
			return core.ErrSessionClosed
		}
		return requestError(err)
	}
	return nil
}

func check(r core.Request) error {
	invalid := func(message, hint string) error {
		return &core.Error{Code: core.CodeInvalid, Message: message, Hint: hint}
	}
	switch {
	case r.Kind == core.Generate && r.Generation.MaxTokens < 1:
		return invalid("max_tokens must be 1 or more", "")
	case r.Kind != core.Generate && len(r.Choices) > 0:
		return invalid("choices belong to generation", "")
	case r.Kind == core.ScoreText && len(r.Continuations) == 0:
		return invalid("nothing to score", "give continuations")
	case r.Kind != core.Generate && r.Kind != core.ScoreText && r.Kind != core.Embed && r.Kind != core.Tokenize:
		return invalid(fmt.Sprintf("the local engine does not know the kind %s", r.Kind), "")
	}
	return nil
}

func (o settings) translate(r core.Request, in chat.Input) engine.Request {
	kind := map[core.Kind]engine.Kind{core.Generate: engine.Generate, core.ScoreText: engine.Score, core.Embed: engine.Embed}[r.Kind]
	g := r.Generation
	e := engine.Request{
		ID: r.ID, Kind: kind, Adapter: r.Adapter, Prompt: in.Text, Bare: in.Bare, Literal: in.Literal, Continuations: r.Continuations, MaxTokens: g.MaxTokens,
		Sampling: sample.Params{
			Temperature: g.Temperature, TopK: g.TopK, TopP: g.TopP, MinP: g.MinP, Seed: g.Seed,
			Repetition: g.RepetitionPenalty, Frequency: g.FrequencyPenalty, Presence: g.PresencePenalty,
		},
		Choices: r.Choices, RandomStream: stream(in.Text, r.Repeat), Stop: g.Stop, Logprobs: r.Logprobs, Deltas: true,
	}
	if len(r.Until) > 0 && !o.noUntil {
		e.Until = o.until(r.Until)
	}
	switch {
	case r.Overflow == core.OverflowKeepTail && !o.refuseLong:
		e.Overflow = engine.KeepTail
	case r.Overflow == core.OverflowWindows:
		e.Overflow = engine.Windows
	}
	return e
}

// stream numbers a request's random draws by what it asks, not by who asks or
// when: the same question gets the same answer, and its repeats others.
func stream(text string, repeat int) uint64 {
	h := fnv.New64a()
	io.WriteString(h, text)
	fmt.Fprintf(h, "\x00%d", repeat)
	return h.Sum64()
}

func (s *session) tokenize(id string, in chat.Input) error {
	ids, err := in.Encode(s.engine.Tokenizer())
	ev := core.Event{Kind: core.EventResponse, ID: id}
	if err != nil {
		ev.Kind, ev.Err = core.EventError, requestError(err)
	} else {
		tokens := make([]int, len(ids))
		for i, id := range ids {
			tokens[i] = int(id)
		}
		ev.Response = &core.Response{ID: id, Tokens: tokens, Usage: core.Usage{Prompt: len(ids)}, Finish: core.FinishStop}
	}
	go func() {
		select {
		case s.own <- ev:
		case <-s.done:
		}
	}()
	return nil
}

func requestError(err error) *core.Error {
	code, hint := core.CodeInternal, ""
	var adapter *engine.AdapterError
	switch {
	case errors.As(err, &adapter):
		code, hint = core.CodeNotFound, adapter.Hint
	case errors.Is(err, engine.ErrInvalid):
		code = core.CodeInvalid
	case errors.Is(err, engine.ErrNoAdapter):
		code = core.CodeNotFound
	case errors.Is(err, engine.ErrContext):
		code = core.CodeContextLength
	case errors.Is(err, engine.ErrCancelled):
		code = core.CodeCancelled
	}
	return &core.Error{Code: code, Message: err.Error(), Hint: hint}
}

func (s *session) forget(id string) time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.sent[id]
	delete(s.sent, id)
	return t
}

// Cancel passes the wish on.
func (s *session) Cancel(id string) error {
	s.inner.Cancel(id)
	return nil
}

// Events merges the engine's events with the answers that needed no engine.
func (s *session) Events() iter.Seq2[core.Event, error] {
	return func(yield func(core.Event, error) bool) {
		merged := make(chan core.Event)
		left := make(chan struct{})
		defer close(left)
		go func() {
			defer close(merged)
			for ev := range s.inner.Events() {
				select {
				case merged <- s.event(ev):
				case <-left:
					return
				}
			}
		}()
		for {
			var ev core.Event
			var ok bool
			select {
			case ev, ok = <-merged:
				if !ok {
					s.mu.Lock()
					closed := s.closed
					s.mu.Unlock()
					if !closed {
						yield(core.Event{}, fmt.Errorf("the engine has ended: %w", core.ErrSessionLost))
					}
					return
				}
			case ev = <-s.own:
				s.forget(ev.ID)
			}
			if !yield(ev, nil) {
				return
			}
		}
	}
}

func (s *session) event(ev engine.Event) core.Event {
	switch {
	case ev.Err != nil:
		s.forget(ev.ID)
		return core.Event{Kind: core.EventError, ID: ev.ID, Err: requestError(ev.Err)}
	case ev.Response == nil:
		return core.Event{Kind: core.EventDelta, ID: ev.ID, Text: ev.Delta}
	}
	r := ev.Response
	out := &core.Response{
		ID: ev.ID, Text: r.Text, Finish: core.FinishReason(r.Finish), Logprobs: r.Logprobs, Embedding: r.Embedding, Truncated: r.Truncated,
		Usage:   core.Usage{Prompt: r.PromptTokens, Completion: r.Computed, Shared: r.SharedTokens},
		Seconds: time.Since(s.forget(ev.ID)).Seconds(), Attempts: 1,
	}
	for _, l := range r.Scores {
		out.Scores = append(out.Scores, core.Likelihood{LogProb: l.LogProb, Tokens: l.Tokens, Greedy: l.Greedy})
	}
	return core.Event{Kind: core.EventResponse, ID: ev.ID, Response: out}
}

// Close ends the session.
func (s *session) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	close(s.done)
	s.mu.Unlock()
	if s.stop != nil {
		s.stop()
	}
	return s.inner.Close()
}

// sampled is how much of each end of a file the fingerprint reads.
const sampled = 4 << 20

// fingerprint identifies a model by content: names, sizes, and the first and
// last 4 MiB of each file of weights, tokenizer and configuration. Files up to
// 8 MiB are hashed whole; reading 14 GB for a name would cost a minute.
func fingerprint(path string) (string, error) {
	files := []string{path}
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		files = nil
		for _, pattern := range []string{"config.json", "tokenizer*.json", "tokenizer.model*", "vocab.json", "merges.txt", "chat_template.*", "*.safetensors", "*.gguf"} {
			found, _ := filepath.Glob(filepath.Join(path, pattern))
			files = append(files, found...)
		}
		slices.Sort(files)
	}
	h := sha256.New()
	for _, name := range files {
		if err := hashEnds(h, name); err != nil {
			return "", fmt.Errorf("identify the model: %w", err)
		}
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

func hashEnds(h io.Writer, name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	fmt.Fprintf(h, "%s\x00%d\x00", filepath.Base(name), info.Size())
	if _, err := io.CopyN(h, f, sampled); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if info.Size() > sampled {
		_, err = io.Copy(h, io.NewSectionReader(f, max(sampled, info.Size()-sampled), sampled))
	}
	return err
}
