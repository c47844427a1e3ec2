package jinja

import (
	"sort"
	"strings"
)

// dunder are attributes that every Python object has; a template may not reach
// them.
var dunder = map[string]bool{
	"__class__": true, "__doc__": true, "__dict__": true, "__module__": true, "__init__": true, "__new__": true,
	"__repr__": true, "__str__": true, "__hash__": true, "__eq__": true, "__ne__": true, "__lt__": true, "__le__": true,
	"__gt__": true, "__ge__": true, "__getattribute__": true, "__setattr__": true, "__delattr__": true, "__dir__": true,
	"__reduce__": true, "__reduce_ex__": true, "__sizeof__": true, "__format__": true, "__subclasshook__": true,
	"__init_subclass__": true, "__len__": true, "__iter__": true, "__contains__": true, "__getitem__": true,
	"__setitem__": true, "__delitem__": true, "__add__": true, "__mul__": true, "__mod__": true,
}

// mutating are the methods that an immutable environment refuses.
var mutating = map[string]string{
	"append": "list", "extend": "list", "insert": "list", "remove": "list", "reverse": "list", "sort": "list",
	"pop": "list dict", "clear": "list dict", "popitem": "dict", "setdefault": "dict", "update": "dict",
}

// attribute is Python's getattr(obj, name), where it finds something.
func (r *state) attribute(obj any, name string) (any, bool) {
	if u, ok := obj.(*undefined); ok {
		if u.kind == Chainable {
			return u, true
		}
		u.fail()
	}
	if dunder[name] {
		u := r.missing(name, "access to attribute "+repr(name)+" of "+repr(typeName(obj))+" object is unsafe.")
		u.exc = "SecurityError"
		return u, true
	}
	var fn func(*state, *args) any
	switch x := obj.(type) {
	case string:
		fn = stringMethod(x, name, false)
	case markup:
		fn = stringMethod(string(x), name, true)
	case *dict:
		fn = dictMethod(x, name)
	case *list:
		fn = listMethod(x, name)
	case tuple:
		fn = tupleMethod(x, name)
	case group:
		switch name {
		case "grouper":
			return x.tuple[0], true
		case "list":
			return x.tuple[1], true
		}
		fn = tupleMethod(x.tuple, name)
	case *namespace:
		return x.d.get(name)
	case *loop:
		return x.attribute(name)
	case *macro:
		switch name {
		case "name":
			if x.def.name == "caller" {
				return nil, true
			}
			return x.def.name, true
		case "arguments":
			t := tuple{}
			for _, p := range x.def.params {
				t = append(t, p)
			}
			return t, true
		case "catch_kwargs":
			return x.def.kwargs, true
		case "catch_varargs":
			return x.def.varargs, true
		case "caller":
			return x.def.caller, true
		}
	case *cycler:
		switch name {
		case "current":
			return x.items[x.at], true
		case "next":
			fn = func(*state, *args) any {
				v := x.items[x.at]
				x.at = (x.at + 1) % len(x.items)
				return v
			}
		case "reset":
			fn = func(*state, *args) any { x.at = 0; return nil }
		}
	case *builtin:
		v, ok := x.attrs[name]
		return v, ok
	case *span:
		switch name {
		case "start":
			return x.start, true
		case "stop":
			return x.stop, true
		case "step":
			return x.step, true
		}
	case bool, int, float64:
		fn = numberMethod(x, name)
		switch {
		case name == "real" || name == "numerator" && typeName(x) != "float":
			n, f, isInt, _ := number(x)
			if isInt {
				return normInt(n), true
			}
			return f, true
		case name == "imag":
			return 0, true
		case name == "denominator" && typeName(x) != "float":
			return 1, true
		}
	}
	if fn == nil {
		return nil, false
	}
	kind := typeName(obj)
	if r.t.opts.Immutable && (kind == "list" || kind == "dict") && strings.Contains(mutating[name], kind) {
		u := r.missing(name, "access to attribute "+repr(name)+" of "+repr(kind)+" object is unsafe.")
		u.exc = "SecurityError"
		return u, true
	}
	return method(name, fn), true
}

