package record

import (
	"encoding/json"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"
)

// decoder walks over a line. Its methods report false where the line is not
// what they know; the texts they give are parts of the line.
type decoder struct {
	s string
	i int
}

func (d *decoder) space() {
	for d.i < len(d.s) && (d.s[d.i] == ' ' || d.s[d.i] == '\t' || d.s[d.i] == '\r' || d.s[d.i] == '\n') {
		d.i++
	}
}

// take passes over a sign, and white space before it.
func (d *decoder) take(c byte) bool {
	d.space()
	if d.i < len(d.s) && d.s[d.i] == c {
		d.i++
		return true
	}
	return false
}

// object reads an object. read gets each key and reads its value; it gives the
// field's number, from 0, which may come only once.
func (d *decoder) object(read func(key string) (field int, ok bool)) bool {
	if !d.take('{') {
		return false
	}
	if d.take('}') {
		return true
	}
	var seen uint64
	for {
		d.space()
		var key string
		if !d.text(&key) || !d.take(':') {
			return false
		}
		field, ok := read(key)
		if !ok || seen>>field&1 != 0 {
			return false
		}
		seen |= 1 << field
		if !d.take(',') {
			return d.take('}')
		}
	}
}

// array reads an array; read reads one element.
func (d *decoder) array(read func() bool) bool {
	if !d.take('[') {
		return false
	}
	if d.take(']') {
		return true
	}
	for {
		if !read() {
			return false
		}
		if !d.take(',') {
			return d.take(']')
		}
	}
}

const (
	lows  = 0x0101010101010101
	highs = 0x8080808080808080
)

// zeros marks the bytes of x that are zero; above the first such byte it may
// mark others, too.
func zeros(x uint64) uint64 { return (x - lows) &^ x & highs }

// word8 reads eight bytes.
func word8(s string, i int) uint64 {
	w := s[i : i+8]
	return uint64(w[0]) | uint64(w[1])<<8 | uint64(w[2])<<16 | uint64(w[3])<<24 |
		uint64(w[4])<<32 | uint64(w[5])<<40 | uint64(w[6])<<48 | uint64(w[7])<<56
}

// special finds the first byte from i on that ends or escapes a text, or may
// not stand in one. ascii tells whether all bytes before are ASCII.
func special(s string, i int) (at int, ascii bool) {
	var seen uint64
	for ; i+8 <= len(s); i += 8 {
		x := word8(s, i)
		if zeros(x^(lows*'"'))|zeros(x^(lows*'\\'))|zeros(x&(lows*0xe0)) != 0 {
			break
		}
		seen |= x
	}
	ascii = seen&highs == 0
	for ; i < len(s); i++ {
		c := s[i]
		if c == '"' || c == '\\' || c < 0x20 {
			return i, ascii
		}
		ascii = ascii && c < utf8.RuneSelf
	}
	return i, ascii
}

// text reads a string.
func (d *decoder) text(to *string) bool {
	if !d.take('"') {
		return false
	}
	from := d.i
	at, ascii := special(d.s, from)
	if at < len(d.s) && d.s[at] == '"' {
		*to = d.s[from:at]
		d.i = at + 1
		return ascii || utf8.ValidString(*to)
	}
	var b strings.Builder
	for at < len(d.s) {
		b.WriteString(d.s[from:at])
		switch d.s[at] {
		case '"':
			*to = b.String()
			d.i = at + 1
			return utf8.ValidString(*to)
		case '\\':
		default:
			return false
		}
		if at+1 >= len(d.s) {
			return false
		}
		width := 2
		switch c := d.s[at+1]; c {
		case '"', '\\', '/':
			b.WriteByte(c)
		case 'n':
			b.WriteByte('\n')
		case 't':
			b.WriteByte('\t')
		case 'r':
			b.WriteByte('\r')
		case 'b':
			b.WriteByte('\b')
		case 'f':
			b.WriteByte('\f')
		case 'u':
			if at+6 > len(d.s) {
				return false
			}
			v, err := strconv.ParseUint(d.s[at+2:at+6], 16, 32)
			if err != nil || v >= 0xd800 && v <= 0xdfff {
				return false
			}
			b.WriteRune(rune(v))
			width = 6
		default:
			return false
		}
		from = at + width
		at, _ = special(d.s, from)
	}
	return false
}

