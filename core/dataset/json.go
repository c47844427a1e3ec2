package dataset

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// maxDepth bounds the nesting of one row, so that hostile input cannot exhaust
// the stack.
const maxDepth = 512

// syntaxError is a mistake in a JSON text; pos counts bytes from 0.
type syntaxError struct {
	pos int
	msg string
}

func (e *syntaxError) Error() string { return fmt.Sprintf("%s (byte %d)", e.msg, e.pos+1) }

// parseJSON reads one JSON value that fills src. It differs from encoding/json in
// keeping integers apart from other numbers: a number without fraction and
// exponent becomes an int64, or a json.Number where 64 bits do not hold it; every
// other number becomes a float64. src must be valid UTF-8. A name that stands
// twice in an object is an error: one of the two values would be lost in silence.
func parseJSON(src []byte) (any, error) {
	p := parser{src: src}
	p.blank()
	v, err := p.value(0)
	if err != nil {
		return nil, err
	}
	p.blank()
	if p.pos < len(src) {
		return nil, p.fail("something follows the JSON value")
	}
	return v, nil
}

type parser struct {
	src []byte
	pos int
}

func (p *parser) fail(format string, args ...any) error {
	return &syntaxError{p.pos, fmt.Sprintf(format, args...)}
}

func (p *parser) blank() {
	for p.pos < len(p.src) {
		switch p.src[p.pos] {
		case ' ', '\t', '\r', '\n':
			p.pos++
		default:
			return
		}
	}
}

func (p *parser) value(depth int) (any, error) {
	if p.pos >= len(p.src) {
		return nil, p.fail("the JSON text ends too early")
	}
	if depth > maxDepth {
		return nil, p.fail("nested deeper than %d", maxDepth)
	}
	switch c := p.src[p.pos]; {
	case c == '{':
		return p.object(depth)
	case c == '[':
		return p.array(depth)
	case c == '"':
		return p.text()
	case c == '-' || c >= '0' && c <= '9':
		return p.number()
	case p.word("true"):
		return true, nil
	case p.word("false"):
		return false, nil
	case p.word("null"):
		return nil, nil
	case p.word("NaN"), p.word("Infinity"):
		return nil, p.fail("NaN and Infinity are not JSON")
	default:
		return nil, p.fail("a JSON value cannot begin with %q", rune(c))
	}
}

func (p *parser) word(w string) bool {
	if len(p.src)-p.pos < len(w) || string(p.src[p.pos:p.pos+len(w)]) != w {
		return false
	}
	p.pos += len(w)
	return true
}

func (p *parser) object(depth int) (any, error) {
	p.pos++
	m := make(map[string]any)
	p.blank()
	if p.pos < len(p.src) && p.src[p.pos] == '}' {
		p.pos++
		return m, nil
	}
	for {
		p.blank()
		if p.pos >= len(p.src) || p.src[p.pos] != '"' {
			return nil, p.fail("a name in double quotes is wanted here")
		}
		start := p.pos
		key, err := p.text()
		if err != nil {
			return nil, err
		}
		if _, twice := m[key]; twice {
			p.pos = start
			return nil, p.fail("the name %q stands twice in one object", key)
		}
		p.blank()
		if p.pos >= len(p.src) || p.src[p.pos] != ':' {
			return nil, p.fail("a colon is wanted after the name %q", key)
		}
		p.pos++
		p.blank()
		if m[key], err = p.value(depth + 1); err != nil {
			return nil, err
		}
		p.blank()
		if done, err := p.next('}'); err != nil {
			return nil, err
		} else if done {
			return m, nil
		}
	}
}

func (p *parser) array(depth int) (any, error) {
	p.pos++
	list := []any{}
	p.blank()
	if p.pos < len(p.src) && p.src[p.pos] == ']' {
		p.pos++
		return list, nil
	}
	for {
		p.blank()
		v, err := p.value(depth + 1)
		if err != nil {
			return nil, err
		}
		list = append(list, v)
		p.blank()
		if done, err := p.next(']'); err != nil {
			return nil, err
		} else if done {
			return list, nil
		}
	}
}

// next reads the comma between members, or the closing bracket.
func (p *parser) next(closing byte) (done bool, err error) {
	if p.pos < len(p.src) {
		switch p.src[p.pos] {
		case ',':
			p.pos++
			return false, nil
		case closing:
			p.pos++
			return true, nil
		}
	}
	return false, p.fail("a comma or %q is wanted here", rune(closing))
}

