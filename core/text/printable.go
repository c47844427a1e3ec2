package text

import (
	"strings"
	"unicode"
)

// Controls tells whether a sign does something to its surroundings instead of
// being shown: control characters, marks and embeddings that turn the direction
// of text, and the separators of lines and paragraphs.
func Controls(r rune) bool {
	return unicode.IsControl(r) || r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069 || r == 0x2028 || r == 0x2029 || r == 0x200e || r == 0x200f
}

// Printable makes other people's text fit for a line of a terminal or a page:
// what controls, and what is no UTF-8, becomes U+FFFD.
func Printable(s string) string {
	return strings.Map(func(r rune) rune {
		if Controls(r) {
			return '\uFFFD'
		}
		return r
	}, strings.ToValidUTF8(s, "\uFFFD"))
}
