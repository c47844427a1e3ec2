// Products of several rows with weights of bfloat16 values; see thirds.h.
#include "thirds.h"

const int warps = 8, warpOuts = 32;

// splitThirds: the three parts of x [rows, k] as the matrix unit wants them. Rows
// are taken in blocks of 8·tiles, those that are not there as zeros; of a block lie
// for each step and each part the tiles of 8 rows, 32 lanes each. A lane has 4
// values of a row. steps is the number of steps a gulp.
GLOBAL splitThirds(u32x2 *dst, const float *x, i64 rows, i64 k, i64 tiles, i64 steps) {
	const u32 all = (u32)(k / 16), each = (u32)tiles * warp;
	const i64 n = (rows + 8 * tiles - 1) / (8 * tiles) * all * each;
	for (i64 i = (i64)blockX() * threads() + threadX(); i < n; i += (i64)blocks() * threads()) {
		const i64 block = over(i, (i64)all * each);
		const u32 rest = (u32)(i - block * all * each), step = rest / each, at = rest % each, lane = at % warp;
		const i64 row = (block * tiles + at / warp) * 8 + lane / 4;
		const u32 gulp = step / (u32)steps, s = step % (u32)steps;
		f32x4 v = {0, 0, 0, 0};
		if (row < rows) v = fourOf(x + row * k + ((gulp * 4 + lane % 4) * (u32)steps + s) * 4);
		u32 low[3], high[3];
		thirdsOf(low, v.x, v.y);
		thirdsOf(high, v.z, v.w);
		u32x2 *to = dst + (block * all + step) * 3 * each + at;
#pragma unroll
		for (int p = 0; p < 3; p++) to[p * each] = u32x2{low[p], high[p]};
	}
}

// A Gulps is what a lane has asked for: of four rows of the weight, g + 8i.
struct Gulps {
	u32x4 row[4];
	float scale[4];
};

