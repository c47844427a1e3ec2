package jinja

import (
	"fmt"
	"math"
	"math/big"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/evalrun/evalrun/core/text"
)

// spec is a format specification: [[fill]align][sign][z][#][0][width][grouping]
// [.precision][type].
type spec struct {
	fill      string
	align     byte // '<', '>', '=', '^' or 0
	sign      byte // '+', '-', ' '
	alternate bool
	width     int
	group     byte // ',', '_' or 0
	precision int  // -1: none
	kind      byte // 0: none
}

func parseSpec(s, typ string) spec {
	f := spec{fill: " ", sign: '-', precision: -1}
	bad := func() { raise("ValueError", "Invalid format specifier '%s' for object of type '%s'", s, typ) }
	rest := s
	_, width := utf8.DecodeRuneInString(rest)
	if rest != "" && len(rest) > width && strings.IndexByte("<>=^", rest[width]) >= 0 {
		f.fill, f.align, rest = rest[:width], rest[width], rest[width+1:]
	} else if rest != "" && strings.IndexByte("<>=^", rest[0]) >= 0 {
		f.align, rest = rest[0], rest[1:]
	}
	if rest != "" && strings.IndexByte("+- ", rest[0]) >= 0 {
		f.sign, rest = rest[0], rest[1:]
	}
	if strings.HasPrefix(rest, "#") {
		f.alternate, rest = true, rest[1:]
	}
	if strings.HasPrefix(rest, "0") {
		if f.align == 0 {
			f.fill, f.align = "0", '='
			if typ == "str" {
				f.align = '<'
			}
		}
		rest = rest[1:]
	}
	number := func() int {
		n := 0
		for n < len(rest) && rest[n] >= '0' && rest[n] <= '9' {
			n++
		}
		v, err := strconv.Atoi(rest[:n])
		if err != nil {
			raise("ValueError", "Too many decimal digits in format string")
		}
		rest = rest[n:]
		return v
	}
	digit := func() bool { return rest != "" && rest[0] >= '0' && rest[0] <= '9' }
	if digit() {
		f.width = number()
	}
	if rest != "" && (rest[0] == ',' || rest[0] == '_') {
		f.group, rest = rest[0], rest[1:]
	}
	if strings.HasPrefix(rest, ".") {
		rest = rest[1:]
		if !digit() {
			raise("ValueError", "Format specifier missing precision")
		}
		f.precision = number()
	}
	if len(rest) > 1 {
		bad()
	}
	if rest != "" {
		f.kind = rest[0]
	}
	return f
}

// formatValue is Python's format(v, spec).
func (r *state) formatValue(v any, s string) string {
	if u, ok := v.(*undefined); ok {
		out := u.str()
		if s != "" {
			raise("TypeError", "unsupported format string passed to %s.__format__", typeName(v))
		}
		return out
	}
	if s == "" {
		return str(v)
	}
	n, x, isInt, isNumber := number(v)
	if t, ok := asStr(v); ok {
		f := parseSpec(s, typeName(v))
		if f.kind != 0 && f.kind != 's' {
			unknownCode(f.kind, v)
		}
		if f.align == '=' {
			raise("ValueError", "'=' alignment not allowed in string format specifier")
		}
		if f.precision >= 0 && utf8.RuneCountInString(t) > f.precision {
			t = t[:byteAt(t, f.precision)]
		}
		return r.justify(f, "", t, '<')
	}
	if !isNumber {
		raise("TypeError", "unsupported format string passed to %s.__format__", typeName(v))
	}
	f := parseSpec(s, typeName(v))
	if isInt && strings.IndexByte("\x00bcdoxXn", f.kind) >= 0 {
		return r.formatInt(f, n)
	}
	if strings.IndexByte("\x00eEfFgGn%", f.kind) < 0 {
		unknownCode(f.kind, v)
	}
	return r.formatFloat(f, x)
}

func unknownCode(kind byte, v any) {
	raise("ValueError", "Unknown format code '%c' for object of type '%s'", kind, typeName(v))
}

