package tasks

import (
	"fmt"
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

// Error lists them, one after the other.
func (ps Problems) Error() string {
	lines := make([]string, len(ps))
	for i, p := range ps {
		lines[i] = p.String()
	}
	return strings.Join(lines, "\n")
}

// setFile stands for a place that came from --set.
const setLine = -1

func (d *decoder) complain(n *yaml.Node, hint, format string, args ...any) {
	p := Problem{File: d.file, Message: fmt.Sprintf(format, args...), Hint: hint}
	if n != nil {
		if n.Line == setLine {
			p.File = "--set"
		} else {
			p.Line, p.Column = n.Line, n.Column
		}
	}
	d.problems = append(d.problems, p)
}

// Problem makes a complaint about a key that turned up later, when rows were
// read. offset is a byte in the prompt's text, or −1 for the key itself.
func (f *File) Problem(key string, offset int, message, hint string) Problem {
	p := Problem{File: f.name, Message: message, Hint: hint}
	n := f.places[key]
	switch {
	case n == nil:
	case n.Line == setLine:
		p.File = "--set " + key
	case offset >= 0 && key == "prompt":
		p.Line, p.Column = promptPlace(n, f.Task.Source, offset)
	default:
		p.Line, p.Column = n.Line, n.Column
	}
	return p
}
