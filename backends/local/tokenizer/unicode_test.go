package tokenizer

import (
	"testing"
	"unicode"

	"github.com/evalrun/evalrun/internal/pieces"
)

// The letters that came with Unicode 16 stand by category here and as a whole in
// internal/pieces: both must mean the same ones, and a character has one category.
func TestNewCharactersAgree(t *testing.T) {
	letters := []*unicode.RangeTable{newUpper, newLower, newModifiers, newOtherLetters}
	all := append([]*unicode.RangeTable{newMarks, newPunctuation, newSymbols, pieces.NewNumbers}, letters...)
	for r := rune(0); r <= unicode.MaxRune; r++ {
		if ours, whole := unicode.IsLetter(r) || unicode.In(r, letters...), pieces.IsLetter(r); ours != whole {
			t.Errorf("%U: a letter %t by category, %t in internal/pieces", r, ours, whole)
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
		if unicode.Is(newHan, r) && !unicode.Is(newOtherLetters, r) {
			t.Errorf("%U is Han and no letter", r)
		}
	}
}
