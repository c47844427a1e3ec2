package derive

import (
	"errors"
	"fmt"
	"math"
	"regexp"
	"slices"
	"sort"
	"strconv"
	"strings"

	"github.com/evalrun/evalrun/core/text"
)

// maxText is the longest text that an expression may make, in bytes.
const maxText = 64 << 20

var errLong = fmt.Errorf("a text grew beyond %d MiB", maxText>>20)

// A Transform is a named function of expressions.
type Transform struct {
	Name string
	// Form is how a call is written.
	Form string
	// Doc says what it gives.
	Doc         string
	least, most int // arguments
	call        func(...any) (any, error)
}

// Transforms lists the named functions that expressions have beyond the
// language's own, and those of the language's own whose meaning is narrowed here.
func Transforms() []Transform { return slices.Clone(transforms) }

func functionNames() []string {
	out := []string{"all", "none", "any", "one", "filter", "map", "find", "findIndex", "findLast", "findLastIndex", "count", "sum",
		"groupBy", "sortBy", "reduce", "len", "type", "abs", "ceil", "floor", "round", "int", "float", "trim", "trimPrefix",
		"trimSuffix", "upper", "lower", "split", "splitAfter", "repeat", "indexOf", "lastIndexOf", "hasPrefix", "hasSuffix", "max",
		"min", "mean", "median", "first", "last", "get", "take", "fromPairs", "reverse", "concat", "flatten", "sort"}
	for _, t := range transforms {
		out = append(out, t.Name)
	}
	return out
}

var transforms = []Transform{
	{"pystr", "pystr(value [, keys])", "The value as Python's str() writes it. The keys of maps come in the order of the list keys, the others sorted behind them.", 1, 2, pystr},
	{"json", "json(value [, keys])", "The value as Python's json.dumps(ensure_ascii=False) writes it, with \", \" and \": \". The keys of maps come in the order of the list keys, the others sorted behind them.", 1, 2, dumps},
	{"tag_lists", "tag_lists(tokens, tags, names)", "JSON text of a map with one list a tag name except the outside one, \"O\": the tokens that bear the tag. tags are indices into names, or the names themselves. Every name is there, in the order of names.", 3, 3, tagLists},
	{"entity_lists", "entity_lists(tokens, tags, names, keys)", "JSON text of a map with one list an entity kind: BIO tags merged into spans, whose tokens are joined by a blank. keys maps the kinds to the keys of the result (or names them in order as [kind, key] pairs); every key is there.", 4, 4, entityLists},
	{"options", "options(texts [, labels])", "One line an option, \"A. text\". labels is a list of labels, or the first one: \"A\" (the default), \"a\", or a number.", 1, 2, options},
	{"triples", "triples(value)", "The triples of a WebNLG set, one a line, from modified_triple_sets, its mtriple_set or original_triple_sets: of several variants the first.", 1, 1, triples},
	{"table_text", "table_text(table [, rows])", "A WikiSQL table as text: a line with its columns and their types, then at most rows (default 3) of its rows, cells divided by \" | \".", 1, 2, tableText},
	{"nth", "nth(list, i)", "Element i of a list, from 0; negative i counts from the end. Out of the list is an error. i may be a whole number in a text.", 2, 2, nth},
	{"regex_replace", "regex_replace(text, pattern, replacement)", "Every match replaced. Patterns are RE2 (linear time); \\1 or ${name} in the replacement stand for groups.", 3, 3, regexReplace},
	{"string", "string(value)", "A text of the value as Python's str() writes it; a text stays itself.", 1, 1, pystr},
	{"join", "join(list [, divider])", "The texts of the list in one; other values are written as string() does.", 1, 2, join},
	{"replace", "replace(text, old, new [, n])", "Every old, or the first n, replaced by new.", 3, 4, replace},
	{"uniq", "uniq(list)", "The list without repetitions, in order of first appearance.", 1, 1, uniq},
	{"keys", "keys(map)", "The keys of a map, sorted.", 1, 1, keysOf},
	{"values", "values(map)", "The values of a map, in the order of its keys.", 1, 1, valuesOf},
	{"toPairs", "toPairs(map)", "The [key, value] pairs of a map, in the order of its keys.", 1, 1, pairsOf},
	{"fromJSON", "fromJSON(text)", "The value of a JSON text; whole numbers stay whole.", 1, 1, fromJSON},
}

