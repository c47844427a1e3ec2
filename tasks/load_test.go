package tasks

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/evalrun/evalrun/core"
)

func TestEmbeddedTasksLoad(t *testing.T) {
	names := Names()
	if len(names) != 31 {
		t.Errorf("%d embedded tasks, want 31", len(names))
	}
	for _, name := range names {
		f, err := Load(name, Options{})
		if err != nil {
			t.Errorf("%v", err)
			continue
		}
		if f.Task.Name != name {
			t.Errorf("%s.yaml holds the task %s", name, f.Task.Name)
		}
		if len(f.Warnings) > 0 {
			t.Errorf("%v", f.Warnings)
		}
		if !HasRows(name) {
			t.Errorf("%s has no embedded rows", name)
		}
	}
}

func TestRowsOfNobody(t *testing.T) {
	for _, name := range []string{"nosuch", "../glue_sst2", `..\glue_sst2`, ""} {
		if _, err := Rows(name); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("Rows(%q): %v", name, err)
		}
		if HasRows(name) {
			t.Errorf("%q has rows", name)
		}
	}
}

// head is a task that is right; tests put one thing wrong into it.
const head = "task: t\ndataset: rows.jsonl\nprompt: '{text}'\ntarget: label\nmetrics: [accuracy]\n"

// TestFilesOfBytes holds what cannot stand in a text file of testdata.
func TestFilesOfBytes(t *testing.T) {
	deep := strings.Repeat("[", 20_000)
	for name, c := range map[string]struct{ src, want string }{
		"invalid byte":     {head + "description: 'ü\xff'\n", `f:6:16: not readable as YAML: the byte 0xFF is not UTF-8`},
		"UTF-16":           {"\xff\xfet\x00", `f:1:1: not readable as YAML: the byte 0xFF is not UTF-8`},
		"NUL":              {head + "description: a\x00b\n", `f:6:15: not readable as YAML: the control character U+0000`},
		"escape":           {"task: \x1b[2J\n", `f:1:7: not readable as YAML: the control character U+001B`},
		"deep flow":        {head + "labels: " + deep, `not readable as YAML`},
		"deep block":       {head + "labels:\n" + strings.Repeat("- ", 20_000) + "x\n", `not readable as YAML`},
		"nothing but dots": {"...\n", `not readable as YAML`},
		"null":             {"~\n", `f:1:1: the file holds no task`},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Parse("f", []byte(c.src), Options{})
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%.200v, want %s", err, c.want)
			}
			if err != nil && strings.Contains(err.Error(), "\x1b") {
				t.Error("the complaint carries a control character to the terminal")
			}
		})
	}
	if f, err := Parse("f", []byte("\ufeff"+strings.ReplaceAll(head, "\n", "\r\n")), Options{}); err != nil || f.Task.Name != "t" {
		t.Errorf("byte order mark and CRLF: %v", err)
	}
}

