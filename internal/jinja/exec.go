package jinja

import (
	"strings"
)

// flow says how a statement ended.
type flow int

const (
	onward flow = iota
	breaking
	continuing
)

// exec runs statements and writes their output.
func (r *state) exec(body []stmt, sc *scope, w *strings.Builder) flow {
	for _, s := range body {
		r.step(0)
		if f := r.statement(s, sc, w); f != onward {
			return f
		}
	}
	return onward
}

// write appends to the output of a block.
func (r *state) write(w *strings.Builder, s string) {
	r.build(len(s))
	if w.Len()+len(s) > r.t.opts.Limits.Bytes {
		r.build(w.Len() + len(s))
	}
	w.WriteString(s)
}

// capture is the output of a block as a string.
func (r *state) capture(body []stmt, sc *scope) (string, flow) {
	var b strings.Builder
	f := r.exec(body, sc, &b)
	return b.String(), f
}

func (r *state) statement(s stmt, sc *scope, w *strings.Builder) flow {
	switch x := s.(type) {
	case *outputStmt:
		for i, item := range x.items {
			r.line = x.lines[i]
			if data, ok := item.(string); ok {
				r.write(w, data)
				continue
			}
			r.write(w, str(r.eval(item, sc)))
		}
	case *ifStmt:
		r.line = x.line
		for i, test := range x.tests {
			if truth(r.eval(test, sc)) {
				return r.exec(x.bodies[i], sc, w)
			}
		}
		return r.exec(x.otherwise, sc, w)
	case *forStmt:
		r.line = x.line
		r.forLoop(x, r.eval(x.iter, sc), sc, w, 0)
	case *setStmt:
		r.line = x.line
		r.checkNamespaces(x.target, sc)
		r.assign(x.target, r.eval(x.value, sc), sc)
	case *setBlockStmt:
		r.line = x.line
		out, f := r.capture(x.body, newScope(sc, x.hidden))
		var v any = out
		if x.filter != nil {
			v = r.eval(fill(x.filter, out), sc)
		}
		r.checkNamespaces(x.target, sc)
		r.assign(x.target, v, sc)
		return f
	case *withStmt:
		r.line = x.line
		inner := newScope(sc, x.hidden)
		for i, to := range x.targets {
			r.assign(to, r.eval(x.values[i], sc), inner)
		}
		return r.exec(x.body, inner, w)
	case *macroStmt:
		sc.set(x.name, &macro{def: x, sc: sc})
	case *callStmt:
		r.line = x.line
		a := r.args(&x.call.args, sc)
		a.kw = append(a.kw, keyword{"caller", &macro{def: &x.macro, sc: sc}})
		r.write(w, str(r.call(r.eval(x.call.fn, sc), a)))
	case *filterStmt:
		r.line = x.line
		inner := newScope(sc, x.hidden)
		out, f := r.capture(x.body, inner)
		r.write(w, str(r.eval(fill(x.filter, out), inner)))
		return f
	case *blockStmt:
		from := r.top
		if x.scoped {
			from = sc
		}
		r.write(w, r.block(x, from))
	case *scopeStmt:
		return r.exec(x.body, newScope(sc, x.hidden), w)
	case loaderStmt:
		r.line = x.line
		raise("TypeError", "no loader for this environment specified")
	case breakStmt:
		return breaking
	case continueStmt:
		return continuing
	default:
		panic("jinja: unknown statement")
	}
	return onward
}

// block renders a block.
func (r *state) block(b *blockStmt, from *scope) string {
	r.enter()
	defer r.leave()
	if from == r.top { // a block sees what is assigned so far, not what will be
		assigned := &scope{parent: from.parent}
		for i, name := range from.names {
			if !isAbsent(from.values[i]) {
				assigned.set(name, from.values[i])
			}
		}
		from = assigned
	}
	inner := newScope(from, b.hidden)
	inner.set("super", r.missing("super", "there is no parent block called "+repr(b.name)+"."))
	out, _ := r.capture(b.body, inner)
	return out
}

// fill puts the text of a block in the innermost place of a chain of filters.
func fill(e expr, out string) expr {
	f, ok := e.(*filterExpr)
	if !ok {
		return evaluated{out}
	}
	c := *f
	c.x = fill(f.x, out)
	return &c
}

// assign stores a value; a tuple of targets takes it apart.
func (r *state) assign(to target, v any, sc *scope) {
	switch {
	case to.tuple:
		items := r.unpack(v, len(to.items))
		for i, t := range to.items {
			r.assign(t, items[i], sc)
		}
	case to.attr != "":
		// The check that it is a namespace came before the first assignment of a
		// tuple, which may have changed it.
		switch x := r.resolve(to.name, sc).(type) {
		case *namespace:
			r.checkAttr(to.attr)
			x.d.set(to.attr, v)
		case *dict:
			x.set(to.attr, v)
		default:
			raise("TypeError", "'%s' object does not support item assignment", typeName(x))
		}
	default:
		sc.set(to.name, v)
	}
}

