package tasks

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"gopkg.in/yaml.v3"

	"github.com/evalrun/evalrun/core"
	"github.com/evalrun/evalrun/core/prompt"
	"github.com/evalrun/evalrun/internal/nearest"
)

// A Bakeoff is one task of the folder that the authors of the LoRA Land report
// published (predibase/lora_bakeoff), turned into a task file.
type Bakeoff struct {
	Name string
	// Path of the metadata.yaml.
	Path string
	// YAML is the task file; nil when Problems keep it from being made.
	YAML []byte
	// SHA256 of the template's UTF-8 text in hexadecimal digits, and its length
	// in characters.
	SHA256     string
	Characters int
	// Published tells whether the template is the one that the report used;
	// Known whether the report has the task at all.
	Published, Known bool
	// Notes are what a user should know: keys without a meaning here, keys that
	// are missed, and where the file departs from the published program.
	Notes []string
	// Problems keep the task from being imported.
	Problems Problems
}

// BakeoffOptions of ImportBakeoff.
type BakeoffOptions struct {
	// Out is the folder in which the task files will stand: paths of data are
	// relative to it.
	Out string
	// Metrics lists the known metric names; nil accepts any.
	Metrics []string
	// Published gives what the report has of a task: the hash of its template
	// and the metric of its tables.
	Published func(task string) (sha256 string, metric string, ok bool)
}

// The keys of a metadata.yaml. The published program reads the first group;
// those of the second are kept as comments.
var (
	bakeoffRead = []string{"prompt_template", "target_col", "metric_name", "data_path", "split_column", "split_column_value"}
	bakeoffKept = []string{"dataset_name", "dataset_description", "adapter_ui_name", "adapter_category", "dataset_link", "dataset",
		"training_data", "evaluation_data", "split", "eval_prompt_template", "eval_target_col", "expected_output_format", "input_columns",
		"num_examples", "split_used_for_evaluation"}
)

// ImportBakeoff reads DIR/tasks/*/metadata.yaml in the order of the names. The
// error is for a folder that holds none; what is wrong with one task is in its
// Problems.
func ImportBakeoff(dir string, o BakeoffOptions) ([]Bakeoff, error) {
	paths, err := filepath.Glob(filepath.Join(globQuote(dir), "tasks", "*", "metadata.yaml"))
	if err != nil || len(paths) == 0 {
		return nil, &core.UserError{Where: dir, Message: "holds no tasks/*/metadata.yaml", Err: err,
			Hint: "name a copy of the folder lora_bakeoff as its authors published it"}
	}
	slices.Sort(paths)
	out := make([]Bakeoff, len(paths))
	for i, file := range paths {
		out[i] = importOne(dir, file, o)
	}
	return out, nil
}

// globQuote keeps a folder's name from being read as a pattern.
func globQuote(s string) string {
	return regexp.MustCompile(`[*?\[\\]`).ReplaceAllStringFunc(s, func(c string) string {
		if c == string(filepath.Separator) {
			return c
		}
		return `[` + c + `]`
	})
}

// metadata is one file being imported.
type metadata struct {
	Bakeoff
	d      *decoder
	nodes  map[string]*yaml.Node
	order  []string
	o      BakeoffOptions
	folder string
	paper  core.Paper
	// values of the keys that are read.
	template, target, metric, data, splitColumn string
}

func newMetadata(dir, file string, src []byte, o BakeoffOptions) *metadata {
	m := &metadata{o: o, folder: dir, nodes: map[string]*yaml.Node{}}
	m.Path, m.Name = file, filepath.Base(filepath.Dir(file))
	m.d = &decoder{file: file, source: src, places: m.nodes}
	return m
}

func importOne(dir, file string, o BakeoffOptions) Bakeoff {
	src, err := readLimited(file)
	m := newMetadata(dir, file, src, o)
	if err != nil {
		m.Problems = Problems{{File: file, Message: err.Error()}}
		return m.Bakeoff
	}
	root, problem := safeDocument(file, src)
	if problem != nil {
		m.Problems = Problems{*problem}
		return m.Bakeoff
	}
	m.importFrom(root)
	return m.Bakeoff
}

// importFrom makes the task file, or complaints.
func (m *metadata) importFrom(root *yaml.Node) {
	m.read(root)
	if len(m.d.problems) == 0 {
		m.judge()
		m.write()
	}
	m.d.problems.Sort()
	m.Problems = m.d.problems
	if len(m.Problems) > 0 {
		m.YAML = nil
	}
}

