// A context belongs to a thread; goroutines wander between them.
#pragma once
#include <cuda.h>

static inline CUresult enter(CUcontext ctx) {
	CUcontext current = 0;
	if (!cuCtxGetCurrent(&current) && current == ctx) return CUDA_SUCCESS;
	return cuCtxSetCurrent(ctx);
}
