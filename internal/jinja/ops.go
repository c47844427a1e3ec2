package jinja

import (
	"math"
	"math/big"
	"strings"
	"unicode/utf8"
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
			raise("TypeError", "can't multiply sequence by non-int of type '%s'", typeName(b))
		} else if isSequence(b) {
			raise("TypeError", "can't multiply sequence by non-int of type '%s'", typeName(a))
		}
	}
	if op == "**" {
		op = "** or pow()"
	}
	raise("TypeError", "unsupported operand type(s) for %s: '%s' and '%s'", op, typeName(a), typeName(b))
	return nil
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

// maxCompare bounds the nesting of values that are compared.
const maxCompare = 400

// equal is Python's a == b.
func (r *state) equal(a, b any) bool { return r.equalAt(a, b, 0) }

func (r *state) equalAt(a, b any, depth int) bool {
	r.step(1)
	if depth > maxCompare {
		raise("RecursionError", "maximum recursion depth exceeded in comparison")
	}
	if u, ok := a.(*undefined); ok {
		u.use(u.kind == Strict)
		v, ok := b.(*undefined)
		return ok && u.kind == v.kind
	}
	if u, ok := b.(*undefined); ok {
		u.use(u.kind == Strict)
		return false
	}
	if s, ok := asStr(a); ok {
		t, ok := asStr(b)
		return ok && s == t
	}
	m, f, mInt, mOK := number(a)
	if mOK {
		n, g, nInt, nOK := number(b)
		switch {
		case !nOK:
			return false
		case mInt && nInt:
			return m.Cmp(n) == 0
		}
		return compareNumbers(m, f, n, g) == 0
	}
	seq := func(x, y []any) bool {
		if len(x) != len(y) {
			return false
		}
		for i := range x {
			if !r.same(x[i], y[i], depth+1) {
				return false
			}
		}
		return true
	}
	switch x := a.(type) {
	case *list:
		y, ok := b.(*list)
		return ok && (x == y || seq(x.items, y.items))
	case group:
		return r.equalAt(x.tuple, b, depth)
	case tuple:
		if g, ok := b.(group); ok {
			b = g.tuple
		}
		y, ok := b.(tuple)
		return ok && seq(x, y)
	case *dict:
		y, ok := b.(*dict)
		if !ok || len(x.keys) != len(y.keys) {
			return false
		}
		for i, k := range x.keys {
			v, ok := y.get(k)
			if !ok || !r.same(x.vals[i], v, depth+1) {
				return false
			}
		}
		return true
	case *span:
		y, ok := b.(*span)
		return ok && x.n == y.n && (x.n == 0 || x.start == y.start && (x.n == 1 || x.step == y.step))
	}
	return a == b
}

// same is the comparison of items within containers: identity, then equality.
func (r *state) same(a, b any, depth int) bool {
	if f, ok := a.(float64); ok && f != f {
		return false
	}
	if u, ok := a.(*undefined); ok && a == b {
		return u != nil
	}
	return r.equalAt(a, b, depth)
}

// compareNumbers orders numbers of which at least one is a float: -1, 0 or 1,
// or 2 where one is not a number.
func compareNumbers(m *big.Int, f float64, n *big.Int, g float64) int {
	switch {
	case f != f || g != g:
		return 2
	case m != nil && !math.IsInf(g, 0):
		return new(big.Float).SetInt(m).Cmp(big.NewFloat(g))
	case n != nil && !math.IsInf(f, 0):
		return big.NewFloat(f).Cmp(new(big.Float).SetInt(n))
	case f < g:
		return -1
	case f > g:
		return 1
	}
	return 0
}

// less is Python's a < b; op is the operator as written, for the error.
func (r *state) less(a, b any, op string) bool { return r.order(a, b, op, 0) }

// order computes a op b for an op of "<", "<=", ">" and ">=".
func (r *state) order(a, b any, op string, depth int) bool {
	r.step(1)
	if depth > maxCompare {
		raise("RecursionError", "maximum recursion depth exceeded in comparison")
	}
	for _, v := range []any{a, b} {
		if u, ok := v.(*undefined); ok {
			u.fail()
		}
	}
	decide := func(c int) bool {
		switch op {
		case "<":
			return c == -1
		case "<=":
			return c == -1 || c == 0
		case ">":
			return c == 1
		}
		return c == 1 || c == 0
	}
	if s, ok := asStr(a); ok {
		if t, ok := asStr(b); ok {
			return decide(strings.Compare(s, t))
		}
	}
	m, f, mInt, mOK := number(a)
	n, g, nInt, nOK := number(b)
	if mOK && nOK {
		if mInt && nInt {
			return decide(m.Cmp(n))
		}
		return decide(compareNumbers(m, f, n, g))
	}
	x, y := sequence(a), sequence(b)
	if x != nil && y != nil && typeName(a) == typeName(b) {
		for i := range min(len(*x), len(*y)) {
			if !r.same((*x)[i], (*y)[i], depth+1) {
				return r.order((*x)[i], (*y)[i], op, depth+1)
			}
		}
		switch {
		case len(*x) < len(*y):
			return decide(-1)
		case len(*x) > len(*y):
			return decide(1)
		}
		return decide(0)
	}
	raise("TypeError", "'%s' not supported between instances of '%s' and '%s'", op, typeName(a), typeName(b))
	return false
}

