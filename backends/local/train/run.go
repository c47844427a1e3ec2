package train

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/evalrun/evalrun/backends/local/weights"
	"github.com/evalrun/evalrun/internal/filelock"
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
	// Keep holds all activations of a window.
	Keep bool
	// Tell is called after each window.
	Tell func(News)
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

const (
	lockFile    = "lock"
	metricsFile = "metrics.jsonl"
	smoothing   = 0.02 // share of a new window in the loss that is shown
	// explode is how many times the smoothed loss, and at least how much more,
	// the loss of explodeWindows windows may be before the watchdog stops.
	explode        = 4
	explodeMore    = 5.0
	explodeWindows = 3
)

// Run trains to the end, or until ctx ends; then the window in hand is
// finished and a checkpoint written. An uninterrupted training and one that
// was stopped, killed and resumed give the same bits.
func (j *Job) Run(ctx context.Context) (res Result, err error) {
	if len(j.Examples) == 0 {
		return res, errors.New("there are no examples to train on")
	}
	if err := os.MkdirAll(j.Dir, 0o777); err != nil {
		return res, err
	}
	lock, err := filelock.Acquire(filepath.Join(j.Dir, lockFile))
	if err != nil {
		return res, err
	}
	defer lock.Release()
	tokens, judged, _ := j.Windows()
	s, err := NewStepper(j.Tuned, j.Recipe, tokens, judged, j.Keep)
	if err != nil {
		return res, err
	}
	st, found, err := s.load(j.Dir, j.Identity)
	if err != nil {
		return res, err
	}
	if !found {
		st = State{Identity: j.Identity}
	}
	res.Resumed = st.Step
	log, err := openMetrics(filepath.Join(j.Dir, metricsFile), st.Step)
	if err != nil {
		return res, err
	}
	defer func() { err = errors.Join(err, log.Close()) }()
	o := newOrder(len(j.Examples), j.Recipe)
	watch := watchdog{}
	before, began := st.Seconds, time.Now()
	for st.Step < j.Recipe.Steps {
		w := o.window(st.Step)
		var batch []Example
		var places []int
		news := News{Steps: j.Recipe.Steps, LR: s.Rate(w.To - 1), Checkpoint: w.Checkpoint}
		for i := w.From; i < w.To; i++ {
			at := o.at(i)
			e := j.Examples[at]
			e.Key = uint32(i) // dropout differs each time an example comes
			batch, places = append(batch, e), append(places, at)
			news.Tokens += len(e.IDs)
		}
		var each []float64
		if w.Applied {
			each, news.GradNorm, err = s.Window(w.From, batch)
		} else {
			each = s.Losses(batch)
		}
		if err != nil {
			return res, j.explain(err, places)
		}
		for _, l := range each {
			news.Loss += l / float64(len(each))
		}
		if err := watch.look(news.Loss, st.Smoothed, w.To-1); err != nil {
			return res, err
		}
		st.Step, st.Updates = w.To, s.opt.Updates()
		if st.Smoothed == 0 {
			st.Smoothed = news.Loss
		}
		st.Smoothed += smoothing * (news.Loss - st.Smoothed)
		stop := false
		if v := j.validate(s, w); v != nil {
			news.Validation = v
			if st.Best == nil || *v < *st.Best {
				st.Best, st.BestStep, st.Worse = v, w.To, 0
				if err := j.keepBest(); err != nil {
					return res, err
				}
			} else if st.Worse++; j.Recipe.Patience > 0 && st.Worse >= j.Recipe.Patience {
				stop = true
			}
		}
		st.Seconds = before + time.Since(began).Seconds()
		news.Step, news.Updates, news.Smoothed, news.Seconds = st.Step, st.Updates, st.Smoothed, st.Seconds
		if err := log.add(news); err != nil {
			return res, err
		}
		if j.Tell != nil {
			j.Tell(news)
		}
		stopped := ctx.Err() != nil
		if w.Checkpoint || stop || stopped {
			if lock.Lost() {
				return res, fmt.Errorf("%s was removed: another process may write here; nothing more is written", filepath.Join(j.Dir, lockFile))
			}
			if err := errors.Join(log.Sync(), s.save(j.Dir, st)); err != nil {
				return res, fmt.Errorf("step %d: %w", st.Step, err)
			}
		}
		if stop {
			res.State, res.Finished, res.Early = st, true, true
			return res, j.restoreBest()
		}
		if stopped && st.Step < j.Recipe.Steps {
			res.State = st
			return res, nil
		}
	}
	res.State, res.Finished = st, true
	if st.Best != nil && j.Recipe.Patience > 0 {
		return res, j.restoreBest()
	}
	return res, nil
}

// Windows gives the most tokens and judged labels of any window, which a plan
// of memory must hold, and the number of updates.
func (j *Job) Windows() (tokens, judged, updates int) {
	o := newOrder(len(j.Examples), j.Recipe)
	for step := 0; step < j.Recipe.Steps; {
		w := o.window(step)
		t, n := 0, 0
		for i := w.From; i < w.To; i++ {
			e := &j.Examples[o.at(i)]
			t, n = t+len(e.IDs), n+e.Judged()
		}
		tokens, judged = max(tokens, t), max(judged, n)
		if w.Applied {
			updates++
		}
		step = w.To
	}
	t, n := Largest(j.Validation, j.Recipe.Accumulate)
	return max(tokens, t), max(judged, n), updates
}

// FirstWindow numbers the examples of the first window.
func (j *Job) FirstWindow() []int {
	o := newOrder(len(j.Examples), j.Recipe)
	var out []int
	for i := range o.window(0).To {
		out = append(out, o.at(i))
	}
	return out
}

