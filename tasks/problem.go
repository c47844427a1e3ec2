package tasks

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"
)

// A Problem is one complaint about a task file.
type Problem struct {
	File         string
	Line, Column int // 0 when there is no place in the file
	Message      string
	Hint         string
}

// Where is file:line:column, as far as it is known.
func (p Problem) Where() string {
	switch {
	case p.Line == 0:
		return p.File
	case p.Column == 0:
		return fmt.Sprintf("%s:%d", p.File, p.Line)
	}
	return fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Column)
}

// String is the complaint in one line, and its hint in a second.
func (p Problem) String() string {
	s := p.Where() + ": " + p.Message
	if p.Hint != "" {
		s += "\n  " + p.Hint
	}
	return s
}

// Problems are all complaints of a file, in file order. It is the error of
// [Load].
type Problems []Problem

// Sort brings complaints into the order of the file; those without a place, or
// about an override, come first.
func (ps Problems) Sort() {
	slices.SortStableFunc(ps, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
}

// Error lists them, one after the other.
func (ps Problems) Error() string {
	lines := make([]string, len(ps))
	for i, p := range ps {
		lines[i] = p.String()
	}
	return strings.Join(lines, "\n")
}

// setLine is the line of a node that came from --set.
const setLine = -1

func (d *decoder) complain(n *yaml.Node, hint, format string, args ...any) {
	d.problems = append(d.problems, d.problem(n, -1, hint, format, args...))
}

// warn is a complaint that does not keep the task from running.
func (d *decoder) warn(n *yaml.Node, hint, format string, args ...any) {
	d.warnings = append(d.warnings, d.problem(n, -1, hint, format, args...))
}

// problem makes a complaint about a node, or about a byte of its text where
// offset is not negative.
func (d *decoder) problem(n *yaml.Node, offset int, hint, format string, args ...any) Problem {
	p := Problem{File: d.file, Message: fmt.Sprintf(format, args...), Hint: hint}
	switch {
	case n == nil:
	case n.Line == setLine:
		p.File = "--set"
	case offset >= 0:
		p.Line, p.Column = textPlace(n, d.source, offset)
	default:
		p.Line, p.Column = n.Line, n.Column
	}
	return p
}

// Problem makes a complaint about a key that turned up later, when rows were
// read. offset is a byte in the text that stands there, or −1 for its start.
func (f *File) Problem(key string, offset int, message, hint string) Problem {
	p := Problem{File: f.name, Message: message, Hint: hint}
	n := f.places[key]
	switch {
	case n == nil:
	case n.Line == setLine:
		p.File = "--set " + key
	case offset >= 0 && n.Kind == yaml.ScalarNode:
		p.Line, p.Column = textPlace(n, f.Task.Source, offset)
	default:
		p.Line, p.Column = n.Line, n.Column
	}
	return p
}
