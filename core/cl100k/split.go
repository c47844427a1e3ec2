package cl100k

import (
	"unicode"
	"unicode/utf8"
)

// class is what the split distinguishes: \p{L}, \p{N}, \s and the rest.
type class uint8

const (
	other class = iota
	letter
	number
	space
)

func classOf(r rune) class {
	switch {
	case unicode.IsLetter(r):
		return letter
	case unicode.IsNumber(r):
		return number
	case unicode.IsSpace(r):
		return space
	}
	return other
}

var asciiClass = func() (t [utf8.RuneSelf]class) {
	for i := range t {
		t[i] = classOf(rune(i))
	}
	return t
}()

// classAt gives the class and width of the character at i; past the end the
// width is 0.
func classAt(s string, i int) (class, int) {
	if i >= len(s) {
		return other, 0
	}
	if c := s[i]; c < utf8.RuneSelf {
		return asciiClass[c], 1
	}
	r, n := utf8.DecodeRuneInString(s[i:])
	return classOf(r), n
}

// run is where the characters of class c that begin at i end.
func run(s string, i int, c class) int {
	for {
		k, n := classAt(s, i)
		if n == 0 || k != c {
			return i
		}
		i += n
	}
}

// split gives the length of the first piece of a text that is not empty. Merges
// do not cross pieces. The alternatives in order, in tiktoken's notation:
//
//	'(?i:[sdmt]|ll|ve|re)
//	[^\r\n\p{L}\p{N}]?+\p{L}++
//	\p{N}{1,3}+
//	 ?[^\s\p{L}\p{N}]++[\r\n]*+
//	\s++$|\s*[\r\n]|\s+(?!\S)|\s
func split(s string) int {
	if s[0] == '\'' {
		if n := contraction(s[1:]); n > 0 {
			return 1 + n
		}
	}
	first, n := classAt(s, 0)
	switch first {
	case letter:
		return run(s, n, letter)
	case number:
		for range 2 {
			c, m := classAt(s, n)
			if m == 0 || c != number {
				break
			}
			n += m
		}
		return n
	}
	next, m := classAt(s, n)
	if m > 0 && next == letter && s[0] != '\r' && s[0] != '\n' {
		return run(s, n, letter)
	}
	if first == other || s[0] == ' ' && m > 0 && next == other {
		end := run(s, n, other)
		for end < len(s) && (s[end] == '\r' || s[end] == '\n') {
			end++
		}
		return end
	}
	// Blanks: to the end of the text, or through the last newline, or all but
	// the last one, which belongs to the word after it.
	end, last, newline := 0, 0, 0
	for {
		c, m := classAt(s, end)
		if m == 0 {
			return end
		}
		if c != space {
			break
		}
		last = end
		end += m
		if s[last] == '\r' || s[last] == '\n' {
			newline = end
		}
	}
	if newline > 0 {
		return newline
	}
	if last > 0 {
		return last
	}
	return end
}

// contraction is the length of an English ending after an apostrophe, 0 for
// none. U+017F, the long s, is an s where case does not matter.
func contraction(s string) int {
	if len(s) == 0 {
		return 0
	}
	lower := func(i int) byte { return s[i] | 0x20 }
	switch lower(0) {
	case 's', 'd', 'm', 't':
		return 1
	case 'l', 'v', 'r':
		if len(s) > 1 && (lower(0) == 'l' && lower(1) == 'l' || lower(0) != 'l' && lower(1) == 'e') {
			return 2
		}
	}
	if len(s) > 1 && s[:2] == "\u017F" {
		return 2
	}
	return 0
}
