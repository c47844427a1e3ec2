package demogen

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"strings"
)

// gramWords is the length of the runs of words that training text must not
// share with an evaluation row.
const gramWords = 8

// A Guard knows every run of eight words of the embedded rows, hand-written
// and generated, but for those that stand in the task files themselves.
type Guard struct {
	rows map[uint64]string // hash of a run -> task
}

// NewGuard reads the task files and their rows.
func NewGuard(tasks fs.FS) (*Guard, error) {
	g := &Guard{rows: map[uint64]string{}}
	prompts := map[uint64]bool{}
	for _, name := range Names() {
		b, err := fs.ReadFile(tasks, name+".yaml")
		if err != nil {
			return nil, fmt.Errorf("reading the prompt of %s: %w", name, err)
		}
		grams(string(b), func(h uint64, _ []string) { prompts[h] = true })
		b, err = fs.ReadFile(tasks, "rows/"+name+".jsonl")
		if err != nil {
			return nil, fmt.Errorf("reading the rows of %s: %w", name, err)
		}
		for i, line := range bytes.Split(bytes.TrimSpace(b), []byte("\n")) {
			var v any
			if err := json.Unmarshal(line, &v); err != nil {
				return nil, fmt.Errorf("rows of %s, line %d: %w", name, i+1, err)
			}
			texts(v, func(s string) {
				grams(s, func(h uint64, _ []string) { g.rows[h] = name })
			})
		}
	}
	for h := range prompts {
		delete(g.rows, h)
	}
	return g, nil
}

// Len is the number of runs known.
func (g *Guard) Len() int { return len(g.rows) }

// Shared returns the first run of eight words that an example shares with a
// row, and the row's task; "" when there is none.
func (g *Guard) Shared(e Example) (run, task string) {
	grams(e.Prompt+e.Completion, func(h uint64, w []string) {
		if name, ok := g.rows[h]; ok && run == "" {
			run, task = strings.Join(w, " "), name
		}
	})
	return run, task
}

// grams calls f with a hash of every run of eight words of s: letters, digits
// and underscores in lower case.
func grams(s string, f func(h uint64, words []string)) {
	words := strings.FieldsFunc(strings.ToLower(s), func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '_')
	})
	if len(words) < gramWords {
		return
	}
	hashes := make([]uint64, len(words))
	for i, w := range words {
		h := uint64(1469598103934665603) // FNV-1a
		for j := range len(w) {
			h = (h ^ uint64(w[j])) * 1099511628211
		}
		hashes[i] = h
	}
	for i := 0; i+gramWords <= len(words); i++ {
		var h uint64
		for _, w := range hashes[i : i+gramWords] {
			h = (h ^ w ^ w>>29) * 0x9e3779b97f4a7c15
			h ^= h >> 32
		}
		f(h, words[i:i+gramWords])
	}
}

// texts walks the strings of a JSON value; lists of strings (tokens) also
// count joined.
func texts(v any, f func(string)) {
	switch v := v.(type) {
	case string:
		f(v)
	case map[string]any:
		for k, e := range v {
			if !strings.HasPrefix(k, "_") {
				texts(e, f)
			}
		}
	case []any:
		var all []string
		for _, e := range v {
			if s, ok := e.(string); ok {
				all = append(all, s)
			}
			texts(e, f)
		}
		if len(all) == len(v) {
			f(strings.Join(all, " "))
		}
	}
}
