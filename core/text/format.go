package text

import (
	"fmt"
	"math/big"
	"strconv"
	"strings"
	"unicode/utf8"
)

// A FormatError is what Python's str.format raises.
type FormatError struct {
	// Class is the exception's: ValueError, KeyError, IndexError, TypeError,
	// AttributeError or OverflowError.
	Class   string
	Message string
	// Offset of the replacement field in the template, in bytes; -1 where the
	// mistake has no place.
	Offset int
}

// Error gives the message.
func (e *FormatError) Error() string { return e.Message }

func valueError(at int, format string, args ...any) error {
	return &FormatError{"ValueError", fmt.Sprintf(format, args...), at}
}

// A FormatString is a parsed template of str.format. It is immutable and safe
// for use by several goroutines.
type FormatString struct {
	parts []formatPart
	size  int
}

// A formatPart is literal text, or a replacement field.
type formatPart struct {
	literal string
	field   *FormatField
}

// A FormatField is one {name!conversion:spec} of a template.
type FormatField struct {
	// Name is the argument's: "" takes the next positional one.
	Name string
	// Offset of the opening brace in the template, in bytes.
	Offset int

	path       []formatStep
	conversion rune
	spec       string
	nested     *FormatString // of a spec with fields in it
}

// A formatStep is .name or [index] behind an argument's name.
type formatStep struct {
	key   string
	index bool
}

// Format is template.format(*args, **kwargs) of Python's str. Values are those
// of Str. The error is a *FormatError.
func Format(template string, args []any, kwargs map[string]any) (string, error) {
	f, err := ParseFormat(template)
	if err != nil {
		return "", err
	}
	next, numbered := 0, 0 // the numbering of {} and of {0} must not be mixed
	return f.Render(func(name string) (any, error) {
		n, isNumber := fieldNumber(name)
		switch {
		case name == "":
			if n, next = next, next+1; numbered > 0 {
				return nil, valueError(-1, "cannot switch from manual field specification to automatic field numbering")
			}
		case isNumber:
			if numbered++; next > 0 {
				return nil, valueError(-1, "cannot switch from automatic field numbering to manual field specification")
			}
		default:
			if v, ok := kwargs[name]; ok {
				return v, nil
			}
			return nil, &FormatError{"KeyError", Repr(name), -1}
		}
		if n >= len(args) {
			return nil, &FormatError{"IndexError", fmt.Sprintf("Replacement index %d out of range for positional args tuple", n), -1}
		}
		return args[n], nil
	})
}

// fieldNumber reads a name that consists of digits.
func fieldNumber(name string) (int, bool) {
	n, err := strconv.Atoi(name)
	return n, err == nil && name[0] != '+' && name[0] != '-'
}

// ParseFormat reads a template. The error is a *FormatError of class
// ValueError.
func ParseFormat(s string) (*FormatString, error) { return formatParser{}.parse(s, 0, 2) }

// ParseColumns is ParseFormat for templates whose names are columns of a row: a
// point is part of the name, since what a row holds has no attributes.
func ParseColumns(s string) (*FormatString, error) { return formatParser{points: true}.parse(s, 0, 2) }

type formatParser struct{ points bool }

// parse reads a template that stands at a byte offset of another one. depth is
// how deep fields may nest.
func (p formatParser) parse(s string, base, depth int) (*FormatString, error) {
	f := &FormatString{}
	var literal strings.Builder
	flush := func() {
		if literal.Len() > 0 {
			f.parts = append(f.parts, formatPart{literal: literal.String()})
			f.size += literal.Len()
			literal.Reset()
		}
	}
	for i := 0; i < len(s); {
		c := s[i]
		if c != '{' && c != '}' {
			literal.WriteByte(c)
			i++
			continue
		}
		if i+1 < len(s) && s[i+1] == c {
			literal.WriteByte(c)
			i += 2
			continue
		}
		if c == '}' || i+1 == len(s) {
			return nil, valueError(base+i, "Single '%c' encountered in format string", c)
		}
		if depth == 0 {
			return nil, valueError(base+i, "Max string recursion exceeded")
		}
		flush()
		field, width, err := p.field(s[i+1:], base+i, depth)
		if err != nil {
			return nil, err
		}
		f.parts = append(f.parts, formatPart{field: field})
		i += 1 + width
	}
	flush()
	return f, nil
}

