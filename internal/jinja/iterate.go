package jinja

import "unicode/utf8"

// iterate returns a function that yields the items of v one by one. Walking a
// list sees what is appended to it meanwhile, as in Python.
func (r *state) iterate(v any) func() (any, bool) {
	i := -1
	upTo := func(n func() int, at func(i int) any) func() (any, bool) {
		return func() (any, bool) {
			if i++; i >= n() {
				return nil, false
			}
			r.step(1)
			return at(i), true
		}
	}
	switch x := v.(type) {
	case *list:
		return upTo(func() int { return len(x.items) }, func(i int) any { return x.items[i] })
	case tuple:
		return upTo(func() int { return len(x) }, func(i int) any { return x[i] })
	case group:
		return r.iterate(x.tuple)
	case *dict:
		return upTo(func() int { return len(x.keys) }, func(i int) any { return x.keys[i] })
	case *span:
		return upTo(func() int { return x.n }, func(i int) any { return x.start + i*x.step })
	case *view:
		switch x.kind {
		case "keys":
			return r.iterate(x.d)
		case "values":
			return upTo(func() int { return len(x.d.keys) }, func(i int) any { return x.d.vals[i] })
		}
		return upTo(func() int { return len(x.d.keys) }, func(i int) any { return x.d.item(i) })
	case string, markup: // a Markup yields plain characters
		s, _ := asStr(x)
		return func() (any, bool) {
			if s == "" {
				return nil, false
			}
			r.step(1)
			_, width := utf8.DecodeRuneInString(s)
			c := s[:width]
			s = s[width:]
			return c, true
		}
	case *stream:
		return func() (any, bool) { r.step(1); return x.next() }
	case *loop:
		return func() (any, bool) {
			item, ok := x.advance()
			return tuple{item, x}, ok
		}
	case *undefined:
		x.use(x.kind == Strict)
		return func() (any, bool) { return nil, false }
	}
	raise("TypeError", "'%s' object is not iterable", typeName(v))
	return nil
}

// items is Python's list(v).
func (r *state) items(v any) []any {
	if l, ok := v.(*list); ok {
		r.step(len(l.items) / 16)
		return append([]any(nil), l.items...)
	}
	next := r.iterate(v)
	var all []any
	for item, ok := next(); ok; item, ok = next() {
		all = append(all, item)
	}
	return all
}

// iterable tells whether iterate takes v.
func iterable(v any) bool {
	switch v.(type) {
	case *list, tuple, group, *dict, *span, *view, string, markup, *stream, *loop, *undefined:
		return true
	}
	return false
}
