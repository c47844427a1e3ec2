package tasks

import (
	"fmt"
	"math"
	"slices"
	"sort"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/evalrun/evalrun/core"
	"github.com/evalrun/evalrun/internal/nearest"
)

// decoder walks the nodes of one file and gathers complaints.
type decoder struct {
	file     string
	source   []byte
	problems Problems
	warnings Problems
	// steps are the extraction steps that were taken, with their places.
	steps []stepPlace
	// visited counts nodes, so that aliases of aliases cannot multiply.
	visited int
	// places remembers where keys stand: "prompt", "generation.stop" …
	places map[string]*yaml.Node
	// table, when set, is shown every table of keys that is used; tests hold
	// schema and documentation against them.
	table func(path string, fields []field)
}

const maxNodes = 100_000

// A stepPlace is an extraction step and the path at which it stands.
type stepPlace struct {
	path string
	step core.Step
}

// A field is one key of a mapping: what reads its value, and what it is.
type field struct {
	name     string
	read     func(n *yaml.Node)
	required bool
}

// deref follows aliases; a file that abuses them is refused by maxNodes.
func (d *decoder) deref(n *yaml.Node) *yaml.Node {
	for depth := 0; n != nil && n.Kind == yaml.AliasNode && depth < 32; depth++ {
		n = n.Alias
	}
	d.visited++
	return n
}

// mapping reads the keys of n by the table of fields. Unknown and double keys
// are complaints that name the nearest key.
func (d *decoder) mapping(path string, n *yaml.Node, fields []field) {
	n = d.deref(n)
	if d.visited > maxNodes {
		return
	}
	if d.table != nil {
		d.table(path, fields)
	}
	if n.Kind != yaml.MappingNode {
		d.complain(n, "write key: value lines under it", "%s must be a mapping, not %s", pathName(path), kindName(n))
		return
	}
	seen := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		f := findField(fields, key.Value)
		switch {
		case key.Value == "<<" && key.ShortTag() == "!!merge":
			d.complain(key, "write the keys out", "%s merges in other keys", pathName(path))
		case f == nil:
			d.complain(key, d.unknownHint(key.Value, fields), "unknown key %q in %s", key.Value, pathName(path))
		case seen[key.Value]:
			d.complain(key, "keep one of them", "key %q stands twice in %s", key.Value, pathName(path))
		default:
			seen[key.Value] = true
			d.places[join(path, key.Value)] = d.deref(value)
			f.read(value)
		}
	}
	for _, f := range fields {
		if f.required && !seen[f.name] {
			d.complain(n, fmt.Sprintf("add %s:", f.name), "%s lacks the key %q", pathName(path), f.name)
		}
	}
}

func findField(fields []field, name string) *field {
	for i := range fields {
		if fields[i].name == name {
			return &fields[i]
		}
	}
	return nil
}

func (d *decoder) unknownHint(key string, fields []field) string {
	names := make([]string, len(fields))
	for i, f := range fields {
		names[i] = f.name
	}
	if near := nearest.Word(key, names); near != "" {
		return fmt.Sprintf("did you mean %q?", near)
	}
	sort.Strings(names)
	return "known keys: " + strings.Join(names, ", ")
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

func pathName(path string) string {
	if path == "" {
		return "the task"
	}
	return path
}

func kindName(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a mapping"
	case yaml.SequenceNode:
		return "a list"
	case yaml.ScalarNode:
		switch n.ShortTag() {
		case "!!str":
			return "text"
		case "!!int", "!!float":
			return "the number " + shorten(n.Value)
		case "!!bool":
			return "the truth value " + shorten(n.Value)
		case "!!null":
			return "nothing"
		}
		return "a " + strings.TrimLeft(n.ShortTag(), "!")
	}
	return "nothing"
}

// shorten keeps a value of the file within a line.
func shorten(s string) string {
	if r := []rune(s); len(r) > 40 {
		return string(r[:40]) + "…"
	}
	return s
}

