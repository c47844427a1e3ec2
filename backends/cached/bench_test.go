package cached

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/evalrun/evalrun/core"
)

// flow sends n requests with at most 64 in flight and reads their answers.
func flow(b *testing.B, be core.Backend, n int, request func(i int) core.Request) {
	b.Helper()
	s, err := be.Open(context.Background())
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	room := make(chan struct{}, 64)
	go func() {
		for i := range n {
			room <- struct{}{}
			if err := s.Send(request(i)); err != nil {
				b.Errorf("send: %v", err)
				return
			}
		}
	}()
	got := 0
	for ev, err := range s.Events() {
		if err != nil || ev.Kind == core.EventError {
			b.Fatalf("%v, %v", err, ev.Err)
		}
		<-room
		if got++; got == n {
			break
		}
	}
}

func bigRequest(i int) core.Request {
	return core.Request{
		ID: fmt.Sprint(i), Kind: core.Generate, Prompt: fmt.Sprint(i) + strings.Repeat(" context", 100),
		Generation: core.Generation{MaxTokens: 64},
	}
}

// BenchmarkHits: answers of 500 bytes from the file; the target is 50,000/s.
func BenchmarkHits(b *testing.B) {
	const stored = 20000
	store, err := OpenStore(filepath.Join(b.TempDir(), "answers.db"), nil)
	if err != nil {
		b.Fatal(err)
	}
	defer store.Close()
	inner := newCounting()
	text := strings.Repeat("0123456789", 50)
	inner.answer = func(context.Context, *core.Request) (core.Response, error) {
		return core.Response{Text: text, Finish: core.FinishStop, Usage: core.Usage{Prompt: 100, Completion: 100}}, nil
	}
	w := Wrap(inner, store, Options{})
	flow(b, w, stored, bigRequest)
	b.ReportAllocs()
	b.ResetTimer()
	flow(b, w, b.N, func(i int) core.Request { return bigRequest(i % stored) })
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "hits/s")
}

// BenchmarkMisses: the same with an empty file, each answer stored before it is
// handed on.
func BenchmarkMisses(b *testing.B) {
	store, err := OpenStore(filepath.Join(b.TempDir(), "answers.db"), nil)
	if err != nil {
		b.Fatal(err)
	}
	defer store.Close()
	inner := newCounting()
	text := strings.Repeat("0123456789", 50)
	inner.answer = func(context.Context, *core.Request) (core.Response, error) {
		return core.Response{Text: text, Finish: core.FinishStop}, nil
	}
	b.ReportAllocs()
	flow(b, Wrap(inner, store, Options{}), b.N, bigRequest)
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "answers/s")
}
