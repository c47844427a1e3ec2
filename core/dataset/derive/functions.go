package derive

import (
	"fmt"
	"regexp"
	"sort"
	"strconv"
	"strings"

	"github.com/evalrun/evalrun/core/text"
)

func nth(a ...any) (any, error) {
	const name = "nth"
	list, err := listOf(name, "the list", a[0])
	if err != nil {
		return nil, err
	}
	i, ok := whole(a[1])
	if s, is := a[1].(string); is {
		n, err := strconv.Atoi(strings.TrimSpace(s))
		i, ok = n, err == nil
	}
	if !ok {
		return nil, fmt.Errorf("nth: %s is not a whole number", text.Repr(a[1]))
	}
	at := i
	if at < 0 {
		at += len(list)
	}
	if at < 0 || at >= len(list) {
		return nil, fmt.Errorf("nth: there is no element %d in a list of %d", i, len(list))
	}
	return list[at], nil
}

// pattern compiles a pattern for regex_replace.
func pattern(s string) (*regexp.Regexp, error) {
	re, err := regexp.Compile(s)
	if err != nil {
		return nil, fmt.Errorf("the pattern %q does not compile: %s", s, strings.TrimPrefix(err.Error(), "error parsing regexp: "))
	}
	return re, nil
}

// group finds Python's \1 in a replacement.
var group = regexp.MustCompile(`\\(\d{1,2})`)

func regexReplace(a ...any) (any, error) {
	re, compiled := a[1].(*regexp.Regexp) // where the pattern is a literal
	var s [3]string
	for i, which := range []string{"text", "pattern", "replacement"} {
		var ok bool
		if s[i], ok = a[i].(string); !ok && !(i == 1 && compiled) {
			return nil, fmt.Errorf("regex_replace: %s is %s, not a text", which, nameOf(a[i]))
		}
	}
	if !compiled {
		var err error
		if re, err = pattern(s[1]); err != nil {
			return nil, err
		}
	}
	replacement := group.ReplaceAllString(s[2], "$${${1}}")
	var out []byte
	last := 0
	for _, m := range re.FindAllStringSubmatchIndex(s[0], -1) {
		out = append(out, s[0][last:m[0]]...)
		out = re.ExpandString(out, replacement, s[0], m)
		last = m[1]
		if len(out) > maxText {
			return nil, errLong
		}
	}
	return string(append(out, s[0][last:]...)), nil
}

func join(a ...any) (any, error) {
	list, err := listOf("join", "the list", a[0])
	if err != nil {
		return nil, err
	}
	divider := ""
	if len(a) == 2 {
		var ok bool
		if divider, ok = a[1].(string); !ok {
			return nil, fmt.Errorf("join: the divider is %s, not a text", nameOf(a[1]))
		}
	}
	var b strings.Builder
	for i, e := range list {
		if i > 0 {
			b.WriteString(divider)
		}
		s, err := pystr(e)
		if err != nil {
			return nil, err
		}
		b.WriteString(s.(string))
		if b.Len() > maxText {
			return nil, errLong
		}
	}
	return b.String(), nil
}

func replace(a ...any) (any, error) {
	var s [3]string
	for i, which := range []string{"text", "old", "new"} {
		var ok bool
		if s[i], ok = a[i].(string); !ok {
			return nil, fmt.Errorf("replace: %s is %s, not a text", which, nameOf(a[i]))
		}
	}
	n := -1
	if len(a) == 4 {
		var ok bool
		if n, ok = whole(a[3]); !ok {
			return nil, fmt.Errorf("replace: %s is not a whole number", text.Repr(a[3]))
		}
	}
	hits := strings.Count(s[0], s[1])
	if n >= 0 {
		hits = min(hits, n)
	}
	if float64(len(s[0]))+float64(hits)*float64(len(s[2])-len(s[1])) > maxText {
		return nil, errLong
	}
	return strings.Replace(s[0], s[1], s[2], n), nil
}

func uniq(a ...any) (any, error) {
	list, err := listOf("uniq", "the list", a[0])
	if err != nil {
		return nil, err
	}
	out := []any{}
	seen := make(map[string]bool, len(list))
	for _, e := range list {
		w := writer{json: true}
		if err := w.value(e); err != nil {
			return nil, err
		}
		if key := w.b.String(); !seen[key] {
			seen[key] = true
			out = append(out, e)
		}
	}
	return out, nil
}

func sorted(name string, a []any) (map[string]any, []string, error) {
	m, err := mapOf(name, "the value", a[0])
	if err != nil {
		return nil, nil, err
	}
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	return m, keys, nil
}

func keysOf(a ...any) (any, error) {
	_, keys, err := sorted("keys", a)
	if err != nil {
		return nil, err
	}
	out := make([]any, len(keys))
	for i, k := range keys {
		out[i] = k
	}
	return out, nil
}

func valuesOf(a ...any) (any, error) {
	m, keys, err := sorted("values", a)
	if err != nil {
		return nil, err
	}
	out := make([]any, len(keys))
	for i, k := range keys {
		out[i] = m[k]
	}
	return out, nil
}

func pairsOf(a ...any) (any, error) {
	m, keys, err := sorted("toPairs", a)
	if err != nil {
		return nil, err
	}
	out := make([]any, len(keys))
	for i, k := range keys {
		out[i] = []any{k, m[k]}
	}
	return out, nil
}
