package engine

import (
	"math/rand/v2"
	"strings"
	"testing"
)

// However a text is cut into pieces, the answer ends where the first stop
// begins, and what was shown is never taken back.
func TestAnswer(t *testing.T) {
	rng := rand.New(rand.NewPCG(8, 8))
	for range 3000 {
		letters := func(n int) string {
			var b strings.Builder
			for range n {
				b.WriteByte("abc"[rng.IntN(3)])
			}
			return b.String()
		}
		text := letters(rng.IntN(30))
		var stops []string
		for range rng.IntN(4) {
			stops = append(stops, letters(1+rng.IntN(4)))
		}
		a := newAnswer(stops)
		var shown strings.Builder
		end := len(text)
		stopped := false
		for rest := text; rest != "" && !stopped; {
			n := min(len(rest), rng.IntN(4))
			stopped = a.add(rest[:n])
			shown.WriteString(a.delta(false))
			rest = rest[n:]
		}
		shown.WriteString(a.delta(true))
		// The stop that is complete first ends the answer; several that are
		// complete with one piece, where the first of them begins.
		if stopped {
			end = a.cut
			found := false
			for _, s := range stops {
				found = found || strings.HasPrefix(text[end:], s)
			}
			if !found {
				t.Fatalf("%q with stops %q was cut at %d", text, stops, end)
			}
		} else {
			for _, s := range stops {
				if strings.Contains(text, s) {
					t.Fatalf("%q: stop %q was missed", text, s)
				}
			}
		}
		if a.final() != text[:end] || shown.String() != text[:end] {
			t.Fatalf("%q with stops %q: final %q, shown %q", text, stops, a.final(), shown.String())
		}
	}
}
