package tasks

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"
)

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