func readLimited(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(b) > maxFile {
		err = errors.New("larger than 1 MiB, which no task file is")
	}
	return b, err
}

// safeDocument is document for a file from elsewhere: what yaml.v3 panics on is
// a complaint.
func safeDocument(name string, src []byte) (root *yaml.Node, p *Problem) {
	defer func() {
		if r := recover(); r != nil {
			root, p = nil, &Problem{File: name, Message: fmt.Sprintf("not readable as YAML: %v", r)}
		}
	}()
	return document(name, src)
}

// read takes the keys apart: read, kept, unknown, missing.
func (m *metadata) read(root *yaml.Node) {
	if root.Kind != yaml.MappingNode {
		m.d.complain(root, "", "metadata must be a mapping, not %s", kindName(root))
		return
	}
	for i := 0; i+1 < len(root.Content); i += 2 {
		key, value := root.Content[i], root.Content[i+1]
		name := key.Value
		// The published files repeat keys; Python's reader, and so the published
		// program, takes the last.
		before := m.nodes[name]
		m.nodes[name] = m.d.deref(value)
		if before != nil {
			if flat(before) != flat(m.nodes[name]) {
				m.note("key %q stands twice, as %s and %s; the last counts", name, flat(before), flat(m.nodes[name]))
			}
			continue
		}
		m.order = append(m.order, name)
		if !slices.Contains(bakeoffRead, name) && !slices.Contains(bakeoffKept, name) {
			note := fmt.Sprintf("unknown key %q (kept as a comment)", name)
			if near := nearest.Word(name, append(slices.Clone(bakeoffRead), bakeoffKept...)); near != "" {
				note = fmt.Sprintf("unknown key %q, perhaps meant as %q (kept as a comment)", name, near)
			}
			m.note("%s", note)
		}
	}
	for _, need := range []struct {
		key string
		dst *string
	}{{"prompt_template", &m.template}, {"target_col", &m.target}, {"metric_name", &m.metric}, {"data_path", &m.data}} {
		n := m.nodes[need.key]
		if n == nil || n.ShortTag() == "!!null" {
			m.d.complain(root, "without it there is no task to make", "the key %q is missing", need.key)
			continue
		}
		m.d.text(need.key, need.dst)(n)
		if n.Kind == yaml.ScalarNode && strings.TrimSpace(n.Value) == "" {
			m.d.complain(n, "without it there is no task to make", "%s is empty", need.key)
		}
	}
	var missing []string
	for _, key := range bakeoffKept {
		if m.nodes[key] == nil {
			missing = append(missing, key)
		}
	}
	if len(missing) > 0 {
		m.note("missing, and not needed: %s", strings.Join(missing, ", "))
	}
}

func (m *metadata) note(format string, args ...any) {
	m.Notes = append(m.Notes, fmt.Sprintf(format, args...))
}

// judge compares with the report and looks for what will go wrong.
func (m *metadata) judge() {
	sum := sha256.Sum256([]byte(m.template))
	m.SHA256, m.Characters = hex.EncodeToString(sum[:]), utf8.RuneCountInString(m.template)
	m.compare()
	if !goodName.MatchString(m.Name) {
		m.d.complain(nil, "rename the folder: letters, digits, _ - and .", "the folder's name %q cannot be a task's name", m.Name)
	}
	tmpl, err := prompt.Parse(m.template)
	var se *prompt.SyntaxError
	if errors.As(err, &se) {
		m.d.problems = append(m.d.problems, m.d.problem(m.nodes["prompt_template"], se.Offset, se.Hint, "prompt_template: %s", se.Message))
	}
	if tmpl != nil {
		m.checkInputs(tmpl)
	}
	if m.o.Metrics != nil && !slices.Contains(m.o.Metrics, m.metric) {
		hint := "evalrun ls metrics lists them"
		if near := nearest.Word(m.metric, m.o.Metrics); near != "" {
			hint = fmt.Sprintf("did you mean %q?", near)
		}
		m.d.complain(m.nodes["metric_name"], hint, "unknown metric %q", m.metric)
	}
	if strings.Contains(strings.ToLower(filepath.Base(m.data)), "train") {
		m.note("data_path %s looks like training data", m.data)
	}
	if n := m.nodes["eval_prompt_template"]; isSet(n) && n.Value != m.template {
		m.note("eval_prompt_template differs from prompt_template; the published program reads the latter, and so does the task")
	}
	if n := m.nodes["eval_target_col"]; isSet(n) && n.Value != m.target {
		m.note("eval_target_col differs from target_col; the published program reads the latter, and so does the task")
	}
}

