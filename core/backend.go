package core

import (
	"context"
	"iter"
)

// A Backend answers requests with one model (and its adapters). It is made by
// a factory from a [Config] and may be used by several goroutines.
//
// The order is: Info and Open any number of times, Close once, after every
// session has been closed.
type Backend interface {
	// Info tells what the backend is and can do. It may load the model; it is
	// cheap after the first call.
	Info(ctx context.Context) (Info, error)
	// Open starts a session. ctx bounds the opening and the session's whole
	// life: when it ends, the session's requests are cancelled.
	Open(ctx context.Context) (Session, error)
	// Close frees the model, the process or the connections. Idempotent.
	Close() error
}

// A Session carries requests one way and events the other. Send and Cancel may
// be called by several goroutines; Events is ranged over once, by one.
//
// Every request that Send accepted gets exactly one final event: EventResponse
// or EventError. Answers come in any order and are matched by ID.
type Session interface {
	// Send hands a request over. It may block while the backend's queue is
	// full. An error means the request was not accepted: an *Error for a
	// request that can never be answered, ErrSessionClosed after Close, or
	// what broke the session.
	Send(Request) error
	// Cancel asks for an end of the request with that ID: its final event is
	// then an *Error with CodeCancelled, or the answer if it was already made.
	// An unknown ID is no error.
	Cancel(id string) error
	// Events yields until Close is called or the session breaks. A broken
	// session yields one last pair with a non-nil error that is, or wraps,
	// ErrSessionLost; requests then in flight get no event and may be sent
	// again to a new session.
	Events() iter.Seq2[Event, error]
	// Close cancels what is in flight and ends Events. Idempotent.
	Close() error
}

// EventKind says which field of an Event is set.
type EventKind uint8

const (
	// EventDelta carries a piece of text of a running answer, in order; it
	// never ends within a character.
	EventDelta EventKind = iota + 1
	// EventResponse carries a finished response.
	EventResponse
	// EventError carries the request's own failure; the session goes on.
	EventError
	// EventProgress carries news that belongs to no request.
	EventProgress
)

// An Event is what a session tells.
type Event struct {
	Kind EventKind
	// ID is the request's; empty for EventProgress.
	ID       string
	Text     string    // EventDelta
	Response *Response // EventResponse
	Err      *Error    // EventError
	Progress *Progress // EventProgress
}

// Progress is a backend's news about itself: loading, waiting for a rate
// limit, restarted.
type Progress struct {
	Stage       string
	Message     string
	Done, Total int64
}

// Config is what a backend is made from. Secrets are not part of it: a backend
// reads them from its environment.
type Config struct {
	// Model is a folder, a file, a hub id or a service's model name; empty is
	// the backend's default.
	Model    string
	Revision string
	Adapters []Adapter
	BaseURL  string
	Device   string
	// Options are the backend's own settings, by name.
	Options map[string]string
}

// An Adapter is a named adapter folder.
type Adapter struct {
	Name, Path string
}

// Form is how a backend takes its input.
type Form string

// The forms.
const (
	FormCompletion Form = "completion"
	FormChat       Form = "chat"
)

// Info describes a backend. Abilities are data, so that they cross the plugin
// border like everything else.
type Info struct {
	Name, Version string
	// Model and Revision are the identity that results and caches carry;
	// ModelHash is of the weights where they are at hand.
	Model, Revision, ModelHash string
	// Family is the model's family in lower case (llama, gpt-4 …), for chat
	// forms; empty when unknown.
	Family   string
	Adapters []AdapterInfo
	Kinds    []Kind
	// Forms are the accepted forms of input, the preferred one first.
	Forms         []Form
	ContextLength int
	// Until tells whether Request.Until shortens answers.
	Until bool
	// Trains tells whether the backend is a Trainer.
	Trains bool
	// Choices tells whether Request.Choices can be asked for.
	Choices bool
	// Deterministic tells whether equal requests get equal answers.
	Deterministic bool
	// InFlight is the number of requests that keep the backend busy; 0 is
	// unknown.
	InFlight int
	// Prices, in USD per million tokens; nil is free, and Known false a
	// service whose prices are not known.
	Prices *Prices
	// Device says what computes, for tables and manifests.
	Device string
	// Notes are sentences a table must carry beside every number, such as
	// that the model is a demonstration.
	Notes []string
}

// AdapterInfo identifies an adapter by content.
type AdapterInfo struct {
	Name, Hash string
}

// Prices of a service in USD per million tokens.
type Prices struct {
	Known         bool
	Input, Output float64
}

// Cost of a usage in USD; 0 when the prices are not known.
func (p *Prices) Cost(u Usage) float64 {
	if p == nil || !p.Known {
		return 0
	}
	return (float64(u.Prompt)*p.Input + float64(u.Completion)*p.Output) / 1e6
}
