package prompt

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/evalrun/evalrun/core"
	"github.com/evalrun/evalrun/core/extract"
	"github.com/evalrun/evalrun/core/text"
	"github.com/evalrun/evalrun/internal/jinja"
)

// A Filler makes prompts, targets and choices of a task's rows. It is immutable
// and safe for use by several goroutines.
//
// Where the task's templates are Jinja's, prompt, target and choices follow
// lm-evaluation-harness: a text that is the name of a column of the row takes
// its value, and any other is rendered, with undefined names an error and the
// last line end kept. A target of digits is a place among the choices, and one
// in brackets a list, where it can be read as one.
type Filler struct {
	jinja    bool
	task     *core.Task
	prompt   filled
	preamble filled
	choices  []filled // Choices.List, or Choices.From alone
	target   filled
}

// filled is one template of a task.
type filled struct {
	source string
	format *Template       // str.format, or
	jinja  *jinja.Template // Jinja, or neither: the name of a column
}

// A TemplateError says which key of a task holds a template that is wrong.
type TemplateError struct {
	Key string // prompt, preamble, target, choices
	Err error  // *SyntaxError or *jinja.Error
}

// Error names the key.
func (e *TemplateError) Error() string { return e.Key + ": " + e.Err.Error() }

// Unwrap gives the cause.
func (e *TemplateError) Unwrap() error { return e.Err }

// environment is that of lm-evaluation-harness.
func environment() jinja.Options {
	return jinja.Options{Undefined: jinja.Strict, KeepTrailingNewline: true, Filters: map[string]jinja.Filter{"regex_replace": regexReplace}}
}

// Compile reads a task's templates. The error is a *TemplateError.
func Compile(t *core.Task) (*Filler, error) {
	f := &Filler{jinja: t.Template == core.TemplateJinja, task: t}
	read := func(key, source string) (filled, error) {
		out := filled{source: source}
		var err error
		if f.jinja {
			out.jinja, err = jinja.Parse(source, environment())
		} else {
			out.format, err = Parse(source)
		}
		if err != nil {
			return out, &TemplateError{key, err}
		}
		return out, nil
	}
	var err error
	if f.prompt, err = read("prompt", t.Prompt); err != nil {
		return nil, err
	}
	if f.preamble, err = read("preamble", t.Preamble); err != nil {
		return nil, err
	}
	f.target = filled{source: t.Target}
	if f.jinja {
		if f.target, err = read("target", t.Target); err != nil {
			return nil, err
		}
	}
	switch {
	case t.Choices.List != nil:
		for _, c := range t.Choices.List {
			one := filled{source: c}
			if !f.jinja { // in lm-evaluation-harness a list is taken as it stands
				if one, err = read("choices", c); err != nil {
					return nil, err
				}
			}
			f.choices = append(f.choices, one)
		}
	case t.Choices.From != "":
		one := filled{source: t.Choices.From}
		if f.jinja {
			if one, err = read("choices", t.Choices.From); err != nil {
				return nil, err
			}
		}
		f.choices = []filled{one}
	}
	return f, nil
}

// A Filling is what a row's templates give.
type Filling struct {
	Preamble, Prompt string
	Targets          []string
	Choices          []string
	// Gold are the targets' places among the choices, -1 for one that is none.
	Gold []int
}

// value gives what a template makes of a row: text, or a column's own value.
func (f filled) value(fields map[string]any) (any, error) {
	if f.format != nil {
		return f.format.Render(fields)
	}
	if v, ok := fields[f.source]; ok {
		return v, nil
	}
	if f.jinja == nil {
		return nil, &MissingError{Column: f.source}
	}
	s, err := f.jinja.Render(fields)
	if err != nil {
		return nil, err
	}
	if !utf8.ValidString(s) {
		s = strings.ToValidUTF8(s, "\uFFFD")
	}
	return s, nil
}

// Fill fills a row in.
func (f *Filler) Fill(fields map[string]any) (*Filling, error) {
	out := &Filling{}
	v, err := f.preamble.value(fields)
	if err != nil {
		return nil, &TemplateError{"preamble", err}
	}
	out.Preamble = text.Str(v)
	if v, err = f.prompt.value(fields); err != nil {
		return nil, &TemplateError{"prompt", err}
	}
	if s, ok := v.(string); ok {
		out.Prompt = s
	} else {
		return nil, &TemplateError{"prompt", fmt.Errorf("the column %q holds %s, and a prompt is text: a task that chooses among several prompts cannot be asked", f.prompt.source, text.Repr(v))}
	}
	if f.choices != nil {
		if out.Choices, err = f.choicesOf(fields); err != nil {
			return nil, &TemplateError{"choices", err}
		}
	}
	if v, err = f.target.value(fields); err != nil {
		return nil, &TemplateError{"target", err}
	}
	_, column := fields[f.target.source]
	f.setTarget(out, v, f.jinja && !column)
	return out, nil
}