// compare finds the task among those of the report: by the folder's name, or
// else, where a folder was renamed, by the template.
func (m *metadata) compare() {
	if m.o.Published == nil {
		return
	}
	for _, name := range append([]string{m.Name}, Names()...) {
		want, metric, ok := m.o.Published(name)
		if ok && (name == m.Name || want == m.SHA256) {
			m.Known, m.Published = true, want == m.SHA256
			m.paper = core.Paper{Task: name, Metric: metric, Prompt: "own"}
			if m.Published {
				m.paper.Prompt = "published"
				return
			}
		}
	}
}

// checkInputs compares the template's columns with the list in the file.
func (m *metadata) checkInputs(tmpl *prompt.Template) {
	n := m.nodes["input_columns"]
	if !isSet(n) {
		return
	}
	var listed []string
	items := []*yaml.Node{n}
	if n.Kind == yaml.SequenceNode {
		items = n.Content
	}
	for _, it := range items {
		for _, s := range strings.Split(it.Value, ",") {
			listed = append(listed, strings.TrimSpace(s))
		}
	}
	for _, c := range tmpl.Columns() {
		if !slices.Contains(listed, c.Name) {
			m.note("the template takes column %q, which input_columns does not list", c.Name)
		}
	}
}

func isSet(n *yaml.Node) bool { return n != nil && n.ShortTag() != "!!null" }

// filter is the expression that keeps the evaluation's rows. Cells of CSV files
// are texts; pandas, with which the data was written, may have put 1 as 1.0.
func (m *metadata) filter() string {
	column, value := m.nodes["split_column"], m.nodes["split_column_value"]
	switch {
	case !isSet(column) && !isSet(value):
		return ""
	case !isSet(column):
		m.note("split_column_value %s without split_column: the published program takes all rows, and so does the task", value.Value)
		return ""
	case !isSet(value):
		m.note("split_column %s without split_column_value: all rows are taken", column.Value)
		return ""
	}
	if column.Kind != yaml.ScalarNode || value.Kind != yaml.ScalarNode {
		m.d.complain(column, "", "split_column and split_column_value must be single values")
		return ""
	}
	name := column.Value
	if !identifier.MatchString(name) {
		name = "$env[" + jsonText(name) + "]"
	}
	if value.ShortTag() == "!!int" {
		return fmt.Sprintf("string(%s) in [%s, %s]", name, jsonText(value.Value), jsonText(value.Value+".0"))
	}
	return fmt.Sprintf("string(%s) == %s", name, jsonText(value.Value))
}

var identifier = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

func jsonText(s string) string {
	b, err := json.Marshal(s)
	if err != nil { // a text always has a JSON form
		return `""`
	}
	return string(b)
}

// source finds the data file, which the published program looks for beside the
// metadata or from the top of the folder, and names it relative to Out.
func (m *metadata) source() string {
	if _, rest, remote := strings.Cut(m.data, "://"); remote {
		name := path.Base(rest)
		m.note("data_path %s cannot be fetched: put the file beside the task as %s", m.data, name)
		return name
	}
	tries := []string{m.data}
	if !filepath.IsAbs(m.data) {
		tries = []string{filepath.Join(filepath.Dir(m.Path), m.data), filepath.Join(m.folder, m.data)}
	}
	found := ""
	for _, p := range tries {
		if _, err := os.Stat(p); err == nil {
			found = p
			break
		}
	}
	if found == "" {
		found = tries[len(tries)-1]
		m.note("data file %s is not there: put it there before the task is run", found)
	}
	abs, err := filepath.Abs(found)
	out, err2 := filepath.Abs(cmp.Or(m.o.Out, "."))
	if err == nil && err2 == nil {
		if rel, err := filepath.Rel(out, abs); err == nil {
			return filepath.ToSlash(rel)
		}
		return filepath.ToSlash(abs)
	}
	return filepath.ToSlash(found)
}

