package jinja

import (
	"math"
	"math/big"
	"strings"
)

// number reads v as a Python number: an int (bool counts as one) or a float.
func number(v any) (n *big.Int, f float64, isInt, ok bool) {
	switch x := v.(type) {
	case bool:
		if x {
			return big.NewInt(1), 1, true, true
		}
		return new(big.Int), 0, true, true
	case int:
		return big.NewInt(int64(x)), float64(x), true, true
	case *big.Int:
		f, _ := new(big.Float).SetInt(x).Float64()
		return x, f, true, true
	case float64:
		return nil, x, false, true
	}
	return nil, 0, false, false
}

// smallInt reads v as an int that fits Go's.
func smallInt(v any) (int, bool) {
	switch x := v.(type) {
	case bool:
		if x {
			return 1, true
		}
		return 0, true
	case int:
		return x, true
	}
	return 0, false
}

// arith computes a op b as Python does.
func (r *state) arith(op string, a, b any) any {
	x, aInt := a.(int)
	y, bInt := b.(int)
	if aInt && bInt {
		if v, ok := intArith(op, x, y); ok {
			return v
		}
	}
	if s, ok := asStr(a); ok && op == "%" {
		return r.percent(s, b, isMarkup(a))
	}
	if u, ok := a.(*undefined); ok {
		u.fail()
	}
	if u, ok := b.(*undefined); ok {
		u.fail()
	}
	m, f, mInt, mOK := number(a)
	n, g, nInt, nOK := number(b)
	switch {
	case mOK && nOK && mInt && nInt:
		return r.bigArith(op, m, n)
	case mOK && nOK:
		if mInt && math.IsInf(f, 0) || nInt && math.IsInf(g, 0) {
			raise("OverflowError", "int too large to convert to float")
		}
		return floatArith(op, f, g)
	case op == "+":
		return r.add(a, b)
	case op == "*":
		if k, ok := smallInt(b); ok {
			if v, ok := r.repeat(a, k); ok {
				return v
			}
		} else if k, ok := smallInt(a); ok {
			if v, ok := r.repeat(b, k); ok {
				return v
			}
		} else if isSequence(a) {
			notRepeated(a, b)
		} else if isSequence(b) {
			notRepeated(b, a)
		}
	}
	if op == "**" {
		op = "** or pow()"
	}
	raise("TypeError", "unsupported operand type(s) for %s: '%s' and '%s'", op, typeName(a), typeName(b))
	return nil
}

// notRepeated fails for a sequence times what is no small int.
func notRepeated(seq, by any) {
	if _, ok := by.(*big.Int); ok {
		raise("OverflowError", "cannot fit 'int' into an index-sized integer")
	}
	if isMarkup(seq) {
		raise("TypeError", "'%s' object cannot be interpreted as an integer", typeName(by))
	}
	raise("TypeError", "can't multiply sequence by non-int of type '%s'", typeName(by))
}

func isMarkup(v any) bool { _, ok := v.(markup); return ok }

func isSequence(v any) bool {
	switch v.(type) {
	case string, markup, *list, tuple, group:
		return true
	}
	return false
}

// intArith is the fast path: no overflow, no zero division.
func intArith(op string, x, y int) (any, bool) {
	switch op {
	case "+":
		s := x + y
		return s, (s > x) == (y > 0)
	case "-":
		s := x - y
		return s, (s < x) == (y > 0)
	case "*":
		const half = 1 << 31
		if x > -half && x < half && y > -half && y < half {
			return x * y, true
		}
	case "//":
		if y > 0 {
			q := x / y
			if x%y < 0 {
				q--
			}
			return q, true
		}
	case "%":
		if y > 0 {
			m := x % y
			if m < 0 {
				m += y
			}
			return m, true
		}
	}
	return nil, false
}

// maxBits bounds the size of an int.
const maxBits = 1 << 17

func (r *state) bigArith(op string, a, b *big.Int) any {
	r.step((a.BitLen() + b.BitLen()) / 256)
	z := new(big.Int)
	switch op {
	case "+":
		return normInt(z.Add(a, b))
	case "-":
		return normInt(z.Sub(a, b))
	case "*":
		if a.BitLen()+b.BitLen() > maxBits {
			raise("LimitError", "an integer of more than %d bits", maxBits)
		}
		return normInt(z.Mul(a, b))
	case "/":
		if b.Sign() == 0 {
			raise("ZeroDivisionError", "division by zero")
		}
		f, _ := new(big.Rat).SetFrac(a, b).Float64()
		if math.IsInf(f, 0) {
			raise("OverflowError", "integer division result too large for a float")
		}
		return f
	case "//", "%":
		if b.Sign() == 0 {
			if op == "%" {
				raise("ZeroDivisionError", "integer modulo by zero")
			}
			raise("ZeroDivisionError", "integer division or modulo by zero")
		}
		m := new(big.Int)
		z.QuoRem(a, b, m)
		if m.Sign() != 0 && m.Sign() != b.Sign() {
			z.Sub(z, big.NewInt(1))
			m.Add(m, b)
		}
		if op == "%" {
			return normInt(m)
		}
		return normInt(z)
	}
	if b.Sign() < 0 { // **
		_, f, _, _ := number(normInt(a))
		_, g, _, _ := number(normInt(b))
		return floatArith("**", f, g)
	}
	if a.BitLen() > 1 && (!b.IsInt64() || b.Int64()*int64(a.BitLen()) > maxBits) {
		raise("LimitError", "an integer of more than %d bits", maxBits)
	}
	if a.BitLen() <= 1 { // 0, 1, -1: the exponent may be large
		if b.Sign() > 0 {
			b = new(big.Int).Add(big.NewInt(2), new(big.Int).And(b, big.NewInt(1)))
		}
	}
	return normInt(z.Exp(a, b, nil))
}

