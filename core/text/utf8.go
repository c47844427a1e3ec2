package text

import (
	"bytes"
	"fmt"
	"unicode/utf8"
)

// Line makes line n of a file, from 1, ready to be read as JSON: without the byte
// order mark that some editors begin a file with. Bytes that are no UTF-8 are an
// error: JSON's reader would put other signs in their place.
func Line(line []byte, n int) ([]byte, error) {
	if n == 1 {
		line = bytes.TrimPrefix(line, []byte("\ufeff"))
	}
	if utf8.Valid(line) {
		return line, nil
	}
	for i := 0; ; {
		r, size := utf8.DecodeRune(line[i:])
		if r == utf8.RuneError && size <= 1 {
			return nil, fmt.Errorf("byte %d of the line (%#02x) is not valid UTF-8: store the file as UTF-8", i+1, line[i])
		}
		i += size
	}
}
