//go:build unix

package results

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"

	"github.com/evalrun/evalrun/core"
)

// lock is an advisory lock that the system drops when its process ends, however
// it ends.
type lock struct{ file *os.File }

func acquire(path string) (*lock, error) {
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
		return nil, &core.UserError{Where: path, Message: "the run is being written by process " + strings.TrimSpace(string(b[:n])),
			Hint: "wait for it, or stop it; --out names another folder"}
	}
	_ = f.Truncate(0)
	_, _ = f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	return &lock{f}, nil
}

func (l *lock) release() { l.file.Close() }

// Locked tells whether a process is writing the run.
func (f *Folder) Locked() bool {
	file, err := os.Open(f.Path + "/" + lockFile)
	if err != nil {
		return false
	}
	defer file.Close()
	return syscall.Flock(int(file.Fd()), syscall.LOCK_SH|syscall.LOCK_NB) != nil
}
