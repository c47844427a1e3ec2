package core

import "slices"

// A Task is one question asked of a model over many rows, as its YAML file
// says it. It is plain data: package tasks reads and checks it.
type Task struct {
	// Name identifies the task in tables, folders and flags.
	Name        string
	Description string
	Category    string

	Dataset Dataset
	// Columns are derived, in this order, before the prompt is rendered; a
	// later one sees the earlier ones, and replaces a column of its name.
	Columns []Column

	// Template is the language of Prompt, Preamble, Target and Choices: empty
	// is Python's str.format, TemplateJinja is Jinja. See package prompt.
	Template string
	// Prompt is the template: {column} takes a row's value as data, {{ and }}
	// are literal braces.
	Prompt string
	// Preamble is a template that stands before worked examples and prompt.
	Preamble string
	Chat     Chat
	// Target names the column that holds the right answer; in Jinja it may be a
	// template.
	Target string
	// Cluster names a column whose equal values make rows depend on each other,
	// such as the passage that several questions are about; empty is none.
	Cluster string
	// Labels lists the possible answers where there is a closed list.
	Labels []string
	// Choices are the answers that each row brings to choose from.
	Choices Choices
	// TargetDelimiter joins an answer to its prompt, in worked examples and
	// before a continuation; nil is a blank, which worked examples leave out
	// where prompt or answer bring white space.
	TargetDelimiter *string

	Generation Generation
	// ForceLabels holds a backend that can to the labels: no other answer is
	// possible.
	ForceLabels bool
	// Extract is the pipeline from a raw answer to the text that the metrics
	// judge; empty means the raw answer.
	Extract []Step
	// Pipelines are several extractions over the same answers, by name; then
	// Extract is empty, and every metric judges what each of them gives.
	Pipelines []Pipeline
	Metrics   []MetricSpec
	// Threshold is the least acceptable score of the first metric; nil is none.
	Threshold *float64
	Fewshot   Fewshot
	// Train holds keys of a training's recipe, which the trainer knows.
	Train map[string]any
	// Repeats is the number of answers a row where the user names none; 0 is 1.
	Repeats int
	Paper   Paper

	// Path is the file the task came from, or "embedded:NAME.yaml".
	Path string
	// Source is the text of that file: its hash goes into the manifest.
	Source []byte
}

// TemplateJinja says that a task's templates are Jinja's.
const TemplateJinja = "jinja"

// Choices say where a row's choices are: a column (in Jinja, also a template
// that renders a Python list), or a template for each. The zero value is none.
type Choices struct {
	From string
	List []string
}

// Any tells whether rows bring choices.
func (c Choices) Any() bool { return c.From != "" || c.List != nil }

// A Pipeline is a named extraction.
type Pipeline struct {
	Name  string
	Steps []Step
}

// A Dataset says where rows come from.
type Dataset struct {
	// Source is hf://owner/name, or a path or glob of .jsonl, .csv or .parquet
	// files (also .gz and .zst).
	Source   string
	Config   string
	Revision string
	// Split is evaluated, TrainSplit is for few-shot examples and training.
	Split      string
	TrainSplit string
	// Limit is the number of rows taken when the user names none; 0 is all.
	Limit int
	// Filter is an expression over the columns; rows for which it is false
	// are left out before Limit counts.
	Filter string
	// Files are files or patterns by split, in place of Source.
	Files map[string][]string
	// Local names folder and splits in a data folder laid out as
	// DIR/<folder>/<split>.jsonl, where they differ from Name and Split.
	Local LocalLayout
}

// LocalLayout is where a data folder keeps the task's rows.
type LocalLayout struct {
	Folder, Split, TrainSplit string
}

// A Column is a derived column: an expression over the columns before it.
type Column struct {
	Name, Expr string
}

// Chat is the form in which a chat model gets the prompt.
type Chat struct {
	System string
	// User is a template over {prompt} and the columns; empty means {prompt}.
	User string
	// Families overrides System and User where the model's family begins with
	// the key (gpt, llama, mistral, gemma …); the longest key wins.
	Families map[string]ChatForm
}

