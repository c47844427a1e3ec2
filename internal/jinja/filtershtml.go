package jinja

import (
	"fmt"
	"html"
	"net/url"
	"regexp"
	"strings"
	"unicode/utf8"

	"github.com/evalrun/evalrun/core/text"
)

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
