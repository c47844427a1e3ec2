package jinja

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/evalrun/evalrun/core/text"
)

// stringMethod is the method of a str.
func stringMethod(s, name string, marked bool) func(*state, *args) any {
	fn := "str." + name
	wrap := func(out string) any {
		if marked {
			return markup(out)
		}
		return out
	}
	wrapAll := func(parts []string) any {
		l := &list{make([]any, len(parts))}
		for i, p := range parts {
			l.items[i] = wrap(p)
		}
		return l
	}
	plain := func(f func(string) string) func(*state, *args) any {
		return func(r *state, a *args) any {
			a.noKeywords(fn, 0, 0)
			r.build(len(s))
			return wrap(f(s))
		}
	}
	ask := func(f func() bool) func(*state, *args) any {
		return func(r *state, a *args) any {
			a.noKeywords(fn, 0, 0)
			r.build(len(s))
			return f()
		}
	}
	switch name {
	case "upper":
		return plain(upper)
	case "lower":
		return plain(text.Lower)
	case "casefold":
		return plain(func(s string) string { return strings.ReplaceAll(text.Lower(s), "ß", "ss") })
	case "title":
		return plain(titleCase)
	case "capitalize":
		return plain(capitalize)
	case "swapcase":
		return plain(swapCase)
	case "isupper":
		return ask(func() bool { return oneCase(s, isUpper) })
	case "islower":
		return ask(func() bool { return oneCase(s, isLower) })
	case "istitle":
		return ask(func() bool { return isTitle(s) })
	case "isspace":
		return ask(func() bool { return every(s, text.IsSpace) })
	case "isalpha":
		return ask(func() bool { return every(s, unicode.IsLetter) })
	case "isalnum":
		return ask(func() bool { return every(s, func(r rune) bool { return r != '_' && text.IsWord(r) }) })
	case "isdigit":
		return ask(func() bool { return every(s, isDigit) })
	case "isdecimal":
		return ask(func() bool { return every(s, func(r rune) bool { return unicode.Is(unicode.Nd, r) }) })
	case "isnumeric":
		return ask(func() bool { return every(s, unicode.IsNumber) })
	case "isascii":
		return ask(func() bool { return s == "" || every(s, func(r rune) bool { return r < 0x80 }) })
	case "isprintable":
		return ask(func() bool { return s == "" || every(s, unicode.IsPrint) })
	case "isidentifier":
		return ask(func() bool { return isIdentifier(s) })
	case "strip", "lstrip", "rstrip":
		return func(r *state, a *args) any {
			v := a.noKeywords(fn, 0, 1)
			r.build(len(s))
			if c := or(v[0], nil); c != nil {
				if _, ok := asStr(c); !ok {
					raise("TypeError", "%s arg must be None or str", name)
				}
			}
			return wrap(strip(s, v[0], name != "rstrip", name != "lstrip"))
		}
	case "split", "rsplit":
		return func(r *state, a *args) any {
			v := a.bind(name, "sep?", "maxsplit?")
			r.build(16 * len(s))
			return wrapAll(split(s, or(v[0], nil), wantInt(or(v[1], -1)), name == "rsplit"))
		}
	case "splitlines":
		return func(r *state, a *args) any {
			v := a.bind(name, "keepends?")
			r.build(len(s))
			return wrapAll(splitLines(s, truth(or(v[0], false))))
		}
	case "startswith", "endswith":
		return func(r *state, a *args) any { return affix(s, name, a.noKeywords(fn, 1, 3)) }
	case "removeprefix", "removesuffix":
		return func(r *state, a *args) any {
			v := a.noKeywords(fn, 1, 1)
			part := wantStr(v[0], name+"() argument must be str, not %s")
			if name == "removeprefix" {
				return wrap(strings.TrimPrefix(s, part))
			}
			return wrap(strings.TrimSuffix(s, part))
		}
	case "find", "rfind", "index", "rindex", "count":
		return func(r *state, a *args) any {
			v := a.noKeywords(fn, 1, 3)
			r.build(len(s))
			part := wantStr(v[0], "must be str, not %s")
			return search(s, part, name, v)
		}
	case "replace":
		return func(r *state, a *args) any {
			v := a.noKeywords(fn, 2, 3)
			old := wantStr(v[0], "replace() argument 1 must be str, not %s")
			with := wantStr(v[1], "replace() argument 2 must be str, not %s")
			return wrap(r.replace(s, old, with, wantInt(or(v[2], -1))))
		}
	case "join":
		return func(r *state, a *args) any {
			v := a.noKeywords(fn, 1, 1)
			if !iterable(v[0]) {
				raise("TypeError", "can only join an iterable")
			}
			var parts []string
			n := 0
			for i, item := range r.items(v[0]) {
				part, ok := asStr(item)
				if !ok {
					raise("TypeError", "sequence item %d: expected str instance, %s found", i, typeName(item))
				}
				parts = append(parts, part)
				n += len(part) + len(s)
			}
			r.build(n)
			return wrap(strings.Join(parts, s))
		}
	case "partition", "rpartition":
		return func(r *state, a *args) any {
			v := a.noKeywords(fn, 1, 1)
			sep := wantStr(v[0], "must be str, not %s")
			if sep == "" {
				raise("ValueError", "empty separator")
			}
			at := strings.Index(s, sep)
			if name == "rpartition" {
				at = strings.LastIndex(s, sep)
			}
			switch {
			case at >= 0:
				return tuple{wrap(s[:at]), wrap(sep), wrap(s[at+len(sep):])}
			case name == "partition":
				return tuple{wrap(s), wrap(""), wrap("")}
			}
			return tuple{wrap(""), wrap(""), wrap(s)}
		}
	case "center", "ljust", "rjust":
		return func(r *state, a *args) any {
			v := a.noKeywords(fn, 1, 2)
			fill := wantStr(or(v[1], " "), "The fill character must be a unicode character, not %s")
			if utf8.RuneCountInString(fill) != 1 {
				raise("TypeError", "The fill character must be exactly one character long")
			}
			return wrap(r.pad(s, wantInt(v[0]), fill, name != "ljust", name != "rjust"))
		}
	case "zfill":
		return func(r *state, a *args) any {
			width := wantInt(a.noKeywords(fn, 1, 1)[0])
			if s != "" && (s[0] == '+' || s[0] == '-') {
				return wrap(s[:1] + r.pad(s[1:], width-1, "0", true, false))
			}
			return wrap(r.pad(s, width, "0", true, false))
		}
	case "expandtabs":
		return func(r *state, a *args) any {
			v := a.bind(name, "tabsize?")
			return wrap(r.expandTabs(s, wantInt(or(v[0], 8))))
		}
	case "format":
		return func(r *state, a *args) any { return wrap(r.format(s, a)) }
	case "format_map":
		return func(r *state, a *args) any {
			v := a.noKeywords("str.format_map", 1, 1)
			d, ok := v[0].(*dict)
			if !ok {
				raise("TypeError", "'%s' object is not a mapping", typeName(v[0]))
			}
			named := &args{}
			for i, k := range d.keys {
				if name, ok := asStr(k); ok {
					named.kw = append(named.kw, keyword{name, d.vals[i]})
				}
			}
			return wrap(r.format(s, named))
		}
	case "unescape", "striptags":
		if marked {
			return func(*state, *args) any {
				if name == "striptags" {
					return striptags(s)
				}
				return unescapeHTML(s)
			}
		}
	}
	return nil
}

