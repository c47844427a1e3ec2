package demogen

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
)

// A column is one named value of a row.
type column struct {
	name  string
	value any
}

// An item is one generated example: a row with the real data set's columns in
// their order, and the values that the task's derived columns have for it.
type item struct {
	row  []column
	vars map[string]string // derived columns (and columns whose text is not fmt's)
}

func row(kv ...any) []column {
	r := make([]column, 0, len(kv)/2)
	for i := 0; i+1 < len(kv); i += 2 {
		r = append(r, column{kv[i].(string), kv[i+1]})
	}
	return r
}

// field returns a column's text as it stands in a prompt: the derived one
// before the row's own.
func (it item) field(name string) (string, bool) {
	if v, ok := it.vars[name]; ok {
		return v, true
	}
	for _, c := range it.row {
		if c.name == name {
			return fmt.Sprint(c.value), true
		}
	}
	return "", false
}

// jsonLine writes the row, marked as generated, as one line of JSON.
func (it item) jsonLine() ([]byte, error) {
	cols := append(it.row[:len(it.row):len(it.row)], column{"_origin", "generated"}, column{"_hard", false})
	return orderedJSON(cols)
}

func orderedJSON(cols []column) ([]byte, error) {
	var b bytes.Buffer
	b.WriteByte('{')
	for i, c := range cols {
		if i > 0 {
			b.WriteString(", ")
		}
		k, err := compact(c.name)
		if err != nil {
			return nil, err
		}
		v, err := compact(c.value)
		if err != nil {
			return nil, fmt.Errorf("column %s: %w", c.name, err)
		}
		b.Write(k)
		b.WriteString(": ")
		b.Write(v)
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

// compact is JSON without HTML escapes; nested columns keep their order.
func compact(v any) ([]byte, error) {
	if cols, ok := v.([]column); ok {
		return orderedJSON(cols)
	}
	if list, ok := v.([][]column); ok {
		parts := make([][]byte, len(list))
		for i, c := range list {
			p, err := orderedJSON(c)
			if err != nil {
				return nil, err
			}
			parts[i] = p
		}
		return append(append([]byte{'['}, bytes.Join(parts, []byte(", "))...), ']'), nil
	}
	if f, ok := v.(score); ok {
		return []byte(f.String()), nil
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSpace(b.Bytes()), nil
}

// A score is a number with one decimal, as in STS-B.
type score float64

func (s score) String() string { return fmt.Sprintf("%.1f", float64(s)) }

// pyList is json.dumps of a list of strings: ", " between the entries.
func pyList(l []string) string {
	parts := make([]string, len(l))
	for i, s := range l {
		b, err := compact(s)
		if err != nil {
			b = []byte(`""`)
		}
		parts[i] = string(b)
	}
	return "[" + strings.Join(parts, ", ") + "]"
}

// options numbers or letters the choices of a question, one a line.
func options(texts, marks []string) string {
	var b strings.Builder
	for i, t := range texts {
		if i > 0 {
			b.WriteByte('\n')
		}
		b.WriteString(marks[i] + ". " + t)
	}
	return b.String()
}

// parts splits a list entry at its double bars.
func parts(e string) []string {
	p := strings.Split(e, "||")
	for i := range p {
		p[i] = strings.TrimSpace(p[i])
	}
	return p
}
