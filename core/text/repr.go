package text

import (
	"encoding/json"
	"fmt"
	"math/big"
	"sort"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Pair is one entry of a Dict.
type Pair struct {
	Key   any
	Value any
}

// Dict is a Python dict: entries in the order in which they were inserted. Its
// owner keeps keys distinct.
type Dict []Pair

// Str prints a value as Python's str() does. Known are nil (None), bool, all
// integer types, float32 and float64, json.Number (an int unless it has a
// point or an exponent), *big.Int, string, []string, []any, Dict and
// map[string]any, whose keys are sorted because Go does not remember their
// order. A type that is none of these prints as fmt.Sprint prints it.
func Str(v any) string {
	if s, ok := v.(string); ok {
		return s
	}
	return Repr(v)
}

// Repr prints a value as Python's repr() does; see Str for the types.
func Repr(v any) string {
	var b strings.Builder
	writeRepr(&b, v)
	return b.String()
}

func writeRepr(b *strings.Builder, v any) {
	switch x := v.(type) {
	case nil:
		b.WriteString("None")
	case bool:
		if x {
			b.WriteString("True")
		} else {
			b.WriteString("False")
		}
	case string:
		writeQuoted(b, x)
	case float64:
		b.WriteString(FormatFloat(x))
	case float32:
		b.WriteString(FormatFloat(float64(x)))
	case json.Number:
		s := x.String()
		if f, ok := ParseFloat(s); ok && strings.ContainsAny(s, ".eE") {
			s = FormatFloat(f)
		}
		b.WriteString(s)
	case *big.Int:
		b.WriteString(x.String())
	case int:
		b.WriteString(strconv.Itoa(x))
	case int64:
		b.WriteString(strconv.FormatInt(x, 10))
	case []any:
		writeList(b, len(x), func(i int) any { return x[i] })
	case []string:
		writeList(b, len(x), func(i int) any { return x[i] })
	case Dict:
		writeDict(b, x)
	case map[string]any:
		d := make(Dict, 0, len(x))
		for k, value := range x {
			d = append(d, Pair{k, value})
		}
		sort.Slice(d, func(i, j int) bool { return d[i].Key.(string) < d[j].Key.(string) })
		writeDict(b, d)
	default:
		fmt.Fprint(b, x)
	}
}

func writeList(b *strings.Builder, n int, at func(int) any) {
	b.WriteByte('[')
	for i := range n {
		if i > 0 {
			b.WriteString(", ")
		}
		writeRepr(b, at(i))
	}
	b.WriteByte(']')
}

func writeDict(b *strings.Builder, d Dict) {
	b.WriteByte('{')
	for i, p := range d {
		if i > 0 {
			b.WriteString(", ")
		}
		writeRepr(b, p.Key)
		b.WriteString(": ")
		writeRepr(b, p.Value)
	}
	b.WriteByte('}')
}

// writeQuoted prints a string literal: single quotes, unless the text holds
// single but no double quotes. What Python does not call printable is escaped;
// a byte that is no UTF-8 prints as the lone surrogate that Python's
// surrogateescape reads it as.
func writeQuoted(b *strings.Builder, s string) {
	quote := byte('\'')
	if strings.Contains(s, "'") && !strings.Contains(s, `"`) {
		quote = '"'
	}
	b.WriteByte(quote)
	for i := 0; i < len(s); {
		r, width := DecodeRune(s[i:])
		switch {
		case r >= 0xd800 && r <= 0xdfff:
			fmt.Fprintf(b, `\u%04x`, r)
		case r == utf8.RuneError && width == 1:
			fmt.Fprintf(b, `\udc%02x`, s[i])
		case r == rune(quote) || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\r':
			b.WriteString(`\r`)
		case r == '\t':
			b.WriteString(`\t`)
		case unicode.IsPrint(r):
			b.WriteRune(r)
		case r < 0x100:
			fmt.Fprintf(b, `\x%02x`, r)
		case r < 0x10000:
			fmt.Fprintf(b, `\u%04x`, r)
		default:
			fmt.Fprintf(b, `\U%08x`, r)
		}
		i += width
	}
	b.WriteByte(quote)
}
