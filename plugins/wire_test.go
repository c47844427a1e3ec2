package plugins

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/evalrun/evalrun/core"
)

func loopSession(t testing.TB, ctx context.Context) core.Session {
	t.Helper()
	inner, err := newFake(core.Config{Options: map[string]string{"strict": "yes"}})
	if err != nil {
		t.Fatal(err)
	}
	b, err := Loopback(context.Background(), inner)
	if err != nil {
		t.Fatal(err)
	}
	s, err := b.Open(ctx)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = s.Close()
		if err := b.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return s
}

func generate(id, prompt string) core.Request {
	return core.Request{ID: id, Kind: core.Generate, Prompt: prompt}
}

// next gives final events, deltas left out.
func next(t testing.TB, s core.Session, n int) map[string]core.Event {
	t.Helper()
	out := map[string]core.Event{}
	for e, err := range s.Events() {
		if err != nil {
			t.Fatalf("after %d of %d events: %v", len(out), n, err)
		}
		if e.Kind == core.EventDelta {
			continue
		}
		if _, twice := out[e.ID]; twice {
			t.Fatalf("two final events for %s", e.ID)
		}
		if out[e.ID] = e; len(out) == n {
			break
		}
	}
	if len(out) < n {
		t.Fatalf("events ended after %d of %d", len(out), n)
	}
	return out
}

func TestTooLarge(t *testing.T) {
	if testing.Short() {
		t.Skip("moves hundreds of MiB")
	}
	s := loopSession(t, t.Context())
	err := s.Send(generate("big", strings.Repeat("x", MaxMessage+1)))
	var own *core.Error
	if !errors.As(err, &own) || own.Code != core.CodeInvalid || !strings.Contains(own.Message, "64.0 MiB") {
		t.Errorf("a request that is too large: %v", err)
	}
	for id, prompt := range map[string]string{
		"above":  fmt.Sprintf("big %d", MaxMessage+1),
		"below":  fmt.Sprintf("big %d", MaxMessage-1000),
		"after":  "well",
		"middle": strings.Repeat("y", 6<<20), // above gRPC's own 4 MiB
	} {
		if err := s.Send(generate(id, prompt)); err != nil {
			t.Fatal(err)
		}
	}
	got := next(t, s, 4)
	if e := got["above"].Err; e == nil || e.Code != core.CodeInternal || e.Temporary() || !strings.Contains(e.Message, "larger than the 64.0 MiB") {
		t.Errorf("an answer that is too large: %+v", e)
	}
	for id, n := range map[string]int{"below": MaxMessage - 1000, "after": 4, "middle": 6 << 20} {
		if r := got[id].Response; r == nil || len(r.Text) != n {
			t.Errorf("%s: %+v", id, got[id].Err)
		}
	}
}

func TestLargeDeltaIsCut(t *testing.T) {
	s := &serverSession{}
	s.queued, s.outReady, s.outRoom = sync.NewCond(&s.mu), sync.NewCond(&s.mu), sync.NewCond(&s.mu)
	text := strings.Repeat("日本語x", (MaxMessage+100)/10)
	s.emit(core.Event{Kind: core.EventDelta, ID: "d", Text: text})
	var got strings.Builder
	for _, m := range s.out {
		piece := m.GetDelta()
		if !strings.ContainsAny(piece[:1], "x") && piece[0]&0xc0 == 0x80 {
			t.Fatal("a piece begins within a character")
		}
		got.WriteString(piece)
	}
	if got.String() != text || len(s.out) < 64 {
		t.Errorf("%d bytes in %d pieces, want %d bytes", got.Len(), len(s.out), len(text))
	}
}

