package tasks

import (
	"bytes"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/evalrun/evalrun/internal/nearest"
)

// lmTask is one task on its way.
type lmTask struct {
	LMEval
	c    *lmConfig
	o    LMEvalOptions
	kind string // output_type
	top  *yaml.Node
	// reduce is what each named extraction makes of repeats.
	reduce map[string]string
	shots  int
}

// lmIgnored are keys without a meaning for a score.
var lmIgnored = []string{"task_alias", "metadata", "should_decontaminate", "doc_to_decontamination_query", "unsafe_code", "group_alias", "task_list"}

// lmRefused are keys whose work is done by Python.
var lmRefused = map[string]string{
	"class": "the task is a Python class", "custom_dataset": "its rows are made by a Python function", "process_docs": "its rows are changed by a Python function",
	"process_results": "its scores are made by a Python function", "use_prompt": "its prompt is one of promptsource's", "doc_to_image": "it asks about images",
	"doc_to_audio": "it asks about sound", "gen_prefix": "it begins the answer itself",
}

var lmKnown = []string{"task", "tag", "dataset_path", "dataset_name", "dataset_kwargs", "training_split", "validation_split", "test_split", "fewshot_split",
	"doc_to_text", "doc_to_target", "doc_to_choice", "description", "target_delimiter", "fewshot_delimiter", "fewshot_config", "num_fewshot", "metric_list",
	"output_type", "generation_kwargs", "repeats", "filter_list"}

// convertLM makes a task file of a task's keys. All that it cannot take is told
// at once.
func convertLM(c *lmConfig, o LMEvalOptions) LMEval {
	t := &lmTask{c: c, o: o, top: &yaml.Node{Kind: yaml.MappingNode}, kind: "generate_until", reduce: map[string]string{}}
	t.Path = c.path
	t.Name = strings.TrimSuffix(filepath.Base(c.path), filepath.Ext(c.path))
	if n := c.keys["task"]; n.node.Kind == yaml.ScalarNode {
		t.Name = n.node.Value
	}
	t.refuse()
	if s, ok := t.text("output_type"); ok {
		t.kind = s
		if known := []string{"generate_until", "multiple_choice", "loglikelihood", "loglikelihood_rolling"}; !slices.Contains(known, s) {
			t.complain("output_type", "known: "+strings.Join(known, ", "), "output_type is %q", s)
		}
	}
	if !goodName.MatchString(t.Name) {
		t.complain("task", "a name of letters, digits, _ - and . is needed", "the task name %q cannot be a file name", t.Name)
	}
	t.tags()
	t.add(t.top, "task", textNode(t.Name))
	t.dataset()
	t.templates()
	if t.kind == "generate_until" {
		t.generation()
		t.filters()
	}
	t.fewshot()
	if n, ok := t.integer("repeats"); ok && n > 1 {
		t.add(t.top, "repeats", numberNode(n))
	}
	t.metrics()
	t.write()
	t.Problems.Sort()
	return t.LMEval
}

func (t *lmTask) complain(key, hint, format string, args ...any) {
	at, ok := t.c.keys[key]
	if !ok {
		at = located{file: t.c.path}
	}
	t.Problems = append(t.Problems, at.problem(hint, format, args...))
}

// complainAt complains about a node within a key's value.
func (t *lmTask) complainAt(key string, n *yaml.Node, hint, format string, args ...any) {
	t.Problems = append(t.Problems, located{n, t.c.keys[key].file}.problem(hint, format, args...))
}

func (t *lmTask) note(format string, args ...any) {
	t.Notes = append(t.Notes, fmt.Sprintf(format, args...))
}

func (t *lmTask) add(to *yaml.Node, key string, value *yaml.Node) {
	to.Content = append(to.Content, textNode(key), value)
}

