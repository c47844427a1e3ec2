package jinja

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/evalrun/evalrun/core/text"
)

// upper is str.upper(): Unicode's full mapping, of which Go has the simple part.
func upper(s string) string {
	return mapRunes(s, func(r rune) string {
		if full, ok := fullUpper[r]; ok {
			return full
		}
		return string(unicode.ToUpper(r))
	})
}

// fullUpper are the characters whose upper case is more than one character and
// that occur in text: sharp s, ligatures, and n preceded by an apostrophe.
var fullUpper = map[rune]string{
	'ß': "SS", 'ŉ': "ʼN", 'ǰ': "J̌", 'ﬀ': "FF", 'ﬁ': "FI", 'ﬂ': "FL", 'ﬃ': "FFI", 'ﬄ': "FFL", 'ﬅ': "ST", 'ﬆ': "ST",
	'ΐ': "Ϊ́", 'ΰ': "Ϋ́", 'և': "ԵՒ", 'ẖ': "H̱", 'ẗ': "T̈", 'ẘ': "W̊", 'ẙ': "Y̊", 'ẚ': "Aʾ",
}

// title is the title case of one character.
func titleRune(r rune) string {
	switch r {
	case 'ß':
		return "Ss"
	case 'ﬀ', 'ﬁ', 'ﬂ', 'ﬃ', 'ﬄ', 'ﬅ', 'ﬆ':
		full := []rune(fullUpper[r])
		return string(full[0]) + strings.ToLower(string(full[1:]))
	}
	if full, ok := fullUpper[r]; ok {
		return full
	}
	return string(unicode.ToTitle(r))
}

// mapRunes maps every character; bytes that are no UTF-8 stay.
func mapRunes(s string, f func(rune) string) string {
	var b strings.Builder
	b.Grow(len(s))
	for i := 0; i < len(s); {
		c, width := utf8.DecodeRuneInString(s[i:])
		if c == utf8.RuneError && width == 1 {
			b.WriteByte(s[i])
		} else {
			b.WriteString(f(c))
		}
		i += width
	}
	return b.String()
}

func cased(r rune) bool {
	return unicode.In(r, unicode.Lu, unicode.Ll, unicode.Lt, unicode.Other_Lowercase, unicode.Other_Uppercase)
}

func isUpper(r rune) bool { return unicode.In(r, unicode.Lu, unicode.Other_Uppercase) }
func isLower(r rune) bool { return unicode.In(r, unicode.Ll, unicode.Other_Lowercase) }

// titleCase is str.title(): a cased character after an uncased one is upper.
func titleCase(s string) string {
	inWord := false
	return mapRunes(s, func(r rune) string {
		var out string
		if inWord {
			out = text.Lower(string(r))
		} else {
			out = titleRune(r)
		}
		inWord = cased(r)
		return out
	})
}

func capitalize(s string) string {
	if s == "" {
		return s
	}
	first, width := utf8.DecodeRuneInString(s)
	if first == utf8.RuneError {
		return s[:width] + text.Lower(s[width:])
	}
	return titleRune(first) + text.Lower(s[width:])
}

func swapCase(s string) string {
	return mapRunes(s, func(r rune) string {
		switch {
		case isUpper(r):
			return text.Lower(string(r))
		case isLower(r):
			return upper(string(r))
		}
		return string(r)
	})
}

// every tells whether s is not empty and f holds for every character.
func every(s string, f func(rune) bool) bool {
	for _, r := range s {
		if !f(r) {
			return false
		}
	}
	return s != ""
}

// oneCase is str.isupper and str.islower.
func oneCase(s string, want func(rune) bool) bool {
	found := false
	for _, r := range s {
		if cased(r) {
			if !want(r) {
				return false
			}
			found = true
		}
	}
	return found
}

func isTitle(s string) bool {
	found, inWord := false, false
	for _, r := range s {
		switch {
		case isUpper(r) || unicode.Is(unicode.Lt, r):
			if inWord {
				return false
			}
			inWord, found = true, true
		case isLower(r):
			if !inWord {
				return false
			}
			found = true
		default:
			inWord = false
		}
	}
	return found
}

