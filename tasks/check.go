package tasks

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/evalrun/evalrun/core"
	"github.com/evalrun/evalrun/core/extract"
	"github.com/evalrun/evalrun/core/prompt"
	"github.com/evalrun/evalrun/internal/nearest"
)

var goodName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.\-]*$`)

// DefaultMaxTokens is asked for where a task names no limit: the report's own.
const DefaultMaxTokens = 256

// check looks at what the keys say together, once they have been read.
func (d *decoder) check(f *File, o Options) {
	t := f.Task
	if t.Name != "" && !goodName.MatchString(t.Name) {
		d.complain(d.places["task"], "use letters, digits, _ - and .", "task name %q cannot be a file name", t.Name)
	}
	if t.Generation.MaxTokens == 0 {
		t.Generation.MaxTokens = DefaultMaxTokens
	}
	d.checkTemplate(f)
	d.checkSource(t)
	for i, s := range t.Extract {
		if _, err := extract.New([]core.Step{s}); err != nil {
			d.complain(d.places["extract."+strconv.Itoa(i)], "patterns are in the syntax of Python's re", "%v", err)
		}
	}
	if len(t.Metrics) == 0 && d.places["metrics"] != nil && len(d.problems) == 0 {
		d.complain(d.places["metrics"], "evalrun ls metrics lists them", "metrics names none")
	}
	for i, m := range t.Metrics {
		if o.Metrics == nil || contains(o.Metrics, m.Name) {
			continue
		}
		hint := "evalrun ls metrics lists them"
		if near := nearest.Word(m.Name, o.Metrics); near != "" {
			hint = fmt.Sprintf("did you mean %q?", near)
		}
		d.complain(d.places["metrics."+strconv.Itoa(i)], hint, "unknown metric %q", m.Name)
	}
	for i, s := range t.Generation.Stop {
		if s == "" {
			d.complain(d.places["generation.stop"], "", "stop text %d is empty", i+1)
		}
		if strings.Contains(s, `\n`) {
			d.complain(d.places["generation.stop"], `in YAML write "\n" in double quotes`, `stop text %d holds a backslash and an n, not a line break`, i+1)
		}
	}
	if t.Fewshot.Count > 0 && t.Dataset.TrainSplit == "" {
		d.complain(d.places["fewshot"], "add train_split: under dataset:", "fewshot takes examples from the training split, and dataset names none")
	}
}

func (d *decoder) checkTemplate(f *File) {
	n := d.places["prompt"]
	if n == nil {
		return
	}
	_, err := prompt.Parse(f.Task.Prompt)
	var se *prompt.SyntaxError
	if errors.As(err, &se) {
		p := Problem{File: f.name, Message: "prompt: " + se.Message, Hint: se.Hint}
		if n.Line != setLine {
			p.Line, p.Column = promptPlace(n, f.Task.Source, se.Offset)
		}
		d.problems = append(d.problems, p)
	}
	if n.Value != "" && (strings.HasSuffix(n.Value, " ") || strings.HasSuffix(n.Value, "\t")) {
		d.complain(n, "end it at the cue; the answer brings its own blank", "prompt ends in a blank, which most tokenizers make a token of its own")
	}
	if c := d.places["chat.user"]; c != nil {
		if _, err := prompt.Parse(f.Task.Chat.User); err != nil {
			d.complain(c, "", "chat.user: %v", err)
		}
	}
	for name, form := range f.Task.Chat.Families {
		if _, err := prompt.Parse(form.User); err != nil {
			d.complain(d.places["chat.families."+name+".user"], "", "chat.families.%s.user: %v", name, err)
		}
	}
}

// checkSource looks at the form of dataset.source; whether it is there shows when
// rows are read.
func (d *decoder) checkSource(t *core.Task) {
	ds := &t.Dataset
	n := d.places["dataset.source"]
	if n == nil {
		n = d.places["dataset"]
	}
	if ds.Source == "" {
		return
	}
	if scheme, _, ok := strings.Cut(ds.Source, "://"); ok {
		if scheme == "hf" && strings.Count(strings.TrimPrefix(ds.Source, "hf://"), "/") > 1 {
			d.complain(n, "write hf://owner/name, and config: and split: as keys of their own", "dataset source %q has too many parts", ds.Source)
		}
		switch scheme {
		case "hf", "kaggle", "github":
		default:
			d.complain(n, "use hf://owner/name, or a path to .jsonl, .csv or .parquet files", "dataset source %q has an unknown scheme", ds.Source)
		}
		if scheme == "hf" && ds.Split == "" {
			d.complain(n, "add split: under dataset:", "a data set of the hub needs the split to evaluate")
		}
		return
	}
}

func contains(list []string, s string) bool {
	for _, e := range list {
		if e == s {
			return true
		}
	}
	return false
}
