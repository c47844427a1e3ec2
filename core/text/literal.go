package text

import (
	"math/big"
	"strconv"
	"strings"
	"unicode/utf8"
)

// ParseLiteral reads a Python literal, as ast.literal_eval does: strings with
// their escapes and prefixes r, u and implicit joining, numbers, True, False,
// None, lists, tuples and dicts. The values are those of [Repr] (a tuple is a
// list). ok is false for anything else, sets, bytes, f-strings and complex
// numbers among it.
func ParseLiteral(s string) (v any, ok bool) {
	p := literal{s: strings.TrimLeft(s, " \t")}
	if v, ok = p.value(0); !ok {
		return nil, false
	}
	p.space()
	return v, p.i == len(p.s)
}

type literal struct {
	s string
	i int
}

const maxLiteralDepth = 100

func (p *literal) space() {
	for p.i < len(p.s) && strings.IndexByte(" \t\r\n\f", p.s[p.i]) >= 0 {
		p.i++
	}
}

func (p *literal) take(c byte) bool {
	p.space()
	if p.i < len(p.s) && p.s[p.i] == c {
		p.i++
		return true
	}
	return false
}

func (p *literal) value(depth int) (any, bool) {
	p.space()
	if p.i == len(p.s) || depth > maxLiteralDepth {
		return nil, false
	}
	switch c := p.s[p.i]; {
	case c == '[':
		p.i++
		list, _, ok := p.items(']', depth)
		return list, ok
	case c == '(':
		p.i++
		list, comma, ok := p.items(')', depth)
		if ok && len(list) == 1 && !comma {
			return list[0], true
		}
		return list, ok
	case c == '{':
		p.i++
		return p.dict(depth)
	case c == '+' || c == '-' || c == '.' || c >= '0' && c <= '9':
		return p.number()
	}
	for word, v := range map[string]any{"True": true, "False": false, "None": nil} {
		if rest, ok := strings.CutPrefix(p.s[p.i:], word); ok {
			if r, _ := utf8.DecodeRuneInString(rest); rest == "" || !IsWord(r) {
				p.i += len(word)
				return v, true
			}
		}
	}
	return p.texts()
}

// items reads values up to a closing bracket; comma tells whether one followed
// the last.
func (p *literal) items(end byte, depth int) (list []any, comma, ok bool) {
	list = []any{}
	for {
		if p.take(end) {
			return list, comma, true
		}
		if len(list) > 0 && !comma {
			return nil, false, false
		}
		v, ok := p.value(depth + 1)
		if !ok {
			return nil, false, false
		}
		list = append(list, v)
		comma = p.take(',')
	}
}

func (p *literal) dict(depth int) (any, bool) {
	d := Dict{}
	for comma := true; !p.take('}'); comma = p.take(',') {
		if !comma {
			return nil, false
		}
		k, ok := p.value(depth + 1)
		if !ok || !p.take(':') {
			return nil, false
		}
		v, ok := p.value(depth + 1)
		if !ok {
			return nil, false
		}
		d = append(d, Pair{k, v})
	}
	return d, true
}

func (p *literal) number() (any, bool) {
	from := p.i
	for p.i < len(p.s) && (p.s[p.i] == '+' || p.s[p.i] == '-') {
		p.i++
	}
	sign, start := p.s[from:p.i], p.i
	if len(sign) > 1 {
		return nil, false
	}
	for p.i < len(p.s) {
		c := p.s[p.i]
		exponent := (c == '+' || c == '-') && (p.s[p.i-1] == 'e' || p.s[p.i-1] == 'E')
		if !exponent && c != '.' && c != '_' && (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') {
			break
		}
		p.i++
	}
	digits := p.s[start:p.i]
	if n, ok := new(big.Int).SetString(digits, 0); ok && (digits == "0" || strings.Trim(digits, "0_") == "" || digits[0] != '0' || len(digits) > 1 && digits[1] > '9') {
		if sign == "-" {
			n.Neg(n)
		}
		if n.IsInt64() {
			return n.Int64(), true
		}
		return n, true
	}
	// Hex floats, infinities and nan are no literals, nor are whole numbers with
	// a zero before them.
	if strings.ContainsAny(digits, "xXpPiInN") || !strings.ContainsAny(digits, ".eE") {
		return nil, false
	}
	f, ok := ParseFloat(digits)
	if sign == "-" {
		f = -f
	}
	return f, ok
}

// texts reads one string, or several that stand beside each other.
func (p *literal) texts() (any, bool) {
	var b strings.Builder
	for n := 0; ; n++ {
		p.space()
		raw, at := false, p.i
		for at < len(p.s) && at < p.i+2 && strings.IndexByte("rRuU", p.s[at]) >= 0 {
			raw = raw || p.s[at] == 'r' || p.s[at] == 'R'
			at++
		}
		if at >= len(p.s) || p.s[at] != '\'' && p.s[at] != '"' {
			return b.String(), n > 0
		}
		quote := p.s[at : at+1]
		if strings.HasPrefix(p.s[at:], strings.Repeat(quote, 3)) {
			quote = strings.Repeat(quote, 3)
		}
		p.i = at + len(quote)
		if !p.text(&b, quote, raw) {
			return nil, false
		}
	}
}

func (p *literal) text(b *strings.Builder, quote string, raw bool) bool {
	for p.i < len(p.s) {
		rest := p.s[p.i:]
		switch c := rest[0]; {
		case strings.HasPrefix(rest, quote):
			p.i += len(quote)
			return true
		case c == '\n' && len(quote) == 1:
			return false
		case c == '\\' && len(rest) < 2:
			return false
		case c == '\\' && raw:
			b.WriteString(rest[:2])
			p.i += 2
		case c == '\\':
			if !p.escape(b) {
				return false
			}
		default:
			b.WriteByte(c)
			p.i++
		}
	}
	return false
}

var simpleEscapes = map[byte]string{'\n': "", '\\': `\`, '\'': "'", '"': `"`, 'a': "\a", 'b': "\b", 'f': "\f", 'n': "\n", 'r': "\r", 't': "\t", 'v': "\v"}

func (p *literal) escape(b *strings.Builder) bool {
	c := p.s[p.i+1]
	if s, ok := simpleEscapes[c]; ok {
		b.WriteString(s)
		p.i += 2
		return true
	}
	width, base := map[byte]int{'x': 2, 'u': 4, 'U': 8}[c], 16
	from := p.i + 2
	switch {
	case c >= '0' && c <= '7':
		base, from = 8, p.i+1
		for width < 3 && from+width < len(p.s) && p.s[from+width] >= '0' && p.s[from+width] <= '7' {
			width++
		}
	case c == 'N':
		return false // names of characters
	case width == 0: // Python keeps the backslash
		b.WriteByte('\\')
		p.i++
		return true
	}
	if from+width > len(p.s) {
		return false
	}
	v, err := strconv.ParseUint(p.s[from:from+width], base, 32)
	if err != nil || v > utf8.MaxRune {
		return false
	}
	b.WriteRune(rune(v)) // a lone surrogate becomes U+FFFD
	p.i = from + width
	return true
}
