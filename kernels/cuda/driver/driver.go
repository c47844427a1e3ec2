// Package driver is the part of CUDA that kernels/cuda stands on: memory, kernels, a
// stream, graphs, copies beside the work. The real one exists with the build tag
// cuda (cgo, over gorgonia.org/cu).
package driver

import (
	"errors"
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

// Peak is what a GPU gives at most in a second, by its clocks, its bus and the
// number of its processors: bytes from and to memory, float32 operations, and
// operations on bfloat16 of its matrix units.
type Peak struct{ Bytes, FLOPS, Matrix float64 }

// What some drivers can beside.

// A Grapher is a Driver that keeps kernels which run one after another, a graph,
// and starts them with one call.
type Grapher interface {
	// Graph keeps kernels; a shape is gridX, gridY, threads, shared as in Launch.
	Graph(functions []uintptr, shapes [][4]int, args [][]uint64) (uintptr, error)
	// GraphArgs changes the parameters of a graph's kernel from the next start on.
	GraphArgs(graph uintptr, kernel int, args []uint64) error
	GraphLaunch(graph uintptr) error
	GraphFree(graph uintptr)
}

// A Taker is a Driver that is told when a block of size bytes is handed out of which
// some were asked for, so that it finds what reaches beyond. Drivers for tests are.
type Taker interface {
	Taken(at uint64, bytes, size int64)
}

// A Copier is a Driver with a second stream, for copies beside the work, and host
// memory from which they run without the processor's help.
type Copier interface {
	// Pin gives page-locked memory of the host, Unpin takes it back. Any goroutine
	// may call them.
	Pin(bytes int64) (unsafe.Pointer, error)
	Unpin(at unsafe.Pointer)
	// Copy begins a copy in the second stream, behind everything that the first has
	// been asked so far: what memory was used for before is over then. The handle
	// stands for the end of the copy.
	Copy(dst uint64, src unsafe.Pointer, bytes int64) (handle uintptr, err error)
	// Copied tells whether the copy is over.
	Copied(handle uintptr) (bool, error)
	// Follow has the first stream wait for the copy from here on.
	Follow(handle uintptr) error
	Forget(handle uintptr)
}

// A Mapper is a Driver with a tensor memory unit: TensorMap describes a
// matrix of bfloat16 [rows, cols] at an address to it, box rows at a time.
type Mapper interface {
	TensorMap(at uint64, rows, cols, box int) ([32]int32, error)
}
