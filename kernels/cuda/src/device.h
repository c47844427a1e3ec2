// What the kernels are written in: the words of CUDA C++ that they use, spelt
// without CUDA's own headers, so that plain clang translates them, and the
// mathematics that comes with a toolkit otherwise.
//
// Every parameter of a kernel has 8 bytes: pointers, and whole numbers as i64;
// floats come as the bits of a float in an i64 (see real). Built with EMULATE,
// the same sources run thread by thread on the processor; see ../emulate.
//
// Nothing is fused behind our back (-ffp-contract=off): where a fused
// multiply-add is meant, it says fma32.
#pragma once

typedef long long i64;
typedef unsigned long long u64;
typedef unsigned int u32;
typedef unsigned short u16;
typedef unsigned char u8;

#define INLINE __attribute__((always_inline)) // of a lambda

struct alignas(8) f32x2 {
	float x, y;
};
struct alignas(16) f32x4 {
	float x, y, z, w;
};

#ifdef EMULATE
#include "machine.h"
#else
#define GLOBAL extern "C" __attribute__((global)) void
// A kernel that is started with at most so many threads a block.
#define GLOBAL_UPTO(n) extern "C" __attribute__((global)) __attribute__((launch_bounds(n))) void
#define DEVICE static __attribute__((device)) __attribute__((always_inline)) inline
#define METHOD __attribute__((device)) __attribute__((always_inline)) inline
#define BOUNDS(threads, blocks) __attribute__((launch_bounds(threads, blocks)))
#define SHARED static __attribute__((shared))
#define CONSTANT static __attribute__((device)) const
#define DYNAMIC(type, name) extern __attribute__((shared)) __attribute__((aligned(128))) u8 dynamicShared[]; type *name = (type *)dynamicShared

