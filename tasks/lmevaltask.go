package tasks

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/evalrun/evalrun/core"
	"github.com/evalrun/evalrun/internal/nearest"
)

// lmFewshotSeed is the seed of worked examples that lm-evaluation-harness has.
const lmFewshotSeed = 1234

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

// dataset writes where rows come from.
func (t *lmTask) dataset() {
	d := &yaml.Node{Kind: yaml.MappingNode}
	path, ok := t.text("dataset_path")
	if !ok {
		if t.c.keys["custom_dataset"].node == nil {
			t.complain("dataset_path", "add dataset_path:", "the task names no dataset_path")
		}
		return
	}
	local := slices.Contains([]string{"json", "csv", "parquet"}, path)
	var files *yaml.Node
	if kwargs := t.node("dataset_kwargs"); kwargs != nil {
		for i := 0; i+1 < len(kwargs.Content); i += 2 {
			key, value := kwargs.Content[i], kwargs.Content[i+1]
			switch key.Value {
			case "data_files":
				files = value
			case "trust_remote_code", "download_mode":
			case "revision":
				t.add(d, "revision", textNode(value.Value))
			default:
				t.complainAt("dataset_kwargs", key, "known: data_files, revision", "dataset_kwargs.%s has no meaning here", key.Value)
			}
		}
	}
	switch {
	case files != nil && !local:
		t.complainAt("dataset_kwargs", files, "data_files belong to the dataset_path json, csv or parquet", "data_files of the data set %s of the hub", path)
	case files != nil:
		t.add(d, "files", t.files(files))
	case local:
		t.complain("dataset_path", "add dataset_kwargs: {data_files: …}", "dataset_path %s names no data_files", path)
	default:
		if info, err := os.Stat(path); err == nil && info.IsDir() {
			t.add(d, "source", textNode(t.relative(path)))
		} else {
			t.add(d, "source", textNode("hf://"+path))
		}
		if name, ok := t.text("dataset_name"); ok {
			t.add(d, "config", textNode(name))
		}
	}
	split := ""
	for _, key := range []string{"test_split", "validation_split"} {
		if s, ok := t.text(key); ok && split == "" {
			split = s
		}
	}
	if split == "" {
		t.complain("test_split", "add test_split: or validation_split:", "the task names no split to evaluate")
	} else {
		t.add(d, "split", textNode(split))
	}
	if train := t.shotSplit(); train != "" {
		t.add(d, "train_split", textNode(train))
	}
	t.add(d, "limit", numberNode(1_000_000_000)) // all rows, as there
	t.add(t.top, "dataset", d)
}

// shotSplit is where worked examples come from.
func (t *lmTask) shotSplit() string {
	for _, key := range []string{"fewshot_split", "training_split", "validation_split", "test_split"} {
		if s, ok := t.text(key); ok {
			return s
		}
	}
	return ""
}

// files writes data_files by split. Where there is one list, it is the split
// train, as in Hugging Face's datasets.
func (t *lmTask) files(n *yaml.Node) *yaml.Node {
	out := &yaml.Node{Kind: yaml.MappingNode}
	list := func(n *yaml.Node) *yaml.Node {
		seq := &yaml.Node{Kind: yaml.SequenceNode, Style: yaml.FlowStyle}
		items := []*yaml.Node{n}
		if n.Kind == yaml.SequenceNode {
			items = n.Content
		}
		for _, item := range items {
			seq.Content = append(seq.Content, textNode(t.dataFile(item)))
		}
		return seq
	}
	if n.Kind != yaml.MappingNode {
		t.add(out, "train", list(n))
		return out
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		t.add(out, n.Content[i].Value, list(n.Content[i+1]))
	}
	return out
}

