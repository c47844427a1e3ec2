package report

import (
	"context"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/evalrun/evalrun/results"
)

// small makes a run of one model on tasks.
func small(t *testing.T, tag, label, adapter string, share float64, tasks ...string) Run {
	t.Helper()
	s := results.Scores{Outcome: "finished"}
	for _, task := range tasks {
		s.Tasks = append(s.Tasks, score(task, label, share, 20))
	}
	f := folder(t, s)
	f.Manifest.Tag = tag
	f.Manifest.Config.Models = []results.ModelConfig{{Label: label, Backend: "local", Model: "models/base", Adapter: adapter}}
	f.Manifest.Models = nil
	if err := f.SaveManifest(); err != nil {
		t.Fatal(err)
	}
	return Run{f, s}
}

func TestMergeColumns(t *testing.T) {
	for name, c := range map[string]struct {
		runs []Run
		want string
	}{
		"a model on different tasks is one column": {[]Run{small(t, "", "local:base", "", 0.4, "a", "b"), small(t, "", "local:base", "", 0.4, "c")}, "local:base"},
		"an adapter a task is one column": {[]Run{small(t, "", "local:base", "", 0.4, "a", "b"), small(t, "", "local:base+x", "x", 0.8, "a"), small(t, "", "local:base+y", "y", 0.9, "b")},
			"local:base, local:base+2 adapters"},
		"two adapters on one task are two":    {[]Run{small(t, "", "local:base+x", "x", 0.8, "a"), small(t, "", "local:base+y", "y", 0.9, "a")}, "local:base+x, local:base+y"},
		"the same twice is told apart by tag": {[]Run{small(t, "old", "local:base", "", 0.4, "a"), small(t, "new", "local:base", "", 0.4, "a")}, "local:base (old), local:base (new)"},
		"and by number":                       {[]Run{small(t, "x", "local:base", "", 0.4, "a"), small(t, "x", "local:base", "", 0.4, "a")}, "local:base (x), local:base (x) #2"},
	} {
		if got := strings.Join(New(context.Background(), c.runs, Options{}).Labels(), ", "); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}

// Adapters of tasks of their own are compared with the base model over all.
func TestAdaptersOverRuns(t *testing.T) {
	runs := []Run{small(t, "", "local:base", "", 0.3, "a", "b"), small(t, "", "local:base+x", "x", 0.8, "a"), small(t, "", "local:base+y", "y", 0.9, "b")}
	// The first run's file ends within a line, as a killed process leaves it.
	f, err := os.OpenFile(runs[0].Folder.Samples(), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString(`{"v":1,"task":"a","mod`); err != nil {
		t.Fatal(err)
	}
	f.Close()
	b, err := New(context.Background(), runs, Options{}).Render("md")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"# 3 runs: 2 models on 2 tasks", "local:base+2 adapters 0.850", "above the base model in 2/2 cases", "Of 2 tasks, local:base+2 adapters is better than local:base on 2",
		"Mean difference +0.550", "## Table 4", "## Runs"} {
		if !strings.Contains(string(b), want) {
			t.Errorf("%q is not in\n%s", want, b)
		}
	}
	b, err = New(context.Background(), runs[:1], Options{Tuned: map[string]string{}}).Render("json")
	if err != nil || !strings.Contains(string(b), `"model": "local:base"`) {
		t.Errorf("%v: %s", err, b)
	}
}

// Means over different tasks are not set beside each other.
func TestNoSharedTask(t *testing.T) {
	a, b := small(t, "", "local:one", "", 0.3, "a"), small(t, "", "local:two", "", 0.9, "b")
	b.Folder.Manifest.Config.Models[0].Model = "models/other"
	text, err := New(context.Background(), []Run{a, b}, Options{}).Render("md")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"No task was run with every model", "not run", "could not be compared in pairs"} {
		if !strings.Contains(string(text), want) {
			t.Errorf("%q is not in\n%s", want, text)
		}
	}
}

// What a flag says of roles counts.
func TestRolesByOption(t *testing.T) {
	base, merged, api := small(t, "", "local:base", "", 0.3, "a", "b"), small(t, "", "local:merged", "", 0.8, "a", "b"), small(t, "", "openai:big", "", 0.6, "a", "b")
	merged.Folder.Manifest.Config.Models[0].Model = "models/merged"
	api.Folder.Manifest.Config.Models[0].Backend = "openai"
	b, err := New(context.Background(), []Run{base, merged, api}, Options{Rival: "openai:big", Tuned: map[string]string{"local:merged": "local:base"}}).Render("md")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"Fine-tuning: 0.800 on average, from 0.300 before; above the base model in 2/2 cases, above openai:big in 2/2"} {
		if !strings.Contains(string(b), want) {
			t.Errorf("%q is not in\n%s", want, b)
		}
	}
}

// Names of models and tasks are other people's texts in figures and tables, too.
func TestHostileNamesOfManyRuns(t *testing.T) {
	tasks := []string{"a" + hostile, "b"}
	runs := []Run{small(t, hostile, "local:base"+hostile, "", 0.3, tasks...), small(t, "", "local:base+x"+hostile, "x"+hostile, 0.8, tasks...), small(t, "", "openai:gpt-4"+hostile, "", 0.6, tasks...)}
	runs[2].Folder.Manifest.Config.Models[0].Backend = "openai"
	dir := t.TempDir()
	r := New(context.Background(), runs, Options{})
	files, err := r.WriteAll(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(files) < 10 {
		t.Errorf("only %v", files)
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		text, _, _ := strings.Cut(string(b), "```sh") // there all text is code
		if strings.HasSuffix(f, ".csv") || strings.HasSuffix(f, ".json") {
			continue
		}
		if strings.Contains(text, "<script") || strings.ContainsAny(text, "\x00\x1b") {
			t.Errorf("%s: markup or control characters got through", f)
		}
		if strings.HasSuffix(f, ".svg") {
			wellFormed(t, f, b)
		}
	}
	if text := string(r.Summary()); strings.ContainsAny(text, "\x00\x1b") {
		t.Errorf("%q", text)
	}
	if !slices.ContainsFunc(files, func(f string) bool { return strings.HasSuffix(f, "figure5.svg") }) {
		t.Errorf("no figure 5: %v", files)
	}
}