// unpack takes a value apart into n items.
func (r *state) unpack(v any, n int) []any {
	if !iterable(v) {
		raise("TypeError", "cannot unpack non-iterable %s object", typeName(v))
	}
	next := r.iterate(v)
	items := make([]any, 0, n)
	for item, ok := next(); ok; item, ok = next() {
		if len(items) == n {
			raise("ValueError", "too many values to unpack (expected %d)", n)
		}
		items = append(items, item)
	}
	if len(items) < n {
		raise("ValueError", "not enough values to unpack (expected %d, got %d)", n, len(items))
	}
	return items
}

// checkNamespaces fails where an assignment to an attribute finds no namespace.
func (r *state) checkNamespaces(to target, sc *scope) {
	if to.tuple {
		for _, t := range to.items {
			r.checkNamespaces(t, sc)
		}
	}
	if to.attr == "" {
		return
	}
	if _, ok := r.resolve(to.name, sc).(*namespace); !ok {
		raise("TemplateRuntimeError", "cannot assign attribute on non-namespace object")
	}
}

// checkAttr refuses what transformers' namespaces refuse.
func (r *state) checkAttr(name string) {
	if r.t.opts.Transformers && strings.HasPrefix(name, "_") {
		raise("SecurityError", "Chat templates cannot store underscore-prefixed attributes on a namespace, but got %s. Please rename the attribute.", repr(name))
	}
}

// forLoop runs a for-loop over v.
func (r *state) forLoop(x *forStmt, v any, sc *scope, w *strings.Builder, depth int) {
	next := r.iterate(v)
	l := &loop{r: r, def: x, sc: sc, next: next, depth0: depth, index0: -1, size: -1}
	if x.filter == nil {
		if n, ok := length(v); ok {
			l.size = n
		}
	} else {
		l.next = func() (any, bool) {
			for {
				item, ok := next()
				if !ok {
					return nil, false
				}
				inner := &scope{parent: sc}
				r.assign(x.target, item, inner)
				if truth(r.eval(x.filter, inner)) {
					return item, true
				}
			}
		}
	}
	for {
		item, ok := l.advance()
		if !ok {
			break
		}
		inner := newScope(sc, x.hidden)
		inner.set("loop", l)
		r.assign(x.target, item, inner)
		if r.exec(x.body, inner, w) == breaking {
			break
		}
	}
	if l.index0 < 0 {
		r.exec(x.otherwise, newScope(sc, x.hiddenElse), w)
	}
}

// loop is the variable "loop" of a for-loop.
type loop struct {
	r             *state
	def           *forStmt
	sc            *scope
	next          func() (any, bool)
	ahead         []any // items fetched but not yet given out
	index0        int
	depth0        int
	size          int // -1: not known
	before, item  any
	changedBefore *tuple
}

func (l *loop) advance() (any, bool) {
	item, ok := l.peek()
	if !ok {
		return nil, false
	}
	l.ahead = l.ahead[1:]
	l.index0++
	l.before, l.item = l.item, item
	return item, true
}

// peek is the item after the current one.
func (l *loop) peek() (any, bool) {
	if len(l.ahead) == 0 {
		item, ok := l.next()
		if !ok {
			return nil, false
		}
		l.ahead = append(l.ahead, item)
	}
	return l.ahead[0], true
}

// length is the number of items; it fetches them all where it is not known.
func (l *loop) length() int {
	if l.size < 0 {
		for item, ok := l.next(); ok; item, ok = l.next() {
			l.ahead = append(l.ahead, item)
		}
		l.size = l.index0 + 1 + len(l.ahead)
		l.next = func() (any, bool) { return nil, false }
	}
	return l.size
}

// attribute is loop.name.
func (l *loop) attribute(name string) (any, bool) {
	switch name {
	case "index":
		return l.index0 + 1, true
	case "index0":
		return l.index0, true
	case "first":
		return l.index0 == 0, true
	case "last":
		_, more := l.peek()
		return !more, true
	case "length":
		return l.length(), true
	case "revindex":
		return l.length() - l.index0, true
	case "revindex0":
		return l.length() - l.index0 - 1, true
	case "depth":
		return l.depth0 + 1, true
	case "depth0":
		return l.depth0, true
	case "previtem":
		if l.index0 == 0 {
			return l.r.missing(nil, "there is no previous item"), true
		}
		return l.before, true
	case "nextitem":
		if item, ok := l.peek(); ok {
			return item, true
		}
		return l.r.missing(nil, "there is no next item"), true
	case "cycle":
		return method("cycle", func(r *state, a *args) any {
			if len(a.pos) == 0 {
				raise("TypeError", "no items for cycling given")
			}
			return a.pos[l.index0%len(a.pos)]
		}), true
	case "changed":
		return method("changed", func(r *state, a *args) any {
			now := tuple(a.pos)
			if l.changedBefore != nil && r.equal(*l.changedBefore, now) {
				return false
			}
			l.changedBefore = &now
			return true
		}), true
	}
	return nil, false
}

// recurse renders the loop's body over further items.
func (l *loop) recurse(r *state, a *args) any {
	if !l.def.recursive {
		raise("TypeError", "The loop must have the 'recursive' marker to be called recursively.")
	}
	v := a.bind("LoopContext.__call__", "iterable")
	r.enter()
	defer r.leave()
	var b strings.Builder
	r.forLoop(l.def, v[0], l.sc, &b, l.depth0+1)
	return b.String()
}
