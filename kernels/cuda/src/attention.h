// The arithmetic of attention in inference, which has the same bits whoever does
// it: one sequence or many, one token or a prompt.
//
// A warp takes a page of 32 keys against R queries that share a head of keys. In
// the scores a lane has four keys and every fourth value of the heads, d mod 4 =
// lane / 8, so that a step of the warp is 512 bytes of keys that lie together; the
// four sums are added as (0 + 2) + (1 + 3). In the output a lane has four columns, or
// four of each 128, and adds the keys in order. So a page has a maximum, a sum of
// exponentials and an output of its own (Milakov and Gimelshein, 2018), which
// are joined page by page, first those of a group of 8 pages, counted from position
// 0, then the groups.
#pragma once
#include "device.h"

const int page = 32, group = 8;

// outer: a [R][4] += x [R] · v [4].
template <int R> DEVICE void outer(float (*a)[4], const float *x, f32x4 v) {
#pragma unroll
	for (int r = 0; r < R; r += 4) {
		const f32x4 y = *(const f32x4 *)(x + r);
		const float by[4] = {y.x, y.y, y.z, y.w};
#pragma unroll
		for (int i = 0; i < 4; i++) {
			a[r + i][0] = fma32(by[i], v.x, a[r + i][0]);
			a[r + i][1] = fma32(by[i], v.y, a[r + i][1]);
			a[r + i][2] = fma32(by[i], v.z, a[r + i][2]);
			a[r + i][3] = fma32(by[i], v.w, a[r + i][3]);
		}
	}
}

// outerSeen is outer where no x that is 0 shall let anything of v through, which may
// hold anything there.
template <int R> DEVICE void outerSeen(float (*a)[4], const float *x, f32x4 v) {
#pragma unroll
	for (int r = 0; r < R; r++) {
		const float by = x[r];
		const bool some = by != 0;
		a[r][0] = fma32(by, some ? v.x : 0.0f, a[r][0]);
		a[r][1] = fma32(by, some ? v.y : 0.0f, a[r][1]);
		a[r][2] = fma32(by, some ? v.z : 0.0f, a[r][2]);
		a[r][3] = fma32(by, some ? v.w : 0.0f, a[r][3]);
	}
}

// halve adds the sums of this lane and of the one that differs in a bit, and
// leaves each half of the R rows, the upper to that with the bit.
template <int R> DEVICE void halve(float (*s)[4], int bit) {
	const bool upper = threadX() & bit;
#pragma unroll
	for (int r = 0; r < R / 2; r++)
#pragma unroll
		for (int j = 0; j < 4; j++) {
			const float give = upper ? s[r][j] : s[r + R / 2][j], keep = upper ? s[r + R / 2][j] : s[r][j];
			s[r][j] = keep + shuffleXor(give, bit);
		}
}

// How scores are made of products, and what has none.
struct Scoring {
	float scale, cap;
	METHOD float operator()(float product) const {
		const float x = scale * product;
		return cap > 0 ? cap * tanh32(x / cap) : x;
	}
};
const u32 noneBits = 0xff800000u; // minus infinity

// softmaxOf makes a row's four scores of this lane, of keys 4(lane mod 8) on, into
// exponentials; eight lanes have the 32 keys, of which the row sees from to to-1.
DEVICE void softmaxOf(float *s, int from, int to, Scoring score, float &most, float &sum) {
	const int key = threadX() % 8 * 4;
	bool sees[4];
	most = bitsFloat(noneBits);
#pragma unroll
	for (int j = 0; j < 4; j++) {
		sees[j] = key + j >= from && key + j < to;
		const float x = score(s[j]); // of all, so that lanes do not part
		s[j] = sees[j] ? x : bitsFloat(noneBits);
		most = max32(most, s[j]);
	}
	for (int d = 1; d < 8; d *= 2) most = max32(most, shuffleXor(most, d));
#pragma unroll
	for (int j = 0; j < 4; j++) {
		const float e = exp32(s[j] - most);
		s[j] = sees[j] ? e : 0.0f;
	}
	sum = (s[0] + s[1]) + (s[2] + s[3]);
	for (int d = 1; d < 8; d *= 2) sum += shuffleXor(sum, d);
}
