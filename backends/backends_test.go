package backends_test

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/evalrun/evalrun/backends"
	"github.com/evalrun/evalrun/backends/backendtest"
	"github.com/evalrun/evalrun/backends/budget"
	"github.com/evalrun/evalrun/backends/cached"
	"github.com/evalrun/evalrun/backends/echo"
	"github.com/evalrun/evalrun/backends/limit"
	"github.com/evalrun/evalrun/backends/retry"
	"github.com/evalrun/evalrun/core"
)

func TestBuiltin(t *testing.T) {
	list := backends.Builtin()
	if !slices.IsSortedFunc(list, func(a, b backends.Entry) int { return strings.Compare(a.Name, b.Name) }) {
		t.Error("the list is not sorted")
	}
	for _, e := range list {
		if e.Description == "" || e.New == nil {
			t.Errorf("%s lacks a description or a factory", e.Name)
		}
		if got, ok := backends.Find(e.Name); !ok || got.Name != e.Name {
			t.Errorf("%s is not found", e.Name)
		}
	}
	if _, ok := backends.Find("opanai"); ok || backends.Nearest("opanai") != "openai" {
		t.Errorf("nearest to opanai is %q", backends.Nearest("opanai"))
	}
}

// stack puts all decorators around an echo, in the order of the house.
func stack(t testing.TB, store *cached.Store, options map[string]string) (core.Backend, *budget.Backend) {
	t.Helper()
	b, err := echo.New(core.Config{Options: options})
	if err != nil {
		t.Fatal(err)
	}
	b = limit.Wrap(b, limit.Options{InFlight: 32, RequestsPerMinute: 6e6})
	b = retry.Wrap(b, retry.Options{Base: time.Millisecond})
	capped, err := budget.Wrap(context.Background(), b, budget.Options{CapUSD: 1000})
	if err != nil {
		t.Fatal(err)
	}
	return cached.Wrap(capped, store, cached.Options{}), capped
}

func openStore(t testing.TB) *cached.Store {
	t.Helper()
	store, err := cached.OpenStore(filepath.Join(t.TempDir(), "answers.db"), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	return store
}

func TestContractOfTheStack(t *testing.T) {
	store := openStore(t)
	backendtest.Run(t, func(t *testing.T) core.Backend {
		b, _ := stack(t, store, map[string]string{"jitter": "2ms", "error_first": "1", "stream": "true", "price_in": "1", "price_out": "1"})
		return b
	}, backendtest.Options{})
}

// drive sends n different requests, at most 64 at once, and counts answers.
func drive(t testing.TB, b core.Backend, n int) (answers int, cost float64) {
	t.Helper()
	s, err := b.Open(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	room := make(chan struct{}, 64)
	go func() {
		for i := range n {
			room <- struct{}{}
			if err := s.Send(core.Request{
				ID: fmt.Sprint(i), Kind: core.Generate, Prompt: fmt.Sprint("question ", i), Generation: core.Generation{MaxTokens: 4},
			}); err != nil {
				t.Errorf("send: %v", err)
				return
			}
		}
	}()
	got := 0
	for ev, err := range s.Events() {
		if err != nil {
			t.Fatal(err)
		}
		if ev.Kind != core.EventResponse && ev.Kind != core.EventError {
			continue
		}
		<-room
		if ev.Response != nil {
			answers++
			cost += ev.Response.CostUSD
		}
		if got++; got == n {
			break
		}
	}
	return answers, cost
}

// Every request fails once and the session is lost once: all are answered, paid
// for once, and free the second time.
func TestStormThroughTheStack(t *testing.T) {
	store := openStore(t)
	options := map[string]string{"price_in": "1e6", "error_first": "1", "lost_after": "300", "jitter": "1ms"}
	b, account := stack(t, store, options)
	const n = 400
	answers, cost := drive(t, b, n)
	if answers != n || cost != 2*n {
		t.Errorf("%d answers for %v USD, want %d for %d", answers, cost, n, 2*n)
	}
	if sp := account.Spent(); sp.USD != cost || sp.Reserved != 0 || sp.Unsure != 0 {
		t.Errorf("account %+v", sp)
	}
	b, account = stack(t, store, options)
	if answers, cost := drive(t, b, n); answers != n || cost != 0 || account.Spent().Requests != 0 {
		t.Errorf("again: %d answers for %v USD, account %+v", answers, cost, account.Spent())
	}
}

// BenchmarkStack is what all decorators cost around a backend that answers at
// once: misses the first time, hits after.
func BenchmarkStack(b *testing.B) {
	for _, name := range []string{"misses", "hits"} {
		b.Run(name, func(b *testing.B) {
			store := openStore(b)
			be, _ := stack(b, store, map[string]string{"mode": "constant:yes"})
			if name == "hits" {
				drive(b, be, b.N)
				b.ResetTimer()
			}
			drive(b, be, b.N)
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "requests/s")
		})
	}
}
