package text

import (
	"unicode/utf8"
)

// DecodeRune is utf8.DecodeRuneInString that also knows the three bytes of a
// lone surrogate (U+D800 to U+DFFF) for one character, as Python does.
func DecodeRune(s string) (r rune, width int) {
	r, width = utf8.DecodeRuneInString(s)
	if r == utf8.RuneError && width == 1 && len(s) >= 3 && s[0] == 0xed && s[1] >= 0xa0 && s[1] <= 0xbf && s[2] >= 0x80 && s[2] <= 0xbf {
		return 0xd000 | rune(s[1]&0x3f)<<6 | rune(s[2]&0x3f), 3
	}
	return r, width
}

// AppendRune is utf8.AppendRune that also writes a lone surrogate.
func AppendRune(b []byte, r rune) []byte {
	if r >= 0xd800 && r <= 0xdfff {
		return append(b, 0xed, 0x80|byte(r>>6)&0x3f, 0x80|byte(r)&0x3f)
	}
	return utf8.AppendRune(b, r)
}

// Runes cuts s into characters by DecodeRune. offsets holds the byte at which
// each begins, and the end; it is nil where each is one byte.
func Runes(s string) (runes []rune, offsets []int) {
	if runes = []rune(s); len(runes) == len(s) && utf8.ValidString(s) {
		return runes, nil
	}
	runes, offsets = runes[:0], make([]int, 0, len(runes)+1)
	for i := 0; i < len(s); {
		r, width := DecodeRune(s[i:])
		runes, offsets = append(runes, r), append(offsets, i)
		i += width
	}
	return runes, append(offsets, len(s))
}
