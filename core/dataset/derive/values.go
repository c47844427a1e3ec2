package derive

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/evalrun/evalrun/core/text"
)

// maxDepth bounds the nesting of values that expressions make.
const maxDepth = 512

// nameOf says in words what a value is.
func nameOf(v any) string {
	switch v.(type) {
	case nil:
		return "nothing"
	case bool:
		return "a truth value"
	case string:
		return "a text"
	case int, int64, float64, json.Number:
		return "a number"
	}
	switch reflect.ValueOf(v).Kind() {
	case reflect.Slice, reflect.Array:
		return "a list"
	case reflect.Map:
		return "a map"
	case reflect.Func:
		return "a function"
	}
	return fmt.Sprintf("a value of the type %T", v)
}

// maxValues bounds the values that one result may hold when it is written out:
// lists and maps that share parts can be exponentially larger than what was made.
const maxValues = 4 << 20

// settle turns what an expression gives into the types of rows: any integer
// becomes an int64, any list a []any, any map a map[string]any. A list or map in
// which nothing changes is kept as it is.
func settle(v any) (any, error) {
	s := settler{left: maxValues}
	out, _, err := s.value(v, 0)
	return out, err
}

type settler struct{ left int }

// value gives the settled value, and whether it differs from v.
func (s *settler) value(v any, depth int) (out any, changed bool, err error) {
	if s.left--; s.left < 0 {
		return nil, false, fmt.Errorf("a value holds more than %d values", maxValues)
	}
	if depth > maxDepth {
		return nil, false, fmt.Errorf("a value is nested deeper than %d", maxDepth)
	}
	switch x := v.(type) {
	case nil, bool, string, int64, float64, json.Number:
		return v, false, nil
	case int:
		return int64(x), true, nil
	case []byte:
		if !utf8.Valid(x) {
			return nil, false, errors.New("the bytes are not a text in UTF-8")
		}
		return string(x), true, nil
	case []any:
		return s.list(x, depth)
	case map[string]any:
		return s.object(x, depth)
	}
	r := reflect.ValueOf(v)
	switch r.Kind() {
	case reflect.Int8, reflect.Int16, reflect.Int32:
		return r.Int(), true, nil
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		if r.Uint() > math.MaxInt64 {
			return json.Number(strconv.FormatUint(r.Uint(), 10)), true, nil
		}
		return int64(r.Uint()), true, nil
	case reflect.Float32:
		return r.Float(), true, nil
	case reflect.Slice, reflect.Array:
		list := make([]any, r.Len())
		for i := range list {
			if list[i], _, err = s.value(r.Index(i).Interface(), depth+1); err != nil {
				return nil, false, err
			}
		}
		return list, true, nil
	case reflect.Map:
		m := make(map[string]any, r.Len())
		for it := r.MapRange(); it.Next(); {
			key, _, err := s.value(it.Key().Interface(), depth+1)
			if err != nil {
				return nil, false, err
			}
			name := text.Str(key)
			if _, twice := m[name]; twice {
				return nil, false, fmt.Errorf("two keys of a map are both written %q", name)
			}
			if m[name], _, err = s.value(it.Value().Interface(), depth+1); err != nil {
				return nil, false, err
			}
		}
		return m, true, nil
	}
	return nil, false, fmt.Errorf("%s cannot be kept in a row", nameOf(v))
}

func (s *settler) list(x []any, depth int) (any, bool, error) {
	var out []any // made at the first change
	for i, e := range x {
		v, changed, err := s.value(e, depth+1)
		if err != nil {
			return nil, false, err
		}
		if changed && out == nil {
			out = slices.Clone(x)
		}
		if changed {
			out[i] = v
		}
	}
	if out == nil {
		return x, false, nil
	}
	return out, true, nil
}

func (s *settler) object(x map[string]any, depth int) (any, bool, error) {
	var out map[string]any
	for k, e := range x {
		v, changed, err := s.value(e, depth+1)
		if err != nil {
			return nil, false, err
		}
		if changed && out == nil {
			out = maps.Clone(x)
		}
		if changed {
			out[k] = v
		}
	}
	if out == nil {
		return x, false, nil
	}
	return out, true, nil
}

// writer spells values as Python does: json.dumps(v, ensure_ascii=False), or
// str(v). Its length is bounded, since an expression can build values that share
// parts and are exponentially longer when written out.
type writer struct {
	b     strings.Builder
	json  bool
	order []string // keys of maps that come first
	depth int
}

