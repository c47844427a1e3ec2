//go:build !(linux || darwin || freebsd || netbsd || openbsd || dragonfly)

package weights

import (
	"io"
	"os"
)

// mapping holds the bytes of one file. Where there is no mmap of the Unix kind
// they are read into memory.
type mapping struct {
	data []byte
}

// mapFile makes the whole file readable as bytes.
func mapFile(f *os.File, size int) (*mapping, error) {
	data := make([]byte, size)
	if _, err := io.ReadFull(io.NewSectionReader(f, 0, int64(size)), data); err != nil {
		return nil, err
	}
	return &mapping{data: data}, nil
}

func (m *mapping) unmap() error {
	m.data = nil
	return nil
}

// release does nothing: memory that was read into cannot be had back.
func (m *mapping) release() error { return nil }
