package train

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/evalrun/evalrun/backends/local/weights"
	"github.com/evalrun/evalrun/internal/filelock"
	"github.com/evalrun/evalrun/internal/trainlog"
)

const (
	lockFile    = "lock"
	metricsFile = trainlog.File
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
	err = j.newest()
	if err == nil { // what a killed process has left half-written
		err = errors.Join(weights.RemoveUnfinished(filepath.Join(j.Dir, "checkpoint*.safetensors")), weights.RemoveUnfinished(filepath.Join(j.Dir, "best-*.safetensors")))
		if next := os.Remove(filepath.Join(j.Dir, nextFile)); !errors.Is(next, fs.ErrNotExist) {
			err = errors.Join(err, next)
		}
	}
	if err != nil {
		lock.Release()
		return State{}, err
	}
	j.lock = lock
	return j.state, nil
}

// newest takes the last checkpoint, or the one before where that is damaged or
// its best values are. Where none is whole, the error tells of each.
func (j *Job) newest() error {
	j.state, j.from, j.skipped = State{}, "", nil
	for _, name := range []string{checkpointFile, previousFile} {
		path := filepath.Join(j.Dir, name)
		st, found, err := readState(path, j.Identity)
		if err == nil && found {
			err = j.checkBest(&st)
		}
		switch {
		case errors.Is(err, ErrDamaged) && j.skipped != nil:
			return fmt.Errorf("%w; %w", j.skipped, err)
		case errors.Is(err, ErrDamaged):
			j.skipped = err
		case err != nil:
			return err
		case found:
			j.state, j.from = st, path
			return nil
		}
	}
	return j.skipped
}

// Skipped says why the checkpoint that Open gave is not the last that was
// written: nil where it is.
func (j *Job) Skipped() error { return j.skipped }

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
