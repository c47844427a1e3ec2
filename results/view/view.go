// Package view shows stored samples in a terminal: what was asked, what came
// back, what was made of it and what it scored.
//
// Prompts and answers are other people's texts: whatever they hold, no control
// character of theirs reaches the terminal.
package view

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"slices"

	"github.com/evalrun/evalrun/core"
	"github.com/evalrun/evalrun/core/record"
	"github.com/evalrun/evalrun/internal/nearest"
	"github.com/evalrun/evalrun/results"
)

// Options choose what is shown.
type Options struct {
	// Task, Sample and Model restrict to one each; empty is all.
	Task, Sample, Model string
	// Wrong shows the samples that lost at least half of the first metric's
	// range; Errors those that got no answer.
	Wrong, Errors bool
	// N is the most samples shown; 0 is all.
	N int
	// Full shows prompts and answers whole.
	Full bool
	// JSON writes the records as JSON lines instead.
	JSON bool
	// Info describes a metric; where it is nil or does not know one, scores
	// run from 0 to 1 and higher is better.
	Info func(metric string, profile core.Profile) (core.MetricInfo, bool)
}

// Count says how many of the matching samples were shown.
type Count struct {
	Shown, Matching, Samples int
}

// Show writes the samples of a run that match: task by task in row order, or,
// where they are more than can be held in memory, in the order of the file.
func Show(ctx context.Context, w io.Writer, f *results.Folder, o Options) (Count, error) {
	idx, err := index(ctx, f, o, o.matches)
	if err != nil {
		return Count{}, err
	}
	chosen := idx.choose(o.N, idx.inOrder)
	c := Count{Shown: len(chosen), Matching: idx.matching, Samples: len(idx.last)}
	nth := 0
	fetch := idx.fetch
	if len(chosen) > held {
		fetch = idx.stream
	}
	err = fetch(ctx, f, chosen, func(rec *record.Record) error {
		nth++
		if o.JSON {
			return encode(w, rec)
		}
		_, err := io.WriteString(w, sampleText(rec, fmt.Sprintf("%d of %d", nth, c.Matching), o))
		return err
	})
	return c, err
}

