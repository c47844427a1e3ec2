package record

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"math"
	"os"
	"strconv"
	"unicode/utf8"
)

// A Verdict is what a report or a comparison needs of a record: its place and
// its scores. The texts are not decoded: Prompt, Messages, Continuations and
// Targets are their JSON as it stands in the file, to tell whether two records
// asked the same. They, and Scores, are only valid until the next one.
type Verdict struct {
	Task, Model, Sample string
	Index, Repeat       int
	// Failed says that an error stands in place of an answer.
	Failed bool
	Scores []Score // without Extracted and Note

	Prompt, Messages, Continuations, Targets []byte
}

// Skim streams the verdicts of a samples.jsonl, ten times as fast as [Read]
// and by the same rules: a half-written last line is left out, a newer format
// and a damaged line end the stream with an error. Within what it does not
// need (texts, usage, fields) it looks for the end of the value only, so that
// damage there may go unnoticed.
func Skim(path string) iter.Seq2[*Verdict, error] {
	return func(yield func(*Verdict, error) bool) {
		f, err := os.Open(path)
		if err != nil {
			yield(nil, err)
			return
		}
		defer f.Close()
		for v, err := range SkimFrom(f, path) {
			if !yield(v, err) || err != nil {
				return
			}
		}
	}
}

// SkimFrom is [Skim] over an open stream; name stands in errors.
func SkimFrom(r io.Reader, name string) iter.Seq2[*Verdict, error] {
	return func(yield func(*Verdict, error) bool) {
		br := bufio.NewReaderSize(r, 1<<20)
		s := &skimmer{names: map[string]string{}}
		var line []byte
		var v Verdict
		for n := 1; ; n++ {
			var err error
			line, err = readLine(br, line[:0])
			if errors.Is(err, io.EOF) {
				return // without its newline the last line is not known to be whole
			}
			if err != nil {
				yield(nil, fmt.Errorf("%s:%d: %w", name, n, err))
				return
			}
			if len(bytes.TrimSpace(line)) == 0 {
				continue
			}
			if !s.record(line, &v) {
				rec, err := parse(line, name, n) // not as we write it: read it whole
				if err != nil {
					yield(nil, err)
					return
				}
				v = verdictOf(&rec)
			}
			if !yield(&v, nil) {
				return
			}
		}
	}
}

// verdictOf is the slow road to a verdict.
func verdictOf(r *Record) Verdict {
	v := Verdict{Task: r.Task, Model: r.Model, Sample: r.Sample, Index: r.Index, Repeat: r.Repeat, Failed: r.Error != nil}
	for _, s := range r.Scores {
		s.Extracted, s.Note = "", ""
		v.Scores = append(v.Scores, s)
	}
	text := func(x any, empty bool) []byte {
		if empty {
			return nil
		}
		b, err := json.Marshal(x)
		if err != nil {
			panic("BUG: a record's text is not JSON: " + err.Error())
		}
		return b
	}
	v.Prompt, v.Messages = text(r.Prompt, r.Prompt == ""), text(r.Messages, r.Messages == nil)
	v.Continuations, v.Targets = text(r.Continuations, r.Continuations == nil), text(r.Targets, r.Targets == nil)
	return v
}

// A skimmer walks one line. Its methods report false for anything that is not
// plainly what they expect.
type skimmer struct {
	b     []byte
	at    int
	names map[string]string // each task, model and metric is one string
}

func (s *skimmer) record(line []byte, v *Verdict) bool {
	*v = Verdict{Scores: v.Scores[:0]}
	s.b, s.at = line, 0
	version := 0
	whole := s.object(func(key []byte) bool {
		switch string(key) {
		case "v":
			return s.int(&version)
		case "task":
			return s.name(&v.Task)
		case "model":
			return s.name(&v.Model)
		case "sample":
			return s.text(&v.Sample)
		case "index":
			return s.int(&v.Index)
		case "repeat":
			return s.int(&v.Repeat)
		case "scores":
			v.Scores = v.Scores[:0]
			return s.scores(&v.Scores)
		case "error":
			raw, ok := s.raw()
			v.Failed = string(raw) != "null"
			return ok
		case "prompt":
			return s.keep(&v.Prompt)
		case "messages":
			return s.keep(&v.Messages)
		case "continuations":
			return s.keep(&v.Continuations)
		case "targets":
			return s.keep(&v.Targets)
		}
		return s.skip()
	})
	s.space()
	return whole && s.at == len(s.b) && version <= Version
}

// object walks {"key": value, …}; each reads the value of a key.
func (s *skimmer) object(each func(key []byte) bool) bool {
	if !s.sign('{') {
		return false
	}
	if s.sign('}') {
		return true
	}
	for {
		s.space()
		key, ok := s.raw()
		if !ok || len(key) < 2 || key[0] != '"' || bytes.IndexByte(key, '\\') >= 0 || !s.sign(':') {
			return false
		}
		s.space()
		if !each(key[1 : len(key)-1]) {
			return false
		}
		if s.sign('}') {
			return true
		}
		if !s.sign(',') {
			return false
		}
	}
}

