//go:build emulate && amd64

// Package emulate runs the CUDA kernels on the processor, thread by thread, so
// that their logic is tested where there is no GPU: it compiles the same
// sources with the host's C++ compiler. With the build tag check it finds races
// and what else compute-sanitizer finds (check.c). It shows no speed, and is for
// tests only.
package emulate

/*
#cgo CXXFLAGS: -DEMULATE -std=c++17 -O2 -Wno-unknown-pragmas -I${SRCDIR}
#cgo LDFLAGS: -ldl -rdynamic
#include <stdlib.h>
#include <string.h>
void *emulateFind(const char *name);
const char *emulateLaunch(void *kernel, const long long *args, int n, int gridX, int gridY, int threads, int shared);
int emulateTensorMap(void *map, unsigned long long at, unsigned long long rows, unsigned long long cols, unsigned box);
*/
import "C"

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"unsafe"

	"github.com/evalrun/evalrun/kernels/cuda/ptx"
)

// Machine is a driver.Driver whose device memory is the C heap. It refuses to start a
// kernel as a GPU would refuse it.
type Machine struct {
	held    map[uint64]int64
	kernels map[string]ptx.Kernel
	found   map[uintptr]ptx.Kernel
	// Together is the shared memory in bytes that a block may have.
	Together int
	// Limit is the memory that it has, 0 for no end.
	Limit int64
	used  int64

	graphs map[uintptr]*graph
	// NoGraphs is why Graph fails, nil where it does not.
	NoGraphs error

	copies map[uintptr]*transfer
	// Copies counts those of the second stream, Pinned the memory that is locked.
	Copies, Pinned int
}

// transfer is a copy of the second stream. It happens as late as it may: when it
// is asked for the second time, or followed.
type transfer struct {
	dst   uint64
	src   unsafe.Pointer
	bytes int64
	asked int
}

// graph is a sequence of kernels with copies of their parameters.
type graph struct {
	functions []uintptr
	shapes    [][4]int
	args      [][]uint64
}

func New() *Machine {
	// So that go test's cache tells the runs apart.
	for _, name := range []string{"EMULATE_BACKWARDS", "EMULATE_SLOW", "EMULATE_GO_ON"} {
		os.Getenv(name)
	}
	const hopper = 9
	return &Machine{held: map[uint64]int64{}, kernels: ptx.Kernels(hopper), found: map[uintptr]ptx.Kernel{}, Together: 227 << 10, graphs: map[uintptr]*graph{}, copies: map[uintptr]*transfer{}}
}

func (*Machine) Name() string             { return "emulation" }
func (*Machine) Processors() int          { return 2 }
func (m *Machine) Shared() int            { return m.Together }
func (*Machine) Sync() error              { return nil }
func (m *Machine) Memory() (int64, int64) { return m.Limit - m.used, m.Limit }

func (m *Machine) Alloc(bytes int64) (uint64, error) {
	if m.Limit > 0 && m.used+bytes > m.Limit {
		return 0, fmt.Errorf("no memory")
	}
	p := uint64(uintptr(allocate(bytes)))
	C.memset(pointer(p), 0xa5, C.size_t(bytes))
	m.held[p] = bytes
	m.used += bytes
	return p, nil
}

func (m *Machine) Free(p uint64) {
	bytes, ok := m.held[p]
	if !ok { // after Close
		return
	}
	m.used -= bytes
	delete(m.held, p)
	release(pointer(p), bytes)
}

// Close frees what the device has not: tests make many devices, and the checker keeps
// several times their memory.
func (m *Machine) Close() error {
	for p := range m.held {
		m.Free(p)
	}
	return nil
}

func pointer(p uint64) unsafe.Pointer { return *(*unsafe.Pointer)(unsafe.Pointer(&p)) }

func (*Machine) Upload(dst uint64, src unsafe.Pointer, bytes int64) error {
	if err := access(dst, bytes, true); err != nil {
		return err
	}
	C.memcpy(pointer(dst), src, C.size_t(bytes))
	return nil
}