DEVICE int threadX() { return __nvvm_read_ptx_sreg_tid_x(); }
DEVICE int blockX() { return __nvvm_read_ptx_sreg_ctaid_x(); }
DEVICE int blockY() { return __nvvm_read_ptx_sreg_ctaid_y(); }
DEVICE int threads() { return __nvvm_read_ptx_sreg_ntid_x(); }
DEVICE int blocks() { return __nvvm_read_ptx_sreg_nctaid_x(); }
DEVICE void barrier() { __syncthreads(); }
DEVICE void warpBarrier() { __nvvm_bar_warp_sync(0xffffffffu); }
DEVICE float shuffleXor(float x, int lane) { return __nvvm_shfl_sync_bfly_f32(0xffffffffu, x, lane, 0x1f); }
DEVICE float shuffle(float x, int lane) { return __nvvm_shfl_sync_idx_f32(0xffffffffu, x, lane, 0x1f); }
DEVICE float fma32(float a, float b, float c) { return __nvvm_fma_rn_f(a, b, c); }
DEVICE float sqrt32(float x) { return __nvvm_sqrt_rn_f(x); }
DEVICE float bitsFloat(u32 b) { return __builtin_bit_cast(float, b); }
DEVICE u32 floatBits(float x) { return __builtin_bit_cast(u32, x); }
DEVICE float max32(float a, float b) { return a > b ? a : b; }
// Addresses of shared memory have 32 bits; pointers to it, which have 64, cost a
// second addition.
typedef u32 SharedAddress;
DEVICE SharedAddress sharedAddress(const void *p) { return (u32)(u64)(__attribute__((address_space(3))) const void *)p; }
DEVICE float sharedFloat(SharedAddress at) {
	float x;
	asm volatile("ld.shared.f32 %0, [%1];" : "=f"(x) : "r"(at));
	return x;
}
DEVICE f32x2 sharedPair(SharedAddress at) {
	f32x2 v;
	asm volatile("ld.shared.v2.f32 {%0, %1}, [%2];" : "=f"(v.x), "=f"(v.y) : "r"(at));
	return v;
}
// byteBeside is byte number byte of a word, eight bits up, beside a number below 256.
DEVICE u32 byteBeside(u32 word, int byte, u32 low) { return __nvvm_prmt(word, low, 0x5504 | byte << 4); }
DEVICE u32 sharedWord(SharedAddress at) {
	u32 x;
	asm volatile("ld.shared.u32 %0, [%1];" : "=r"(x) : "r"(at));
	return x;
}
DEVICE u32 sharedHalf(SharedAddress at) {
	u16 x;
	asm volatile("ld.shared.u16 %0, [%1];" : "=h"(x) : "r"(at));
	return x;
}
// Four words at a multiple of 16 bytes.
DEVICE void sharedWords(u32 *w, SharedAddress at) {
	asm volatile("ld.shared.v4.u32 {%0, %1, %2, %3}, [%4];" : "=r"(w[0]), "=r"(w[1]), "=r"(w[2]), "=r"(w[3]) : "r"(at));
}
DEVICE void sharedFloats(float *v, SharedAddress at) {
	asm volatile("ld.shared.v4.f32 {%0, %1, %2, %3}, [%4];" : "=f"(v[0]), "=f"(v[1]), "=f"(v[2]), "=f"(v[3]) : "r"(at));
}
// permute makes a word of four bytes of two words, by their numbers in the digits of
// choice: 0 to 3 those of low, 4 to 7 those of high.
DEVICE u32 permute(u32 low, u32 high, u32 choice) { return __nvvm_prmt(low, high, choice); }
// asBrain rounds to bfloat16 as one instruction.
DEVICE float asBrain(float x) {
	u32 b;
	asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(b) : "f"(x), "f"(0.0f));
	return bitsFloat(b);
}
// halfFloat is the value of a binary16.
DEVICE float halfFloat(u16 h) {
	float f;
	asm("cvt.f32.f16 %0, %1;" : "=f"(f) : "h"(h));
	return f;
}
// roundHalf rounds to binary16, ties to even.
DEVICE float roundHalf(float x) {
	u16 h;
	asm("cvt.rn.f16.f32 %0, %1;" : "=h"(h) : "f"(x));
	return halfFloat(h);
}
// brains are two values rounded to bfloat16, low in the low half.
DEVICE u32 brains(float low, float high) {
	u32 two;
	asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(two) : "f"(high), "f"(low));
	return two;
}
// matrixUnit adds to a tile d [16, 8] of float32 the product of a [16, 16] and
// b [16, 8] of bfloat16, shared out among a warp's lanes (PTX ISA,
// mma.m16n8k16): with g = lane / 4 and t = lane % 4 a lane holds
//
//	a  columns 2t, 2t+1 of rows g and g+8, then columns 2t+8, 2t+9 of both
//	b  rows 2t, 2t+1 of column g, then rows 2t+8, 2t+9
//	d  columns 2t, 2t+1 of row g, then of row g+8
DEVICE void matrixUnit(float *d, const u32 *a, u32 b0, u32 b1) {
	asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
		: "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
		: "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
// loadMatrices loads four matrices of 8 rows of 16 bytes; lanes 8i to 8i+7 name
// the rows of matrix i. Lane l gets columns 2(l mod 4) and the next of row l / 4
// of each; turned, rows 2(l mod 4) and the next of column l / 4.
DEVICE void loadMatrices(u32 *m, SharedAddress row) {
	asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];" : "=r"(m[0]), "=r"(m[1]), "=r"(m[2]), "=r"(m[3]) : "r"(row) : "memory");
}
DEVICE void loadTurned(u32 *m, SharedAddress row) {
	asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];" : "=r"(m[0]), "=r"(m[1]), "=r"(m[2]), "=r"(m[3]) : "r"(row) : "memory");
}
// fetch and fetchOne read where they stand: the compiler would move a plain read
// behind the branch that its use hangs on, and so wait for each in turn.
DEVICE float fetchOne(const float *at) {
	float v;
	asm volatile("ld.global.f32 %0, [%1];" : "=f"(v) : "l"(at));
	return v;
}
DEVICE f32x4 fetch(const float *at) {
	f32x4 v;
	asm volatile("ld.global.v4.f32 {%0, %1, %2, %3}, [%4];" : "=f"(v.x), "=f"(v.y), "=f"(v.z), "=f"(v.w) : "l"(at));
	return v;
}
#endif

struct alignas(8) u32x2 {
	u32 x, y;
};
struct alignas(16) u32x4 {
	u32 x, y, z, w;
};

const int warp = 32;

DEVICE float real(i64 bits) { return bitsFloat((u32)bits); }
DEVICE int lowest(int a, int b) { return a < b ? a : b; }
DEVICE i64 lowest(i64 a, i64 b) { return a < b ? a : b; }
DEVICE float brainFloat(u16 b) { return bitsFloat((u32)b << 16); }

// roundBrain rounds to the nearest bfloat16, ties to even; NaN stays one.
DEVICE float roundBrain(float x) {
	u32 b = floatBits(x);
	if ((b & 0x7fffffffu) > 0x7f800000u) return x;
	b += 0x7fffu + (b >> 16 & 1);
	return bitsFloat(b & 0xffff0000u);
}

// How a product of bfloat16 values is stored, as ../brain.go says it: with howRound it is
// rounded to bfloat16 before it is stored or added; with howBrain dst is of bfloat16
// itself, and nothing is added.
const i64 howRound = 2, howBrain = 4;

// Number types as the host counts them; see kinds in ../weight.go.
enum { kindF32 = 0, kindF16 = 1, kindBF16 = 2, kindCode4 = 3, kindInt8 = 4 };

DEVICE float rounded(float x, int to) { return to == kindBF16 ? roundBrain(x) : to == kindF16 ? roundHalf(x) : x; }

