package tasks

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/evalrun/evalrun/core"
)

// lmFolder writes files into a folder.
func lmFolder(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
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

func TestImportLMEval(t *testing.T) {
	dir := lmFolder(t, map[string]string{
		"data/a.jsonl": `{"q":"x","options":["a","b"],"answer":1}`,
		"tasks/_base.yaml": `dataset_path: json
dataset_kwargs: {data_files: {test: data/a.jsonl, dev: [data/a.jsonl]}}
test_split: test
fewshot_split: dev
target_delimiter: ""
num_fewshot: 5
`,
		"tasks/_later.yaml": "num_fewshot: 2\n",
		"tasks/choice.yaml": `include: [_base.yaml, _later.yaml]
task: made_choice
tag: [made, small]
output_type: multiple_choice
description: "About {{q}}.\n"
doc_to_text: "{{q}}\nAnswer: "
doc_to_choice: options
doc_to_target: answer
fewshot_config: {sampler: first_n, doc_to_text: "{{q}}!", fewshot_delimiter: "\n"}
metric_list: [{metric: acc, aggregation: mean}, {metric: exact_match}]
metadata: {version: 2}
`,
		"tasks/cot.yaml": `include: _base.yaml
task: made_cot
doc_to_text: q
doc_to_target: "{{answer}}"
num_fewshot: 0
repeats: 8
generation_kwargs: {max_gen_toks: 9, max_tokens: 5, do_sample: true, temperature: 0.2}
filter_list:
  - {name: first, filter: [{function: regex, regex_pattern: 'is (\d+)', group_select: -1}, {function: take_first}]}
  - {name: maj@4, filter: [{function: take_first_k, k: 4}, {function: lowercase}, {function: map, mapping_dict: {x: 1}, default_value: none}, {function: majority_vote}, {function: take_first}]}
metric_list: [{metric: exact_match, ignore_case: true, regexes_to_ignore: [","]}]
`,
		"tasks/group.yaml": "group: all_made\ntask: [made_choice, made_cot]\n",
	})
	list, groups, err := ImportLMEval(filepath.Join(dir, "tasks"), LMEvalOptions{Out: filepath.Join(dir, "out")})
	if err != nil {
		t.Fatal(err)
	}
	if len(list) != 2 || len(groups) != 1 || !reflect.DeepEqual(list[0].Groups, []string{"all_made"}) || !reflect.DeepEqual(list[0].Tags, []string{"made", "small"}) {
		t.Fatalf("%+v %+v", list, groups)
	}
	var tasks []*core.Task
	for _, im := range list {
		if len(im.Problems) > 0 {
			t.Fatal(im.Problems)
		}
		f, err := Parse(im.Name, im.YAML, Options{})
		if err != nil {
			t.Fatal(err)
		}
		tasks = append(tasks, f.Task)
	}
	choice, cot := tasks[0], tasks[1]
	if choice.Template != core.TemplateJinja || choice.Prompt != "{{q}}\nAnswer: " || choice.Preamble != "About {{q}}.\n" || choice.Choices.From != "options" || *choice.TargetDelimiter != "" ||
		choice.Dataset.Files["dev"][0] != "../data/a.jsonl" || choice.Dataset.TrainSplit != "dev" {
		t.Errorf("%+v", choice)
	}
	if f := choice.Fewshot; f.Count != 2 || f.Sampler != "first" || f.Separator != "\n" || f.Prompt != "{{q}}!" {
		t.Errorf("%+v", f)
	}
	if choice.Metrics[1].Name != "greedy_match" {
		t.Errorf("%+v", choice.Metrics)
	}
	if g := cot.Generation; g.MaxTokens != 9 || g.Temperature != 0.2 || !reflect.DeepEqual(g.Stop, []string{"\n\n"}) {
		t.Errorf("%+v", g)
	}
	if !strings.Contains(strings.Join(list[1].Notes, " "), "no until") || cot.Repeats != 8 || len(cot.Pipelines) != 2 || cot.Fewshot.Sampler != "python" || cot.Fewshot.Seed != 1234 {
		t.Errorf("%q %+v", list[1].Notes, cot)
	}
	if m := cot.Metrics; len(m) != 2 || m[0].Extract != "first" || m[0].Reduce != "first" || m[1].Reduce != "majority@4" || m[0].Params["strip"] != false {
		t.Errorf("%+v", m)
	}
	ops := ""
	for _, s := range cot.Pipelines[1].Steps {
		ops += s.Op + " "
	}
	if ops != "lower map default " || cot.Pipelines[0].Steps[0].Select != -1 {
		t.Errorf("%s %+v", ops, cot.Pipelines[0])
	}
}

// What cannot be taken over is told with its place, all of it at once, and no
// file is made.
func TestImportLMEvalRefuses(t *testing.T) {
	dir := lmFolder(t, map[string]string{
		"bad.yaml": `task: bad
dataset_path: owner/name
test_split: test
process_docs: !function utils.process
doc_to_text: !function utils.text
doc_to_target: "{{a}}"
dataset_kwargs: {data_dir: x}
generation_kwargs: {num_beams: 4}
filter_list: [{name: x, filter: [{function: !function utils.F}, {function: multi_choice_regex}]}]
metric_list: [{metric: mcc}, {metric: exact_match, aggregation: median}]
doc_to_txt: x
`,
		"loop.yaml": "include: loop.yaml\ntask: loop\n",
	})
	list, _, err := ImportLMEval(dir, LMEvalOptions{Out: dir})
	if err != nil {
		t.Fatal(err)
	}
	if list[0].YAML != nil || list[1].YAML != nil || !strings.Contains(list[1].Problems.Error(), "includes itself") {
		t.Fatalf("%+v", list)
	}
	got := strings.ReplaceAll(list[0].Problems.Error(), dir+string(filepath.Separator), "")
	for _, want := range []string{
		"bad.yaml:4:15: process_docs: its rows are changed by a Python function",
		"bad.yaml:5:14: doc_to_text is the Python function utils.text",
		"bad.yaml:7:18: dataset_kwargs.data_dir has no meaning here",
		"bad.yaml:8:21: generation_kwargs.num_beams has no meaning here",
		"bad.yaml:9:45: filter_list is the Python function utils.F",
		"the filter multi_choice_regex cannot be taken over",
		`the metric "mcc" of a task of the kind generate_until cannot be taken over`,
		"the aggregation median of exact_match cannot be taken over",
		`bad.yaml:11:13: unknown key "doc_to_txt"`,
		`did you mean "doc_to_text"?`,
	} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is not told; what is told:\n%s", want, got)
		}
	}
	if _, _, err := ImportLMEval(filepath.Join(dir, "none"), LMEvalOptions{}); err == nil {
		t.Error("a folder that is not there")
	}
}
