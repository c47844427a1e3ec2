package jinja

import (
	"fmt"
	"strings"

	"github.com/evalrun/evalrun/core/text"
)

type keyword struct {
	name  string
	value any
}

// args are the evaluated arguments of a call.
type args struct {
	pos []any
	kw  []keyword
}

// absent is the value of an optional argument that was not given.
type absentType struct{}

var absent any = absentType{}

// bind orders arguments by parameter names; a name that ends in "?" may be
// absent.
func (a *args) bind(fn string, params ...string) []any {
	out := make([]any, len(params))
	required := 0
	for i := range params {
		out[i] = absent
		if !strings.HasSuffix(params[i], "?") {
			required++
		}
	}
	if len(a.pos) > len(params) {
		takes := fmt.Sprint(len(params))
		if required < len(params) {
			takes = fmt.Sprintf("from %d to %d", required, len(params))
		}
		plural := "s"
		if takes == "1" {
			plural = ""
		}
		was := "were"
		if len(a.pos) == 1 {
			was = "was"
		}
		raise("TypeError", "%s() takes %s positional argument%s but %d %s given", fn, takes, plural, len(a.pos), was)
	}
	copy(out, a.pos)
	for _, k := range a.kw {
		at := -1
		for i, p := range params {
			if strings.TrimSuffix(p, "?") == k.name {
				at = i
			}
		}
		switch {
		case at < 0:
			raise("TypeError", "%s() got an unexpected keyword argument '%s'", fn, k.name)
		case out[at] != absent && at < len(a.pos):
			raise("TypeError", "%s() got multiple values for argument '%s'", fn, k.name)
		}
		out[at] = k.value
	}
	var lost []string
	for i, v := range out {
		if _, gone := v.(absentType); gone && !strings.HasSuffix(params[i], "?") {
			lost = append(lost, "'"+params[i]+"'")
		}
	}
	if len(lost) > 0 {
		plural := "s"
		if len(lost) == 1 {
			plural = ""
		}
		listed := strings.Join(lost, " and ")
		if len(lost) > 2 {
			listed = strings.Join(lost[:len(lost)-1], ", ") + ", and " + lost[len(lost)-1]
		}
		raise("TypeError", "%s() missing %d required positional argument%s: %s", fn, len(lost), plural, listed)
	}
	return out
}

// isAbsent tells an argument that was not given.
func isAbsent(v any) bool { _, ok := v.(absentType); return ok }

// or is v, or other where v was not given.
func or(v, other any) any {
	if isAbsent(v) {
		return other
	}
	return v
}

// wantInt reads an argument as an int.
func wantInt(v any) int {
	n, ok := smallInt(v)
	if !ok {
		if u, is := v.(*undefined); is {
			u.use(u.kind == Strict)
		}
		raise("TypeError", "'%s' object cannot be interpreted as an integer", typeName(v))
	}
	return n
}

// builtin is a function or method written in Go.
type builtin struct {
	name, class string
	fn          func(r *state, a *args) any
	attrs       map[string]any
}

func function(name string, fn func(r *state, a *args) any) *builtin {
	return &builtin{name: name, class: "function", fn: fn}
}

func method(name string, fn func(r *state, a *args) any) *builtin {
	return &builtin{name: name, class: "builtin_function_or_method", fn: fn}
}

// macro is a macro with the scope that it was defined in.
type macro struct {
	def *macroStmt
	sc  *scope
}

// call calls a value.
func (r *state) call(fn any, a *args) any {
	switch f := fn.(type) {
	case *builtin:
		return f.fn(r, a)
	case *macro:
		return r.callMacro(f, a)
	case *loop:
		return f.recurse(r, a)
	case *joiner:
		a.bind("Joiner.__call__")
		if f.used {
			return f.sep
		}
		f.used = true
		return ""
	case *undefined:
		f.fail()
	}
	raise("TypeError", "'%s' object is not callable", typeName(fn))
	return nil
}

// callMacro runs a macro: positional arguments, then named ones, then the
// defaults, which may read the parameters before them.
func (r *state) callMacro(m *macro, a *args) any {
	r.enter()
	defer r.leave()
	d := m.def
	sc := newScope(m.sc, d.hidden)
	values := make([]any, len(d.params))
	given := copy(values, a.pos)
	kw := newDict()
	for _, k := range a.kw {
		kw.set(k.name, k.value)
	}
	explicit := false // "caller" is a parameter
	for i, name := range d.params {
		explicit = explicit || name == "caller"
		if i < given {
			continue
		}
		values[i] = absent
		if v, ok := kw.get(name); ok {
			values[i] = v
			kw.remove(name)
		}
	}
	if d.caller && !explicit {
		var caller any = r.missing("caller", "No caller defined")
		if v, ok := kw.get("caller"); ok {
			kw.remove("caller")
			if v != nil {
				caller = v
			}
		}
		sc.set("caller", caller)
	}
	if d.kwargs {
		sc.set("kwargs", kw)
	} else if len(kw.keys) > 0 {
		if _, ok := kw.get("caller"); ok {
			raise("TypeError", "macro %s was invoked with two values for the special caller argument. This is most likely a bug.", text.Repr(d.name))
		}
		raise("TypeError", "macro %s takes no keyword argument %s", text.Repr(d.name), repr(kw.keys[0]))
	}
	if d.varargs {
		sc.set("varargs", append(tuple{}, a.pos[given:]...))
	} else if len(a.pos) > len(d.params) {
		raise("TypeError", "macro %s takes not more than %d argument(s)", text.Repr(d.name), len(d.params))
	}
	for i, name := range d.params {
		v := values[i]
		if isAbsent(v) {
			if at := i - (len(d.params) - len(d.defaults)); at >= 0 {
				v = r.eval(d.defaults[at], sc)
			} else {
				v = r.missing(name, "parameter "+text.Repr(name)+" was not provided")
			}
		}
		sc.set(name, v)
	}
	line := r.line
	out, _ := r.capture(d.body, sc)
	r.line = line
	return out
}