// write makes the task file and reads it back: what is written must be the task
// that was meant, to the letter of the template.
func (m *metadata) write() {
	if len(m.d.problems) > 0 {
		return
	}
	var b strings.Builder
	fmt.Fprintf(&b, "# Imported from %s of lora_bakeoff, with its wording.\n", filepath.ToSlash(filepath.Join("tasks", m.Name, "metadata.yaml")))
	b.WriteString("# Its program cuts prompts after 1,500 characters; this task does not.\n")
	for _, key := range m.order {
		if !slices.Contains(bakeoffRead, key) {
			fmt.Fprintf(&b, "# %s: %s\n", commentText(key), commentText(flat(m.nodes[key])))
		}
	}
	top := &yaml.Node{Kind: yaml.MappingNode}
	add := func(to *yaml.Node, key string, value *yaml.Node) {
		to.Content = append(to.Content, textNode(key), value)
	}
	add(top, "task", textNode(m.Name))
	for _, k := range []struct{ from, to string }{{"dataset_description", "description"}, {"adapter_category", "category"}} {
		if n := m.nodes[k.from]; isSet(n) && n.Kind == yaml.ScalarNode {
			add(top, k.to, textNode(n.Value))
		}
	}
	dataset := &yaml.Node{Kind: yaml.MappingNode}
	add(dataset, "source", textNode(m.source()))
	if f := m.filter(); f != "" {
		add(dataset, "filter", textNode(f))
	}
	add(top, "dataset", dataset)
	template := textNode(m.template)
	if strings.Contains(m.template, "\n") {
		template.Style = yaml.LiteralStyle
	} else {
		template.Style = yaml.DoubleQuotedStyle
	}
	add(top, "prompt", template)
	add(top, "target", textNode(m.target))
	add(top, "generation", &yaml.Node{Kind: yaml.MappingNode, Style: yaml.FlowStyle, Content: []*yaml.Node{
		textNode("max_tokens"), {Kind: yaml.ScalarNode, Tag: "!!int", Value: "256"},
		textNode("temperature"), {Kind: yaml.ScalarNode, Tag: "!!int", Value: "0"}}})
	add(top, "metrics", &yaml.Node{Kind: yaml.SequenceNode, Style: yaml.FlowStyle, Content: []*yaml.Node{textNode(m.metric)}})
	if m.Known {
		paper := &yaml.Node{Kind: yaml.MappingNode, Style: yaml.FlowStyle}
		add(paper, "task", textNode(m.paper.Task))
		if m.paper.Metric != "" {
			add(paper, "metric", textNode(m.paper.Metric))
		}
		add(paper, "prompt", textNode(m.paper.Prompt))
		add(top, "paper", paper)
	}
	if len(m.d.problems) > 0 {
		return
	}
	head := b.String()
	for _, style := range []yaml.Style{template.Style, yaml.DoubleQuotedStyle} {
		template.Style = style
		body, err := yaml.Marshal(top)
		if err != nil {
			m.d.complain(nil, "", "%s", yamlMessage(err))
			return
		}
		src := append([]byte(head), body...)
		file, err := Parse(m.Name+".yaml", src, Options{Metrics: m.o.Metrics})
		if err == nil && file.Task.Prompt == m.template {
			m.YAML = src
			for _, w := range file.Warnings {
				m.note("%s", w.Message)
			}
			return
		}
		if err != nil && style == yaml.DoubleQuotedStyle {
			m.d.complain(nil, "", "the task made of it does not load: %s", strings.ReplaceAll(err.Error(), "\n", "; "))
			return
		}
	}
	m.d.complain(m.nodes["prompt_template"], "", "the template does not survive being written as YAML")
}

// textNode is a text that YAML must not read as anything else.
func textNode(s string) *yaml.Node {
	n := &yaml.Node{}
	n.SetString(s)
	return n
}

// flat writes a value in one line.
func flat(n *yaml.Node) string {
	if n.Kind == yaml.ScalarNode {
		if strings.ContainsAny(n.Value, "\r\n") {
			return jsonText(n.Value)
		}
		return n.Value
	}
	var v any
	if err := n.Decode(&v); err != nil {
		return "(not readable: " + yamlMessage(err) + ")"
	}
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	return string(b)
}

// commentText keeps a text from the file within its comment's line.
func commentText(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7F || r == 0x85 || r == 0x2028 || r == 0x2029 {
			return ' '
		}
		return r
	}, s)
}
