// Arrays of values that lie as float32 or as bfloat16 (u16), which a thread reads
// and writes 16 bytes at a time.
#pragma once
#include "device.h"

#define EACH(i, n) for (i64 i = (i64)blockX() * threads() + threadX(); i < n; i += (i64)blocks() * threads())

// A kernel on values of either type is there as NAME and as NAMEBrain.
#define EACH_TYPE(M) M(, float) M(Brain, u16)

DEVICE float valueOf(float x) { return x; }
DEVICE float valueOf(u16 x) { return brainFloat(x); }
DEVICE void store(float *at, float v) { *at = v; }
DEVICE void store(u16 *at, float v) { *at = (u16)brains(v, 0.0f); }

// GROUP values of an array take 16 bytes; groupOf reads them, storeGroup writes.
template <typename T> struct Group;
template <> struct Group<float> { enum { n = 4 }; };
template <> struct Group<u16> { enum { n = 8 }; };

DEVICE void groupOf(float *v, const float *at) {
	const f32x4 x = *(const f32x4 *)at;
	v[0] = x.x, v[1] = x.y, v[2] = x.z, v[3] = x.w;
}
DEVICE void groupOf(float *v, const u16 *at) {
	const u32x4 x = *(const u32x4 *)at;
	const u32 two[4] = {x.x, x.y, x.z, x.w};
#pragma unroll
	for (int i = 0; i < 4; i++) {
		v[2 * i] = bitsFloat(two[i] << 16);
		v[2 * i + 1] = bitsFloat(two[i] & 0xffff0000u);
	}
}
DEVICE void storeGroup(float *at, const float *v) { *(f32x4 *)at = f32x4{v[0], v[1], v[2], v[3]}; }
DEVICE void storeGroup(u16 *at, const float *v) {
	*(u32x4 *)at = u32x4{brains(v[0], v[1]), brains(v[2], v[3]), brains(v[4], v[5]), brains(v[6], v[7])};
}

// grouped: these addresses take accesses of 16 bytes.
DEVICE bool grouped(const void *a, const void *b, const void *c) { return (((u64)a | (u64)b | (u64)c) & 15) == 0; }
