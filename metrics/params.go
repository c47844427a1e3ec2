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
