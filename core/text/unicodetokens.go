package text

import (
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// UnicodeTokens cuts s into the words of all scripts: lower case, canonical
// composition (NFC), then the maximal runs of letters, marks and numbers. Of
// the scripts that put no blanks between words (Han, Hiragana, Katakana, Thai,
// Lao, Khmer, Myanmar, Tibetan) each letter with its marks is a token.
func UnicodeTokens(s string) []string {
	t := tokenTable{unicode: true}
	return t.tokens(s)
}

// unspaced are the scripts whose letters are tokens of their own.
var unspaced = []*unicode.RangeTable{unicode.Han, unicode.Hiragana, unicode.Katakana, unicode.Thai, unicode.Lao,
	unicode.Khmer, unicode.Myanmar, unicode.Tibetan}

func isTokenRune(r rune) bool { return unicode.In(r, unicode.L, unicode.N) }

// scanUnicode is scan for the tokens of all scripts.
func (t *tokenTable) scanUnicode(s string, emit func(start, end int, hash uint32)) {
	start, ascii, single := len(t.bytes), true, false
	flush := func() {
		if len(t.bytes) > start {
			if t.stem && ascii && len(t.bytes)-start > 3 {
				t.bytes = append(t.bytes[:start], porterStem(t.bytes[start:])...)
			}
			hash := fnvOffset
			for _, c := range t.bytes[start:] {
				hash = (hash ^ uint32(c)) * fnvPrime
			}
			emit(start, len(t.bytes), hash)
		}
		start, ascii, single = len(t.bytes), true, false
	}
	for _, r := range norm.NFC.String(Lower(s)) {
		mark := unicode.Is(unicode.M, r)
		switch {
		case mark && len(t.bytes) > start:
		case !isTokenRune(r):
			flush()
			continue
		case r >= utf8.RuneSelf && unicode.In(r, unspaced...):
			flush()
			single = true
		case single: // a letter of another script behind one of these
			flush()
		}
		t.bytes = utf8.AppendRune(t.bytes, r)
		ascii = ascii && r < utf8.RuneSelf
	}
	flush()
}
