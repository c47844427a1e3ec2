// Values as bfloat16, for the products of gemm_sm90.cu.
#include "values.h"
#include "weight.h"

// toBrain: dst[i] = x[i], eight values a thread where that is possible.
GLOBAL toBrain(u16 *dst, const float *x, i64 n) {
	const i64 groups = grouped(dst, x, x) ? n / 8 : 0;
	EACH(i, groups) {
		float v[8];
		groupOf(v, x + 8 * i);
		groupOf(v + 4, x + 8 * i + 4);
		storeGroup(dst + 8 * i, v);
	}
	EACH(i, n - 8 * groups) store(dst + 8 * groups + i, x[8 * groups + i]);
}

// brainOf_KIND: dst[i] = value i of a weight, any of them.
#define BRAIN_OF(KIND) \
	GLOBAL brainOf_##KIND(u16 *dst, i64 n, WEIGHT) { \
		Weight w = WEIGHT_OF; \
		EACH(i, n) dst[i] = (u16)brains(value<KIND>(w, i), 0.0f); \
	}
EACH_KIND(BRAIN_OF)

// dequantise4: dst[i] = value i of a weight of 4-bit codes whose groups of eight
// begin at whole words and lie in one block: both levels of scales in one pass.
// A thread takes a word of codes and gives 16 bytes, AHEAD of them in flight.
const int aheadWords = 4;
GLOBAL dequantise4(u32x4 *dst, i64 n, WEIGHT) {
	Weight w = WEIGHT_OF;
	TABLE(table);
	spread(table, map);
	barrier();
	const SharedAddress mine = sharedAddress(table + threadX() % warp);
	const u32 *words = (const u32 *)(data + (first >> 1));
	const i64 count = n / 8, stride = (i64)blocks() * threads();
	for (i64 i0 = (i64)blockX() * threads() + threadX(); i0 < count; i0 += stride * aheadWords) {
		u32 code[aheadWords];
		float scale[aheadWords];
#pragma unroll
		for (int j = 0; j < aheadWords; j++) {
			i64 i = i0 + j * stride;
			if (i >= count) i = count - 1;
			code[j] = words[i];
			scale[j] = scaleOf(w, first + 8 * i);
		}
#pragma unroll
		for (int j = 0; j < aheadWords; j++) {
			i64 i = i0 + j * stride;
			if (i >= count) break;
			float v[8];
#pragma unroll
			for (int l = 0; l < 8; l++) {
				const int bit = l / 2 * 8 + (l % 2 ? 0 : 4); // the first of two in the high half
				u32 c = bit >= 7 ? code[j] >> (bit - 7 & 31) : code[j] << (7 - bit & 31);
				v[l] = sharedFloat((c & 0x780) | mine) * scale[j];
				if (w.round == kindF16) v[l] = roundHalf(v[l]);
			}
			dst[i] = u32x4{brains(v[0], v[1]), brains(v[2], v[3]), brains(v[4], v[5]), brains(v[6], v[7])};
		}
	}
}

// brainTurned_KIND: dst [k, n], the transposed values of a weight [n, k]; a
// block a square of 32.
#define BRAIN_TURNED(KIND) \
	GLOBAL brainTurned_##KIND(u16 *dst, i64 n, i64 k, WEIGHT) { \
		Weight w = WEIGHT_OF; \
		SHARED float square[32][33]; \
		const i64 row = (i64)blockY() * 32, col = (i64)blockX() * 32; \
		const int x = threadX() % 32, y = threadX() / 32; \
		for (int i = y; i < 32; i += threads() / 32) \
			if (row + i < n && col + x < k) square[i][x] = value<KIND>(w, (row + i) * k + col + x); \
		barrier(); \
		for (int i = y; i < 32; i += threads() / 32) \
			if (col + i < k && row + x < n) dst[(col + i) * n + row + x] = (u16)brains(square[x][i], 0.0f); \
	}
EACH_KIND(BRAIN_TURNED)