// dataFile finds a file where lm-evaluation-harness does, in the working folder,
// and else beside the task's file or above it.
func (t *lmTask) dataFile(n *yaml.Node) string {
	if strings.Contains(n.Value, "://") {
		t.complainAt("dataset_kwargs", n, "fetch the file and name its place", "data_files name the address %s", n.Value)
		return n.Value
	}
	if filepath.IsAbs(n.Value) {
		return n.Value
	}
	tried := []string{"."}
	for dir, level := filepath.Dir(t.c.path), 0; level < 4; level++ {
		tried = append(tried, dir)
		dir = filepath.Join(dir, "..")
	}
	for _, dir := range tried {
		at := filepath.Join(dir, n.Value)
		if found, err := filepath.Glob(at); err == nil && len(found) > 0 {
			return t.relative(at)
		}
	}
	t.note("there is no file %s in the working folder, beside the task's file or above it", n.Value)
	return t.relative(n.Value)
}

// relative writes a path as one from the folder of the task files.
func (t *lmTask) relative(path string) string {
	out, err1 := filepath.Abs(t.o.Out)
	abs, err2 := filepath.Abs(path)
	if err1 != nil || err2 != nil {
		return path
	}
	if rel, err := filepath.Rel(out, abs); err == nil {
		return filepath.ToSlash(rel)
	}
	return abs
}

// templates writes what is filled in for each row.
func (t *lmTask) templates() {
	t.add(t.top, "template", textNode(core.TemplateJinja))
	prompt, ok := t.text("doc_to_text")
	if !ok && t.kind != "loglikelihood_rolling" && !isFunction(t.c.keys["doc_to_text"].node) {
		t.complain("doc_to_text", "add doc_to_text:", "the task has no doc_to_text")
	}
	if t.kind == "loglikelihood_rolling" {
		prompt = ""
	}
	t.add(t.top, "prompt", quotedNode(prompt))
	if s, ok := t.text("description"); ok && s != "" {
		t.add(t.top, "preamble", quotedNode(s))
	}
	if n := t.node("doc_to_target"); n != nil && n.Kind == yaml.ScalarNode {
		t.add(t.top, "target", quotedNode(n.Value))
	} else if n != nil {
		t.complain("doc_to_target", "write a template that renders the list", "doc_to_target is %s", kindName(n))
	} else if !isFunction(t.c.keys["doc_to_target"].node) {
		t.complain("doc_to_target", "add doc_to_target:", "the task has no doc_to_target")
	}
	if c := t.choices("doc_to_choice", t.node("doc_to_choice")); c != nil {
		t.add(t.top, "choices", c)
	} else if t.kind == "multiple_choice" && !isFunction(t.c.keys["doc_to_choice"].node) {
		t.complain("doc_to_choice", "add doc_to_choice:", "a multiple_choice task has no doc_to_choice")
	}
	delimiter := t.delimiter()
	if t.kind == "loglikelihood" {
		delimiter = "" // there, it stands in worked examples only
	}
	t.add(t.top, "target_delimiter", quotedNode(delimiter))
}

func (t *lmTask) delimiter() string {
	if s, ok := t.text("target_delimiter"); ok {
		return s
	}
	return " "
}

// choices gives a template, a list, or the values of a mapping.
func (t *lmTask) choices(key string, n *yaml.Node) *yaml.Node {
	switch {
	case n == nil || !isSet(n) || isFunction(n):
		return nil
	case n.Kind == yaml.ScalarNode:
		return quotedNode(n.Value)
	}
	out := &yaml.Node{Kind: yaml.SequenceNode, Style: yaml.FlowStyle}
	for i, item := range n.Content {
		if n.Kind == yaml.MappingNode && i%2 == 0 {
			continue
		}
		if item.Kind != yaml.ScalarNode {
			t.complainAt(strings.TrimPrefix(key, "fewshot_config."), item, "", "a choice is %s", kindName(item))
			continue
		}
		out.Content = append(out.Content, quotedNode(item.Value))
	}
	return out
}