func (s *skimmer) scores(out *[]Score) bool {
	if s.word("null") {
		return true
	}
	if !s.sign('[') {
		return false
	}
	if s.sign(']') {
		return true
	}
	for {
		var score Score
		if !s.object(func(key []byte) bool { return s.score(key, &score) }) {
			return false
		}
		*out = append(*out, score)
		if s.sign(']') {
			return true
		}
		if !s.sign(',') {
			return false
		}
	}
}

func (s *skimmer) score(key []byte, out *Score) bool {
	switch string(key) {
	case "metric":
		return s.name(&out.Metric)
	case "profile":
		return s.name((*string)(&out.Profile))
	case "value":
		raw, ok := s.raw()
		if !ok {
			return false
		}
		switch string(raw) {
		case "0":
			out.Value = 0
		case "1":
			out.Value = 1
		case `"NaN"`:
			out.Value = Float(math.NaN())
		case `"Infinity"`:
			out.Value = Float(math.Inf(1))
		case `"-Infinity"`:
			out.Value = Float(math.Inf(-1))
		default:
			if c := raw[0]; c != '-' && (c < '0' || c > '9') {
				return false
			}
			x, err := strconv.ParseFloat(string(raw), 64)
			out.Value = Float(x)
			return err == nil
		}
		return true
	case "skipped":
		return s.text(&out.Skipped)
	case "failed":
		return s.bool(&out.Failed)
	case "dropped":
		return s.bool(&out.Dropped)
	}
	return s.skip()
}

func (s *skimmer) bool(out *bool) bool {
	*out = s.word("true")
	return *out || s.word("false")
}

func (s *skimmer) int(out *int) bool {
	raw, ok := s.raw()
	if !ok || len(raw) == 0 || raw[0] == '+' {
		return false
	}
	n, err := strconv.Atoi(string(raw))
	*out = n
	return err == nil
}

// text decodes a string.
func (s *skimmer) text(out *string) bool {
	raw, ok := s.raw()
	if !ok || len(raw) < 2 || raw[0] != '"' {
		return false
	}
	if inner := raw[1 : len(raw)-1]; bytes.IndexByte(inner, '\\') < 0 && utf8.Valid(inner) {
		*out = string(inner)
		return true
	}
	return json.Unmarshal(raw, out) == nil
}

// name is text of which there are few.
func (s *skimmer) name(out *string) bool {
	raw, ok := s.raw()
	if !ok {
		return false
	}
	if have, known := s.names[string(raw)]; known { // no copy is made of raw for this
		*out = have
		return true
	}
	if len(raw) < 2 || raw[0] != '"' || json.Unmarshal(raw, out) != nil {
		return false
	}
	s.names[string(raw)] = *out
	return true
}

// keep takes a value as it stands; null is none.
func (s *skimmer) keep(out *[]byte) bool {
	raw, ok := s.raw()
	*out = raw
	if string(raw) == "null" {
		*out = nil
	}
	return ok
}

func (s *skimmer) raw() ([]byte, bool) {
	from := s.at
	ok := s.skip()
	return s.b[from:s.at], ok && s.at > from
}

// skip goes to the end of a value.
func (s *skimmer) skip() bool {
	if s.at >= len(s.b) {
		return false
	}
	switch s.b[s.at] {
	case '"':
		return s.skipString()
	case '{', '[':
		depth := 0
		for s.at < len(s.b) {
			switch s.b[s.at] {
			case '"':
				if !s.skipString() {
					return false
				}
				continue
			case '{', '[':
				depth++
			case '}', ']':
				depth--
			}
			s.at++
			if depth == 0 {
				return true
			}
		}
		return false
	}
	for s.at < len(s.b) {
		switch s.b[s.at] {
		case ',', '}', ']', ' ', '\t', '\n', '\r':
			return true
		}
		s.at++
	}
	return true
}

func (s *skimmer) skipString() bool {
	from := s.at + 1
	for i := from; ; {
		j := bytes.IndexByte(s.b[i:], '"')
		if j < 0 {
			return false
		}
		i += j
		slashes := 0
		for k := i - 1; k >= from && s.b[k] == '\\'; k-- {
			slashes++
		}
		i++
		if slashes%2 == 0 {
			s.at = i
			return true
		}
	}
}

func (s *skimmer) space() {
	for s.at < len(s.b) {
		switch s.b[s.at] {
		case ' ', '\t', '\n', '\r':
			s.at++
		default:
			return
		}
	}
}

// sign takes one sign of punctuation with the space around it.
func (s *skimmer) sign(c byte) bool {
	s.space()
	if s.at < len(s.b) && s.b[s.at] == c {
		s.at++
		s.space()
		return true
	}
	return false
}

func (s *skimmer) word(w string) bool {
	if bytes.HasPrefix(s.b[s.at:], []byte(w)) {
		s.at += len(w)
		return true
	}
	return false
}
