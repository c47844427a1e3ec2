package core

import (
	"context"
	"iter"
)

// A Trainer is a backend that can also fine-tune its model: an optional
// ability, announced by [Info.Trains].
type Trainer interface {
	Backend
	// Train works through a job and yields its news, ending after EndNews or
	// with an error. When ctx ends, the trainer finishes the step in hand,
	// leaves a checkpoint and yields EndNews with Finished false; the same job
	// then goes on. An error that wraps ErrSessionLost means that the process
	// is gone; the last checkpoint stays.
	Train(ctx context.Context, job Job) iter.Seq2[TrainNews, error]
}

// A Job is paths and a recipe: neither weights nor rows cross the border.
type Job struct {
	// Data and Validation are files of JSON lines, {"id", "prompt",
	// "completion"} or {"id", "messages"}; Validation may be empty.
	Data, Validation string
	// Out is the folder that the adapter is left in, and until then the
	// checkpoints.
	Out string
	// Recipe is a JSON object of the trainer's settings; the key "preset" names
	// what it starts from. Unknown keys are an error.
	Recipe string
	// Metric names the score that the caller can give of the validation rows;
	// empty is none, and then no ScoreNews come. LowerIsBetter belongs to it.
	Metric        string
	LowerIsBetter bool
	// PlanOnly ends after PlanNews and a few steps that time the machine.
	PlanOnly bool
	// Memory is the most bytes that the plan may have; 0 is what the machine has.
	Memory int64
}

// TrainNewsKind says which field of TrainNews is set.
type TrainNewsKind uint8

// The kinds. Those of score and step take turns between plan and end.
const (
	PlanNews TrainNewsKind = iota + 1
	StepNews
	EndNews
	ScoreNews
)

// TrainNews is one piece of news of a training.
type TrainNews struct {
	Kind TrainNewsKind
	Plan *TrainPlan
	Step *TrainStep
	End  *TrainEnd
	// Score is a question, which the receiver answers before it asks for the
	// next news.
	Score *TrainScore
}

// TrainScore asks for the score of the model as it stands, where the recipe
// follows Job.Metric. Until the next news is asked for, sessions of the
// trainer's backend know that model as Adapter.
type TrainScore struct {
	Step    int
	Adapter string
	// Rows is the number of validation rows to ask, from the first; 0 is all.
	Rows int
	// Value is the receiver's to set; it is nil as it comes. The training ends
	// with an error where it stays nil or is no number.
	Value *float64
}

// TrainPlan is told before the first step.
type TrainPlan struct {
	// Recipe is the effective one, as JSON: nothing in it is a default any more.
	Recipe string
	// Examples are counted; Left names rows that were left out, with reasons.
	Examples, Validation int
	Truncated, Cut       int
	Left                 []string
	PromptTokens         int // limit of a prompt, 0 none
	TotalTokens          int // limit of an example
	// Parameters are trained, of Model all together.
	Parameters, Model int64
	// Steps are micro-batches; Updates those of the optimiser in all.
	Steps, Updates int
	// Memory is the plan by kind; Recompute says that activations are computed
	// twice to save memory.
	Memory    []MemoryPart
	Recompute bool
	// Resumed is the step that a checkpoint goes on from.
	Resumed int
	// SecondsPerStep is measured, where the plan alone was asked for.
	SecondsPerStep float64
	// Batch shows the tokens of the first window, for people.
	Batch []string
}

// MemoryPart is the bytes of one kind of data.
type MemoryPart struct {
	Name  string
	Bytes int64
}

// TrainStep is told after each accumulation window.
type TrainStep struct {
	Step, Updates  int
	Loss, Smoothed float64
	LR             float64
	GradNorm       float64 // before clipping; 0 where nothing was updated
	Tokens         int
	Seconds        float64 // of the training so far
	Evaluated      bool
	Validation     float64 // mean loss, where Evaluated
	Scored         bool
	Score          float64 // by Job.Metric, where Scored
	Checkpoint     bool
	PeakMemory     int64 // resident bytes so far
}

// TrainEnd is the last news.
type TrainEnd struct {
	// Adapter is the folder, Hash that of its files; empty unless Finished.
	Adapter, Hash string
	Finished      bool
	// Early says that validation no longer got better.
	Early         bool
	Step, Updates int
	Seconds       float64
	// BestStep is that of the best evaluation, 0 where there was none; Best is
	// its validation loss, BestScore its score where Scored.
	BestStep  int
	Best      float64
	Scored    bool
	BestScore float64
}
