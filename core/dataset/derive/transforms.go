package derive

import (
	"fmt"
	"math"
	"slices"
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

// run calls the transform, which may rely on the number of its arguments.
func (t Transform) run(a ...any) (any, error) {
	if len(a) < t.least || len(a) > t.most {
		return nil, fmt.Errorf("%s: %d arguments", t.Name, len(a))
	}
	return t.call(a...)
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
