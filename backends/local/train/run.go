package train

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"github.com/evalrun/evalrun/internal/filelock"
	"github.com/evalrun/evalrun/kernels"
)

// News is what a training tells after each window.
type News struct {
	Step, Steps int // micro-batches done, and all
	Updates     int
	Loss        float64 // mean of the window
	Smoothed    float64
	LR          float64
	GradNorm    float64 // before clipping; 0 where nothing was updated
	Tokens      int     // of the window
	Seconds     float64 // of the training so far
	// Validation is the mean loss over the validation examples where this
	// window ended with an evaluation.
	Validation *float64
	// Score is that of the answers to validation rows, where it is monitored.
	Score      *float64
	Checkpoint bool
}

// A Job is a training on examples, in a folder of its own.
type Job struct {
	// Dir keeps checkpoint, log and lock until the training has ended.
	Dir      string
	Recipe   *Recipe
	Tuned    *Tuned
	Examples []Example
	// Names are those of the examples, for messages.
	Names      []string
	Validation []Example
	// Identity is a hash of what must be the same for a checkpoint to go on.
	Identity string
	// Extent is what Measure gives of the same examples; nil is found out.
	Extent *Extent
	// Outline has counted what the device's operations need, which is taken at
	// once; nil lets it grow.
	Outline kernels.Outline
	// Machine names what computes, as the instruction-set path: the checkpoint
	// keeps it. It is not in Identity: another one goes on, to other bits.
	Machine string
	// Keep holds all activations of a window.
	Keep bool
	// Score gives the score of the values as they stand; it is asked at each
	// evaluation where the recipe monitors it. A lower one is better with
	// LowerIsBetter.
	Score         func(step int) (float64, error)
	LowerIsBetter bool
	// Decoded has the device keep decoded weights where that makes it faster.
	Decoded bool
	// Tell is called after each window.
	Tell func(News)

	lock    *filelock.Lock
	state   State  // of the checkpoint, while the folder is open
	from    string // its file; "" where there is none
	skipped error  // what is wrong with a later one
}

// Result is how a training ended.
type Result struct {
	State
	// Finished is false where the context ended it: the checkpoint goes on.
	Finished bool
	// Early says that validation did not get better any more.
	Early bool
	// Resumed is the step that a checkpoint went on from.
	Resumed int
}

// Run trains to the end, or until ctx ends; then the window in hand is
// finished and a checkpoint written. An uninterrupted training and one that
// was stopped, killed and resumed give the same bits. Run opens the folder
// where Open has not, and then closes it.
func (j *Job) Run(ctx context.Context) (res Result, err error) {
	if len(j.Examples) == 0 {
		return res, errors.New("there are no examples to train on")
	}
	if j.lock == nil {
		if _, err := j.Open(); err != nil {
			return res, err
		}
		defer j.Close()
	}
	s, err := j.stepper()
	if err != nil {
		return res, err
	}
	st := State{Identity: j.Identity}
	if j.from != "" {
		st = j.state
		if err := s.load(j.from, st); err != nil {
			return res, err
		}
	}
	if j.Machine != "" && (len(st.Machine) == 0 || st.Machine[len(st.Machine)-1] != j.Machine) {
		st.Machine = append(st.Machine, j.Machine)
	}
	res.Resumed = st.Step
	log, err := openMetrics(filepath.Join(j.Dir, metricsFile), st.Step)
	if err != nil {
		return res, err
	}
	defer func() { err = errors.Join(err, log.Close()) }()
	o := newOrder(len(j.Examples), j.Recipe)
	before, began, saved, best, whole := st.Seconds, time.Now(), st.Step, st.BestStep, j.skipped == nil
	checkpoint := func() error {
		st.Seconds = before + time.Since(began).Seconds()
		if err := errors.Join(j.Ours(), log.Sync()); err != nil {
			return err
		}
		if err := s.save(j.Dir, st, whole); err != nil {
			return err
		}
		err := j.dropBest(st.BestStep, best) // and what the one before counts on
		saved, best, whole = st.Step, st.BestStep, true
		return err
	}
	for st.Step < j.Recipe.Steps && !j.enough(&st) {
		if ctx.Err() != nil {
			if st.Step > saved {
				err = checkpoint()
			}
			res.State = st
			return res, err
		}
		w := o.window(st.Step)
		news, err := j.window(s, o, w)
		if err != nil {
			return res, err
		}
		st.Step, st.Updates = w.To, s.opt.Updates()
		if err := st.watch(news.Loss, news.GradNorm, w.Applied); err != nil {
			return res, err
		}
		if news.Validation, err = j.validate(s, w); err != nil {
			return res, err
		}
		if news.Validation != nil {
			if err := j.compare(&st, &news); err != nil {
				return res, err
			}
		}
		news.Checkpoint = news.Checkpoint || j.enough(&st)
		news.Step, news.Updates, news.Smoothed, news.Seconds = st.Step, st.Updates, st.Smoothed, before+time.Since(began).Seconds()
		if err := log.add(news); err != nil {
			return res, err
		}
		if news.Checkpoint {
			if err := checkpoint(); err != nil {
				return res, err
			}
		}
		if j.Tell != nil { // a checkpoint is told of when it is there
			j.Tell(news)
		}
	}
	res.State, res.Finished, res.Early = st, true, st.Step < j.Recipe.Steps
	if st.Best != nil && j.Recipe.Best {
		return res, j.restoreBest(st.BestStep)
	}
	return res, nil
}

