// Package run takes tasks to a backend and brings scores back: rows become
// requests, answers are extracted and judged, and every finished sample is
// handed to a sink the moment it is known.
//
// A run is one pass over jobs (a task with its rows and metrics) through one
// session, so that a batching backend sees all tasks' requests together.
// Samples that the sink already holds are not asked again. Nothing here knows
// files, processes or terminals.
package run

import (
	"context"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"

	"github.com/evalrun/evalrun/core"
	"github.com/evalrun/evalrun/core/extract"
	"github.com/evalrun/evalrun/core/prompt"
)

// A Row is one row of a task, derived columns included.
type Row struct {
	// ID is stable for one data set and split.
	ID     string
	Fields map[string]any
}

// A Job is one task made ready to run.
type Job struct {
	Task *core.Task
	// Rows yields the selected rows in order; it may be called again.
	Rows func(ctx context.Context) iter.Seq2[Row, error]
	// Total is the number of rows where it is known, and −1 where it is not.
	Total int
	// Shots gives the worked examples for a row; nil is none.
	Shots func(row Row) []prompt.Shot
	// Profile says what is sent: Bakeoff sends the published evaluator's
	// prompts and settings, anything else the task's own.
	Profile core.Profile
	// Judges score each answer; the first is the one that progress shows.
	Judges []Judge
	// Free says that the backend cannot be held to a task's labels.
	Free bool
	// Adapter of the backend that answers; empty is the base model.
	Adapter string
	// Repeat asks each row this many times; 0 is once.
	Repeat int
	// Form is how the prompt is sent.
	Form core.Form
	// Family of the model, for the chat form.
	Family string

	filler   *prompt.Filler
	pipeline *extract.Pipeline
	kind     core.Kind
	rolling  bool     // the target as a whole is scored, without a prompt
	choosing bool     // some metric chooses among the choices
	keep     []string // columns that the records must carry
}

// prepare compiles what every row needs.
func (j *Job) prepare() error {
	var err error
	if j.filler, err = prompt.Compile(j.Task); err != nil {
		return fmt.Errorf("task %s: %w", j.Task.Name, err)
	}
	if len(j.Task.Extract) > 0 {
		if j.pipeline, err = extract.New(j.Task.Extract); err != nil {
			return fmt.Errorf("task %s: extract: %w", j.Task.Name, err)
		}
	}
	j.kind, j.rolling, j.keep = core.Generate, false, nil
	by := map[string]string{} // what a request asks for, and a metric that needs it
	for _, judge := range j.Judges {
		info := judge.Metric.Info()
		what := "an answer"
		for _, need := range info.Needs {
			switch column, isField := strings.CutPrefix(need, "field:"); {
			case need == "scores":
				j.kind, what = core.ScoreText, "log-likelihoods"
			case need == "rolling":
				j.kind, j.rolling, what = core.ScoreText, true, "the log-likelihood of a whole text"
			case need == "choices":
				j.choosing = true
			case isField && !slices.Contains(j.keep, column):
				j.keep = append(j.keep, column)
			}
		}
		by[what] = info.Name
	}
	if len(by) > 1 {
		kinds := slices.Sorted(maps.Keys(by))
		return &core.UserError{Where: j.Task.Path, Message: fmt.Sprintf("the metric %s judges %s and %s judges %s: one request cannot give both", by[kinds[0]], kinds[0], by[kinds[1]], kinds[1]),
			Hint: "write a second task file for one of them"}
	}
	if j.choosing && len(j.Task.Labels) == 0 && !j.Task.Choices.Any() {
		return &core.UserError{Where: j.Task.Path, Message: "a log-likelihood metric needs the answers to choose from",
			Hint: "list them under labels:, or name the column that holds each row's under choices:"}
	}
	j.Repeat = max(j.Repeat, 1)
	return nil
}

// NeedsJudge names a metric that needs a judging model, if there is one.
func (j *Job) NeedsJudge() string {
	for _, judge := range j.Judges {
		if info := judge.Metric.Info(); slices.Contains(info.Needs, "judge") {
			return info.Name
		}
	}
	return ""
}

// Kind is what the job's requests ask of a backend.
func (j *Job) Kind() (core.Kind, error) {
	if j.filler == nil {
		if err := j.prepare(); err != nil {
			return 0, err
		}
	}
	return j.kind, nil
}

