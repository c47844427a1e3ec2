//go:build unix

package weights

import (
	"os"
	"syscall"
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
