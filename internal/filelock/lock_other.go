//go:build !unix

package filelock

import (
	"errors"
	"io/fs"
	"os"
	"strconv"
	"strings"
)

// Lock is a file that must not exist yet. A killed process leaves it behind;
// it holds the process's number, and that of a dead one counts for nothing.
type Lock struct{ path string }

// Acquire takes the lock at path; a *HeldError means that another process has
// it.
func Acquire(path string) (*Lock, error) {
	for range 2 {
		f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
		if err == nil {
			_, err = f.WriteString(strconv.Itoa(os.Getpid()) + "\n")
			return &Lock{path}, errors.Join(err, f.Close())
		}
		if !errors.Is(err, fs.ErrExist) {
			return nil, err
		}
		pid, alive := holder(path)
		if alive {
			return nil, &HeldError{Path: path, PID: pid}
		}
		if err := os.Remove(path); err != nil {
			return nil, err
		}
	}
	return nil, &HeldError{Path: path}
}

// holder is the process whose number stands in the file, and whether it lives:
// where that cannot be told, it does.
func holder(path string) (pid string, alive bool) {
	b, err := os.ReadFile(path)
	if err != nil {
		return "", !errors.Is(err, fs.ErrNotExist)
	}
	pid = strings.TrimSpace(string(b))
	n, err := strconv.Atoi(pid)
	if err != nil {
		return "", true
	}
	p, err := os.FindProcess(n)
	if err != nil {
		return pid, false
	}
	_ = p.Release()
	return pid, true
}

// Release removes the file.
func (l *Lock) Release() { os.Remove(l.path) }

// Held tells whether a process holds the lock at path.
func Held(path string) bool {
	_, alive := holder(path)
	return alive
}

// Lost tells whether the file is gone.
func (l *Lock) Lost() bool {
	_, err := os.Stat(l.path)
	return err != nil
}