// noKeywords refuses named arguments and checks the count of the others.
func (a *args) noKeywords(fn string, low, high int) []any {
	if len(a.kw) > 0 {
		raise("TypeError", "%s() takes no keyword arguments", fn)
	}
	n := len(a.pos)
	short := fn[strings.LastIndexByte(fn, '.')+1:]
	switch {
	case low == 0 && high == 0 && n > 0:
		raise("TypeError", "%s() takes no arguments (%d given)", fn, n)
	case low == 1 && high == 1 && n != 1:
		raise("TypeError", "%s() takes exactly one argument (%d given)", fn, n)
	case n < low && low == high:
		raise("TypeError", "%s expected %d arguments, got %d", short, low, n)
	case n < low:
		raise("TypeError", "%s expected at least %d argument%s, got %d", short, low, map[bool]string{true: "", false: "s"}[low == 1], n)
	case n > high:
		if low == high {
			raise("TypeError", "%s expected %d arguments, got %d", short, high, n)
		}
		raise("TypeError", "%s expected at most %d argument%s, got %d", short, high, map[bool]string{true: "", false: "s"}[high == 1], n)
	}
	out := make([]any, high)
	for i := range out {
		out[i] = absent
	}
	copy(out, a.pos)
	return out
}

func dictMethod(d *dict, name string) func(*state, *args) any {
	switch name {
	case "keys", "values", "items":
		return func(_ *state, a *args) any {
			a.noKeywords("dict."+name, 0, 0)
			return &view{d, name}
		}
	case "get":
		return func(_ *state, a *args) any {
			v := a.noKeywords("dict.get", 1+len(a.pos)/2, 2)
			if got, ok := d.get(v[0]); ok {
				return got
			}
			return or(v[1], nil)
		}
	case "copy":
		return func(_ *state, a *args) any {
			a.noKeywords("dict.copy", 0, 0)
			return d.copy()
		}
	case "setdefault":
		return func(_ *state, a *args) any {
			v := a.noKeywords("dict.setdefault", 1+len(a.pos)/2, 2)
			if got, ok := d.get(v[0]); ok {
				return got
			}
			d.set(v[0], or(v[1], nil))
			return or(v[1], nil)
		}
	case "pop":
		return func(_ *state, a *args) any {
			v := a.noKeywords("dict.pop", 1, 2)
			got, ok := d.get(v[0])
			switch {
			case ok:
				d.remove(v[0])
				return got
			case isAbsent(v[1]):
				raise("KeyError", "%s", repr(v[0]))
			}
			return v[1]
		}
	case "popitem":
		return func(_ *state, a *args) any {
			a.noKeywords("dict.popitem", 0, 0)
			n := len(d.keys)
			if n == 0 {
				raise("KeyError", "'popitem(): dictionary is empty'")
			}
			pair := d.item(n - 1)
			d.remove(d.keys[n-1])
			return pair
		}
	case "clear":
		return func(_ *state, a *args) any {
			a.noKeywords("dict.clear", 0, 0)
			*d = *newDict()
			return nil
		}
	case "update":
		return func(r *state, a *args) any {
			r.update(d, r.dictCall("update", a))
			return nil
		}
	case "fromkeys":
		return func(r *state, a *args) any {
			v := a.noKeywords("dict.fromkeys", 1, 2)
			out := newDict()
			for _, k := range r.items(v[0]) {
				out.set(k, or(v[1], nil))
			}
			return out
		}
	}
	return nil
}

// find is the index of v in items[from:to], or -1.
func (r *state) find(items []any, v any, from, to int) int {
	for i := from; i < to && i < len(items); i++ {
		if r.same(items[i], v, 0) {
			return i
		}
	}
	return -1
}

// window resolves the optional start and end of index().
func window(v []any, n int) (from, to int) {
	bound := func(v any, missing int) any {
		if isAbsent(v) {
			return missing
		}
		return v
	}
	from, to, _ = sliceBounds(bound(v[1], 0), bound(v[2], n), nil, n)
	return from, to
}

func tupleMethod(t tuple, name string) func(*state, *args) any {
	switch name {
	case "count":
		return func(r *state, a *args) any {
			v := a.noKeywords("tuple.count", 1, 1)
			return r.count(t, v[0])
		}
	case "index":
		return func(r *state, a *args) any {
			v := a.noKeywords("tuple.index", 1, 3)
			from, to := window(v, len(t))
			i := r.find(t, v[0], from, to)
			if i < 0 {
				raise("ValueError", "tuple.index(x): x not in tuple")
			}
			return i
		}
	}
	return nil
}

func (r *state) count(items []any, v any) int {
	n := 0
	for _, item := range items {
		if r.same(item, v, 0) {
			n++
		}
	}
	return n
}

