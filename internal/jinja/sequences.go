package jinja

import (
	"strings"

	"github.com/evalrun/evalrun/core/text"
)

// getter reads an attribute path such as "user.name" or "0".
func (r *state) getter(attribute any) func(any) any {
	var parts []any
	switch x := attribute.(type) {
	case nil:
	case string, markup:
		s, _ := asStr(x)
		for _, p := range strings.Split(s, ".") {
			if every(p, isDigit) {
				if n, ok := text.ParseInt(p); ok {
					parts = append(parts, normInt(n))
					continue
				}
			}
			parts = append(parts, p)
		}
	default:
		parts = []any{x}
	}
	return func(v any) any {
		for _, p := range parts {
			v = r.item(v, p)
		}
		return v
	}
}

// orDefault is a getter whose undefined parts become a default.
func (r *state) orDefault(attribute, otherwise any) func(any) any {
	if otherwise == nil {
		return r.getter(attribute)
	}
	s, ok := asStr(attribute)
	if !ok {
		s = ""
	}
	parts := strings.Split(s, ".")
	return func(v any) any {
		if !ok {
			v = r.item(v, attribute)
			if _, gone := v.(*undefined); gone {
				v = otherwise
			}
			return v
		}
		for _, p := range parts {
			v = r.getter(p)(v)
			if _, gone := v.(*undefined); gone {
				v = otherwise
			}
		}
		return v
	}
}

// ignoreCase is the sort key of text where case does not count.
func ignoreCase(get func(any) any, sensitive any) func(any) any {
	if truth(or(sensitive, false)) {
		return get
	}
	return func(v any) any {
		v = get(v)
		if s, ok := asStr(v); ok {
			return text.Lower(s)
		}
		return v
	}
}

func filterItems(r *state, a *args) any {
	v := a.bind("do_items", "value")[0]
	switch x := v.(type) {
	case *dict:
		return &stream{name: "do_items", next: r.iterate(&view{x, "items"})}
	case *undefined:
		return &stream{name: "do_items", next: walk(nil)}
	}
	return &stream{name: "do_items", next: func() (any, bool) {
		raise("TypeError", "Can only get item pairs from a mapping.")
		return nil, false
	}}
}

func filterJoin(r *state, a *args) any {
	v := a.bind("do_join", "value", "d?", "attribute?")
	sep := str(or(v[1], ""))
	get := func(v any) any { return v }
	if attribute := or(v[2], nil); attribute != nil {
		get = r.getter(attribute)
	}
	next := r.iterate(v[0])
	var parts []string
	n := 0
	for item, ok := next(); ok; item, ok = next() {
		s := str(get(item))
		n += len(s) + len(sep)
		r.build(n / 64)
		parts = append(parts, s)
	}
	r.build(n)
	return strings.Join(parts, sep)
}

func filterMap(r *state, a *args) any {
	v, rest := a.pos[0], a.pos[1:]
	var apply func(any) any
	prepare := func() {
		kw := map[string]any{}
		for _, k := range a.kw {
			kw[k.name] = k.value
		}
		attribute, named := kw["attribute"]
		switch {
		case len(rest) == 0 && named:
			for _, k := range a.kw {
				if k.name != "attribute" && k.name != "default" {
					raise("FilterArgumentError", "Unexpected keyword argument %s", text.Repr(k.name))
				}
			}
			apply = r.orDefault(attribute, kw["default"])
		case len(rest) == 0:
			raise("FilterArgumentError", "map requires a filter argument")
		default:
			name := r.callable(rest[0], "filter", r.t.hasFilter)
			apply = func(v any) any { return r.filter(name, v, &args{rest[1:], a.kw}) }
		}
	}
	return r.lazily(v, "sync_do_map", prepare, func(item any) (any, bool) { return apply(item), true })
}

// callable is the name of a filter or test that another filter was given.
func (r *state) callable(v any, kind string, known func(string) bool) string {
	name, ok := asStr(v)
	if ok && known(name) {
		return name
	}
	message := "No " + kind + " named " + repr(v) + "."
	if u, is := v.(*undefined); is {
		u.use(u.kind == Strict)
		message += " (" + u.message() + "; did you forget to quote the callable name?)"
	}
	raise("TemplateRuntimeError", "%s", message)
	return ""
}

// lazily is a generator over v: prepare runs when the first item is asked for,
// then keep maps each item and says whether it stays.
func (r *state) lazily(v any, name string, prepare func(), keep func(any) (any, bool)) *stream {
	var next func() (any, bool)
	return &stream{name: name, next: func() (any, bool) {
		if next == nil {
			if !truth(v) {
				next = walk(nil)
			} else {
				prepare()
				next = r.iterate(v)
			}
		}
		for {
			item, ok := next()
			if !ok {
				return nil, false
			}
			if out, ok := keep(item); ok {
				return out, true
			}
		}
	}}
}

