package debug

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"github.com/evalrun/evalrun/core"
)

func humanevalWindow(stdin string, args ...string) (string, string, error) {
	cmd := newHumaneval()
	var out, side strings.Builder
	cmd.SetIn(strings.NewReader(stdin))
	cmd.SetOut(&out)
	cmd.SetErr(&side)
	cmd.SetArgs(args)
	cmd.SilenceErrors, cmd.SilenceUsage = true, true
	err := cmd.Execute()
	return out.String(), side.String(), err
}

func TestHumaneval(t *testing.T) {
	line := func(completion, timeout string) string {
		return fmt.Sprintf(`{"prompt":"def f():\n","completion":%q,"test":"def check(f):\n    assert f() == 1, 'no'\n","entry_point":"f"%s}`, completion, timeout) + "\n"
	}
	in := line("    return 1", "") + line("    return 2", "") + line("    while True: pass", `,"timeout":0.2`) + line("    return x", "") +
		`{"problem":{"prompt":"def f():\n","test":"def check(f):\n    f()\n","entry_point":"f"},"completion":"    pass"}`
	out, side, err := humanevalWindow(in)
	var user *core.UserError
	if errors.As(err, &user) && (strings.HasPrefix(user.Message, "skipped: no python3") || strings.HasPrefix(user.Message, "model code is not run here")) {
		t.Skip(err)
	}
	want := `{"passed":true,"result":"passed"}
{"passed":false,"result":"failed: no"}
{"passed":false,"result":"timed out"}
{"passed":false,"result":"failed: name 'x' is not defined"}
{"passed":true,"result":"passed"}
`
	if err != nil || out != want {
		t.Errorf("%v: %s", err, out)
	}
	if !strings.Contains(side, "own files, no network") {
		t.Errorf("what held is said as %q", side)
	}
	for _, c := range []struct{ in, message string }{
		{`{"completion":"x"}`, "entry_point is missing"},
		{line("    return 1", `,"timeout":-1`), "timeout is -1"},
		{"nonsense", "invalid character"},
	} {
		if _, _, err := humanevalWindow(c.in); err == nil || !strings.Contains(err.Error(), c.message) || !strings.Contains(err.Error(), "standard input:1") {
			t.Errorf("%s: %v", c.in, err)
		}
	}
}

func TestHumanevalWithoutPython(t *testing.T) {
	if _, _, err := humanevalWindow("", "--python", "no-such-python"); err == nil || !strings.Contains(err.Error(), "skipped: no no-such-python") {
		t.Error(err)
	}
}

// Answers come in the order of the lines, up to the first mistake, and several
// are in the making at once.
func TestEachLineAhead(t *testing.T) {
	cmd := &cobra.Command{}
	var out strings.Builder
	cmd.SetIn(strings.NewReader("{\"x\":3}\n{\"x\":1}\n\n{\"x\":2}\n{\"x\":-1}\n{\"x\":0}"))
	cmd.SetOut(&out)
	start := time.Now()
	err := eachLineAhead(cmd, "", 4, func(v doubling) (any, error) {
		if v.X < 0 {
			return nil, &core.UserError{Message: "x is negative"}
		}
		time.Sleep(time.Duration(v.X) * 300 * time.Millisecond)
		return doubling{2 * v.X}, nil
	})
	if want := "{\"x\":6}\n{\"x\":2}\n{\"x\":4}\n"; out.String() != want || err == nil || !strings.Contains(err.Error(), "standard input:5") {
		t.Errorf("%q %v", out.String(), err)
	}
	if took := time.Since(start); took > 1500*time.Millisecond {
		t.Errorf("%v: one after the other", took)
	}
}