func isDigit(r rune) bool {
	return unicode.Is(unicode.Nd, r) || strings.ContainsRune("²³¹⁰⁴⁵⁶⁷⁸⁹₀₁₂₃₄₅₆₇₈₉", r) || r >= 0x2460 && r <= 0x2468 || r >= 0x2474 && r <= 0x247c || r >= 0x2488 && r <= 0x2490
}

func isIdentifier(s string) bool {
	for i, r := range s {
		switch {
		case r == '_' || unicode.IsLetter(r) || unicode.Is(unicode.Nl, r):
		case i > 0 && unicode.In(r, unicode.Nd, unicode.Mn, unicode.Mc, unicode.Pc):
		default:
			return false
		}
	}
	return s != ""
}

// pad fills s to width characters.
func (r *state) pad(s string, width int, fill string, left, right bool) string {
	n := width - utf8.RuneCountInString(s)
	if n <= 0 {
		return s
	}
	r.build(n*len(fill) + len(s))
	before := 0
	switch {
	case left && right: // centred as CPython does
		before = n/2 + n&width&1
	case left:
		before = n
	}
	return strings.Repeat(fill, before) + s + strings.Repeat(fill, n-before)
}

// strip removes characters of a set, or white space, from the ends.
func strip(s string, chars any, left, right bool) string {
	in := text.IsSpace
	if set, ok := asStr(or(chars, nil)); ok {
		in = func(r rune) bool { return strings.ContainsRune(set, r) }
	} else if v := or(chars, nil); v != nil {
		raise("TypeError", "strip arg must be None or str")
	}
	if left {
		s = strings.TrimLeftFunc(s, in)
	}
	if right {
		s = strings.TrimRightFunc(s, in)
	}
	return s
}

// split is str.split and, from the right, str.rsplit.
func split(s string, sep any, limit int, right bool) []string {
	if limit < 0 {
		limit = len(s) + 1
	}
	var parts []string
	if sep == nil {
		if !right {
			s = text.LStrip(s)
			for s != "" && limit > 0 {
				at := strings.IndexFunc(s, text.IsSpace)
				if at < 0 {
					break
				}
				parts = append(parts, s[:at])
				s = text.LStrip(s[at:])
				limit--
			}
			if s != "" {
				parts = append(parts, s)
			}
			return parts
		}
		s = text.RStrip(s)
		for s != "" && limit > 0 {
			at := strings.LastIndexFunc(s, text.IsSpace)
			if at < 0 {
				break
			}
			_, width := utf8.DecodeRuneInString(s[at:])
			parts = append(parts, s[at+width:])
			s = text.RStrip(s[:at])
			limit--
		}
		if s != "" {
			parts = append(parts, s)
		}
		return turned(parts)
	}
	by, ok := asStr(sep)
	if !ok {
		raise("TypeError", "must be str or None, not %s", typeName(sep))
	}
	if by == "" {
		raise("ValueError", "empty separator")
	}
	if !right {
		return strings.SplitN(s, by, limit+1)
	}
	for limit > 0 {
		at := strings.LastIndex(s, by)
		if at < 0 {
			break
		}
		parts = append(parts, s[at+len(by):])
		s = s[:at]
		limit--
	}
	return turned(append(parts, s))
}

func turned(parts []string) []string {
	for i, j := 0, len(parts)-1; i < j; i, j = i+1, j-1 {
		parts[i], parts[j] = parts[j], parts[i]
	}
	return parts
}

// splitLines is str.splitlines(keepends).
func splitLines(s string, keep bool) []string {
	lines := text.SplitLines(s)
	if !keep {
		return lines
	}
	out := make([]string, len(lines))
	at := 0
	for i, line := range lines {
		end := at + len(line)
		if end < len(s) {
			_, width := utf8.DecodeRuneInString(s[end:])
			if strings.HasPrefix(s[end:], "\r\n") {
				width = 2
			}
			end += width
		}
		out[i] = s[at:end]
		at = end
	}
	return out
}
