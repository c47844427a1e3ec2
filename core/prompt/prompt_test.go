package prompt

import (
	"errors"
	"strings"
	"testing"

	"github.com/evalrun/evalrun/core"
)

func TestRender(t *testing.T) {
	fields := map[string]any{"a": "x", "n": int64(3), "f": 1.0, "b": true, "none": nil, "brace": "{a} {{ {% if %}", "list": []any{"p", int64(1)}}
	for _, tt := range []struct{ in, want string }{
		{"", ""},
		{"{a}", "x"},
		{"{{a}} {a}", "{a} x"},
		{"{n}|{f}|{b}|{none}|{list}", "3|1.0|True|None|['p', 1]"},
		{"see {brace}!", "see {a} {{ {% if %}!"},
		{"{{{a}}}", "{x}"},
		{"{a!r:>4}|{n:03d}|{f:.2f}|{list[0]}|{b:d}", " 'x'|003|1.00|p|1"},
		{"{a:>{n}}|{a:{n}}", "  x|x  "},
	} {
		tmpl, err := Parse(tt.in)
		if err != nil {
			t.Fatalf("%q: %v", tt.in, err)
		}
		if got, err := tmpl.Render(fields); err != nil || got != tt.want {
			t.Errorf("%q: %q, %v; want %q", tt.in, got, err, tt.want)
		}
	}
}

func TestParseErrors(t *testing.T) {
	for _, tt := range []struct {
		in     string
		offset int
		want   string
	}{
		{"ab {", 3, "without its }"},
		{"a } b", 2, "single }"},
		{"{}", 0, "names no column"},
		{"x{a:{b:{c}}}", 7, "recursion"},
		{"{\"a\": 1}", 0, "is no column"},
		{"{ a }", 0, "spaces around"},
		{"{a\n}", 0, "is no column"},
	} {
		_, err := Parse(tt.in)
		var se *SyntaxError
		if !errors.As(err, &se) || se.Offset != tt.offset || !strings.Contains(se.Message, tt.want) {
			t.Errorf("%q: %v", tt.in, err)
		}
	}
}

func TestMissingColumn(t *testing.T) {
	tmpl, _ := Parse("{a} {b}")
	_, err := tmpl.Render(map[string]any{"a": "1"})
	var me *MissingError
	if !errors.As(err, &me) || me.Column != "b" {
		t.Error(err)
	}
}

func TestShots(t *testing.T) {
	got := WithShots([]Shot{{Prompt: "Q:", Target: "1"}, {Prompt: "Q: ", Target: "2"}}, "", "Q:")
	if want := "Q: 1\n\nQ: 2\n\nQ:"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestChat(t *testing.T) {
	m, err := Chat(core.ChatForm{System: "s", User: "<{prompt}> {a}"}, map[string]any{"a": "{prompt}"}, "P")
	if err != nil || len(m) != 2 || m[1].Content != "<P> {prompt}" {
		t.Errorf("%+v %v", m, err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add("{a} {{x}} {")
	f.Fuzz(func(t *testing.T, s string) {
		tmpl, err := Parse(s)
		if err != nil {
			return
		}
		fields := map[string]any{}
		for _, r := range tmpl.Columns() {
			fields[r.Name] = "{v}"
		}
		if _, err := tmpl.Render(fields); err != nil {
			t.Fatal(err)
		}
	})
}
