package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"

	"github.com/evalrun/evalrun/core"
	"github.com/evalrun/evalrun/tasks"
)

// Every class of error has its code, its line, and its hint.
func TestExplain(t *testing.T) {
	for _, tt := range []struct {
		name string
		err  error
		code int
		text string
	}{
		{"none", nil, ExitOK, ""},
		{"plain", errors.New("a\n  b\r\nc"), ExitUsage, "evalrun: a; b; c\n"},
		{"user", fmt.Errorf("model m: %w", &core.UserError{Where: "--x", Message: "wrong", Hint: "do this"}), ExitUsage, "evalrun: model m: --x: wrong\n  do this\n"},
		{"problems", tasks.Problems{{File: "t.yaml", Line: 3, Column: 2, Message: "odd", Hint: "mend it"}}, ExitUsage, "t.yaml:3:2: odd\n  mend it\n"},
		{"refused key", &core.Error{Code: core.CodeAuth, Message: "no", Hint: "check the key"}, ExitUsage, "evalrun: auth: no\n  check the key\n"},
		{"dead service", fmt.Errorf("open: %w", &core.Error{Code: core.CodeUnavailable, Message: "down"}), ExitInfra, "evalrun: open: unavailable: down\n"},
		{"dead plugin", fmt.Errorf("answers: %w", core.ErrSessionLost), ExitInfra, "evalrun: answers: session lost\n  the backend's process"},
		{"full disk", &core.UserError{Where: "x", Message: "writing a sample", Err: syscall.ENOSPC, Hint: "free space"}, ExitInfra, "evalrun: x: writing a sample: no space left on device\n  free space\n"},
		{"interrupted", fmt.Errorf("rows: %w", context.Canceled), ExitInterrupted, "evalrun: interrupted\n"},
		{"drained", &exitError{code: ExitInterrupted}, ExitInterrupted, ""},
		{"budget", &exitError{code: ExitBudget, err: &core.UserError{Message: "reached", Hint: "more"}}, ExitBudget, "evalrun: reached\n  more\n"},
	} {
		var b bytes.Buffer
		if code := explain(&b, tt.err); code != tt.code || !strings.HasPrefix(b.String(), tt.text) || tt.text == "" && b.Len() > 0 {
			t.Errorf("%s: exit code %d, want %d\n%s", tt.name, code, tt.code, b.String())
		}
	}
}

// A wrong value of a flag is told in the flag's own words.
func TestFlagError(t *testing.T) {
	for _, tt := range []struct{ args, want string }{
		{"--seed -1", "--seed -1: it takes a whole number from 0 up"},
		{"--max-errors much", "--max-errors much: it takes a number"},
		{"--quiet=perhaps", "--quiet perhaps: it takes true or false"},
		{"--limmit 3", "did you mean --limit?"},
		{"-Z", "lists the flags"},
	} {
		var b bytes.Buffer
		if code := explain(&b, execute(context.Background(), strings.Fields(tt.args))); code != ExitUsage || !strings.Contains(b.String(), tt.want) {
			t.Errorf("%s: exit code %d\n%s", tt.args, code, b.String())
		}
	}
}
