package debug

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"unicode/utf8"

	"github.com/evalrun/evalrun/core/text"
)

// pyString is a text as Python's json knows it: a lone surrogate, which
// encoding/json would replace, is read and written as \udXXX.
type pyString string

// UnmarshalJSON reads a JSON string.
func (p *pyString) UnmarshalJSON(b []byte) error {
	var s string
	if err := json.Unmarshal(b, &s); err != nil {
		return err
	}
	*p = pyString(s)
	if !bytes.Contains(b, []byte(`\ud`)) && !bytes.Contains(b, []byte(`\uD`)) {
		return nil
	}
	var out []byte
	for i := 1; i < len(b)-1; {
		if b[i] != '\\' {
			out = append(out, b[i])
			i++
			continue
		}
		if b[i+1] != 'u' {
			var one string
			if err := json.Unmarshal([]byte(`"`+string(b[i:i+2])+`"`), &one); err != nil {
				return err
			}
			out = append(out, one...)
			i += 2
			continue
		}
		unit := func(at int) rune {
			if at+6 > len(b) || b[at] != '\\' || b[at+1] != 'u' {
				return -1
			}
			v, err := strconv.ParseUint(string(b[at+2:at+6]), 16, 16)
			if err != nil {
				return -1
			}
			return rune(v)
		}
		r := unit(i)
		i += 6
		if low := unit(i); r >= 0xd800 && r < 0xdc00 && low >= 0xdc00 && low <= 0xdfff {
			r = 0x10000 + (r-0xd800)<<10 + (low - 0xdc00)
			i += 6
		}
		out = text.AppendRune(out, r)
	}
	*p = pyString(out)
	return nil
}

// MarshalJSON writes it.
func (p pyString) MarshalJSON() ([]byte, error) {
	if utf8.ValidString(string(p)) {
		return quoted(string(p))
	}
	out := []byte{'"'}
	for s := string(p); s != ""; {
		r, width := text.DecodeRune(s)
		if r >= 0xd800 && r <= 0xdfff {
			out = fmt.Appendf(out, `\u%04x`, r)
		} else {
			one, err := quoted(string(r))
			if err != nil {
				return nil, err
			}
			out = append(out, one[1:len(one)-1]...)
		}
		s = s[width:]
	}
	return append(out, '"'), nil
}

// quoted writes a text as JSON without escaping HTML's signs.
func quoted(s string) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err := e.Encode(s)
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), err
}
