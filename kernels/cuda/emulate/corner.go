//go:build emulate && amd64

package emulate

// unsigned long long emulateReserve(unsigned long long bytes);
// void emulateRelease(unsigned long long at, unsigned long long bytes);
// void emulateFew(int few);
import "C"

import (
	"errors"
	"fmt"
	"unsafe"
)

// Corners is a Machine for shapes as large as real ones, with as many processors as it is
// told. It runs each kernel's first block, its last and two between, and refuses one that touches what
// is no memory of the device. Large uploads are left out, so that values are mostly zeros and
// results say nothing.
type Corners struct {
	*Machine
	processors int
}

// NewCorners makes one.
func NewCorners(processors int) Corners {
	m := New()
	m.NoGraphs = errors.New("corners keep no graphs")
	return Corners{m, processors}
}

const smallUpload = 1 << 20

func (c Corners) Processors() int { return c.processors }

func (c Corners) Alloc(bytes int64) (uint64, error) {
	at := uint64(C.emulateReserve(C.ulonglong(bytes)))
	if at == 0 {
		return 0, fmt.Errorf("no room for %d bytes", bytes)
	}
	c.held[at] = bytes
	return at, nil
}

func (c Corners) Free(at uint64) {
	if bytes, ok := c.held[at]; ok {
		C.emulateRelease(C.ulonglong(at), C.ulonglong(bytes))
		delete(c.held, at)
	}
}

// Close frees what is left.
func (c Corners) Close() error {
	for at := range c.held {
		c.Free(at)
	}
	return nil
}

func (c Corners) Upload(dst uint64, src unsafe.Pointer, bytes int64) error {
	if bytes > smallUpload {
		return nil
	}
	return c.Machine.Upload(dst, src, bytes)
}

// Clear leaves large pieces alone: fresh ones are zeros.
func (c Corners) Clear(dst uint64, bytes int64) error {
	if bytes > smallUpload {
		return nil
	}
	return c.Machine.Clear(dst, bytes)
}

func (c Corners) Launch(f uintptr, gridX, gridY, threads, shared int, args []uint64) error {
	C.emulateFew(2)
	defer C.emulateFew(0)
	return c.Machine.Launch(f, gridX, gridY, threads, shared, args)
}
