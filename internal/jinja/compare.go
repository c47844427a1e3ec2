package jinja

import (
	"math"
	"math/big"
	"strings"
	"unicode/utf8"
)

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
