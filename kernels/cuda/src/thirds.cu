// Products of several rows with weights of 16-bit values; see thirds.h.
#include "copies.h"
#include "thirds.h"

const int warps = 8, warpOuts = 32, stageSteps = 8;

#if !defined HALF_VALUES || !HALF_VALUES
// splitThirds: the three parts of x [rows, k] as the matrix unit wants them. Rows
// are taken in blocks of 8·tiles, those that are not there as zeros; of a block lie
// for each step and each part the tiles of 8 rows, 32 lanes each. A lane has 4
// values of a row. steps is the number of steps a gulp.
GLOBAL splitThirds(u32x2 *dst, const float *x, i64 rows, i64 k, i64 tiles, i64 steps) {
	const u32 all = (u32)((k + 16 * steps - 1) / (16 * steps) * steps), each = (u32)tiles * warp;
	const i64 n = (rows + 8 * tiles - 1) / (8 * tiles) * all * each;
	for (i64 i = (i64)blockX() * threads() + threadX(); i < n; i += (i64)blocks() * threads()) {
		const i64 block = over(i, (i64)all * each);
		const u32 rest = (u32)(i - block * all * each), step = rest / each, at = rest % each, lane = at % warp;
		const i64 row = (block * tiles + at / warp) * 8 + lane / 4;
		const u32 gulp = step / (u32)steps, s = step % (u32)steps, from = ((gulp * 4 + lane % 4) * (u32)steps + s) * 4;
		f32x4 v = {0, 0, 0, 0};
		if (row < rows && from < k) v = fourOf(x + row * k + from);
		u32 low[3], high[3];
		thirdsOf(low, v.x, v.y);
		thirdsOf(high, v.z, v.w);
		u32x2 *to = dst + (block * all + step) * 3 * each + at;
#pragma unroll
		for (int p = 0; p < 3; p++) to[p * each] = u32x2{low[p], high[p]};
	}
}

// sumPieces: dst[i] = the sum of the pieces' sums in their order.
GLOBAL sumPieces(float *dst, const float *sums, i64 n, i64 pieces, i64 addTo, i64 by) {
	for (i64 i = (i64)blockX() * threads() + threadX(); i < n; i += (i64)blocks() * threads()) {
		float total = 0;
#pragma unroll 8
		for (i64 p = 0; p < pieces; p++) total += sums[p * n + i];
		put(dst + i, total, addTo, real(by));
	}
}
#endif

// Reads are what a lane has asked for at once: 16 bytes of four rows of the weight, g + 8i.
struct Reads {
	u32x4 row[4];
	float scale[4];
};

