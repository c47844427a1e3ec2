package jinja

import (
	"fmt"
	"html"
	"math"
	"math/big"
	"net/url"
	"regexp"
	"strconv"
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
		if u, is := v.(*undefined); is {
			u.use(u.kind == Strict)
		}
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
	return &stream{name: "list_reverseiterator", next: walk(reversed(r.items(v)))}
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

func filterFloat(r *state, a *args) any {
	v := a.bind("do_float", "value", "default?")
	if f, ok := toFloat(v[0]); ok {
		return f
	}
	return or(v[1], 0.0)
}

// toFloat is Python's float(v); ok is false for a TypeError or ValueError.
func toFloat(v any) (float64, bool) {
	if s, ok := asStr(v); ok {
		return text.ParseFloat(s)
	}
	if u, ok := v.(*undefined); ok {
		u.fail()
	}
	_, f, isInt, ok := number(v)
	if isInt && math.IsInf(f, 0) {
		raise("OverflowError", "int too large to convert to float")
	}
	return f, ok
}

func filterInt(r *state, a *args) any {
	v := a.bind("do_int", "value", "default?", "base?")
	if s, ok := asStr(v[0]); ok {
		if n, ok := parseInt(s, wantInt(or(v[2], 10))); ok {
			return normInt(n)
		}
	} else if n, f, isInt, ok := number(v[0]); ok {
		switch {
		case isInt:
			return normInt(n)
		case math.IsInf(f, 0):
			raise("OverflowError", "cannot convert float infinity to integer")
		case math.IsNaN(f):
			return or(v[1], 0)
		}
		return normInt(truncated(f))
	}
	f, ok := toFloat(v[0])
	if !ok || math.IsInf(f, 0) || math.IsNaN(f) {
		return or(v[1], 0)
	}
	return normInt(truncated(f))
}

// parseInt is Python's int(s, base).
func parseInt(s string, base int) (*big.Int, bool) {
	if base == 10 {
		return text.ParseInt(s)
	}
	s = text.Strip(s)
	if base != 0 && (base < 2 || base > 36) {
		return nil, false
	}
	sign, digits := "", s
	if s != "" && (s[0] == '-' || s[0] == '+') {
		sign, digits = s[:1], s[1:]
	}
	lower := strings.ToLower(digits)
	for prefix, b := range map[string]int{"0x": 16, "0o": 8, "0b": 2} {
		if strings.HasPrefix(lower, prefix) && (base == b || base == 0) {
			base, digits = b, strings.TrimPrefix(digits[2:], "_")
			break
		}
	}
	if base == 0 {
		base = 10
	}
	if digits == "" || strings.HasPrefix(digits, "_") || strings.HasSuffix(digits, "_") || strings.Contains(digits, "__") || strings.ContainsAny(digits, "+-") {
		return nil, false
	}
	return new(big.Int).SetString(sign+strings.ReplaceAll(digits, "_", ""), base)
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
		raise("TypeError", "truncate wants a str, not %s", typeName(v[0]))
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

func filterRound(r *state, a *args) any {
	v := a.bind("do_round", "value", "precision?", "method?")
	how := str(or(v[2], "common"))
	p := wantInt(or(v[1], 0))
	n, f, isInt, ok := number(v[0])
	if u, is := v[0].(*undefined); is {
		u.use(u.kind == Strict || how != "common")
	}
	switch {
	case how != "common" && how != "ceil" && how != "floor":
		raise("FilterArgumentError", "method must be common, ceil or floor")
	case !ok && how == "common":
		raise("TypeError", "type %s doesn't define __round__ method", typeName(v[0]))
	case how == "common" && isInt:
		return roundInt(n, p)
	case how == "common":
		return roundFloat(f, p)
	}
	scaled := r.arith("*", v[0], r.arith("**", 10, p))
	_, x, whole, _ := number(scaled)
	if !whole {
		if how == "ceil" {
			x = math.Ceil(x)
		} else {
			x = math.Floor(x)
		}
		scaled = normInt(truncated(x))
	}
	return r.arith("/", scaled, r.arith("**", 10, p))
}

// roundInt is round(n, p) of an int: for negative p to even tens.
func roundInt(n *big.Int, p int) any {
	if p >= 0 {
		return normInt(n)
	}
	if p < -4300 {
		return 0
	}
	unit := new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(-p)), nil)
	half := new(big.Int).Rsh(unit, 1)
	q, m := new(big.Int).DivMod(n, unit, new(big.Int))
	if c := m.Cmp(half); c > 0 || c == 0 && q.Bit(0) == 1 {
		q.Add(q, big.NewInt(1))
	}
	return normInt(q.Mul(q, unit))
}

