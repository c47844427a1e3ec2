//go:build unix

package filelock

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
)

// Lock is an advisory lock that the system drops when its process ends, however
// it ends.
type Lock struct{ file *os.File }

// Acquire takes the lock at path and leaves the process's number in the file;
// a *HeldError means that another process has it.
func Acquire(path string) (*Lock, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		defer f.Close()
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("lock %s: %w", path, err)
		}
		b := make([]byte, 32)
		n, _ := f.Read(b)
		return nil, &HeldError{Path: path, PID: strings.TrimSpace(string(b[:n]))}
	}
	_ = f.Truncate(0)
	_, _ = f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	return &Lock{f}, nil
}

// Release gives the lock back. The file stays.
func (l *Lock) Release() { l.file.Close() }

// Held tells whether a process holds the lock at path.
func Held(path string) bool {
	file, err := os.Open(path)
	if err != nil {
		return false
	}
	defer file.Close()
	return syscall.Flock(int(file.Fd()), syscall.LOCK_SH|syscall.LOCK_NB) != nil
}

// Lost tells whether the file at path is no longer the one that is locked, as
// when somebody removed it.
func (l *Lock) Lost() bool {
	ours, err := l.file.Stat()
	if err != nil {
		return true
	}
	there, err := os.Stat(l.file.Name())
	return err != nil || !os.SameFile(ours, there)
}
