// Products of float32 rows with weights whose values have 16 bits, on the matrix
// units: a float32 is the sum of three bfloat16 (24 bits are three times 8), so
// with a weight of bfloat16 three products, summed in float32, lose nothing of x. A
// binary16 is the sum of two bfloat16 (11 bits), and takes six.
//
// # The order of a sum
//
// K is cut into at most 16 pieces, of 256 values or a multiple of them. Within a piece
// the matrix unit sums the three parts of x each on its own, 16 values a step, of each
// step the weight's first parts and then its second; the piece is first + (second + third), and pieces are added in their order, to 0. Which
// values make a step depends on the format alone. So a row has the same bits alone and in any batch.
//
// The matrix unit wants of a lane (g = lane / 4, t = lane % 4) two pairs of values
// of rows g and g + 8 of the weight, and of column g of x. Which values of K these
// are is ours to choose, if it is the same for both: a lane's values lie together in
// the weight, so that it reads 16 bytes of a row at once, a gulp: 64 codes of 4 bits, of
// one block, in two reads, or 8 bfloat16. Step s takes the values 4s to 4s+3 of each lane's.
// What a last gulp lacks is zero.
#pragma once
#include "weight.h"

const int chunkValues = 256, mostPieces = 16;

// pieceOf is the number of values of a piece.
DEVICE u32 pieceOf(u32 k) { return (k + chunkValues * mostPieces - 1) / (chunkValues * mostPieces) * chunkValues; }

// Gulp: the number of steps that it serves, the values of K that it spans, 16 a step,
// those of them that are a lane's, and the reads that they take.
template <bool CODES> struct Gulp { static const int steps = CODES ? 16 : 2, span = 16 * steps, own = 4 * steps, reads = CODES ? 2 : 1; };

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

DEVICE u32 wordOf(const u32x4 *q, int i) {
	const u32x4 &four = q[i / 4];
	return i % 4 == 0 ? four.x : i % 4 == 1 ? four.y : i % 4 == 2 ? four.z : four.w;
}

// pairOf makes a pair of values the parts that are multiplied: one of bfloat16, or two.
template <bool HALF> DEVICE void pairOf(u32 *parts, float a, float b) {
	parts[0] = brains(a, b);
	if (HALF) parts[1] = brains(a - bitsFloat(parts[0] << 16), b - bitsFloat(parts[0] & 0xffff0000u));
}

// A Pairs is what a lane gives the matrix unit of one row of the weight and one step: the
// first two values and the next two, in parts.
template <bool HALF> struct Pairs {
	u32 low[HALF ? 2 : 1], high[HALF ? 2 : 1];
};

// rowPairs makes them of what the lane has read of the row.
template <bool CODES, bool HALF> DEVICE void rowPairs(Pairs<HALF> &p, const u32x4 *q, int s, float scale, SharedAddress pairs, u32 lane) {
	if (!CODES) {
		const u32 low = wordOf(q, 2 * s), high = wordOf(q, 2 * s + 1);
		if (HALF) {
			pairOf<HALF>(p.low, halfFloat((u16)low), halfFloat((u16)(low >> 16)));
			pairOf<HALF>(p.high, halfFloat((u16)high), halfFloat((u16)(high >> 16)));
		} else {
			p.low[0] = low;
			p.high[0] = high;
		}
		return;
	}
	const u32 word = wordOf(q, s / 2);
	f32x2 a = sharedPair(pairs + byteBeside(word, s % 2 * 2, lane * 8));
	f32x2 b = sharedPair(pairs + byteBeside(word, s % 2 * 2 + 1, lane * 8));
	a = f32x2{a.x * scale, a.y * scale};
	b = f32x2{b.x * scale, b.y * scale};
	if (HALF) {
		a = f32x2{roundHalf(a.x), roundHalf(a.y)};
		b = f32x2{roundHalf(b.x), roundHalf(b.y)};
	}
	pairOf<HALF>(p.low, a.x, a.y);
	pairOf<HALF>(p.high, b.x, b.y);
}

// multiplyTile adds to a tile of 16 outputs by 8 columns of x: a are the pairs of rows g
// and g + 8 of the weight.
template <bool HALF> DEVICE void multiplyTile(float *d, const Pairs<HALF> *a, const u32x2 &x) {
#pragma unroll
	for (int part = 0; part < (HALF ? 2 : 1); part++) {
		const u32 f[4] = {a[0].low[part], a[1].low[part], a[0].high[part], a[1].high[part]};
		matrixUnit(d, f, x.x, x.y);
	}
}

// Chosen are the 16 values that the codes of a block stand for, as bfloat16: their low
// and their high bytes, in registers. It gives the pairs that rowPairs gives of
// bfloat16 and asks shared memory for nothing, but takes more instructions.
struct Chosen {
	u32 low[4], high[4];
	METHOD void fill(const f32x4 *map, float scale) {
#pragma unroll
		for (int i = 0; i < 4; i++) {
			const f32x4 v = map[i];
			const u32 a = brains(v.x * scale, v.y * scale), b = brains(v.z * scale, v.w * scale);
			low[i] = permute(a, b, 0x6420);
			high[i] = permute(a, b, 0x7531);
		}
	}
	// of picks four bytes by codes: the low three bits of each, then the fourth.
	METHOD u32 of(const u32 *bytes, u32 three, u32 fourth) const {
		return permute(permute(bytes[0], bytes[1], three), permute(bytes[2], bytes[3], three), fourth);
	}
	METHOD void pairs(Pairs<false> &p, const u32x4 *q, int s) const {
		const u32 word = wordOf(q, s / 2), shift = s % 2 * 16;
		const u32 three = (word & 0x77777777u) >> shift, fourth = ((word >> 1 & 0x44444444u) | 0x32103210u) >> shift;
		const u32 x = of(low, three, fourth), y = of(high, three, fourth); // codes 1, 0, 3, 2
		p.low[0] = permute(x, y, 0x4051);
		p.high[0] = permute(x, y, 0x6273);
	}
};