// thirdsBody: dst [rows, n] = parts · wᵀ. A warp takes 32 outputs by 8·TILES rows. The
// warps of a block have ROWS blocks of rows and 8/ROWS times 32 outputs, and the parts
// that they share go through shared memory, 8 steps at a time and a stage ahead. Of
// splits blocks of the same outputs each takes some of the pieces; where there
// are several, what dst gets are the pieces' sums, [pieces][rows, n], for sumPieces.
template <bool CODES, bool HALF, int TILES, int ROWS> DEVICE void thirdsBody(float *dst, const u32x2 *parts, i64 rows, i64 n, i64 k, i64 addTo, i64 by, i64 splits, const Weight &w) {
	const int span = Gulp<CODES>::span, own = Gulp<CODES>::own, each = TILES * warp;
	const int steps = CODES ? 8 : 2, reads = stageSteps / steps; // steps that a read serves, reads a stage
	const int stageBytes = stageSteps * 3 * each * 8;            // of one block of rows
	DYNAMIC(u8, mem);
	if (CODES) spreadPairs((f32x2 *)mem, w.map[threadX() % 16]);
	const SharedAddress pairs = sharedAddress(mem), stage = pairs + (CODES ? pairBytes : 0);
	const u8 *stages = mem + (CODES ? pairBytes : 0);
	const int lane = threadX() % warp, me = threadX() / warp, g = lane / 4, t = lane % 4, width = (int)k;
	const i64 out0 = ((i64)blockY() / splits * (warps / ROWS) + me % (warps / ROWS)) * warpOuts;
	const int group = me / (warps / ROWS); // which of the blocks of rows is the warp's
	const i64 block0 = (i64)blockX() * ROWS, row0 = (block0 + group) * 8 * TILES;
	const bool idle = out0 >= n || row0 >= rows; // it only copies

	const u32 piece = pieceOf(width), pieces = (width + piece - 1) / piece, share = (pieces + (u32)splits - 1) / (u32)splits;
	const u32 firstPiece = (u32)(blockY() % splits) * share, endPiece = lowest((int)(firstPiece + share), (int)pieces);
	const int allSteps = (width + span - 1) / span * (span / 16), stepsOfPiece = piece / 16;
	const int begin = firstPiece * stepsOfPiece, end = lowest(allSteps, (int)endPiece * stepsOfPiece);
	if (begin >= end) return;

	i64 first[4]; // of the rows of the weight that the lane reads, its first value
#pragma unroll
	for (int i = 0; i < 4; i++) {
		const i64 out = out0 + g + 8 * i;
		first[i] = (CODES ? w.first : 0) + (out < n ? out : n - 1) * k + t * own; // one that is not there is the last
	}
	// ask reads what the steps from step on want.
	auto ask = [&](Reads &q, int step) INLINE {
		const int at = CODES ? step / 16 * span + step % 16 / 8 * 32 : step * 16;
#pragma unroll
		for (int i = 0; i < 4; i++) {
			q.scale[i] = 0;
			if (step >= end || at + t * own >= width || idle) continue; // codes times zero
			q.row[i] = *(const u32x4 *)(CODES ? w.data + ((first[i] + at) >> 1) : w.data + 2 * (first[i] + at));
			if (CODES) q.scale[i] = scaleOf(w, first[i] + at);
		}
	};
	// bring starts the copies of a stage's parts.
	auto bring = [&](int step, int slot) INLINE {
		const int bytes = lowest(stageSteps, allSteps - step) * 3 * each * 8;
#pragma unroll
		for (int r = 0; r < ROWS; r++) {
			const u8 *from = (const u8 *)(parts + ((block0 + r) * allSteps + step) * 3 * each);
			const SharedAddress to = stage + (slot * ROWS + r) * stageBytes;
			for (int b = 16 * threadX(); b < bytes && (block0 + r) * 8 * TILES < rows; b += 16 * threads()) copy16(to + b, from + b);
		}
		closeCopies();
	};

	float total[2][TILES][4], acc[3][2][TILES][4];
#pragma unroll
	for (int j = 0; j < 2 * TILES * 4; j++) total[j / 4 / TILES][j / 4 % TILES][j % 4] = 0;
#pragma unroll
	for (int j = 0; j < 3 * 2 * TILES * 4; j++) acc[j / 4 / TILES / 2][j / 4 / TILES % 2][j / 4 % TILES][j % 4] = 0;
	Reads now, next;
	bring(begin, 0);
	ask(next, begin);
#pragma unroll 1
	for (int step0 = begin, slot = 0; step0 < end; step0 += stageSteps, slot ^= 1) {
		awaitBatches<0>();
		barrier(); // this stage has arrived for all, and all are done with the one before
		if (step0 + stageSteps < end) bring(step0 + stageSteps, slot ^ 1);
		if (idle) continue;
		const u32x2 *x = (const u32x2 *)(stages + (slot * ROWS + group) * stageBytes) + lane;
#pragma unroll
		for (int r = 0; r < reads; r++) {
			const int step = step0 + r * steps;
			if (!CODES && step >= end) continue;
			now = next;
			ask(next, step + steps);
#pragma unroll
			for (int s = 0; s < steps; s++) {
				Pairs<HALF> a[4];
#pragma unroll
				for (int i = 0; i < 4; i++) rowPairs<CODES, HALF>(a[i], &now.row[i], s, now.scale[i], pairs, lane);
#pragma unroll
				for (int j = 0; j < 3 * TILES; j++) {
					const u32x2 b = x[(r * steps + s) * 3 * each + j * warp];
#pragma unroll
					for (int i = 0; i < 2; i++) multiplyTile<HALF>(acc[j / TILES][i][j % TILES], a + 2 * i, b);
				}
			}
		}
		if ((step0 + stageSteps) % stepsOfPiece != 0 && step0 + stageSteps < end) continue;
		const i64 done = step0 / stepsOfPiece; // this piece
#pragma unroll
		for (int i = 0; i < 2; i++)
#pragma unroll
			for (int j = 0; j < TILES; j++)
#pragma unroll
				for (int e = 0; e < 4; e++) {
					const float sum = acc[0][i][j][e] + (acc[1][i][j][e] + acc[2][i][j][e]);
					acc[0][i][j][e] = acc[1][i][j][e] = acc[2][i][j][e] = 0;
					if (splits == 1) {
						total[i][j][e] += sum;
						continue;
					}
					const i64 r = row0 + 8 * j + 2 * t + e % 2, c = out0 + 16 * i + g + 8 * (e / 2);
					if (r < rows && c < n) dst[(done * rows + r) * n + c] = sum;
				}
	}
	if (splits > 1 || idle) return;
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

// Kernels are named by the kind of the weight, what 4-bit codes are rounded to, and the
// rows of a block.
#define THIRDS(NAME, CODES, HALF, TILES, ROWS, BLOCKS) \
	GLOBAL BOUNDS(256, BLOCKS) NAME(float *dst, const u32x2 *parts, i64 rows, i64 n, i64 k, i64 addTo, i64 by, i64 splits, WEIGHT) { \
		Weight w = WEIGHT_OF; \
		thirdsBody<CODES, HALF, TILES, ROWS>(dst, parts, rows, n, k, addTo, by, splits, w); \
	}
#define THIRDS_OF(NAME, CODES, HALF) \
	THIRDS(NAME##_8, CODES, HALF, 1, 1, 2) \
	THIRDS(NAME##_16, CODES, HALF, 2, 1, 1) \
	THIRDS(NAME##_32, CODES, HALF, 4, 1, 1) \
	THIRDS(NAME##_64, CODES, HALF, 4, 2, 1)
#if !defined HALF_VALUES || !HALF_VALUES
THIRDS_OF(thirdsBrain, false, false)
THIRDS_OF(thirdsCodesBrain, true, false)
#endif
#if !defined HALF_VALUES || HALF_VALUES
THIRDS_OF(thirdsHalf, false, true)
THIRDS_OF(thirdsCodesHalf, true, true)
#endif
