package results

import (
	"errors"
	"path/filepath"

	"github.com/evalrun/evalrun/core"
	"github.com/evalrun/evalrun/internal/filelock"
)

// acquire takes a run folder's lock.
func acquire(path string) (*filelock.Lock, error) {
	l, err := filelock.Acquire(path)
	var held *filelock.HeldError
	if errors.As(err, &held) {
		e := &core.UserError{Where: path, Message: "the run is being written by process " + held.PID, Hint: "wait for it, or stop it; --out names another folder"}
		if held.PID == "" {
			e.Message, e.Hint = "the run is being written by another process", "if none runs, remove this file"
		}
		return nil, e
	}
	return l, err
}

// Locked tells whether a process is writing the run.
func (f *Folder) Locked() bool { return filelock.Held(filepath.Join(f.Path, lockFile)) }
