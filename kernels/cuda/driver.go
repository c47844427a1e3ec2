package cuda

import (
	"errors"
	"fmt"
	"unsafe"
)

// ErrNotBuilt is Open's in a build without the tag cuda.
var ErrNotBuilt = errors.New("this build has no CUDA in it: make cuda builds evalrun-cuda, which is started where it lies beside this program")

// A Driver is the part of CUDA that the device stands on: memory, kernels, one
// stream in which everything happens in order. Addresses are the GPU's.
type Driver interface {
	// Name is the processor's.
	Name() string
	// Processors is the number of multiprocessors, Shared the bytes of memory that
	// a block may share.
	Processors() int
	Shared() int
	// Memory tells the free and the whole memory in bytes.
	Memory() (free, total int64)
	// Alloc wraps ErrMemory where there is too little, and nothing else is wrong.
	Alloc(bytes int64) (uint64, error)
	Free(at uint64)
	// Upload may return before the copy has happened; src may change then.
	Upload(dst uint64, src unsafe.Pointer, bytes int64) error
	// Download waits for all that came before.
	Download(dst unsafe.Pointer, src uint64, bytes int64) error
	Clear(dst uint64, bytes int64) error
	// Function finds a kernel.
	Function(name string) (uintptr, error)
	// Launch starts a kernel on gridX·gridY blocks of so many threads, with
	// shared bytes of dynamic memory. Each parameter has 8 bytes.
	Launch(f uintptr, gridX, gridY, threads, shared int, args []uint64) error
	Sync() error
	Close() error
}

// ErrMemory is a driver's word for memory that ran out.
var ErrMemory = errors.New("out of memory")

// A Fault is an error of a GPU that was at work: a kernel failed, the device
// was lost, or memory ran out where an operation needed some for itself. The
// device is of no more use. A kernel's failure is told by whatever waits for it,
// or by the next call of any kind: What may name another.
type Fault struct {
	What string
	Err  error
}

func (f *Fault) Error() string { return fmt.Sprintf("the GPU failed: %s: %v", f.What, f.Err) }
func (f *Fault) Unwrap() error { return f.Err }

// MemoryError says that the GPU's memory is too small. What to do about it
// depends on what is done there, and is for the caller to say.
type MemoryError struct {
	Bytes, Held, Free, Total int64
}

func (e *MemoryError) Error() string {
	const mib = 1 << 20
	return fmt.Sprintf("the GPU's memory is too small: %d MiB more are wanted, %d MiB are in use here, other programs and the driver have %d, and %d of %d MiB are free",
		(e.Bytes+mib-1)/mib, e.Held/mib, max(0, e.Total-e.Free-e.Held)/mib, e.Free/mib, e.Total/mib)
}