// compare scores the values where that is monitored, enters an evaluation into
// the state, and keeps the values that are the best so far.
func (j *Job) compare(st *State, news *News) error {
	if j.Recipe.Monitor == MonitorScore && j.Score != nil {
		score, err := j.Score(st.Step)
		if err != nil {
			return fmt.Errorf("step %d: the score of the validation rows: %w", st.Step, err)
		}
		if score-score != 0 {
			return &NotFiniteError{Step: st.Step - 1, Example: -1, Detail: fmt.Sprintf("the score of the validation rows is %v", score)}
		}
		news.Score = &score
	}
	if !j.better(st, news) {
		st.Worse++
		return nil
	}
	if j.Recipe.Best {
		if err := j.keepBest(st.Step); err != nil {
			return err
		}
	}
	st.Best, st.BestScore, st.BestStep, st.Worse = news.Validation, news.Score, st.Step, 0
	return nil
}

// better compares an evaluation with the best so far: by the score, and by the
// loss where that is all there is or scores are alike. A hundred rows have few
// different scores.
func (j *Job) better(st *State, news *News) bool {
	if st.Best == nil {
		return true
	}
	if now, was := news.Score, st.BestScore; now != nil && was != nil && *now != *was {
		return (*now < *was) == j.LowerIsBetter
	}
	return *news.Validation < *st.Best
}

// enough tells whether validation has not got better for too long.
func (j *Job) enough(st *State) bool { return j.Recipe.Patience > 0 && st.Worse >= j.Recipe.Patience }

// window takes the values through one window.
func (j *Job) window(s *Stepper, o *order, w window) (News, error) {
	news := News{Steps: j.Recipe.Steps, LR: s.Rate(w.To - 1), Checkpoint: w.Checkpoint}
	var batch []Example
	var places, steps []int
	for i := w.From; i < w.To; i++ {
		from := len(batch)
		for k, at := range o.at(i) {
			e := j.Examples[at]
			e.Key = uint32(i*o.size + k) // dropout differs each time an example comes
			batch, places, steps = append(batch, e), append(places, at), append(steps, i)
			news.Tokens += len(e.IDs)
		}
		share(batch[from:])
	}
	var each []float64
	var err error
	if w.Applied {
		each, news.GradNorm, err = s.window(w.From, w.To-1, batch)
	} else {
		each = s.Losses(batch)
		err = notFinite(w.From, each)
	}
	if bad := (*NotFiniteError)(nil); errors.As(err, &bad) && bad.Example >= 0 {
		bad.Step = steps[bad.Example]
		if bad.Example = places[bad.Example]; bad.Example < len(j.Names) {
			bad.Row = j.Names[bad.Example]
		}
	}
	for i, l := range each {
		news.Loss += batch[i].weight() * l / float64(w.To-w.From)
	}
	return news, err
}

func (j *Job) extent() *Extent {
	if j.Extent == nil {
		j.Extent = j.Measure()
	}
	return j.Extent
}

// stepper plans the memory of the largest window and takes it.
func (j *Job) stepper() (*Stepper, error) {
	x := j.extent()
	s, err := NewStepper(j.Tuned, j.Recipe, x.Tokens, x.Judged, j.Keep)
	if err == nil && j.Decoded {
		err = s.Decode()
	}
	if err != nil || j.Outline == nil {
		return s, err
	}
	return s, j.Tuned.dev.(kernels.Outliner).Reserve(j.Outline)
}

// FirstWindow numbers the examples of the first window.
func (j *Job) FirstWindow() []int {
	o := newOrder(len(j.Examples), j.Recipe)
	var out []int
	for i := range o.window(0).To {
		out = append(out, o.at(i)...)
	}
	return out
}

// Probe times a few of the first windows, and from their tokens reckons what a
// micro-batch takes on the average of the whole training; evaluations are not
// in it. A window before them, which is not timed, brings everything into
// memory. The values have moved then: nothing is trained on from there.
func (j *Job) Probe(windows int) (secondsPerStep float64, err error) {
	s, err := j.stepper()
	if err != nil {
		return 0, err
	}
	o := newOrder(len(j.Examples), j.Recipe)
	if _, err := j.window(s, o, o.window(0)); err != nil {
		return 0, err
	}
	began, tokens := time.Now(), 0
	for step := 0; windows > 0 && step < j.Recipe.Steps; windows-- {
		w := o.window(step)
		news, err := j.window(s, o, w)
		if err != nil {
			return 0, err
		}
		tokens, step = tokens+news.Tokens, w.To
	}
	return time.Since(began).Seconds() / float64(tokens) * j.extent().Mean, nil
}

// validate gives the mean loss over the validation examples where an
// evaluation is due behind the window; nil where none is.
func (j *Job) validate(s *Stepper, w window) (*float64, error) {
	every := j.Recipe.EvalEvery
	if len(j.Validation) == 0 || every <= 0 || w.To/every == w.From/every && w.To != j.Recipe.Steps {
		return nil, nil
	}
	rows := j.Validation
	if n := j.Recipe.EvalRows; n > 0 && n < len(rows) {
		rows = rows[:n]
	}
	var losses []float64
	for at := range slices.Chunk(rows, j.Recipe.Window()) {
		losses = append(losses, s.Losses(at)...)
	}
	for i, l := range losses {
		if l-l != 0 {
			return nil, &NotFiniteError{Step: w.To - 1, Example: -1, Detail: fmt.Sprintf("the loss of validation example %d is %v", i, l)}
		}
	}
	sum, size := 0.0, max(1, j.Recipe.EvalBatch)
	for from := 0; from < len(rows); from += size {
		batch := slices.Clone(rows[from:min(from+size, len(rows))])
		share(batch)
		for i := range batch {
			sum += batch[i].weight() * losses[from+i]
		}
	}
	sum /= float64((len(rows) + size - 1) / size)
	return &sum, nil
}
