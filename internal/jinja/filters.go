package jinja

import (
	"math"
	"math/big"
	"regexp"
	"strings"
	"unicode/utf8"

	"github.com/evalrun/evalrun/core/text"
)

// filters are the built-in filters; each takes the value as first argument.
// It is filled by init because filters call each other by name.
var filters map[string]func(r *state, a *args) any

// unsupported filters are known, so that the error can say what is the matter.
var unsupported = map[string]string{
	"urlize": "it makes links for web pages",
	"pprint": "it is for debugging",
	"random": "its answer could not be repeated",
}

func (t *Template) hasFilter(name string) bool {
	return filters[name] != nil || unsupported[name] != "" || t.opts.Filters[name] != nil
}

// filter applies a filter.
func (r *state) filter(name string, v any, a *args) any {
	if f := r.t.opts.Filters[name]; f != nil {
		if len(a.kw) > 0 {
			raise("TypeError", "%s() takes no keyword arguments", name)
		}
		var given []any
		for _, p := range a.pos {
			given = append(given, toGo(p))
		}
		out, err := f(toGo(v), given)
		if err != nil {
			raise("ValueError", "%s", err.Error())
		}
		return r.fromGo(out, 0)
	}
	if why := unsupported[name]; why != "" {
		raise("Unsupported", "the filter %s is not supported: %s", name, why)
	}
	f := filters[name]
	if f == nil {
		raise("TemplateRuntimeError", "No filter named %s found.", text.Repr(name))
	}
	if name == "tojson" {
		return r.tojson(v, a)
	}
	return f(r, &args{append([]any{v}, a.pos...), a.kw})
}

// soft keeps a Markup and makes a str of anything else, as soft_str does.
func soft(v any) any {
	if isMarkup(v) {
		return v
	}
	return str(v)
}

// onText is a filter that is a method of str.
func onText(name, method string, params ...string) func(*state, *args) any {
	return func(r *state, a *args) any {
		v := a.bind("do_"+name, append([]string{"s"}, params...)...)
		m, _ := r.attribute(soft(v[0]), method)
		call := &args{}
		for _, p := range v[1:] {
			if !isAbsent(p) && p != nil {
				call.pos = append(call.pos, p)
			}
		}
		return r.call(m, call)
	}
}

func init() {
	filters = map[string]func(r *state, a *args) any{
		"abs":            filterAbs,
		"attr":           filterAttr,
		"batch":          filterBatch,
		"capitalize":     onText("capitalize", "capitalize"),
		"center":         filterCenter,
		"count":          filterLength,
		"length":         filterLength,
		"d":              filterDefault,
		"default":        filterDefault,
		"dictsort":       filterDictSort,
		"e":              filterEscape,
		"escape":         filterEscape,
		"filesizeformat": filterFileSize,
		"first":          filterFirst,
		"last":           filterLast,
		"float":          filterFloat,
		"forceescape":    func(_ *state, a *args) any { return markup(escapeText(str(a.bind("do_forceescape", "value")[0]))) },
		"format":         filterFormat,
		"groupby":        filterGroupBy,
		"indent":         filterIndent,
		"int":            filterInt,
		"items":          filterItems,
		"join":           filterJoin,
		"list":           func(r *state, a *args) any { return &list{r.items(a.bind("do_list", "value")[0])} },
		"lower":          onText("lower", "lower"),
		"upper":          onText("upper", "upper"),
		"map":            filterMap,
		"max":            func(r *state, a *args) any { return filterExtreme(r, a, "do_max", ">") },
		"min":            func(r *state, a *args) any { return filterExtreme(r, a, "do_min", "<") },
		"reject":         func(r *state, a *args) any { return filterSelect(r, a, false, false) },
		"rejectattr":     func(r *state, a *args) any { return filterSelect(r, a, false, true) },
		"select":         func(r *state, a *args) any { return filterSelect(r, a, true, false) },
		"selectattr":     func(r *state, a *args) any { return filterSelect(r, a, true, true) },
		"replace":        filterReplace,
		"reverse":        filterReverse,
		"round":          filterRound,
		"safe":           func(_ *state, a *args) any { return markup(str(a.bind("do_mark_safe", "value")[0])) },
		"slice":          filterSlice,
		"sort":           filterSort,
		"string":         func(_ *state, a *args) any { return soft(a.bind("soft_str", "s")[0]) },
		"striptags":      func(_ *state, a *args) any { return striptags(str(a.bind("do_striptags", "value")[0])) },
		"sum":            filterSum,
		"title":          filterTitle,
		"tojson":         func(r *state, a *args) any { return r.tojson(a.pos[0], &args{a.pos[1:], a.kw}) },
		"trim":           filterTrim,
		"truncate":       filterTruncate,
		"unique":         filterUnique,
		"urlencode":      filterURLEncode,
		"wordcount":      filterWordCount,
		"wordwrap":       filterWordWrap,
		"xmlattr":        filterXMLAttr,
	}
}

