package openai

import (
	"container/list"
	"context"
	"sync"
	"time"
)

// A gate lets requests through and finds out how many the service stands at
// once: additive increase, multiplicative decrease, as TCP does. Until the
// service first says that it is too much, every answer makes room for one more,
// so the number doubles with each round; afterwards a whole round makes room
// for one. When the service says so, the number is halved, once a round, and
// everything waits for as long as it asked.
type gate struct {
	cap int

	mu       sync.Mutex
	limit    float64
	slow     bool // the service said once that it was too much
	inFlight int
	waiting  list.List // of chan struct{}
	paused   time.Time // nothing is let through before
	halved   time.Time
	timer    *time.Timer
}

func newGate(start, most int) *gate {
	return &gate{cap: most, limit: float64(min(start, most))}
}

// enter waits for its turn; the time it gives belongs to leave.
func (g *gate) enter(ctx context.Context) (time.Time, error) {
	g.mu.Lock()
	if g.waiting.Len() == 0 && g.open(time.Now()) {
		g.inFlight++
		g.mu.Unlock()
		return time.Now(), nil
	}
	turn := make(chan struct{})
	e := g.waiting.PushBack(turn)
	g.admit()
	g.mu.Unlock()
	select {
	case <-turn:
		return time.Now(), nil
	case <-ctx.Done():
		g.mu.Lock()
		defer g.mu.Unlock()
		select {
		case <-turn: // both came: give the place on
			g.inFlight--
			g.admit()
		default:
			g.waiting.Remove(e)
		}
		return time.Time{}, ctx.Err()
	}
}

func (g *gate) open(now time.Time) bool {
	return g.inFlight < int(g.limit) && !now.Before(g.paused)
}

// admit lets through who may; it needs the mutex.
func (g *gate) admit() {
	now := time.Now()
	for g.waiting.Len() > 0 && g.open(now) {
		e := g.waiting.Front()
		g.waiting.Remove(e)
		g.inFlight++
		close(e.Value.(chan struct{}))
	}
	if wait := g.paused.Sub(now); wait > 0 && g.waiting.Len() > 0 {
		if g.timer != nil {
			g.timer.Stop()
		}
		g.timer = time.AfterFunc(wait, func() {
			g.mu.Lock()
			g.admit()
			g.mu.Unlock()
		})
	}
}

// leave tells how it went: too much for the service or not, and how long it
// asked to wait. entered is what enter gave.
func (g *gate) leave(entered time.Time, tooMuch bool, wait time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.inFlight--
	now := time.Now()
	switch {
	case tooMuch:
		g.slow = true
		if entered.After(g.halved) { // one that left before the last halving tells nothing new
			g.limit = max(1, g.limit/2)
			g.halved = now
		}
		if until := now.Add(min(wait, 10*time.Minute)); wait > 0 && until.After(g.paused) {
			g.paused = until
		}
	case g.slow:
		g.limit = min(float64(g.cap), g.limit+1/g.limit)
	default:
		g.limit = min(float64(g.cap), g.limit+1)
	}
	g.admit()
}

// at gives the number of requests that the gate lets through now.
func (g *gate) at() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return int(g.limit)
}
