// Package jinja renders Jinja templates with the answers of Python's Jinja2
// 3.1.6: chat templates as transformers renders them, prompts as
// lm-evaluation-harness does.
//
// The language is whole but for automatic escaping and the filters urlize,
// pprint and random; there is no loader for extends, include and import. Values are Python's: integers of any size, floats that print by
// repr, strings of code points, dicts that keep their order, their methods and
// the words of their errors.
//
// A template is a program from a stranger's file. It reaches nothing but the
// values it is given, and Limits bound its steps, its nesting and the bytes it
// may build; beyond them rendering ends in an error of type LimitError.
package jinja

import (
	"fmt"
	"strings"
	"time"

	"github.com/evalrun/evalrun/core/text"
)

// Undefined chooses what becomes of a name or attribute that does not exist.
type Undefined int

const (
	// Lenient prints as nothing, is false and empty; anything else is an error.
	Lenient Undefined = iota
	// Strict allows nothing but the tests "defined" and "undefined" and the
	// filter "default".
	Strict
	// Chainable is Lenient, and an attribute of it is undefined again.
	Chainable
	// Debug is Lenient, and prints as the expression that was not found.
	Debug
)

// Options are the settings of an environment. The zero value is Jinja2's own
// default environment.
type Options struct {
	TrimBlocks          bool // drop the first line end after a block
	LstripBlocks        bool // drop blanks before a block that begins its line
	KeepTrailingNewline bool
	LoopControls        bool // the tags break and continue
	Undefined           Undefined
	// Immutable forbids methods that change a list or a dict, as Jinja's
	// ImmutableSandboxedEnvironment does.
	Immutable bool
	// Transformers adds what transformers adds for chat templates: its tojson,
	// raise_exception, strftime_now and the tag generation.
	Transformers bool
	// Filters are further filters by name.
	Filters map[string]Filter
	// Now is the clock of strftime_now; time.Now where nil.
	Now    func() time.Time
	Limits Limits
}

// Filter is a filter written in Go: the filtered value, then the arguments.
// Strings, numbers, bools, nil, []any and text.Dict come in and may go out. Its
// error becomes a ValueError of the template.
type Filter func(value any, args []any) (any, error)

// Limits bound one rendering. A zero field takes the default.
type Limits struct {
	Steps int // evaluated nodes, items and 64-byte pieces of built text; default 4 million
	Bytes int // of the output, and of any one string; default 32 MiB
	Depth int // nested calls of macros and recursive loops; default 200
}

// Chat is the environment of transformers' chat templates.
func Chat() Options {
	return Options{TrimBlocks: true, LstripBlocks: true, LoopControls: true, Immutable: true, Transformers: true}
}

// Error is what Jinja would have raised. Type is the name of the Python
// exception (TemplateSyntaxError, UndefinedError, TypeError, …; TemplateError
// for raise_exception), or LimitError where a limit was reached, or
// Unsupported.
type Error struct {
	Type    string
	Message string
	Line    int // of the template, from 1; 0 where not known
}

// Error is the type and the words, after the line where it is known.
func (e *Error) Error() string {
	if e.Line == 0 {
		return e.Type + ": " + e.Message
	}
	return fmt.Sprintf("line %d: %s: %s", e.Line, e.Type, e.Message)
}

// raise ends parsing or rendering with a Python exception. Parse and Render
// turn it into their error.
func raise(kind, format string, args ...any) {
	message := format
	if len(args) > 0 {
		message = fmt.Sprintf(format, args...)
	}
	panic(&Error{Type: kind, Message: message})
}

func raiseSyntax(line int, format string, args ...any) {
	panic(&Error{Type: "TemplateSyntaxError", Message: fmt.Sprintf(format, args...), Line: line})
}

// catch turns a raised *Error into an error. A mistake of the interpreter's own
// becomes one of type Bug: a stranger's template must not end the program.
func catch(err *error, line func() int) {
	switch p := recover().(type) {
	case nil:
	case *Error:
		if p.Line == 0 {
			p.Line = line()
		}
		*err = p
	default:
		*err = &Error{Type: "Bug", Message: fmt.Sprint(p), Line: line()}
	}
}

// Template is a parsed template. It is safe for concurrent use.
type Template struct {
	opts   Options
	body   []stmt
	blocks map[string]*blockStmt
	hidden []string
}

// Parse reads a template. Its error is an *Error of type TemplateSyntaxError,
// TemplateAssertionError (an unknown filter or test) or Unsupported.
func Parse(source string, opts Options) (t *Template, err error) {
	const (
		steps = 4_000_000
		bytes = 32 << 20
		depth = 200
	)
	l := &opts.Limits
	if l.Steps == 0 {
		l.Steps = steps
	}
	if l.Bytes == 0 {
		l.Bytes = bytes
	}
	if l.Depth == 0 {
		l.Depth = depth
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	t = &Template{opts: opts, blocks: map[string]*blockStmt{}}
	defer catch(&err, func() int { return 0 })
	p := &parser{t: t, tokens: lex(source, &t.opts)}
	t.body = p.template()
	t.hidden = (*symbols)(nil).scope(t.body, nil)
	return t, nil
}

// Render renders the template. Values may be nil, bool, any integer, float,
// string, json.Number, *big.Int, []any, []string, map[string]any (its keys
// sorted) and text.Dict (its order kept). An error is an *Error.
func (t *Template) Render(vars map[string]any) (out string, err error) {
	r := &state{t: t, globals: t.globals(), line: 1}
	defer catch(&err, func() int { return r.line })
	root := &scope{}
	for name, v := range vars {
		root.set(name, r.fromGo(v, 0))
	}
	// The template's own assignments stand in a scope above the given values.
	r.top = newScope(root, t.hidden)
	var b strings.Builder
	r.exec(t.body, r.top, &b)
	return b.String(), nil
}

// RenderDict is Render with the variables in a text.Dict, whose keys are
// strings.
func (t *Template) RenderDict(vars text.Dict) (string, error) {
	m := make(map[string]any, len(vars))
	for _, p := range vars {
		name, ok := p.Key.(string)
		if !ok {
			return "", &Error{Type: "TypeError", Message: "keywords must be strings"}
		}
		m[name] = p.Value
	}
	return t.Render(m)
}