func encode(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

// matches tells whether a record is asked for.
func (o Options) matches(rec *record.Record) bool {
	if o.Errors && rec.Error == nil {
		return false
	}
	return !o.Wrong || o.wrong(rec)
}

// selected tells whether a record is of the task, sample and model asked for.
func (o Options) selected(rec *record.Record) bool {
	return (o.Task == "" || rec.Task == o.Task) && (o.Sample == "" || rec.Sample == o.Sample) && (o.Model == "" || rec.Model == o.Model)
}

// first gives the score that counts: the run's own profile comes first.
func first(rec *record.Record) *record.Score {
	if len(rec.Scores) > 0 {
		return &rec.Scores[0]
	}
	return nil
}

// wrong: an API error or a skipped sample is no verdict, hence not wrong.
func (o Options) wrong(rec *record.Record) bool {
	s := first(rec)
	if rec.Error != nil || s == nil || s.Skipped != "" {
		return false
	}
	if s.Failed || math.IsNaN(float64(s.Value)) {
		return true
	}
	return o.goodness(s) < 0.5
}

// goodness puts a score on 0 (worst) to 1 (best). A loss without a bound is
// good when it is at its least.
func (o Options) goodness(s *record.Score) float64 {
	low, high, higher := 0.0, 1.0, true
	if o.Info != nil {
		if info, ok := o.Info(s.Metric, s.Profile); ok {
			low, high, higher = info.Low, info.High, info.HigherIsBetter
		}
	}
	v := float64(s.Value)
	switch width := high - low; {
	case !math.IsInf(width, 0) && width > 0:
		v = (v - low) / width
	case !higher && v <= low, higher && v >= high:
		return 1
	default:
		return 0
	}
	if !higher {
		return 1 - v
	}
	return v
}

// idx knows where the record that counts of each key is.
type idx struct {
	last     map[record.Key]entry
	tasks    map[string]int // order of appearance
	models   map[string]int
	matching int
}

type entry struct {
	ordinal, index int
	match          bool
}

// index reads the samples once: a later record of a key replaces an earlier
// one, so that only then is known which record counts.
func index(ctx context.Context, f *results.Folder, o Options, match func(*record.Record) bool) (*idx, error) {
	x := &idx{last: map[record.Key]entry{}, tasks: map[string]int{}, models: map[string]int{}}
	n := 0
	seenSamples := false
	err := f.Stored(func(rec *record.Record) bool {
		n++
		if n&1023 == 0 && ctx.Err() != nil {
			return false
		}
		if _, ok := x.tasks[rec.Task]; !ok {
			x.tasks[rec.Task] = len(x.tasks)
		}
		if _, ok := x.models[rec.Model]; !ok {
			x.models[rec.Model] = len(x.models)
		}
		if !o.selected(rec) {
			return true
		}
		seenSamples = true
		key := rec.Key()
		if x.last[key].match {
			x.matching--
		}
		e := entry{n, rec.Index, match(rec)}
		if e.match {
			x.matching++
		}
		x.last[key] = e
		return true
	})
	if err != nil {
		return nil, fmt.Errorf("read the samples of run %s: %w", f.Manifest.ID, err)
	}
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if !seenSamples {
		return nil, x.nothing(f, o)
	}
	return x, nil
}

// nothing says why no sample is of the task, sample and model asked for.
func (x *idx) nothing(f *results.Folder, o Options) error {
	names := func(m map[string]int) []string {
		out := make([]string, 0, len(m))
		for k := range m {
			out = append(out, k)
		}
		slices.SortFunc(out, func(a, b string) int { return cmp.Compare(m[a], m[b]) })
		return out
	}
	e := &core.UserError{Where: f.Path, Message: "no samples are stored yet", Hint: "evalrun resume goes on with the run"}
	_, knowsTask := x.tasks[o.Task]
	_, knowsModel := x.models[o.Model]
	switch {
	case len(x.tasks) == 0:
	case o.Task != "" && !knowsTask:
		e.Message, e.Hint = fmt.Sprintf("no samples of task %q", o.Task), among(o.Task, "tasks", names(x.tasks))
	case o.Model != "" && !knowsModel:
		e.Message, e.Hint = fmt.Sprintf("no samples of model %q", o.Model), among(o.Model, "models", names(x.models))
	default:
		e.Message, e.Hint = fmt.Sprintf("no sample %q", o.Sample), "a sample's ID is its row's place in the data set; evalrun view without --sample shows some"
	}
	return e
}

// among names the nearest of what there is, or else lists it, a few at most.
func among(word, what string, have []string) string {
	if near := nearest.Word(word, have); near != "" {
		return fmt.Sprintf("did you mean %s?", near)
	}
	const most = 12
	if len(have) > most {
		return fmt.Sprintf("its %s: %s and %d more", what, join(have[:most]), len(have)-most)
	}
	return fmt.Sprintf("its %s: %s", what, join(have))
}

// inOrder: by task and row, models of a row side by side.
func (x *idx) inOrder(a, b record.Key) int {
	return cmp.Or(cmp.Compare(x.tasks[a.Task], x.tasks[b.Task]), cmp.Compare(x.last[a].index, x.last[b].index), cmp.Compare(a.Sample, b.Sample),
		cmp.Compare(a.Repeat, b.Repeat), cmp.Compare(x.models[a.Model], x.models[b.Model]))
}

// choose lists the first n matching keys in an order; n 0 is all.
func (x *idx) choose(n int, order func(a, b record.Key) int) []record.Key {
	keys := make([]record.Key, 0, x.matching)
	for k, e := range x.last {
		if e.match {
			keys = append(keys, k)
		}
	}
	slices.SortFunc(keys, order)
	if n > 0 && len(keys) > n {
		keys = keys[:n]
	}
	return keys
}

// held is the most records that fetch keeps in memory for their order.
const held = 2048

// fetch reads the chosen records and hands them over in the order of keys, in
// portions that bound the memory.
func (x *idx) fetch(ctx context.Context, f *results.Folder, keys []record.Key, give func(*record.Record) error) error {
	for len(keys) > 0 {
		part := keys[:min(held, len(keys))]
		if err := x.fetchPart(ctx, f, part, give); err != nil {
			return err
		}
		keys = keys[len(part):]
	}
	return nil
}

// stream hands the chosen records over as the file has them.
func (x *idx) stream(ctx context.Context, f *results.Folder, keys []record.Key, give func(*record.Record) error) error {
	wanted := make(map[int]bool, len(keys))
	for _, k := range keys {
		wanted[x.last[k].ordinal] = true
	}
	n := 0
	var failed error
	err := f.Stored(func(rec *record.Record) bool {
		n++
		if wanted[n] {
			failed = give(rec)
		}
		return failed == nil && (n&1023 != 0 || ctx.Err() == nil)
	})
	if err != nil {
		return fmt.Errorf("read the samples of run %s: %w", f.Manifest.ID, err)
	}
	return cmp.Or(failed, ctx.Err())
}

func (x *idx) fetchPart(ctx context.Context, f *results.Folder, keys []record.Key, give func(*record.Record) error) error {
	wanted := make(map[int]int, len(keys))
	for i, k := range keys {
		wanted[x.last[k].ordinal] = i
	}
	got := make([]*record.Record, len(keys))
	n, missing := 0, len(keys)
	err := f.Stored(func(rec *record.Record) bool {
		n++
		if i, ok := wanted[n]; ok {
			one := *rec
			got[i] = &one
			missing--
		}
		return missing > 0 && (n&1023 != 0 || ctx.Err() == nil)
	})
	if err != nil {
		return fmt.Errorf("read the samples of run %s: %w", f.Manifest.ID, err)
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	for _, rec := range got {
		if rec == nil {
			return fmt.Errorf("read the samples of run %s: the file changed meanwhile", f.Manifest.ID)
		}
		if err := give(rec); err != nil {
			return err
		}
	}
	return nil
}
