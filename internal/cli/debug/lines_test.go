package debug

import (
	"encoding/json"
	"errors"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/evalrun/evalrun/core"
)

type doubling struct {
	X Number `json:"x"`
}

func run(t *testing.T, stdin, in string) (string, error) {
	t.Helper()
	cmd := &cobra.Command{}
	var out strings.Builder
	cmd.SetIn(strings.NewReader(stdin))
	cmd.SetOut(&out)
	err := eachLine(cmd, in, func(v doubling) (any, error) {
		if v.X < 0 {
			return nil, &core.UserError{Message: "x is negative"}
		}
		return doubling{2 * v.X}, nil
	})
	return out.String(), err
}

func TestEachLine(t *testing.T) {
	got, err := run(t, "{\"x\":1.5,\"want\":3}\n\n{\"x\":\"Infinity\"}\n{\"x\":\"NaN\"}", "")
	if want := "{\"x\":3}\n{\"x\":\"Infinity\"}\n{\"x\":\"NaN\"}\n"; got != want || err != nil {
		t.Errorf("got %q, %v, want %q", got, err, want)
	}
	file := filepath.Join(t.TempDir(), "in.jsonl")
	if err := os.WriteFile(file, []byte("{\"x\":2}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := run(t, "", file); got != "{\"x\":4}\n" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestEachLineErrors(t *testing.T) {
	for in, want := range map[string]string{
		"{\"x\":1}\n{\"x\":-1}\n{\"x\":1}": "standard input:2: x is negative",
		"{\"x\":\"1\"}":                    `standard input:1: not a number: "1"`,
		"{\"x\":":                          "standard input:1: unexpected end of JSON input",
	} {
		_, err := run(t, in, "")
		var user *core.UserError
		if !errors.As(err, &user) || user.Error() != want || user.Hint == "" {
			t.Errorf("%q: error %v, want %s", in, err, want)
		}
	}
	// What was answered before the mistake is not lost.
	if got, _ := run(t, "{\"x\":1}\n{\"x\":-1}\n", ""); got != "{\"x\":2}\n" {
		t.Errorf("got %q", got)
	}
	if _, err := run(t, "", filepath.Join(t.TempDir(), "none")); err == nil {
		t.Error("a missing file is accepted")
	}
}

func TestNumber(t *testing.T) {
	for _, f := range []float64{0, -1, 0.1, 1e300, math.Inf(1), math.Inf(-1), math.MaxFloat64, 5e-324} {
		b, err := json.Marshal(Number(f))
		if err != nil {
			t.Fatal(err)
		}
		var back Number
		if err := json.Unmarshal(b, &back); err != nil || float64(back) != f {
			t.Errorf("%v became %s and %v (%v)", f, b, back, err)
		}
	}
	for _, s := range []string{"null", `"nan"`, "true", "[1]", "1e999"} {
		var n Number
		if err := json.Unmarshal([]byte(s), &n); err == nil {
			t.Errorf("%s is taken for %v", s, n)
		}
	}
}