// roundFloat is round(x, p) of a float: correctly rounded from its exact value,
// ties to even.
func roundFloat(x float64, p int) float64 {
	if math.IsNaN(x) || math.IsInf(x, 0) || p > 323 {
		return x
	}
	if p >= 0 {
		f, _ := strconv.ParseFloat(strconv.FormatFloat(x, 'f', p, 64), 64)
		return f
	}
	if p < -308 {
		return math.Copysign(0, x)
	}
	unit := math.Pow(10, float64(-p))
	return math.RoundToEven(x/unit) * unit
}

func filterFileSize(r *state, a *args) any {
	v := a.bind("do_filesizeformat", "value", "binary?")
	f, ok := toFloat(v[0])
	if !ok {
		raise("ValueError", "could not convert string to float: %s", repr(v[0]))
	}
	base, units := 1000.0, []string{"kB", "MB", "GB", "TB", "PB", "EB", "ZB", "YB"}
	if truth(or(v[1], false)) {
		base, units = 1024, []string{"KiB", "MiB", "GiB", "TiB", "PiB", "EiB", "ZiB", "YiB"}
	}
	switch {
	case f == 1:
		return "1 Byte"
	case f < base:
		return truncated(f).String() + " Bytes"
	}
	unit := base
	for i, name := range units {
		unit *= base
		if f < unit || i == len(units)-1 {
			return strconv.FormatFloat(base*f/unit, 'f', 1, 64) + " " + name
		}
	}
	return nil
}

// escapeText replaces the five characters that HTML gives a meaning.
func escapeText(s string) string {
	return strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&#34;", "'", "&#39;").Replace(s)
}

// escaped is the text of v with what is not Markup escaped.
func escaped(v any) string {
	if m, ok := v.(markup); ok {
		return string(m)
	}
	return escapeText(str(v))
}

func filterEscape(r *state, a *args) any { return markup(escaped(a.bind("escape", "s")[0])) }

func unescapeHTML(s string) string { return html.UnescapeString(s) }

// striptags removes comments and tags, joins white space and resolves entities.
func striptags(s string) string {
	for {
		from := strings.Index(s, "<!--")
		if from < 0 {
			break
		}
		n := strings.Index(s[from:], "-->")
		if n < 0 {
			break
		}
		s = s[:from] + s[from+n+3:]
	}
	for {
		from := strings.Index(s, "<")
		if from < 0 {
			break
		}
		n := strings.Index(s[from:], ">")
		if n < 0 {
			break
		}
		s = s[:from] + s[from+n+1:]
	}
	return html.UnescapeString(strings.Join(text.Split(s), " "))
}

// quote is urllib's quote: with "/" safe, or for a query with blanks as "+".
func quote(v any, query bool) string {
	s := strings.ReplaceAll(url.QueryEscape(str(v)), "%7E", "~")
	if query {
		return s
	}
	return strings.ReplaceAll(strings.ReplaceAll(s, "+", "%20"), "%2F", "/")
}

func filterURLEncode(r *state, a *args) any {
	v := a.bind("do_urlencode", "value")[0]
	if _, ok := asStr(v); ok || !iterable(v) {
		return quote(v, false)
	}
	var pairs any = v
	if d, ok := v.(*dict); ok {
		pairs = &view{d, "items"}
	}
	var parts []string
	for _, item := range r.items(pairs) {
		pair := r.unpack(item, 2)
		parts = append(parts, quote(pair[0], true)+"="+quote(pair[1], true))
	}
	return strings.Join(parts, "&")
}

