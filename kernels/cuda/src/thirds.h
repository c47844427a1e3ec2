// Products of float32 rows with weights whose values are bfloat16, on the matrix
// units: a float32 is the sum of three bfloat16 (24 bits are three times 8), so
// three products of bfloat16, summed in float32, lose nothing of x.
//
// # The order of a sum
//
// K is cut into pieces of 256 values. Within a piece the matrix unit sums the three
// parts of x each on its own, 16 values a step; the piece is first + (second +
// third), and pieces are added in their order, to 0. Which values make a step
// depends on the format alone. So a row has the same bits alone and in any batch.
//
// The matrix unit wants of a lane (g = lane / 4, t = lane % 4) two pairs of values
// of rows g and g + 8 of the weight, and of column g of x. Which values of K these
// are is ours to choose, if it is the same for both: a lane's values lie together in
// the weight, so that it reads 16 bytes of a row at once, a gulp: 32 codes of 4 bits
// or 8 bfloat16. Step s takes the values 4s to 4s+3 of each lane's.
#pragma once
#include "weight.h"

const int pieceValues = 256;

// gulpSteps is the number of steps that a gulp serves; it spans 16 values of K each.
template <bool CODES> struct Gulp { static const int steps = CODES ? 8 : 2, span = 16 * steps; };

// thirdsOf makes three pairs of bfloat16 of two floats, the first value in the low half.
DEVICE void thirdsOf(u32 *parts, float a, float b) {
#pragma unroll
	for (int i = 0; i < 3; i++) {
		parts[i] = brains(a, b);
		a -= bitsFloat(parts[i] << 16);
		b -= bitsFloat(parts[i] & 0xffff0000u);
	}
}

// fourOf reads four values, at any multiple of a value's size.
DEVICE f32x4 fourOf(const float *x) {
	if (((u64)x & 15) == 0) return *(const f32x4 *)x;
	return f32x4{x[0], x[1], x[2], x[3]};
}

// The values that 4-bit codes stand for, two a byte, as shared memory has them for
// the lanes: pair of byte c for a lane at 256·c + 8·lane.
const int pairBytes = 256 * warp * 8;

// spreadPairs fills it; mine is value lane % 16 of the map.
DEVICE void spreadPairs(f32x2 *pairs, float mine) {
	for (int byte = threadX() / warp; byte < 256; byte += threads() / warp)
		pairs[byte * warp + threadX() % warp] = f32x2{shuffle(mine, byte >> 4), shuffle(mine, byte & 15)};
}

// rowPairs gives the lane's two pairs of a step, of what it has read of one row.
template <bool CODES> DEVICE void rowPairs(u32 &low, u32 &high, const u32x4 &q, int s, float scale, SharedAddress pairs, u32 lane) {
	if (!CODES) {
		low = s == 0 ? q.x : q.z;
		high = s == 0 ? q.y : q.w;
		return;
	}
	const u32 word = s / 2 == 0 ? q.x : s / 2 == 1 ? q.y : s / 2 == 2 ? q.z : q.w;
	const f32x2 a = sharedPair(pairs + byteBeside(word, s % 2 * 2, lane * 8));
	const f32x2 b = sharedPair(pairs + byteBeside(word, s % 2 * 2 + 1, lane * 8));
	low = brains(a.x * scale, a.y * scale);
	high = brains(b.x * scale, b.y * scale);
}
