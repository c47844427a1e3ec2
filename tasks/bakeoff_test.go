package tasks

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// bakeoffFolder writes a folder of the published shape, in our own words.
func bakeoffFolder(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "lora [bake] off")
	for name, text := range files {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// full is a metadata.yaml with every key.
const full = `dataset_name: made up
dataset_description: "Which colour: warm or cold?"
adapter_ui_name: colours
adapter_category: Reasoning
metric_name: accuracy
target_col: answer
dataset_link: https://example.org/colours
data_path: data/colours.csv
dataset: {owner: nobody, parts: [a, b]}
training_data: a
evaluation_data: b
split: c
split_column: split
split_column_value: 2
prompt_template: |
  Is {colour} {{warm}} or {{cold}}?

    - "quoted" # no comment
  ### Answer: 
eval_prompt_template: another one
eval_target_col: answer
expected_output_format: |-
  one
  word
input_columns: [colour]
num_examples: {train: 1, validation: 2, test: 3, total: 6}
split_used_for_evaluation: validation
`

const fullTemplate = "Is {colour} {{warm}} or {{cold}}?\n\n  - \"quoted\" # no comment\n### Answer: \n"

func TestImportBakeoff(t *testing.T) {
	minimal := func(more string) string { return "metric_name: rouge\ntarget_col: out\ndata_path: rows.csv\n" + more }
	dir := bakeoffFolder(t, map[string]string{
		"tasks/colours/metadata.yaml":    full,
		"tasks/colours/data/colours.csv": "split,colour,answer\n2,red,warm\n",
		"tasks/other/metadata.yaml":      strings.Replace(full, "prompt_template: |\n", "prompt_template: |\n  Well. ", 1),
		"tasks/blank/metadata.yaml":      minimal("prompt_template: '{a} '\nsplit_column_value: 2\n"),
		"rows.csv":                       "a,out\n1,2\n",
		"tasks/train/metadata.yaml":      "metric_name: rouge\ntarget_col: out\ndata_path: ../train.csv\nprompt_template: \"tab\\t{a}\\r\\n\"\nsplit_column: odd name\nsplit_column_value: \"it's\"\nlearning_rate: 1\nmetric: x\n",
		"tasks/none/metadata.yaml":       "dataset_name: nothing else\n",
		"tasks/python/metadata.yaml":     minimal("prompt_template: '{a!r} {}'\n"),
		"tasks/metric/metadata.yaml":     "metric_name: acuracy\ntarget_col: out\ndata_path: rows.csv\nprompt_template: '{a}'\n",
		"tasks/twice/metadata.yaml":      minimal("split_column_value: 1\nprompt_template: '{a}'\nprompt_template: '{b}'\nsplit_column: s\nsplit_column_value: 1\n"),
		"tasks/broken/metadata.yaml":     "prompt_template: \"open\n",
		"tasks/list/metadata.yaml":       "- a\n",
		"tasks/comment/metadata.yaml":    minimal("prompt_template: '{a}'\n\"x\\ntask: evil\": \"y\\nprompt: evil\"\n"),
		"tasks/bad name/metadata.yaml":   minimal("prompt_template: '{a}'\n"),
		"tasks/renamed/metadata.yaml":    "metric_name: rouge\ntarget_col: out\ndata_path: s3://bucket/a/b.csv\nprompt_template: '{question}'\n",
		"tasks/not-a-task/readme.txt":    "",
	})
	sum := sha256.Sum256([]byte(fullTemplate))
	hash := hex.EncodeToString(sum[:])
	out := filepath.Join(filepath.Dir(dir), "out")
	list, err := ImportBakeoff(dir, BakeoffOptions{Out: out, Metrics: known, Published: func(task string) (string, string, bool) {
		if task == "boolq" { // of another template
			hash := sha256.Sum256([]byte("{question}"))
			return hex.EncodeToString(hash[:]), "accuracy", true
		}
		return hash, "accuracy", task == "colours" || task == "other"
	}})
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]Bakeoff{}
	for _, b := range list {
		got[b.Name] = b
		if (b.YAML == nil) != (len(b.Problems) > 0) {
			t.Errorf("%s: %d bytes and problems %v", b.Name, len(b.YAML), b.Problems)
		}
	}
	load := func(name string) *File {
		t.Helper()
		f, err := Parse(name+".yaml", got[name].YAML, Options{Metrics: known})
		if err != nil {
			t.Fatalf("%s: %v\n%s", name, err, got[name].YAML)
		}
		return f
	}

	c := load("colours").Task
	b := got["colours"]
	if c.Prompt != fullTemplate || c.Target != "answer" || c.Metrics[0].Name != "accuracy" || c.Description != "Which colour: warm or cold?" || c.Category != "Reasoning" {
		t.Errorf("task %+v", c)
	}
	if c.Dataset.Source != "../lora [bake] off/tasks/colours/data/colours.csv" || c.Dataset.Filter != `string(split) in ["2", "2.0"]` {
		t.Errorf("data set %+v", c.Dataset)
	}
	if !b.Published || !b.Known || b.SHA256 != hash || b.Characters != len(fullTemplate) || c.Paper.Prompt != "published" || c.Paper.Task != "colours" {
		t.Errorf("colours: %d characters, hash %s, paper %+v", b.Characters, b.SHA256, c.Paper)
	}
	if c.Generation.MaxTokens != 256 || len(c.Generation.Stop) != 0 {
		t.Errorf("generation %+v", c.Generation)
	}
	for _, comment := range []string{"# dataset_link: https://example.org/colours\n", `# num_examples: {"test":3,"total":6,"train":1,"validation":2}`, `# expected_output_format: "one\nword"`, "# split_used_for_evaluation: validation\n"} {
		if !strings.Contains(string(b.YAML), comment) {
			t.Errorf("colours lacks the comment %q:\n%s", comment, b.YAML)
		}
	}
	if !has(b.Notes, "eval_prompt_template differs") || has(b.Notes, "missing") {
		t.Errorf("notes %q", b.Notes)
	}

	if o := load("other").Task; o.Paper.Prompt != "own" || got["other"].Published || !got["other"].Known {
		t.Errorf("another wording counts as published: %+v", o.Paper)
	}
	blank := load("blank").Task
	if blank.Prompt != "{a} " || blank.Dataset.Filter != "" || blank.Paper.Task != "" || blank.Dataset.Source != "../lora [bake] off/rows.csv" {
		t.Errorf("blank: %+v", blank)
	}
	for _, note := range []string{"split_column_value 2 without split_column", "prompt ends in a blank", "missing, and not needed: dataset_name, "} {
		if !has(got["blank"].Notes, note) {
			t.Errorf("blank: no note %q in %q", note, got["blank"].Notes)
		}
	}
	train := load("train").Task
	if train.Prompt != "tab\t{a}\r\n" || train.Dataset.Filter != `string($env["odd name"]) == "it's"` {
		t.Errorf("train: %+v", train)
	}
	for _, note := range []string{"looks like training data", "is not there", `unknown key "learning_rate"`, `unknown key "metric", perhaps meant as "metric_name"`} {
		if !has(got["train"].Notes, note) {
			t.Errorf("train: no note %q in %q", note, got["train"].Notes)
		}
	}
	if tw := load("twice").Task; tw.Prompt != "{b}" || tw.Dataset.Filter != `string(s) in ["1", "1.0"]` || !has(got["twice"].Notes, `key "prompt_template" stands twice, as {a} and {b}`) || has(got["twice"].Notes, `"split_column_value" stands twice`) {
		t.Errorf("twice: %+v, %q", tw, got["twice"].Notes)
	}
	if e := load("comment").Task; e.Name != "comment" || e.Prompt != "{a}" {
		t.Errorf("a key wrote itself into the task: %+v", e)
	}

	if r := load("renamed").Task; r.Paper.Task != "boolq" || r.Paper.Prompt != "published" || r.Dataset.Source != "b.csv" || !has(got["renamed"].Notes, "cannot be fetched") {
		t.Errorf("renamed: %+v", r)
	}

	for name, want := range map[string]string{
		"none":     "none/metadata.yaml:1:1: the key \"prompt_template\" is missing",
		"python":   "python/metadata.yaml:4:25: prompt_template: {} names no column",
		"metric":   "metric/metadata.yaml:1:14: unknown metric \"acuracy\"",
		"broken":   "broken/metadata.yaml:1: not readable as YAML",
		"list":     "list/metadata.yaml:1:1: metadata must be a mapping, not a list",
		"bad name": `the folder's name "bad name" cannot be a task's name`,
	} {
		if !strings.Contains(got[name].Problems.Error(), want) {
			t.Errorf("%s: %v, want %s", name, got[name].Problems, want)
		}
	}
	if _, ok := got["not-a-task"]; ok || len(list) != 13 {
		t.Errorf("%d tasks", len(list))
	}
	if _, err := ImportBakeoff(t.TempDir(), BakeoffOptions{}); err == nil {
		t.Error("an empty folder is imported")
	}
}

func has(notes []string, part string) bool {
	return slices.ContainsFunc(notes, func(n string) bool { return strings.Contains(n, part) })
}

// FuzzImport: whatever a metadata.yaml holds, it gives a task file that loads
// with its wording, or complaints.
func FuzzImport(f *testing.F) {
	f.Add([]byte(full))
	f.Add([]byte("metric_name: rouge\ntarget_col: a\ndata_path: b\nprompt_template: \" {a}\\u2028x\\t\\n \"\n"))
	f.Fuzz(func(t *testing.T, src []byte) {
		root, problem := safeDocument("m.yaml", src)
		if problem != nil {
			return
		}
		m := newMetadata("dir", "dir/tasks/x/metadata.yaml", src, BakeoffOptions{})
		m.importFrom(root)
		if (m.YAML == nil) == (len(m.Problems) == 0) {
			t.Fatalf("%d bytes and problems %v", len(m.YAML), m.Problems)
		}
		if m.YAML == nil {
			return
		}
		file, err := Parse("x.yaml", m.YAML, Options{})
		if err != nil || file.Task.Prompt != m.template {
			t.Fatalf("%v\n%s", err, m.YAML)
		}
	})
}