// Sample renders one row.
func (j *Job) Sample(index int, row Row) (*core.Sample, error) {
	if j.filler == nil {
		if err := j.prepare(); err != nil {
			return nil, err
		}
	}
	f, err := j.filler.Fill(row.Fields)
	if err != nil {
		return nil, fmt.Errorf("task %s, row %s: %w", j.Task.Name, row.ID, err)
	}
	s := &core.Sample{ID: row.ID, Index: index, Fields: row.Fields, Targets: f.Targets, Choices: f.Choices, Gold: f.Gold}
	text := f.Prompt
	if j.Shots != nil {
		text = prompt.WithShots(j.Shots(row), j.Task.Fewshot.Separator, text)
	}
	s.Prompt, s.Cut = j.cutPrompt(f.Preamble + text)
	if j.kind == core.ScoreText && s.Choices == nil {
		j.choose(s)
	}
	return s, nil
}

// choose gives a sample without choices of its own the task's labels, or the
// target alone.
func (j *Job) choose(s *core.Sample) {
	if j.rolling || len(j.Task.Labels) == 0 {
		s.Choices, s.Gold = s.Targets[:min(1, len(s.Targets))], []int{0}
		return
	}
	s.Choices, s.Gold = j.Task.Labels, places(s.Targets, j.Task.Labels)
}

// places finds targets among choices; -1 is one that is not there.
func places(targets, choices []string) []int {
	gold := make([]int, len(targets))
	for i, t := range targets {
		gold[i] = slices.Index(choices, t)
	}
	return gold
}

// Request makes what is sent for a sample.
func (j *Job) Request(s *core.Sample, repeat int) (core.Request, error) {
	if j.filler == nil {
		if err := j.prepare(); err != nil {
			return core.Request{}, err
		}
	}
	r := core.Request{
		ID:   fmt.Sprintf("%s/%s/%d", j.Task.Name, s.ID, repeat),
		Kind: j.kind, Prompt: s.Prompt, Adapter: j.Adapter, Generation: j.Generation(),
		Overflow: core.OverflowKeepTail, Repeat: repeat, Task: j.Task.Name, Sample: s.ID,
		Until: j.until(),
	}
	if j.Choices() {
		r.Choices = j.Task.Labels
	}
	switch {
	case j.rolling:
		r.Prompt, r.Overflow, r.Continuations = "", core.OverflowWindows, s.Choices
		return r, nil
	case j.kind == core.ScoreText:
		r.Continuations = make([]string, len(s.Choices))
		for i, c := range s.Choices {
			r.Continuations[i] = prompt.Delimiter(j.Task) + c
		}
	}
	if j.Form == core.FormChat {
		messages, err := prompt.Chat(j.Task.Chat.Family(j.Family), s.Fields, s.Prompt)
		if err != nil {
			return r, fmt.Errorf("task %s, row %s: chat: %w", j.Task.Name, s.ID, err)
		}
		r.Messages, r.Prompt = messages, ""
	}
	return r, nil
}

// Choices tells whether the answers are to be held to the task's labels. The
// published evaluator, whose profile is another way to ask, does not do that.
func (j *Job) Choices() bool {
	return j.Task.ForceLabels && !j.Free && j.kind == core.Generate && j.Profile != core.Bakeoff
}

// until gives, as data, what of an answer every judge reads, so that a backend
// may stop once none of it can change: the task's extraction, where it begins
// with a pattern and the judge looks at nothing else, or the patterns that the
// judge names itself. A judge that may read the whole answer forbids it.
func (j *Job) until() []core.Pattern {
	if len(j.Task.Pipelines) > 0 {
		return nil // several extractions look at one answer
	}
	extracts := len(j.Task.Extract) > 0
	byPattern := extracts && j.Task.Extract[0].Op == "regex"
	var all []core.Pattern
	add := func(p core.Pattern) {
		if !slices.Contains(all, p) {
			all = append(all, p)
		}
	}
	extraction := func() {
		s := j.Task.Extract[0]
		add(core.Pattern{Expr: s.Pattern, Flags: s.Flags, Group: s.Group, Select: s.Select})
	}
	if len(j.Judges) == 0 && byPattern && j.Profile != core.Bakeoff {
		extraction()
	}
	for _, judge := range j.Judges {
		switch info := judge.Metric.Info(); {
		case info.ReadsText && byPattern:
			extraction()
		case len(info.Reads) > 0 && !(info.ReadsText && extracts):
			for _, p := range info.Reads {
				add(p)
			}
		default:
			return nil
		}
	}
	return all
}
