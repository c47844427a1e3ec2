// What attention of training on the matrix units is made of, forward (flash.cu)
// and back (flashback.cu).
//
// The query heads that share a head of k and v are rows of one matrix, token by
// token: row f of a run is head f mod S of token f / S, so that its keys are
// fetched once for all of them. S, a power of two, comes as its logarithm.
//
// Matrices lie in shared memory row by row, as bfloat16, 16 bytes more than a row's
// values: eight rows at one column then lie in all 32 banks, and ldmatrix meets no
// conflict, turned or not.
#pragma once
#include "copies.h"
#include "device.h"

#ifndef EMULATE
// groupBarrier is barrier for 128 threads, from a multiple of 128 on.
DEVICE void groupBarrier() { asm volatile("bar.sync %0, 128;" ::"r"(1 + threadX() / 128) : "memory"); }
DEVICE void storeShared(SharedAddress to, u32x4 v) {
	asm volatile("st.shared.v4.b32 [%0], {%1, %2, %3, %4};" ::"r"(to), "r"(v.x), "r"(v.y), "r"(v.z), "r"(v.w) : "memory");
}
DEVICE void storeShared(SharedAddress to, float v) { asm volatile("st.shared.f32 [%0], %1;" ::"r"(to), "f"(v) : "memory"); }
// power2 is 2^x within 2 units in the last place of a float32 (PTX ISA, ex2.approx),
// logarithm2 its inverse within 2^-22, inverse is 1/x within one unit.
DEVICE float power2(float x) {
	float y;
	asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
	return y;
}
DEVICE float logarithm2(float x) {
	float y;
	asm("lg2.approx.f32 %0, %1;" : "=f"(y) : "f"(x));
	return y;
}
DEVICE float inverse(float x) {
	float y;
	asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
	return y;
}
DEVICE float larger(float a, float b) {
	float c;
	asm("max.f32 %0, %1, %2;" : "=f"(c) : "f"(a), "f"(b));
	return c;
}
#endif

template <int DIM> struct Line { static const int bytes = 2 * DIM + 16; };

const float log2e = 1.44269504088896341f, ln2 = 0.693147180559945309f;

// tanhOf is tanh within 1e-7, as 1 - 2/(e^2x + 1).
DEVICE float tanhOf(float x) { return 1.0f - 2.0f * inverse(power2(x * (2 * log2e)) + 1.0f); }

// Rows says which rows of two matrices of one shape a group of 128 threads brings to
// shared memory next, each thread some 16 bytes of every step-th row. The first of
// the 1<<log heads that are rows is head0; they are no more than step.
template <int DIM> struct Rows {
	static const int chunks = DIM / 8, step = 128 / chunks;
	i64 at, stride; // what the thread copies next, and from a row to its next
	METHOD Rows(i64 row, int first, i64 head0, i64 heads, int log) {
		const int f = first + threadX() % 128 / chunks;
		at = ((row + (f >> log)) * heads + head0 + (f & ((1 << log) - 1))) * (DIM / 2) + threadX() % 128 % chunks * 4;
		stride = (step >> log) * heads * (DIM / 2);
	}
	// pull starts the copies of the next COUNT rows of a, and behind them of b, zeros
	// where fewer are left.
	template <int COUNT> METHOD void pull(SharedAddress to, const u32 *a, const u32 *b, int left) {
		to += threadX() % 128 / chunks * Line<DIM>::bytes + threadX() % 128 % chunks * 16;
		left -= threadX() % 128 / chunks;
#pragma unroll
		for (int i = 0; i < COUNT; i += step, at += stride) {
			copy16(to + i * Line<DIM>::bytes, a + at, i < left);
			copy16(to + (i + COUNT) * Line<DIM>::bytes, b + at, i < left);
		}
	}
};

// Eight values of a head.
struct Eight {
	f32x4 l, r;
	METHOD u32x4 brain() const { return u32x4{brains(l.x, l.y), brains(l.z, l.w), brains(r.x, r.y), brains(r.z, r.w)}; }
	METHOD float dot(const Eight &b) const {
		return fma32(l.x, b.l.x, fma32(l.y, b.l.y, fma32(l.z, b.l.z, l.w * b.l.w))) + fma32(r.x, b.r.x, fma32(r.y, b.r.y, fma32(r.z, b.r.z, r.w * b.r.w)));
	}
};

