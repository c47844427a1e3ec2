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
	epoch  int
	places []int // of that epoch
}

func newOrder(n int, r *Recipe) *order { return &order{n: n, r: r, epoch: -1} }

// at is the example of a micro-batch: every epoch goes through all examples in
// an order of its own.
func (o *order) at(step int) int {
	if e := step / o.n; e != o.epoch {
		o.epoch = e
		o.places = rand.New(rand.NewPCG(o.r.Seed, uint64(e))).Perm(o.n)
	}
	return o.places[step%o.n]
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
		inEpoch := step % o.n
		w.To = step + size - inEpoch%size
		if e := step - inEpoch + o.n; w.To > e {
			w.To, w.Applied = e, false
		}
		every := o.r.checkpointEvery(o.n)
		if c := (step/every + 1) * every; w.To >= c {
			w.To, w.Applied, w.Checkpoint = c, true, true
		}
	} else if every := o.r.checkpointEvery(o.n); every > 0 {
		w.Checkpoint = w.To/every > step/every
	}
	if w.To >= end {
		w.To, w.Applied, w.Checkpoint = end, true, true
	}
	return w
}

// checkpointEvery is the recipe's, but an epoch where that is shorter and the
// recipe follows Ludwig.
func (r *Recipe) checkpointEvery(examples int) int {
	if r.UpdateAtCheckpoint && (r.CheckpointEvery == 0 || r.CheckpointEvery > examples) {
		return examples
	}
	return r.CheckpointEvery
}

// A Micro is one micro-batch of a training.
type Micro struct {
	Step    int
	Example int     // its place in Job.Examples
	LR      float64 // in force during it
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
				if !yield(Micro{Step: step, Example: o.at(step), LR: rates.Rate(step), Update: last && w.Applied, Drop: last && !w.Applied}) {
					return
				}
			}
		}
	}
}
