//go:build linux || darwin || freebsd || netbsd || openbsd || dragonfly

package weights

import (
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// mapping holds the bytes of one file. On Unix they are mapped read-only and
// private: pages come in when they are touched and may be dropped again.
type mapping struct {
	data   []byte
	mapped bool
}

// mapFile makes the whole file readable as bytes. The file may be closed
// afterwards; the bytes live until unmap.
func mapFile(f *os.File, size int) (*mapping, error) {
	if size == 0 { // mmap refuses a length of zero
		return &mapping{}, nil
	}
	data, err := syscall.Mmap(int(f.Fd()), 0, size, syscall.PROT_READ, syscall.MAP_PRIVATE)
	if err != nil {
		return nil, os.NewSyscallError("mmap", err)
	}
	return &mapping{data: data, mapped: true}, nil
}

func (m *mapping) unmap() error {
	data := m.data
	m.data = nil
	if !m.mapped {
		return nil
	}
	m.mapped = false
	return os.NewSyscallError("munmap", syscall.Munmap(data))
}

// release lets the system take the pages back; they come in again when touched.
func (m *mapping) release() error {
	if len(m.data) == 0 {
		return nil
	}
	return os.NewSyscallError("madvise", unix.Madvise(m.data, unix.MADV_DONTNEED))
}
