package plugins

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/evalrun/evalrun/core"
)

// fakeBackend answers as its prompts say: "crash" panics, "exit N" ends the
// process, "env NAME" tells a variable, "pid" its process id, "slow" waits to
// be cancelled, "big N" answers N bytes, "stream N" sends N deltas, "refuse"
// is refused by Send, "lose" loses the session, "print" writes to standard
// output; anything else comes back as it is.
type fakeBackend struct {
	cfg core.Config

	mu     sync.Mutex
	closed int
	open   int
}

func newFake(cfg core.Config) (core.Backend, error) {
	switch cfg.Model {
	case "missing":
		return nil, &core.UserError{Where: "--model", Message: "no such model", Hint: "name another", Err: errors.New("not found")}
	case "crash at start":
		panic("cannot be configured")
	}
	return &fakeBackend{cfg: cfg}, nil
}

func (f *fakeBackend) Info(ctx context.Context) (core.Info, error) {
	switch f.cfg.Device {
	case "broken":
		return core.Info{}, &core.Error{Code: core.CodeAuth, Message: "no key", Hint: "set one", Status: 401}
	case "hangs":
		<-ctx.Done()
		return core.Info{}, ctx.Err()
	}
	return core.Info{
		Name: "fake", Version: "1", Model: f.cfg.Model + "m",
		Kinds: []core.Kind{core.Generate}, Forms: []core.Form{core.FormCompletion, core.FormChat},
	}, nil
}

func (f *fakeBackend) Open(ctx context.Context) (core.Session, error) {
	if f.cfg.Device == "closed" {
		return nil, &core.Error{Code: core.CodeUnavailable, Message: "not today", RetryAfter: time.Second}
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(ctx)
	f.mu.Lock()
	f.open++
	f.mu.Unlock()
	return &fakeSession{
		b: f, ctx: ctx, stop: stop, events: make(chan core.Event, 16), lost: make(chan error, 1),
		cancels: map[string]context.CancelFunc{}, places: make(chan struct{}, 256),
	}, nil
}

func (f *fakeBackend) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed++
	if f.open > 0 && f.cfg.Options["strict"] != "" {
		return fmt.Errorf("closed with %d sessions open", f.open)
	}
	return nil
}

type fakeSession struct {
	b      *fakeBackend
	ctx    context.Context
	stop   context.CancelFunc
	events chan core.Event
	lost   chan error
	places chan struct{} // one taken by each request in work
	work   sync.WaitGroup
	once   sync.Once

	mu      sync.Mutex
	closed  bool
	cancels map[string]context.CancelFunc
}

