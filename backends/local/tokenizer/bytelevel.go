package tokenizer

import "unicode/utf8"

// GPT-2's disguise of bytes: each of the 256 is written as one visible
// character, so that a vocabulary is a list of words. Printable Latin-1
// characters stand for themselves, the others are moved to U+0100 and on
// (openai/gpt-2, src/encoder.py, bytes_to_unicode).
var byteRune, runeByte = disguise()

func disguise() (runes [256]rune, bytes map[rune]byte) {
	bytes = make(map[rune]byte, 256)
	next := rune(256)
	for b := range 256 {
		r := rune(b)
		if printable := b >= '!' && b <= '~' || b >= 0xa1 && b <= 0xac || b >= 0xae; !printable {
			r = next
			next++
		}
		runes[b] = r
		bytes[r] = byte(b)
	}
	return runes, bytes
}

// undisguise gives the bytes that a word stands for; ok is false where it has
// a character that stands for none.
func undisguise(word string) (string, bool) {
	plain := true
	for i := 0; i < len(word); i++ {
		if word[i] < '!' || word[i] > '~' {
			plain = false
			break
		}
	}
	if plain {
		return word, true
	}
	b := make([]byte, 0, len(word))
	for i := 0; i < len(word); {
		r, n := utf8.DecodeRuneInString(word[i:])
		c, ok := runeByte[r]
		if !ok || r == utf8.RuneError {
			return "", false
		}
		b = append(b, c)
		i += n
	}
	return string(b), true
}
