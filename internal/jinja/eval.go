package jinja

import (
	"strings"
)

// state is one rendering.
type state struct {
	t       *Template
	globals map[string]any
	top     *scope
	steps   int
	nested  int // calls of macros, blocks and recursive loops that are open
	depth   int // expressions within expressions
	written int
	line    int
}

// maxDepth bounds expressions within expressions.
const maxDepth = 2000

// step counts work.
func (r *state) step(n int) {
	if r.steps += n + 1; r.steps > r.t.opts.Limits.Steps {
		raise("LimitError", "the template takes more than %d steps", r.t.opts.Limits.Steps)
	}
}

// build counts the bytes of a text or list that is about to be made.
func (r *state) build(n int) {
	if n > r.t.opts.Limits.Bytes {
		raise("LimitError", "the template builds more than %d bytes", r.t.opts.Limits.Bytes)
	}
	r.step(n / 64)
}

// enter counts a nested call; the caller defers r.leave.
func (r *state) enter() {
	if r.nested++; r.nested > r.t.opts.Limits.Depth {
		raise("LimitError", "calls nested more than %d deep", r.t.opts.Limits.Depth)
	}
}

func (r *state) leave() { r.nested-- }

// scope holds the names of one block; a name that it lacks is its parent's.
type scope struct {
	parent *scope
	names  []string
	values []any
}

// newScope makes a scope in which the hidden names are undefined until they
// are assigned.
func newScope(parent *scope, hidden []string) *scope {
	s := &scope{parent: parent}
	for _, name := range hidden {
		s.set(name, absent)
	}
	return s
}

func (s *scope) set(name string, v any) {
	for i, n := range s.names {
		if n == name {
			s.values[i] = v
			return
		}
	}
	s.names, s.values = append(s.names, name), append(s.values, v)
}

func (s *scope) get(name string) (any, bool) {
	for ; s != nil; s = s.parent {
		for i := len(s.names) - 1; i >= 0; i-- {
			if s.names[i] == name {
				return s.values[i], true
			}
		}
	}
	return nil, false
}

// resolve looks a name up.
func (r *state) resolve(name string, sc *scope) any {
	if v, ok := sc.get(name); ok {
		if isAbsent(v) {
			return &undefined{kind: r.t.opts.Undefined, name: name}
		}
		return v
	}
	if v, ok := r.globals[name]; ok {
		return v
	}
	return &undefined{kind: r.t.opts.Undefined, name: name}
}

// missing is an undefined value with a message of its own.
func (r *state) missing(name any, hint string) *undefined {
	return &undefined{kind: r.t.opts.Undefined, hint: hint, name: name}
}

// lacks is the undefined value of an attribute or item that obj has not.
func (r *state) lacks(obj, name any) *undefined {
	return &undefined{kind: r.t.opts.Undefined, obj: obj, hasObj: true, name: name}
}

// eval computes an expression.
func (r *state) eval(e expr, sc *scope) any {
	r.step(0)
	if r.depth++; r.depth > maxDepth {
		raise("LimitError", "an expression nested more than %d deep", maxDepth)
	}
	v := r.evalNode(e, sc)
	r.depth--
	return v
}

