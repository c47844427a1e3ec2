package jinja

import (
	"errors"
	"fmt"
	"math"
	"math/big"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/evalrun/evalrun/core/text"
)

// formatValue is Python's format(v, spec).
func (r *state) formatValue(v any, spec string) string {
	switch x := v.(type) {
	case *undefined:
		out := x.str()
		if spec != "" {
			raise("TypeError", "unsupported format string passed to %s.__format__", typeName(v))
		}
		return out
	case markup:
		v = string(x)
	case nil, bool, int, *big.Int, float64, string:
	default:
		if spec != "" {
			raise("TypeError", "unsupported format string passed to %s.__format__", typeName(v))
		}
		return str(v)
	}
	out, err := text.FormatValue(v, spec)
	if err != nil {
		raiseFormat(err)
	}
	r.build(len(out))
	return out
}

// raiseFormat passes an exception of core/text on.
func raiseFormat(err error) {
	var e *text.FormatError
	if errors.As(err, &e) {
		raise(e.Class, "%s", e.Message)
	}
	raise("ValueError", "%s", err.Error())
}

// format is str.format.
func (r *state) format(s string, a *args) string {
	f := &formatter{r: r, a: a}
	return f.run(s, 2)
}

type formatter struct {
	r      *state
	a      *args
	auto   int
	manual bool
}

func (f *formatter) run(s string, depth int) string {
	if depth == 0 {
		raise("ValueError", "Max string recursion exceeded")
	}
	var b strings.Builder
	for i := 0; i < len(s); {
		switch c := s[i]; {
		case c == '{' && i+1 < len(s) && s[i+1] == '{', c == '}' && i+1 < len(s) && s[i+1] == '}':
			b.WriteByte(c)
			i += 2
		case c == '}':
			raise("ValueError", "Single '}' encountered in format string")
		case c == '{':
			end := fieldEnd(s, i)
			if end < 0 {
				if i+1 == len(s) {
					raise("ValueError", "Single '{' encountered in format string")
				}
				raise("ValueError", "expected '}' before end of string")
			}
			out := f.field(s[i+1:end], depth)
			f.r.build(b.Len() + len(out))
			b.WriteString(out)
			i = end + 1
		default:
			b.WriteByte(c)
			i++
		}
	}
	return b.String()
}

// fieldEnd is the index of the brace that closes the field at s[at].
func fieldEnd(s string, at int) int {
	open := 0
	bracket := false
	for i := at; i < len(s); i++ {
		switch c := s[i]; {
		case bracket:
			bracket = c != ']'
		case c == '[' && open == 1:
			bracket = true
		case c == '{':
			open++
		case c == '}':
			if open--; open == 0 {
				return i
			}
		}
	}
	return -1
}

func (f *formatter) field(s string, depth int) string {
	name, convert, format := s, byte(0), ""
	bracket := false
scan:
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case bracket:
			bracket = c != ']'
		case c == '[':
			bracket = true
		case c == '{':
			raise("ValueError", "unexpected '{' in field name")
		case c == ':':
			name, format = s[:i], s[i+1:]
			break scan
		case c == '!':
			name = s[:i]
			if i+1 >= len(s) {
				raise("ValueError", "unmatched '{' in format spec")
			}
			convert = s[i+1]
			if i+2 < len(s) {
				if s[i+2] != ':' {
					raise("ValueError", "expected ':' after conversion specifier")
				}
				format = s[i+3:]
			}
			break scan
		}
	}
	v := f.value(name)
	format = f.run(format, depth-1+boolInt(format == ""))
	switch convert {
	case 0:
	case 's':
		v = str(v)
	case 'r':
		v = repr(v)
	case 'a':
		v = asciiRepr(v)
	default:
		raise("ValueError", "Unknown conversion specifier %c", convert)
	}
	return f.r.formatValue(v, format)
}

func boolInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

func asciiRepr(v any) string {
	var b strings.Builder
	for _, c := range repr(v) {
		switch {
		case c < 0x80:
			b.WriteRune(c)
		case c < 0x100:
			fmt.Fprintf(&b, `\x%02x`, c)
		case c < 0x10000:
			fmt.Fprintf(&b, `\u%04x`, c)
		default:
			fmt.Fprintf(&b, `\U%08x`, c)
		}
	}
	return b.String()
}

