package plugins

import (
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/evalrun/evalrun/core"
)

// The plugin is killed at random moments of a batch of requests. What was not
// answered is sent again to a new session, as backends/retry does; in the end
// everything has one answer, and neither goroutines nor folders are left.
func TestKilledAtAnyMoment(t *testing.T) {
	const total, rounds = 400, 12
	if testing.Short() {
		t.Skip("starts a dozen processes")
	}
	temporary, err := os.MkdirTemp("", "evalrun")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(temporary)
	t.Setenv("TMPDIR", temporary)
	folders := func() int {
		list, err := filepath.Glob(filepath.Join(temporary, "plugin-dir*"))
		if err != nil {
			t.Fatal(err)
		}
		return len(list)
	}
	leftBefore, goroutines := folders(), runtime.NumGoroutine()
	h := NewHost(HostOptions{Backends: testNames, Dirs: []string{}})
	b, err := h.Backend(t.Context(), "fake", core.Config{})
	if err != nil {
		t.Fatal(err)
	}
	random := rand.New(rand.NewPCG(1, 2))
	missing := map[string]bool{}
	for i := range total {
		missing[strconv.Itoa(i)] = true
	}
	kills := 0
	for round := 0; len(missing) > 0; round++ {
		if round > 3*rounds {
			t.Fatalf("%d requests are still unanswered", len(missing))
		}
		events, err := ask(t, b, "pid")
		if errors.Is(err, core.ErrSessionLost) {
			continue // the kill of the round before is noticed only now
		}
		if err != nil {
			t.Fatal(err)
		}
		pid, err := strconv.Atoi(events[0].Response.Text)
		if err != nil {
			t.Fatal(err)
		}
		s, err := b.Open(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if round < rounds {
			kills++
			wait := time.Duration(random.IntN(4000)) * time.Microsecond
			time.AfterFunc(wait, func() { _ = syscall.Kill(pid, syscall.SIGKILL) })
		}
		send := make([]string, 0, len(missing))
		for id := range missing {
			send = append(send, id)
		}
		go func() {
			for _, id := range send {
				if s.Send(generate(id, "stream 20")) != nil {
					return
				}
			}
		}()
		for e, err := range s.Events() {
			if err != nil {
				if !errors.Is(err, core.ErrSessionLost) {
					t.Fatalf("round %d: %v", round, err)
				}
				break
			}
			if e.Response != nil {
				if !missing[e.ID] {
					t.Errorf("%s was answered twice in one session", e.ID)
				}
				if delete(missing, e.ID); len(missing) == 0 {
					break
				}
			}
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if len(missing) == 0 && round < rounds {
			// Answered before the kill: begin again until all kills are done.
			for i := range total {
				missing[strconv.Itoa(i)] = true
			}
			waitGone(t, pid, busy*time.Second)
		}
	}
	if err := h.Close(); err != nil {
		t.Error(err)
	}
	for began := time.Now(); runtime.NumGoroutine() > goroutines || folders() > leftBefore; time.Sleep(20 * time.Millisecond) {
		if time.Since(began) > 5*time.Second {
			buf := make([]byte, 1<<16)
			t.Fatalf("left: %d goroutines (%d before), %d folders (%d before)\n%s", runtime.NumGoroutine(), goroutines,
				folders(), leftBefore, buf[:runtime.Stack(buf, true)])
		}
	}
	t.Logf("%d kills", kills)
}
