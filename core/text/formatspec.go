package text

import (
	"fmt"
	"math"
	"math/big"
	"strconv"
	"strings"
	"unicode/utf8"
)

// formatSpec is a parsed format specification:
// [[fill]align][sign][z][#][0][width][grouping][.precision][type].
type formatSpec struct {
	fill      rune
	align     rune // < > = ^
	sign      rune // 0, '+', '-' or ' '
	noMinus0  bool // z
	alternate bool // #
	width     int  // -1 none
	grouping  rune // 0, ',' or '_'
	precision int  // -1 none
	verb      rune // 0 none
}

// widest bounds widths and precisions: Python's own bound is memory.
const widest = 1 << 24

// FormatValue is Python's format(v, spec) for the types of Str. The error is a
// *FormatError.
func FormatValue(v any, spec string) (string, error) {
	if s, ok := v.(string); ok {
		return formatStr(s, spec)
	}
	if spec == "" {
		return Str(v), nil
	}
	if b, ok := v.(bool); ok {
		v = 0
		if b {
			v = 1
		}
	}
	if n, ok := asInt(v); ok {
		return formatInt(n, spec)
	}
	if f, ok := asFloat(v); ok {
		return formatFloat(f, spec)
	}
	return "", &FormatError{"TypeError", "unsupported format string passed to " + typeName(v) + ".__format__", -1}
}

// parseSpec follows CPython's parse_internal_render_format_spec.
func parseSpec(s, kind string, defaultAlign rune) (formatSpec, error) {
	f := formatSpec{fill: ' ', align: defaultAlign, width: -1, precision: -1}
	r := []rune(s)
	isAlign := func(i int) bool { return i < len(r) && strings.ContainsRune("<>=^", r[i]) }
	is := func(i int, c rune) bool { return i < len(r) && r[i] == c }
	i, aligned, filled := 0, false, false
	if isAlign(1) {
		f.fill, f.align, aligned, filled, i = r[0], r[1], true, true, 2
	} else if isAlign(0) {
		f.align, aligned, i = r[0], true, 1
	}
	if is(i, '+') || is(i, '-') || is(i, ' ') {
		f.sign = r[i]
		i++
	}
	if is(i, 'z') {
		f.noMinus0 = true
		i++
	}
	if is(i, '#') {
		f.alternate = true
		i++
	}
	if !filled && is(i, '0') {
		if f.fill = '0'; !aligned && defaultAlign == '>' {
			f.align = '='
		}
		i++
	}
	number := func() (int, error) {
		n := -1
		for ; i < len(r); i++ {
			d, ok := decimalDigit(r[i])
			if !ok {
				break
			}
			if n = max(n, 0)*10 + d; n > widest {
				return 0, valueError(-1, "Too many decimal digits in format string")
			}
		}
		return n, nil
	}
	var err error
	if f.width, err = number(); err != nil {
		return f, err
	}
	for _, c := range ",_" {
		if !is(i, c) {
			continue
		}
		if f.grouping != 0 {
			return f, valueError(-1, "Cannot specify both ',' and '_'.")
		}
		f.grouping = c
		i++
	}
	if is(i, ',') {
		if f.grouping == '_' {
			return f, valueError(-1, "Cannot specify both ',' and '_'.")
		}
	}
	if is(i, '.') {
		i++
		if f.precision, err = number(); err != nil {
			return f, err
		}
		if f.precision < 0 {
			return f, valueError(-1, "Format specifier missing precision")
		}
	}
	if len(r)-i > 1 {
		return f, valueError(-1, "Invalid format specifier '%s' for object of type '%s'", s, kind)
	}
	if len(r)-i == 1 {
		f.verb = r[i]
	}
	if f.grouping != 0 {
		verb, allowed := f.verb, "defgEG%F"
		if f.grouping == '_' {
			allowed += "boxX"
		}
		if kind == "str" && verb == 0 {
			verb = 's'
		}
		if verb != 0 && !strings.ContainsRune(allowed, verb) {
			return f, valueError(-1, "Cannot specify '%c' with '%c'.", f.grouping, verb)
		}
	}
	return f, nil
}

func (f formatSpec) unknown(kind string) error {
	return valueError(-1, "Unknown format code '%c' for object of type '%s'", f.verb, kind)
}

