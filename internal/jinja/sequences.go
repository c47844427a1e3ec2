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
