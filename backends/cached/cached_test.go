package cached

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/evalrun/evalrun/backends/backendtest"
	"github.com/evalrun/evalrun/backends/echo"
	sess "github.com/evalrun/evalrun/backends/internal/session"
	"github.com/evalrun/evalrun/core"
)

func openStore(t testing.TB, path string) *Store {
	t.Helper()
	s, err := OpenStore(path, func(m string) { t.Log(m) })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func newStore(t testing.TB) *Store {
	t.Helper()
	return openStore(t, filepath.Join(t.TempDir(), "odd name #1?.db"))
}

func newEcho(t testing.TB, options map[string]string) core.Backend {
	t.Helper()
	b, err := echo.New(core.Config{Options: options})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// counting is a backend that counts what reaches it.
type counting struct {
	core.Backend
	asked  atomic.Int64
	info   core.Info
	answer func(ctx context.Context, r *core.Request) (core.Response, error)
}

func (c *counting) Info(context.Context) (core.Info, error) { return c.info, nil }
func (c *counting) Close() error                            { return nil }
func (c *counting) Open(ctx context.Context) (core.Session, error) {
	return sess.Work{Answer: func(ctx context.Context, r *core.Request, _ func(string)) (core.Response, error) {
		c.asked.Add(1)
		return c.answer(ctx, r)
	}}.Open(ctx), nil
}

func newCounting() *counting {
	return &counting{
		info: core.Info{Name: "fake", Model: "m1", Kinds: []core.Kind{core.Generate}},
		answer: func(_ context.Context, r *core.Request) (core.Response, error) {
			return core.Response{Text: "to " + r.Prompt, Finish: core.FinishStop, CostUSD: 0.5, Seconds: 1.25,
				Usage: core.Usage{Prompt: 3, Completion: 2}}, nil
		},
	}
}

// run sends the requests all at once and gives the final events by ID.
func run(t testing.TB, b core.Backend, requests ...core.Request) map[string]core.Event {
	t.Helper()
	s, err := b.Open(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	go func() {
		for _, r := range requests {
			if err := s.Send(r); err != nil {
				t.Errorf("send: %v", err)
			}
		}
	}()
	events := map[string]core.Event{}
	if len(requests) == 0 {
		return events
	}
	for ev, err := range s.Events() {
		if err != nil {
			t.Fatal(err)
		}
		if ev.Kind == core.EventResponse || ev.Kind == core.EventError {
			if _, twice := events[ev.ID]; twice {
				t.Errorf("second final event for %s", ev.ID)
			}
			events[ev.ID] = ev
		}
		if len(events) == len(requests) {
			break
		}
	}
	return events
}

func ask(id, prompt string) core.Request {
	return core.Request{ID: id, Kind: core.Generate, Prompt: prompt, Task: "t", Sample: id}
}

func TestContract(t *testing.T) {
	for name, options := range map[string]map[string]string{
		"calm":   {"latency": "5ms"},
		"stream": {"stream": "true", "jitter": "2ms"},
	} {
		t.Run(name, func(t *testing.T) {
			store := newStore(t) // one for all: most subtests are hits
			backendtest.Run(t, func(t *testing.T) core.Backend {
				return Wrap(newEcho(t, options), store, Options{})
			}, backendtest.Options{})
		})
	}
}

func TestHit(t *testing.T) {
	path := filepath.Join(t.TempDir(), "answers.db")
	b := newCounting()
	store := openStore(t, path)
	first := run(t, Wrap(b, store, Options{}), ask("a", "x"))["a"].Response
	if first == nil || first.Cached || first.CostUSD != 0.5 {
		t.Fatalf("first answer %+v", first)
	}
	store.Close()

	w := Wrap(b, openStore(t, path), Options{})
	again := run(t, w, ask("other id", "x"))["other id"].Response
	if again == nil || !again.Cached || again.CostUSD != 0 || again.Seconds != 1.25 || again.Text != "to x" ||
		again.ID != "other id" || again.Finish != core.FinishStop || again.Usage != first.Usage {
		t.Errorf("second answer %+v", again)
	}
	if n := b.asked.Load(); n != 1 {
		t.Errorf("the backend was asked %d times", n)
	}
	if c := w.Counts(); c != (Counts{Hits: 1}) {
		t.Errorf("counts %+v", c)
	}
}

func TestNotKept(t *testing.T) {
	fail := func(code core.Code) func(context.Context, *core.Request) (core.Response, error) {
		return func(context.Context, *core.Request) (core.Response, error) {
			return core.Response{}, &core.Error{Code: code, Message: "no"}
		}
	}
	give := func(r core.Response) func(context.Context, *core.Request) (core.Response, error) {
		return func(context.Context, *core.Request) (core.Response, error) { return r, nil }
	}
	tests := []struct {
		name   string
		answer func(context.Context, *core.Request) (core.Response, error)
		asked  int64
	}{
		{"error", fail(core.CodeBadAnswer), 2},
		{"cut", fail(core.CodeCut), 2},
		{"withheld", give(core.Response{Text: "I", Finish: core.FinishFilter}), 2},
		{"no reason to end", give(core.Response{Text: "x"}), 2},
		{"empty at the limit", give(core.Response{Finish: core.FinishLength}), 2},
		{"cut by max_tokens", give(core.Response{Text: "x", Finish: core.FinishLength}), 1},
		{"empty by choice", give(core.Response{Finish: core.FinishStop}), 1},
		{"settled", give(core.Response{Text: "x", Finish: core.FinishUntil}), 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := newCounting()
			b.answer = tt.answer
			w := Wrap(b, newStore(t), Options{})
			run(t, w, ask("a", "x"))
			run(t, w, ask("a", "x"))
			if n := b.asked.Load(); n != tt.asked {
				t.Errorf("asked %d times, want %d", n, tt.asked)
			}
		})
	}
}

func TestSingleFlight(t *testing.T) {
	b := newCounting()
	inner := b.answer
	b.answer = func(ctx context.Context, r *core.Request) (core.Response, error) {
		time.Sleep(20 * time.Millisecond)
		return inner(ctx, r)
	}
	w := Wrap(b, newStore(t), Options{})
	var requests []core.Request
	for i := range 50 {
		r := ask(fmt.Sprint(i), "same")
		r.Repeat = i % 2
		requests = append(requests, r)
	}
	events := run(t, w, requests...)
	paid := 0.0
	for id, ev := range events {
		if ev.Response == nil || ev.Response.Text != "to same" || ev.Response.ID != id {
			t.Errorf("%s: %+v", id, ev)
			continue
		}
		paid += ev.Response.CostUSD
	}
	if n := b.asked.Load(); n != 2 || paid != 1 {
		t.Errorf("asked %d times for %v USD, want 2 for 1", n, paid)
	}
}

func TestSingleFlightCancelAndFailure(t *testing.T) {
	b := newCounting()
	release := make(chan struct{})
	inner := b.answer
	b.answer = func(ctx context.Context, r *core.Request) (core.Response, error) {
		select {
		case <-release:
			return inner(ctx, r)
		case <-ctx.Done():
			return core.Response{}, ctx.Err()
		}
	}
	w := Wrap(b, newStore(t), Options{})
	s, err := w.Open(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for _, id := range []string{"a", "b", "c"} {
		if err := s.Send(ask(id, "same")); err != nil {
			t.Fatal(err)
		}
	}
	for b.asked.Load() == 0 {
		time.Sleep(time.Millisecond)
	}
	s.Cancel("a") // the one who asks
	s.Cancel("c") // one who waits
	events := map[string]core.Event{}
	for ev := range s.Events() {
		events[ev.ID] = ev
		if len(events) == 2 {
			close(release)
		}
		if len(events) == 3 {
			break
		}
	}
	for _, id := range []string{"a", "c"} {
		if e := events[id].Err; e == nil || e.Code != core.CodeCancelled {
			t.Errorf("%s got %+v", id, events[id])
		}
	}
	if r := events["b"].Response; r == nil || r.Text != "to same" || r.Cached {
		t.Errorf("b got %+v", events["b"])
	}

	b.answer = func(context.Context, *core.Request) (core.Response, error) {
		time.Sleep(10 * time.Millisecond)
		return core.Response{}, &core.Error{Code: core.CodeTimeout, Message: "slow"}
	}
	for id, ev := range run(t, w, ask("x", "q"), ask("y", "q")) {
		if ev.Err == nil || ev.Err.Code != core.CodeTimeout {
			t.Errorf("%s got %+v", id, ev)
		}
	}
}

// When an answer is seen, another connection already finds it in the file.
func TestDurableBeforeHandedOn(t *testing.T) {
	path := filepath.Join(t.TempDir(), "answers.db")
	b := newCounting()
	w := Wrap(b, openStore(t, path), Options{})
	other := openStore(t, path)
	s, err := w.Open(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	go func() {
		for i := range 300 {
			s.Send(ask(fmt.Sprint(i), fmt.Sprint("p", i)))
		}
	}()
	id := identify(b.info, "")
	n := 0
	for ev := range s.Events() {
		r := ask("", "p"+ev.ID)
		key, _ := id.key(&r)
		found := false
		if err := other.get([]Key{key}, func(Key, []byte) { found = true }); err != nil {
			t.Fatal(err)
		}
		if !found {
			t.Errorf("answer %s was handed on before it was stored", ev.ID)
		}
		if n++; n == 300 {
			break
		}
	}
}

func TestTwoProcesses(t *testing.T) {
	path := filepath.Join(t.TempDir(), "answers.db")
	var wg sync.WaitGroup
	for k := range 3 {
		store, err := OpenStore(path, nil)
		if err != nil {
			t.Fatal(err)
		}
		wg.Go(func() {
			defer store.Close()
			var requests []core.Request
			for i := range 300 {
				requests = append(requests, ask(fmt.Sprint(i), fmt.Sprint("p", (i*7+k*100)%400)))
			}
			for id, ev := range run(t, Wrap(newCounting(), store, Options{}), requests...) {
				if ev.Response == nil {
					t.Errorf("store %d, request %s: %+v", k, id, ev)
				}
			}
		})
	}
	wg.Wait()
	uses, err := openStore(t, path).List()
	if err != nil || len(uses) != 1 || uses[0].Answers != 400 {
		t.Errorf("the file holds %+v, %v; want 400 answers", uses, err)
	}
}

func TestDamagedFile(t *testing.T) {
	garbage := []byte(strings.Repeat("this is not a database\n", 1000))
	for name, spoil := range map[string]func(path string) error{
		"no database": func(path string) error { return os.WriteFile(path, garbage, 0o600) },
		"header": func(path string) error {
			f, err := os.OpenFile(path, os.O_WRONLY, 0)
			if err != nil {
				return err
			}
			defer f.Close()
			_, err = f.WriteAt(garbage[:512], 90)
			return err
		},
		"half a file": func(path string) error {
			info, err := os.Stat(path)
			if err != nil {
				return err
			}
			return os.Truncate(path, info.Size()/2)
		},
		"pages": func(path string) error {
			f, err := os.OpenFile(path, os.O_WRONLY, 0)
			if err != nil {
				return err
			}
			defer f.Close()
			_, err = f.WriteAt(garbage, 4096*2)
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "answers.db")
			store := openStore(t, path)
			var requests []core.Request
			for i := range 200 {
				requests = append(requests, ask(fmt.Sprint(i), strings.Repeat(fmt.Sprint("p", i, " "), 50)))
			}
			run(t, Wrap(newCounting(), store, Options{}), requests...)
			store.Close()
			if err := spoil(path); err != nil {
				t.Fatal(err)
			}
			var warnings atomic.Int64
			again, err := OpenStore(path, func(string) { warnings.Add(1) })
			if err != nil {
				t.Fatal(err)
			}
			defer again.Close()
			for range 2 {
				for id, ev := range run(t, Wrap(newCounting(), again, Options{}), requests...) {
					if ev.Response == nil || ev.Response.Text != "to "+requests[0].Prompt && id == "0" {
						t.Errorf("%s: %+v", id, ev)
					}
				}
			}
			if warnings.Load() == 0 {
				t.Error("nobody was warned")
			}
			if aside, _ := filepath.Glob(path + ".damaged-*"); len(aside) == 0 {
				t.Error("the damaged file is gone")
			}
			w := Wrap(newCounting(), again, Options{})
			run(t, w, requests...)
			if c := w.Counts(); c.Hits != 200 {
				t.Errorf("the new file gives %+v", c)
			}
		})
	}
}

func TestFlippedBitInAnAnswer(t *testing.T) {
	store := newStore(t)
	b := newCounting()
	w := Wrap(b, store, Options{})
	run(t, w, ask("a", "x"))
	if _, err := store.write.Exec("UPDATE answers SET answer = replace(answer, 'to x', 'to y')"); err != nil {
		t.Fatal(err)
	}
	for want := int64(2); want < 4; want++ { // asked once more, then found
		if r := run(t, w, ask("a", "x"))["a"].Response; r == nil || r.Text != "to x" {
			t.Fatalf("got %+v", r)
		}
		if n := b.asked.Load(); n != 2 {
			t.Errorf("asked %d times", n)
		}
	}
}

func TestAStoreThatCannotWrite(t *testing.T) {
	store := newStore(t)
	store.Close()
	b := newCounting()
	if r := run(t, Wrap(b, store, Options{}), ask("a", "x"))["a"].Response; r == nil || r.Text != "to x" {
		t.Errorf("got %+v", r)
	}
}

func TestNewerFormat(t *testing.T) {
	path := filepath.Join(t.TempDir(), "answers.db")
	s := openStore(t, path)
	if _, err := s.write.Exec("PRAGMA user_version = 99"); err != nil {
		t.Fatal(err)
	}
	s.Close()
	if _, err := OpenStore(path, nil); err == nil || !strings.Contains(err.Error(), "newer") {
		t.Errorf("got %v", err)
	}
}

func TestListAndPrune(t *testing.T) {
	store := newStore(t)
	for _, model := range []string{"gpt-4", "gpt-4o", "llama"} {
		b := newCounting()
		b.info.Model = model
		run(t, Wrap(b, store, Options{}), ask("a", "1"), ask("b", "2"))
	}
	uses, err := store.List()
	if err != nil || len(uses) != 3 || uses[0].Model != "gpt-4" || uses[0].Answers != 2 || uses[0].CostUSD != 1 ||
		time.Since(uses[0].Newest) > time.Minute || uses[0].Bytes == 0 {
		t.Fatalf("list %+v, %v", uses, err)
	}
	for _, tt := range []struct {
		model  string
		before time.Time
		want   int64
	}{
		{"llama", time.Now().Add(-time.Hour), 0},
		{"gpt-4", time.Time{}, 2},
		{"gpt*", time.Time{}, 2},
		{"%", time.Time{}, 0},
		{"", time.Now().Add(time.Hour), 2},
		{"", time.Time{}, 0},
	} {
		if n, err := store.Prune(tt.model, tt.before); err != nil || n != tt.want {
			t.Errorf("prune %q: %d, %v; want %d", tt.model, n, err, tt.want)
		}
	}
}

func TestLostSessionIsLost(t *testing.T) {
	b := newEcho(t, map[string]string{"lost_after": "1"})
	s, err := Wrap(b, newStore(t), Options{}).Open(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for i := range 2 {
		s.Send(ask(fmt.Sprint(i), fmt.Sprint(i)))
	}
	var last error
	for _, err := range s.Events() {
		last = err
	}
	if !errors.Is(last, core.ErrSessionLost) {
		t.Errorf("events ended with %v", last)
	}
}
