package derive

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/evalrun/evalrun/core/text"
)

func options(a ...any) (any, error) {
	const name = "options"
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
