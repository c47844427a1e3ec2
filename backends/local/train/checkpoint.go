package train

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

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
	// Smoothed is the loss that is shown.
	Smoothed float64 `json:"smoothed"`
	// Best is the best validation so far and the step it was made at; Worse
	// counts the evaluations since.
	Best     *float64 `json:"best,omitempty"`
	BestStep int      `json:"best_step,omitempty"`
	Worse    int      `json:"worse,omitempty"`
	// Seconds of training so far, over all processes.
	Seconds float64 `json:"seconds"`
}

const checkpointFile = "checkpoint.safetensors"

// ErrOtherTraining is wrapped where a checkpoint belongs to another base
// model, other examples or another recipe.
var ErrOtherTraining = errors.New("the checkpoint belongs to another training")

// save writes a checkpoint: whole, or the last one stays.
func (s *Stepper) save(dir string, st State) error {
	text, err := json.Marshal(st)
	if err != nil {
		return fmt.Errorf("checkpoint: %w", err)
	}
	var all []weights.Tensor
	for _, p := range s.t.params {
		for what, b := range map[string]kernels.Buffer{"value.": p.Value, "m.": p.M, "v.": p.V} {
			x := s.t.tensor(p, b)
			x.Name = what + p.Name
			all = append(all, x)
		}
	}
	return weights.WriteSafetensors(filepath.Join(dir, checkpointFile), all, map[string]string{"state": string(text)})
}

// load brings values and optimiser to a checkpoint; false where there is none.
func (s *Stepper) load(dir, identity string) (State, bool, error) {
	var st State
	path := filepath.Join(dir, checkpointFile)
	f, err := weights.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return st, false, nil
	}
	if err != nil {
		return st, false, fmt.Errorf("checkpoint: %w", err)
	}
	defer f.Close()
	if err := json.Unmarshal([]byte(f.Metadata()["state"]), &st); err != nil {
		return st, false, fmt.Errorf("checkpoint %s: state: %w", path, err)
	}
	if st.Identity != identity {
		return st, false, fmt.Errorf("%s: %w", path, ErrOtherTraining)
	}
	for _, p := range s.t.params {
		for what, b := range map[string]kernels.Buffer{"value.": p.Value, "m.": p.M, "v.": p.V} {
			t, err := f.Tensor(what + p.Name)
			if err != nil {
				return st, false, fmt.Errorf("checkpoint: %w", err)
			}
			values, err := t.Floats()
			if err != nil || len(values) != p.N {
				return st, false, fmt.Errorf("checkpoint %s: tensor %q: %d values, want %d (%v)", path, t.Name, len(values), p.N, err)
			}
			s.t.dev.Write(b, values)
		}
	}
	s.opt.SetUpdates(st.Updates)
	return st, true, s.t.Refresh()
}