func filterSelect(r *state, a *args, want, byAttr bool) any {
	v, rest := a.pos[0], a.pos[1:]
	get := func(v any) any { return v }
	check := func(v any) bool { return truth(v) }
	prepare := func() {
		if byAttr {
			if len(rest) == 0 {
				raise("FilterArgumentError", "Missing parameter for attribute name")
			}
			get = r.getter(rest[0])
			rest = rest[1:]
		}
		if len(rest) > 0 {
			name := r.callable(rest[0], "test", func(n string) bool { return testNames[n] })
			more := &args{rest[1:], a.kw}
			check = func(v any) bool { return truth(r.test(name, v, more)) }
		}
	}
	name := "sync_do_select"
	if !want {
		name = "sync_do_reject"
	}
	if byAttr {
		name += "attr"
	}
	return r.lazily(v, name, prepare, func(item any) (any, bool) {
		return item, check(get(item)) == want
	})
}

func filterSort(r *state, a *args) any {
	v := a.bind("do_sort", "value", "reverse?", "case_sensitive?", "attribute?")
	attribute := or(v[3], nil)
	gets := []func(any) any{r.getter(attribute)}
	if s, ok := asStr(attribute); ok {
		gets = nil
		for _, part := range strings.Split(s, ",") {
			gets = append(gets, r.getter(part))
		}
	}
	for i, get := range gets {
		gets[i] = ignoreCase(get, v[2])
	}
	key := func(item any) any {
		k := &list{}
		for _, get := range gets {
			k.items = append(k.items, get(item))
		}
		return k
	}
	return &list{r.sorted(r.items(v[0]), key, truth(or(v[1], false)))}
}

func filterDictSort(r *state, a *args) any {
	v := a.bind("do_dictsort", "value", "case_sensitive?", "by?", "reverse?")
	d, ok := v[0].(*dict)
	if !ok {
		if u, is := v[0].(*undefined); is {
			u.fail()
		}
		raise("AttributeError", "'%s' object has no attribute 'items'", typeName(v[0]))
	}
	at := map[string]int{"key": 0, "value": 1}
	by := str(or(v[2], "key"))
	pos, ok := at[by]
	if !ok {
		raise("FilterArgumentError", `You can only sort by either "key" or "value"`)
	}
	key := ignoreCase(func(item any) any { return item.(tuple)[pos] }, v[1])
	return &list{r.sorted(r.items(&view{d, "items"}), key, truth(or(v[3], false)))}
}

func filterUnique(r *state, a *args) any {
	v := a.bind("do_unique", "value", "case_sensitive?", "attribute?")
	key := ignoreCase(r.getter(or(v[2], nil)), v[1])
	seen := map[any]bool{}
	var next func() (any, bool)
	return &stream{name: "sync_do_unique", next: func() (any, bool) {
		if next == nil {
			next = r.iterate(v[0])
		}
		for {
			item, ok := next()
			if !ok {
				return nil, false
			}
			if h := hashKey(key(item)); !seen[h] {
				seen[h] = true
				return item, true
			}
		}
	}}
}

func filterExtreme(r *state, a *args, fn, op string) any {
	v := a.bind(fn, "value", "case_sensitive?", "attribute?")
	key := ignoreCase(r.getter(or(v[2], nil)), v[1])
	next := r.iterate(v[0])
	best, ok := next()
	if !ok {
		return r.missing(nil, "No aggregated item, sequence was empty.")
	}
	bestKey := key(best)
	for item, ok := next(); ok; item, ok = next() {
		if k := key(item); r.less(k, bestKey, op) {
			best, bestKey = item, k
		}
	}
	return best
}

func filterSum(r *state, a *args) any {
	v := a.bind("do_sum", "iterable", "attribute?", "start?")
	get := func(v any) any { return v }
	if attribute := or(v[1], nil); attribute != nil {
		get = r.getter(attribute)
	}
	total := or(v[2], 0)
	if _, ok := asStr(total); ok {
		raise("TypeError", "sum() can't sum strings [use ''.join(seq) instead]")
	}
	next := r.iterate(v[0])
	for item, ok := next(); ok; item, ok = next() {
		total = r.arith("+", total, get(item))
	}
	return total
}

func filterGroupBy(r *state, a *args) any {
	v := a.bind("do_groupby", "value", "attribute", "default?", "case_sensitive?")
	get := r.orDefault(v[1], or(v[2], nil))
	key := ignoreCase(get, v[3])
	out := &list{}
	var last any
	for i, item := range r.sorted(r.items(v[0]), key, false) {
		k := key(item)
		if i == 0 || !r.equal(k, last) {
			out.items = append(out.items, group{tuple{get(item), &list{}}})
			last = k
		}
		members := out.items[len(out.items)-1].(group).tuple[1].(*list)
		members.items = append(members.items, item)
	}
	return out
}

func filterBatch(r *state, a *args) any {
	v := a.bind("do_batch", "value", "linecount", "fill_with?")
	n, fill := wantInt(v[1]), or(v[2], nil)
	var next func() (any, bool)
	var row []any
	done := false
	return &stream{name: "do_batch", next: func() (any, bool) {
		if next == nil {
			next = r.iterate(v[0])
		}
		for !done {
			item, ok := next()
			if !ok {
				done = true
				break
			}
			if len(row) == n {
				out := row
				row = []any{item}
				return &list{out}, true
			}
			row = append(row, item)
		}
		if len(row) == 0 {
			return nil, false
		}
		for fill != nil && len(row) < n {
			r.step(1)
			row = append(row, fill)
		}
		out := row
		row = nil
		return &list{out}, true
	}}
}