func (r *state) evalNode(e expr, sc *scope) any {
	switch x := e.(type) {
	case *constExpr:
		return x.value
	case *nameExpr:
		return r.resolve(x.name, sc)
	case *attrExpr:
		return r.attr(r.eval(x.x, sc), x.name)
	case *itemExpr:
		v := r.eval(x.x, sc)
		if s, ok := x.index.(*sliceExpr); ok {
			bound := func(e expr) any {
				if e == nil {
					return nil
				}
				return r.eval(e, sc)
			}
			return r.slice(v, bound(s.start), bound(s.stop), bound(s.step))
		}
		return r.item(v, r.eval(x.index, sc))
	case *callExpr:
		fn := r.eval(x.fn, sc)
		return r.call(fn, r.args(&x.args, sc))
	case *filterExpr:
		v := r.eval(x.x, sc)
		return r.filter(x.name, v, r.args(&x.args, sc))
	case *testExpr:
		v := r.eval(x.x, sc)
		return r.test(x.name, v, r.args(&x.args, sc))
	case *binaryExpr:
		l := r.eval(x.l, sc)
		switch x.op {
		case "and":
			if !truth(l) {
				return l
			}
			return r.eval(x.r, sc)
		case "or":
			if truth(l) {
				return l
			}
			return r.eval(x.r, sc)
		}
		return r.arith(x.op, l, r.eval(x.r, sc))
	case *unaryExpr:
		return r.unary(x.op, r.eval(x.x, sc))
	case *concatExpr:
		values := make([]any, len(x.items))
		for i, item := range x.items {
			values[i] = r.eval(item, sc)
		}
		parts, n := make([]string, len(values)), 0
		for i, v := range values {
			parts[i] = str(v)
			n += len(parts[i])
		}
		r.build(n)
		return strings.Join(parts, "")
	case *compareExpr:
		left := r.eval(x.x, sc)
		for i, op := range x.ops {
			right := r.eval(x.args[i], sc)
			if !r.compare(op, left, right) {
				return false
			}
			left = right
		}
		return true
	case *condExpr:
		if truth(r.eval(x.test, sc)) {
			return r.eval(x.then, sc)
		}
		if x.otherwise == nil {
			// Jinja takes the lenient kind here whatever the environment's.
			return &undefined{kind: Lenient, hint: "the inline if-expression on line " + repr(x.line) + " evaluated to false and no else section was defined."}
		}
		return r.eval(x.otherwise, sc)
	case *listExpr:
		l := &list{make([]any, len(x.items))}
		for i, item := range x.items {
			l.items[i] = r.eval(item, sc)
		}
		return l
	case *tupleExpr:
		t := make(tuple, len(x.items))
		for i, item := range x.items {
			t[i] = r.eval(item, sc)
		}
		return t
	case *dictExpr:
		d := newDict()
		for i, k := range x.keys {
			key := r.eval(k, sc)
			d.set(key, r.eval(x.values[i], sc))
		}
		return d
	case *sliceExpr:
		raise("Unsupported", "a slice within a tuple")
	case evaluated:
		return x.value
	}
	panic("jinja: unknown expression")
}

// evaluated is an expression whose value is at hand: the text of a block that a
// filter takes.
type evaluated struct{ value any }

// attr is obj.name: an attribute of the object or else an item of it.
func (r *state) attr(obj any, name string) any {
	if v, ok := r.attribute(obj, name); ok {
		return v
	}
	if v, ok := r.subscript(obj, name); ok {
		return v
	}
	return r.lacks(obj, name)
}

// item is obj[key]: an item of the object or else, for a string, an attribute.
func (r *state) item(obj, key any) any {
	if v, ok := r.subscript(obj, key); ok {
		return v
	}
	if name, ok := asStr(key); ok {
		if v, ok := r.attribute(obj, name); ok {
			return v
		}
	}
	return r.lacks(obj, key)
}

// subscript is obj[key] where Python finds it.
func (r *state) subscript(obj, key any) (any, bool) {
	at := func(n int) (int, bool) {
		i, ok := smallInt(key)
		if i < 0 {
			i += n
		}
		return i, ok && i >= 0 && i < n
	}
	switch x := obj.(type) {
	case *dict:
		switch key.(type) {
		case *list, *dict:
			return nil, false
		}
		return x.get(key)
	case *list:
		if i, ok := at(len(x.items)); ok {
			return x.items[i], true
		}
	case tuple:
		if i, ok := at(len(x)); ok {
			return x[i], true
		}
	case group:
		return r.subscript(x.tuple, key)
	case *span:
		if i, ok := at(x.n); ok {
			return x.start + i*x.step, true
		}
	case string, markup:
		if _, ok := smallInt(key); ok {
			n, _ := length(x)
			if i, ok := at(n); ok {
				return r.slice(x, i, i+1, nil), true
			}
		}
	case *undefined:
		if x.kind == Chainable {
			return x, true
		}
		x.fail()
	}
	return nil, false
}

// args evaluates the arguments of a call.
func (r *state) args(a *callArgs, sc *scope) *args {
	out := &args{}
	for _, e := range a.pos {
		out.pos = append(out.pos, r.eval(e, sc))
	}
	if a.star != nil {
		v := r.eval(a.star, sc)
		if !iterable(v) {
			raise("TypeError", "Value after * must be an iterable, not %s", typeName(v))
		}
		out.pos = append(out.pos, r.items(v)...)
	}
	for i, name := range a.keywords {
		out.kw = append(out.kw, keyword{name, r.eval(a.values[i], sc)})
	}
	if a.dstar != nil {
		v := r.eval(a.dstar, sc)
		d, ok := v.(*dict)
		if !ok {
			raise("TypeError", "argument after ** must be a mapping, not %s", typeName(v))
		}
		for i, k := range d.keys {
			name, ok := asStr(k)
			if !ok {
				raise("TypeError", "keywords must be strings")
			}
			out.kw = append(out.kw, keyword{name, d.vals[i]})
		}
	}
	return out
}
