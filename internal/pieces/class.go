// Package pieces has what the split patterns of byte-level vocabularies share:
// the classes of characters that they distinguish, and the alternatives that
// cl100k and its descendants have in common. The patterns differ in white space,
// which is left to the caller.
package pieces

import (
	"unicode"
	"unicode/utf8"
)

// The reference implementations split by Unicode 16; Go's tables are those of
// Unicode 15. These are the letters (L) and numbers (N) that came between
// (Unicode 15.1 and 16.0, DerivedGeneralCategory.txt), so that a text in a
// newly encoded script has the same ids.

// NewLetters are all letters.
var NewLetters = []*unicode.RangeTable{NewUpper, NewLower, NewModifiers, NewOtherLetters}

// NewUpper are of category Lu, NewLower of Ll, NewModifiers of Lm, NewOtherLetters of Lo.
var NewUpper = &unicode.RangeTable{
	R16: []unicode.Range16{
		{Lo: 0x1c89, Hi: 0x1c89, Stride: 1}, {Lo: 0xa7cb, Hi: 0xa7cc, Stride: 1}, {Lo: 0xa7da, Hi: 0xa7da, Stride: 1},
		{Lo: 0xa7dc, Hi: 0xa7dc, Stride: 1},
	},
	R32: []unicode.Range32{
		{Lo: 0x10d50, Hi: 0x10d65, Stride: 1},
	},
}

var NewLower = &unicode.RangeTable{
	R16: []unicode.Range16{
		{Lo: 0x1c8a, Hi: 0x1c8a, Stride: 1}, {Lo: 0xa7cd, Hi: 0xa7cd, Stride: 1}, {Lo: 0xa7db, Hi: 0xa7db, Stride: 1},
	},
	R32: []unicode.Range32{
		{Lo: 0x10d70, Hi: 0x10d85, Stride: 1},
	},
}

var NewModifiers = &unicode.RangeTable{
	R32: []unicode.Range32{
		{Lo: 0x10d4e, Hi: 0x10d4e, Stride: 1}, {Lo: 0x10d6f, Hi: 0x10d6f, Stride: 1}, {Lo: 0x16d40, Hi: 0x16d42, Stride: 1},
		{Lo: 0x16d6b, Hi: 0x16d6c, Stride: 1},
	},
}

var NewOtherLetters = &unicode.RangeTable{
	R32: []unicode.Range32{
		{Lo: 0x105c0, Hi: 0x105f3, Stride: 1}, {Lo: 0x10d4a, Hi: 0x10d4d, Stride: 1}, {Lo: 0x10d4f, Hi: 0x10d4f, Stride: 1},
		{Lo: 0x10ec2, Hi: 0x10ec4, Stride: 1}, {Lo: 0x11380, Hi: 0x11389, Stride: 1}, {Lo: 0x1138b, Hi: 0x1138b, Stride: 1},
		{Lo: 0x1138e, Hi: 0x1138e, Stride: 1}, {Lo: 0x11390, Hi: 0x113b5, Stride: 1}, {Lo: 0x113b7, Hi: 0x113b7, Stride: 1},
		{Lo: 0x113d1, Hi: 0x113d1, Stride: 1}, {Lo: 0x113d3, Hi: 0x113d3, Stride: 1}, {Lo: 0x11bc0, Hi: 0x11be0, Stride: 1},
		{Lo: 0x13460, Hi: 0x143fa, Stride: 1}, {Lo: 0x16100, Hi: 0x1611d, Stride: 1}, {Lo: 0x16d43, Hi: 0x16d6a, Stride: 1},
		{Lo: 0x18cff, Hi: 0x18cff, Stride: 1}, {Lo: 0x1e5d0, Hi: 0x1e5ed, Stride: 1}, {Lo: 0x1e5f0, Hi: 0x1e5f0, Stride: 1},
		{Lo: 0x2ebf0, Hi: 0x2ee5d, Stride: 1},
	},
}

// NewNumbers are all decimal digits (Nd).
var NewNumbers = &unicode.RangeTable{
	R32: []unicode.Range32{
		{Lo: 0x10d40, Hi: 0x10d49, Stride: 1}, {Lo: 0x116d0, Hi: 0x116e3, Stride: 1}, {Lo: 0x11bf0, Hi: 0x11bf9, Stride: 1},
		{Lo: 0x16130, Hi: 0x16139, Stride: 1}, {Lo: 0x16d70, Hi: 0x16d79, Stride: 1}, {Lo: 0x1ccf0, Hi: 0x1ccf9, Stride: 1},
		{Lo: 0x1e5f1, Hi: 0x1e5fa, Stride: 1},
	},
}

// IsLetter is \p{L}.
func IsLetter(r rune) bool {
	return unicode.IsLetter(r) || r >= 0x1c89 && unicode.In(r, NewLetters...)
}

// IsNumber is \p{N}.
func IsNumber(r rune) bool {
	return unicode.IsNumber(r) || r >= 0x10d40 && unicode.Is(NewNumbers, r)
}

// Class is what the patterns distinguish: \p{L}, \p{N}, \s and the rest. A
// byte that is not UTF-8 belongs to the rest.
type Class uint8

const (
	Other Class = iota
	Letter
	Number
	Space
)

var ascii = func() (t [utf8.RuneSelf]Class) {
	for i := range t {
		t[i] = Of(rune(i))
	}
	return t
}()

// Of is the class of a character.
func Of(r rune) Class {
	switch {
	case IsLetter(r):
		return Letter
	case IsNumber(r):
		return Number
	case unicode.IsSpace(r):
		return Space
	}
	return Other
}

// At is the class and width of the character at s[i]; width 0 at the end.
func At(s string, i int) (Class, int) {
	if i >= len(s) {
		return Other, 0
	}
	if c := s[i]; c < utf8.RuneSelf {
		return ascii[c], 1
	}
	r, n := utf8.DecodeRuneInString(s[i:])
	return Of(r), n
}

// Run is the end of the run of class c that goes on at s[i].
func Run(s string, i int, c Class) int {
	for i < len(s) {
		k, n := At(s, i)
		if k != c {
			break
		}
		i += n
	}
	return i
}
