package metrics

import (
	"bytes"
	"encoding/json"
	"math"
	"strings"

	"github.com/evalrun/evalrun/core/text"
)

// pyLabelAndExplanation is get_label_and_explanation: two JSON objects with an
// explanation and one other key each; where the values of the other keys are
// equal, the ROUGE of the explanations, else 0.
func pyLabelAndExplanation(generated, target any) verdict {
	gl, ge, ok := labelled(generated)
	if !ok {
		return win(false)
	}
	tl, te, ok := labelled(target)
	if !ok || !pyEqual(gl, tl) {
		return win(false)
	}
	return pyRouge(ge, te)
}

func labelled(v any) (label, explanation any, ok bool) {
	s, isText := v.(string)
	if !isText {
		return nil, nil, false
	}
	object, isObject := pyJSON(s).(map[string]any)
	if !isObject || len(object) != 2 {
		return nil, nil, false
	}
	explanation, ok = object["explanation"]
	for key, value := range object {
		if key != "explanation" {
			label = value
		}
	}
	return label, explanation, ok
}

// pyNumber is one of the three numbers that Python's json reads beyond JSON.
type pyNumber float64

// pyJSON is json.loads, or an errJSON value where that raises.
func pyJSON(s string) any {
	// Bare NaN, Infinity and -Infinity become marked strings, which no text
	// can hold: U+0000 must be escaped in JSON.
	var b strings.Builder
	inString := false
	for i := 0; i < len(s); i++ {
		c := s[i]
		if inString {
			b.WriteByte(c)
			if c == '\\' && i+1 < len(s) {
				i++
				b.WriteByte(s[i])
			} else if c == '"' {
				inString = false
			}
			continue
		}
		inString = c == '"'
		replaced := false
		for _, name := range []string{"NaN", "Infinity", "-Infinity"} {
			if strings.HasPrefix(s[i:], name) {
				b.WriteString(`"\u0000` + name + `"`)
				i += len(name) - 1
				replaced = true
				break
			}
		}
		if !replaced {
			b.WriteByte(c)
		}
	}
	d := json.NewDecoder(bytes.NewReader([]byte(b.String())))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil || d.More() {
		return errJSON{}
	}
	return unmark(v)
}

type errJSON struct{}

func unmark(v any) any {
	switch x := v.(type) {
	case string:
		if name, ok := strings.CutPrefix(x, "\x00"); ok {
			if f, ok := text.ParseFloat(name); ok {
				return pyNumber(f)
			}
		}
	case []any:
		for i := range x {
			x[i] = unmark(x[i])
		}
	case map[string]any:
		for k := range x {
			x[k] = unmark(x[k])
		}
	}
	return v
}

// pyEqual is == of two values that json.loads gave: numbers and bools compare
// by value.
func pyEqual(a, b any) bool {
	if f, ok := jsonNumber(a); ok {
		g, ok := jsonNumber(b)
		return ok && f == g
	}
	switch x := a.(type) {
	case nil:
		return b == nil
	case string:
		y, ok := b.(string)
		return ok && x == y
	case []any:
		y, ok := b.([]any)
		if !ok || len(x) != len(y) {
			return false
		}
		for i := range x {
			if !pyEqual(x[i], y[i]) {
				return false
			}
		}
		return true
	case map[string]any:
		y, ok := b.(map[string]any)
		if !ok || len(x) != len(y) {
			return false
		}
		for k, v := range x {
			w, ok := y[k]
			if !ok || !pyEqual(v, w) {
				return false
			}
		}
		return true
	}
	return false
}

func jsonNumber(v any) (float64, bool) {
	switch x := v.(type) {
	case pyNumber:
		return float64(x), true
	case bool, json.Number:
		return pyFloat(x)
	}
	return math.NaN(), false
}