// value looks a field's name up: a number, a name or nothing, then .name and
// [key].
func (f *formatter) value(name string) any {
	end := strings.IndexAny(name, ".[")
	if end < 0 {
		end = len(name)
	}
	first, rest := name[:end], name[end:]
	var v any
	at, err := strconv.Atoi(first)
	if first == "" {
		if f.manual {
			raise("ValueError", "cannot switch from manual field specification to automatic field numbering")
		}
		at, err = f.auto, nil
		f.auto++
	} else if err == nil {
		if f.auto > 0 {
			if f.r.t.opts.Immutable {
				raise("ValueError", "cannot switch from manual field specification to automatic field numbering")
			}
			raise("ValueError", "cannot switch from automatic field numbering to manual field specification")
		}
		f.manual = true
	}
	if err == nil {
		if at < 0 || at >= len(f.a.pos) {
			if f.r.t.opts.Immutable { // the sandbox has a formatter of its own
				raise("IndexError", "tuple index out of range")
			}
			raise("IndexError", "Replacement index %d out of range for positional args tuple", at)
		}
		v = f.a.pos[at]
	} else {
		found := false
		for _, k := range f.a.kw {
			if k.name == first {
				v, found = k.value, true
			}
		}
		if !found {
			raise("KeyError", "%s", text.Repr(first))
		}
	}
	for rest != "" {
		if rest[0] == '.' {
			end := strings.IndexAny(rest[1:], ".[") + 1
			if end == 0 {
				end = len(rest)
			}
			if end == 1 {
				raise("ValueError", "Empty attribute in format string")
			}
			name := rest[1:end]
			if got, ok := f.r.attribute(v, name); ok {
				v = got
			} else if f.r.t.opts.Immutable {
				v = f.r.attr(v, name)
			} else {
				raise("AttributeError", "%s object has no attribute %s", text.Repr(typeName(v)), text.Repr(name))
			}
			rest = rest[end:]
			continue
		}
		end := strings.IndexByte(rest, ']')
		if rest[0] != '[' || end < 0 {
			raise("ValueError", "Missing ']' in format string")
		}
		var key any = rest[1:end]
		if end == 1 {
			raise("ValueError", "Empty attribute in format string")
		}
		if n, err := strconv.Atoi(rest[1:end]); err == nil && n >= 0 {
			key = n
		}
		v = f.r.item(v, key)
		rest = rest[end+1:]
		if rest != "" && rest[0] != '.' && rest[0] != '[' {
			raise("ValueError", "Only '.' or '[' may follow ']' in format field specifier")
		}
	}
	return v
}

// percent is "format % values".
func (r *state) percent(s string, v any, marked bool) any {
	values, isTuple := v.(tuple)
	if g, ok := v.(group); ok {
		values, isTuple = g.tuple, true
	}
	mapping, isMap := v.(*dict)
	if !isTuple {
		values = tuple{v}
	}
	used := 0
	take := func() any {
		if used >= len(values) {
			raise("TypeError", "not enough arguments for format string")
		}
		used++
		return values[used-1]
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '%' {
			b.WriteByte(s[i])
			continue
		}
		i++
		incomplete := func() {
			if i >= len(s) {
				raise("ValueError", "incomplete format")
			}
		}
		incomplete()
		var arg any
		named := false
		if s[i] == '(' {
			end := strings.IndexByte(s[i:], ')')
			if end < 0 {
				raise("ValueError", "incomplete format key")
			}
			if !isMap {
				raise("TypeError", "format requires a mapping")
			}
			key := s[i+1 : i+end]
			got, ok := mapping.get(key)
			if !ok {
				raise("KeyError", "%s", text.Repr(key))
			}
			arg, named = got, true
			i += end + 1
			incomplete()
		}
		f := percentSpec{precision: -1}
		for ; i < len(s) && strings.IndexByte("#0- +", s[i]) >= 0; i++ {
			f.flags += s[i : i+1]
		}
		number := func() int {
			if i < len(s) && s[i] == '*' {
				i++
				n, ok := smallInt(take())
				if !ok {
					raise("TypeError", "* wants int")
				}
				return n
			}
			from := i
			for i < len(s) && s[i] >= '0' && s[i] <= '9' {
				i++
			}
			if i == from {
				return 0
			}
			n, err := strconv.Atoi(s[from:i])
			if err != nil {
				raise("ValueError", "width too big")
			}
			return n
		}
		if f.width = number(); f.width < 0 {
			f.flags, f.width = f.flags+"-", -f.width
		}
		if i < len(s) && s[i] == '.' {
			i++
			f.precision = max(number(), 0)
		}
		r.build(max(f.width, f.precision))
		for i < len(s) && strings.IndexByte("hlL", s[i]) >= 0 {
			i++
		}
		incomplete()
		f.verb = s[i]
		if f.verb == '%' {
			b.WriteByte('%')
			continue
		}
		if !named {
			arg = take()
		}
		out := r.percentOne(f, arg, i)
		r.build(b.Len() + len(out))
		if marked && strings.IndexByte("sra", f.verb) >= 0 && !isMarkup(arg) {
			out = escapeText(out)
		}
		b.WriteString(out)
	}
	if used < len(values) && !isMap && !(used == 0 && !isTuple && isMappingLike(v)) {
		raise("TypeError", "not all arguments converted during string formatting")
	}
	if marked {
		return markup(b.String())
	}
	return b.String()
}