// eight loads the next values of a head that has left of them, zeros beyond; whole
// says that it may be done 16 bytes at once.
DEVICE Eight eight(const float *from, int left, bool whole) {
	f32x4 l = {0, 0, 0, 0}, r = l;
	if (whole) {
		if (left > 0) l = *(const f32x4 *)from;
		if (left > 4) r = *(const f32x4 *)(from + 4);
	} else {
		if (left > 0) l.x = from[0];
		if (left > 1) l.y = from[1];
		if (left > 2) l.z = from[2];
		if (left > 3) l.w = from[3];
		if (left > 4) r.x = from[4];
		if (left > 5) r.y = from[5];
		if (left > 6) r.z = from[6];
		if (left > 7) r.w = from[7];
	}
	return Eight{l, r};
}
DEVICE Eight eight(const u16 *from, int left, bool whole) {
	u32x4 w = {0, 0, 0, 0};
	if (whole) {
		if (left > 0) w = *(const u32x4 *)from;
	} else {
		if (left > 0) w.x = from[0];
		if (left > 1) w.x |= (u32)from[1] << 16;
		if (left > 2) w.y = from[2];
		if (left > 3) w.y |= (u32)from[3] << 16;
		if (left > 4) w.z = from[4];
		if (left > 5) w.z |= (u32)from[5] << 16;
		if (left > 6) w.w = from[6];
		if (left > 7) w.w |= (u32)from[7] << 16;
	}
	const auto low = [](u32 x) INLINE { return bitsFloat(x << 16); };
	const auto high = [](u32 x) INLINE { return bitsFloat(x & 0xffff0000u); };
	return Eight{{low(w.x), high(w.x), low(w.y), high(w.y)}, {low(w.z), high(w.z), low(w.w), high(w.w)}};
}
// atOnce tells whether eight may be told whole, of heads at a, b and c.
DEVICE bool atOnce(i64 dim, const void *a, const void *b, const void *c, bool brain) { return dim % (brain ? 8 : 4) == 0 && (((u64)a | (u64)b | (u64)c) & 15) == 0; }

// Addresses of a lane for the four matrices that make a fragment: 16 rows by 16
// columns of a, or of a turned b; 16 columns (rows as they lie) of b by 16.
template <int DIM> DEVICE u32 laneOfA() { return threadX() % 16 * Line<DIM>::bytes + threadX() % warp / 16 * 16; }
template <int DIM> DEVICE u32 laneOfB() { return (threadX() % warp / 16 * 8 + threadX() % 8) * Line<DIM>::bytes + threadX() % 16 / 8 * 16; }

// rowsTimes: s [16·TILES, COLS] += rows of a, [.., DIM], times the rows of b; a
// and b are this lane's addresses. Fragments of b are loaded one ahead of their use.
template <int DIM, int TILES, int COLS> DEVICE void rowsTimes(float (*s)[COLS / 8][4], SharedAddress a, SharedAddress b) {
	const int pairs = COLS / 16, all = DIM / 16 * pairs;
	u32 x[2][TILES][4], y[2][4];
#pragma unroll
	for (int i = 0; i < TILES; i++) loadMatrices(x[0][i], a + 16 * i * Line<DIM>::bytes);
	loadMatrices(y[0], b);
#pragma unroll
	for (int e = 0; e < all; e++) {
		const int k = e / pairs, j = e % pairs * 2, next = e + 1;
		if (j == 0 && k + 1 < DIM / 16)
#pragma unroll
			for (int i = 0; i < TILES; i++) loadMatrices(x[(k + 1) % 2][i], a + 16 * i * Line<DIM>::bytes + 32 * (k + 1));
		if (next < all) loadMatrices(y[next % 2], b + 16 * (next % pairs) * Line<DIM>::bytes + 32 * (next / pairs));
#pragma unroll
		for (int i = 0; i < TILES; i++) {
			matrixUnit(s[i][j], x[k % 2][i], y[e % 2][0], y[e % 2][1]);
			matrixUnit(s[i][j + 1], x[k % 2][i], y[e % 2][2], y[e % 2][3]);
		}
	}
}

// heldTimes is rowsTimes of 16 rows whose fragments are in registers.
template <int DIM, int COLS> DEVICE void heldTimes(float (*s)[4], const u32 (*x)[4], SharedAddress b) {
	const int pairs = COLS / 16, all = DIM / 16 * pairs;
	u32 y[2][4];
	loadMatrices(y[0], b);
#pragma unroll
	for (int e = 0; e < all; e++) {
		const int k = e / pairs, j = e % pairs * 2, next = e + 1;
		if (next < all) loadMatrices(y[next % 2], b + 16 * (next % pairs) * Line<DIM>::bytes + 32 * (next / pairs));
		matrixUnit(s[j], x[k], y[e % 2][0], y[e % 2][1]);
		matrixUnit(s[j + 1], x[k], y[e % 2][2], y[e % 2][3]);
	}
}