func filterAbs(r *state, a *args) any {
	v := a.bind("abs", "x")[0]
	n, f, isInt, ok := number(v)
	switch {
	case !ok:
		raise("TypeError", "bad operand type for abs(): '%s'", typeName(v))
	case isInt:
		return normInt(new(big.Int).Abs(n))
	}
	return math.Abs(f)
}

func filterAttr(r *state, a *args) any {
	v := a.bind("do_attr", "obj", "name")
	name, ok := asStr(v[1])
	if !ok {
		raise("TypeError", "attribute name must be string, not '%s'", typeName(v[1]))
	}
	if got, ok := r.attribute(v[0], name); ok {
		return got
	}
	return r.lacks(v[0], name)
}

func filterLength(r *state, a *args) any {
	v := a.bind("len", "obj")[0]
	n, ok := length(v)
	if !ok {
		raise("TypeError", "object of type '%s' has no len()", typeName(v))
	}
	return n
}

func filterDefault(r *state, a *args) any {
	v := a.bind("do_default", "value", "default_value?", "boolean?")
	_, gone := v[0].(*undefined)
	if gone || truth(or(v[2], false)) && !truth(v[0]) {
		return or(v[1], "")
	}
	return v[0]
}

func filterCenter(r *state, a *args) any {
	v := a.bind("do_center", "value", "width?")
	s, _ := asStr(soft(v[0]))
	return r.pad(s, wantInt(or(v[1], 80)), " ", true, true)
}

func filterFirst(r *state, a *args) any {
	next := r.iterate(a.bind("do_first", "seq")[0])
	if v, ok := next(); ok {
		return v
	}
	return r.missing(nil, "No first item, sequence was empty.")
}

func filterLast(r *state, a *args) any {
	v := a.bind("do_last", "seq")[0]
	switch x := v.(type) {
	case *list:
		if n := len(x.items); n > 0 {
			return x.items[n-1]
		}
	default:
		r.reversible(v)
		if all := r.items(v); len(all) > 0 {
			if last, ok := all[len(all)-1].(string); ok && isMarkup(v) {
				return markup(last)
			}
			return all[len(all)-1]
		}
	}
	return r.missing(nil, "No last item, sequence was empty.")
}

// reversible fails for what Python's reversed() refuses.
func (r *state) reversible(v any) {
	switch x := v.(type) {
	case *list, tuple, group, *dict, *view, *span, string, markup:
		return
	case *undefined:
		x.use(x.kind == Strict)
		return
	}
	raise("TypeError", "'%s' object is not reversible", typeName(v))
}

func filterReverse(r *state, a *args) any {
	v := a.bind("do_reverse", "value")[0]
	if s, ok := asStr(v); ok {
		return r.slice(s, nil, nil, -1)
	}
	if u, ok := v.(*undefined); ok {
		u.use(u.kind == Strict)
	}
	if !iterable(v) {
		raise("FilterArgumentError", "argument must be iterable")
	}
	if _, ok := v.(*stream); ok { // not reversible: Jinja makes a list of it
		return &list{reversed(r.itemsOf(v))}
	}
	return &stream{name: "list_reverseiterator", next: walk(reversed(r.items(v)))}
}

// itemsOf is items for a generator, whose TypeErrors Jinja takes for its own.
func (r *state) itemsOf(v any) []any {
	defer func() {
		if p := recover(); p != nil {
			if e, ok := p.(*Error); ok && e.Type == "TypeError" {
				raise("FilterArgumentError", "argument must be iterable")
			}
			panic(p)
		}
	}()
	return r.items(v)
}

// walk yields the items of a slice.
func walk(items []any) func() (any, bool) {
	return func() (any, bool) {
		if len(items) == 0 {
			return nil, false
		}
		v := items[0]
		items = items[1:]
		return v, true
	}
}

func filterFormat(r *state, a *args) any {
	if len(a.pos) > 1 && len(a.kw) > 0 {
		raise("FilterArgumentError", "can't handle positional and keyword arguments at the same time")
	}
	s, _ := asStr(soft(a.pos[0]))
	if len(a.kw) > 0 {
		d := newDict()
		for _, k := range a.kw {
			d.set(k.name, k.value)
		}
		return r.percent(s, d, isMarkup(a.pos[0]))
	}
	return r.percent(s, tuple(a.pos[1:]), isMarkup(a.pos[0]))
}

