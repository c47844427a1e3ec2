// Package core holds the words of evalrun: Task, Sample, Request, Response,
// Event, Backend, Session, Metric and Score. Every other package speaks them,
// and none of them knows how a model computes or where a file lies.
//
// The law of the house: this package imports the standard library only, holds
// data and contracts, and does no work of its own beyond checking them.
//
// A run is: a [Task] renders each [Sample] into a [Request]; a [Session] of a
// [Backend] answers with [Event] values in any order; a [Metric] turns each
// answer into a [Score].
package core