// justify pads sign and digits; otherwise is the alignment where none is given.
func (r *state) justify(f spec, sign, body string, otherwise byte) string {
	align := f.align
	if align == 0 {
		align = otherwise
	}
	switch align {
	case '=':
		return sign + r.pad(body, f.width-len(sign), f.fill, true, false)
	case '<':
		return r.pad(sign+body, f.width, f.fill, false, true)
	case '>':
		return r.pad(sign+body, f.width, f.fill, true, false)
	}
	n := f.width - utf8.RuneCountInString(sign+body)
	if n <= 0 {
		return sign + body
	}
	r.build(n * len(f.fill))
	return strings.Repeat(f.fill, n/2) + sign + body + strings.Repeat(f.fill, n-n/2)
}

func signOf(f spec, negative bool) string {
	switch {
	case negative:
		return "-"
	case f.sign == '-':
		return ""
	}
	return string(f.sign)
}

// grouped puts a separator between groups of digits of the whole part; zero
// padding counts as digits.
func grouped(f spec, digits, tail string, size, width int) string {
	if f.group == 0 {
		return digits + tail
	}
	if f.align == '=' && f.fill == "0" {
		for width < 1<<16 {
			n := len(digits) + (len(digits)-1)/size + len(tail)
			if n >= width {
				break
			}
			digits = "0" + digits
		}
	}
	var b strings.Builder
	for i, c := range digits {
		if i > 0 && (len(digits)-i)%size == 0 {
			b.WriteByte(f.group)
		}
		b.WriteRune(c)
	}
	return b.String() + tail
}

func (r *state) formatInt(f spec, n *big.Int) string {
	if f.precision >= 0 {
		raise("ValueError", "Precision not allowed in integer format specifier")
	}
	abs := new(big.Int).Abs(n)
	base, prefix := 10, ""
	switch f.kind {
	case 'c':
		if !n.IsInt64() || n.Int64() < 0 || n.Int64() > 0x10ffff {
			raise("OverflowError", "%%c arg not in range(0x110000)")
		}
		return r.justify(f, "", string(rune(n.Int64())), '<')
	case 'b':
		base, prefix = 2, "0b"
	case 'o':
		base, prefix = 8, "0o"
	case 'x', 'X':
		base, prefix = 16, "0"+string(f.kind)
	}
	digits := abs.Text(base)
	if f.kind == 'X' {
		digits = strings.ToUpper(digits)
	}
	sign := signOf(f, n.Sign() < 0)
	if f.alternate {
		sign += prefix
	}
	size := 3
	if base != 10 {
		if f.group == ',' {
			raise("ValueError", "Cannot specify ',' with '%c'.", f.kind)
		}
		size = 4
	}
	return r.justify(f, sign, grouped(f, digits, "", size, f.width-len(sign)), '>')
}

func (r *state) formatFloat(f spec, x float64) string {
	if f.precision > 1<<16 {
		r.build(r.t.opts.Limits.Bytes + 1)
	}
	sign := signOf(f, math.Signbit(x) && !math.IsNaN(x))
	kind, p, suffix := f.kind, f.precision, ""
	if kind == '%' {
		x, kind, suffix = x*100, 'f', "%"
	}
	body := floatDigits(math.Abs(x), kind, p, f.alternate)
	if math.IsInf(x, 0) || math.IsNaN(x) {
		if f.align == '=' && f.fill == "0" {
			f.group = 0
		}
		return r.justify(f, sign, body+suffix, '>')
	}
	whole, tail := body, ""
	if i := strings.IndexAny(body, ".eE"); i >= 0 {
		whole, tail = body[:i], body[i:]
	}
	return r.justify(f, sign, grouped(f, whole, tail+suffix, 3, f.width-len(sign)), '>')
}