func listMethod(l *list, name string) func(*state, *args) any {
	switch name {
	case "append":
		return func(r *state, a *args) any {
			v := a.noKeywords("list.append", 1, 1)
			l.items = append(l.items, v[0])
			return nil
		}
	case "extend":
		return func(r *state, a *args) any {
			v := a.noKeywords("list.extend", 1, 1)
			l.items = append(l.items, r.items(v[0])...)
			r.build(16 * len(l.items))
			return nil
		}
	case "insert":
		return func(r *state, a *args) any {
			v := a.noKeywords("list.insert", 2, 2)
			at, _, _ := sliceBounds(wantInt(v[0]), nil, nil, len(l.items))
			l.items = append(l.items[:at:at], append([]any{v[1]}, l.items[at:]...)...)
			r.step(len(l.items) / 16)
			return nil
		}
	case "pop":
		return func(r *state, a *args) any {
			v := a.noKeywords("list.pop", 0, 1)
			n := len(l.items)
			at := wantInt(or(v[0], -1))
			if n == 0 {
				raise("IndexError", "pop from empty list")
			}
			if at < 0 {
				at += n
			}
			if at < 0 || at >= n {
				raise("IndexError", "pop index out of range")
			}
			got := l.items[at]
			l.items = append(l.items[:at:at], l.items[at+1:]...)
			r.step(n / 16)
			return got
		}
	case "remove":
		return func(r *state, a *args) any {
			v := a.noKeywords("list.remove", 1, 1)
			i := r.find(l.items, v[0], 0, len(l.items))
			if i < 0 {
				raise("ValueError", "list.remove(x): x not in list")
			}
			l.items = append(l.items[:i:i], l.items[i+1:]...)
			return nil
		}
	case "reverse":
		return func(r *state, a *args) any {
			a.noKeywords("list.reverse", 0, 0)
			l.items = reversed(l.items)
			r.step(len(l.items))
			return nil
		}
	case "sort":
		return func(r *state, a *args) any {
			v := a.bind("sort", "key?", "reverse?")
			if k := or(v[0], nil); k != nil {
				raise("Unsupported", "list.sort with a key")
			}
			l.items = r.sorted(l.items, func(v any) any { return v }, truth(or(v[1], false)))
			return nil
		}
	case "clear":
		return func(_ *state, a *args) any {
			a.noKeywords("list.clear", 0, 0)
			l.items = nil
			return nil
		}
	case "copy":
		return func(r *state, a *args) any {
			a.noKeywords("list.copy", 0, 0)
			r.build(16 * len(l.items))
			return &list{append([]any(nil), l.items...)}
		}
	case "count":
		return func(r *state, a *args) any {
			return r.count(l.items, a.noKeywords("list.count", 1, 1)[0])
		}
	case "index":
		return func(r *state, a *args) any {
			v := a.noKeywords("list.index", 1, 3)
			from, to := window(v, len(l.items))
			i := r.find(l.items, v[0], from, to)
			if i < 0 {
				raise("ValueError", "%s is not in list", repr(v[0]))
			}
			return i
		}
	}
	return nil
}

func reversed(items []any) []any {
	out := make([]any, len(items))
	for i, v := range items {
		out[len(items)-1-i] = v
	}
	return out
}

// sorted is Python's sorted(items, key, reverse): stable, also in reverse.
func (r *state) sorted(items []any, key func(any) any, reverse bool) []any {
	type keyed struct{ key, item any }
	all := make([]keyed, len(items))
	for i, item := range items {
		all[i] = keyed{key(item), item}
	}
	if len(all) == 2 || len(all) > 2 {
		// Python compares the later item with the earlier one first; the first
		// comparison decides which types an error names.
		r.less(all[1].key, all[0].key, "<")
	}
	sort.SliceStable(all, func(i, j int) bool {
		if reverse {
			return r.less(all[j].key, all[i].key, "<")
		}
		return r.less(all[i].key, all[j].key, "<")
	})
	out := make([]any, len(all))
	for i, k := range all {
		out[i] = k.item
	}
	return out
}

func numberMethod(v any, name string) func(*state, *args) any {
	n, f, isInt, _ := number(v)
	switch {
	case name == "bit_length" && isInt:
		return func(_ *state, a *args) any {
			a.noKeywords("int.bit_length", 0, 0)
			return n.BitLen()
		}
	case name == "is_integer" && !isInt:
		return func(_ *state, a *args) any {
			a.noKeywords("float.is_integer", 0, 0)
			return f == float64(int64(f))
		}
	case name == "conjugate":
		return func(_ *state, a *args) any {
			a.noKeywords(typeName(v)+".conjugate", 0, 0)
			return v
		}
	}
	return nil
}
