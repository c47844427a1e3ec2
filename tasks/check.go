package tasks

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/evalrun/evalrun/core"
	"github.com/evalrun/evalrun/core/dataset/derive"
	"github.com/evalrun/evalrun/core/extract"
	"github.com/evalrun/evalrun/core/prompt"
	"github.com/evalrun/evalrun/internal/jinja"
	"github.com/evalrun/evalrun/internal/nearest"
)

var goodName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.\-]*$`)

// DefaultMaxTokens is asked for where a task names no limit: the report's own.
const DefaultMaxTokens = 256

// check looks at what the keys say together, once they have been read.
func (d *decoder) check(f *File, o Options) {
	t := f.Task
	if n := d.places["task"]; n != nil && isText(n) && !goodName.MatchString(t.Name) {
		d.complain(n, "use letters, digits, _ - and .", "task name %q cannot be a file name", t.Name)
	}
	for _, key := range []string{"prompt", "target"} {
		if n := d.places[key]; n != nil && isText(n) && n.Value == "" && !(key == "prompt" && (promptless(t) || t.Template == core.TemplateJinja)) {
			d.complain(n, "write what it says", "%s is empty", key)
		}
	}
	if t.Generation.MaxTokens == 0 {
		t.Generation.MaxTokens = DefaultMaxTokens
	}
	d.checkTemplate(f)
	d.checkSource(t)
	for _, s := range d.steps {
		if _, err := extract.New([]core.Step{s.step}); err != nil {
			d.stepProblem(s.path, err)
		}
	}
	d.checkExpressions(t)
	if len(t.Metrics) == 0 && d.places["metrics"] != nil && len(d.problems) == 0 {
		d.complain(d.places["metrics"], "evalrun ls metrics lists them", "metrics names none")
	}
	for i, m := range t.Metrics {
		if at := d.places["metrics."+strconv.Itoa(i)]; m.Extract != "" && !slices.ContainsFunc(t.Pipelines, func(p core.Pipeline) bool { return p.Name == m.Extract }) {
			d.complain(at, "name one of the lists under extract:", "extract has no pipeline %q", m.Extract)
		}
		if o.Metrics == nil || slices.Contains(o.Metrics, m.Name) {
			continue
		}
		hint := "evalrun ls metrics lists them; one of your own is evalrun-metric-NAME on PATH"
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
	if t.ForceLabels && len(t.Labels) == 0 {
		d.complain(d.places["generation.force_labels"], "list them under labels:", "force_labels holds answers to the task's labels, and the task has none")
	}
	if t.Fewshot.Count > 0 && t.Dataset.TrainSplit == "" && t.Fewshot.Split == "" && t.Fewshot.Rows == nil {
		d.complain(d.places["fewshot"], "add train_split: under dataset:", "fewshot takes examples from the training split, and dataset names none")
	}
}

// promptless tells whether nothing but the likelihood of whole texts is asked
// for, which takes no prompt.
func promptless(t *core.Task) bool {
	return len(t.Metrics) > 0 && !slices.ContainsFunc(t.Metrics, func(m core.MetricSpec) bool {
		return m.Name != "word_perplexity" && m.Name != "byte_perplexity" && m.Name != "bits_per_byte"
	})
}

func (d *decoder) checkTemplate(f *File) {
	t := f.Task
	n := d.places["prompt"]
	d.checkFilled(t)
	if t.Template == core.TemplateJinja {
		return
	}
	if tmpl := d.template("prompt", t.Prompt); tmpl != nil {
		if len(tmpl.Columns()) == 0 && n.Value != "" {
			d.warn(n, "name a column: {column}", "prompt takes no column: all rows ask the same")
		}
		if strings.HasSuffix(n.Value, " ") || strings.HasSuffix(n.Value, "\t") {
			d.warn(n, "end it at the cue; the answer brings its own blank", "prompt ends in a blank, which most tokenizers make a token of its own")
		}
	}
	d.template("chat.user", t.Chat.User)
	for _, name := range slices.Sorted(maps.Keys(t.Chat.Families)) {
		d.template("chat.families."+name+".user", t.Chat.Families[name].User)
	}
}

// checkFilled compiles what is filled in for each row beside the prompt, and the
// prompt too where it is Jinja's.
func (d *decoder) checkFilled(t *core.Task) {
	one := func(prefix string, part core.Task) {
		part.Template = t.Template
		_, err := prompt.Compile(&part)
		var te *prompt.TemplateError
		if !errors.As(err, &te) {
			return
		}
		n := d.places[prefix+te.Key]
		offset, hint, message := -1, "", te.Err.Error()
		var se *prompt.SyntaxError
		var je *jinja.Error
		switch {
		case errors.As(err, &se):
			offset, hint = se.Offset, se.Hint
		case errors.As(err, &je):
			message = je.Message
			if je.Line > 0 && n != nil {
				offset = lineOffset(n.Value, je.Line, 1)
			}
			hint = "template: jinja says that templates are Jinja's"
		}
		if n != nil && n.Kind != yaml.ScalarNode {
			offset = -1
		}
		d.problems = append(d.problems, d.problem(n, offset, hint, "%s%s: %s", prefix, te.Key, message))
	}
	parts := []core.Task{{Preamble: t.Preamble}, {Target: t.Target}, {Choices: t.Choices}}
	if t.Template == core.TemplateJinja {
		parts = append(parts, core.Task{Prompt: t.Prompt})
	}
	for _, p := range parts {
		one("", p)
	}
	for _, p := range []core.Task{{Prompt: t.Fewshot.Prompt}, {Target: t.Fewshot.Target}, {Choices: t.Fewshot.Choices}} {
		one("fewshot.", p)
	}
}

// template parses the template under a key, and gives nil where there is none
// or it is wrong.
func (d *decoder) template(key, text string) *prompt.Template {
	n := d.places[key]
	if n == nil || !isText(n) {
		return nil
	}
	tmpl, err := prompt.Parse(text)
	var se *prompt.SyntaxError
	if errors.As(err, &se) {
		d.problems = append(d.problems, d.problem(n, se.Offset, se.Hint, "%s: %s", key, se.Message))
		return nil
	}
	return tmpl
}

// stepProblem complains about a step of extract at the place of its pattern.
func (d *decoder) stepProblem(key string, err error) {
	n, offset, hint := d.places[key], -1, ""
	var se *extract.StepError
	if errors.As(err, &se) {
		if inner := d.places[key+"."+se.Op]; inner != nil {
			n = inner
		}
		err = se.Err
	}
	var pe *extract.PatternError
	if errors.As(err, &pe) {
		hint = "patterns are in the syntax of Python's re"
		if strings.HasPrefix(pe.Message, "unknown flag") {
			n = d.places[key+".flags"]
		} else if pe.Pos >= 0 && n != nil {
			offset = byteOffset(n.Value, pe.Pos)
		}
	}
	d.problems = append(d.problems, d.problem(n, offset, hint, "%s: %v", key, err))
}

// checkExpressions compiles each derived column and the filter by itself, so
// that all mistakes are found and not only the first.
func (d *decoder) checkExpressions(t *core.Task) {
	complain := func(key, text string, err error) {
		var de *derive.Error
		if !errors.As(err, &de) {
			return
		}
		offset := -1
		if de.Line > 0 {
			offset = lineOffset(text, de.Line, de.Column)
		}
		d.problems = append(d.problems, d.problem(d.places[key], offset, de.Hint, "%s: %s", key, de.Message))
	}
	for _, c := range t.Columns {
		_, err := derive.Compile([]core.Column{c}, nil, derive.Options{})
		complain("columns."+c.Name, c.Expr, err)
	}
	if t.Dataset.Filter != "" {
		_, err := derive.CompileFilter(t.Dataset.Filter, nil, derive.Options{})
		complain("dataset.filter", t.Dataset.Filter, err)
	}
}

func isText(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.ShortTag() == "!!str" }

// byteOffset is where the rune number runes of s begins.
func byteOffset(s string, runes int) int {
	for i := range s {
		if runes == 0 {
			return i
		}
		runes--
	}
	return len(s)
}

// lineOffset is the byte of s at a line and a column in characters, from 1.
func lineOffset(s string, line, column int) int {
	at := 0
	for ; line > 1; line-- {
		i := strings.IndexByte(s[at:], '\n')
		if i < 0 {
			return len(s)
		}
		at += i + 1
	}
	return at + byteOffset(s[at:], column-1)
}

// checkSource looks at the form of dataset.source; whether it is there shows when
// rows are read.
func (d *decoder) checkSource(t *core.Task) {
	ds := &t.Dataset
	n := d.places["dataset.source"]
	if n == nil {
		n = d.places["dataset"]
	}
	switch {
	case ds.Source != "" && ds.Files != nil:
		d.complain(d.places["dataset.files"], "keep one of them", "dataset has both a source and files")
	case ds.Files != nil:
		for _, part := range []struct{ key, split string }{{"split", ds.Split}, {"train_split", ds.TrainSplit}, {"", t.Fewshot.Split}} {
			if _, ok := ds.Files[part.split]; part.split != "" && !ok {
				at := d.places["dataset."+part.key]
				if part.key == "" {
					at = d.places["fewshot.split"]
				}
				d.complain(at, "the splits there are: "+strings.Join(slices.Sorted(maps.Keys(ds.Files)), ", "), "dataset.files has no split %q", part.split)
			}
		}
		if ds.Split == "" {
			d.complain(n, "add split: under dataset:", "files of several splits need the split to evaluate")
		}
	case ds.Source == "" && n != nil && n == d.places["dataset"] && n.Kind == yaml.MappingNode:
		d.complain(n, "add source:", "dataset lacks the key \"source\"")
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