// cycler and joiner are Jinja's helper objects.
type cycler struct {
	items []any
	at    int
}

type joiner struct {
	sep  any
	used bool
}

// globals are the names that every template knows.
func (t *Template) globals() map[string]any {
	class := "jinja2.utils.Namespace"
	if t.opts.Transformers {
		class = "transformers.utils.chat_template_utils.TemplateNamespace"
	}
	g := map[string]any{
		"range": &builtin{name: "range", class: "type", fn: rangeCall},
		"dict": &builtin{name: "dict", class: "type", fn: func(r *state, a *args) any {
			return r.dictCall("dict", a)
		}},
		"namespace": &builtin{name: "namespace", class: "type", fn: func(r *state, a *args) any {
			n := &namespace{d: r.dictCall("namespace", a), class: class}
			for _, k := range n.d.keys {
				if name, ok := asStr(k); ok {
					r.checkAttr(name)
				}
			}
			return n
		}},
		"cycler": &builtin{name: "cycler", class: "type", fn: func(r *state, a *args) any {
			if len(a.pos) == 0 {
				raise("RuntimeError", "at least one item has to be provided")
			}
			return &cycler{items: a.pos}
		}},
		"joiner": &builtin{name: "joiner", class: "type", fn: func(r *state, a *args) any {
			return &joiner{sep: or(a.bind("joiner", "sep?")[0], ", ")}
		}},
	}
	blocks := map[string]any{}
	for name, b := range t.blocks {
		blocks[name] = function(name, func(r *state, a *args) any { return r.block(b, r.top) })
	}
	g["self"] = &builtin{name: "self", class: "TemplateReference", attrs: blocks, fn: func(*state, *args) any {
		raise("TypeError", "'TemplateReference' object is not callable")
		return nil
	}}
	if t.opts.Transformers {
		g["raise_exception"] = function("raise_exception", func(r *state, a *args) any {
			raise("TemplateError", "%s", str(a.bind("raise_exception", "message")[0]))
			return nil
		})
		g["strftime_now"] = function("strftime_now", func(r *state, a *args) any {
			format, ok := asStr(a.bind("strftime_now", "format")[0])
			if !ok {
				raise("TypeError", "strftime() argument 1 must be str, not %s", typeName(a.pos[0]))
			}
			return strftime(format, r.t.opts.Now())
		})
	}
	return g
}

// maxRange is the sandbox's limit on a range.
const maxRange = 100_000

func rangeCall(r *state, a *args) any {
	if len(a.kw) > 0 {
		raise("TypeError", "range() takes no keyword arguments")
	}
	n := make([]int, len(a.pos))
	for i, v := range a.pos {
		if u, ok := v.(*undefined); ok {
			u.use(u.kind == Strict)
		}
		n[i] = wantInt(v)
	}
	var s *span
	switch len(n) {
	case 0:
		raise("TypeError", "range expected at least 1 argument, got 0")
	case 1:
		s = newSpan(0, n[0], 1)
	case 2:
		s = newSpan(n[0], n[1], 1)
	case 3:
		if n[2] == 0 {
			raise("ValueError", "range() arg 3 must not be zero")
		}
		s = newSpan(n[0], n[1], n[2])
	default:
		raise("TypeError", "range expected at most 3 arguments, got %d", len(n))
	}
	if r.t.opts.Immutable && s.n > maxRange {
		raise("OverflowError", "Range too big. The sandbox blocks ranges larger than MAX_RANGE (%d).", maxRange)
	}
	return s
}

// dictCall is dict(mapping or pairs, **kwargs).
func (r *state) dictCall(fn string, a *args) *dict {
	d := newDict()
	if len(a.pos) > 1 {
		raise("TypeError", "%s expected at most 1 argument, got %d", fn, len(a.pos))
	}
	if len(a.pos) == 1 {
		r.update(d, a.pos[0])
	}
	for _, k := range a.kw {
		d.set(k.name, k.value)
	}
	return d
}

// update is dict.update(v).
func (r *state) update(d *dict, v any) {
	switch x := v.(type) {
	case *dict:
		for i, k := range x.keys {
			r.step(1)
			d.set(k, x.vals[i])
		}
		return
	case *namespace:
		r.update(d, x.d)
		return
	}
	next := r.iterate(v)
	i := 0
	for item, ok := next(); ok; item, ok = next() {
		if !iterable(item) {
			raise("TypeError", "cannot convert dictionary update sequence element #%d to a sequence", i)
		}
		pair := r.items(item)
		if len(pair) != 2 {
			raise("ValueError", "dictionary update sequence element #%d has length %d; 2 is required", i, len(pair))
		}
		d.set(pair[0], pair[1])
		i++
	}
}
