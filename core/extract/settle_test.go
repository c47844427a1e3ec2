package extract

import (
	"math/rand/v2"
	"strings"
	"testing"
)

func settler(t testing.TB, expr, flags string, pick int) (*Pattern, *Settler) {
	t.Helper()
	p, err := Compile(expr, flags, 0)
	if err != nil {
		t.Fatal(err)
	}
	return p, p.Settler(pick)
}

// When an extraction settles.
func TestSettled(t *testing.T) {
	for _, c := range []struct {
		expr, flags string
		pick        int
		text        string
		settled     bool
	}{
		{`\d+`, "", 0, "12", false}, {`\d+`, "", 0, "12 ", true}, {`\d+`, "", 0, "none yet", false},
		{`\d`, "", 0, "12", true},
		{`\d+?`, "", 0, "12", true},
		{`\d+`, "", 1, "12 7", false}, {`\d+`, "", 1, "12 7 ", true},
		{`\d+`, "", -1, "12 7 x", false},
		{`yes|no`, "i", 0, "YES", true}, {`yes|no`, "i", 0, "ye", false}, {`yes(?:terday)?`, "", 0, "yes", false},
		{`yes(?:terday)?`, "", 0, "yester", false}, {`yes(?:terday)?`, "", 0, "yes.", true},
		{`\b(0|1)\b`, "", 0, "1", false}, {`\b(0|1)\b`, "", 0, "1\n", true}, {`\b(0|1)\b`, "", 0, "10 ", false},
		{`^(\d+)$`, "", 0, "12\n", false}, {`^(\d+)$`, "m", 0, "12\n", true}, {`^(\d+)$`, "", 0, "12\nx", false},
		{`####\s*(-?[\d,.]+)`, "", 0, "so #### 1,200", false}, {`####\s*(-?[\d,.]+)`, "", 0, "so #### 1,200\n", true},
		{`a(?=b)`, "", 0, "a", false}, {`a(?=b)`, "", 0, "ab", true}, {`a(?!b)`, "", 0, "a", false}, {`a(?!b)`, "", 0, "ac", true},
		{`(?<!\d)7`, "", 0, "17 7", true}, {`(?<!\d)7`, "", 0, "17", false},
		{`(a)\1`, "", 0, "aax", false}, {`(?<=ab)c`, "", 0, "abcx", false}, // not known: never
		{`.*x`, "", 0, "axb", false}, {`.*x`, "", 0, "axb\n", true}, {`.*x`, "s", 0, "axb\n", false},
		{`x*`, "", 0, "a", true}, {`x*`, "", 1, "ab", false},
		{`(?>a+)b`, "", 0, "aab", true}, {`a{2,3}`, "", 0, "aa", false}, {`a{2,3}`, "", 0, "aaa", true}, {`a{2}`, "", 0, "aa", true},
		{`[^,]+`, "", 0, "ü", false}, {`[^,]+`, "", 0, "ü,", true}, {`\w+\Z`, "", 0, "ab ", false},
	} {
		if _, s := settler(t, c.expr, c.flags, c.pick); s.Settled(c.text) != c.settled {
			t.Errorf("%q %q, match %d of %q: settled is %v", c.expr, c.flags, c.pick, c.text, !c.settled)
		}
	}
}

// Once an extraction is said to be settled, no continuation changes it.
func TestSettledNeverChanges(t *testing.T) {
	rng := rand.New(rand.NewPCG(4, 4))
	pieces := []string{`\d+`, `\d`, `[a-c]+`, `a`, `b`, `1`, `(?:a|ab)`, `(a|b1?)`, `a*?`, `\w+`, `\s`, `\b`, `(?=a)`, `(?!b1)`, `.`, `.*`, `(?<!a)`, `(?>a|ab)`, `1{1,2}`, `$`, `^`, `(?:1|)`, `[^a]`, `\Z`}
	letters := []string{"a", "b", "1", " ", "\n", "ab", "2", "é"}
	said, patterns := 0, 0
	for range 4000 {
		var expr strings.Builder
		for range 1 + rng.IntN(4) {
			expr.WriteString(pieces[rng.IntN(len(pieces))])
		}
		flags := []string{"", "m", "i", "s"}[rng.IntN(4)]
		p, err := Compile(expr.String(), flags, 0)
		if err != nil {
			continue
		}
		patterns++
		pick := rng.IntN(3)
		s := p.Settler(pick)
		text, frozen := "", ""
		var want *Match
		for range 14 {
			text += letters[rng.IntN(len(letters))]
			got, err := p.Select(text, pick)
			if err != nil {
				t.Fatal(err)
			}
			if frozen != "" {
				if got == nil || got.Spans[0] != want.Spans[0] || got.Groups[0] != want.Groups[0] {
					t.Fatalf("%q %q, match %d: settled at %q as %v, and %q gives %v", expr.String(), flags, pick, frozen, want, text, got)
				}
			} else if s.Settled(text) {
				if frozen, want = text, got; got == nil {
					t.Fatalf("%q %q, match %d of %q: settled without a match", expr.String(), flags, pick, text)
				}
				said++
			}
		}
	}
	if patterns < 3000 || said < 1000 {
		t.Errorf("%d patterns, of which %d settled: too few to mean anything", patterns, said)
	}
}