func filterIndent(r *state, a *args) any {
	v := a.bind("do_indent", "s", "width?", "first?", "blank?")
	s, ok := asStr(v[0])
	if !ok {
		switch x := v[0].(type) {
		case *undefined:
			x.fail()
		case *list:
			raise("AttributeError", "'list' object has no attribute 'splitlines'")
		case tuple, group:
			r.arith("+", x, "\n")
		}
		raise("TypeError", "unsupported operand type(s) for +=: '%s' and 'str'", typeName(v[0]))
	}
	indent, isText := asStr(or(v[1], 4))
	if !isText {
		n := max(wantInt(or(v[1], 4)), 0)
		r.build(n)
		indent = strings.Repeat(" ", n)
	}
	lines := text.SplitLines(s + "\n")
	r.build(len(s) + len(lines)*len(indent))
	var b strings.Builder
	for i, line := range lines {
		if i > 0 {
			b.WriteByte('\n')
			if line != "" || truth(or(v[3], false)) {
				b.WriteString(indent)
			}
		} else if truth(or(v[2], false)) {
			b.WriteString(indent)
		}
		b.WriteString(line)
	}
	return b.String()
}

func filterReplace(r *state, a *args) any {
	v := a.bind("do_replace", "s", "old", "new", "count?")
	count := -1
	if c := or(v[3], nil); c != nil {
		count = wantInt(c)
	}
	return r.replace(str(v[0]), str(v[1]), str(v[2]), count)
}

func filterTrim(r *state, a *args) any {
	v := a.bind("do_trim", "value", "chars?")
	s := soft(v[0])
	t, _ := asStr(s)
	if c := or(v[1], nil); c != nil {
		if _, ok := asStr(c); !ok {
			raise("TypeError", "strip arg must be None or str")
		}
	}
	t = strip(t, v[1], true, true)
	if isMarkup(s) {
		return markup(t)
	}
	return t
}

func filterTruncate(r *state, a *args) any {
	v := a.bind("do_truncate", "s", "length?", "killwords?", "end?", "leeway?")
	limit, end, leeway := wantInt(or(v[1], 255)), str(or(v[3], "...")), 5
	if l := or(v[4], nil); l != nil {
		leeway = wantInt(l)
	}
	endLen := utf8.RuneCountInString(end)
	if limit < endLen {
		raise("AssertionError", "expected length >= %d, got %d", endLen, limit)
	}
	if leeway < 0 {
		raise("AssertionError", "expected leeway >= 0, got %d", leeway)
	}
	n, ok := length(v[0])
	if !ok {
		raise("TypeError", "object of type '%s' has no len()", typeName(v[0]))
	}
	if n <= limit+leeway {
		return v[0]
	}
	s, ok := asStr(v[0])
	if !ok {
		if _, isList := v[0].(*list); !isList {
			raise("TypeError", "truncate wants a str, not %s", typeName(v[0]))
		}
		raise("AttributeError", "'list' object has no attribute 'rsplit'")
	}
	head := s[:byteAt(s, limit-endLen)]
	if !truth(or(v[2], false)) {
		if at := strings.LastIndexByte(head, ' '); at >= 0 {
			head = head[:at]
		}
	}
	return head + end
}

var wordBeginning = regexp.MustCompile(`[-\s({\[<]+`)

// filterTitle is Jinja's own title: words begin after blanks, hyphens and
// opening brackets only.
func filterTitle(r *state, a *args) any {
	s, _ := asStr(soft(a.bind("do_title", "s")[0]))
	var b strings.Builder
	part := func(p string) {
		if p != "" {
			_, width := utf8.DecodeRuneInString(p)
			b.WriteString(upper(p[:width]) + text.Lower(p[width:]))
		}
	}
	at := 0
	for _, m := range wordBeginning.FindAllStringIndex(s, -1) {
		part(s[at:m[0]])
		b.WriteString(s[m[0]:m[1]])
		at = m[1]
	}
	part(s[at:])
	return b.String()
}

func filterWordCount(r *state, a *args) any {
	s, _ := asStr(soft(a.bind("do_wordcount", "s")[0]))
	n, in := 0, false
	for _, c := range s {
		word := text.IsWord(c)
		if word && !in {
			n++
		}
		in = word
	}
	return n
}