// exp32 is e^x within 2 units in the last place, clamped to [-87.3, 88.3]: the
// minimax polynomial of Cephes' expf (Moshier).
DEVICE float exp32(float x) {
	if (x < -87.3f) x = -87.3f;
	if (x > 88.3f) x = 88.3f;
	float t = x * 1.44269504088896341f + 12582912.0f;
	float n = t - 12582912.0f;
	float r = x - n * 0.693359375f;
	r = r - n * -2.12194440e-4f;
	float p = 1.9875691500e-4f * r + 1.3981999507e-3f;
	p = p * r + 8.3334519073e-3f;
	p = p * r + 4.1665795894e-2f;
	p = p * r + 1.6666665459e-1f;
	p = p * r + 5.0000001201e-1f;
	p = p * (r * r) + (r + 1.0f);
	return p * bitsFloat((floatBits(t) << 23) + 0x3f800000u);
}

// tanh32 is within 2 units in the last place: the odd polynomial of Cephes'
// tanhf (Moshier) for small x, else 1 - 2/(e^2x + 1).
DEVICE float tanh32(float x) {
	float a = x < 0 ? -x : x;
	if (a < 0.625f) {
		float z = x * x;
		float p = -5.70498872745e-3f * z + 2.06390887954e-2f;
		p = p * z - 5.37397155531e-2f;
		p = p * z + 1.33314422036e-1f;
		p = p * z - 3.33332819422e-1f;
		return p * z * x + x;
	}
	float t = 1.0f - 2.0f / (exp32(2 * a) + 1.0f);
	return x < 0 ? -t : t;
}

// erf64 is the error function by its Maclaurin series, whose terms are at most
// e^18 here, so that 1e-8 are left of a double's precision.
DEVICE double erf64(double x) {
	if (x > 4.3) return 1;
	if (x < -4.3) return -1;
	double term = x, sum = x, square = x * x;
#pragma unroll 1
	for (int n = 1; n < 80; n++) {
		term = -term * square / n;
		sum += term / (2 * n + 1);
	}
	return sum * 1.1283791670955126;
}

// log64 is the natural logarithm of a positive number: m·2^e with m near 1, and
// log m = 2·artanh((m-1)/(m+1)) by its series.
DEVICE double log64(double x) {
	u64 b = __builtin_bit_cast(u64, x);
	int e = (int)(b >> 52 & 0x7ff) - 1023;
	if (e == 1024) return x;
	double m = __builtin_bit_cast(double, (b & 0xfffffffffffffull) | 0x3ff0000000000000ull);
	if (m > 1.4142135623730951) {
		m *= 0.5;
		e++;
	}
	double s = (m - 1) / (m + 1), z = s * s, sum = 0;
	for (int n = 25; n >= 1; n -= 2) sum = sum * z + 1.0 / n;
	return e * 0.69314718055994531 + 2 * s * sum;
}

// sumWarp and maxWarp reduce over the lanes of a warp in a fixed tree.
DEVICE float sumWarp(float x) {
	for (int d = 16; d > 0; d >>= 1) x += shuffleXor(x, d);
	return x;
}
DEVICE float maxWarp(float x) {
	for (int d = 16; d > 0; d >>= 1) x = max32(x, shuffleXor(x, d));
	return x;
}

// sumBlock adds x over a block's threads in a fixed tree; all get the sum.
DEVICE float sumBlock(float x) {
	SHARED float part[32];
	x = sumWarp(x);
	if (threadX() % warp == 0) part[threadX() / warp] = x;
	barrier();
	float sum = 0;
	for (int i = 0; i < threads() / warp; i++) sum += part[i];
	barrier(); // spare: for a kernel that comes here twice
	return sum;
}
DEVICE double sumBlock64(double x) {
	SHARED double part[1024];
	part[threadX()] = x;
	barrier();
	for (int d = threads() / 2; d > 0; d >>= 1) {
		if (threadX() < d) part[threadX()] += part[threadX() + d];
		barrier();
	}
	x = part[0];
	barrier(); // spare: for a kernel that comes here twice
	return x;
}
DEVICE float maxBlock(float x) {
	SHARED float part[32];
	x = maxWarp(x);
	if (threadX() % warp == 0) part[threadX() / warp] = x;
	barrier();
	float top = part[0];
	for (int i = 1; i < threads() / warp; i++) top = max32(top, part[i]);
	barrier(); // spare: for a kernel that comes here twice
	return top;
}

// over is i / c, both at least 0: in 32 bits, a third of the instructions, where
// they fit.
DEVICE i64 over(i64 i, i64 c) { return ((u64)(i | c) >> 32) == 0 ? (i64)((u32)i / (u32)c) : i / c; }

// put stores a value or adds it: kernels.Epilogue, with the product's factor.
DEVICE void put(float *at, float v, i64 add, float scale) {
	if (add) v = *at + v * scale;
	*at = v;
}
