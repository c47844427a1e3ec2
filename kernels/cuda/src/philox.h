// Dropout's random numbers.
#pragma once
#include "device.h"

// Dropped says which values a dropout keeps, of rows with two words of a key each:
// where the random word is limit or more. They are multiplied by factor.
struct Dropped {
	const u32 *keys;
	u32 seed, seedHigh, stream, limit;
	float factor;
};

#define DROPPED const u32 *keys, i64 seed, i64 stream, i64 limit, i64 factor
#define DROPPED_OF Dropped{keys, (u32)seed, (u32)((u64)seed >> 32), (u32)stream, (u32)limit, real(factor)}

DEVICE u32x2 keyOf(const Dropped &d, i64 t) { return ((const u32x2 *)d.keys)[t]; }

// kept is a bit for each of four values of a row, the first the lowest: the words
// of a counter of Philox4x32-10 (Salmon et al., 2011).
DEVICE u32 kept(const Dropped &d, u32x2 key, u32 group) {
	u32 c0 = key.x, c1 = key.y, c2 = d.stream, c3 = group;
	u32 k0 = d.seed, k1 = d.seedHigh;
#pragma unroll
	for (int round = 0; round < 10; round++) {
		const u64 a = (u64)0xd2511f53u * c0, b = (u64)0xcd9e8d57u * c2;
		c0 = (u32)(b >> 32) ^ c1 ^ k0;
		c1 = (u32)b;
		c2 = (u32)(a >> 32) ^ c3 ^ k1;
		c3 = (u32)a;
		k0 += 0x9e3779b9u;
		k1 += 0xbb67ae85u;
	}
	return (c0 >= d.limit ? 1 : 0) | (c1 >= d.limit ? 2 : 0) | (c2 >= d.limit ? 4 : 0) | (c3 >= d.limit ? 8 : 0);
}