func (p *parser) number() (any, error) {
	start, whole := p.pos, true
	digits := func() bool {
		from := p.pos
		for p.pos < len(p.src) && p.src[p.pos] >= '0' && p.src[p.pos] <= '9' {
			p.pos++
		}
		return p.pos > from
	}
	if p.src[p.pos] == '-' {
		p.pos++
		if p.word("Infinity") {
			return nil, p.fail("NaN and Infinity are not JSON")
		}
	}
	first := p.pos
	if !digits() {
		return nil, p.fail("a digit is wanted here")
	}
	if p.src[first] == '0' && p.pos > first+1 {
		return nil, p.fail("a number has a leading zero")
	}
	if p.pos < len(p.src) && p.src[p.pos] == '.' {
		p.pos++
		whole = false
		if !digits() {
			return nil, p.fail("a digit is wanted after the decimal point")
		}
	}
	if p.pos < len(p.src) && (p.src[p.pos] == 'e' || p.src[p.pos] == 'E') {
		p.pos++
		whole = false
		if p.pos < len(p.src) && (p.src[p.pos] == '+' || p.src[p.pos] == '-') {
			p.pos++
		}
		if !digits() {
			return nil, p.fail("a digit is wanted in the exponent")
		}
	}
	text := string(p.src[start:p.pos])
	if whole {
		if n, err := strconv.ParseInt(text, 10, 64); err == nil {
			return n, nil
		}
		return json.Number(text), nil
	}
	f, err := strconv.ParseFloat(text, 64)
	if err != nil || math.IsInf(f, 0) {
		return nil, p.fail("the number %s is too large", text)
	}
	return f, nil
}

func (p *parser) text() (string, error) {
	open := p.pos
	p.pos++
	start := p.pos
	for p.pos < len(p.src) {
		switch c := p.src[p.pos]; {
		case c == '"':
			s := string(p.src[start:p.pos])
			p.pos++
			return s, nil
		case c == '\\':
			return p.escaped(open, start)
		case c < 0x20:
			return "", p.fail("control character %#02x inside a text", c)
		default:
			p.pos++
		}
	}
	return "", &syntaxError{open, "a text is not closed"}
}

// escaped goes on where text met the first backslash.
func (p *parser) escaped(open, start int) (string, error) {
	out := append([]byte(nil), p.src[start:p.pos]...)
	for p.pos < len(p.src) {
		c := p.src[p.pos]
		switch {
		case c == '"':
			p.pos++
			return string(out), nil
		case c < 0x20:
			return "", p.fail("control character %#02x inside a text", c)
		case c != '\\':
			out = append(out, c)
			p.pos++
			continue
		}
		if p.pos++; p.pos >= len(p.src) {
			break
		}
		switch c := p.src[p.pos]; c {
		case '"', '\\', '/':
			out = append(out, c)
		case 'b':
			out = append(out, '\b')
		case 'f':
			out = append(out, '\f')
		case 'n':
			out = append(out, '\n')
		case 'r':
			out = append(out, '\r')
		case 't':
			out = append(out, '\t')
		case 'u':
			r, ok := p.hex4(p.pos + 1)
			if !ok {
				return "", p.fail("four hexadecimal digits are wanted after \\u")
			}
			p.pos += 4
			if utf16.IsSurrogate(r) {
				// Half a pair alone has no UTF-8 form: U+FFFD stands for it, as in
				// encoding/json.
				low, ok := rune(0), false
				if p.pos+2 < len(p.src) && p.src[p.pos+1] == '\\' && p.src[p.pos+2] == 'u' {
					low, ok = p.hex4(p.pos + 3)
				}
				if r = utf16.DecodeRune(r, low); ok && r != utf8.RuneError {
					p.pos += 6
				}
			}
			out = utf8.AppendRune(out, r)
		default:
			return "", p.fail("unknown escape \\%c", rune(c))
		}
		p.pos++
	}
	return "", &syntaxError{open, "a text is not closed"}
}

func (p *parser) hex4(at int) (rune, bool) {
	if at+4 > len(p.src) {
		return 0, false
	}
	var r rune
	for _, c := range p.src[at : at+4] {
		switch {
		case c >= '0' && c <= '9':
			c -= '0'
		case c >= 'a' && c <= 'f':
			c -= 'a' - 10
		case c >= 'A' && c <= 'F':
			c -= 'A' - 10
		default:
			return 0, false
		}
		r = r<<4 | rune(c)
	}
	return r, true
}
