package tokenizer

import (
	"testing"
	"unicode"

	"github.com/evalrun/evalrun/internal/pieces"
)

// What is a letter is one by its category of Unicode 16, and a character has one category.
func TestNewCharactersAgree(t *testing.T) {
	letters := pieces.NewLetters
	all := append([]*unicode.RangeTable{newMarks, newPunctuation, newSymbols, pieces.NewNumbers}, letters...)
	for r := rune(0); r <= unicode.MaxRune; r++ {
		if ours, whole := unicode.IsLetter(r) || unicode.In(r, letters...), pieces.IsLetter(r); ours != whole {
			t.Errorf("%U: a letter %t by category, %t by internal/pieces", r, ours, whole)
		}
		n := 0
		for _, table := range all {
			if unicode.Is(table, r) {
				n++
			}
		}
		if n > 1 {
			t.Errorf("%U has %d categories", r, n)
		}
		if unicode.Is(newHan, r) && !unicode.Is(pieces.NewOtherLetters, r) {
			t.Errorf("%U is Han and no letter", r)
		}
	}
}