// field reads a field behind its opening brace, up to and with the closing one,
// and gives its width in bytes.
func (p formatParser) field(s string, at, depth int) (*FormatField, int, error) {
	f := &FormatField{Offset: at}
	i, end := 0, byte(0)
name:
	for i < len(s) {
		end = s[i]
		i++
		switch end {
		case '{':
			return nil, 0, valueError(at, "unexpected '{' in field name")
		case '[':
			for i < len(s) && s[i] != ']' {
				i++
			}
		case '}', ':', '!':
			break name
		}
		end = 0
	}
	if end == 0 {
		return nil, 0, valueError(at, "expected '}' before end of string")
	}
	if err := f.parseName(s[:i-1], p.points); err != nil {
		return nil, 0, err
	}
	if end == '!' {
		if i >= len(s) {
			return nil, 0, valueError(at, "end of string while looking for conversion specifier")
		}
		r, width := utf8.DecodeRuneInString(s[i:])
		f.conversion = r
		if i += width; i < len(s) {
			end = s[i]
			i++
			if end != '}' && end != ':' {
				return nil, 0, valueError(at, "expected ':' after conversion specifier")
			}
		}
	}
	if end == '}' {
		return f, i, nil
	}
	from := i
	for open := 1; i < len(s); {
		switch s[i] {
		case '{':
			open++
		case '}':
			open--
		}
		if i++; open > 0 {
			continue
		}
		f.spec = s[from : i-1]
		if strings.ContainsAny(f.spec, "{}") {
			var err error
			if f.nested, err = p.parse(f.spec, at+1+from, depth-1); err != nil {
				return nil, 0, err
			}
		}
		return f, i, nil
	}
	return nil, 0, valueError(at, "unmatched '{' in format spec")
}

// parseName reads name, then .attribute and [index] in any number.
func (f *FormatField) parseName(s string, points bool) error {
	first := strings.IndexAny(s, ".[")
	if points {
		first = strings.IndexByte(s, '[')
	}
	if first < 0 {
		f.Name = s
		return nil
	}
	f.Name = s[:first]
	for s = s[first:]; s != ""; {
		step := formatStep{index: s[0] == '['}
		switch {
		case step.index:
			end := strings.IndexByte(s, ']')
			if end < 0 {
				return valueError(f.Offset, "Missing ']' in format string")
			}
			step.key, s = s[1:end], s[end+1:]
		case s[0] == '.':
			end := strings.IndexAny(s[1:], ".[")
			if end < 0 {
				end = len(s) - 1
			}
			step.key, s = s[1:1+end], s[1+end:]
		default:
			return valueError(f.Offset, "Only '.' or '[' may follow ']' in format field specifier")
		}
		if step.key == "" {
			return valueError(f.Offset, "Empty attribute in format string")
		}
		f.path = append(f.path, step)
	}
	return nil
}

// Fields lists the fields in order, those inside of specs included.
func (f *FormatString) Fields() []*FormatField {
	var all []*FormatField
	for _, p := range f.parts {
		if p.field == nil {
			continue
		}
		all = append(all, p.field)
		if p.field.nested != nil {
			all = append(all, p.field.nested.Fields()...)
		}
	}
	return all
}

// Render fills the template: value gives the argument of a name. Its errors are
// returned as they are, all others are *FormatError.
func (f *FormatString) Render(value func(name string) (any, error)) (string, error) {
	var b strings.Builder
	b.Grow(f.size + 256)
	for _, p := range f.parts {
		if p.field == nil {
			b.WriteString(p.literal)
			continue
		}
		s, err := p.field.render(value)
		if err != nil {
			return "", err
		}
		b.WriteString(s)
	}
	return b.String(), nil
}

