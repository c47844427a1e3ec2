package option

import (
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/evalrun/evalrun/core"
)

func TestRead(t *testing.T) {
	r := Read("demo", map[string]string{
		"text": "a", "n": "7", "rate": "0.25", "yes": "true", "wait": "90s", "bare": "1.5", "api": "chat",
	})
	if got := r.String("text", "z"); got != "a" {
		t.Errorf("text = %q", got)
	}
	if got := r.Int("n", 1, 0); got != 7 {
		t.Errorf("n = %d", got)
	}
	if got := r.Float("rate", 1, 0, 1); got != 0.25 {
		t.Errorf("rate = %v", got)
	}
	if !r.Bool("yes", false) {
		t.Error("yes is false")
	}
	if got := r.Duration("wait", 0); got != 90*time.Second {
		t.Errorf("wait = %v", got)
	}
	if got := r.Duration("bare", 0); got != 1500*time.Millisecond {
		t.Errorf("bare = %v", got)
	}
	if got := r.OneOf("api", "auto", "chat"); got != "chat" {
		t.Errorf("api = %q", got)
	}
	if got := r.Int("absent", 3, 0); got != 3 {
		t.Errorf("absent = %d", got)
	}
	if err := r.Err(); err != nil {
		t.Error(err)
	}
}

func TestMistakes(t *testing.T) {
	tests := []struct {
		name   string
		values map[string]string
		say    string
		hint   string
	}{
		{"unknown key", map[string]string{"latncy": "1s"}, `unknown option "latncy"`, "did you mean latency?"},
		{"no number", map[string]string{"n": "x"}, `"x" is not a whole number from 1`, "give n as"},
		{"below", map[string]string{"n": "0"}, `"0" is not a whole number from 1`, ""},
		{"not finite", map[string]string{"price": "NaN"}, `"NaN" is not a number from 0`, ""},
		{"infinite", map[string]string{"price": "Inf"}, `"Inf" is not a number from 0`, ""},
		{"bad time", map[string]string{"latency": "soon"}, `"soon" is not a time`, ""},
		{"negative time", map[string]string{"latency": "-1s"}, `"-1s" is not a time`, ""},
		{"bad word", map[string]string{"api": "chta"}, `"chta" is not one of auto, chat`, ""},
		{"bad bool", map[string]string{"on": "ja"}, `"ja" is not true or false`, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := Read("demo", tt.values)
			r.Int("n", 1, 1)
			r.Float("price", 0, 0, math.Inf(1))
			r.Duration("latency", 0)
			r.OneOf("api", "auto", "chat")
			r.Bool("on", false)
			var u *core.UserError
			if err := r.Err(); !errors.As(err, &u) {
				t.Fatalf("got %v", err)
			}
			if !strings.Contains(u.Message, tt.say) || !strings.Contains(u.Hint, tt.hint) {
				t.Errorf("got %q, hint %q", u.Message, u.Hint)
			}
		})
	}
}
