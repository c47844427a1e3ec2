package text

import (
	"bytes"
	"encoding/json"
	"os"
	"testing"
)

// testdata/format.jsonl holds random templates and what CPython 3.11's
// str.format gave: the text, or the exception.
func TestFormatAgainstPython(t *testing.T) {
	b, err := os.ReadFile("testdata/format.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range bytes.Split(bytes.TrimSpace(b), []byte("\n")) {
		var row struct {
			T    string
			Args []any
			Kw   map[string]any
			Out  string
			Exc  string
		}
		d := json.NewDecoder(bytes.NewReader(line))
		d.UseNumber()
		if err := d.Decode(&row); err != nil {
			t.Fatal(err)
		}
		out, err := Format(row.T, row.Args, row.Kw)
		class := ""
		if e, ok := err.(*FormatError); ok {
			class = e.Class
		}
		if _, wrong := ParseFormat(row.T); wrong != nil && row.Exc != "" {
			continue // the template is read before any argument
		}
		if out != row.Out || class != row.Exc {
			t.Errorf("%s: got %q %v", line, out, err)
		}
	}
}

func TestFormatFields(t *testing.T) {
	f, err := ParseFormat("{a.b[c]!r:>{width}} {{x}} {b}")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, field := range f.Fields() {
		names = append(names, field.Name)
	}
	if got := Repr(names); got != "['a', 'width', 'b']" {
		t.Error(got)
	}
	_, err = ParseFormat("é{a:{b:{c}}}")
	if e, ok := err.(*FormatError); !ok || e.Class != "ValueError" || e.Offset != 8 {
		t.Errorf("%#v", err)
	}
	if _, err := Format("{a:99999999999}", nil, map[string]any{"a": 1}); err == nil {
		t.Error("a width that no machine has is accepted")
	}
}

func FuzzFormat(f *testing.F) {
	f.Add("{a:>{b}}", "x")
	f.Add("{a[0]!a:^+#012,.3f}", "1.5")
	f.Fuzz(func(t *testing.T, template, value string) {
		if len(template) > 1000 {
			return
		}
		_, _ = Format(template, []any{json.Number(value), value}, map[string]any{"a": value, "b": 3})
	})
}
