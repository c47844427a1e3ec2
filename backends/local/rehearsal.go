package local

import (
	"errors"
	"iter"

	"github.com/evalrun/evalrun/backends/local/arch"
	"github.com/evalrun/evalrun/backends/local/train"
	"github.com/evalrun/evalrun/core"
)

// A Rehearsal goes through a job without training: what the model would be
// given step by step, and the adapter that the training begins with. Another
// program can do the same training from them.
type Rehearsal struct{ t *training }

// A MicroBatch is one example of a training in its place; those of one
// micro-batch have the same Step.
type MicroBatch struct {
	Step        int
	ID          string  // of the row
	LR          float64 // in force during it
	IDs, Labels []int32 // a label of -100 is not judged
	// Update says that the gradients since the last one are applied behind it,
	// Drop that they are dropped.
	Update, Drop bool
}

// Rehearse reads a job's rows for the model as Train does.
func Rehearse(model string, job core.Job) (*Rehearsal, error) {
	t := &training{backend: &backend{config: core.Config{Model: model}}, job: job, dry: true}
	if err := t.open(); err != nil {
		return nil, err
	}
	if err := t.read(); err != nil {
		return nil, errors.Join(err, t.close())
	}
	return &Rehearsal{t}, nil
}

// MicroBatches gives the micro-batches in their order.
func (r *Rehearsal) MicroBatches() iter.Seq[MicroBatch] {
	return func(yield func(MicroBatch) bool) {
		job := &train.Job{Recipe: &r.t.recipe, Examples: r.t.data.Examples}
		for m := range job.Order() {
			for i, at := range m.Examples {
				e, last := &r.t.data.Examples[at], i == len(m.Examples)-1
				if !yield(MicroBatch{Step: m.Step, ID: r.t.data.IDs[at], LR: m.LR, IDs: e.IDs, Labels: e.Labels, Update: last && m.Update, Drop: last && m.Drop}) {
					return
				}
			}
		}
	}
}

// Start writes the adapter before its first step into the folder dir: its
// values follow from the recipe's seed.
func (r *Rehearsal) Start(dir string) (err error) {
	t := r.t
	if err := t.device(); err != nil {
		return err
	}
	model, err := arch.Build(t.dev, t.config, t.file, 0, t.options)
	t.file = nil // it is the model's
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, model.Close()) }()
	tuned, err := train.Fresh(t.dev, model, &t.recipe)
	if err != nil {
		return err
	}
	return t.write(dir, tuned)
}

// Close lets go of the model.
func (r *Rehearsal) Close() error { return r.t.close() }
