package train

import (
	"iter"
	"math/rand/v2"
)

// An order says which example each micro-batch takes, and where windows end.
// Both follow from the step alone, so that a training that is resumed, however
// often, goes the same way.
type order struct {
	n      int // examples
	r      *Recipe
	size   int // examples of a micro-batch
	all    int // micro-batches that the examples make
	steps  int // those of them that an epoch takes
	epoch  int
	places []int // of that epoch
}

// newOrder is that of n examples. Ludwig leaves out the last micro-batch of an
// epoch where it is one example and others are more.
func newOrder(n int, r *Recipe) *order {
	o := &order{n: n, r: r, size: max(1, r.Batch), epoch: -1}
	o.all = (n + o.size - 1) / o.size
	if o.steps = o.all; r.UpdateAtCheckpoint && o.size > 1 && n%o.size == 1 && o.all > 1 {
		o.steps--
	}
	return o
}

// at gives the examples of a micro-batch: every epoch goes through all examples
// in an order of its own; its last micro-batch may be smaller.
func (o *order) at(step int) []int {
	if e := step / o.steps; e != o.epoch {
		o.epoch = e
		o.places = rand.New(rand.NewPCG(o.r.Seed, uint64(e))).Perm(o.n)
	}
	from := step % o.steps * o.size
	return o.places[from:min(from+o.size, o.n)]
}

// A window is micro-batches From to To-1. One that is not Applied ends with its
// epoch before it is full, and its gradients are dropped, as Ludwig does.
type window struct {
	From, To   int
	Applied    bool
	Checkpoint bool // a checkpoint is due behind it
}

// window gives the one that begins at step. Windows are counted within an
// epoch, where the recipe updates at checkpoints (as Ludwig does), and
// otherwise go on through epochs.
func (o *order) window(step int) window {
	size := o.r.Accumulate
	w := window{From: step, To: step + size - step%size, Applied: true}
	end := o.r.Steps
	if o.r.UpdateAtCheckpoint {
		inEpoch := step % o.steps
		w.To = step + size - inEpoch%size
		if e := step - inEpoch + o.steps; w.To > e {
			w.To, w.Applied = e, false
		}
		every := o.r.checkpointEvery(o.all)
		if c := (step/every + 1) * every; w.To >= c {
			w.To, w.Applied, w.Checkpoint = c, true, true
		}
	} else if every := o.r.checkpointEvery(o.all); every > 0 {
		w.Checkpoint = w.To/every > step/every
	}
	if w.To >= end {
		w.To, w.Applied, w.Checkpoint = end, true, true
	}
	return w
}

// checkpointEvery is the recipe's, but an epoch where that is shorter and the
// recipe follows Ludwig.
func (r *Recipe) checkpointEvery(epoch int) int {
	if r.UpdateAtCheckpoint && (r.CheckpointEvery == 0 || r.CheckpointEvery > epoch) {
		return epoch
	}
	return r.CheckpointEvery
}

// A Micro is one micro-batch of a training.
type Micro struct {
	Step     int
	Examples []int   // their places in Job.Examples
	LR       float64 // in force during it
	// Update says that its window is applied behind it, Drop that the window's
	// gradients are dropped, because its epoch has ended.
	Update, Drop bool
}

// Order gives the micro-batches as Run takes them, from the first on.
func (j *Job) Order() iter.Seq[Micro] {
	return func(yield func(Micro) bool) {
		o, rates := newOrder(len(j.Examples), j.Recipe), j.Recipe.Rates()
		for step := 0; step < j.Recipe.Steps; {
			w := o.window(step)
			for ; step < w.To; step++ {
				last := step == w.To-1
				if !yield(Micro{Step: step, Examples: o.at(step), LR: rates.Rate(step), Update: last && w.Applied, Drop: last && !w.Applied}) {
					return
				}
			}
		}
	}
}