// refuse complains about keys that need Python, and those that it does not know.
func (t *lmTask) refuse() {
	for key, v := range t.c.keys {
		switch why := lmRefused[key]; {
		case !isSet(v.node) || why != "" && v.node.Kind == yaml.ScalarNode && v.node.Value == "":
		case why != "":
			t.complain(key, "evalrun runs no Python of a task", "%s: %s", key, why)
		case slices.Contains(lmIgnored, key):
		case !slices.Contains(lmKnown, key):
			hint := "known keys: " + strings.Join(lmKnown, ", ")
			if near := nearest.Word(key, lmKnown); near != "" {
				hint = fmt.Sprintf("did you mean %q?", near)
			}
			t.complain(key, hint, "unknown key %q", key)
		default:
			t.functions(key, v.node)
		}
	}
}

// functions complains about each !function in a value.
func (t *lmTask) functions(key string, n *yaml.Node) {
	if n.Tag == "!function" {
		t.complainAt(key, n, "evalrun runs no Python of a task: write it as a Jinja template, or the rows' columns into the data", "%s is the Python function %s", key, n.Value)
		return
	}
	for _, child := range n.Content {
		t.functions(key, child)
	}
}

func isFunction(n *yaml.Node) bool { return n != nil && n.Tag == "!function" }

// node gives a key's value where there is one.
func (t *lmTask) node(key string) *yaml.Node {
	if n, ok := t.c.keys[key]; ok && isSet(n.node) && !isFunction(n.node) {
		return n.node
	}
	return nil
}

func (t *lmTask) text(key string) (string, bool) {
	n := t.node(key)
	if n == nil {
		return "", false
	}
	if n.Kind != yaml.ScalarNode {
		t.complain(key, "", "%s must be text, not %s", key, kindName(n))
		return "", false
	}
	return n.Value, true
}

func (t *lmTask) integer(key string) (int, bool) {
	s, ok := t.text(key)
	if !ok {
		return 0, false
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 0 {
		t.complain(key, "", "%s must be a whole number, not %q", key, s)
		return 0, false
	}
	return n, true
}

func (t *lmTask) tags() {
	n := t.node("tag")
	switch {
	case n == nil:
	case n.Kind == yaml.ScalarNode:
		t.Tags = []string{n.Value}
	case n.Kind == yaml.SequenceNode:
		for _, item := range n.Content {
			t.Tags = append(t.Tags, item.Value)
		}
	}
}

// write makes the file, and reads it again as a run would.
func (t *lmTask) write() {
	if len(t.Problems) > 0 {
		return
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "# Made by evalrun import lm-eval of %s.\n", commentText(filepath.ToSlash(t.Path)))
	if len(t.Tags) > 0 {
		fmt.Fprintf(&b, "# Tags: %s.\n", commentText(strings.Join(t.Tags, ", ")))
	}
	enc := yaml.NewEncoder(&b)
	enc.SetIndent(2)
	if err := enc.Encode(plainNode(t.top)); err != nil {
		t.Problems = Problems{{File: t.Path, Message: yamlMessage(err)}}
		return
	}
	file, err := Parse(t.Name+".yaml", b.Bytes(), Options{Metrics: t.o.Metrics})
	if err != nil {
		t.Problems = Problems{{File: t.Path, Message: "the task made of it does not load: " + strings.ReplaceAll(err.Error(), "\n", "; ")}}
		return
	}
	for _, w := range file.Warnings {
		t.note("%s", w.Message)
	}
	t.YAML = b.Bytes()
}

// plainNode is a copy without anchors, comments and the styles of its origin.
func plainNode(n *yaml.Node) *yaml.Node {
	for n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	out := &yaml.Node{Kind: n.Kind, Tag: n.Tag, Value: n.Value, Style: n.Style}
	for _, c := range n.Content {
		out.Content = append(out.Content, plainNode(c))
	}
	return out
}

// quotedNode is a text in double quotes: line ends and blanks at its ends can be
// seen.
func quotedNode(s string) *yaml.Node {
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: s, Style: yaml.DoubleQuotedStyle}
}

func numberNode(n int) *yaml.Node {
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!int", Value: strconv.Itoa(n)}
}
