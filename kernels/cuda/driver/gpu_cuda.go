//go:build cuda

package driver

/*
#cgo LDFLAGS: -ldl
#define _GNU_SOURCE
#include <cuda.h>
#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>
#include "context.h"

#include "tensormap.h"

// gorgonia.org/cu starts the driver before main, and ends the process where that
// fails. This function stands in front of the library's: it keeps the driver's
// answer for Open, which has a sentence for it, and answers that all is well.
static CUresult startResult = CUDA_ERROR_NOT_INITIALIZED;
CUresult cuInit(unsigned flags) {
	CUresult (*driver)(unsigned) = dlsym(RTLD_NEXT, "cuInit");
	startResult = driver ? driver(flags) : CUDA_ERROR_NOT_FOUND;
	return CUDA_SUCCESS;
}
static CUresult started(void) { return startResult; }

// What gorgonia.org/cu has no words for: asynchronous copies from any thread,
// more than 48 KiB of shared memory, parameters as they lie, graphs.

static CUresult streamCreate(CUcontext ctx, CUstream *s) {
	CUresult r = enter(ctx);
	return r ? r : cuStreamCreate(s, CU_STREAM_NON_BLOCKING);
}
static CUresult memAlloc(CUcontext ctx, unsigned long long *p, size_t n) {
	CUdeviceptr at = 0;
	CUresult r = enter(ctx);
	if (!r) r = cuMemAlloc(&at, n);
	*p = at;
	return r;
}
static CUresult memFree(CUcontext ctx, unsigned long long p) {
	CUresult r = enter(ctx);
	return r ? r : cuMemFree(p);
}
static CUresult upload(CUcontext ctx, CUstream s, unsigned long long dst, const void *src, size_t n) {
	CUresult r = enter(ctx);
	return r ? r : cuMemcpyHtoDAsync(dst, src, n, s);
}
static CUresult download(CUcontext ctx, CUstream s, void *dst, unsigned long long src, size_t n) {
	CUresult r = enter(ctx);
	if (!r) r = cuMemcpyDtoHAsync(dst, src, n, s);
	return r ? r : cuStreamSynchronize(s);
}
static CUresult clear(CUcontext ctx, CUstream s, unsigned long long dst, size_t n) {
	CUresult r = enter(ctx);
	return r ? r : cuMemsetD8Async(dst, 0, n, s);
}
static CUresult wait(CUcontext ctx, CUstream s) {
	CUresult r = enter(ctx);
	return r ? r : cuStreamSynchronize(s);
}
static CUresult allow(CUcontext ctx, CUfunction f, unsigned shared) {
	CUresult r = enter(ctx);
	return r ? r : cuFuncSetAttribute(f, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, shared);
}
static CUresult launch(CUcontext ctx, CUstream s, CUfunction f, unsigned x, unsigned y, unsigned threads, unsigned shared, void *args, size_t size) {
	CUresult r = enter(ctx);
	if (r) return r;
	void *extra[] = {CU_LAUNCH_PARAM_BUFFER_POINTER, args, CU_LAUNCH_PARAM_BUFFER_SIZE, &size, CU_LAUNCH_PARAM_END};
	return cuLaunchKernel(f, x, y, 1, threads, 1, 1, shared, s, 0, extra);
}
// tensorMap describes a matrix to the tensor memory unit. The call is younger than the
// oldest headers that build this, so it is looked up.
static CUresult tensorMap(void *map, unsigned long long at, unsigned long long rows, unsigned long long cols, unsigned box) {
	encodeTiled f = (encodeTiled)dlsym(RTLD_DEFAULT, "cuTensorMapEncodeTiled");
	return f ? (CUresult)describeTiles(f, map, at, rows, cols, box) : CUDA_ERROR_NOT_FOUND;
}
static const char *text(CUresult r) {
	const char *s = 0;
	return cuGetErrorString(r, &s) ? "unknown error" : s;
}
*/
import "C"

import (
	"fmt"
	"runtime"
	"strings"
	"unsafe"

	"gorgonia.org/cu"

	"github.com/evalrun/evalrun/kernels/cuda/ptx"
)

// Built says whether this build can use a GPU.
const Built = true

// oldest is the version of CUDA that a driver must know: that of the PTX.
const oldest = 11080

// gpu is the Driver on a GPU.
type gpu struct {
	device  cu.Device
	ctx     cu.CUContext
	stream  C.CUstream
	beside  *beside // made with the first copy
	name    string
	kernels map[string]ptx.Kernel
	modules map[string]cu.Module
	allowed map[uintptr]int // shared memory that a kernel may take beside its own
	graphs  map[uintptr]*graphOf
	made    uintptr // graphs so far, which numbers them

	processors, shared int
}