func filterXMLAttr(r *state, a *args) any {
	v := a.bind("do_xmlattr", "d", "autospace?")
	d, ok := v[0].(*dict)
	if !ok {
		if u, is := v[0].(*undefined); is {
			u.fail()
		}
		raise("AttributeError", "'%s' object has no attribute 'items'", typeName(v[0]))
	}
	var parts []string
	for i, k := range d.keys {
		if _, gone := d.vals[i].(*undefined); d.vals[i] == nil || gone {
			continue
		}
		key := str(k)
		if strings.ContainsAny(key, " \t\n\r\f\v/>=") {
			raise("ValueError", "Invalid character in attribute name: %s", text.Repr(key))
		}
		parts = append(parts, fmt.Sprintf(`%s="%s"`, escapeText(key), escaped(d.vals[i])))
	}
	out := strings.Join(parts, " ")
	if out != "" && truth(or(v[1], true)) {
		out = " " + out
	}
	return out
}

// filterWordWrap wraps each line as Python's textwrap.wrap does, for texts
// without words that must be broken at hyphens in an unusual way.
func filterWordWrap(r *state, a *args) any {
	v := a.bind("do_wordwrap", "s", "width?", "break_long_words?", "wrapstring?", "break_on_hyphens?")
	s, ok := asStr(v[0])
	if !ok {
		raise("AttributeError", "'%s' object has no attribute 'splitlines'", typeName(v[0]))
	}
	width := wantInt(or(v[1], 79))
	if width <= 0 {
		raise("ValueError", "invalid width %d (must be > 0)", width)
	}
	sep := "\n"
	if w := or(v[3], nil); w != nil {
		sep = str(w)
	}
	r.build(8 * len(s))
	var out []string
	for _, line := range text.SplitLines(s) {
		out = append(out, strings.Join(wrapLine(line, width, truth(or(v[2], true)), truth(or(v[4], true))), sep))
	}
	return strings.Join(out, sep)
}

var (
	blankRun   = regexp.MustCompile(`[\t\n\v\f\r ]+`)
	hyphenated = regexp.MustCompile(`[\pL\pN_]{2,}-+|-{2,}`)
)

// wrapLine is textwrap.wrap with expand_tabs and replace_whitespace off.
func wrapLine(line string, width int, breakLong, hyphens bool) []string {
	var chunks []string
	at := 0
	words := func(w string) {
		for hyphens && w != "" {
			m := hyphenated.FindStringIndex(w)
			if m == nil || m[1] == len(w) {
				break
			}
			if next, _ := utf8.DecodeRuneInString(w[m[1]:]); !text.IsWord(next) || next >= '0' && next <= '9' {
				break
			}
			chunks = append(chunks, w[:m[1]])
			w = w[m[1]:]
		}
		if w != "" {
			chunks = append(chunks, w)
		}
	}
	for _, m := range blankRun.FindAllStringIndex(line, -1) {
		words(line[at:m[0]])
		chunks = append(chunks, line[m[0]:m[1]])
		at = m[1]
	}
	words(line[at:])
	blank := func(s string) bool { return text.Strip(s) == "" }
	var lines []string
	for len(chunks) > 0 {
		var cur []string
		n := 0
		if blank(chunks[0]) && len(lines) > 0 {
			chunks = chunks[1:]
		}
		for len(chunks) > 0 {
			l := utf8.RuneCountInString(chunks[0])
			if n+l > width {
				break
			}
			cur, n, chunks = append(cur, chunks[0]), n+l, chunks[1:]
		}
		if len(chunks) > 0 && utf8.RuneCountInString(chunks[0]) > width {
			space := max(width-n, 1)
			switch {
			case breakLong:
				end := byteAt(chunks[0], space)
				if hyphens && utf8.RuneCountInString(chunks[0]) > space {
					if h := strings.LastIndexByte(chunks[0][:end], '-'); h > 0 && strings.Trim(chunks[0][:h], "-") != "" {
						end = h + 1
					}
				}
				cur = append(cur, chunks[0][:end])
				chunks[0] = chunks[0][end:]
			case len(cur) == 0:
				cur, chunks = append(cur, chunks[0]), chunks[1:]
			}
		}
		if len(cur) > 0 && blank(cur[len(cur)-1]) {
			cur = cur[:len(cur)-1]
		}
		if len(cur) > 0 {
			lines = append(lines, strings.Join(cur, ""))
		}
	}
	return lines
}
