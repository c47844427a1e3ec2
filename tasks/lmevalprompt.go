package tasks

import (
	"slices"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/evalrun/evalrun/core"
)

// lmFewshotSeed is the seed of worked examples that lm-evaluation-harness has.
const lmFewshotSeed = 1234

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
