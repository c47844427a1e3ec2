package cl100k

import "github.com/evalrun/evalrun/internal/pieces"

// split gives the length of the first piece of a text that is not empty. Merges
// do not cross pieces. The alternatives in order, in tiktoken's notation:
//
//	'(?i:[sdmt]|ll|ve|re)
//	[^\r\n\p{L}\p{N}]?+\p{L}++
//	\p{N}{1,3}+
//	 ?[^\s\p{L}\p{N}]++[\r\n]*+
//	\s++$|\s*[\r\n]|\s+(?!\S)|\s
func split(s string) int {
	if n := pieces.Word(s, 3, true); n > 0 {
		return n
	}
	// Blanks: to the end of the text, or through the last newline, or all but
	// the last one, which belongs to the word after it.
	end, last, newline := 0, 0, 0
	for {
		c, m := pieces.At(s, end)
		if m == 0 {
			return end
		}
		if c != pieces.Space {
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
