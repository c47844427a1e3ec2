package train

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/evalrun/evalrun/backends/local/weights"
	"github.com/evalrun/evalrun/kernels"
)

// State is what a checkpoint keeps beside the tensors.
type State struct {
	// Step is the micro-batch that comes next, Updates those that were made.
	Step    int `json:"step"`
	Updates int `json:"updates"`
	// Identity is a hash of the base model, the examples and the recipe: a
	// checkpoint goes on only with the same.
	Identity string `json:"identity"`
	// Machine names what computed so far, in order; several are bits that no one
	// of them gives alone.
	Machine []string `json:"machine,omitempty"`
	// Smoothed is the loss that is shown.
	Smoothed float64 `json:"smoothed"`
	// Lowest is the lowest that it was; Apart counts the windows in a row that
	// had come apart: both are the watchdog's.
	Lowest float64 `json:"lowest,omitempty"`
	Apart  int     `json:"apart,omitempty"`
	// Best is the validation loss of the best evaluation so far, BestScore its
	// score where that is monitored, and BestStep the step it was made at; Worse
	// counts the evaluations since.
	Best      *float64 `json:"best,omitempty"`
	BestScore *float64 `json:"best_score,omitempty"`
	BestStep  int      `json:"best_step,omitempty"`
	Worse     int      `json:"worse,omitempty"`
	// Seconds of training so far, over all processes.
	Seconds float64 `json:"seconds"`
}

const (
	checkpointFile = "checkpoint.safetensors"
	previousFile   = "checkpoint-previous.safetensors" // the one before, for when the last is found damaged
	nextFile       = "checkpoint-next.safetensors"     // written, and not yet the last
	// checkpointVersion rises when older checkpoints mean something else.
	checkpointVersion = "3"
)

// What a checkpoint may be refused for; the errors that wrap these name the file.
var (
	// ErrOtherTraining: it belongs to another base model, other examples or
	// another recipe.
	ErrOtherTraining = errors.New("the checkpoint belongs to another training")
	// ErrOtherVersion: another version of the program wrote it.
	ErrOtherVersion = errors.New("the checkpoint is of another version of the program")
	// ErrDamaged: its bytes are not those that were written.
	ErrDamaged = errors.New("the checkpoint is damaged")
)

// save writes a checkpoint: whole, or the last one stays. The last one becomes
// the previous, unless that is what the training went on from because the last
// is damaged. Values that are no finite numbers are not saved: nothing could go
// on from them.
func (s *Stepper) save(dir string, st State, lastIsWhole bool) error {
	text, err := json.Marshal(st)
	if err != nil {
		return fmt.Errorf("checkpoint: %w", err)
	}
	var all []weights.Tensor
	for _, p := range s.t.params {
		for what, b := range s.buffers(p) {
			if sum := s.t.dev.SumSquares(b)[0]; sum-sum != 0 {
				return &NotFiniteError{Step: st.Step - 1, Example: -1, Detail: fmt.Sprintf("%s%s is not finite", what, p.Name)}
			}
			x := s.t.tensor(p, b)
			x.Name = what + p.Name
			all = append(all, x)
		}
	}
	last, next := filepath.Join(dir, checkpointFile), filepath.Join(dir, nextFile)
	if err := writeSealed(next, string(text), all); err != nil {
		return err
	}
	// A process that is killed between the two leaves the previous alone, whole.
	if lastIsWhole {
		if err := os.Rename(last, filepath.Join(dir, previousFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return weights.Rename(next, last)
}

// buffers are what a checkpoint holds of a parameter.
func (s *Stepper) buffers(p *Parameter) map[string]kernels.Buffer {
	return map[string]kernels.Buffer{"value.": p.Value, "m.": p.M, "v.": p.V}
}

// load brings values and optimiser to the checkpoint in a file, whose state st
// is.
func (s *Stepper) load(path string, st State) error {
	f, _, err := openSealed(path)
	if err != nil {
		return err
	}
	defer f.Close()
	for _, p := range s.t.params {
		for what, b := range s.buffers(p) {
			if err := s.t.restore(f, what+p.Name, b, p.N); err != nil {
				return err
			}
		}
	}
	s.opt.SetUpdates(st.Updates)
	return s.t.Refresh()
}

// restore fills a buffer from a tensor of a sealed file.
func (t *Tuned) restore(f *weights.File, name string, to kernels.Buffer, n int) error {
	x, err := f.Tensor(name)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	values, err := x.Floats()
	if err != nil || len(values) != n {
		return fmt.Errorf("%s: %w: tensor %q has %d values, want %d (%v)", f.Path(), ErrDamaged, name, len(values), n, err)
	}
	t.dev.Write(to, values)
	return nil
}

// readState gives the checkpoint in a file without its values; false where there
// is none.
func readState(path, identity string) (st State, found bool, err error) {
	f, text, err := openSealed(path)
	if errors.Is(err, fs.ErrNotExist) {
		return st, false, nil
	}
	if err != nil {
		return st, false, err
	}
	if err := errors.Join(json.Unmarshal([]byte(text), &st), f.Close()); err != nil {
		return State{}, false, fmt.Errorf("%s: %w: %w", path, ErrDamaged, err)
	}
	if st.Identity != identity {
		return State{}, false, fmt.Errorf("%s: %w", path, ErrOtherTraining)
	}
	return st, true, nil
}

// bestFile holds the values at the step with the best validation. Its name has
// the step, so that those that the last two checkpoints count on stay until later
// ones count on others.
func bestFile(step int) string { return fmt.Sprintf("best-%d.safetensors", step) }

func (j *Job) keepBest(step int) error {
	if err := j.Ours(); err != nil {
		return err
	}
	return writeSealed(filepath.Join(j.Dir, bestFile(step)), "", j.Tuned.stored())
}

// dropBest removes the best values but those of some steps.
func (j *Job) dropBest(except ...int) error {
	found, err := filepath.Glob(filepath.Join(globbed(j.Dir), "best-*.safetensors"))
	for _, path := range found {
		if !slices.ContainsFunc(except, func(step int) bool { return filepath.Base(path) == bestFile(step) }) {
			err = errors.Join(err, os.Remove(path))
		}
	}
	return err
}

// checkBest finds out before anything is trained whether the best values that a
// checkpoint counts on are there.
func (j *Job) checkBest(st *State) error {
	if st.BestStep == 0 || !j.Recipe.Best {
		return nil
	}
	path := filepath.Join(j.Dir, bestFile(st.BestStep))
	f, _, err := openSealed(path)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s: %w: the values that it counts on are gone", path, ErrDamaged)
	}
	if err != nil {
		return err
	}
	return f.Close()
}

// restoreBest goes back to the values of the best validation.
func (j *Job) restoreBest(step int) error {
	f, _, err := openSealed(filepath.Join(j.Dir, bestFile(step)))
	if err != nil {
		return err
	}
	defer f.Close()
	for _, p := range j.Tuned.params {
		if err := j.Tuned.restore(f, p.Name, p.Value, p.N); err != nil {
			return err
		}
	}
	return j.Tuned.Refresh()
}

// globbed is a folder's name as a pattern that means it alone.
func globbed(dir string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(dir)
}