func filterSlice(r *state, a *args) any {
	v := a.bind("do_slice", "value", "slices", "fill_with?")
	n, fill := wantInt(v[1]), or(v[2], nil)
	var all []any
	i, offset, begun := 0, 0, false
	return &stream{name: "sync_do_slice", next: func() (any, bool) {
		if !begun {
			all, begun = r.items(v[0]), true
			if n == 0 {
				raise("ZeroDivisionError", "integer division or modulo by zero")
			}
		}
		if i >= n {
			return nil, false
		}
		size, extra := len(all)/n, len(all)%n
		start := offset + i*size
		if i < extra {
			offset++
		}
		part := append([]any(nil), all[start:offset+(i+1)*size]...)
		if fill != nil && i >= extra {
			part = append(part, fill)
		}
		i++
		return &list{part}, true
	}}
}

// testNames are the built-in tests.
var testNames = map[string]bool{
	"odd": true, "even": true, "divisibleby": true, "defined": true, "undefined": true, "filter": true, "test": true,
	"none": true, "boolean": true, "false": true, "true": true, "integer": true, "float": true, "lower": true,
	"upper": true, "string": true, "mapping": true, "number": true, "sequence": true, "iterable": true,
	"callable": true, "sameas": true, "escaped": true, "in": true, "==": true, "eq": true, "equalto": true,
	"!=": true, "ne": true, ">": true, "gt": true, "greaterthan": true, "ge": true, ">=": true, "<": true,
	"lt": true, "lessthan": true, "<=": true, "le": true,
}

// test applies a test.
func (r *state) test(name string, v any, a *args) any {
	a = &args{append([]any{v}, a.pos...), a.kw}
	one := func() any { return a.bind("test_"+name, "value")[0] }
	two := func() (any, any) {
		p := a.bind("test_"+name, "value", "other")
		return p[0], p[1]
	}
	compare := func(op string) any {
		x, y := two()
		return r.compare(op, x, y)
	}
	switch name {
	case "defined", "undefined":
		_, gone := one().(*undefined)
		return gone == (name == "undefined")
	case "odd":
		return r.equal(r.arith("%", one(), 2), 1)
	case "even":
		return r.equal(r.arith("%", one(), 2), 0)
	case "divisibleby":
		p := a.bind("test_divisibleby", "value", "num")
		return r.equal(r.arith("%", p[0], p[1]), 0)
	case "none":
		return one() == nil
	case "boolean":
		_, ok := one().(bool)
		return ok
	case "true":
		return one() == true
	case "false":
		return one() == false
	case "integer":
		return typeName(one()) == "int"
	case "float":
		return typeName(one()) == "float"
	case "number":
		_, _, _, ok := number(one())
		return ok
	case "string":
		_, ok := asStr(one())
		return ok
	case "escaped":
		u, ok := one().(*undefined)
		return isMarkup(v) || ok && u.kind == Chainable
	case "lower":
		return oneCase(str(one()), isLower)
	case "upper":
		return oneCase(str(one()), isUpper)
	case "mapping":
		_, ok := one().(*dict)
		return ok
	case "sequence":
		switch x := one().(type) {
		case string, markup, *list, tuple, group, *dict, *span:
			return true
		case *undefined:
			return x.kind != Strict
		}
		return false
	case "iterable":
		if u, ok := one().(*undefined); ok {
			u.use(u.kind == Strict)
		}
		return iterable(v)
	case "callable":
		switch one().(type) {
		case *builtin, *macro, *loop, *joiner, *undefined:
			return true
		}
		return false
	case "sameas":
		x, y := two()
		return identical(x, y)
	case "filter":
		s, ok := asStr(one())
		return ok && r.t.hasFilter(s)
	case "test":
		s, ok := asStr(one())
		return ok && testNames[s]
	case "in":
		p := a.bind("test_in", "value", "seq")
		return r.contains(p[1], p[0])
	case "==", "eq", "equalto":
		return compare("==")
	case "!=", "ne":
		return compare("!=")
	case ">", "gt", "greaterthan":
		return compare(">")
	case ">=", "ge":
		return compare(">=")
	case "<", "lt", "lessthan":
		return compare("<")
	case "<=", "le":
		return compare("<=")
	}
	raise("TemplateRuntimeError", "No test named %s found.", text.Repr(name))
	return nil
}

// identical is Python's "is" as far as CPython makes it predictable: None, True
// and False, equal ints and strings, the same object.
func identical(a, b any) bool {
	switch x := a.(type) {
	case tuple, group:
		return false
	case int:
		y, ok := b.(int)
		return ok && x == y
	}
	switch b.(type) {
	case tuple, group:
		return false
	}
	return a == b
}
