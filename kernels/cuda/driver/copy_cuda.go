//go:build cuda

package driver

/*
#include <cuda.h>
#include "context.h"

// A second stream for copies, events by which the streams wait for each other, and
// memory that the system may not move. Here, since cu keeps its handles to itself.

static CUresult besideCreate(CUcontext ctx, CUstream *s, CUevent *before) {
	CUresult r = enter(ctx);
	if (!r) r = cuStreamCreate(s, CU_STREAM_NON_BLOCKING);
	return r ? r : cuEventCreate(before, CU_EVENT_DISABLE_TIMING);
}
static CUresult pin(CUcontext ctx, void **p, size_t n) {
	CUresult r = enter(ctx);
	return r ? r : cuMemHostAlloc(p, n, 0);
}
static CUresult unpin(CUcontext ctx, void *p) {
	CUresult r = enter(ctx);
	return r ? r : cuMemFreeHost(p);
}
// copyBeside begins behind what the work was asked so far.
static CUresult copyBeside(CUcontext ctx, CUstream work, CUstream beside, CUevent before, unsigned long long dst, const void *src, size_t n, CUevent *after) {
	CUresult r = enter(ctx);
	if (r) return r;
	if ((r = cuEventCreate(after, CU_EVENT_DISABLE_TIMING))) return r;
	r = cuEventRecord(before, work);
	if (!r) r = cuStreamWaitEvent(beside, before, 0);
	if (!r) r = cuMemcpyHtoDAsync(dst, src, n, beside);
	if (!r) r = cuEventRecord(*after, beside);
	if (r) cuEventDestroy(*after);
	return r;
}
static CUresult copied(CUcontext ctx, CUevent after) {
	CUresult r = enter(ctx);
	return r ? r : cuEventQuery(after);
}
static CUresult follow(CUcontext ctx, CUstream work, CUevent after) {
	CUresult r = enter(ctx);
	return r ? r : cuStreamWaitEvent(work, after, 0);
}
static CUresult forget(CUcontext ctx, CUevent after) { // a stream that waits for it still does
	CUresult r = enter(ctx);
	return r ? r : cuEventDestroy(after);
}
*/
import "C"

import "unsafe"

// beside is the stream of copies.
type beside struct {
	stream C.CUstream
	before C.CUevent // what the work was asked when a copy began
}

var _ Copier = (*gpu)(nil)

func (g *gpu) Pin(bytes int64) (p unsafe.Pointer, err error) {
	err = result(C.pin(g.context(), &p, C.size_t(bytes)))
	return p, err
}

func (g *gpu) Unpin(p unsafe.Pointer) { C.unpin(g.context(), p) }

func (g *gpu) Copy(dst uint64, src unsafe.Pointer, bytes int64) (uintptr, error) {
	if g.beside == nil {
		g.beside = &beside{}
		if err := result(C.besideCreate(g.context(), &g.beside.stream, &g.beside.before)); err != nil {
			g.beside = nil
			return 0, err
		}
	}
	var after C.CUevent
	err := result(C.copyBeside(g.context(), g.stream, g.beside.stream, g.beside.before, C.ulonglong(dst), src, C.size_t(bytes), &after))
	return *(*uintptr)(unsafe.Pointer(&after)), err
}

func event(handle uintptr) C.CUevent { return *(*C.CUevent)(unsafe.Pointer(&handle)) }

func (g *gpu) Copied(handle uintptr) (bool, error) {
	r := C.copied(g.context(), event(handle))
	if r == C.CUDA_ERROR_NOT_READY {
		return false, nil
	}
	return r == C.CUDA_SUCCESS, result(r)
}

func (g *gpu) Follow(handle uintptr) error {
	return result(C.follow(g.context(), g.stream, event(handle)))
}

func (g *gpu) Forget(handle uintptr) { C.forget(g.context(), event(handle)) }
