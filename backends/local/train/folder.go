package train

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/evalrun/evalrun/backends/local/weights"
	"github.com/evalrun/evalrun/internal/filelock"
)

const (
	lockFile    = "lock"
	metricsFile = "metrics.jsonl"
)

// Open takes the folder for this process, which a *filelock.HeldError refuses,
// and gives the state of its checkpoint: the training goes on from its step.
func (j *Job) Open() (State, error) {
	if j.lock != nil {
		return j.state, nil
	}
	if err := os.MkdirAll(j.Dir, 0o777); err != nil {
		return State{}, err
	}
	lock, err := filelock.Acquire(filepath.Join(j.Dir, lockFile))
	if err != nil {
		return State{}, err
	}
	j.state, j.found, err = readState(j.Dir, j.Identity)
	if err == nil && j.state.BestStep > 0 && j.Recipe.Patience > 0 {
		if best := filepath.Join(j.Dir, bestFile(j.state.BestStep)); !exists(best) {
			err = fmt.Errorf("%s: %w: the values that it counts on are gone", best, ErrDamaged)
		}
	}
	if err == nil { // what a killed process has left half-written
		err = errors.Join(weights.RemoveUnfinished(filepath.Join(j.Dir, checkpointFile)), weights.RemoveUnfinished(filepath.Join(j.Dir, "best-*.safetensors")))
	}
	if err != nil {
		lock.Release()
		return State{}, err
	}
	j.lock = lock
	return j.state, nil
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// Close gives the folder back.
func (j *Job) Close() {
	if j.lock != nil {
		j.lock.Release()
		j.lock = nil
	}
}

// ErrLost says that the folder is no longer this process's.
var ErrLost = errors.New("was removed or replaced during the training: nothing more is written there")

// Ours reports why nothing may be written into the folder any more: it, or its
// lock, is gone, and another process may write there.
func (j *Job) Ours() error {
	if _, err := os.Stat(j.Dir); errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s %w", j.Dir, ErrLost)
	}
	if j.lock.Lost() {
		return fmt.Errorf("%s %w", filepath.Join(j.Dir, lockFile), ErrLost)
	}
	return nil
}