func (f *FormatField) render(value func(string) (any, error)) (string, error) {
	v, err := value(f.Name)
	if err != nil {
		return "", err
	}
	for _, step := range f.path {
		if v, err = f.step(v, step); err != nil {
			return "", err
		}
	}
	switch f.conversion {
	case 0:
	case 's':
		v = Str(v)
	case 'r':
		v = Repr(v)
	case 'a':
		v = ascii(Repr(v))
	default:
		return "", valueError(f.Offset, "Unknown conversion specifier %c", f.conversion)
	}
	spec := f.spec
	if f.nested != nil {
		if spec, err = f.nested.Render(value); err != nil {
			return "", err
		}
	}
	s, err := FormatValue(v, spec)
	if e, ok := err.(*FormatError); ok {
		e.Offset = f.Offset
	}
	return s, err
}

// step takes one part of a value.
func (f *FormatField) step(v any, step formatStep) (any, error) {
	raise := func(class, format string, args ...any) error {
		return &FormatError{class, fmt.Sprintf(format, args...), f.Offset}
	}
	if !step.index {
		return nil, raise("AttributeError", "'%s' object has no attribute '%s'", typeName(v), step.key)
	}
	n, isNumber := fieldNumber(step.key)
	at := func(kind string, length int) error {
		switch {
		case !isNumber:
			return raise("TypeError", "%s indices must be integers%s", kind, map[string]string{"string": ", not 'str'", "list": " or slices, not str"}[kind])
		case n >= length:
			return raise("IndexError", "%s index out of range", kind)
		}
		return nil
	}
	switch x := v.(type) {
	case string:
		r := []rune(x)
		if err := at("string", len(r)); err != nil {
			return nil, err
		}
		return string(r[n]), nil
	case []any:
		if err := at("list", len(x)); err != nil {
			return nil, err
		}
		return x[n], nil
	case []string:
		if err := at("list", len(x)); err != nil {
			return nil, err
		}
		return x[n], nil
	case map[string]any:
		if e, ok := x[step.key]; ok && !isNumber {
			return e, nil
		}
	case Dict:
		for _, p := range x {
			if p.Key == step.key && !isNumber || isNumber && Repr(p.Key) == strconv.Itoa(n) {
				return p.Value, nil
			}
		}
	default:
		return nil, raise("TypeError", "'%s' object is not subscriptable", typeName(v))
	}
	if isNumber {
		return nil, raise("KeyError", "%d", n)
	}
	return nil, raise("KeyError", "%s", Repr(step.key))
}

// ascii is the rest of Python's ascii(): what is not ASCII in a repr is escaped.
func ascii(s string) string {
	var b strings.Builder
	for _, r := range s {
		switch {
		case r < 0x80:
			b.WriteRune(r)
		case r < 0x100:
			fmt.Fprintf(&b, `\x%02x`, r)
		case r < 0x10000:
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			fmt.Fprintf(&b, `\U%08x`, r)
		}
	}
	return b.String()
}

// typeName is the name of a value's type in Python.
func typeName(v any) string {
	switch x := v.(type) {
	case nil:
		return "NoneType"
	case bool:
		return "bool"
	case string:
		return "str"
	case []any, []string:
		return "list"
	case map[string]any, Dict:
		return "dict"
	default:
		if _, ok := asInt(x); ok {
			return "int"
		}
		return "float"
	}
}

// asInt gives a whole number of any of the types of Str.
func asInt(v any) (*big.Int, bool) {
	switch x := v.(type) {
	case *big.Int:
		return x, true
	case fmt.Stringer: // json.Number
		return ParseInt(x.String())
	case float64, float32, string, bool, nil:
		return nil, false
	}
	return ParseInt(fmt.Sprint(v))
}

// asFloat gives the value of a float64, a float32 or a json.Number.
func asFloat(v any) (float64, bool) {
	switch x := v.(type) {
	case float64:
		return x, true
	case float32:
		return float64(x), true
	case fmt.Stringer:
		return ParseFloat(x.String())
	}
	return 0, false
}