// Many senders and cancellers at once: everything accepted gets one final
// event, whatever its way through the queues was.
func TestManySendersAndCancels(t *testing.T) {
	const senders, each = 8, 500
	s := loopSession(t, t.Context())
	var wg sync.WaitGroup
	for w := range senders {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(uint64(w), 1))
			for i := range each {
				id, prompt := fmt.Sprintf("%d/%d", w, i), "fast"
				slow := r.IntN(3) == 0
				if slow {
					prompt = "slow"
				}
				if err := s.Send(generate(id, prompt)); err != nil {
					t.Errorf("send: %v", err)
					return
				}
				if slow || r.IntN(4) == 0 {
					if r.IntN(2) == 0 {
						runtime.Gosched()
					}
					if err := s.Cancel(id); err != nil {
						t.Errorf("cancel: %v", err)
					}
				}
			}
		})
	}
	got := next(t, s, senders*each)
	wg.Wait()
	for id, e := range got {
		if e.Err != nil && e.Err.Code != core.CodeCancelled {
			t.Errorf("%s: %+v", id, e.Err)
		}
	}
}

// Send must block when the far side does not keep up, and Cancel and Close
// must work all the same, also when nobody reads events.
func TestBackpressure(t *testing.T) {
	s := loopSession(t, t.Context())
	sent := make(chan int, 100_000)
	done := make(chan error, 1)
	go func() {
		for i := 0; ; i++ {
			if err := s.Send(generate(strconv.Itoa(i), "slow")); err != nil {
				done <- err
				return
			}
			sent <- i
		}
	}()
	// settled waits until at least least were taken and no more are.
	settled := func(least int) int {
		last, since := -1, time.Now()
		for began := time.Now(); ; time.Sleep(10 * time.Millisecond) {
			n := len(sent)
			if n != last {
				last, since = n, time.Now()
			}
			if n >= least && time.Since(since) > 200*time.Millisecond || time.Since(began) > 10*time.Second {
				return n
			}
		}
	}
	n := settled(window)
	// 256 in work in the fake, the window, and those just counted.
	if n < window || n > window+256+2*ackEvery {
		t.Errorf("%d requests were taken before Send blocked", n)
	}
	// Cancelling what is in the far queue makes room again.
	for i := range n {
		if err := s.Cancel(strconv.Itoa(i)); err != nil {
			t.Fatal(err)
		}
	}
	if m := settled(n + window/2); m < n+window/2 {
		t.Errorf("after cancelling %d requests only %d more were taken", n, m-n)
	}
	began := time.Now()
	if err := s.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
	if err := <-done; !errors.Is(err, core.ErrSessionClosed) {
		t.Errorf("the blocked Send gave %v", err)
	}
	if took := time.Since(began); took > closeGrace {
		t.Errorf("close took %v", took)
	}
}

// A reader of events that has gone to sleep costs bounded memory, and neither
// Cancel nor Close waits for it.
func TestSlowReader(t *testing.T) {
	s := loopSession(t, t.Context())
	for i := range 8 {
		if err := s.Send(generate(strconv.Itoa(i), "stream 10000000")); err != nil {
			t.Fatal(err)
		}
	}
	inner := s.(*session)
	held := 0
	for began := time.Now(); held <= eventBytes && time.Since(began) < 10*time.Second; time.Sleep(10 * time.Millisecond) {
		inner.mu.Lock()
		held = inner.inBytes
		inner.mu.Unlock()
	}
	time.Sleep(200 * time.Millisecond)
	inner.mu.Lock()
	held = inner.inBytes
	inner.mu.Unlock()
	if held <= eventBytes || held > eventBytes+4*batchBytes {
		t.Errorf("%s of events are held", mib(held))
	}
	done := make(chan error, 1)
	go func() {
		for i := range 8 {
			if err := s.Cancel(strconv.Itoa(i)); err != nil {
				done <- err
			}
		}
		done <- s.Close()
	}()
	select {
	case err := <-done:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(5 * time.Second):
		t.Fatal("cancel or close hangs")
	}
}

func TestContextEndsSession(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	s := loopSession(t, ctx)
	for i := range 20 {
		if err := s.Send(generate(strconv.Itoa(i), "slow")); err != nil {
			t.Fatal(err)
		}
	}
	cause := errors.New("enough")
	cancel(cause)
	if err := s.Send(generate("late", "x")); !errors.Is(err, core.ErrSessionClosed) || !errors.Is(err, cause) {
		t.Errorf("send after the end: %v", err)
	}
	n := 0
	for e, err := range s.Events() {
		if err != nil {
			t.Fatal(err)
		}
		if e.Err == nil || e.Err.Code != core.CodeCancelled {
			t.Errorf("got %+v", e)
		}
		n++
	}
	if n != 20 {
		t.Errorf("%d of 20 requests got a final event", n)
	}
}

