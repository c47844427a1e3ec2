package text

import (
	"slices"
	"testing"
	"unicode/utf8"
)

func TestSurrogates(t *testing.T) {
	const lone = "\xed\xa0\x80"
	runes, offsets := Runes("a" + lone + "é\xff\xed\x9f\xbf")
	if !slices.Equal(runes, []rune{'a', 0xd800, 'é', utf8.RuneError, 0xd7ff}) || !slices.Equal(offsets, []int{0, 1, 4, 6, 7, 10}) {
		t.Errorf("%x %v", runes, offsets)
	}
	for r := rune(0xd7ff); r <= 0xe000; r++ {
		if got, width := DecodeRune(string(AppendRune(nil, r)) + "x"); got != r || width != 3 {
			t.Fatalf("%x came back as %x, %d", r, got, width)
		}
	}
	if got := Repr("'" + lone + "\xed"); got != `"'\ud800\udced"` {
		t.Error(got)
	}
	if Lower("A"+lone+"İ") != "a"+lone+"i\u0307" || Strip(" "+lone+" ") != lone {
		t.Error("a lone surrogate does not stay what it is")
	}
}

func FuzzRunes(f *testing.F) {
	f.Add("a\xed\xa0\x80é\xff")
	f.Fuzz(func(t *testing.T, s string) {
		runes, offsets := Runes(s)
		if offsets == nil {
			if len(runes) != len(s) {
				t.Fatalf("%d characters of %d bytes without offsets", len(runes), len(s))
			}
			return
		}
		if len(offsets) != len(runes)+1 || offsets[len(runes)] != len(s) || utf8.ValidString(s) && string(runes) != s {
			t.Fatalf("%x %v", runes, offsets)
		}
	})
}
