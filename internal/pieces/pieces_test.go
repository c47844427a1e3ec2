package pieces

import (
	"regexp"
	"testing"
	"unicode"
)

// Characters that came with Unicode 16, as the reference counts them.
func TestNewCharacters(t *testing.T) {
	for _, c := range []struct {
		r    rune
		want Class
	}{{0x16d6a, Letter}, {0x13e25, Letter}, {0x1c89, Letter}, {0x1c8b, Other}, {0x11399, Letter}, {0x2ee5d, Letter}, {0x2ee5e, Other}, {0x16130, Number}, {0x1ccf9, Number}, {0x1ccfa, Other}} {
		if got := Of(c.r); got != c.want {
			t.Errorf("%U: class %d, want %d", c.r, got, c.want)
		}
	}
	for _, table := range append([]*unicode.RangeTable{NewNumbers}, NewLetters...) {
		for _, r := range table.R32 {
			if r.Lo > r.Hi {
				t.Errorf("range %x to %x", r.Lo, r.Hi)
			}
		}
	}
}

// Word against its pattern, for all short texts of the signs that matter.
func TestWord(t *testing.T) {
	signs := []string{"a", "S", "l", "7", "'", " ", "\n", "\t", "!", "é", "ſ", "\u00a0"}
	for _, c := range []struct {
		digits int
		fold   bool
		re     *regexp.Regexp
	}{
		{3, true, regexp.MustCompile(`^(?:(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\x{a0}\p{L}\p{N}]+[\r\n]*)`)},
		{1, false, regexp.MustCompile(`^(?:'(?:[sStTmMdD]|[rR][eE]|[vV][eE]|[lL][lL])|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\x{a0}\p{L}\p{N}]+[\r\n]*)`)},
	} {
		n := 0
		var try func(s string, depth int)
		try = func(s string, depth int) {
			if s != "" {
				n++
				if got, want := Word(s, c.digits, c.fold), len(c.re.FindString(s)); got != want {
					t.Fatalf("%q, digits %d, fold %v: %d bytes, want %d", s, c.digits, c.fold, got, want)
				}
			}
			for _, x := range signs {
				if depth > 0 {
					try(s+x, depth-1)
				}
			}
		}
		try("", 4)
		if n < 20000 {
			t.Errorf("%d texts", n)
		}
	}
	if n := Run("\xff\xfea", 0, Other); n != 2 {
		t.Errorf("bytes that are not UTF-8: %d", n)
	}
}
