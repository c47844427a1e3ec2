// Attention of training on the matrix units (Dao, 2023): q, k, v and dy rounded to
// bfloat16, products summed in float32, softmax in float32, and what is
// multiplied next (P, dS) rounded to bfloat16. The formulas are those of
// kernels.TrainDevice, deterministic; scores are kept in units of ln 2.
//
// Kernels are made for heads of 64, 128 and 256 values (DIM), for 128 also such as take
// less shared memory; other heads are filled up with zeros. A block has four warps, a warp TILES times 16 rows.
#include "flash.h"

// brainHeads: dst = the heads of k and then of v, n of dim values each, as bfloat16:
// 1<<log chunks of eight, filled up with zeros.
GLOBAL brainHeads(u32x4 *dst, const float *k, const float *v, i64 n, i64 dim, i64 log) {
	const bool whole = atOnce(dim, k, v, v, false);
	for (i64 e = (i64)blockX() * threads() + threadX(); e < 2 * n << log; e += (i64)blocks() * threads()) {
		const i64 head = e >> log;
		const int d = (int)(e & ((1 << log) - 1)) * 8;
		dst[e] = eight((head < n ? k + head * dim : v + (head - n) * dim) + d, (int)dim - d, whole).brain();
	}
}

// flash: y, as bfloat16 with toBrain, and lse of 64·TILES rows of a head of k and v,
// over tiles of KEYS keys.
template <int DIM, int TILES, int KEYS> DEVICE void flashBody(void *dst, i64 toBrain, float *lse, const float *q, const u32 *k, const u32 *v, const int *tiles, i64 logShare, i64 heads, i64 kvHeads, i64 dim, i64 scaleBits, i64 window, i64 capBits) {
	DYNAMIC(u32, mem);
	TILE_OF(blockX());
	const int line = Line<DIM>::bytes, ownRows = 64 * TILES, mine = threadX() / warp * 16 * TILES;
	const SharedAddress qs = sharedAddress(mem), ring = qs + ownRows * line;
	const SharedAddress a = qs + mine * line + laneOfA<DIM>();
	const float none = bitsFloat(0xff800000u);
	const Range tokens = {(own + mine) >> log, (own + mine + 16 * TILES - 1) >> log};
	const int begin = largest(0, (own >> log) - reach + 1) / KEYS * KEYS, end = lowest(n, ((own + ownRows - 1) >> log) + 1);
	float out[TILES][DIM / 8][4], top[TILES][2], total[TILES][2];
	clear<TILES, DIM>(out);
#pragma unroll
	for (int i = 0; i < 2 * TILES; i++) top[i / 2][i % 2] = none, total[i / 2][i % 2] = 0;
	Rows<DIM> next(row, begin, kvHead, kvHeads, 0);
	next.template pull<KEYS>(ring, k, v, n - begin);
	const int chunks = DIM / 8, step = 128 / chunks, ahead = 4, i0 = threadX() / chunks, c = threadX() % chunks;
	const bool whole = atOnce(dim, q, q, q, false);
#pragma unroll 1
	for (int i = i0; i < ownRows; i += ahead * step) {
		Eight x[ahead];
#pragma unroll
		for (int b = 0; b < ahead; b++) x[b] = eight(q + rowAt(own + i + b * step, head0) * dim + 8 * c, own + i + b * step < n << log ? (int)dim - 8 * c : 0, whole);
#pragma unroll
		for (int b = 0; b < ahead; b++) storeShared(qs + (i + b * step) * line + 16 * c, x[b].brain());
	}
	for (int u0 = begin, turn = 0; u0 < end; u0 += KEYS, turn ^= 1) {
		// This tile has arrived for all, and all have finished the one before, whose
		// place the next takes.
		awaitCopies();
		barrier();
		const SharedAddress ks = ring + turn * 2 * KEYS * line, vs = ks + KEYS * line;
		if (u0 + KEYS < end) next.template pull<KEYS>(ring + (turn ^ 1) * 2 * KEYS * line, k, v, n - u0 - KEYS);
		const Range keys = {u0, u0 + KEYS - 1};
		if (noneSees(tokens, keys, reach)) continue;
		float s[TILES][KEYS / 8][4];
		clear<TILES, KEYS>(s);
		rowsTimes<DIM, TILES, KEYS>(s, a, ks + laneOfB<DIM>());
		if (cap > 0) {
			EACH_SCORE(TILES, KEYS) s[i][j][e] = cap * tanhOf(s[i][j][e] * (scale / cap));
		}
		if (!allSee(tokens, keys, reach)) {
			EACH_SCORE(TILES, KEYS)
				if (!sees((own + mine + 16 * i + g + e / 2 * 8) >> log, u0 + 8 * j + 2 * t + e % 2, reach)) s[i][j][e] = none;
		}
#pragma unroll
		for (int i = 0; i < TILES; i++)
#pragma unroll
			for (int r = 0; r < 2; r++) {
				float most = top[i][r], sum = 0;
#pragma unroll
				for (int j = 0; j < KEYS / 8; j++) most = larger(most, larger(s[i][j][2 * r], s[i][j][2 * r + 1]));
				most = larger(most, shuffleXor(most, 1));
				most = larger(most, shuffleXor(most, 2));
				const float off = most == none ? 0.0f : -most * by, old = power2(fma32(top[i][r], by, off));
				top[i][r] = most;
#pragma unroll
				for (int j = 0; j < KEYS / 8; j++)
#pragma unroll
					for (int e = 2 * r; e < 2 * r + 2; e++) {
						s[i][j][e] = power2(fma32(s[i][j][e], by, off));
						sum += s[i][j][e];
					}
				total[i][r] = fma32(total[i][r], old, sum);
#pragma unroll
				for (int j = 0; j < DIM / 8; j++) out[i][j][2 * r] *= old, out[i][j][2 * r + 1] *= old;
			}
		timesColumns<DIM, TILES, KEYS, DIM>(out, s, vs + laneOfA<DIM>());
	}
#pragma unroll
	for (int i = 0; i < 2 * TILES; i++) {
		float &sum = total[i / 2][i % 2];
		sum += shuffleXor(sum, 1);
		sum += shuffleXor(sum, 2);
	}
#pragma unroll
	for (int i = 0; i < TILES; i++)
#pragma unroll
		for (int r = 0; r < 2; r++) {
			const int f = own + mine + 16 * i + g + 8 * r;
			if (f >= n << log) continue;
			const i64 at = rowAt(f, head0);
			if (t == 0) lse[at] = fma32(top[i][r], by, logarithm2(total[i][r])) * ln2;
			if (toBrain)
				storeRow<DIM>((u16 *)dst + at * dim, out[i], r, inverse(total[i][r]), (int)dim);
			else
				storeRow<DIM>((float *)dst + at * dim, out[i], r, inverse(total[i][r]), (int)dim);
		}
}

#define FLASH(NAME, DIM, TILES, KEYS) \
	GLOBAL BOUNDS(128, 2) flash_##NAME(void *dst, i64 toBrain, float *lse, const float *q, const u32 *k, const u32 *v, const int *tiles, i64 logShare, i64 heads, i64 kvHeads, i64 dim, i64 scaleBits, i64 window, i64 capBits) { \
		flashBody<DIM, TILES, KEYS>(dst, toBrain, lse, q, k, v, tiles, logShare, heads, kvHeads, dim, scaleBits, window, capBits); \
	}
FLASH(64, 64, 2, 64)
FLASH(128, 128, 2, 64)
FLASH(128less, 128, 2, 32)
FLASH(256, 256, 1, 32)
