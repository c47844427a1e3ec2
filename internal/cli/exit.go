package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/evalrun/evalrun/core"
	"github.com/evalrun/evalrun/results"
	"github.com/evalrun/evalrun/tasks"
)

// The exit codes, as `evalrun --help` lists them.
const (
	ExitOK          = 0
	ExitUsage       = 1   // usage or configuration
	ExitInfra       = 2   // too many infrastructure errors
	ExitBudget      = 3   // the spending cap is reached
	ExitThreshold   = 4   // a score below --min-score or the task's threshold
	ExitInterrupted = 130 // interrupted; what was answered is saved
)

// exitError ends the program with a code; its text, if any, has been or will
// be printed like any other error.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit %d", e.code)
	}
	return e.err.Error()
}

func (e *exitError) Unwrap() error { return e.err }

// explain prints an error as one line of what and where, and one of what to
// do, and gives the exit code. It is the one table from errors to codes.
func explain(w io.Writer, err error) int {
	if err == nil {
		return ExitOK
	}
	code := ExitUsage
	var exit *exitError
	if errors.As(err, &exit) {
		code = exit.code
		if exit.err == nil {
			return code
		}
		err = exit.err
	}
	if code == ExitUsage {
		if errors.Is(err, context.Canceled) {
			fmt.Fprintln(w, "evalrun: interrupted")
			return ExitInterrupted
		}
		if infrastructure(err) {
			code = ExitInfra
		}
	}
	var problems tasks.Problems
	if errors.As(err, &problems) {
		for _, p := range problems {
			fmt.Fprintf(w, "%s: %s\n", p.Where(), oneLine(p.Message))
			if p.Hint != "" {
				fmt.Fprintf(w, "  %s\n", p.Hint)
			}
		}
		if slices.ContainsFunc(problems, func(p tasks.Problem) bool { return p.Hint == "" }) {
			fmt.Fprintln(w, "  docs/tasks.md says what each key takes")
		}
		return code
	}
	fmt.Fprintf(w, "evalrun: %s\n", oneLine(err.Error()))
	if hint := hintOf(err); hint != "" {
		fmt.Fprintf(w, "  %s\n", hint)
	}
	return code
}

// infrastructure tells failures of services, processes and disks from mistakes.
func infrastructure(err error) bool {
	var own *core.Error
	return results.DiskFull(err) || errors.Is(err, core.ErrSessionLost) || errors.As(err, &own) && (own.Temporary() || own.Code == core.CodeInternal)
}

func hintOf(err error) string {
	var user *core.UserError
	if errors.As(err, &user) && user.Hint != "" {
		return user.Hint
	}
	var own *core.Error
	if errors.As(err, &own) {
		return own.Hint
	}
	if errors.Is(err, core.ErrSessionLost) {
		return "the backend's process ended again and again; what it logged stands above"
	}
	return ""
}

// oneLine keeps an error on its line, whatever a library put into it.
func oneLine(s string) string {
	s = strings.TrimSpace(s)
	if i := strings.IndexByte(s, '\n'); i >= 0 {
		lines := strings.FieldsFunc(s, func(r rune) bool { return r == '\n' || r == '\r' })
		for i := range lines {
			lines[i] = strings.TrimSpace(lines[i])
		}
		s = strings.Join(lines, "; ")
	}
	return s
}