func floatArith(op string, x, y float64) any {
	switch op {
	case "+":
		return x + y
	case "-":
		return x - y
	case "*":
		return x * y
	case "/":
		if y == 0 {
			raise("ZeroDivisionError", "float division by zero")
		}
		return x / y
	case "//", "%":
		if y == 0 {
			if op == "%" {
				raise("ZeroDivisionError", "float modulo")
			}
			raise("ZeroDivisionError", "float floor division by zero")
		}
		// CPython's float_divmod: the quotient is rounded from what the
		// remainder leaves.
		mod := math.Mod(x, y)
		div := (x - mod) / y
		if mod != 0 {
			if (y < 0) != (mod < 0) {
				mod += y
				div--
			}
		} else {
			mod = math.Copysign(0, y)
		}
		if op == "%" {
			return mod
		}
		if div == 0 {
			return math.Copysign(0, x/y)
		}
		floor := math.Floor(div)
		if div-floor > 0.5 {
			floor++
		}
		return floor
	}
	switch { // **
	case x == 0 && y < 0:
		raise("ZeroDivisionError", "0.0 cannot be raised to a negative power")
	case x < 0 && y != math.Trunc(y) && !math.IsInf(x, 0) && !math.IsInf(y, 0):
		raise("Unsupported", "complex numbers are not supported")
	}
	p := math.Pow(x, y)
	if math.IsInf(p, 0) && !math.IsInf(x, 0) && !math.IsInf(y, 0) {
		raise("OverflowError", "(34, 'Numerical result out of range')")
	}
	return p
}

// add is "+" for sequences.
func (r *state) add(a, b any) any {
	s, aText := asStr(a)
	t, bText := asStr(b)
	switch {
	case aText && bText:
		r.build(len(s) + len(t))
		if isMarkup(a) || isMarkup(b) {
			return markup(escaped(a) + escaped(b))
		}
		return s + t
	case aText:
		raise("TypeError", `can only concatenate str (not "%s") to str`, typeName(b))
	}
	switch x := a.(type) {
	case *list:
		if y, ok := b.(*list); ok {
			r.build(16 * (len(x.items) + len(y.items)))
			return &list{append(append([]any(nil), x.items...), y.items...)}
		}
		raise("TypeError", `can only concatenate list (not "%s") to list`, typeName(b))
	case group:
		return r.add(x.tuple, b)
	case tuple:
		if g, ok := b.(group); ok {
			b = g.tuple
		}
		if y, ok := b.(tuple); ok {
			r.build(16 * (len(x) + len(y)))
			return append(append(tuple(nil), x...), y...)
		}
		raise("TypeError", `can only concatenate tuple (not "%s") to tuple`, typeName(b))
	}
	raise("TypeError", "unsupported operand type(s) for +: '%s' and '%s'", typeName(a), typeName(b))
	return nil
}

// repeat is sequence * k.
func (r *state) repeat(seq any, k int) (any, bool) {
	k = max(k, 0)
	fits := func(n, size int) {
		if n > 0 && k > r.t.opts.Limits.Bytes/(n*size) {
			r.build(r.t.opts.Limits.Bytes + 1)
		}
		r.build(n * k * size)
	}
	many := func(items []any) []any {
		fits(len(items), 16)
		out := make([]any, 0, len(items)*k)
		for range k {
			out = append(out, items...)
		}
		return out
	}
	switch x := seq.(type) {
	case string:
		fits(len(x), 1)
		return strings.Repeat(x, k), true
	case markup:
		fits(len(x), 1)
		return markup(strings.Repeat(string(x), k)), true
	case *list:
		return &list{many(x.items)}, true
	case tuple:
		return tuple(many(x)), true
	}
	return nil, false
}

func (r *state) unary(op string, v any) any {
	if op == "not" {
		return !truth(v)
	}
	if u, ok := v.(*undefined); ok {
		u.fail()
	}
	n, f, isInt, ok := number(v)
	switch {
	case !ok:
		raise("TypeError", "bad operand type for unary %s: '%s'", op, typeName(v))
	case isInt && op == "-":
		return normInt(new(big.Int).Neg(n))
	case isInt:
		return normInt(n)
	case op == "-":
		return -f
	}
	return f
}