func (*Machine) Download(dst unsafe.Pointer, src uint64, bytes int64) error {
	if err := access(src, bytes, false); err != nil {
		return err
	}
	C.memcpy(dst, pointer(src), C.size_t(bytes))
	return nil
}

func (*Machine) Clear(dst uint64, bytes int64) error {
	if err := access(dst, bytes, true); err != nil {
		return err
	}
	C.memset(pointer(dst), 0, C.size_t(bytes))
	return nil
}

func (m *Machine) Function(name string) (uintptr, error) {
	c := C.CString(name)
	defer C.free(unsafe.Pointer(c))
	f := C.emulateFind(c)
	if f == nil {
		return 0, fmt.Errorf("no kernel %s", name)
	}
	kernel, ok := m.kernels[name]
	if !ok {
		return 0, fmt.Errorf("no PTX of kernel %s: run make ptx", name)
	}
	m.found[uintptr(f)] = kernel
	return uintptr(f), nil
}

func (m *Machine) Launch(f uintptr, gridX, gridY, threads, shared int, args []uint64) error {
	if err := m.found[f].Fits(gridX, gridY, threads, shared, m.Together, len(args)); err != nil {
		return err
	}
	return m.tried(func() error {
		failed := C.emulateLaunch(*(*unsafe.Pointer)(unsafe.Pointer(&f)), (*C.longlong)(unsafe.Pointer(unsafe.SliceData(args))), C.int(len(args)), C.int(gridX), C.int(gridY), C.int(threads), C.int(shared))
		if failed != nil {
			return errors.New(withLines(C.GoString(failed)))
		}
		return nil
	})
}

func (*Machine) TensorMap(at uint64, rows, cols, box int) (m [32]int32, err error) {
	aligned := C.aligned_alloc(64, 128)
	defer C.free(aligned)
	if C.emulateTensorMap(aligned, C.ulonglong(at), C.ulonglong(rows), C.ulonglong(cols), C.uint(box)) != 0 {
		return m, errors.New("no such tensor map")
	}
	return *(*[32]int32)(aligned), nil
}

func (m *Machine) Graph(functions []uintptr, shapes [][4]int, args [][]uint64) (uintptr, error) {
	if m.NoGraphs != nil {
		return 0, m.NoGraphs
	}
	g := &graph{slices.Clone(functions), slices.Clone(shapes), nil}
	for _, a := range args {
		g.args = append(g.args, slices.Clone(a))
	}
	id := uintptr(len(m.graphs) + 1)
	m.graphs[id] = g
	return id, nil
}

func (m *Machine) GraphArgs(id uintptr, kernel int, args []uint64) error {
	m.graphs[id].args[kernel] = slices.Clone(args)
	return nil
}

func (m *Machine) GraphLaunch(id uintptr) error {
	g := m.graphs[id]
	for i, f := range g.functions {
		s := g.shapes[i]
		if err := m.Launch(f, s[0], s[1], s[2], s[3], g.args[i]); err != nil {
			return err
		}
	}
	return nil
}

func (m *Machine) GraphFree(id uintptr) { m.graphs[id] = nil }

func (m *Machine) Pin(bytes int64) (unsafe.Pointer, error) {
	m.Pinned++
	return C.malloc(C.size_t(bytes)), nil
}

func (m *Machine) Unpin(at unsafe.Pointer) {
	m.Pinned--
	C.free(at)
}

func (m *Machine) Copy(dst uint64, src unsafe.Pointer, bytes int64) (uintptr, error) {
	m.Copies++
	m.copies[uintptr(m.Copies)] = &transfer{dst: dst, src: src, bytes: bytes}
	return uintptr(m.Copies), nil
}

func (m *Machine) Copied(handle uintptr) (bool, error) {
	t := m.copies[handle]
	if t.asked++; t.asked == 2 {
		return true, m.Follow(handle)
	}
	return t.bytes == 0, nil
}

func (m *Machine) Follow(handle uintptr) error {
	t := m.copies[handle]
	err := m.Upload(t.dst, t.src, t.bytes)
	t.bytes = 0
	return err
}

func (m *Machine) Forget(handle uintptr) { delete(m.copies, handle) }
