package metrics

import (
	"fmt"
	"slices"
	"strings"
)

// boolParam reads true or false; false where it is not given.
func boolParam(params map[string]any, name string) (bool, error) {
	v, ok := params[name]
	if !ok {
		return false, nil
	}
	b, ok := v.(bool)
	if !ok {
		return false, fmt.Errorf("parameter %s must be true or false, not %v", name, v)
	}
	return b, nil
}

// choiceParam reads one of some words; the first where it is not given.
func choiceParam(params map[string]any, name string, choices ...string) (string, error) {
	v, ok := params[name]
	if !ok {
		return choices[0], nil
	}
	s, ok := v.(string)
	if !ok || !slices.Contains(choices, s) {
		return "", fmt.Errorf("parameter %s must be one of %s, not %v", name, strings.Join(choices, ", "), v)
	}
	return s, nil
}

// textsParam reads a list of texts; none where it is not given.
func textsParam(params map[string]any, name string) ([]string, error) {
	v, ok := params[name]
	if !ok {
		return nil, nil
	}
	list, ok := v.([]any)
	if !ok {
		if texts, ok := v.([]string); ok {
			return texts, nil
		}
		return nil, fmt.Errorf("parameter %s must be a list of texts, not %v", name, v)
	}
	out := make([]string, len(list))
	for i, e := range list {
		if out[i], ok = e.(string); !ok {
			return nil, fmt.Errorf("parameter %s must be a list of texts, and its entry %d is %v", name, i+1, e)
		}
	}
	return out, nil
}

// intParam reads a whole number in a range; otherwise where it is not given.
func intParam(params map[string]any, name string, otherwise, low, high int) (int, error) {
	v, ok := params[name]
	if !ok {
		return otherwise, nil
	}
	n := 0
	switch x := v.(type) {
	case int:
		n = x
	case int64:
		n = int(x)
	case float64:
		if n = int(x); float64(n) != x {
			n = low - 1
		}
	default:
		n = low - 1
	}
	if n < low || n > high {
		return 0, fmt.Errorf("parameter %s must be a whole number from %d to %d, not %v", name, low, high, v)
	}
	return n, nil
}
