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

// A Judge is one metric in one profile.
type Judge struct {
	Metric  core.Metric
	Profile core.Profile
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
	// Adapter of the backend that answers; empty is the base model.
	Adapter string
	// Repeat asks each row this many times; 0 is once.
	Repeat int
	// Form is how the prompt is sent.
	Form core.Form
	// Family of the model, for the chat form.
	Family string

	template *prompt.Template
	pipeline *extract.Pipeline
	kind     core.Kind
	keep     []string // columns that the records must carry
}

// prepare compiles what every row needs.
func (j *Job) prepare() error {
	var err error
	if j.template, err = prompt.Parse(j.Task.Prompt); err != nil {
		return fmt.Errorf("task %s: prompt: %w", j.Task.Name, err)
	}
	if len(j.Task.Extract) > 0 {
		if j.pipeline, err = extract.New(j.Task.Extract); err != nil {
			return fmt.Errorf("task %s: extract: %w", j.Task.Name, err)
		}
	}
	j.kind = core.Generate
	j.keep = nil
	byScores, byAnswer := "", ""
	for _, judge := range j.Judges {
		info := judge.Metric.Info()
		if slices.Contains(info.Needs, "scores") {
			j.kind, byScores = core.ScoreText, info.Name
		} else {
			byAnswer = info.Name
		}
		for _, need := range info.Needs {
			if column, ok := strings.CutPrefix(need, "field:"); ok && !slices.Contains(j.keep, column) {
				j.keep = append(j.keep, column)
			}
		}
	}
	if byScores != "" && byAnswer != "" {
		return &core.UserError{Where: j.Task.Path, Message: fmt.Sprintf("the metric %s judges log-likelihoods and %s judges an answer: one request cannot give both", byScores, byAnswer),
			Hint: "write a second task file for one of them"}
	}
	if j.kind == core.ScoreText && len(j.Task.Labels) == 0 {
		return &core.UserError{Where: j.Task.Path, Message: "a log-likelihood metric needs the answers to choose from",
			Hint: "list them under labels:"}
	}
	j.Repeat = max(j.Repeat, 1)
	return nil
}

// Kind is what the job's requests ask of a backend.
func (j *Job) Kind() (core.Kind, error) {
	if j.template == nil {
		if err := j.prepare(); err != nil {
			return 0, err
		}
	}
	return j.kind, nil
}

// Sample renders one row.
func (j *Job) Sample(index int, row Row) (*core.Sample, error) {
	if j.template == nil {
		if err := j.prepare(); err != nil {
			return nil, err
		}
	}
	text, err := j.template.Render(row.Fields)
	if err != nil {
		return nil, fmt.Errorf("task %s, row %s: %w", j.Task.Name, row.ID, err)
	}
	targets, err := prompt.Target(row.Fields, j.Task.Target)
	if err != nil {
		return nil, fmt.Errorf("task %s, row %s: target: %w", j.Task.Name, row.ID, err)
	}
	if j.Shots != nil {
		text = prompt.WithShots(j.Shots(row), j.Task.Fewshot.Separator, text)
	}
	text, cut := j.cutPrompt(text)
	return &core.Sample{ID: row.ID, Index: index, Fields: row.Fields, Prompt: text, Cut: cut, Targets: targets}, nil
}

// Request makes what is sent for a sample.
func (j *Job) Request(s *core.Sample, repeat int) (core.Request, error) {
	if j.template == nil {
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
	if j.kind == core.ScoreText {
		r.Continuations = make([]string, len(j.Task.Labels))
		for i, l := range j.Task.Labels {
			r.Continuations[i] = " " + l
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

// until gives the task's extraction as data where it begins with a pattern: a
// backend may then stop once the extraction cannot change. The published
// evaluator's functions read the whole answer with patterns of their own, so
// where one of them judges, nothing may be cut off.
func (j *Job) until() []core.Pattern {
	if len(j.Task.Extract) == 0 || j.Task.Extract[0].Op != "regex" || j.Profile == core.Bakeoff {
		return nil
	}
	for _, judge := range j.Judges {
		if judge.Profile == core.Bakeoff {
			return nil
		}
	}
	s := j.Task.Extract[0]
	return []core.Pattern{{Expr: s.Pattern, Flags: s.Flags, Group: s.Group, Select: s.Select}}
}