func (f *Filler) choicesOf(fields map[string]any) ([]string, error) {
	if f.task.Choices.From == "" {
		choices := make([]string, len(f.choices))
		for i, c := range f.choices {
			choices[i] = c.source
			if c.format != nil {
				s, err := c.format.Render(fields)
				if err != nil {
					return nil, err
				}
				choices[i] = s
			}
		}
		return choices, nil
	}
	v, err := f.choices[0].value(fields)
	if err != nil {
		return nil, err
	}
	if s, ok := v.(string); ok {
		list, ok := text.ParseLiteral(s)
		if !ok {
			return nil, fmt.Errorf("%.80q is no list", s)
		}
		v = list
	}
	list, ok := v.([]any)
	if !ok || len(list) == 0 {
		return nil, fmt.Errorf("%.80s is no list of choices", text.Repr(v))
	}
	choices := make([]string, len(list))
	for i, c := range list {
		choices[i] = text.Str(c)
	}
	return choices, nil
}

// setTarget reads the value of a target, which was rendered or is a column's.
func (f *Filler) setTarget(out *Filling, v any, rendered bool) {
	if s, isText := v.(string); isText && rendered {
		switch {
		case f.choices != nil && isDigits(s):
			if n, err := strconv.ParseInt(s, 10, 64); err == nil {
				v = n
			}
		case len(s) >= 2 && s[0] == '[' && s[len(s)-1] == ']':
			if list, ok := text.ParseLiteral(s); ok {
				v = list
			}
		}
	}
	list, several := v.([]any)
	if !several {
		list = []any{v}
	}
	for _, one := range list {
		if out.Choices == nil {
			out.Targets = append(out.Targets, text.Str(one))
			continue
		}
		at := placeOf(one, out.Choices, !f.jinja)
		if at < 0 {
			out.Targets = append(out.Targets, text.Str(one))
		} else {
			out.Targets = append(out.Targets, out.Choices[at])
		}
		out.Gold = append(out.Gold, at)
	}
}

// placeOf finds a target among choices: a whole number is a place, a text one
// of the choices or, where digits says so, a place in digits.
func placeOf(v any, choices []string, digits bool) int {
	n := int64(-1)
	switch v := v.(type) {
	case bool:
		if n = 0; v {
			n = 1
		}
	case int:
		n = int64(v)
	case int64:
		n = v
	case string:
		if at := slices.Index(choices, v); at >= 0 {
			return at
		}
		if digits && isDigits(v) {
			n, _ = strconv.ParseInt(v, 10, 64)
		}
	}
	if n < 0 || n >= int64(len(choices)) {
		return -1
	}
	return int(n)
}

func isDigits(s string) bool {
	for _, c := range []byte(s) {
		if c < '0' || c > '9' {
			return false
		}
	}
	return s != "" && len(s) < 18
}

var undefinedName = regexp.MustCompile(`^'(.+)' is undefined$`)

// UndefinedName gives the name that a Jinja template takes and a row lacks.
func UndefinedName(err error) (string, bool) {
	var je *jinja.Error
	if !errors.As(err, &je) || je.Type != "UndefinedError" {
		return "", false
	}
	m := undefinedName.FindStringSubmatch(je.Message)
	if m == nil {
		return "", false
	}
	return m[1], true
}

// Delimiter joins an answer to its prompt.
func Delimiter(t *core.Task) string {
	if t.TargetDelimiter == nil {
		return " "
	}
	return *t.TargetDelimiter
}

// regexReplace is the filter regex_replace(pattern, repl, count=0) of
// lm-evaluation-harness: re.sub over the value.
func regexReplace(value any, args []any) (any, error) {
	s, ok := value.(string)
	if !ok || len(args) < 2 || len(args) > 3 {
		return nil, fmt.Errorf("regex_replace takes a text, a pattern and a replacement")
	}
	pattern, ok1 := args[0].(string)
	repl, ok2 := args[1].(string)
	count := 0
	if len(args) == 3 {
		n, ok := args[2].(int)
		if !ok {
			return nil, fmt.Errorf("the count of regex_replace is no whole number")
		}
		count = n
	}
	if !ok1 || !ok2 {
		return nil, fmt.Errorf("pattern and replacement of regex_replace are texts")
	}
	p, err := extract.Compile(pattern, "", 0)
	if err != nil {
		return nil, err
	}
	return p.Replace(s, repl, count)
}