func TestFileTooLarge(t *testing.T) {
	path := filepath.Join(t.TempDir(), "large.yaml")
	if err := os.WriteFile(path, []byte(head+"description: '"+strings.Repeat("x", maxFile)+"'\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	var user *core.UserError
	if _, err := Load(path, Options{}); !errors.As(err, &user) || user.Where != path || !strings.Contains(user.Message, "1 MiB") {
		t.Errorf("%v", err)
	}
}

func TestLoadNamesTheNearest(t *testing.T) {
	for arg, want := range map[string]string{
		"glue_sst":        "did you mean the embedded task glue_sst2?",
		"tasks/boolk.yml": "did you mean the embedded task boolq?",
		"zzzzzzzzzz":      "evalrun ls tasks lists the embedded ones; evalrun new task NAME starts a file",
	} {
		_, err := Load(arg, Options{})
		var user *core.UserError
		if !errors.As(err, &user) || user.Where != arg || user.Hint != want {
			t.Errorf("Load(%q): %v", arg, err)
		}
	}
	if _, err := Load(t.TempDir(), Options{}); err == nil {
		t.Error("a folder loads")
	}
}

func TestSet(t *testing.T) {
	src := []byte(head + "generation: &g {max_tokens: 5}\nfewshot: {count: 0}\n")
	for _, c := range []struct {
		set  []string
		good func(*core.Task) bool
	}{
		{[]string{"generation.max_tokens=32"}, func(t *core.Task) bool { return t.Generation.MaxTokens == 32 }},
		{[]string{"generation.temperature=0.5", "generation.seed=7"}, func(t *core.Task) bool {
			return t.Generation.Temperature == 0.5 && t.Generation.Seed == 7 && t.Generation.MaxTokens == 5
		}},
		{[]string{`generation.stop=["\n", "Q:"]`}, func(t *core.Task) bool { return slices.Equal(t.Generation.Stop, []string{"\n", "Q:"}) }},
		{[]string{"chat.families.gpt.system=Be terse."}, func(t *core.Task) bool { return t.Chat.Families["gpt"].System == "Be terse." }},
		{[]string{"dataset=other.jsonl"}, func(t *core.Task) bool { return t.Dataset.Source == "other.jsonl" }},
		{[]string{"description="}, func(t *core.Task) bool { return t.Description == "" }},
		{[]string{"prompt=a = {text}"}, func(t *core.Task) bool { return t.Prompt == "a = {text}" }},
		{[]string{"metrics=[rouge, accuracy]"}, func(t *core.Task) bool { return len(t.Metrics) == 2 && t.Metrics[0].Name == "rouge" }},
		{[]string{"target=a", "target=b"}, func(t *core.Task) bool { return t.Target == "b" }},
	} {
		f, err := Parse("f", src, Options{Metrics: known, Set: c.set})
		if err != nil {
			t.Errorf("--set %q: %v", c.set, err)
			continue
		}
		if !c.good(f.Task) {
			t.Errorf("--set %q has no effect: %+v", c.set, f.Task)
		}
	}
}

func TestSetMistakes(t *testing.T) {
	for set, want := range map[string]string{
		"generation":                "--set generation: not of the form key=value",
		"=3":                        "--set =3: not of the form key=value",
		"generation.max_tokens=[":   "--set generation.max_tokens=[: the value is not readable as YAML",
		"generation.max_tokens=few": "--set: generation.max_tokens must be a whole number, not text",
		"labels=[a, b, a]":          `--set: the label "a" stands twice`,
		"generation.max_token=3":    `--set: unknown key "max_token" in generation`,
		"target.x=3":                "--set target.x=3: target is not a mapping",
		"prompt={":                  "--set prompt={: the value is not readable as YAML",
		"prompt='{text'":            "--set: prompt: { without its }",
		"metrics=[acuracy]":         `--set: unknown metric "acuracy"`,
		"labels=&x [*x]":            "--set: labels must be text, not a list",
	} {
		_, err := Parse("f", []byte(head), Options{Metrics: known, Set: []string{set}})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("--set %s: %v, want %s", set, err, want)
		}
	}
	if _, err := Parse("f", []byte("- a\n"), Options{Set: []string{"task=x"}}); err == nil || !strings.Contains(err.Error(), "the task is not a mapping") {
		t.Errorf("%v", err)
	}
}

func TestWarnings(t *testing.T) {
	for prompt, want := range map[string]string{
		"'{text} '":    "f:3:9: prompt ends in a blank",
		"'Say yes.'":   "f:3:9: prompt takes no column",
		"'{{text}}'":   "f:3:9: prompt takes no column",
		"'{text}\t'":   "f:3:9: prompt ends in a blank",
		`"{text}\n"`:   "",
		"\"{text} x\"": "",
	} {
		f, err := Parse("f", []byte(strings.Replace(head, "'{text}'", prompt, 1)), Options{})
		if err != nil {
			t.Errorf("prompt %s: %v", prompt, err)
			continue
		}
		if got := f.Warnings.Error(); want == "" && got != "" || !strings.HasPrefix(got, want) {
			t.Errorf("prompt %s: warnings %q, want %q", prompt, got, want)
		}
	}
}

// TestPlaces asks for the places that later complaints, about rows, are given.
func TestPlaces(t *testing.T) {
	src := "task: t\ndataset:\n  source: rows.jsonl\ncolumns:\n  'odd name': label\nprompt: |-\n  Größe {a}\n\n    {b}\ntarget: label\nmetrics: [accuracy]\n"
	f, err := Parse("dir/t.yaml", []byte(src), Options{Set: []string{"description=x"}})
	if err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]string{
		"target": "dir/t.yaml:10:9", "columns.odd name": "dir/t.yaml:5:15", "dataset.source": "dir/t.yaml:3:11",
		"metrics.0": "dir/t.yaml:11:11", "description": "--set description", "chat": "dir/t.yaml",
	} {
		if got := f.Where(key); got != want {
			t.Errorf("Where(%q) = %s, want %s", key, got, want)
		}
	}
	for _, name := range []string{"a", "b"} {
		at := strings.Index(f.Task.Prompt, "{"+name)
		want := map[string]string{"a": "dir/t.yaml:7:9", "b": "dir/t.yaml:9:5"}[name]
		if got := f.WherePrompt(at); got != want {
			t.Errorf("{%s} at %s, want %s", name, got, want)
		}
		if got := f.Problem("prompt", at, "m", "h").Where(); got != want {
			t.Errorf("complaint about {%s} at %s, want %s", name, got, want)
		}
	}
}

// FuzzParse: whatever the file and the override hold, Parse gives a task or
// complaints, and complaints point into the file.
func FuzzParse(f *testing.F) {
	f.Add([]byte(head), "generation.max_tokens=3")
	for _, dir := range []string{"good", "bad"} {
		files, _ := filepath.Glob("testdata/" + dir + "/*.yaml")
		for _, path := range files {
			if src, err := os.ReadFile(path); err == nil {
				f.Add(src, "prompt='{a'")
			}
		}
	}
	f.Fuzz(func(t *testing.T, src []byte, set string) {
		o := Options{Metrics: known}
		if set != "" {
			o.Set = []string{set}
		}
		file, err := Parse("f", src, o)
		if (file == nil) == (err == nil) {
			t.Fatalf("file %v and error %v", file, err)
		}
		var problems Problems
		if errors.As(err, &problems) {
			if len(problems) == 0 {
				t.Fatal("an error without complaints")
			}
			lines := strings.Count(string(src), "\n") + 1
			for _, p := range problems {
				if p.Line < 0 || p.Line > lines || p.Column < 0 || p.Message == "" {
					t.Fatalf("complaint %+v in a file of %d lines", p, lines)
				}
			}
		}
		if file != nil {
			for _, key := range []string{"prompt", "target", "dataset"} {
				if file.Where(key) == "" {
					t.Fatalf("no place for %s", key)
				}
			}
			file.WherePrompt(len(file.Task.Prompt))
		}
	})
}

func ExampleLoad() {
	file, err := Load("boolq", Options{Set: []string{"generation.max_tokens=4"}})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(file.Task.Name, file.Task.Target, file.Task.Generation.MaxTokens)
	// Output: boolq answer 4
}
