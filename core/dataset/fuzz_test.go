package dataset

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"reflect"
	"testing"
	"unicode/utf8"

	"github.com/evalrun/evalrun/core"
)

func gzipped(b []byte) string {
	var z bytes.Buffer
	w := gzip.NewWriter(&z)
	w.Write(b)
	w.Close()
	return z.String()
}

// FuzzJSON compares the parser with encoding/json, which is laxer in two points:
// repeated names and deep nesting.
func FuzzJSON(f *testing.F) {
	for _, s := range []string{`{"a": [1, -2.5e3, "\u00e9\ud83d\ude00", null, true]}`, `[]`, `"\ud800"`, `-0`, `01`, `1e400`, `{"a":1,"a":1}`, " \t\r\n{}", `[1,]`, `"\x"`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if !utf8.Valid(b) {
			return
		}
		got, err := parseJSON(b)
		dec := json.NewDecoder(bytes.NewReader(b))
		dec.UseNumber()
		var want any
		if !json.Valid(b) {
			if err == nil {
				t.Fatalf("%q was accepted as %v", b, got)
			}
			return
		}
		if err != nil {
			var mistake *syntaxError
			if !errors.As(err, &mistake) || mistake.pos > len(b) {
				t.Fatalf("%q: %v", b, err)
			}
			return
		}
		if err := dec.Decode(&want); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(numbers(got), numbers(want)) {
			t.Fatalf("%q: got %#v, want %#v", b, got, want)
		}
	})
}

// numbers gives every number the same type, so that trees can be compared.
func numbers(v any) any {
	switch v := v.(type) {
	case int64:
		return float64(v)
	case json.Number:
		f, _ := v.Float64()
		return f
	case []any:
		for i := range v {
			v[i] = numbers(v[i])
		}
	case map[string]any:
		for k := range v {
			v[k] = numbers(v[k])
		}
	}
	return v
}

// FuzzRows feeds all text formats: rows or a placed error, never a panic.
func FuzzRows(f *testing.F) {
	f.Add([]byte("{\"a\":1}\n{\"b\":\"x\"}"))
	f.Add([]byte("[{\"a\":1},\n{}]"))
	f.Add([]byte("x,y\n1,\"2\n\"\"3\"\r\n"))
	f.Add([]byte("x\ty\n\"\t\xff\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, name := range []string{"a.jsonl", "a.json", "a.csv", "a.tsv"} {
			s, err := Text(name, string(b))
			if err != nil {
				t.Fatal(err)
			}
			_, err = collect(t, s)
			var user *core.UserError
			if err != nil && (!errors.As(err, &user) || user.Where == "" || user.Hint == "") {
				t.Fatalf("%s: %v", name, err)
			}
		}
	})
}

func FuzzCSVOptions(f *testing.F) {
	for _, s := range []string{"", "comma=;,quote=none", "comma=tab", "columns=a|b", "comma==", "quote=\n"} {
		f.Add(s, "x;y\n'1;2';3\n")
	}
	f.Fuzz(func(t *testing.T, options, content string) {
		o, err := ParseCSVOptions(options)
		if err != nil {
			return
		}
		path := write(t, "a.csv", content)
		s, err := Files([]string{path}, FileOptions{CSV: o})
		if err != nil {
			t.Fatal(err)
		}
		for _, row := range first(collect(t, s)) {
			if o.Columns != nil && len(row) != len(o.Columns) {
				t.Fatalf("%v has not the columns %q", row, o.Columns)
			}
		}
	})
}

func first(rows []Row, _ error) []Row { return rows }
