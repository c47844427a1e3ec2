//go:build !unix

package results

import (
	"errors"
	"io/fs"
	"os"

	"github.com/evalrun/evalrun/core"
)

// lock is a file that must not exist yet; a killed process leaves it behind.
type lock struct{ path string }

func acquire(path string) (*lock, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if errors.Is(err, fs.ErrExist) {
		return nil, &core.UserError{Where: path, Message: "the run is being written by another process", Hint: "if none runs, remove this file"}
	}
	if err != nil {
		return nil, err
	}
	return &lock{path}, f.Close()
}

func (l *lock) release() { os.Remove(l.path) }

// Locked tells whether a process is writing the run.
func (f *Folder) Locked() bool {
	_, err := os.Stat(f.Path + "/" + lockFile)
	return err == nil
}