// text reads a scalar that must be text.
func (d *decoder) text(path string, dst *string) func(*yaml.Node) {
	return func(n *yaml.Node) {
		n = d.deref(n)
		if n.Kind != yaml.ScalarNode || n.ShortTag() == "!!null" || strings.HasPrefix(n.Tag, "!") && !strings.HasPrefix(n.Tag, "!!") {
			d.complain(n, "", "%s must be text, not %s", path, kindName(n))
			return
		}
		if n.ShortTag() != "!!str" {
			d.complain(n, fmt.Sprintf("put it in quotes: %q", n.Value), "%s must be text, not %s", path, kindName(n))
			return
		}
		*dst = n.Value
	}
}

// label reads a scalar of any simple type as the text it is written as: labels
// and map values are often numbers.
func (d *decoder) label(path string, n *yaml.Node) (string, bool) {
	n = d.deref(n)
	if n.Kind != yaml.ScalarNode || n.ShortTag() == "!!null" {
		d.complain(n, "", "%s must be text, not %s", path, kindName(n))
		return "", false
	}
	return n.Value, true
}

func (d *decoder) number(path string, dst *float64, low, high float64) func(*yaml.Node) {
	return func(n *yaml.Node) {
		n = d.deref(n)
		v, err := strconv.ParseFloat(n.Value, 64)
		if n.Kind != yaml.ScalarNode || (n.ShortTag() != "!!int" && n.ShortTag() != "!!float") || err != nil || math.IsNaN(v) || math.IsInf(v, 0) {
			d.complain(n, "", "%s must be a finite number, not %s", path, kindName(n))
			return
		}
		if v < low || v > high {
			d.complain(n, "", "%s is %v, and must be from %v to %v", path, v, low, high)
			return
		}
		*dst = v
	}
}

func (d *decoder) integer(path string, dst *int, low, high int) func(*yaml.Node) {
	return func(n *yaml.Node) {
		n = d.deref(n)
		v, err := strconv.Atoi(strings.ReplaceAll(n.Value, "_", ""))
		if n.Kind != yaml.ScalarNode || n.ShortTag() != "!!int" || err != nil {
			d.complain(n, "", "%s must be a whole number, not %s", path, kindName(n))
			return
		}
		if v < low || v > high {
			d.complain(n, "", "%s is %d, and must be from %d to %d", path, v, low, high)
			return
		}
		*dst = v
	}
}

func (d *decoder) seed(path string, dst *uint64) func(*yaml.Node) {
	return func(n *yaml.Node) {
		n = d.deref(n)
		v, err := strconv.ParseUint(n.Value, 10, 64)
		if n.Kind != yaml.ScalarNode || err != nil {
			d.complain(n, "", "%s must be a whole number from 0 up, not %s", path, kindName(n))
			return
		}
		*dst = v
	}
}

// texts reads a list of simple values, or one value alone.
func (d *decoder) texts(path string, dst *[]string) func(*yaml.Node) {
	return func(n *yaml.Node) {
		n = d.deref(n)
		items := []*yaml.Node{n}
		if n.Kind == yaml.SequenceNode {
			items = n.Content
		} else if n.Kind != yaml.ScalarNode || n.ShortTag() == "!!null" {
			d.complain(n, "write a list: [a, b]", "%s must be a list of texts, not %s", path, kindName(n))
			return
		}
		out := make([]string, 0, len(items))
		for _, it := range items {
			s, ok := d.label(path, it)
			if !ok {
				return
			}
			if path == "labels" && slices.Contains(out, s) {
				d.complain(it, "list each label once", "the label %q stands twice", s)
				return
			}
			out = append(out, s)
		}
		*dst = out
	}
}

// flag takes true or false.
func (d *decoder) flag(path string, dst *bool) func(*yaml.Node) {
	return func(n *yaml.Node) {
		d.places[path] = n
		if n.Tag != "!!bool" || n.Decode(dst) != nil {
			d.complain(n, "", "%s must be true or false, not %s", path, kindName(n))
		}
	}
}

func (d *decoder) oneOf(path string, dst *string, options ...string) func(*yaml.Node) {
	return func(n *yaml.Node) {
		before := len(d.problems)
		d.text(path, dst)(n)
		if len(d.problems) > before {
			return
		}
		for _, o := range options {
			if *dst == o {
				return
			}
		}
		hint := "one of: " + strings.Join(options, ", ")
		if near := nearest.Word(*dst, options); near != "" {
			hint = fmt.Sprintf("did you mean %q?", near)
		}
		d.complain(d.deref(n), hint, "%s is %q", path, *dst)
	}
}
