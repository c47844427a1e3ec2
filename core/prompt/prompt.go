// Package prompt turns a row into what a model is sent.
//
// A template is one of Python's str.format: {column} takes the column's value,
// written as str() does, {{ and }} are literal braces, and {column[0]},
// {column!r} and {column:.2f} do what they do there. Substitution is one pass: a
// value is data, whatever braces or signs it holds.
package prompt

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/evalrun/evalrun/core"
	"github.com/evalrun/evalrun/core/text"
)

// A Template is a parsed prompt template. It is immutable and safe for use by
// several goroutines.
type Template struct{ format *text.FormatString }

// A SyntaxError says where in the template's text something is wrong.
type SyntaxError struct {
	Offset  int // bytes from the start of the template
	Message string
	Hint    string
}

// Error gives the message.
func (e *SyntaxError) Error() string { return e.Message }

// Parse reads a template. Errors are *SyntaxError.
func Parse(s string) (*Template, error) {
	f, err := text.ParseColumns(s)
	if err != nil {
		at := -1
		if e, ok := err.(*text.FormatError); ok {
			at = e.Offset
		}
		if at >= 0 && at < len(s) && s[at] == '}' {
			return nil, &SyntaxError{at, "single } in the template", "write }} for a literal brace"}
		}
		message := err.Error()
		if strings.HasPrefix(message, "expected '}'") || strings.HasPrefix(message, "Single '{'") {
			message = "{ without its }"
		}
		return nil, &SyntaxError{at, message, "write {{ for a literal brace"}
	}
	for _, field := range f.Fields() {
		if err := checkName(field.Name, field.Offset); err != nil {
			return nil, err
		}
	}
	return &Template{f}, nil
}

func checkName(name string, at int) error {
	switch {
	case strings.TrimSpace(name) == "":
		return &SyntaxError{at, "{} names no column", "name a column: {column}, or write {{}} for literal braces"}
	case strings.ContainsAny(name, "\n\"'"):
		return &SyntaxError{at, fmt.Sprintf("{%s} is no column", name), "write {{ and }} for literal braces"}
	case strings.TrimSpace(name) != name:
		return &SyntaxError{at, fmt.Sprintf("{%s} has spaces around the name", name), fmt.Sprintf("write {%s}", strings.TrimSpace(name))}
	}
	return nil
}

// A Ref is a column that a template takes, and where it first does.
type Ref struct {
	Name   string
	Offset int
}

// Columns lists the columns that the template takes, each once, in order.
func (t *Template) Columns() []Ref {
	var refs []Ref
	seen := map[string]bool{}
	for _, f := range t.format.Fields() {
		if !seen[f.Name] {
			seen[f.Name] = true
			refs = append(refs, Ref{f.Name, f.Offset})
		}
	}
	return refs
}

// Render fills the template. A column that is absent is an error that names
// it (a *MissingError); a format that does not fit its value is a
// *text.FormatError. Bytes that are no UTF-8 become U+FFFD.
func (t *Template) Render(fields map[string]any) (string, error) {
	s, err := t.format.Render(func(name string) (any, error) {
		v, ok := fields[name]
		if !ok {
			return nil, &MissingError{Column: name}
		}
		return v, nil
	})
	if err != nil {
		return "", err
	}
	if !utf8.ValidString(s) {
		s = strings.ToValidUTF8(s, "\uFFFD")
	}
	return s, nil
}

// MissingError says that a row lacks a column.
type MissingError struct{ Column string }

// Error names the column.
func (e *MissingError) Error() string { return fmt.Sprintf("column %q is not in the row", e.Column) }

// Target reads a row's accepted answers: a list column gives several, anything
// else one, written as Python's str does.
func Target(fields map[string]any, column string) ([]string, error) {
	v, ok := fields[column]
	if !ok {
		return nil, &MissingError{Column: column}
	}
	if list, ok := v.([]any); ok {
		targets := make([]string, len(list))
		for i, e := range list {
			targets[i] = text.Str(e)
		}
		return targets, nil
	}
	return []string{text.Str(v)}, nil
}

// A Shot is one worked example.
type Shot struct {
	Prompt, Target string
	// Join stands between them; nil is a blank, left out where one of them
	// brings white space.
	Join *string
}

// WithShots puts worked examples before a prompt.
func WithShots(shots []Shot, separator, prompt string) string {
	if len(shots) == 0 {
		return prompt
	}
	if separator == "" {
		separator = "\n\n"
	}
	var b strings.Builder
	for _, s := range shots {
		b.WriteString(s.Prompt)
		switch {
		case s.Join != nil:
			b.WriteString(*s.Join)
		case !endsInSpace(s.Prompt) && !startsWithSpace(s.Target):
			b.WriteByte(' ')
		}
		b.WriteString(s.Target)
		b.WriteString(separator)
	}
	b.WriteString(prompt)
	return b.String()
}

func endsInSpace(s string) bool {
	r, _ := utf8.DecodeLastRuneInString(s)
	return s != "" && text.IsSpace(r)
}

func startsWithSpace(s string) bool {
	r, _ := utf8.DecodeRuneInString(s)
	return s != "" && text.IsSpace(r)
}

// Chat gives the messages of a chat form. User is a template over the columns
// and {prompt}.
func Chat(form core.ChatForm, fields map[string]any, prompt string) ([]core.Message, error) {
	user := prompt
	if form.User != "" && form.User != "{prompt}" {
		t, err := Parse(form.User)
		if err != nil {
			return nil, err
		}
		with := make(map[string]any, len(fields)+1)
		for k, v := range fields {
			with[k] = v
		}
		with["prompt"] = prompt
		if user, err = t.Render(with); err != nil {
			return nil, err
		}
	}
	var messages []core.Message
	if form.System != "" {
		messages = append(messages, core.Message{Role: "system", Content: form.System})
	}
	return append(messages, core.Message{Role: "user", Content: user}), nil
}