// isMappingLike tells the objects that "%" takes without a place for them.
func isMappingLike(v any) bool {
	switch v.(type) {
	case *dict, *list, *span:
		return true
	}
	return false
}

// percentSpec is one place of a "%" format.
type percentSpec struct {
	flags            string
	width, precision int // precision -1: none
	verb             byte
}

func (f percentSpec) has(flag byte) bool { return strings.IndexByte(f.flags, flag) >= 0 }

// spec is the format specification that means the same; numbers tells whether
// zeros may fill.
func (f percentSpec) spec(verb string, numbers bool, precision int) string {
	var b strings.Builder
	switch {
	case f.has('-'):
		b.WriteString("<")
	case f.has('0') && numbers:
		b.WriteString("0=")
	default:
		b.WriteString(">")
	}
	if numbers {
		if f.has('+') {
			b.WriteString("+")
		} else if f.has(' ') {
			b.WriteString(" ")
		}
		if f.has('#') {
			b.WriteString("#")
		}
	}
	if f.width > 0 {
		b.WriteString(strconv.Itoa(f.width))
	}
	if precision >= 0 {
		b.WriteString("." + strconv.Itoa(precision))
	}
	return b.String() + verb
}

func (r *state) percentOne(f percentSpec, arg any, at int) string {
	verb := string(f.verb)
	switch f.verb {
	case 's':
		return r.formatValue(str(arg), f.spec("", false, f.precision))
	case 'r':
		return r.formatValue(repr(arg), f.spec("", false, f.precision))
	case 'a':
		return r.formatValue(asciiRepr(arg), f.spec("", false, f.precision))
	case 'c':
		out := ""
		if s, ok := asStr(arg); ok && utf8.RuneCountInString(s) == 1 {
			out = s
		} else if n, ok := smallInt(arg); ok {
			if n < 0 || n > 0x10ffff {
				raise("OverflowError", "%%c arg not in range(0x110000)")
			}
			out = string(rune(n))
		} else {
			raise("TypeError", "%%c requires int or char")
		}
		return r.formatValue(out, f.spec("", false, -1))
	}
	if u, ok := arg.(*undefined); ok {
		u.fail()
	}
	n, x, isInt, ok := number(arg)
	switch f.verb {
	case 'd', 'i', 'u':
		if !ok {
			raise("TypeError", "%%%s format: a real number is required, not %s", verb, typeName(arg))
		}
		if !isInt {
			n = truncated(x)
		}
		verb = "d"
	case 'x', 'X', 'o':
		if !ok || !isInt {
			raise("TypeError", "%%%s format: an integer is required, not %s", verb, typeName(arg))
		}
	case 'e', 'E', 'f', 'F', 'g', 'G':
		if !ok {
			raise("TypeError", "must be real number, not %s", typeName(arg))
		}
		if math.IsInf(x, 0) && isInt {
			raise("OverflowError", "int too large to convert to float")
		}
		return r.formatValue(x, f.spec(verb, true, f.precision))
	default:
		raise("ValueError", "unsupported format character '%c' (0x%x) at index %d", f.verb, f.verb, at)
	}
	if f.precision > 0 { // at least so many digits, then blanks
		digits := percentSpec{flags: f.flags + "0", width: f.precision}
		signed := digits
		if n.Sign() < 0 || f.has('+') || f.has(' ') {
			signed.width++
		}
		signed.flags = strings.ReplaceAll(signed.flags, "-", "")
		body := r.formatValue(normInt(n), signed.spec(verb, true, -1))
		return r.formatValue(body, percentSpec{flags: f.flags, width: f.width}.spec("", false, -1))
	}
	return r.formatValue(normInt(n), f.spec(verb, true, -1))
}

// truncated is int(float).
func truncated(x float64) *big.Int {
	switch {
	case math.IsNaN(x):
		raise("ValueError", "cannot convert float NaN to integer")
	case math.IsInf(x, 0):
		raise("OverflowError", "cannot convert float infinity to integer")
	}
	n, _ := big.NewFloat(x).Int(nil)
	return n
}