// sequence is the items of a list or tuple, else nil.
func sequence(v any) *[]any {
	switch x := v.(type) {
	case *list:
		return &x.items
	case tuple:
		s := []any(x)
		return &s
	case group:
		s := []any(x.tuple)
		return &s
	}
	return nil
}

// contains is Python's "v in seq".
func (r *state) contains(seq, v any) bool {
	if s, ok := asStr(seq); ok {
		part, ok := asStr(v)
		if !ok {
			raise("TypeError", "'in <string>' requires string as left operand, not %s", typeName(v))
		}
		r.step(len(s) / 64)
		return strings.Contains(s, part)
	}
	switch x := seq.(type) {
	case *dict:
		_, ok := x.get(v)
		return ok
	case *undefined:
		x.use(x.kind == Strict)
		return false
	case *view:
		if x.kind == "keys" {
			_, ok := x.d.get(v)
			return ok
		}
	}
	if !iterable(seq) {
		raise("TypeError", "argument of type '%s' is not iterable", typeName(seq))
	}
	next := r.iterate(seq)
	for item, ok := next(); ok; item, ok = next() {
		if r.same(item, v, 0) {
			return true
		}
	}
	return false
}

// compare evaluates one comparison of a chain.
func (r *state) compare(op string, a, b any) bool {
	switch op {
	case "==":
		return r.equal(a, b)
	case "!=":
		return !r.equal(a, b)
	case "in":
		return r.contains(b, a)
	case "not in":
		return !r.contains(b, a)
	}
	return r.order(a, b, op, 0)
}

// sliceBounds resolves a slice over n items as Python's slice.indices does.
func sliceBounds(start, stop, step any, n int) (from, to, by int) {
	index := func(v any, name string) (int, bool) {
		if v == nil {
			return 0, false
		}
		if k, ok := smallInt(v); ok {
			return k, true
		}
		if b, ok := v.(*big.Int); ok {
			if b.Sign() < 0 {
				return math.MinInt32, true
			}
			return math.MaxInt32, true
		}
		if u, ok := v.(*undefined); ok && u.kind == Strict {
			u.fail()
		}
		raise("TypeError", "slice indices must be integers or None or have an __index__ method")
		return 0, false
	}
	by = 1
	if k, ok := index(step, "step"); ok {
		if by = k; by == 0 {
			raise("ValueError", "slice step cannot be zero")
		}
	}
	low, high := 0, n
	if by < 0 {
		low, high = -1, n-1
	}
	clamp := func(v any, missing int) int {
		k, ok := index(v, "")
		if !ok {
			return missing
		}
		if k < 0 {
			k += n
		}
		return max(low, min(high, k))
	}
	if by > 0 {
		return clamp(start, low), clamp(stop, high), by
	}
	return clamp(start, high), clamp(stop, low), by
}

// slice is v[start:stop:step].
func (r *state) slice(v, start, stop, step any) any {
	pick := func(n int, add func(i int)) {
		from, to, by := sliceBounds(start, stop, step, n)
		for i := from; by > 0 && i < to || by < 0 && i > to; i += by {
			add(i)
		}
	}
	switch x := v.(type) {
	case string:
		return r.sliceString(x, start, stop, step)
	case markup:
		return markup(r.sliceString(string(x), start, stop, step))
	case *list:
		out := &list{}
		pick(len(x.items), func(i int) { out.items = append(out.items, x.items[i]) })
		r.build(16 * len(out.items))
		return out
	case group:
		return r.slice(x.tuple, start, stop, step)
	case tuple:
		out := tuple{}
		pick(len(x), func(i int) { out = append(out, x[i]) })
		r.build(16 * len(out))
		return out
	case *span:
		from, to, by := sliceBounds(start, stop, step, x.n)
		return newSpan(x.start+from*x.step, x.start+to*x.step, x.step*by)
	case *dict:
		raise("TypeError", "unhashable type: 'slice'")
	case *undefined:
		if x.kind == Chainable {
			return x
		}
		x.fail()
	}
	raise("TypeError", "'%s' object is not subscriptable", typeName(v))
	return nil
}

func (r *state) sliceString(s string, start, stop, step any) string {
	r.build(len(s))
	ascii := true
	for i := 0; i < len(s) && ascii; i++ {
		ascii = s[i] < utf8.RuneSelf
	}
	if ascii {
		from, to, by := sliceBounds(start, stop, step, len(s))
		if by == 1 {
			return s[from:max(from, to)]
		}
	}
	runes := []rune(s)
	from, to, by := sliceBounds(start, stop, step, len(runes))
	var b strings.Builder
	for i := from; by > 0 && i < to || by < 0 && i > to; i += by {
		b.WriteRune(runes[i])
	}
	return b.String()
}

func newSpan(start, stop, step int) *span {
	s := &span{start: start, stop: stop, step: step}
	switch {
	case step > 0 && stop > start:
		s.n = (stop-start-1)/step + 1
	case step < 0 && stop < start:
		s.n = (start-stop-1)/-step + 1
	}
	return s
}