func wantStr(v any, complaint string) string {
	s, ok := asStr(v)
	if !ok {
		raise("TypeError", complaint, typeName(v))
	}
	return s
}

// affix is str.startswith and str.endswith.
func affix(s, name string, v []any) bool {
	from, to := byteWindow(s, v)
	if from > to {
		return false
	}
	s = s[from:to]
	has := strings.HasPrefix
	if name == "endswith" {
		has = strings.HasSuffix
	}
	if t, ok := v[0].(tuple); ok {
		for _, item := range t {
			if has(s, wantStr(item, "tuple for "+name+" must only contain str, not %s")) {
				return true
			}
		}
		return false
	}
	return has(s, wantStr(v[0], name+" first arg must be str or a tuple of str, not %s"))
}

// byteWindow turns the optional start and end, in characters, into bytes.
func byteWindow(s string, v []any) (from, to int) {
	if isAbsent(v[1]) && isAbsent(v[2]) {
		return 0, len(s)
	}
	n := utf8.RuneCountInString(s)
	if k, ok := smallInt(or(v[1], nil)); ok && k > n {
		return len(s) + 1, len(s)
	}
	low, high := window(v, n)
	return byteAt(s, low), byteAt(s, high)
}

// byteAt is the byte offset of the n-th character.
func byteAt(s string, n int) int {
	for i := range s {
		if n == 0 {
			return i
		}
		n--
	}
	return len(s)
}

// search is str.find, rfind, index, rindex and count.
func search(s, part, name string, v []any) any {
	from, to := byteWindow(s, v)
	at := -1
	if from <= to {
		switch name {
		case "count":
			return strings.Count(s[from:to], part)
		case "rfind", "rindex":
			at = strings.LastIndex(s[from:to], part)
		default:
			at = strings.Index(s[from:to], part)
		}
	} else if name == "count" {
		return 0
	}
	if at < 0 {
		if strings.HasSuffix(name, "index") {
			raise("ValueError", "substring not found")
		}
		return -1
	}
	return utf8.RuneCountInString(s[:from+at])
}

// replace is str.replace.
func (r *state) replace(s, old, with string, count int) string {
	n := strings.Count(s, old)
	if count >= 0 {
		n = min(n, count)
	}
	if len(with) > 0 && n > r.t.opts.Limits.Bytes/len(with) {
		r.build(r.t.opts.Limits.Bytes + 1)
	}
	r.build(len(s) + n*len(with))
	return strings.Replace(s, old, with, count)
}

func (r *state) expandTabs(s string, size int) string {
	var b strings.Builder
	column := 0
	for _, c := range s {
		switch c {
		case '\t':
			if size > 0 {
				n := size - column%size
				r.build(b.Len() + n)
				b.WriteString(strings.Repeat(" ", n))
				column += n
			}
		case '\n', '\r':
			b.WriteRune(c)
			column = 0
		default:
			b.WriteRune(c)
			column++
		}
	}
	return b.String()
}
