//go:build cuda

package driver

/*
#define _GNU_SOURCE
#include <cuda.h>
#include <dlfcn.h>
#include "context.h"

// A kernel in a graph as the calls without a version know it. Younger headers
// mean a longer one by CUDA_KERNEL_NODE_PARAMS, which the oldest driver that the
// kernels run on does not take, so both calls are looked up by name.
typedef struct {
	CUfunction f;
	unsigned gridX, gridY, gridZ, threadsX, threadsY, threadsZ, shared;
	void **params, **extra;
} kernelNode;

static void fill(kernelNode *k, void **params, CUfunction f, const int *shape, unsigned long long *args, int n) {
	for (int i = 0; i < n; i++) params[i] = args + i;
	*k = (kernelNode){f, shape[0], shape[1], 1, shape[2], 1, 1, shape[3], params, 0};
}

enum { mostArgs = 64 };

static CUresult graphMake(CUcontext ctx, int n, const size_t *functions, const int *shapes, unsigned long long *args, const int *counts, CUgraph *graph, CUgraphNode *nodes, CUgraphExec *exec) {
	CUresult (*add)(CUgraphNode *, CUgraph, const CUgraphNode *, size_t, const kernelNode *) = dlsym(RTLD_DEFAULT, "cuGraphAddKernelNode");
	CUresult (*ready)(CUgraphExec *, CUgraph, unsigned long long) = dlsym(RTLD_DEFAULT, "cuGraphInstantiateWithFlags");
	if (!add || !ready) return CUDA_ERROR_NOT_FOUND;
	CUresult r = enter(ctx);
	if (!r) r = cuGraphCreate(graph, 0);
	if (r) return r;
	for (int i = 0; i < n && !r; args += counts[i], i++) {
		kernelNode k;
		void *params[mostArgs];
		if (counts[i] > mostArgs) {
			r = CUDA_ERROR_INVALID_VALUE;
			break;
		}
		fill(&k, params, (CUfunction)functions[i], shapes + 4 * i, args, counts[i]);
		r = add(nodes + i, *graph, i ? nodes + i - 1 : 0, i > 0, &k);
	}
	if (!r) r = ready(exec, *graph, 0);
	if (r) cuGraphDestroy(*graph);
	return r;
}
static CUresult graphArgs(CUcontext ctx, CUgraphExec exec, CUgraphNode node, size_t f, const int *shape, unsigned long long *args, int n) {
	CUresult (*set)(CUgraphExec, CUgraphNode, const kernelNode *) = dlsym(RTLD_DEFAULT, "cuGraphExecKernelNodeSetParams");
	kernelNode k;
	void *params[mostArgs];
	if (!set) return CUDA_ERROR_NOT_FOUND;
	if (n > mostArgs) return CUDA_ERROR_INVALID_VALUE;
	fill(&k, params, (CUfunction)f, shape, args, n);
	CUresult r = enter(ctx);
	return r ? r : set(exec, node, &k);
}
static CUresult graphLaunch(CUcontext ctx, CUgraphExec exec, CUstream s) {
	CUresult r = enter(ctx);
	return r ? r : cuGraphLaunch(exec, s);
}
static void graphFree(CUgraph graph, CUgraphExec exec) {
	cuGraphExecDestroy(exec);
	cuGraphDestroy(graph);
}
*/
import "C"

import "unsafe"

// graphOf is a graph, and what its kernels are started with beside parameters.
type graphOf struct {
	graph     C.CUgraph
	exec      C.CUgraphExec
	nodes     []C.CUgraphNode
	functions []C.size_t
	shapes    []C.int
}

var _ Grapher = (*gpu)(nil)

func (g *gpu) Graph(functions []uintptr, shapes [][4]int, args [][]uint64) (uintptr, error) {
	n := len(functions)
	made := &graphOf{nodes: make([]C.CUgraphNode, n)}
	var flat []uint64
	var counts []C.int
	for i, f := range functions {
		if err := g.allow(f, shapes[i][3]); err != nil {
			return 0, err
		}
		made.functions = append(made.functions, C.size_t(f))
		for _, x := range shapes[i] {
			made.shapes = append(made.shapes, C.int(x))
		}
		flat, counts = append(flat, args[i]...), append(counts, C.int(len(args[i])))
	}
	err := result(C.graphMake(g.context(), C.int(n), &made.functions[0], &made.shapes[0], (*C.ulonglong)(unsafe.Pointer(unsafe.SliceData(flat))), &counts[0],
		&made.graph, &made.nodes[0], &made.exec))
	if err != nil {
		return 0, err
	}
	g.made++
	g.graphs[g.made] = made
	return g.made, nil
}

func (g *gpu) GraphArgs(graph uintptr, kernel int, args []uint64) error {
	made := g.graphs[graph]
	return result(C.graphArgs(g.context(), made.exec, made.nodes[kernel], made.functions[kernel], &made.shapes[4*kernel], (*C.ulonglong)(unsafe.Pointer(unsafe.SliceData(args))), C.int(len(args))))
}

func (g *gpu) GraphLaunch(graph uintptr) error {
	return result(C.graphLaunch(g.context(), g.graphs[graph].exec, g.stream))
}

func (g *gpu) GraphFree(graph uintptr) {
	made := g.graphs[graph]
	C.graphFree(made.graph, made.exec)
	delete(g.graphs, graph)
}