func formatStr(s, spec string) (string, error) {
	if spec == "" {
		return s, nil
	}
	f, err := parseSpec(spec, "str", '<')
	switch {
	case err != nil:
		return "", err
	case f.verb != 0 && f.verb != 's':
		return "", f.unknown("str")
	case f.sign == ' ':
		return "", valueError(-1, "Space not allowed in string format specifier")
	case f.sign != 0:
		return "", valueError(-1, "Sign not allowed in string format specifier")
	case f.noMinus0:
		return "", valueError(-1, "Negative zero coercion (z) not allowed in string format specifier")
	case f.alternate:
		return "", valueError(-1, "Alternate form (#) not allowed in string format specifier")
	case f.align == '=':
		return "", valueError(-1, "'=' alignment not allowed in string format specifier")
	}
	if f.precision >= 0 && f.precision < utf8.RuneCountInString(s) {
		s = string([]rune(s)[:f.precision])
	}
	return f.pad("", s), nil
}

// pad brings text to the width; before stands before what '=' fills.
func (f formatSpec) pad(before, s string) string {
	missing := f.width - utf8.RuneCountInString(before) - utf8.RuneCountInString(s)
	if missing <= 0 {
		return before + s
	}
	left := missing
	switch f.align {
	case '<':
		left = 0
	case '^':
		left = missing / 2
	case '=':
		return before + strings.Repeat(string(f.fill), missing) + s
	}
	return strings.Repeat(string(f.fill), left) + before + s + strings.Repeat(string(f.fill), missing-left)
}

func formatInt(n *big.Int, spec string) (string, error) {
	f, err := parseSpec(spec, "int", '>')
	if err != nil {
		return "", err
	}
	base, prefix := 10, ""
	switch f.verb {
	case 'e', 'E', 'f', 'F', 'g', 'G', '%':
		v, _ := new(big.Float).SetInt(n).Float64()
		if math.IsInf(v, 0) {
			return "", &FormatError{"OverflowError", "int too large to convert to float", -1}
		}
		return f.float(v)
	case 'b':
		base, prefix = 2, "0b"
	case 'o':
		base, prefix = 8, "0o"
	case 'x', 'X':
		base, prefix = 16, "0"+string(f.verb)
	case 0, 'd', 'n', 'c':
	default:
		return "", f.unknown("int")
	}
	switch {
	case f.precision >= 0:
		return "", valueError(-1, "Precision not allowed in integer format specifier")
	case f.noMinus0:
		return "", valueError(-1, "Negative zero coercion (z) not allowed in integer format specifier")
	case f.verb == 'c':
		return f.char(n)
	}
	digits := new(big.Int).Abs(n).Text(base)
	if f.verb == 'X' {
		digits = strings.ToUpper(digits)
	}
	if !f.alternate {
		prefix = ""
	}
	group := 3
	if base != 10 {
		group = 4
	}
	return f.number(n.Sign() < 0, prefix, digits, "", group), nil
}

func (f formatSpec) char(n *big.Int) (string, error) {
	switch {
	case f.sign != 0:
		return "", valueError(-1, "Sign not allowed with integer format specifier 'c'")
	case f.alternate:
		return "", valueError(-1, "Alternate form (#) not allowed with integer format specifier 'c'")
	case !n.IsInt64() || n.Int64() < 0 || n.Int64() > utf8.MaxRune:
		return "", &FormatError{"OverflowError", "%c arg not in range(0x110000)", -1}
	}
	return f.pad("", string(rune(n.Int64()))), nil
}

func formatFloat(v float64, spec string) (string, error) {
	f, err := parseSpec(spec, "float", '>')
	if err != nil {
		return "", err
	}
	if f.verb != 0 && !strings.ContainsRune("eEfFgGn%", f.verb) {
		return "", f.unknown("float")
	}
	return f.float(v)
}

