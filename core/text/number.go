package text

import (
	"math"
	"math/big"
	"strconv"
	"strings"
	"unicode"
)

// ParseFloat reads s as Python's float(str) does and reports whether Python
// would have accepted it. Accepted beyond strconv.ParseFloat: white space on
// both sides, single underscores between digits ("1_0"), the decimal digits of
// every script, and numbers too large for a float64, which become infinities.
// Refused although strconv takes it: hexadecimal.
func ParseFloat(s string) (float64, bool) {
	body, ok := asciiNumber(s)
	if !ok {
		return 0, false
	}
	sign, rest := 1.0, body
	if rest != "" && (rest[0] == '+' || rest[0] == '-') {
		if rest[0] == '-' {
			sign = -1
		}
		rest = rest[1:]
	}
	switch strings.ToLower(rest) {
	case "inf", "infinity":
		return math.Inf(int(sign)), true
	case "nan":
		return math.NaN(), true
	}
	if !plainDecimal(rest) {
		return 0, false
	}
	f, err := strconv.ParseFloat(strings.ReplaceAll(rest, "_", ""), 64)
	if err != nil && !math.IsInf(f, 0) {
		return 0, false
	}
	return math.Copysign(f, sign), true
}

// ParseInt reads s as Python's int(str) in base ten does: white space on both
// sides, a sign, underscores between digits and the decimal digits of every
// script are accepted; a point or an exponent is not. Integers have no upper
// limit, but as in Python (its default since 3.11) more than 4300 digits are
// refused.
func ParseInt(s string) (*big.Int, bool) {
	body, ok := asciiNumber(s)
	if !ok {
		return nil, false
	}
	digits := strings.TrimLeft(body, "+-")
	if len(body)-len(digits) > 1 || !digitRun(digits) {
		return nil, false
	}
	clean := strings.ReplaceAll(digits, "_", "")
	if len(clean) > 4300 {
		return nil, false
	}
	n, ok := new(big.Int).SetString(clean, 10)
	if !ok {
		return nil, false
	}
	if body[0] == '-' {
		n.Neg(n)
	}
	return n, true
}

// asciiNumber strips s and turns decimal digits of any script into ASCII. It
// reports false when other non-ASCII remains. What CPython strips here is not
// quite what str.strip does: of the ASCII range only \t\n\v\f\r and the blank,
// so float("\x1c1") is an error.
func asciiNumber(s string) (string, bool) {
	s = strings.TrimFunc(s, func(r rune) bool {
		return IsSpace(r) && !(r >= 0x1c && r <= 0x1f)
	})
	ascii := true
	for i := 0; i < len(s) && ascii; i++ {
		ascii = s[i] < 0x80
	}
	if ascii {
		return s, true
	}
	var b strings.Builder
	b.Grow(len(s))
	for _, r := range s {
		if r < 0x80 {
			b.WriteRune(r)
			continue
		}
		d, ok := decimalDigit(r)
		if !ok {
			return "", false
		}
		b.WriteByte('0' + byte(d))
	}
	return b.String(), true
}

// decimalDigit gives the value of a rune of category Nd. Unicode lays decimal
// digits out in runs of ten in ascending order, so the value follows from the
// distance to the start of the range.
func decimalDigit(r rune) (int, bool) {
	for _, t := range unicode.Nd.R16 {
		if uint32(r) >= uint32(t.Lo) && uint32(r) <= uint32(t.Hi) {
			return int(uint32(r)-uint32(t.Lo)) % 10, true
		}
	}
	for _, t := range unicode.Nd.R32 {
		if uint32(r) >= t.Lo && uint32(r) <= t.Hi {
			return int(uint32(r)-t.Lo) % 10, true
		}
	}
	return 0, false
}

// plainDecimal checks digits [. digits] [e [sign] digits] with single
// underscores between digits; one of the two digit runs before the exponent
// may be missing.
func plainDecimal(s string) bool {
	if at := strings.IndexAny(s, "eE"); at >= 0 {
		exponent := s[at+1:]
		if exponent != "" && (exponent[0] == '+' || exponent[0] == '-') {
			exponent = exponent[1:]
		}
		if !digitRun(exponent) {
			return false
		}
		s = s[:at]
	}
	whole, fraction, point := strings.Cut(s, ".")
	switch {
	case !point:
		return digitRun(whole)
	case whole == "":
		return digitRun(fraction)
	case fraction == "":
		return digitRun(whole)
	}
	return digitRun(whole) && digitRun(fraction)
}

// digitRun reports whether s is one or more ASCII digits with at most one
// underscore between two of them.
func digitRun(s string) bool {
	after := byte('_') // what stood before: an underscore may not come first
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c == '_' && after == '_' || c != '_' && (c < '0' || c > '9') {
			return false
		}
		after = c
	}
	return after != '_'
}

// FormatFloat prints f as Python's repr(float) and str(float) do: the shortest
// digits that read back as f, always with a point or an exponent, an exponent
// only below 1e-4 and from 1e16 on.
func FormatFloat(f float64) string {
	switch {
	case math.IsNaN(f):
		return "nan"
	case math.IsInf(f, 1):
		return "inf"
	case math.IsInf(f, -1):
		return "-inf"
	}
	abs := math.Abs(f)
	if abs != 0 && (abs < 1e-4 || abs >= 1e16) {
		return strconv.FormatFloat(f, 'e', -1, 64) // Go and Python both print two exponent digits at least
	}
	s := strconv.FormatFloat(f, 'f', -1, 64)
	if !strings.Contains(s, ".") {
		s += ".0"
	}
	return s
}