func (s *fakeSession) Send(r core.Request) error {
	select {
	case s.places <- struct{}{}:
	case <-s.ctx.Done():
		return core.ErrSessionClosed
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.ctx.Err() != nil {
		return core.ErrSessionClosed
	}
	g := r.Generation
	if r.Prompt == "refuse" || r.Kind != core.Generate || g.MaxTokens < 0 || !(g.Temperature >= 0) || g.TopP > 1 ||
		(r.Messages != nil && len(r.Messages) == 0) {
		<-s.places
		return &core.Error{Code: core.CodeInvalid, Message: "I do not do " + r.Kind.String()}
	}
	ctx, cancel := context.WithCancel(s.ctx)
	s.cancels[r.ID] = cancel
	s.work.Go(func() {
		defer func() { <-s.places }()
		e := s.answer(ctx, r)
		s.mu.Lock()
		delete(s.cancels, r.ID)
		s.mu.Unlock()
		cancel()
		s.tell(e)
	})
	return nil
}

func (s *fakeSession) tell(e core.Event) bool {
	select {
	case s.events <- e:
		return true
	case <-s.ctx.Done():
		return false
	}
}

func (s *fakeSession) answer(ctx context.Context, r core.Request) core.Event {
	response := &core.Response{ID: r.ID, Finish: core.FinishStop, Usage: core.Usage{Prompt: 1, Completion: 1}, Text: strings.ToValidUTF8(r.Prompt, "?")}
	word, rest, _ := strings.Cut(r.Prompt, " ")
	number, _ := strconv.Atoi(rest)
	switch word {
	case "crash":
		panic("as you wish")
	case "exit":
		fmt.Fprintln(os.Stderr, "leaving on purpose")
		os.Exit(number)
	case "print":
		fmt.Println("printed by the plugin")
	case "lose":
		s.lost <- fmt.Errorf("%w: the device fell off", core.ErrSessionLost)
		<-s.ctx.Done()
	case "env":
		response.Text = os.Getenv(rest)
	case "pid":
		response.Text = strconv.Itoa(os.Getpid())
	case "big":
		response.Text = strings.Repeat("x", number)
	case "stream":
		response.Text = ""
		for i := range number {
			piece := strconv.Itoa(i) + " "
			response.Text += piece
			if !s.tell(core.Event{Kind: core.EventDelta, ID: r.ID, Text: piece}) {
				break
			}
		}
	case "slow":
		<-ctx.Done()
		return core.Event{Kind: core.EventError, ID: r.ID, Err: &core.Error{Code: core.CodeCancelled, Message: "cancelled"}}
	}
	return core.Event{Kind: core.EventResponse, ID: r.ID, Response: response}
}

func (s *fakeSession) Cancel(id string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if cancel := s.cancels[id]; cancel != nil {
		cancel()
	}
	return nil
}

func (s *fakeSession) Events() iter.Seq2[core.Event, error] {
	return func(yield func(core.Event, error) bool) {
		for {
			select {
			case e := <-s.events:
				if !yield(e, nil) {
					return
				}
			case err := <-s.lost:
				yield(core.Event{}, err)
				return
			case <-s.ctx.Done():
				return
			}
		}
	}
}

func (s *fakeSession) Close() error {
	s.once.Do(func() {
		s.mu.Lock()
		s.closed = true
		s.mu.Unlock()
		s.stop()
		s.work.Wait()
		s.b.mu.Lock()
		s.b.open--
		s.b.mu.Unlock()
	})
	return nil
}

// fakeMetric gives the length of the text, doubled by the parameter double.
type fakeMetric struct {
	spec    core.MetricSpec
	profile core.Profile
	closed  bool
}

func newFakeMetric(spec core.MetricSpec, profile core.Profile) (core.Metric, error) {
	if spec.Name == "unknown" {
		return nil, &core.UserError{Message: "no such metric", Hint: "name another"}
	}
	return &fakeMetric{spec: spec, profile: profile}, nil
}

func (m *fakeMetric) Info() core.MetricInfo {
	return core.MetricInfo{Name: m.spec.Name, Profile: m.profile, High: 100, HigherIsBetter: true}
}

func (m *fakeMetric) Score(_ context.Context, items []core.Item) ([]core.Score, error) {
	factor := 1.0
	if m.spec.Params["double"] == true {
		factor = 2
	}
	out := make([]core.Score, len(items))
	for i, it := range items {
		switch {
		case it.Text == "crash":
			panic("as you wish")
		case it.Text == "fail":
			return nil, &core.UserError{Message: "no isolation", Hint: "install it"}
		case it.Task != nil && !slices.Contains(it.Targets, it.Task.Name):
			return nil, fmt.Errorf("item %s came with task %s", it.ID, it.Task.Name)
		}
		out[i] = core.Score{Value: factor * float64(len(it.Text)), Extracted: it.Text}
	}
	return out, nil
}

func (m *fakeMetric) Aggregate(scores []core.Score) core.Aggregate {
	a := core.Aggregate{N: len(scores), Method: "none"}
	for _, s := range scores {
		a.Score += s.Value
	}
	return a
}

func (m *fakeMetric) Close() error {
	m.closed = true
	return nil
}