// floatDigits prints a float that is not negative as C's printf does for kind
// e, f and g, and as repr does for none.
func floatDigits(x float64, kind byte, p int, alternate bool) string {
	upperCase := kind == 'E' || kind == 'F' || kind == 'G'
	var s string
	switch {
	case math.IsInf(x, 0):
		s = "inf"
	case math.IsNaN(x):
		s = "nan"
	case kind == 0 && p < 0:
		s = text.FormatFloat(x)
	case kind == 'f' || kind == 'F':
		if p < 0 {
			p = 6
		}
		s = strconv.FormatFloat(x, 'f', p, 64)
		if alternate && p == 0 {
			s += "."
		}
	case kind == 'e' || kind == 'E':
		if p < 0 {
			p = 6
		}
		s = strconv.FormatFloat(x, 'e', p, 64)
	default:
		if p < 0 {
			p = 6
		}
		p = max(p, 1)
		e := strconv.FormatFloat(x, 'e', p-1, 64)
		mantissa, power, _ := strings.Cut(e, "e")
		exp, _ := strconv.Atoi(power)
		top := p
		if kind == 0 {
			top = p - 1 // without a type, 1e+p and not p digits and a point
			if p == 1 {
				top = 1
			}
		}
		if exp < -4 || exp >= top {
			s = mantissa
			if !alternate {
				s = trimZeros(s)
			}
			s += "e" + power
		} else {
			s = strconv.FormatFloat(x, 'f', max(p-1-exp, 0), 64)
			if !alternate {
				s = trimZeros(s)
			}
			if kind == 0 && !strings.Contains(s, ".") {
				s += ".0"
			}
		}
	}
	if upperCase {
		s = strings.ToUpper(s)
	}
	return s
}

func trimZeros(s string) string {
	if strings.Contains(s, ".") {
		s = strings.TrimRight(strings.TrimRight(s, "0"), ".")
	}
	return s
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
		f := spec{fill: " ", sign: '-', precision: -1, align: '>'}
		zero := false
		for ; i < len(s) && strings.IndexByte("#0- +", s[i]) >= 0; i++ {
			switch s[i] {
			case '#':
				f.alternate = true
			case '0':
				zero = true
			case '-':
				f.align = '<'
			case '+':
				f.sign = '+'
			case ' ':
				if f.sign == '-' {
					f.sign = ' '
				}
			}
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
			f.align, f.width = '<', -f.width
		}
		if i < len(s) && s[i] == '.' {
			i++
			f.precision = max(number(), 0)
		}
		for i < len(s) && strings.IndexByte("hlL", s[i]) >= 0 {
			i++
		}
		incomplete()
		f.kind = s[i]
		if f.kind == '%' {
			b.WriteByte('%')
			continue
		}
		if !named {
			arg = take()
		}
		if zero && f.align != '<' {
			f.fill, f.align = "0", '='
		}
		out := r.percentOne(f, arg, i)
		r.build(b.Len() + len(out))
		if marked && strings.IndexByte("sra", f.kind) >= 0 && !isMarkup(arg) {
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

func (r *state) percentOne(f spec, arg any, at int) string {
	switch f.kind {
	case 's', 'r', 'a':
		out := ""
		switch f.kind {
		case 's':
			out = str(arg)
		case 'r':
			out = repr(arg)
		default:
			out = asciiRepr(arg)
		}
		if f.precision >= 0 && utf8.RuneCountInString(out) > f.precision {
			out = out[:byteAt(out, f.precision)]
		}
		f.fill = " "
		if f.align == '=' {
			f.align = '>'
		}
		return r.justify(f, "", out, '>')
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
		f.fill = " "
		return r.justify(f, "", out, '>')
	}
	if u, ok := arg.(*undefined); ok {
		u.fail()
	}
	n, x, isInt, ok := number(arg)
	switch f.kind {
	case 'd', 'i', 'u':
		if !ok {
			raise("TypeError", "%%%c format: a real number is required, not %s", f.kind, typeName(arg))
		}
		if !isInt {
			n = truncated(x)
		}
		f.kind = 'd'
	case 'x', 'X', 'o':
		if !ok || !isInt {
			raise("TypeError", "%%%c format: an integer is required, not %s", f.kind, typeName(arg))
		}
	case 'e', 'E', 'f', 'F', 'g', 'G':
		if !ok {
			raise("TypeError", "must be real number, not %s", typeName(arg))
		}
		if math.IsInf(x, 0) && isInt {
			raise("OverflowError", "int too large to convert to float")
		}
		return r.formatFloat(f, x)
	default:
		raise("ValueError", "unsupported format character '%c' (0x%x) at index %d", f.kind, f.kind, at)
	}
	least := f.precision
	f.precision = -1
	if least > 0 {
		sign := signOf(f, n.Sign() < 0)
		digits := new(big.Int).Abs(n).Text(map[byte]int{'d': 10, 'x': 16, 'X': 16, 'o': 8}[f.kind])
		if f.kind == 'X' {
			digits = strings.ToUpper(digits)
		}
		return r.justify(f, sign, r.pad(digits, least, "0", true, false), '>')
	}
	return r.formatInt(f, n)
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
