// A libcuda.so.1 that plays a driver and a GPU without either: memory is the
// process's, kernels do nothing, and what is read of memory that nothing was
// written to is ones. Enough for what a program does when the driver is too old,
// does not start, or fails at work; built where there is a C compiler:
//
//	cc -shared -fPIC -o libcuda.so.1 driver.c
//
// EVALRUN_PLAY_INIT is cuInit's answer, EVALRUN_PLAY_VERSION the driver's version
// (13000), EVALRUN_PLAY_DEVICES the number of GPUs (1), EVALRUN_PLAY_MAJOR their
// capability (9), EVALRUN_PLAY_MIB their memory (8192). A kernel whose first
// parameter is the address 16 fails as one of a real GPU does: the next call that
// waits says so, and every one after it.
#include <stdlib.h>
#include <string.h>

typedef unsigned long long address;

static long setting(const char *name, long otherwise) {
	const char *s = getenv(name);
	return s && *s ? atol(s) : otherwise;
}

enum { mostBlocks = 1 << 20 };
static struct { address at; size_t size; } blocks[mostBlocks];
static int used;
static long long held;
static int failed; // CUDA_ERROR_ILLEGAL_ADDRESS from then on

static long long memory(void) { return setting("EVALRUN_PLAY_MIB", 8192) << 20; }

int cuInit(unsigned flags) { return setting("EVALRUN_PLAY_INIT", 0); }
int cuDriverGetVersion(int *v) { *v = setting("EVALRUN_PLAY_VERSION", 13000); return 0; }
int cuDeviceGetCount(int *n) { *n = setting("EVALRUN_PLAY_DEVICES", 1); return 0; }
int cuDeviceGet(int *d, int i) { *d = i; return 0; }
int cuDeviceGetName(char *s, int n, int d) { strncpy(s, "played GPU", n); return 0; }
int cuDeviceGetAttribute(int *v, int what, int d) {
	switch (what) {
	case 75: *v = setting("EVALRUN_PLAY_MAJOR", 9); break;
	case 16: *v = 132; break;    // processors
	case 97: *v = 227 << 10; break; // shared memory that a block may ask for
	default: *v = 1024;
	}
	return 0;
}
int cuGetErrorString(int r, const char **s) {
	static const struct { int r; const char *s; } texts[] = {{2, "out of memory"}, {100, "no CUDA-capable device is detected"}, {700, "an illegal memory access was encountered"}, {999, "unknown error"}};
	for (int i = 0; i < 4; i++)
		if (texts[i].r == r) { *s = texts[i].s; return 0; }
	*s = 0;
	return 1;
}
int cuGetErrorName(int r, const char **s) { return cuGetErrorString(r, s); }
int cuDevicePrimaryCtxRetain(void **c, int d) { *c = &held; return 0; }
int cuDevicePrimaryCtxRelease_v2(int d) { return failed; }
int cuDevicePrimaryCtxRelease(int d) { return failed; }
int cuCtxGetCurrent(void **c) { *c = &held; return 0; }
int cuCtxSetCurrent(void *c) { return 0; }
int cuStreamCreate(void **s, unsigned flags) { *s = &used; return 0; }
int cuStreamSynchronize(void *s) { return failed; }
int cuMemGetInfo_v2(size_t *free, size_t *total) { *total = memory(); *free = memory() - held; return failed; }
int cuMemAlloc_v2(address *at, size_t n) {
	if (failed) return failed;
	if (held + (long long)n > memory() || used == mostBlocks) return 2;
	void *p = calloc(1, n);
	if (!p) return 2;
	blocks[used].at = *at = (address)p;
	blocks[used++].size = n;
	held += n;
	return 0;
}
int cuMemFree_v2(address at) {
	for (int i = 0; i < used; i++)
		if (blocks[i].at == at) {
			held -= blocks[i].size;
			blocks[i] = blocks[--used];
			free((void *)at);
			return 0;
		}
	return failed ? failed : 1;
}
int cuMemcpyHtoDAsync_v2(address to, const void *from, size_t n, void *s) {
	if (!failed) memcpy((void *)to, from, n);
	return failed;
}
int cuMemcpyDtoHAsync_v2(void *to, address from, size_t n, void *s) {
	if (failed) return failed;
	memcpy(to, (void *)from, n);
	static const float one = 1;
	for (size_t i = 0; i + 4 <= n; i += 4) {
		int word;
		memcpy(&word, (char *)to + i, 4);
		if (!word) memcpy((char *)to + i, &one, 4);
	}
	return 0;
}
int cuMemsetD8Async(address to, unsigned char v, size_t n, void *s) {
	if (!failed) memset((void *)to, v, n);
	return failed;
}
int cuModuleLoadData(void **m, const void *text) { *m = &held; return failed; }
int cuModuleGetFunction(void **f, void *m, const char *name) { *f = &used; return failed; }
int cuFuncSetAttribute(void *f, int what, int v) { return failed; }
int cuLaunchKernel(void *f, unsigned x, unsigned y, unsigned z, unsigned tx, unsigned ty, unsigned tz, unsigned shared, void *s, void **params, void **extra) {
	if (failed) return failed;
	address first = 0;
	memcpy(&first, extra[1], sizeof first);
	if (first == 16) failed = 700;
	return 0;
}