// ChatForm is one family's system text and user template.
type ChatForm struct {
	System, User string
}

// Generation holds what is asked of the sampler. The zero value means greedy.
type Generation struct {
	MaxTokens         int
	Temperature       float64
	TopP              float64 // 0 means 1
	TopK              int     // 0 means all
	MinP              float64
	RepetitionPenalty float64 // 0 means 1
	FrequencyPenalty  float64
	PresencePenalty   float64
	Seed              uint64
	// Stop ends an answer before the first of these texts, which is not part
	// of it.
	Stop []string
}

// A Step is one step of an extraction pipeline: exactly one field is set, or
// for Regex its companions too.
type Step struct {
	// Op is regex, strip, lower, upper, first_line, before, after, map or default.
	Op string
	// Pattern, Flags, Group and Select belong to regex: Python's re syntax;
	// the match number Select (from 0, −1 the last) and its group, where −1 is
	// the first group if the pattern has one and the whole match if not.
	Pattern string
	Flags   string
	Group   int
	Select  int
	// Text belongs to before, after and default.
	Text string
	// Map belongs to map: what is found is replaced, anything else fails.
	Map map[string]string
	// Line and Column locate the step in the task's file, for errors.
	Line, Column int
}

// MetricSpec names a metric and its parameters.
type MetricSpec struct {
	Name   string
	Params map[string]any
	// Extract names the pipeline whose text is judged; empty is all of them.
	Extract string
	// Reduce says how the verdicts on a row's repeats become one: see package
	// run. Empty takes each by itself.
	Reduce string
	// As is a word behind the name in tables and stored scores, METRIC:AS, which
	// tells one metric with several settings apart.
	As string
}

// Fewshot puts worked examples before the prompt.
type Fewshot struct {
	Count int
	// Sampler is first, random (seeded, by the row's id) or python (the stream
	// of Python's random.Random(Seed).sample over the rows in order). A row is
	// never its own example.
	Sampler string
	Seed    uint64
	// Separator stands between examples; empty means a blank line.
	Separator string
	// Split is where examples come from; empty is the training split. Indices
	// are its rows that may be taken, nil all. Rows are examples written in the
	// file, in place of a split.
	Split   string
	Indices []int
	Rows    []map[string]any
	// Prompt, Target, Choices and TargetDelimiter take the place of the task's
	// in examples where they are set.
	Prompt, Target  string
	Choices         Choices
	TargetDelimiter *string
}

// Paper ties a task to the published scores in results/reference.
type Paper struct {
	// Task is the row of the published tables; empty means none.
	Task   string
	Metric string
	// Prompt is own or published: whether the template is the report's.
	Prompt string
}

// Family of the model decides the chat form: the longest key that the model's
// family begins with.
func (c Chat) Family(family string) ChatForm {
	form := ChatForm{System: c.System, User: c.User}
	best := -1
	for key, f := range c.Families {
		if len(key) > best && len(family) >= len(key) && family[:len(key)] == key {
			best = len(key)
			form = f
			if form.System == "" {
				form.System = c.System
			}
			if form.User == "" {
				form.User = c.User
			}
		}
	}
	return form
}

// HasLabel tells whether the answer is one of the task's closed list; a task
// without a list accepts anything.
func (t *Task) HasLabel(answer string) bool {
	return len(t.Labels) == 0 || slices.Contains(t.Labels, answer)
}

// A Sample is one row made ready: its prompt rendered, its target read.
type Sample struct {
	// ID is stable for one data set and split: the row's index there.
	ID string
	// Index is the position in the run, from 0.
	Index int
	// Fields are the row's columns, the derived ones included.
	Fields map[string]any
	Prompt string
	// Cut is the number of characters that the prompt lost at its end (the
	// bakeoff profile cuts it).
	Cut int
	// Targets are the accepted answers, the first one the task's own.
	Targets []string
	// Choices are what there is to choose from, and Gold the right ones' places;
	// -1 is a target that is none of them.
	Choices []string
	Gold    []int
}