func arity(name string, a []any, least, most int) error {
	if len(a) < least || len(a) > most {
		return fmt.Errorf("%s: %d arguments", name, len(a))
	}
	return nil
}

// listOf gives the elements of any list that an expression can hold.
func listOf(name, which string, v any) ([]any, error) {
	v, err := settle(v)
	if err != nil {
		return nil, fmt.Errorf("%s: %s: %w", name, which, err)
	}
	list, ok := v.([]any)
	if !ok {
		return nil, fmt.Errorf("%s: %s is %s, not a list", name, which, nameOf(v))
	}
	return list, nil
}

func textsOf(name, which string, v any) ([]string, error) {
	list, err := listOf(name, which, v)
	if err != nil {
		return nil, err
	}
	out := make([]string, len(list))
	for i, e := range list {
		s, ok := e.(string)
		if !ok {
			return nil, fmt.Errorf("%s: element %d of %s is %s, not a text", name, i, which, nameOf(e))
		}
		out[i] = s
	}
	return out, nil
}

func mapOf(name, which string, v any) (map[string]any, error) {
	v, err := settle(v)
	if err != nil {
		return nil, fmt.Errorf("%s: %s: %w", name, which, err)
	}
	m, ok := v.(map[string]any)
	if !ok {
		return nil, fmt.Errorf("%s: %s is %s, not a map", name, which, nameOf(v))
	}
	return m, nil
}

func pystr(a ...any) (any, error) { return spelled("pystr", a, false) }
func dumps(a ...any) (any, error) { return spelled("json", a, true) }

func spelled(name string, a []any, asJSON bool) (any, error) {
	if err := arity(name, a, 1, 2); err != nil {
		return nil, err
	}
	var order []string
	if len(a) == 2 {
		var err error
		if order, err = textsOf(name, "keys", a[1]); err != nil {
			return nil, err
		}
	}
	v, err := settle(a[0])
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	w := writer{json: asJSON, order: order}
	if s, ok := v.(string); ok && !asJSON {
		return s, nil
	}
	if err := w.value(v); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return w.b.String(), nil
}

// tagNames resolves the tags of tokens: indices into names, or names.
func tagNames(name string, tokens []string, tags, names any) ([]string, []string, error) {
	known, err := textsOf(name, "names", names)
	if err != nil {
		return nil, nil, err
	}
	list, err := listOf(name, "tags", tags)
	if err != nil {
		return nil, nil, err
	}
	if len(list) != len(tokens) {
		return nil, nil, fmt.Errorf("%s: %d tokens but %d tags", name, len(tokens), len(list))
	}
	out := make([]string, len(list))
	for i, tag := range list {
		if s, ok := tag.(string); ok {
			if !slices.Contains(known, s) {
				return nil, nil, fmt.Errorf("%s: tag %q of token %d is not among the names", name, s, i)
			}
			out[i] = s
			continue
		}
		n, ok := whole(tag)
		if !ok || n < 0 || n >= len(known) {
			return nil, nil, fmt.Errorf("%s: tag %s of token %d is not an index into the %d names", name, text.Repr(tag), i, len(known))
		}
		out[i] = known[n]
	}
	return out, known, nil
}

// outside is the tag of tokens that belong to no entity.
const outside = "O"

func tagLists(a ...any) (any, error) {
	const name = "tag_lists"
	if err := arity(name, a, 3, 3); err != nil {
		return nil, err
	}
	tokens, err := textsOf(name, "tokens", a[0])
	if err != nil {
		return nil, err
	}
	tags, known, err := tagNames(name, tokens, a[1], a[2])
	if err != nil {
		return nil, err
	}
	lists := make(map[string]any)
	var order []string
	for _, tag := range known {
		if tag != outside && lists[tag] == nil {
			lists[tag] = []any{}
			order = append(order, tag)
		}
	}
	for i, tag := range tags {
		if tag != outside {
			lists[tag] = append(lists[tag].([]any), tokens[i])
		}
	}
	return dumps(lists, order)
}

