// A libcuda.so.1 that stands before the driver's and lets it fail on purpose: all
// calls go to the library that EVALRUN_FAULT_DRIVER names, and
//
//	EVALRUN_FAULT_LAUNCH=N  gives the N-th kernel of the process a bad address as
//	                        its first parameter, which a GPU answers with an
//	                        illegal access: its context is lost
//	EVALRUN_FAULT_MIB=N     lets no more than N MiB be taken, as if another
//	                        process had just taken the rest
//
//	cc -shared -fPIC -o libcuda.so.1 fault.c -ldl
//	LD_LIBRARY_PATH=FOLDER EVALRUN_FAULT_DRIVER=/usr/lib/.../libcuda.so.1 evalrun-cuda ...
//
// Calls that are not defined here find the driver's, which is loaded for all.
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void *driver;
static long launches, last = -1;
static long long most = -1, held;

static long setting(const char *name) {
	const char *s = getenv(name);
	return s && *s ? atol(s) : -1;
}

__attribute__((constructor)) static void load(void) {
	const char *path = getenv("EVALRUN_FAULT_DRIVER");
	driver = dlopen(path ? path : "", RTLD_NOW | RTLD_GLOBAL);
	if (!path || !driver) {
		fprintf(stderr, "EVALRUN_FAULT_DRIVER names no library: %s\n", dlerror());
		_Exit(9);
	}
	last = setting("EVALRUN_FAULT_LAUNCH");
	if (setting("EVALRUN_FAULT_MIB") >= 0) most = (long long)setting("EVALRUN_FAULT_MIB") << 20;
}

int cuInit(unsigned flags) { return ((int (*)(unsigned))dlsym(driver, "cuInit"))(flags); }

int cuMemAlloc_v2(unsigned long long *at, size_t n) {
	static int (*real)(unsigned long long *, size_t);
	if (!real) real = dlsym(driver, "cuMemAlloc_v2");
	if (most >= 0 && held + (long long)n > most) return 2;
	int r = real(at, n);
	if (!r) held += n;
	return r;
}

int cuLaunchKernel(void *f, unsigned x, unsigned y, unsigned z, unsigned tx, unsigned ty, unsigned tz, unsigned shared, void *s, void **params, void **extra) {
	static int (*real)(void *, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, void *, void **, void **);
	if (!real) real = dlsym(driver, "cuLaunchKernel");
	if (++launches == last && extra) {
		unsigned long long bad = 16;
		memcpy(extra[1], &bad, sizeof bad); // where evalrun's parameters lie
	}
	return real(f, x, y, z, tx, ty, tz, shared, s, params, extra);
}
