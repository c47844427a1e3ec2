package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// An imported task runs: choices, worked examples drawn as Python draws them,
// and named filters over the same answers.
func TestImportedTasksRun(t *testing.T) {
	dir := t.TempDir()
	for _, sub := range []string{"lm", "lm2"} {
		if err := os.Mkdir(filepath.Join(dir, sub), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	write(t, filepath.Join(dir, "rows.jsonl"), `{"q":"one","c":["1","2","3"],"n":0}
{"q":"two","c":["1","2","3"],"n":1}
{"q":"three","c":["1","2","3"],"n":2}
`)
	head := "dataset_path: json\ndataset_kwargs: {data_files: {test: rows.jsonl}}\ntest_split: test\n"
	write(t, filepath.Join(dir, "lm", "choice.yaml"), head+`task: choice
output_type: multiple_choice
num_fewshot: 2
doc_to_text: "{{q}} is"
doc_to_choice: c
doc_to_target: n
metric_list: [{metric: acc}, {metric: acc_mutual_info}, {metric: brier_score}]
`)
	write(t, filepath.Join(dir, "lm", "answer.yaml"), head+`task: answer
doc_to_text: "number {{n}}"
doc_to_target: "{{n}}"
filter_list:
  - {name: digit, filter: [{function: regex, regex_pattern: '\d'}, {function: take_first}]}
  - {name: word, filter: [{function: regex, regex_pattern: '[a-z]+'}, {function: take_first}]}
metric_list: [{metric: exact_match}]
`)
	if out := evalrunIn(t, dir, "evalrun import lm-eval lm --out made && evalrun validate made/*.yaml"); out != "" {
		t.Fatal(out)
	}
	if out := evalrunIn(t, dir, `evalrun made/choice.yaml --json --quiet | grep '"metric":"brier_score"' | grep '"n":3' | grep '"api_errors":0'`); out != "" {
		t.Error(out)
	}
	// echo repeats the prompt: the digit is right, the word is not.
	for _, want := range []string{`"metric":"exact_match,digit","profile":"strict","score":1,`, `"metric":"exact_match,word","profile":"strict","score":0,`} {
		if out := evalrunIn(t, dir, "evalrun made/answer.yaml --backend echo --json --quiet --new | grep '"+want+"'"); out != "" {
			t.Errorf("%s: %s", want, out)
		}
	}
	write(t, filepath.Join(dir, "lm2", "python.yaml"), head+"task: python\ndoc_to_text: !function utils.text\ndoc_to_target: n\n")
	if out := evalrunIn(t, dir, "evalrun import lm-eval lm2"); !strings.Contains(out, filepath.Join("lm2", "python.yaml")+":5:14: doc_to_text is the Python function utils.text") {
		t.Error(out)
	}
}

// A judge's answers are asked of the judge, and a run without one does not begin.
func TestJudgeEndToEnd(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "rows.jsonl"), "{\"q\":\"a\"}\n{\"q\":\"b\"}\n")
	write(t, filepath.Join(dir, "t.yaml"), `task: t
dataset: rows.jsonl
prompt: "{q}"
target: q
metrics:
  - {name: judge, prompt: "{answer} of {target}", scale: {good: 1, bad: 0}}
`)
	if out := evalrunIn(t, dir, "evalrun t.yaml --backend echo"); !strings.Contains(out, "--judge openai:gpt-4-0613") {
		t.Error(out)
	}
	// echo as a judge repeats what it is asked, in which no word of the scale stands: no verdict, and no wrong answer.
	if out := evalrunIn(t, dir, `evalrun t.yaml --backend echo --judge echo --json --quiet | grep '"skipped":"the judge gave no verdict of the scale"'`); out != "" {
		t.Error(out)
	}
	write(t, filepath.Join(dir, "t.yaml"), `task: t
dataset: rows.jsonl
prompt: "{q}"
target: q
metrics:
  - {name: judge, prompt: "{answer} is good", scale: {good: 1, bad: 0}}
`)
	if out := evalrunIn(t, dir, `evalrun t.yaml --backend echo --judge echo --json --quiet | grep '"metric":"judge","profile":"strict","score":1,'`); out != "" {
		t.Error(out)
	}
}