// entityLists merges as conlleval does: B-X begins a span; I-X continues a span
// of X, and begins one where none is open.
func entityLists(a ...any) (any, error) {
	const name = "entity_lists"
	if err := arity(name, a, 4, 4); err != nil {
		return nil, err
	}
	tokens, err := textsOf(name, "tokens", a[0])
	if err != nil {
		return nil, err
	}
	tags, known, err := tagNames(name, tokens, a[1], a[2])
	if err != nil {
		return nil, err
	}
	keys, order, err := entityKeys(name, a[3], known)
	if err != nil {
		return nil, err
	}
	lists := make(map[string]any)
	for _, key := range order {
		lists[key] = []any{}
	}
	kind, span := "", []string(nil)
	flush := func() error {
		if len(span) == 0 {
			return nil
		}
		key, ok := keys[kind]
		if !ok {
			return fmt.Errorf("%s: keys has no entry for %q", name, kind)
		}
		lists[key] = append(lists[key].([]any), strings.Join(span, " "))
		span = nil
		return nil
	}
	for i, tag := range tags {
		prefix, k, ok := strings.Cut(tag, "-")
		switch {
		case tag == outside:
			k = ""
		case !ok || prefix != "B" && prefix != "I":
			return nil, fmt.Errorf("%s: tag %q of token %d is neither O, B-… nor I-…", name, tag, i)
		}
		if k != kind || prefix == "B" {
			if err := flush(); err != nil {
				return nil, err
			}
			kind = k
		}
		if k != "" {
			span = append(span, tokens[i])
		}
	}
	if err := flush(); err != nil {
		return nil, err
	}
	return dumps(lists, order)
}

// entityKeys reads the fourth argument: a map from kind to key, whose order is
// that in which the tag names first mention the kinds, or [kind, key] pairs.
func entityKeys(name string, v any, known []string) (keys map[string]string, order []string, err error) {
	v, err = settle(v)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: keys: %w", name, err)
	}
	keys = make(map[string]string)
	add := func(kind string, key any) error {
		s, ok := key.(string)
		if !ok {
			return fmt.Errorf("%s: the key of %q is %s, not a text", name, kind, nameOf(key))
		}
		keys[kind] = s
		if !slices.Contains(order, s) {
			order = append(order, s)
		}
		return nil
	}
	switch v := v.(type) {
	case map[string]any:
		for _, tag := range known {
			if _, kind, ok := strings.Cut(tag, "-"); ok && keys[kind] == "" {
				if key, ok := v[kind]; ok {
					if err := add(kind, key); err != nil {
						return nil, nil, err
					}
				}
			}
		}
		if len(keys) < len(v) {
			for kind := range v {
				if keys[kind] == "" {
					return nil, nil, fmt.Errorf("%s: no tag name mentions the kind %q", name, kind)
				}
			}
		}
	case []any:
		for i, e := range v {
			pair, ok := e.([]any)
			if !ok || len(pair) != 2 {
				return nil, nil, fmt.Errorf("%s: element %d of keys is not a [kind, key] pair", name, i)
			}
			kind, ok := pair[0].(string)
			if !ok {
				return nil, nil, fmt.Errorf("%s: the kind of pair %d is %s, not a text", name, i, nameOf(pair[0]))
			}
			if err := add(kind, pair[1]); err != nil {
				return nil, nil, err
			}
		}
	default:
		return nil, nil, fmt.Errorf("%s: keys is %s, not a map", name, nameOf(v))
	}
	return keys, order, nil
}

func options(a ...any) (any, error) {
	const name = "options"
	if err := arity(name, a, 1, 2); err != nil {
		return nil, err
	}
	texts, err := listOf(name, "texts", a[0])
	if err != nil {
		return nil, err
	}
	label := func(i int) (string, error) { return "", nil }
	start := any("A")
	if len(a) == 2 {
		start = a[1]
	}
	if n, ok := whole(start); ok {
		label = func(i int) (string, error) { return strconv.Itoa(n + i), nil }
	} else if s, ok := start.(string); ok {
		if len(s) != 1 || !(s[0] >= 'A' && s[0] <= 'Z' || s[0] >= 'a' && s[0] <= 'z') {
			return nil, fmt.Errorf("options: labels cannot begin with %q: one letter or a number is wanted", s)
		}
		label = func(i int) (string, error) {
			c := int(s[0]) + i
			if s[0] <= 'Z' && c > 'Z' || c > 'z' {
				return "", fmt.Errorf("options: the alphabet ends before option %d", i+1)
			}
			return string(rune(c)), nil
		}
	} else {
		labels, err := listOf(name, "labels", start)
		if err != nil {
			return nil, err
		}
		if len(labels) != len(texts) {
			return nil, fmt.Errorf("options: %d texts but %d labels", len(texts), len(labels))
		}
		label = func(i int) (string, error) { return text.Str(labels[i]), nil }
	}
	lines := make([]string, len(texts))
	for i, t := range texts {
		l, err := label(i)
		if err != nil {
			return nil, err
		}
		lines[i] = l + ". " + text.Str(t)
	}
	return strings.Join(lines, "\n"), nil
}

