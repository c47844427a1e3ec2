// Package session holds what the built-in backends and decorators share: the
// event side of a session (Outbox), a session made from a function that
// answers one request (Work), and the checks that every request must pass.
package session

import (
	"iter"
	"sync"

	"github.com/evalrun/evalrun/core"
)

// Outbox is the event side of a session: any number of goroutines put, one
// ranges. Put blocks while the reader is slow; Close lets everybody go.
type Outbox struct {
	events chan core.Event
	closed chan struct{} // nobody reads any more
	ended  chan struct{} // nobody will put any more; err is set
	once   sync.Once
	end    sync.Once
	err    error
}

// NewOutbox makes an empty outbox.
func NewOutbox() *Outbox {
	return &Outbox{
		events: make(chan core.Event, 256),
		closed: make(chan struct{}),
		ended:  make(chan struct{}),
	}
}

// Put hands an event to the reader. It reports false when the outbox was
// closed or has ended, and the event is dropped.
func (o *Outbox) Put(ev core.Event) bool {
	select {
	case <-o.closed:
		return false
	case <-o.ended:
		return false
	default:
	}
	select {
	case o.events <- ev:
		return true
	case <-o.closed:
		return false
	}
}

// End says that no further event will be put: Events yields what is there,
// then err if it is not nil, and returns. Only the first End counts.
func (o *Outbox) End(err error) {
	o.end.Do(func() { o.err = err; close(o.ended) })
}

// Close ends Events at once and frees everybody who waits in Put. Idempotent.
func (o *Outbox) Close() { o.once.Do(func() { close(o.closed) }) }

// Closed is closed by Close.
func (o *Outbox) Closed() <-chan struct{} { return o.closed }

// Events yields what is put until Close or End. It is ranged over by one
// goroutine; one that stops early may range again.
func (o *Outbox) Events() iter.Seq2[core.Event, error] {
	return func(yield func(core.Event, error) bool) {
		for {
			select {
			case <-o.closed:
				return
			default:
			}
			select {
			case ev := <-o.events:
				if !yield(ev, nil) {
					return
				}
			case <-o.closed:
				return
			case <-o.ended:
				for {
					select {
					case ev := <-o.events:
						if !yield(ev, nil) {
							return
						}
						continue
					default:
					}
					break
				}
				if o.err != nil {
					yield(core.Event{}, o.err)
				}
				return
			}
		}
	}
}
