// Package retry sends requests again that failed for a time only, and opens
// the session again when it was lost: a crash of a plugin costs a wait, not an
// answer.
//
// A temporary error (core.Error.Temporary) is tried again after an exponential
// back-off with jitter, or after the wait that the service asked for, until the
// attempts are used up; then the last error is the request's own. When the
// inner session breaks with core.ErrSessionLost, a new one is opened and
// everything in flight is sent to it; an EventProgress with Stage "restarted"
// tells so. After LastTries no error is tried again; a lost session still is, and
// has its attempts.
package retry

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/evalrun/evalrun/core"
)

// Options of a retrying backend; zero fields take the default.
type Options struct {
	// Attempts is the number of times a request is sent at most (5).
	Attempts int
	// Base is the wait after the first failure (500 ms); it doubles with each
	// further one up to Max (60 s). The wait is drawn from its upper half.
	Base, Max time.Duration
	// MaxRetryAfter is the longest wait asked for by a service that is
	// honoured (10 min); after a longer one the error stands.
	MaxRetryAfter time.Duration
	// Restarts is the number of lost sessions without an answer between them
	// after which the session is given up (5).
	Restarts int
	// Seed makes the jitter repeatable; 0 draws one.
	Seed uint64
	// After calls f once d has passed, unless the returned function stops it,
	// which then reports true. The default is time.AfterFunc; tests give their
	// own clock.
	After func(d time.Duration, f func()) (stop func() bool)
}

// Wrap makes b retry. Close closes b.
func Wrap(b core.Backend, o Options) *Backend {
	if o.Attempts <= 0 {
		o.Attempts = 5
	}
	if o.Base <= 0 {
		o.Base = 500 * time.Millisecond
	}
	if o.Max <= 0 {
		o.Max = 60 * time.Second
	}
	if o.MaxRetryAfter <= 0 {
		o.MaxRetryAfter = 10 * time.Minute
	}
	if o.Restarts <= 0 {
		o.Restarts = 5
	}
	if o.Seed == 0 {
		o.Seed = rand.Uint64()
	}
	if o.After == nil {
		o.After = func(d time.Duration, f func()) func() bool { return time.AfterFunc(d, f).Stop }
	}
	return &Backend{Backend: b, o: o, last: make(chan struct{})}
}

// A Backend tries again what failed for a time only.
type Backend struct {
	core.Backend
	o    Options
	once sync.Once
	last chan struct{} // closed by LastTries
}

// LastTries makes an error that comes from now on the request's own: those that
// wait for a further try end at once. It is for a caller that has been asked to
// end, and still wants what has been sent.
func (b *Backend) LastTries() { b.once.Do(func() { close(b.last) }) }

// Open opens a session.
func (b *Backend) Open(ctx context.Context) (core.Session, error) {
	inner, err := b.Backend.Open(ctx)
	if err != nil {
		return nil, err
	}
	return newSession(ctx, b, inner), nil
}

// backoff is the wait after the n-th failure in a row, n from 1: Base·2^(n−1)
// up to Max, of which the upper half is drawn by u in [0, 1).
func (o *Options) backoff(n int, u float64) time.Duration {
	d := o.Max
	if n < 40 {
		if b := o.Base << (n - 1); b > 0 && b < o.Max {
			d = b
		}
	}
	return d/2 + time.Duration(u*float64(d/2))
}