func triples(a ...any) (any, error) {
	const name = "triples"
	if err := arity(name, a, 1, 1); err != nil {
		return nil, err
	}
	v, err := settle(a[0])
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if m, ok := v.(map[string]any); ok {
		if v, ok = m["mtriple_set"]; !ok {
			if v, ok = m["otriple_set"]; !ok {
				return nil, errors.New("triples: the map has neither mtriple_set nor otriple_set")
			}
		}
	}
	list, ok := v.([]any)
	if !ok {
		return nil, fmt.Errorf("triples: %s is no set of triples", nameOf(v))
	}
	if len(list) > 0 {
		if variant, nested := list[0].([]any); nested {
			list = variant
		}
	}
	lines, err := textsOf(name, "the set", list)
	if err != nil {
		return nil, err
	}
	return strings.Join(lines, "\n"), nil
}

func tableText(a ...any) (any, error) {
	const name = "table_text"
	if err := arity(name, a, 1, 2); err != nil {
		return nil, err
	}
	table, err := mapOf(name, "table", a[0])
	if err != nil {
		return nil, err
	}
	limit := 3
	if len(a) == 2 {
		n, ok := whole(a[1])
		if !ok || n < 0 {
			return nil, fmt.Errorf("%s: the number of rows is %s", name, text.Repr(a[1]))
		}
		limit = n
	}
	header, err := listOf(name, "table.header", table["header"])
	if err != nil {
		return nil, err
	}
	var kinds []any
	if table["types"] != nil {
		if kinds, err = listOf(name, "table.types", table["types"]); err != nil {
			return nil, err
		}
		if len(kinds) != len(header) {
			return nil, fmt.Errorf("%s: %d columns but %d types", name, len(header), len(kinds))
		}
	}
	var b strings.Builder
	for i, column := range header {
		if i > 0 {
			b.WriteString(" | ")
		}
		b.WriteString(text.Str(column))
		if kinds != nil {
			b.WriteString(" (" + text.Str(kinds[i]) + ")")
		}
	}
	if table["rows"] == nil {
		return b.String(), nil
	}
	rows, err := listOf(name, "table.rows", table["rows"])
	if err != nil {
		return nil, err
	}
	for i, row := range rows[:min(limit, len(rows))] {
		cells, err := listOf(name, "row "+strconv.Itoa(i), row)
		if err != nil {
			return nil, err
		}
		for j, cell := range cells {
			if j == 0 {
				b.WriteByte('\n')
			} else {
				b.WriteString(" | ")
			}
			b.WriteString(text.Str(cell))
		}
	}
	return b.String(), nil
}

func nth(a ...any) (any, error) {
	const name = "nth"
	if err := arity(name, a, 2, 2); err != nil {
		return nil, err
	}
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
	if err := arity("regex_replace", a, 3, 3); err != nil {
		return nil, err
	}
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
	if err := arity("join", a, 1, 2); err != nil {
		return nil, err
	}
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
	if err := arity("replace", a, 3, 4); err != nil {
		return nil, err
	}
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
	if err := arity("uniq", a, 1, 1); err != nil {
		return nil, err
	}
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
	if err := arity(name, a, 1, 1); err != nil {
		return nil, nil, err
	}
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

// whole reads a number without fraction.
func whole(v any) (int, bool) {
	switch n := v.(type) {
	case int:
		return n, true
	case int64:
		return int(n), int64(int(n)) == n
	case float64:
		return int(n), n == math.Trunc(n) && math.Abs(n) < 1<<53
	}
	return 0, false
}