func TestRefusalAndRepeatedID(t *testing.T) {
	s := loopSession(t, t.Context())
	for id, prompt := range map[string]string{"a": "refuse", "b": "slow"} {
		if err := s.Send(generate(id, prompt)); err != nil {
			t.Fatal(err)
		}
	}
	var own *core.Error
	if err := s.Send(generate("b", "again")); !errors.As(err, &own) || own.Code != core.CodeInvalid {
		t.Errorf("an id in flight was taken twice: %v", err)
	}
	if e := next(t, s, 1)["a"]; e.Err == nil || e.Err.Code != core.CodeInvalid || e.Err.Message != "I do not do generate" {
		t.Errorf("a refusal came as %+v", e)
	}
}

func TestNothingIsLeftRunning(t *testing.T) {
	before := runtime.NumGoroutine()
	for range 5 {
		inner, _ := newFake(core.Config{})
		b, err := Loopback(t.Context(), inner)
		if err != nil {
			t.Fatal(err)
		}
		if got := text(t, b, "x"); got != "x" {
			t.Fatal(got)
		}
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
		if n := inner.(*fakeBackend).closed; n != 1 {
			t.Errorf("the backend was closed %d times", n)
		}
	}
	for began := time.Now(); runtime.NumGoroutine() > before; time.Sleep(10 * time.Millisecond) {
		if time.Since(began) > 3*time.Second {
			buf := make([]byte, 1<<16)
			t.Fatalf("%d goroutines, %d before\n%s", runtime.NumGoroutine(), before, buf[:runtime.Stack(buf, true)])
		}
	}
}

// BenchmarkHop is the cost of the border: a request there and its answer back,
// 64 in flight, the backend's own work being next to nothing. The limit is
// 100 µs a request.
func BenchmarkHop(b *testing.B) {
	inner, err := newFake(core.Config{})
	if err != nil {
		b.Fatal(err)
	}
	loop, err := Loopback(b.Context(), inner)
	if err != nil {
		b.Fatal(err)
	}
	defer loop.Close()
	prompt := strings.Repeat("a prompt of 1 KiB ", 57)
	for name, backend := range map[string]core.Backend{
		"bare":    inner,
		"wire":    loop,
		"process": testBackend(b, "fake", core.Config{}),
	} {
		b.Run(name, func(b *testing.B) {
			s, err := backend.Open(b.Context())
			if err != nil {
				b.Fatal(err)
			}
			defer s.Close()
			places := make(chan struct{}, 64)
			go func() {
				for i := range b.N {
					places <- struct{}{}
					if err := s.Send(generate(strconv.Itoa(i), prompt)); err != nil {
						b.Error(err)
						return
					}
				}
			}()
			n := 0
			b.ResetTimer()
			for _, err := range s.Events() {
				if err != nil {
					b.Fatal(err)
				}
				<-places
				if n++; n == b.N {
					break
				}
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "requests/s")
			b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N), "µs/request")
		})
	}
}

// BenchmarkLone is the delay that one lone request sees.
func BenchmarkLone(b *testing.B) {
	s, err := testBackend(b, "fake", core.Config{}).Open(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	if err := s.Send(generate("0", "x")); err != nil {
		b.Fatal(err)
	}
	n := 0
	for _, err := range s.Events() {
		if err != nil {
			b.Fatal(err)
		}
		if n++; n == b.N {
			break
		}
		if err := s.Send(generate(strconv.Itoa(n), "x")); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkStart is the time from nothing to a plugin's first Info.
func BenchmarkStart(b *testing.B) {
	h := testHost(b, nil)
	for b.Loop() {
		backend, err := h.Backend(b.Context(), "fake", core.Config{})
		if err != nil {
			b.Fatal(err)
		}
		if _, err := backend.Info(b.Context()); err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		_ = backend.Close()
		b.StartTimer()
	}
}
