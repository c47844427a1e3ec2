// Package complexity measures what the report calls the complexity of a task:
// the heuristics of its Table 13, from the rows alone, before any model is asked.
//
// Of each row it takes the filled prompt (input) and the answer (output); the
// example is both, with nothing between them. Measured are their lengths in
// characters, words and tokens of cl100k_base, how much of the output is in the
// input (ROUGE-L), and how far zlib compresses the example. With the report's
// own prompts these are its figures (found by recomputation: lengths are tokens
// of the filled prompt, similarity is the F-measure, compressibility is
// len(zlib.compress(example)) / len(example), a row at a time).
package complexity

import (
	"encoding/json"
	"unicode/utf8"

	"github.com/evalrun/evalrun/core/cl100k"
	"github.com/evalrun/evalrun/core/complexity/deflate"
	"github.com/evalrun/evalrun/core/text"
)

// Heuristics of a set of rows. Every summary is over the rows.
type Heuristics struct {
	Rows int

	Input, Output, Example Lengths
	// Rouge compares the input, as prediction, with the output, as reference.
	Rouge struct{ Precision, Recall, F Summary }
	// Compressibility is the size of the example in zlib's format at level 6
	// over its size in bytes: below 1 the more it repeats itself. An example
	// without any byte has none and is left out.
	Compressibility Summary
}

// A Named summary is one line of what was measured.
type Named struct {
	Name string
	Summary
}

// Named lists all summaries under the names that machines read.
func (h *Heuristics) Named() []Named {
	var out []Named
	for _, l := range []struct {
		name string
		Lengths
	}{{"input", h.Input}, {"output", h.Output}, {"example", h.Example}} {
		out = append(out, Named{l.name + "_characters", l.Characters}, Named{l.name + "_words", l.Words}, Named{l.name + "_cl100k", l.Tokens})
	}
	return append(out, Named{"io_rougeL_precision", h.Rouge.Precision}, Named{"io_rougeL_recall", h.Rouge.Recall},
		Named{"io_rougeL_fmeasure", h.Rouge.F}, Named{"example_zlib6_ratio", h.Compressibility})
}

// MarshalJSON writes an object of rows and the named summaries.
func (h Heuristics) MarshalJSON() ([]byte, error) {
	out := map[string]any{"rows": h.Rows}
	for _, n := range h.Named() {
		out[n.Name] = n.Summary
	}
	return json.Marshal(out)
}

// Lengths of a text. Characters are code points, Words what Python's str.split
// gives, Tokens those of cl100k_base.
type Lengths struct {
	Characters, Words, Tokens Summary
}

// A Meter takes rows one by one and forgets them: memory does not grow with
// their number but for what the percentiles need (see Summary). The zero value is
// ready; one goroutine at a time.
type Meter struct {
	rows                   int
	input, output, example lengths
	rouge                  text.Rouge
	precision, recall, f   spread
	compressibility        spread
	sizer                  deflate.Sizer
	bytes                  []byte
}

type lengths struct{ characters, words, tokens spread }

// Add measures a row.
func (m *Meter) Add(input, output string) {
	m.rows++
	example := input + output
	m.input.add(input)
	m.output.add(output)
	m.example.add(example)
	r := m.rouge.L(input, output)
	m.precision.add(r.Precision)
	m.recall.add(r.Recall)
	m.f.add(r.F)
	if len(example) > 0 {
		m.bytes = append(m.bytes[:0], example...)
		m.compressibility.add(float64(m.sizer.Size(m.bytes)) / float64(len(m.bytes)))
	}
}

// Heuristics sums up the rows so far. Without any, all summaries are NaN.
func (m *Meter) Heuristics() Heuristics {
	h := Heuristics{Rows: m.rows, Input: m.input.summary(), Output: m.output.summary(), Example: m.example.summary(), Compressibility: m.compressibility.summary()}
	h.Rouge.Precision, h.Rouge.Recall, h.Rouge.F = m.precision.summary(), m.recall.summary(), m.f.summary()
	return h
}

func (l *lengths) add(s string) {
	l.characters.add(float64(utf8.RuneCountInString(s)))
	l.words.add(float64(words(s)))
	l.tokens.add(float64(cl100k.Count(s)))
}

func (l *lengths) summary() Lengths {
	return Lengths{l.characters.summary(), l.words.summary(), l.tokens.summary()}
}

// words is len(text.Split(s)) without making the words.
func words(s string) int {
	n, inside := 0, false
	for _, r := range s {
		space := text.IsSpace(r)
		if !space && !inside {
			n++
		}
		inside = !space
	}
	return n
}