// reasons are what to do about answers of cuInit, by its number.
var reasons = map[C.CUresult]string{
	34:  "this libcuda.so.1 is the one to link with, not the driver's: take its folder out of LD_LIBRARY_PATH",
	35:  "install a newer NVIDIA driver",
	100: "no NVIDIA GPU is visible to this process; a container, or CUDA_VISIBLE_DEVICES, may hide it",
	802: "the GPUs' fabric is not up yet: its service (fabric manager) has to run",
	803: "the driver's library and the loaded kernel module are of two versions: restart the machine",
	804: "the driver's library is one for compatibility that this GPU does not take: remove it from LD_LIBRARY_PATH",
	999: "the driver does not work on this machine now, as after an update without a restart; nvidia-smi may say more",
}

// Starts says in a sentence why CUDA cannot be used: the driver does not start,
// is too old, or sees no GPU.
func Starts() error {
	if v := cu.Version(); v > 0 && v < oldest {
		return fmt.Errorf("the NVIDIA driver knows CUDA %d.%d, the kernels need %d.%d: install driver 520 or later", v/1000, v%1000/10, oldest/1000, oldest%1000/10)
	}
	if r := C.started(); r != C.CUDA_SUCCESS {
		err := fmt.Errorf("CUDA does not start: %w", result(r))
		if why := reasons[r]; why != "" {
			err = fmt.Errorf("%w: %s", err, why)
		}
		return err
	}
	if count, err := cu.NumDevices(); err != nil || count == 0 {
		return fmt.Errorf("CUDA starts, but %s", reasons[100])
	}
	return nil
}

// Open starts a GPU.
func Open(ordinal int) (Driver, error) {
	if err := Starts(); err != nil {
		return nil, err
	}
	if count, err := cu.NumDevices(); err != nil || ordinal < 0 || ordinal >= count {
		return nil, fmt.Errorf("there is no GPU %d, there are %d", ordinal, count)
	}
	g := &gpu{device: cu.Device(ordinal), modules: map[string]cu.Module{}, allowed: map[uintptr]int{}, graphs: map[uintptr]*graphOf{}}
	name, err := g.device.Name()
	if err != nil {
		return nil, fmt.Errorf("name of GPU %d: %w", ordinal, err)
	}
	g.name = strings.TrimRight(name, "\x00 ")
	major, err := g.device.Attribute(cu.ComputeCapabilityMajor)
	if err != nil {
		return nil, fmt.Errorf("capability of GPU %d: %w", ordinal, err)
	}
	if major < 8 {
		return nil, fmt.Errorf("%s has compute capability %d, the kernels need 8.0 (Ampere) or later", g.name, major)
	}
	g.kernels = ptx.Kernels(major)
	if g.processors, err = g.device.Attribute(cu.MultiprocessorCount); err != nil {
		return nil, fmt.Errorf("processors of GPU %d: %w", ordinal, err)
	}
	if g.shared, err = g.device.Attribute(cu.DeviceAttribute(C.CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN)); err != nil {
		return nil, fmt.Errorf("shared memory of GPU %d: %w", ordinal, err)
	}
	if g.ctx, err = g.device.RetainPrimaryCtx(); err == cu.OutOfMemory {
		return nil, fmt.Errorf("start %s: %w: other programs have nearly all of its memory, nvidia-smi says which", g.name, ErrMemory)
	} else if err != nil {
		return nil, fmt.Errorf("start %s: %w", g.name, err)
	}
	if err := result(C.streamCreate(g.context(), &g.stream)); err != nil {
		return nil, fmt.Errorf("start %s: %w", g.name, err)
	}
	return g, nil
}

// context gives the handle, which cu keeps to itself: a struct of one pointer.
func (g *gpu) context() C.CUcontext { return *(*C.CUcontext)(unsafe.Pointer(&g.ctx)) }

func result(r C.CUresult) error {
	switch r {
	case C.CUDA_SUCCESS:
		return nil
	case C.CUDA_ERROR_OUT_OF_MEMORY:
		return fmt.Errorf("%w (CUDA error 2)", ErrMemory)
	}
	return fmt.Errorf("%s (CUDA error %d)", C.GoString(C.text(r)), int(r))
}

func (g *gpu) Name() string { return g.name }

// with runs f on a thread that has the context, as cu's calls want it.
func (g *gpu) with(f func() error) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := result(C.enter(g.context())); err != nil {
		return err
	}
	return f()
}

func (g *gpu) Memory() (free, total int64) {
	g.with(func() (err error) { free, total, err = cu.MemInfo(); return err })
	return free, total
}

