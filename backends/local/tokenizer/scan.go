package tokenizer

import (
	"unicode/utf8"

	"github.com/evalrun/evalrun/internal/pieces"
)

// Hand-written scanners for the split patterns that nearly all byte-level
// vocabularies use. Each does exactly what its pattern does, which the tests
// check against the pattern itself on random text.

// The patterns as they are published; several spellings mean the same.
const (
	patternGPT2   = `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`
	patternLlama3 = `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`
	patternQwen2  = `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`
)

// Patterns that have no scanner: those of GPT-4o's and Mistral Nemo's families.
const (
	patternO200K  = `[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+`
	patternTekken = `[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+`
)

// scanner gives the length of the first piece of s, which is not empty.
type scanner func(s string) int

var scanners = map[string]scanner{
	patternGPT2:   scanGPT2,
	patternLlama3: scanLlama3,
	patternQwen2:  scanQwen2,
	`(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`: scanLlama3ASCII,
	`(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`:      scanQwen2ASCII,
}

func scanLlama3(s string) int      { return scanCL100K(s, 3, true) }
func scanQwen2(s string) int       { return scanCL100K(s, 1, true) }
func scanLlama3ASCII(s string) int { return scanCL100K(s, 3, false) }
func scanQwen2ASCII(s string) int  { return scanCL100K(s, 1, false) }

// scanGPT2 is patternGPT2.
func scanGPT2(s string) int {
	if s[0] == '\'' {
		if n := contraction(s); n > 0 {
			return n
		}
	}
	at := 0
	if s[0] == ' ' {
		at = 1
	}
	c, n := pieces.At(s, at)
	if n > 0 && c != pieces.Space {
		return pieces.Run(s, at+n, c)
	}
	return scanSpace(s)
}

// contraction is the length of 's 't 're 've 'm 'll 'd at the start of s, or 0.
func contraction(s string) int {
	if len(s) >= 2 {
		switch s[1] {
		case 's', 't', 'm', 'd':
			return 2
		}
	}
	if len(s) >= 3 {
		switch s[1:3] {
		case "re", "ve", "ll":
			return 3
		}
	}
	return 0
}

// scanCL100K is patternLlama3 with digits of at most 3, patternQwen2 with 1.
func scanCL100K(s string, digits int, unicodeFold bool) int {
	if n := pieces.Word(s, digits, unicodeFold); n > 0 {
		return n
	}
	end := pieces.Run(s, 0, pieces.Space)
	for i := end; i > 0; i-- {
		if s[i-1] == '\r' || s[i-1] == '\n' {
			return i
		}
	}
	return scanSpace(s)
}

// scanSpace is \s+(?!\S)|\s+: a run of white space leaves its last character
// to the word that follows it.
func scanSpace(s string) int {
	end := pieces.Run(s, 0, pieces.Space)
	if end == len(s) {
		return end
	}
	_, last := utf8.DecodeLastRuneInString(s[:end])
	if last < end {
		return end - last
	}
	return end
}