// generation writes generation_kwargs.
func (t *lmTask) generation() {
	g := &yaml.Node{Kind: yaml.MappingNode}
	delimiter := "\n\n"
	if s, ok := t.text("fewshot_delimiter"); ok {
		delimiter = s
	}
	var until *yaml.Node
	limits, sampled, temperature := map[string]int{}, "", ""
	limitNames := []string{"max_gen_toks", "max_new_tokens", "max_tokens", "max_completion_tokens"}
	kwargs := t.node("generation_kwargs")
	if kwargs != nil && kwargs.Kind == yaml.MappingNode {
		for i := 0; i+1 < len(kwargs.Content); i += 2 {
			key, value := kwargs.Content[i], kwargs.Content[i+1]
			switch name := key.Value; {
			case name == "until":
				until = value
			case slices.Contains(limitNames, name):
				n, err := strconv.Atoi(value.Value)
				if err != nil || n < 1 {
					t.complainAt("generation_kwargs", value, "", "%s must be a whole number from 1 up, not %q", name, value.Value)
				}
				limits[name] = n
			case name == "do_sample":
				sampled = strings.ToLower(value.Value)
			case name == "temperature":
				temperature = value.Value
			case name == "top_p" || name == "top_k" || name == "min_p" || name == "repetition_penalty" || name == "seed":
				t.add(g, name, value)
			case name == "num_beams" && value.Value == "1", name == "stream", name == "use_cache":
			default:
				t.complainAt("generation_kwargs", key, "known: until, do_sample, temperature, top_p, top_k, min_p, repetition_penalty, seed, "+strings.Join(limitNames, ", "), "generation_kwargs.%s has no meaning here", name)
			}
		}
	}
	most := DefaultMaxTokens
	for i := len(limitNames) - 1; i >= 0; i-- {
		if n := limits[limitNames[i]]; n > 0 {
			most = n
		}
	}
	t.add(g, "max_tokens", numberNode(most))
	switch {
	case temperature == "" && sampled == "true":
		t.note("do_sample without a temperature: 1 is taken, as transformers does")
		t.add(g, "temperature", numberNode(1))
	case temperature != "" && sampled != "false":
		if f, err := strconv.ParseFloat(temperature, 64); err != nil {
			t.complain("generation_kwargs", "", "temperature is %q", temperature)
		} else if f > 0 {
			t.add(g, "temperature", &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!float", Value: temperature})
		}
	}
	stop := &yaml.Node{Kind: yaml.SequenceNode, Style: yaml.FlowStyle}
	switch {
	case until == nil:
		t.note("no until: answers end at the delimiter of worked examples, %q, as lm-evaluation-harness has it", delimiter)
		if delimiter != "" {
			stop.Content = []*yaml.Node{quotedNode(delimiter)}
		}
	case until.Kind == yaml.ScalarNode:
		stop.Content = []*yaml.Node{quotedNode(until.Value)}
	default:
		for _, s := range until.Content {
			stop.Content = append(stop.Content, quotedNode(s.Value))
		}
	}
	if len(stop.Content) > 0 {
		t.add(g, "stop", stop)
	}
	t.add(t.top, "generation", g)
}

// filters writes filter_list as named extractions.
func (t *lmTask) filters() {
	n := t.node("filter_list")
	if n == nil {
		return
	}
	extract := &yaml.Node{Kind: yaml.MappingNode}
	for _, item := range n.Content {
		var f struct {
			Name   string    `yaml:"name"`
			Filter yaml.Node `yaml:"filter"`
		}
		if err := item.Decode(&f); err != nil || f.Name == "" || f.Filter.Kind != yaml.SequenceNode {
			t.complainAt("filter_list", item, "write name: and filter:", "a filter_list entry is not readable")
			continue
		}
		if !pipelineName.MatchString(f.Name) {
			t.complainAt("filter_list", item, "use letters, digits, _ - . and @", "the filter's name %q cannot stand in a table", f.Name)
			continue
		}
		steps := &yaml.Node{Kind: yaml.SequenceNode}
		p := lmPipeline{t: t, steps: steps}
		for _, step := range f.Filter.Content {
			p.step(step)
		}
		t.reduce[f.Name] = p.reduce()
		t.add(extract, f.Name, steps)
	}
	t.add(t.top, "extract", extract)
}

// lmPipeline is one entry of filter_list.
type lmPipeline struct {
	t        *lmTask
	steps    *yaml.Node
	first    int
	majority bool
	ended    bool // take_first came: what follows works on one answer
}

// reduce is what the pipeline makes of a row's answers.
func (p *lmPipeline) reduce() string {
	switch {
	case p.majority && p.first > 0:
		return fmt.Sprintf("majority@%d", p.first)
	case p.majority:
		return "majority"
	}
	return "first"
}

func (p *lmPipeline) step(n *yaml.Node) {
	t := p.t
	args := map[string]*yaml.Node{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		args[n.Content[i].Value] = n.Content[i+1]
	}
	function := ""
	if f := args["function"]; f != nil && !isFunction(f) {
		function = f.Value
	}
	delete(args, "function")
	take := func(name string) *yaml.Node {
		v := args[name]
		delete(args, name)
		return v
	}
	one := func(pairs ...*yaml.Node) {
		p.steps.Content = append(p.steps.Content, &yaml.Node{Kind: yaml.MappingNode, Style: yaml.FlowStyle, Content: pairs})
	}
	word := func(s string) { p.steps.Content = append(p.steps.Content, textNode(s)) }
	switch function {
	case "regex":
		pattern, fallback := `#### (\-?[0-9\.\,]+)`, "[invalid]"
		if v := take("regex_pattern"); v != nil {
			pattern = v.Value
		}
		if v := take("fallback"); v != nil {
			fallback = v.Value
		}
		pairs := []*yaml.Node{textNode("regex"), quotedNode(pattern)}
		if v := take("group_select"); v != nil && v.Value != "0" {
			pairs = append(pairs, textNode("select"), v)
		}
		one(pairs...)
		word("strip")
		one(textNode("default"), quotedNode(fallback))
	case "remove_whitespace":
		word("strip")
	case "lowercase":
		word("lower")
	case "uppercase":
		word("upper")
	case "map":
		m := &yaml.Node{Kind: yaml.MappingNode}
		if v := take("mapping_dict"); v != nil && v.Kind == yaml.MappingNode {
			for i := 0; i+1 < len(v.Content); i += 2 {
				m.Content = append(m.Content, quotedNode(v.Content[i].Value), quotedNode(v.Content[i+1].Value))
			}
		}
		if len(m.Content) == 0 {
			t.complainAt("filter_list", n, "write mapping_dict: {found: replacement}", "the filter map has no mapping_dict")
			break
		}
		one(textNode("map"), m)
		if v := take("default_value"); v != nil && isSet(v) {
			one(textNode("default"), quotedNode(v.Value))
		}
	case "take_first":
		p.ended = true
	case "take_first_k":
		k, err := 0, error(nil)
		if v := take("k"); v != nil {
			k, err = strconv.Atoi(v.Value)
		}
		if err != nil || k < 1 || p.majority {
			t.complainAt("filter_list", n, "write k: N before majority_vote", "the filter take_first_k has no whole number k")
		}
		p.first = k
	case "majority_vote":
		if p.majority = true; p.ended {
			t.complainAt("filter_list", n, "", "majority_vote after take_first votes on nothing")
		}
	case "":
		if len(n.Content) == 0 || n.Kind != yaml.MappingNode {
			t.complainAt("filter_list", n, "write {function: NAME}", "a filter names no function")
		}
		return // a Python function has been refused
	default:
		t.complainAt("filter_list", n, "known: regex, remove_whitespace, lowercase, uppercase, map, take_first, take_first_k, majority_vote", "the filter %s cannot be taken over", function)
		return
	}
	if p.majority && function != "majority_vote" && function != "take_first" {
		t.complainAt("filter_list", n, "put it before majority_vote", "the filter %s after majority_vote", function)
	}
	for name, v := range args {
		t.complainAt("filter_list", v, "", "the filter %s has no argument %s here", function, name)
	}
}

// fewshot writes how worked examples are chosen.
func (t *lmTask) fewshot() {
	f := &yaml.Node{Kind: yaml.MappingNode}
	n, _ := t.integer("num_fewshot")
	t.shots = n
	t.add(f, "count", numberNode(n))
	sampler := "default"
	separator, given := t.text("fewshot_delimiter")
	type pair struct {
		key   string
		value *yaml.Node
	}
	var rest []pair
	rows, split := false, false
	if c := t.node("fewshot_config"); c != nil && c.Kind == yaml.MappingNode {
		for i := 0; i+1 < len(c.Content); i += 2 {
			key, value := c.Content[i], c.Content[i+1]
			if !isSet(value) || isFunction(value) {
				continue // a function has been refused
			}
			switch key.Value {
			case "sampler":
				sampler = value.Value
			case "split":
				split = true
				rest = append(rest, pair{"split", textNode(value.Value)})
			case "fewshot_indices":
				rest = append(rest, pair{"indices", value})
			case "samples":
				rows = true
				rest = append(rest, pair{"rows", value})
			case "doc_to_text":
				rest = append(rest, pair{"prompt", quotedNode(value.Value)})
			case "doc_to_target":
				rest = append(rest, pair{"target", quotedNode(value.Value)})
			case "doc_to_choice":
				rest = append(rest, pair{"choices", t.choices("fewshot_config", value)})
			case "target_delimiter":
				rest = append(rest, pair{"target_delimiter", quotedNode(value.Value)})
			case "fewshot_delimiter":
				separator, given = value.Value, true
			default:
				t.complainAt("fewshot_config", key, "known: sampler, split, samples, fewshot_indices, doc_to_text, doc_to_target, doc_to_choice, target_delimiter, fewshot_delimiter", "fewshot_config.%s has no meaning here", key.Value)
			}
		}
	}
	if t.kind == "loglikelihood" && !slices.ContainsFunc(rest, func(p pair) bool { return p.key == "target_delimiter" }) {
		rest = append(rest, pair{"target_delimiter", quotedNode(t.delimiter())})
	}
	if rows && split { // there, a split goes before samples
		rest = slices.DeleteFunc(rest, func(p pair) bool { return p.key == "rows" })
	}
	switch sampler {
	case "first_n":
		t.add(f, "sampler", textNode("first"))
	case "default":
		t.add(f, "sampler", textNode("python"))
		t.add(f, "seed", numberNode(lmFewshotSeed))
	default:
		t.complain("fewshot_config", "known: default, first_n", "the sampler %s cannot be taken over", sampler)
	}
	if given && separator == "" && n > 0 {
		t.complain("fewshot_delimiter", "", "an empty delimiter of worked examples cannot be taken over")
	} else if given && separator != "" {
		t.add(f, "separator", quotedNode(separator))
	}
	for _, p := range rest {
		t.add(f, p.key, p.value)
	}
	t.add(t.top, "fewshot", f)
}

// lmMetrics are the metrics of each output type, under their names here, and
// those that a task has without a metric_list.
var lmMetrics = map[string]struct {
	names    map[string]string
	defaults []string
}{
	"multiple_choice":       {map[string]string{"acc": "acc", "acc_norm": "acc_norm", "acc_bytes": "acc_bytes", "acc_mutual_info": "acc_mutual_info", "brier_score": "brier_score", "exact_match": "greedy_match"}, []string{"acc", "acc_norm"}},
	"loglikelihood":         {map[string]string{"perplexity": "perplexity", "acc": "greedy_match"}, []string{"perplexity", "acc"}},
	"loglikelihood_rolling": {map[string]string{"word_perplexity": "word_perplexity", "byte_perplexity": "byte_perplexity", "bits_per_byte": "bits_per_byte"}, []string{"word_perplexity", "byte_perplexity", "bits_per_byte"}},
	"generate_until":        {map[string]string{"exact_match": "exact_match", "bleu": "bleu", "chrf": "chrf"}, []string{"exact_match"}},
}

// lmAggregations are what sums a metric up, there and here, where it is not the
// mean.
var lmAggregations = map[string]string{"perplexity": "perplexity", "word_perplexity": "weighted_perplexity", "byte_perplexity": "weighted_perplexity",
	"bits_per_byte": "bits_per_byte", "brier_score": "brier_score", "bleu": "bleu", "chrf": "chrf"}

// metrics writes metric_list.
func (t *lmTask) metrics() {
	out := &yaml.Node{Kind: yaml.SequenceNode}
	known := lmMetrics[t.kind]
	one := func(name string, params []*yaml.Node) {
		here := known.names[name]
		if here == "exact_match" {
			params = append(params, textNode("strip"), &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!bool", Value: "false"})
		}
		base := append([]*yaml.Node{textNode("name"), textNode(here)}, params...)
		repeats, _ := t.integer("repeats")
		write := func(more ...*yaml.Node) {
			out.Content = append(out.Content, &yaml.Node{Kind: yaml.MappingNode, Style: yaml.FlowStyle, Content: append(slices.Clone(base), more...)})
		}
		switch names := t.pipelines(); {
		case repeats <= 1:
			write()
		case len(names) == 0:
			write(textNode("reduce"), textNode("first"))
		default:
			for _, p := range names {
				write(textNode("extract"), textNode(p), textNode("reduce"), textNode(t.reduce[p]))
			}
		}
	}
	n := t.node("metric_list")
	if n == nil {
		t.note("no metric_list: %s, as lm-evaluation-harness has it", strings.Join(known.defaults, ", "))
		for _, name := range known.defaults {
			one(name, nil)
		}
	} else {
		for _, item := range n.Content {
			t.metric(item, one)
		}
	}
	t.add(t.top, "metrics", out)
}

// pipelines lists the named extractions in the order of the file.
func (t *lmTask) pipelines() (names []string) {
	for i := 0; i+1 < len(t.top.Content); i += 2 {
		if t.top.Content[i].Value == "extract" {
			for j := 0; j+1 < len(t.top.Content[i+1].Content); j += 2 {
				names = append(names, t.top.Content[i+1].Content[j].Value)
			}
		}
	}
	return names
}

func (t *lmTask) metric(item *yaml.Node, one func(string, []*yaml.Node)) {
	known := lmMetrics[t.kind].names
	name := ""
	var params []*yaml.Node
	var aggregation *yaml.Node
	for i := 0; i+1 < len(item.Content); i += 2 {
		key, value := item.Content[i], item.Content[i+1]
		switch key.Value {
		case "metric":
			if isFunction(value) {
				return // has been refused
			}
			name = value.Value
		case "aggregation":
			aggregation = value
		case "higher_is_better", "hf_evaluate":
		default:
			params = append(params, key, value)
		}
	}
	names := make([]string, 0, len(known))
	for k := range known {
		names = append(names, k)
	}
	slices.Sort(names)
	if known[name] == "" {
		t.complainAt("metric_list", item, fmt.Sprintf("known for %s: %s", t.kind, strings.Join(names, ", ")), "the metric %q of a task of the kind %s cannot be taken over", name, t.kind)
		return
	}
	if want := lmAggregations[name]; aggregation != nil && aggregation.Value != "mean" && aggregation.Value != want || aggregation != nil && want != "" && aggregation.Value != want {
		if want == "" {
			want = "mean"
		}
		t.complainAt("metric_list", aggregation, "known: "+want, "the aggregation %s of %s cannot be taken over", aggregation.Value, name)
		return
	}
	one(name, params)
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
