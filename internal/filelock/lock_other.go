//go:build !unix

package filelock

import (
	"errors"
	"io/fs"
	"os"
)

// Lock is a file that must not exist yet; a killed process leaves it behind.
type Lock struct{ path string }

// Acquire takes the lock at path; a *HeldError means that the file exists.
func Acquire(path string) (*Lock, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if errors.Is(err, fs.ErrExist) {
		return nil, &HeldError{Path: path}
	}
	if err != nil {
		return nil, err
	}
	return &Lock{path}, f.Close()
}

// Release removes the file.
func (l *Lock) Release() { os.Remove(l.path) }

// Held tells whether the file at path exists.
func Held(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// Lost tells whether the file is gone.
func (l *Lock) Lost() bool { return !Held(l.path) }
