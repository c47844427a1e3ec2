package prompt

import (
	"reflect"
	"strings"
	"testing"

	"github.com/evalrun/evalrun/core"
)

func fill(t *testing.T, task core.Task, fields map[string]any) *Filling {
	t.Helper()
	f, err := Compile(&task)
	if err != nil {
		t.Fatal(err)
	}
	out, err := f.Fill(fields)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// How lm-evaluation-harness reads prompt, choices and target.
func TestFillJinja(t *testing.T) {
	row := map[string]any{"q": " {{x}} ", "list": []any{"a", "b"}, "n": int64(1), "s": "1", "letter": "B", "subject": "a_b"}
	task := core.Task{Template: core.TemplateJinja, Prompt: "Q: {{q.strip()}}\n", Preamble: "On {{subject|regex_replace('_', ' ')}}.\n", Target: "n", Choices: core.Choices{From: "list"}}
	if got, want := fill(t, task, row), (&Filling{Preamble: "On a b.\n", Prompt: "Q: {{x}}\n", Targets: []string{"b"}, Choices: []string{"a", "b"}, Gold: []int{1}}); !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, want %+v", got, want)
	}
	for _, c := range []struct {
		target, choices string
		targets         []string
		gold            []int
	}{
		{"{{['A','B'].index(letter)}}", "{{list}}", []string{"b"}, []int{1}},
		{"{{list[0]}}", "{{['b', 'a']}}", []string{"a"}, []int{1}},
		{"{{[0, 1]}}", "list", []string{"a", "b"}, []int{0, 1}},
		{"7", "list", []string{"7"}, []int{-1}},
		{"s", "list", []string{"1"}, []int{-1}}, // a column's text is no place
		{"{{letter}}", "", []string{"B"}, nil},
		{"{{list}}", "", []string{"a", "b"}, nil},
	} {
		task.Target, task.Choices = c.target, core.Choices{From: c.choices}
		if got := fill(t, task, row); !reflect.DeepEqual(got.Targets, c.targets) || !reflect.DeepEqual(got.Gold, c.gold) {
			t.Errorf("target %s of %s: %q %v, want %q %v", c.target, c.choices, got.Targets, got.Gold, c.targets, c.gold)
		}
	}
	task.Target, task.Choices = "{{letter}}", core.Choices{List: []string{"{{q}}", "B"}} // a list stands as it is
	if got := fill(t, task, row); got.Choices[0] != "{{q}}" || got.Gold[0] != 1 {
		t.Errorf("%+v", got)
	}
	for key, bad := range map[string]core.Task{
		"prompt":  {Prompt: "{{absent}}", Target: "s"},
		"target":  {Prompt: "x", Target: "{{absent}}"},
		"choices": {Prompt: "x", Target: "s", Choices: core.Choices{From: "{{letter}}"}},
	} {
		bad.Template = core.TemplateJinja
		f, err := Compile(&bad)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Fill(row); err == nil || !strings.HasPrefix(err.Error(), key+": ") {
			t.Errorf("%s: %v", key, err)
		}
	}
	if _, err := Compile(&core.Task{Template: core.TemplateJinja, Prompt: "{{", Target: "s"}); err == nil {
		t.Error("a broken template compiles")
	}
}

func TestFillFormat(t *testing.T) {
	row := map[string]any{"q": "{a}", "a": "x", "b": "y", "label": "1"}
	task := core.Task{Prompt: "{q}?", Target: "label", Choices: core.Choices{List: []string{"{a}", "{b}!"}}}
	if got := fill(t, task, row); got.Prompt != "{a}?" || !reflect.DeepEqual(got.Choices, []string{"x", "y!"}) || !reflect.DeepEqual(got.Gold, []int{1}) || got.Targets[0] != "y!" {
		t.Errorf("%+v", got)
	}
}
