// Package text holds the text rules that scores depend on: what Python's str,
// float and int do to a string, how values print as str() and repr() print
// them, and ROUGE.
//
// The published numbers of almost every language-model evaluation were made by
// Python programs, so "strip", "lower" or "is this a number" mean here what
// they mean there (CPython 3.11), not what Go's standard library means. The
// places where the two differ are named at each function.
//
// Unicode properties are those of Go's tables, which are newer than CPython
// 3.11's: of the characters that Unicode 15 added, some print unescaped here and
// escaped there.
//
// All functions are pure and safe for concurrent use unless a type says
// otherwise. A Go string that is not valid UTF-8 is accepted everywhere; its
// bad bytes are neither letters, digits nor spaces. A lone surrogate, which a
// Python str may hold, is its three bytes as if it were a character (WTF-8); see
// DecodeRune.
package text

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// IsSpace reports whether Python's str.isspace holds for r: bidirectional type
// WS, B or S, or category Zs. Unlike unicode.IsSpace it includes the four
// information separators U+001C to U+001F.
func IsSpace(r rune) bool {
	switch {
	case r <= 0x20:
		return r == ' ' || (r >= 0x09 && r <= 0x0d) || (r >= 0x1c && r <= 0x1f)
	case r < 0x1680:
		return r == 0x85 || r == 0xa0
	case r >= 0x2000 && r <= 0x200a:
		return true
	}
	switch r {
	case 0x1680, 0x2028, 0x2029, 0x202f, 0x205f, 0x3000:
		return true
	}
	return false
}

// IsWord reports whether r is in Python's \w: str.isalnum or the underscore.
// Combining marks are not in it (in .NET and PCRE they are).
func IsWord(r rune) bool {
	return r == '_' || unicode.In(r, unicode.L, unicode.N)
}

// Strip removes leading and trailing white space as str.strip() does.
func Strip(s string) string { return strings.TrimFunc(s, IsSpace) }

// LStrip removes leading white space as str.lstrip() does.
func LStrip(s string) string { return strings.TrimLeftFunc(s, IsSpace) }

// RStrip removes trailing white space as str.rstrip() does.
func RStrip(s string) string { return strings.TrimRightFunc(s, IsSpace) }

// Split cuts s at runs of white space as str.split() does; the result holds no
// empty strings.
func Split(s string) []string { return strings.FieldsFunc(s, IsSpace) }

// SplitLines cuts s at Python's line ends as str.splitlines() does: \n, \r,
// \r\n, \v, \f, U+001C to U+001E, U+0085, U+2028 and U+2029. A line end at the
// very end opens no further line.
func SplitLines(s string) []string {
	var lines []string
	for len(s) > 0 {
		at, width := lineEnd(s)
		if at < 0 {
			return append(lines, s)
		}
		lines = append(lines, s[:at])
		s = s[at+width:]
	}
	return lines
}

// FirstLine returns s up to its first line end (see SplitLines).
func FirstLine(s string) string {
	if at, _ := lineEnd(s); at >= 0 {
		return s[:at]
	}
	return s
}

// lineEnd finds the first line end of s: its byte offset and its width in
// bytes, or -1 and 0.
func lineEnd(s string) (at, width int) {
	for i, r := range s {
		switch r {
		case '\r':
			if i+1 < len(s) && s[i+1] == '\n' {
				return i, 2
			}
			return i, 1
		case '\n', '\v', '\f', 0x1c, 0x1d, 0x1e:
			return i, 1
		case 0x85, 0x2028, 0x2029:
			return i, utf8.RuneLen(r)
		}
	}
	return -1, 0
}

// Lower maps s to lower case as str.lower() does. It differs from
// strings.ToLower in the two places where Python uses Unicode's full mapping:
// U+0130 (capital I with dot) becomes "i" followed by U+0307, and a capital
// sigma at the end of a word becomes the final form.
func Lower(s string) string {
	ascii, upper := true, false
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c >= utf8.RuneSelf {
			ascii = false
			break
		}
		upper = upper || (c >= 'A' && c <= 'Z')
	}
	if ascii {
		if !upper {
			return s
		}
		return strings.ToLower(s)
	}
	var b strings.Builder
	b.Grow(len(s) + 2)
	for i := 0; i < len(s); {
		r, width := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && width == 1:
			b.WriteByte(s[i]) // a bad byte stays what it is
		case r == 0x130:
			b.WriteString("i\u0307")
		case r == 0x3a3:
			if finalSigma(s, i, i+width) {
				b.WriteRune(0x3c2)
			} else {
				b.WriteRune(0x3c3)
			}
		default:
			b.WriteRune(unicode.ToLower(r))
		}
		i += width
	}
	return b.String()
}

// finalSigma tells whether the capital sigma at s[from:to] ends a word: the
// nearest rune before it that is not case-ignorable is cased, and the nearest
// after it is not (Unicode standard, table 3-17, Final_Sigma).
func finalSigma(s string, from, to int) bool {
	before := false
	for i := from; i > 0; {
		r, width := utf8.DecodeLastRuneInString(s[:i])
		i -= width
		if !caseIgnorable(r) {
			before = cased(r)
			break
		}
	}
	if !before {
		return false
	}
	for i := to; i < len(s); {
		r, width := utf8.DecodeRuneInString(s[i:])
		i += width
		if !caseIgnorable(r) {
			return !cased(r)
		}
	}
	return true
}

func cased(r rune) bool {
	return unicode.In(r, unicode.Lu, unicode.Ll, unicode.Lt, unicode.Other_Lowercase, unicode.Other_Uppercase)
}

// caseIgnorable is Unicode's derived property Case_Ignorable: marks, format
// characters, modifier letters and symbols, and the word-break classes
// MidLetter, MidNumLet and Single_Quote.
func caseIgnorable(r rune) bool {
	switch r {
	case '\'', '.', ':', 0xb7, 0x387, 0x55f, 0x5f4, 0x2018, 0x2019, 0x2024, 0x2027,
		0xfe13, 0xfe52, 0xfe55, 0xff07, 0xff0e, 0xff1a:
		return true
	}
	return unicode.In(r, unicode.Mn, unicode.Me, unicode.Cf, unicode.Lm, unicode.Sk)
}
