package record

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"strings"
	"unsafe"
)

// A Verdict is what a report or a comparison needs of a record: its place and
// its scores. The texts are not decoded: Prompt, Messages, Continuations and
// Targets are their JSON as it stands in the file, to tell whether two records
// asked the same. They, and Scores, are only valid until the next one.
type Verdict struct {
	Task, Model, Sample string
	Index, Repeat       int
	Cluster             string
	// Failed says that an error stands in place of an answer.
	Failed bool
	Scores []Score // without Extracted, Warning and Note

	Prompt, Messages, Continuations, Targets string
}

// Skim streams the verdicts of a samples.jsonl, several times as fast as [Read]
// and by the same rules: a half-written last line is left out, a newer format
// and a damaged line end the stream with an error. Within what it does not
// need (texts, usage, fields) it looks for the end of the value only, so that
// damage there may go unnoticed.
func Skim(path string) iter.Seq2[*Verdict, error] {
	return func(yield func(*Verdict, error) bool) {
		f, err := open(path)
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
	v := Verdict{Task: r.Task, Model: r.Model, Sample: r.Sample, Index: r.Index, Repeat: r.Repeat, Cluster: r.Cluster, Failed: r.Error != nil}
	for _, s := range r.Scores {
		s.Extracted, s.Warning, s.Note = "", "", ""
		v.Scores = append(v.Scores, s)
	}
	text := func(x any, empty bool) string {
		if empty {
			return ""
		}
		b, err := json.Marshal(x)
		if err != nil {
			panic("BUG: a record's text is not JSON: " + err.Error())
		}
		return string(b)
	}
	v.Prompt, v.Messages = text(r.Prompt, r.Prompt == ""), text(r.Messages, r.Messages == nil)
	v.Continuations, v.Targets = text(r.Continuations, r.Continuations == nil), text(r.Targets, r.Targets == nil)
	return v
}

// A skimmer is a [decoder] that jumps over what a verdict does not need.
type skimmer struct {
	decoder
	names map[string]string // each task, model and metric is one string
}

// record reads a line. Its bytes are looked at in place: what the verdict keeps
// beyond the next line is copied.
func (s *skimmer) record(line []byte, v *Verdict) bool {
	*v = Verdict{Scores: v.Scores[:0]}
	s.decoder = decoder{s: unsafe.String(unsafe.SliceData(line), len(line))}
	version := 0
	whole := s.object(func(key string) (int, bool) {
		switch key {
		case "v":
			return 0, s.int(&version)
		case "task":
			return 1, s.name(&v.Task)
		case "model":
			return 2, s.name(&v.Model)
		case "sample":
			ok := s.text(&v.Sample)
			v.Sample = strings.Clone(v.Sample)
			return 3, ok
		case "index":
			return 4, s.int(&v.Index)
		case "repeat":
			return 5, s.int(&v.Repeat)
		case "cluster":
			ok := s.text(&v.Cluster)
			v.Cluster = strings.Clone(v.Cluster)
			return 12, ok
		case "scores":
			return 6, s.array(func() bool {
				v.Scores = append(v.Scores, Score{})
				return s.verdict(&v.Scores[len(v.Scores)-1])
			})
		case "error":
			v.Failed = !s.word("null")
			return 7, !v.Failed || s.skip()
		case "prompt":
			return 8, s.keep(&v.Prompt)
		case "messages":
			return 9, s.keep(&v.Messages)
		case "continuations":
			return 10, s.keep(&v.Continuations)
		case "targets":
			return 11, s.keep(&v.Targets)
		}
		at := slices.Index(jumped, key)
		return 13 + max(at, 0), at >= 0 && s.skip()
	})
	s.space()
	return whole && s.i == len(s.s) && version <= Version
}

// jumped are the keys of a record that a verdict does not need.
var jumped = []string{"generation", "response", "finish", "usage", "seconds", "fields", "extracted", "extract_failed", "likelihoods", "truncated", "cost_usd", "cached", "attempts"}

func (s *skimmer) verdict(to *Score) bool {
	return s.object(func(key string) (int, bool) {
		switch key {
		case "metric":
			return 0, s.name(&to.Metric)
		case "profile":
			return 1, s.name((*string)(&to.Profile))
		case "value":
			return 2, s.wide(&to.Value)
		case "extracted":
			return 3, s.skip()
		case "failed":
			return 4, s.bool(&to.Failed)
		case "dropped":
			return 5, s.bool(&to.Dropped)
		case "skipped":
			ok := s.text(&to.Skipped)
			to.Skipped = strings.Clone(to.Skipped)
			return 6, ok
		case "warning":
			return 7, s.skip()
		case "note":
			return 8, s.skip()
		case "vote":
			ok := s.text(&to.Vote)
			to.Vote = strings.Clone(to.Vote)
			return 9, ok
		}
		return 0, false
	})
}

// name reads a text of which there are few.
func (s *skimmer) name(to *string) bool {
	if !s.text(to) {
		return false
	}
	have, known := s.names[*to]
	if !known {
		have = strings.Clone(*to)
		s.names[have] = have
	}
	*to = have
	return true
}

// keep takes a value as it stands; null is none.
func (s *skimmer) keep(to *string) bool {
	s.space()
	from := s.i
	ok := s.skip()
	if *to = s.s[from:s.i]; *to == "null" {
		*to = ""
	}
	return ok
}
