// Weights as checkpoints store them, decoded where they are used. A weight
// [n, k] is given to a kernel as WEIGHT, its formulas are those of package
// format.
#pragma once
#include "device.h"

// Weight: value i is
//
//	data[i]                                       plain types
//	round(map[code first+i] · scale(block))       4-bit codes, two a byte, the first high
//	round(data[first+i] · scale(row) · (1/127))   Int8
//
// scale(b) is absmax[b], or if codes is not null map2[codes[b]] ·
// absmax[b/block2] + offset. Blocks are counted from the start of the codes;
// shift and shift2 are the powers of two that block and block2 are, or -1.
struct Weight {
	const u8 *data;
	const float *map, *absmax;
	const u8 *codes;
	const float *map2;
	i64 block, shift, block2, shift2, first;
	float offset;
	int round;
};

#define WEIGHT const u8 *data, const float *map, const float *absmax, const u8 *codes, const float *map2, i64 block, i64 shift, i64 block2, i64 shift2, i64 first, i64 offset, i64 round
#define WEIGHT_OF Weight{data, map, absmax, codes, map2, block, shift, block2, shift2, first, real(offset), (int)round}

const float int8Unit = 7.874015718698502e-3f;

DEVICE float scaleOf(const Weight &w, i64 at) {
	i64 b = w.shift >= 0 ? at >> w.shift : at / w.block;
	if (w.codes) return w.map2[w.codes[b]] * w.absmax[w.shift2 >= 0 ? b >> w.shift2 : b / w.block2] + w.offset;
	return w.absmax[b];
}

// value decodes value i of a weight of kind KIND.
template <int KIND> DEVICE float value(const Weight &w, i64 i) {
	if (KIND == kindF32) return ((const float *)w.data)[i];
	if (KIND == kindF16) return halfFloat(((const u16 *)w.data)[i]);
	if (KIND == kindBF16) return brainFloat(((const u16 *)w.data)[i]);
	i64 at = w.first + i;
	if (KIND == kindInt8) return rounded((float)((const signed char *)w.data)[at] * scaleOf(w, at) * int8Unit, w.round);
	u8 two = w.data[at >> 1];
	return rounded(w.map[at & 1 ? two & 15 : two >> 4] * scaleOf(w, at), w.round);
}

// TABLE makes room in shared memory for a map's 16 values, each 32 times, once a
// bank, so that the lanes of a warp look up without waiting for each other. It
// begins at a multiple of its 2048 bytes, where "or" adds an offset; the GPU
// does not heed so large an alignment, hence twice the room.
#define TABLE(name) \
	SHARED float name##Room[2 * 16 * warp]; \
	float *name = name##Room + ((2048 - (u32)sharedAddress(name##Room) % 2048) % 2048) / 4

// spread fills a table.
DEVICE void spread(float *table, const float *map) {
	for (int i = threadX(); i < 16 * warp; i += threads()) table[i] = map[i / warp];
}

// lookUp gives the eight values of a word of 4-bit codes. table holds each of the
// map's 16 values 32 times, once a bank of shared memory (TABLE), and mine
// is this lane's.
DEVICE void lookUp(float *v, u32 word, float scale, SharedAddress mine, int round) {
#pragma unroll
	for (int j = 0; j < 8; j++) {
		const int bit = j / 2 * 8 + (j % 2 ? 0 : 4); // the first of two in the high half
		u32 c = bit >= 7 ? word >> (bit - 7 & 31) : word << (7 - bit & 31);
		v[j] = sharedFloat((c & 0x780) | mine) * scale;
	}
	if (round == kindBF16) {
#pragma unroll
		for (int j = 0; j < 8; j += 2) {
			u32 two = brains(v[j], v[j + 1]);
			v[j] = bitsFloat(two << 16);
			v[j + 1] = bitsFloat(two & 0xffff0000u);
		}
	} else if (round == kindF16) {
#pragma unroll
		for (int j = 0; j < 8; j++) v[j] = roundHalf(v[j]);
	}
}

// Kernels over weights exist once a kind, NAME_0 to NAME_4; with ONLY_KIND, a source
// is translated for one kind alone.
#ifdef ONLY_KIND
#define APPLY(M, K) M(K)
#define EACH_KIND(M) APPLY(M, ONLY_KIND)
#else
#define EACH_KIND(M) M(0) M(1) M(2) M(3) M(4)
#endif
