package jinja

import (
	"math"
	"math/big"
	"strconv"
	"strings"

	"github.com/evalrun/evalrun/core/text"
)

func filterFloat(r *state, a *args) any {
	v := a.bind("do_float", "value", "default?")
	if f, ok := toFloat(v[0]); ok {
		return f
	}
	return or(v[1], 0.0)
}

// toFloat is Python's float(v); ok is false for a TypeError or ValueError.
func toFloat(v any) (float64, bool) {
	if s, ok := asStr(v); ok {
		return text.ParseFloat(s)
	}
	if u, ok := v.(*undefined); ok {
		u.fail()
	}
	_, f, isInt, ok := number(v)
	if isInt && math.IsInf(f, 0) {
		raise("OverflowError", "int too large to convert to float")
	}
	return f, ok
}

func filterInt(r *state, a *args) any {
	v := a.bind("do_int", "value", "default?", "base?")
	if s, ok := asStr(v[0]); ok {
		if n, ok := parseInt(s, wantInt(or(v[2], 10))); ok {
			return normInt(n)
		}
	} else if n, f, isInt, ok := number(v[0]); ok {
		switch {
		case isInt:
			return normInt(n)
		case math.IsInf(f, 0):
			raise("OverflowError", "cannot convert float infinity to integer")
		case math.IsNaN(f):
			return or(v[1], 0)
		}
		return normInt(truncated(f))
	}
	f, ok := toFloat(v[0])
	if !ok || math.IsInf(f, 0) || math.IsNaN(f) {
		return or(v[1], 0)
	}
	return normInt(truncated(f))
}

// parseInt is Python's int(s, base).
func parseInt(s string, base int) (*big.Int, bool) {
	if base == 10 {
		return text.ParseInt(s)
	}
	s = text.Strip(s)
	if base != 0 && (base < 2 || base > 36) {
		return nil, false
	}
	sign, digits := "", s
	if s != "" && (s[0] == '-' || s[0] == '+') {
		sign, digits = s[:1], s[1:]
	}
	lower := strings.ToLower(digits)
	for prefix, b := range map[string]int{"0x": 16, "0o": 8, "0b": 2} {
		if strings.HasPrefix(lower, prefix) && (base == b || base == 0) {
			base, digits = b, strings.TrimPrefix(digits[2:], "_")
			break
		}
	}
	if base == 0 {
		base = 10
	}
	if digits == "" || strings.HasPrefix(digits, "_") || strings.HasSuffix(digits, "_") || strings.Contains(digits, "__") || strings.ContainsAny(digits, "+-") {
		return nil, false
	}
	return new(big.Int).SetString(sign+strings.ReplaceAll(digits, "_", ""), base)
}

func filterRound(r *state, a *args) any {
	v := a.bind("do_round", "value", "precision?", "method?")
	how := str(or(v[2], "common"))
	p := wantInt(or(v[1], 0))
	n, f, isInt, ok := number(v[0])
	if u, is := v[0].(*undefined); is {
		u.use(how != "common")
	}
	switch {
	case how != "common" && how != "ceil" && how != "floor":
		raise("FilterArgumentError", "method must be common, ceil or floor")
	case !ok && how == "common":
		raise("TypeError", "type %s doesn't define __round__ method", typeName(v[0]))
	case how == "common" && isInt:
		return roundInt(n, p)
	case how == "common":
		return roundFloat(f, p)
	}
	scaled := r.arith("*", v[0], r.arith("**", 10, p))
	_, x, whole, _ := number(scaled)
	if !whole {
		if how == "ceil" {
			x = math.Ceil(x)
		} else {
			x = math.Floor(x)
		}
		scaled = normInt(truncated(x))
	}
	return r.arith("/", scaled, r.arith("**", 10, p))
}

// roundInt is round(n, p) of an int: for negative p to even tens.
func roundInt(n *big.Int, p int) any {
	if p >= 0 {
		return normInt(n)
	}
	if p < -4300 {
		return 0
	}
	unit := new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(-p)), nil)
	half := new(big.Int).Rsh(unit, 1)
	q, m := new(big.Int).DivMod(n, unit, new(big.Int))
	if c := m.Cmp(half); c > 0 || c == 0 && q.Bit(0) == 1 {
		q.Add(q, big.NewInt(1))
	}
	return normInt(q.Mul(q, unit))
}

// roundFloat is round(x, p) of a float: correctly rounded from its exact value,
// ties to even.
func roundFloat(x float64, p int) float64 {
	if math.IsNaN(x) || math.IsInf(x, 0) || p > 323 {
		return x
	}
	if p >= 0 {
		f, _ := strconv.ParseFloat(strconv.FormatFloat(x, 'f', p, 64), 64)
		return f
	}
	if p < -308 {
		return math.Copysign(0, x)
	}
	unit := math.Pow(10, float64(-p))
	return math.RoundToEven(x/unit) * unit
}

func filterFileSize(r *state, a *args) any {
	v := a.bind("do_filesizeformat", "value", "binary?")
	f, ok := toFloat(v[0])
	if !ok {
		raise("ValueError", "could not convert string to float: %s", repr(v[0]))
	}
	base, units := 1000.0, []string{"kB", "MB", "GB", "TB", "PB", "EB", "ZB", "YB"}
	if truth(or(v[1], false)) {
		base, units = 1024, []string{"KiB", "MiB", "GiB", "TiB", "PiB", "EiB", "ZiB", "YiB"}
	}
	switch {
	case f == 1:
		return "1 Byte"
	case f < base:
		return truncated(f).String() + " Bytes"
	}
	unit := base
	for i, name := range units {
		unit *= base
		if f < unit || i == len(units)-1 {
			return strconv.FormatFloat(base*f/unit, 'f', 1, 64) + " " + name
		}
	}
	return nil
}