// timesColumns: d [16·TILES, COLS] += s [.., STEPS], rounded, times columns of the
// STEPS rows of b.
template <int DIM, int TILES, int STEPS, int COLS> DEVICE void timesColumns(float (*d)[COLS / 8][4], const float (*s)[STEPS / 8][4], SharedAddress b) {
	const int pairs = COLS / 16, all = STEPS / 16 * pairs;
	u32 x[TILES][4], y[2][4];
	loadTurned(y[0], b);
#pragma unroll
	for (int e = 0; e < all; e++) {
		const int k = e / pairs, j = e % pairs * 2, next = e + 1;
		if (next < all) loadTurned(y[next % 2], b + 16 * (next / pairs) * Line<DIM>::bytes + 32 * (next % pairs));
		if (j == 0)
#pragma unroll
			for (int i = 0; i < TILES; i++) {
				const float *l = s[i][2 * k], *r = s[i][2 * k + 1];
				x[i][0] = brains(l[0], l[1]), x[i][1] = brains(l[2], l[3]), x[i][2] = brains(r[0], r[1]), x[i][3] = brains(r[2], r[3]);
			}
#pragma unroll
		for (int i = 0; i < TILES; i++) {
			matrixUnit(d[i][j], x[i], y[e % 2][0], y[e % 2][1]);
			matrixUnit(d[i][j + 1], x[i], y[e % 2][2], y[e % 2][3]);
		}
	}
}

template <int TILES, int COLS> DEVICE void clear(float (*d)[COLS / 8][4]) {
#pragma unroll
	for (int i = 0; i < TILES; i++)
#pragma unroll
		for (int j = 0; j < COLS / 8; j++)
#pragma unroll
			for (int e = 0; e < 4; e++) d[i][j][e] = 0;
}

// storeRow writes what a lane has of a row's columns: of rows g (half 0) and g+8.
template <int COLS> DEVICE void storeRow(float *at, const float (*d)[4], int half, float by, int dim) {
	const int c0 = threadX() % 4 * 2;
	const bool pairs = dim % 2 == 0 && ((u64)at & 7) == 0;
#pragma unroll
	for (int j = 0; j < COLS / 8; j++) {
		const int c = 8 * j + c0;
		const f32x2 v = {by * d[j][2 * half], by * d[j][2 * half + 1]};
		if (pairs && c < dim) *(f32x2 *)(at + c) = v;
		if (!pairs && c < dim) at[c] = v.x;
		if (!pairs && c + 1 < dim) at[c + 1] = v.y;
	}
}
template <int COLS> DEVICE void storeRow(u16 *at, const float (*d)[4], int half, float by, int dim) {
	const int c0 = threadX() % 4 * 2;
	const bool pairs = dim % 2 == 0 && ((u64)at & 3) == 0;
#pragma unroll
	for (int j = 0; j < COLS / 8; j++) {
		const int c = 8 * j + c0;
		const u32 v = brains(by * d[j][2 * half], by * d[j][2 * half + 1]);
		if (pairs && c < dim) *(u32 *)(at + c) = v;
		if (!pairs && c < dim) at[c] = (u16)v;
		if (!pairs && c + 1 < dim) at[c + 1] = (u16)(v >> 16);
	}
}

// EACH_SCORE goes through a lane's scores: tile i, columns 8j.., e of four.
#define EACH_SCORE(TILES, COLS) \
	_Pragma("unroll") for (int i = 0; i < TILES; i++) \
	_Pragma("unroll") for (int j = 0; j < COLS / 8; j++) \
	_Pragma("unroll") for (int e = 0; e < 4; e++)

// A warp's keys or tokens, ends included. sees: token t sees itself and the
// reach-1 tokens before it.
struct Range {
	int from, to;
};
DEVICE int largest(int a, int b) { return a > b ? a : b; }
DEVICE bool sees(int t, int u, int reach) { return u <= t && u > t - reach; }
DEVICE bool allSee(Range t, Range u, int reach) { return u.to <= t.from && u.from > t.to - reach; }
DEVICE bool noneSees(Range t, Range u, int reach) { return u.from > t.to || u.to <= t.from - reach; }

// rowAt is where row f lies, counted in heads, head being the first of those that are
// rows. tiles has four numbers a block row: the run's first row, its length, and the
// first of the rows, or keys, within it that the block owns.
#define TILE_OF(group) \
	const int *entry = tiles + 4 * blockY(); \
	const i64 row = entry[0]; \
	const int n = entry[1], own = entry[2], reach = window > 0 && window < n ? (int)window : n, log = (int)logShare; \
	const i64 head0 = (i64)(group) << log, kvHead = head0 / (heads / kvHeads); \
	const float scale = real(scaleBits), cap = real(capBits), by = cap > 0 ? log2e : scale * log2e; \
	const int lane = threadX() % warp, g = lane / 4, t = lane % 4; \
	const auto rowAt = [=](int f, i64 head) INLINE { return (row + (f >> log)) * heads + head + (f & ((1 << log) - 1)); }
