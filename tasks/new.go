package tasks

import (
	"fmt"
	"strings"
)

// A Starter is a new task to begin from: a commented task file and a few rows,
// which together run as they are.
type Starter struct {
	YAML []byte
	// Rows is the text of the data file that the task file names, and RowsName
	// its name beside the task file.
	Rows     []byte
	RowsName string
}

// New makes the starter of a task. The name becomes the task's name and must be
// fit for a file name.
func New(name string) (*Starter, error) {
	if !goodName.MatchString(name) {
		return nil, fmt.Errorf("task name %q: use letters, digits, _ - and .", name)
	}
	rows := name + ".jsonl"
	return &Starter{
		YAML:     []byte(strings.NewReplacer("NAME", quoted(name), "ROWS", quoted(rows)).Replace(starter)),
		Rows:     []byte(starterRows),
		RowsName: rows,
	}, nil
}

// quoted writes a name so that YAML reads it as text: 12, true and 1e3 are
// names, too.
func quoted(name string) string {
	for _, c := range name {
		if c >= '0' && c <= '9' || c == '.' || c == '-' {
			return `"` + name + `"`
		}
	}
	switch strings.ToLower(name) {
	case "true", "false", "null", "yes", "no", "on", "off", "y", "n":
		return `"` + name + `"`
	}
	return name
}

const starterRows = `{"text": "The parcel came two days early and everything works.", "label": "positive"}
{"text": "It broke on the first evening, and nobody answers the phone.", "label": "negative"}
{"text": "I would buy it again at once.", "label": "positive"}
{"text": "Not worth half of what I paid.", "label": "negative"}
`

const starter = `# A task: rows become prompts, answers are extracted and scored.
# docs/tasks.md explains every key. Try it:
#   evalrun validate this-file.yaml --show     find mistakes, see the first prompt
#   evalrun this-file.yaml                     run it
task: NAME
description: one line for lists and reports

# Rows: a .jsonl, .csv or .parquet file beside this one (patterns such as
# rows/*.csv.gz work), or a data set of the Hugging Face hub:
#   source: hf://owner/name
#   config: default
#   split: validation
#   train_split: train         # for few-shot examples and fine-tuning
dataset:
  source: ROWS
  # limit: 1000                # rows taken where --limit says nothing
  # filter: len(text) > 0      # an expression; rows for which it is false are left out

# Columns made from others, by expressions (docs/data.md):
# columns:
#   answer: 'label == 1 ? "positive" : "negative"'

# {column} takes the row's value as data; {{ and }} are literal braces. End at
# the cue, without a blank.
prompt: |-
  Is this review positive or negative? Answer with one word.
  ### Review: {text}
  ### Answer:

# The column that holds the right answer, and all answers there can be.
target: label
labels: [positive, negative]

generation:
  max_tokens: 8
  temperature: 0
  stop: ["\n"]

# From the raw answer to what is judged; nothing found counts as failed.
extract:
  - first_line
  - strip
  # - regex: '(positive|negative)'

# evalrun ls metrics lists them. The first one is the task's score.
metrics: [accuracy]
# threshold: 0.8               # exit code 4 below this

# Worked examples before each prompt, from the training split:
# fewshot: {count: 3, sampler: random}
`
