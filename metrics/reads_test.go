package metrics

import (
	"math/rand/v2"
	"testing"

	"github.com/evalrun/evalrun/core"
	"github.com/evalrun/evalrun/core/extract"
)

// Where a metric says what it reads of an answer, the score of a beginning in
// which all of that has settled is the score of every continuation.
func TestReads(t *testing.T) {
	pieces := []string{"1", "0", "yes", "No", "true", "positive", "neg", "ative", " ", ".", ",", "\n", "5", "the", "-", "1.0", "(b)", "not ", "$", "Yes", "10", "é", "_"}
	rng := rand.New(rand.NewPCG(7, 7))
	judged := 0
	for _, f := range Builtin() {
		for _, profile := range []core.Profile{core.Strict, core.Bakeoff} {
			m, err := f.New(nil, profile)
			if err != nil || len(m.Info().Reads) == 0 {
				continue
			}
			score := func(answer, target string) float64 {
				s, err := m.Score(t.Context(), []core.Item{{ID: "1", Raw: answer, Text: answer, Targets: []string{target}}})
				if err != nil {
					t.Fatal(err)
				}
				return s[0].Value
			}
			settled := 0
			for range 1000 {
				var settlers []*extract.Settler
				for _, r := range m.Info().Reads {
					p, err := extract.Compile(r.Expr, r.Flags, 0)
					if err != nil {
						t.Fatal(err)
					}
					settlers = append(settlers, p.Settler(r.Select))
				}
				answer, target := "", []string{"0", "1"}[rng.IntN(2)]
				frozen, want := "", 0.0
				for range 10 {
					answer += pieces[rng.IntN(len(pieces))]
					if frozen != "" {
						if got := score(answer, target); got != want {
							t.Fatalf("%s, %s: %q settled with %g, and %q scores %g", f.Name, profile, frozen, want, answer, got)
						}
						continue
					}
					all := true
					for _, s := range settlers {
						all = s.Settled(answer) && all
					}
					if all {
						frozen, want = answer, score(answer, target)
						settled++
					}
				}
			}
			if settled < 150 {
				t.Errorf("%s, %s: %d of 1000 answers settled", f.Name, profile, settled)
			}
			judged++
		}
	}
	if judged != 2 {
		t.Errorf("%d metrics say what they read", judged)
	}
}
