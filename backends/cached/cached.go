// Package cached keeps answers in a file and gives them again to equal
// requests, in later runs and in other processes.
//
// Equal means: the same backend, model, revision, weights, adapter content,
// kind, input, continuations, every generation parameter, stop texts, until
// patterns, overflow, logprobs and repeat index, and nothing less. Answers that
// failed, were withheld by the service, or hold nothing are not kept. An answer
// is handed on only after it is in the file, where the end of the process
// cannot take it away: what was paid for once is not paid for again.
//
// Equal requests that are in flight at once are sent once, and the others get a
// copy of the answer.
package cached

import (
	"context"
	"fmt"
	"sync/atomic"

	"github.com/evalrun/evalrun/core"
)

// Options of a cached backend.
type Options struct {
	// Scope is further text that every key depends on: the settings of the
	// backend that change answers and that its Info does not tell.
	Scope string
}

// Backend is a cached backend.
type Backend struct {
	core.Backend
	store                *Store
	o                    Options
	hits, misses, shared atomic.Int64
}

// Wrap puts the cache before b. Close closes b and leaves the store open.
func Wrap(b core.Backend, store *Store, o Options) *Backend {
	return &Backend{Backend: b, store: store, o: o}
}

// Counts of a cached backend since it was made: answers from the file, requests
// that went on to the backend, and copies of an answer that was under way.
type Counts struct{ Hits, Misses, Shared int64 }

// Counts tells how requests were answered. It may be called at any time.
func (b *Backend) Counts() Counts {
	return Counts{b.hits.Load(), b.misses.Load(), b.shared.Load()}
}

// Open opens a session of the backend behind. It asks for the backend's Info,
// which is part of every key.
func (b *Backend) Open(ctx context.Context) (core.Session, error) {
	info, err := b.Backend.Info(ctx)
	if err != nil {
		return nil, fmt.Errorf("asking the backend what it is, for the cache: %w", err)
	}
	inner, err := b.Backend.Open(ctx)
	if err != nil {
		return nil, err
	}
	return newSession(ctx, b, inner, info), nil
}

// worthKeeping tells whether an answer is one that equal requests should get.
func worthKeeping(r *core.Request, a *core.Response) bool {
	switch r.Kind {
	case core.Generate:
		switch a.Finish {
		case core.FinishStop, core.FinishUntil:
			return true
		case core.FinishLength:
			return a.Text != "" || a.Usage.Completion > 0
		}
		return false
	case core.ScoreText:
		return len(a.Scores) == len(r.Continuations)
	case core.Embed:
		return len(a.Embedding) > 0
	case core.Tokenize:
		return len(a.Tokens) > 0
	}
	return false
}