func (g *gpu) Alloc(bytes int64) (uint64, error) {
	var at C.ulonglong
	err := result(C.memAlloc(g.context(), &at, C.size_t(bytes)))
	return uint64(at), err
}

func (g *gpu) Free(at uint64) { C.memFree(g.context(), C.ulonglong(at)) }

func (g *gpu) Upload(dst uint64, src unsafe.Pointer, bytes int64) error {
	return result(C.upload(g.context(), g.stream, C.ulonglong(dst), src, C.size_t(bytes)))
}

func (g *gpu) Download(dst unsafe.Pointer, src uint64, bytes int64) error {
	return result(C.download(g.context(), g.stream, dst, C.ulonglong(src), C.size_t(bytes)))
}

func (g *gpu) Clear(dst uint64, bytes int64) error {
	return result(C.clear(g.context(), g.stream, C.ulonglong(dst), C.size_t(bytes)))
}

// Function loads the module of the kernel when it is first asked for: the
// driver translates PTX then, and keeps the result in its own cache.
func (g *gpu) Function(name string) (uintptr, error) {
	kernel, ok := g.kernels[name]
	if !ok {
		return 0, fmt.Errorf("there is no kernel %s for %s", name, g.name)
	}
	var f cu.Function
	err := g.with(func() error {
		module, ok := g.modules[kernel.File]
		if !ok {
			text, err := ptx.Text(kernel.File)
			if err != nil {
				return err
			}
			if module, err = cu.LoadData(text); err != nil {
				return fmt.Errorf("the driver (CUDA %d.%d) does not take %s: %w; a newer NVIDIA driver may", cu.Version()/1000, cu.Version()%1000/10, kernel.File, err)
			}
			g.modules[kernel.File] = module
		}
		var err error
		f, err = module.Function(name)
		return err
	})
	return *(*uintptr)(unsafe.Pointer(&f)), err
}

// allow lets a kernel take so much shared memory beside that which its source
// declares: above 48 KiB of both, a kernel has to be told. Never less than before,
// since a graph may hold it with more.
func (g *gpu) allow(f uintptr, shared int) error {
	if shared <= g.allowed[f] {
		return nil
	}
	g.allowed[f] = shared
	return result(C.allow(g.context(), *(*C.CUfunction)(unsafe.Pointer(&f)), C.uint(shared)))
}

func (g *gpu) Launch(f uintptr, gridX, gridY, threads, shared int, args []uint64) error {
	if err := g.allow(f, shared); err != nil {
		return err
	}
	return result(C.launch(g.context(), g.stream, *(*C.CUfunction)(unsafe.Pointer(&f)), C.uint(gridX), C.uint(gridY), C.uint(threads), C.uint(shared),
		unsafe.Pointer(unsafe.SliceData(args)), C.size_t(8*len(args))))
}

var _ Mapper = (*gpu)(nil)

func (g *gpu) TensorMap(at uint64, rows, cols, box int) (m [32]int32, err error) {
	aligned := (*[32]int32)(C.aligned_alloc(64, 128))
	defer C.free(unsafe.Pointer(aligned))
	err = result(C.tensorMap(unsafe.Pointer(aligned), C.ulonglong(at), C.ulonglong(rows), C.ulonglong(cols), C.uint(box)))
	return *aligned, err
}

func (g *gpu) Processors() int { return g.processors }
func (g *gpu) Shared() int     { return g.shared }

// Peak counts what a processor of this capability does in a clock: NVIDIA's
// programming guide has the units of float32, its architecture papers those of bfloat16 without
// sparsity.
func (g *gpu) Peak() (p Peak, err error) {
	var x [5]int
	for i, a := range []cu.DeviceAttribute{cu.MemoryClockRate, cu.GlobalMemoryBusWidth, cu.ClockRate, cu.ComputeCapabilityMajor, cu.ComputeCapabilityMinor} {
		if x[i], err = g.device.Attribute(a); err != nil {
			return p, fmt.Errorf("limits of %s: %w", g.name, err)
		}
	}
	float, matrix := 128.0, 1024.0
	switch {
	case x[3] == 8 && x[4] == 0:
		float, matrix = 64, 2048
	case x[3] >= 9:
		matrix = 4096
	}
	clocks := float64(x[2]) * 1000 * float64(g.processors)
	return Peak{Bytes: 2 * float64(x[0]) * 1000 * float64(x[1]) / 8, FLOPS: 2 * float * clocks, Matrix: matrix * clocks}, nil
}

func (g *gpu) Sync() error { return result(C.wait(g.context(), g.stream)) }

// Close ends the context, and with it everything that it holds.
func (g *gpu) Close() error { return g.device.ReleasePrimaryCtx() }