func (w *writer) value(v any) error {
	if w.b.Len() > maxText {
		return errLong
	}
	if w.depth++; w.depth > maxDepth {
		return fmt.Errorf("a value is nested deeper than %d", maxDepth)
	}
	defer func() { w.depth-- }()
	switch x := v.(type) {
	case []any:
		w.b.WriteByte('[')
		for i, e := range x {
			if i > 0 {
				w.b.WriteString(", ")
			}
			if err := w.value(e); err != nil {
				return err
			}
		}
		w.b.WriteByte(']')
		return nil
	case map[string]any:
		w.b.WriteByte('{')
		for i, k := range w.keys(x) {
			if i > 0 {
				w.b.WriteString(", ")
			}
			w.scalar(k)
			w.b.WriteString(": ")
			if err := w.value(x[k]); err != nil {
				return err
			}
		}
		w.b.WriteByte('}')
		return nil
	}
	w.scalar(v)
	return nil
}

func (w *writer) keys(m map[string]any) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	rank := func(k string) int {
		if i := slices.Index(w.order, k); i >= 0 {
			return i
		}
		return len(w.order)
	}
	slices.SortFunc(keys, func(a, b string) int {
		if d := rank(a) - rank(b); d != 0 {
			return d
		}
		return strings.Compare(a, b)
	})
	return keys
}

func (w *writer) scalar(v any) {
	if !w.json {
		w.b.WriteString(text.Repr(v))
		return
	}
	switch x := v.(type) {
	case nil:
		w.b.WriteString("null")
	case bool:
		w.b.WriteString(strconv.FormatBool(x))
	case string:
		w.quote(x)
	case float64:
		switch { // as Python's json, which names what JSON lacks
		case math.IsNaN(x):
			w.b.WriteString("NaN")
		case math.IsInf(x, 1):
			w.b.WriteString("Infinity")
		case math.IsInf(x, -1):
			w.b.WriteString("-Infinity")
		default:
			w.b.WriteString(text.FormatFloat(x))
		}
	default: // int64, json.Number
		w.b.WriteString(text.Repr(x))
	}
}

// quote writes a JSON string with the escapes that Python's json uses.
func (w *writer) quote(s string) {
	w.b.WriteByte('"')
	from := 0
	for i := range len(s) {
		c := s[i]
		if c >= 0x20 && c != '"' && c != '\\' {
			continue
		}
		w.b.WriteString(s[from:i])
		from = i + 1
		switch c {
		case '"', '\\':
			w.b.WriteByte('\\')
			w.b.WriteByte(c)
		case '\n':
			w.b.WriteString(`\n`)
		case '\r':
			w.b.WriteString(`\r`)
		case '\t':
			w.b.WriteString(`\t`)
		case '\b':
			w.b.WriteString(`\b`)
		case '\f':
			w.b.WriteString(`\f`)
		default:
			fmt.Fprintf(&w.b, `\u%04x`, c)
		}
	}
	w.b.WriteString(s[from:])
	w.b.WriteByte('"')
}

func fromJSON(a ...any) (any, error) {
	s, ok := a[0].(string)
	if !ok {
		return nil, fmt.Errorf("fromJSON: the value is %s, not a text", nameOf(a[0]))
	}
	d := json.NewDecoder(bytes.NewReader([]byte(s)))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return nil, fmt.Errorf("fromJSON: %w", err)
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, errors.New("fromJSON: something follows the JSON value")
	}
	return numbers(v)
}

// numbers gives JSON numbers the types of rows.
func numbers(v any) (any, error) {
	var err error
	switch x := v.(type) {
	case json.Number:
		if n, err := strconv.ParseInt(x.String(), 10, 64); err == nil {
			return n, nil
		}
		if strings.ContainsAny(x.String(), ".eE") {
			f, err := x.Float64()
			if err != nil {
				return nil, fmt.Errorf("fromJSON: the number %s is too large", x)
			}
			return f, nil
		}
	case []any:
		for i := range x {
			if x[i], err = numbers(x[i]); err != nil {
				return nil, err
			}
		}
	case map[string]any:
		for k := range x {
			if x[k], err = numbers(x[k]); err != nil {
				return nil, err
			}
		}
	}
	return v, nil
}
