package core

import (
	"errors"
	"slices"
	"strings"
	"time"
)

// Code classes the failures of requests, so that a caller, a decorator or the
// far side of the plugin border can decide without reading texts.
type Code string

// The codes.
const (
	CodeInvalid       Code = "invalid"        // the request can never be answered
	CodeContextLength Code = "context_length" // the input is longer than the context
	CodeAuth          Code = "auth"           // no key, or a refused one
	CodeNotFound      Code = "not_found"      // no such model, adapter or recorded answer
	CodeRateLimit     Code = "rate_limit"     // slow down; RetryAfter may say for how long
	CodeUnavailable   Code = "unavailable"    // the service or plugin is down or overloaded
	CodeTimeout       Code = "timeout"        // the request's own deadline passed
	CodeBadAnswer     Code = "bad_answer"     // the service sent something that is no answer
	CodeCut           Code = "cut"            // the connection broke within an answer
	CodeBudget        Code = "budget"         // the spending cap is reached
	CodeCancelled     Code = "cancelled"      // Cancel, or the run was interrupted
	CodeInternal      Code = "internal"       // a defect of the backend
)

// Error is a request's own failure. It crosses the plugin border whole.
type Error struct {
	Code Code
	// Message says what happened and where, in one line without secrets.
	Message string
	// Hint says what to do about it; may be empty.
	Hint string
	// RetryAfter is the wait that the service asked for.
	RetryAfter time.Duration
	// Status is the HTTP status behind it, if any.
	Status int
}

// Error gives the message with its code.
func (e *Error) Error() string { return string(e.Code) + ": " + e.Message }

// Temporary tells whether the same request may succeed later.
func (e *Error) Temporary() bool {
	switch e.Code {
	case CodeRateLimit, CodeUnavailable, CodeTimeout, CodeBadAnswer, CodeCut:
		return true
	}
	return false
}

// AsError finds the *Error in err, or wraps err as CodeInternal. nil stays nil.
func AsError(err error) *Error {
	if err == nil {
		return nil
	}
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	return &Error{Code: CodeInternal, Message: err.Error()}
}

// ErrSessionClosed is returned by Send after Close.
var ErrSessionClosed = errors.New("session closed")

// ErrSessionLost ends Events when the backend itself is gone: a plugin process
// died, a device was lost. Requests in flight may be sent to a new session.
var ErrSessionLost = errors.New("session lost")

// UserError is a mistake that the user can mend. Where and Hint make the two
// lines that the command line prints.
type UserError struct {
	// Where is file:line:column, a file, or a flag; may be empty.
	Where string
	// Message says what is wrong; it may be empty where Err says it.
	Message string
	// Hint says what to do.
	Hint string
	// Err is the cause, if any.
	Err error
}

// Error gives the first line.
func (e *UserError) Error() string {
	parts := []string{e.Where, e.Message, ""}
	if e.Err != nil {
		parts[2] = e.Err.Error()
	}
	return strings.Join(slices.DeleteFunc(parts, func(s string) bool { return s == "" }), ": ")
}

// Unwrap gives the cause.
func (e *UserError) Unwrap() error { return e.Err }