// number passes over a number in JSON's grammar.
func (d *decoder) number() (string, bool) {
	d.space()
	from := d.i
	digits := func() bool {
		start := d.i
		for d.i < len(d.s) && d.s[d.i] >= '0' && d.s[d.i] <= '9' {
			d.i++
		}
		return d.i > start
	}
	has := func(signs string) bool {
		if d.i < len(d.s) && strings.IndexByte(signs, d.s[d.i]) >= 0 {
			d.i++
			return true
		}
		return false
	}
	has("-")
	if first := d.i; !digits() || d.s[first] == '0' && d.i > first+1 {
		return "", false
	}
	if has(".") && !digits() {
		return "", false
	}
	if has("eE") {
		if has("+-"); !digits() {
			return "", false
		}
	}
	return d.s[from:d.i], true
}

func (d *decoder) int(to *int) bool {
	s, ok := d.number()
	if !ok {
		return false
	}
	n, err := strconv.Atoi(s)
	*to = n
	return err == nil
}

func (d *decoder) uint64(to *uint64) bool {
	s, ok := d.number()
	if !ok {
		return false
	}
	n, err := strconv.ParseUint(s, 10, 64)
	*to = n
	return err == nil
}

func (d *decoder) float(to *float64) bool {
	s, ok := d.number()
	if !ok {
		return false
	}
	f, err := strconv.ParseFloat(s, 64)
	*to = f
	return err == nil
}

// wide reads a Float: a number or one of its three words.
func (d *decoder) wide(to *Float) bool {
	if d.space(); d.i < len(d.s) && d.s[d.i] == '"' {
		switch {
		case d.word(`"NaN"`):
			*to = Float(math.NaN())
		case d.word(`"Infinity"`):
			*to = Float(math.Inf(1))
		case d.word(`"-Infinity"`):
			*to = Float(math.Inf(-1))
		default:
			return false
		}
		return true
	}
	return d.float((*float64)(to))
}

func (d *decoder) bool(to *bool) bool {
	d.space()
	*to = d.word("true")
	return *to || d.word("false")
}

// word passes over a word.
func (d *decoder) word(w string) bool {
	if strings.HasPrefix(d.s[d.i:], w) {
		d.i += len(w)
		return true
	}
	return false
}

func (d *decoder) texts(to *[]string) bool {
	*to = []string{}
	return d.array(func() bool {
		var s string
		ok := d.text(&s)
		*to = append(*to, s)
		return ok
	})
}

// skip passes over a value of any kind. Of texts only the end is looked for.
func (d *decoder) skip() bool {
	d.space()
	depth := 0
	for d.i < len(d.s) {
		switch c := d.s[d.i]; {
		case c == '"':
			if !d.skipText() {
				return false
			}
		case c == '{' || c == '[':
			depth++
			d.i++
		case c == '}' || c == ']':
			depth--
			d.i++
		case depth > 0:
			d.i++
		default:
			if _, ok := d.number(); !ok && !d.word("true") && !d.word("false") && !d.word("null") {
				return false
			}
		}
		if depth <= 0 {
			return depth == 0
		}
	}
	return false
}

// skipText passes over a text by the next quote that is not escaped.
func (d *decoder) skipText() bool {
	from := d.i + 1
	for i := from; ; {
		j := strings.IndexByte(d.s[i:], '"')
		if j < 0 {
			return false
		}
		i += j
		slashes := 0
		for k := i - 1; k >= from && d.s[k] == '\\'; k-- {
			slashes++
		}
		i++
		if slashes%2 == 0 {
			d.i = i
			return true
		}
	}
}

// raw reads an object as it stands.
func (d *decoder) raw(to *json.RawMessage) bool {
	d.space()
	from := d.i
	if !d.skip() {
		return false
	}
	*to = json.RawMessage(d.s[from:d.i])
	return (*to)[0] == '{' && json.Valid(*to) && utf8.Valid(*to)
}