// float formats a float64 by CPython's rules: without a type as repr, or with a
// precision as g but with a digit behind the point.
func (f formatSpec) float(v float64) (string, error) {
	verb, percent, point := f.verb, "", false
	precision := f.precision
	switch verb {
	case 0:
		point = true
		if verb = 'r'; precision >= 0 {
			verb = 'g'
		}
	case 'n':
		verb = 'g'
	case '%':
		verb, percent, v = 'f', "%", v*100
	}
	if precision < 0 {
		precision = 6
	}
	upper := verb >= 'A' && verb <= 'Z'
	if upper {
		verb += 'a' - 'A'
	}
	negative := math.Signbit(v) && !math.IsNaN(v)
	var s string
	switch abs := math.Abs(v); {
	case math.IsNaN(v):
		s = "nan"
	case math.IsInf(v, 0):
		s = "inf"
	case verb == 'r':
		if s = FormatFloat(abs); f.alternate && !strings.Contains(s, ".") {
			s = strings.Replace(s, "e", ".e", 1)
		}
	case verb == 'g':
		s = generalFloat(abs, max(precision, 1), point, f.alternate)
	default:
		s = strconv.FormatFloat(abs, byte(verb), precision, 64)
		if f.alternate && precision == 0 {
			if mantissa, exponent, ok := strings.Cut(s, "e"); ok {
				s = mantissa + ".e" + exponent
			} else {
				s += "."
			}
		}
	}
	if f.noMinus0 && negative && !strings.ContainsAny(mantissaOf(s), "123456789in") {
		negative = false
	}
	if upper {
		s = strings.ToUpper(s)
	}
	whole := len(s) - len(strings.TrimLeft(s, "0123456789"))
	return f.number(negative, "", s[:whole], s[whole:]+percent, 3), nil
}

func mantissaOf(s string) string {
	m, _, _ := strings.Cut(s, "e")
	return m
}

// generalFloat is C's %g of a value that is not negative: p significant digits,
// an exponent below 1e-4 and from 10^p on, trailing zeros only in the alternate
// form. point keeps a digit behind the point, and then the exponent begins one
// digit earlier.
func generalFloat(v float64, p int, point, alternate bool) string {
	mantissa, exponent, _ := strings.Cut(strconv.FormatFloat(v, 'e', p-1, 64), "e")
	digits := strings.Replace(mantissa, ".", "", 1)
	x, _ := strconv.Atoi(exponent)
	if !alternate {
		if digits = strings.TrimRight(digits, "0"); digits == "" {
			digits = "0"
		}
	}
	limit := p
	if point {
		limit--
	}
	if x < -4 || x+1 > limit {
		s := digits[:1]
		if len(digits) > 1 || alternate {
			s += "." + digits[1:]
		}
		return s + fmt.Sprintf("e%+03d", x)
	}
	whole, fraction := "0", ""
	switch {
	case x < 0:
		fraction = strings.Repeat("0", -x-1) + digits
	case x+1 >= len(digits):
		whole = digits + strings.Repeat("0", x+1-len(digits))
	default:
		whole, fraction = digits[:x+1], digits[x+1:]
	}
	switch {
	case fraction != "" || alternate:
		return whole + "." + fraction
	case point:
		return whole + ".0"
	}
	return whole
}

// number puts sign, prefix, grouped digits and the rest together and pads them.
func (f formatSpec) number(negative bool, prefix, digits, rest string, group int) string {
	before := prefix
	switch {
	case negative:
		before = "-" + prefix
	case f.sign == '+' || f.sign == ' ':
		before = string(f.sign) + prefix
	}
	if f.grouping != 0 && digits != "" {
		least := 0
		if f.fill == '0' && f.align == '=' {
			least = f.width - len(before) - len(rest)
		}
		digits = grouped(digits, string(f.grouping), group, least)
	}
	return f.pad(before, digits+rest)
}

// grouped puts separators between groups of digits from the right, with zeros
// before them up to a least width; no separator comes first, so that the result
// may be one wider. It is CPython's _PyUnicode_InsertThousandsGrouping.
func grouped(digits, separator string, group, least int) string {
	var parts []string
	for {
		n := min(group, max(len(digits), least, 1))
		zeros, taken := max(0, n-len(digits)), min(len(digits), n)
		parts = append(parts, strings.Repeat("0", zeros)+digits[len(digits)-taken:])
		digits = digits[:len(digits)-taken]
		if least -= n; len(digits) == 0 && least <= 0 {
			break
		}
		least--
	}
	var b strings.Builder
	for i := len(parts) - 1; i >= 0; i-- {
		b.WriteString(parts[i])
		if i > 0 {
			b.WriteString(separator)
		}
	}
	return b.String()
}