// Probe times micro-batches of the first windows and changes nothing that
// stays: the gradients are dropped.
func (j *Job) Probe(windows int) (secondsPerStep float64, err error) {
	tokens, judged, _ := j.Windows()
	s, err := NewStepper(j.Tuned, j.Recipe, tokens, judged, j.Keep)
	if err != nil {
		return 0, err
	}
	o, step := newOrder(len(j.Examples), j.Recipe), 0
	began := time.Now()
	for range windows {
		if step >= j.Recipe.Steps {
			break
		}
		w := o.window(step)
		var batch []Example
		for i := w.From; i < w.To; i++ {
			batch = append(batch, j.Examples[o.at(i)])
		}
		s.pass.Backward(pack(s.t.model, batch, s.recipe.Seed, func(int) float64 { return 1 }))
		step = w.To
	}
	s.clear()
	return time.Since(began).Seconds() / float64(step), nil
}

// ResumesAt tells the step that Run would go on from, and what keeps it from
// that.
func (j *Job) ResumesAt() (int, error) {
	f, err := weights.Open(filepath.Join(j.Dir, checkpointFile))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	var st State
	err = errors.Join(json.Unmarshal([]byte(f.Metadata()["state"]), &st), f.Close())
	if err == nil && st.Identity != j.Identity {
		err = ErrOtherTraining
	}
	return st.Step, err
}

// explain names the row behind a loss that is no number.
func (j *Job) explain(err error, places []int) error {
	var bad *NotFiniteError
	if errors.As(err, &bad) && bad.Example >= 0 && places[bad.Example] < len(j.Names) {
		return fmt.Errorf("%w, row %s (example %d): lower the learning rate, or look at that row; nothing of this window was saved", err, j.Names[places[bad.Example]], places[bad.Example])
	}
	return err
}

// validate gives the mean loss over the validation examples where an
// evaluation is due behind the window.
func (j *Job) validate(s *Stepper, w window) *float64 {
	every := j.Recipe.EvalEvery
	if len(j.Validation) == 0 || every <= 0 || w.To/every == w.From/every && w.To != j.Recipe.Steps {
		return nil
	}
	rows := j.Validation
	if n := j.Recipe.EvalRows; n > 0 && n < len(rows) {
		rows = rows[:n]
	}
	sum, size := 0.0, j.Recipe.Accumulate
	for from := 0; from < len(rows); from += size {
		for _, l := range s.Losses(rows[from:min(from+size, len(rows))]) {
			sum += l
		}
	}
	sum /= float64(len(rows))
	return &sum
}

const bestFile = "best.safetensors"

func (j *Job) keepBest() error {
	return weights.WriteSafetensors(filepath.Join(j.Dir, bestFile), j.Tuned.stored(), nil)
}

// restoreBest goes back to the values of the best validation.
func (j *Job) restoreBest() error {
	f, err := weights.Open(filepath.Join(j.Dir, bestFile))
	if err != nil {
		return err
	}
	defer f.Close()
	for _, p := range j.Tuned.params {
		t, err := f.Tensor(p.Name)
		if err != nil {
			return err
		}
		values, err := t.Floats()
		if err != nil {
			return err
		}
		j.Tuned.dev.Write(p.Value, values)
	}
	return j.Tuned.Refresh()
}

// watchdog stops a training whose loss has left where it was for good.
type watchdog struct{ high int }

func (w *watchdog) look(loss, smoothed float64, step int) error {
	if smoothed > 0 && loss > explode*smoothed && loss > smoothed+explodeMore {
		w.high++
	} else {
		w.high = 0
	}
	if w.high < explodeWindows {
		return nil
	}
	return fmt.Errorf("step %d: the loss is %.3g where it was %.3g, for %d windows: the training has come apart; lower the learning rate or lengthen the warm-up", step, loss, smoothed, w.high)
}

// metrics is the log of a training, a line a window.
type metrics struct {
	f *os.File
	w *bufio.Writer
}

// openMetrics opens the log and drops what was written behind the checkpoint
// at step: those windows come again.
func openMetrics(path string, step int) (*metrics, error) {
	old, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	keep := 0
	for at := 0; at < len(old); {
		end := bytes.IndexByte(old[at:], '\n')
		if end < 0 {
			break
		}
		var line struct{ Step int }
		if json.Unmarshal(old[at:at+end], &line) != nil || line.Step > step {
			break
		}
		at += end + 1
		keep = at
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	if err := f.Truncate(int64(keep)); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	if _, err := f.Seek(0, io.SeekEnd); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &metrics{f: f, w: bufio.NewWriter(f)}, nil
}

// add writes a window's line; its numbers do not depend on the clock.
func (m *metrics) add(n News) error {
	line := struct {
		Step       int      `json:"step"`
		Updates    int      `json:"updates"`
		Loss       float64  `json:"loss"`
		Smoothed   float64  `json:"smoothed"`
		LR         float64  `json:"lr"`
		GradNorm   float64  `json:"grad_norm"`
		Tokens     int      `json:"tokens"`
		Validation *float64 `json:"validation,omitempty"`
	}{n.Step, n.Updates, n.Loss, n.Smoothed, n.LR, n.GradNorm, n.Tokens, n.Validation}
	b, err := json.Marshal(line)
	if err != nil {
		return fmt.Errorf("log of step %d: %w", n.Step, err)
	}
	if _, err := m.w.Write(append(b, '\n')); err != nil {
		return err
	}
	return m.w.Flush()
}

// Sync makes the log as old as the checkpoint that follows.
func (m *metrics) Sync() error { return errors.Join(m.w.Flush(), m.f.Sync()) }

// Close ends the log.
func (m *metrics) Close() error { return errors.Join(m.w.Flush(), m.f.Close()) }