// thirdsBody: dst [rows, n] = parts · wᵀ. A warp takes 32 outputs by 8·TILES rows.
// SPLIT: the warps of a block share 32 outputs and take a piece of K each; else they
// have outputs of their own, four times 32, and two blocks of rows.
template <bool CODES, int TILES, bool SPLIT> DEVICE void thirdsBody(float *dst, const u32x2 *parts, i64 rows, i64 n, i64 k, i64 addTo, i64 by, const Weight &w) {
	const int span = Gulp<CODES>::span, steps = Gulp<CODES>::steps, each = TILES * warp, outs = warpOuts * 8 * TILES;
	DYNAMIC(u8, mem);
	float *sums = (float *)(mem + (CODES ? pairBytes : 0)); // [warps][outs], if SPLIT
	if (CODES) spreadPairs((f32x2 *)mem, w.map[threadX() % 16]);
	barrier();
	const SharedAddress pairs = sharedAddress(mem);
	const int lane = threadX() % warp, me = threadX() / warp, g = lane / 4, t = lane % 4;
	const i64 out0 = ((i64)blockY() * (SPLIT ? 1 : 4) + (SPLIT ? 0 : me % 4)) * warpOuts;
	const i64 block = SPLIT ? blockX() : blockX() * 2 + me / 4, row0 = block * 8 * TILES;
	if (!SPLIT && (out0 >= n || row0 >= rows)) return;
	const int pieces = (int)((k + pieceValues - 1) / pieceValues), stride = SPLIT ? warps : 1, width = (int)k;
	parts += block * (k / 16) * 3 * each + lane;

	i64 first[4]; // of the rows of the weight that the lane reads, its first value
#pragma unroll
	for (int i = 0; i < 4; i++) {
		const i64 out = out0 + g + 8 * i;
		first[i] = (CODES ? w.first : 0) + (out < n ? out : n - 1) * k + t * (span / 4); // one that is not there is the last
	}
	auto ask = [&](Gulps &q, int at) INLINE {
		if (at >= width) return;
#pragma unroll
		for (int i = 0; i < 4; i++) {
			q.row[i] = CODES ? *(const u32x4 *)(w.data + ((first[i] + at) >> 1)) : *(const u32x4 *)(w.data + 2 * (first[i] + at));
			q.scale[i] = CODES ? scaleOf(w, first[i] + at) : 0.0f;
		}
	};
	u32x2 b[3 * TILES];
	auto askParts = [&](int step) INLINE {
		const u32x2 *from = parts + (i64)step * 3 * each;
#pragma unroll
		for (int j = 0; j < 3 * TILES; j++) b[j] = from[j * warp];
	};

	float total[2][TILES][4], shared[SPLIT ? TILES : 1];
#pragma unroll
	for (int j = 0; j < 2 * TILES * 4; j++) total[j / 4 / TILES][j / 4 % TILES][j % 4] = 0;
#pragma unroll
	for (int i = 0; i < (SPLIT ? TILES : 1); i++) shared[i] = 0;
	Gulps now, next;
	ask(next, (SPLIT ? me : 0) * pieceValues);
#pragma unroll 1
	for (int p0 = 0; p0 < pieces; p0 += stride) {
		const int p = p0 + (SPLIT ? me : 0), end = lowest(width, (p + 1) * pieceValues);
		float acc[3][2][TILES][4];
#pragma unroll
		for (int j = 0; j < 3 * 2 * TILES * 4; j++) acc[j / 4 / TILES / 2][j / 4 / TILES % 2][j / 4 % TILES][j % 4] = 0;
#pragma unroll 1
		for (int at = p * pieceValues; at < end; at += span) {
			now = next;
			ask(next, at + span < end ? at + span : (p + stride) * pieceValues);
#pragma unroll
			for (int s = 0; s < steps; s++) {
				askParts(at / 16 + s);
				u32 a[2][4];
#pragma unroll
				for (int i = 0; i < 4; i++) rowPairs<CODES>(a[i / 2][i % 2], a[i / 2][2 + i % 2], now.row[i], s, now.scale[i], pairs, lane);
#pragma unroll
				for (int j = 0; j < 3 * TILES; j++)
#pragma unroll
					for (int i = 0; i < 2; i++) matrixUnit(acc[j / TILES][i][j % TILES], a[i], b[j].x, b[j].y);
			}
		}
#pragma unroll
		for (int i = 0; i < 2; i++)
#pragma unroll
			for (int j = 0; j < TILES; j++)
#pragma unroll
				for (int e = 0; e < 4; e++) {
					const float sum = acc[0][i][j][e] + (acc[1][i][j][e] + acc[2][i][j][e]);
					if (SPLIT)
						total[i][j][e] = sum;
					else
						total[i][j][e] += sum;
				}
		if (SPLIT) {
			// The pieces of the warps in their order: a thread has TILES outputs.
#pragma unroll
			for (int i = 0; i < 2; i++)
#pragma unroll
				for (int j = 0; j < TILES; j++)
#pragma unroll
					for (int e = 0; e < 4; e++) sums[me * outs + (8 * j + 2 * t + e % 2) * warpOuts + 16 * i + g + 8 * (e / 2)] = total[i][j][e];
			barrier();
			const int there = lowest(warps, pieces - p0);
#pragma unroll
			for (int i = 0; i < TILES; i++)
				for (int c = 0; c < there; c++) shared[i] += sums[c * outs + threadX() + 256 * i];
			barrier();
		}
	}
	if (SPLIT) {
#pragma unroll
		for (int i = 0; i < TILES; i++) {
			const i64 r = row0 + me + 8 * i, c = out0 + lane;
			if (r < rows && c < n) put(dst + r * n + c, shared[i], addTo, real(by));
		}
		return;
	}
#pragma unroll
	for (int i = 0; i < 2; i++)
#pragma unroll
		for (int j = 0; j < TILES; j++)
#pragma unroll
			for (int e = 0; e < 4; e++) {
				const i64 r = row0 + 8 * j + 2 * t + e % 2, c = out0 + 16 * i + g + 8 * (e / 2);
				if (r < rows && c < n) put(dst + r * n + c, total[i][j][e], addTo, real(by));
			}
}

#define THIRDS(NAME, CODES, TILES, SPLIT, BLOCKS) \
	GLOBAL BOUNDS(256, BLOCKS) NAME(float *dst, const u32x2 *parts, i64 rows, i64 n, i64 k, i64 addTo, i64 by, WEIGHT) { \
		Weight w = WEIGHT_OF; \
		thirdsBody<CODES, TILES, SPLIT>(dst, parts, rows, n, k, addTo, by, w); \
	}
#define THIRDS_OF(KIND, CODES) \
	THIRDS(thirds8_##KIND, CODES, 1, true, 2) \
	THIRDS(thirds16_##KIND, CODES, 2, true, 2) \
	THIRDS(thirds32_##KIND, CODES, 4, true, 1) \
	THIRDS(thirdsWide_##KIND, CODES, 4, false, 1)
THIRDS_OF(2, false)
THIRDS_OF(3, true)
