// The way back of attention of training on the matrix units; see flash.cu. It is
// two kernels, one by queries and one by keys, so that nothing is added to by
// two blocks: what several would have to add goes to places of its own first.
#include "flash.h"

// BOTH_GRADIENTS makes of the scores s and of d, dy·v, the values P and dS without
// its factor scale. hidden says that SEES, whether the token of a score sees its key,
// has to be asked; LSE, -lse in units of ln 2, and DOT are the token's.
#define BOTH_GRADIENTS(TILES, COLS, hidden, LSE, DOT) \
	if (cap > 0) { \
		EACH_SCORE(TILES, COLS) { \
			const float y = tanhOf(s[i][j][e] * (scale / cap)); \
			s[i][j][e] = cap * y; \
			d[i][j][e] = (d[i][j][e] - DOT) * (1.0f - y * y); \
		} \
	} else { \
		EACH_SCORE(TILES, COLS) d[i][j][e] -= DOT; \
	} \
	if (hidden) { \
		EACH_SCORE(TILES, COLS) if (!SEES) s[i][j][e] = bitsFloat(0xff800000u); \
	} \
	EACH_SCORE(TILES, COLS) { \
		s[i][j][e] = power2(fma32(s[i][j][e], by, LSE)); \
		d[i][j][e] *= s[i][j][e]; \
	}

// flashBackQ: dq of 64·TILES rows of a head of k and v. It leaves for flashBackKV
// what it has to find anyway: qb and, where it is wanted, dyb, q and dy as bfloat16
// filled up to DIM, and dots, dy·y of each row. brain: dy and y are of bfloat16.
template <int DIM, int TILES, int KEYS> DEVICE void flashBackQBody(float *dq, u32 *qb, u32 *dyb, float *dots, const void *dy, const void *y, i64 brain, const float *lse, const float *q, const u32 *k, const u32 *v, const int *tiles, i64 logShare, i64 heads, i64 kvHeads, i64 dim, i64 scaleBits, i64 window, i64 capBits) {
	DYNAMIC(u32, mem);
	TILE_OF(blockX());
	const int line = Line<DIM>::bytes, ownRows = 64 * TILES, mine = threadX() / warp * 16 * TILES, limit = n << log;
	const SharedAddress qs = sharedAddress(mem), dys = qs + ownRows * line, ring = dys + ownRows * line, products = ring + 4 * KEYS * line;
	const SharedAddress a = mine * line + laneOfA<DIM>();
	const Range tokens = {(own + mine) >> log, (own + mine + 16 * TILES - 1) >> log};
	const int begin = largest(0, (own >> log) - reach + 1) / KEYS * KEYS, end = lowest(n, ((own + ownRows - 1) >> log) + 1);
	float acc[TILES][DIM / 8][4], off[TILES][2], dot[TILES][2];
	clear<TILES, DIM>(acc);
	Rows<DIM> next(row, begin, kvHead, kvHeads, 0);
	next.template pull<KEYS>(ring, k, v, n - begin);
	const int chunks = DIM / 8, step = 128 / chunks, ahead = 2, i0 = threadX() / chunks, c = threadX() % chunks;
	const bool whole = atOnce(dim, q, dy, y, brain);
#pragma unroll 1
	for (int i = i0; i < ownRows; i += ahead * step) {
		Eight of[ahead][3];
#pragma unroll
		for (int b = 0; b < ahead; b++) {
			const int f = own + i + b * step, left = f < limit ? (int)dim - 8 * c : 0;
			const i64 from = rowAt(f, head0) * dim + 8 * c;
			of[b][0] = eight(q + from, left, whole);
			of[b][1] = brain ? eight((const u16 *)dy + from, left, whole) : eight((const float *)dy + from, left, whole);
			of[b][2] = brain ? eight((const u16 *)y + from, left, whole) : eight((const float *)y + from, left, whole);
		}
#pragma unroll
		for (int b = 0; b < ahead; b++) {
			const int r = i + b * step, f = own + r;
			const u32x4 rounded = of[b][0].brain(), roundedDY = of[b][1].brain();
			float sum = of[b][1].dot(of[b][2]);
#pragma unroll
			for (int d = 1; d < chunks; d *= 2) sum += shuffleXor(sum, d);
			storeShared(qs + r * line + 16 * c, rounded);
			storeShared(dys + r * line + 16 * c, roundedDY);
			if (c == 0) storeShared(products + 4 * r, sum);
			if (f < limit) {
				*(u32x4 *)(qb + rowAt(f, head0) * (DIM / 2) + 4 * c) = rounded;
				if (dyb) *(u32x4 *)(dyb + rowAt(f, head0) * (DIM / 2) + 4 * c) = roundedDY;
				if (c == 0) dots[rowAt(f, head0)] = sum;
			}
		}
	}
	barrier();
#pragma unroll
	for (int i = 0; i < TILES; i++)
#pragma unroll
		for (int r = 0; r < 2; r++) {
			const int f = own + mine + 16 * i + g + 8 * r;
			off[i][r] = f < limit ? -log2e * lse[rowAt(f, head0)] : 0.0f;
			dot[i][r] = sharedFloat(products + 4 * (f - own));
		}
	for (int u0 = begin, turn = 0; u0 < end; u0 += KEYS, turn ^= 1) {
		awaitCopies();
		barrier();
		const SharedAddress ks = ring + turn * 2 * KEYS * line, vs = ks + KEYS * line;
		if (u0 + KEYS < end) next.template pull<KEYS>(ring + (turn ^ 1) * 2 * KEYS * line, k, v, n - u0 - KEYS);
		const Range keys = {u0, u0 + KEYS - 1};
		if (noneSees(tokens, keys, reach)) continue;
		float s[TILES][KEYS / 8][4], d[TILES][KEYS / 8][4];
		clear<TILES, KEYS>(s);
		clear<TILES, KEYS>(d);
		rowsTimes<DIM, TILES, KEYS>(s, qs + a, ks + laneOfB<DIM>());
		rowsTimes<DIM, TILES, KEYS>(d, dys + a, vs + laneOfB<DIM>());
#define SEES sees((own + mine + 16 * i + g + e / 2 * 8) >> log, u0 + 8 * j + 2 * t + e % 2, reach)
		BOTH_GRADIENTS(TILES, KEYS, !allSee(tokens, keys, reach), off[i][e / 2], dot[i][e / 2]);
#undef SEES
		timesColumns<DIM, TILES, KEYS, DIM>(acc, d, ks + laneOfA<DIM>());
	}
#pragma unroll
	for (int i = 0; i < TILES; i++)
#pragma unroll
		for (int r = 0; r < 2; r++) {
			const int f = own + mine + 16 * i + g + 8 * r;
			if (f < limit) storeRow<DIM>(dq + rowAt(f, head0) * dim, acc[i], r, scale, (int)dim);
		}
}

// give lays 16 by COLS values of each of a group's warps where the other group's
// warps find them.
template <int COLS> DEVICE void give(SharedAddress to, const float (*d)[4]) {
#pragma unroll
	for (int i = 0; i < COLS / 2; i++) storeShared(to + 512 * i + threadX() % 128 * 4, d[i / 4][i % 4]);
}
template <int COLS> DEVICE void addGiven(float (*d)[4], SharedAddress from) {
#pragma unroll
	for (int i = 0; i < COLS / 2; i++) d[i / 4][i % 4] += sharedFloat(from + 512 * i + threadX() % 128 * 4);
}

// flashBackKV: OUT columns of dk and dv of 64 keys, [rows, kvHeads, dim]: the
// transposed products, keys across a warp's rows. Two groups of four warps take
// tiles of ROWS rows in turn, those of the first 1<<log heads that share the head of
// k and v before those of the next, and add what they have at the end. HELD keeps a
// warp's keys and values in registers.
template <int DIM, int ROWS, int OUT, bool HELD> DEVICE void flashBackKVBody(float *dk, float *dv, const u32 *dy, const float *lse, const float *dots, const u32 *q, const u32 *k, const u32 *v, const int *tiles, i64 logShare, i64 heads, i64 kvHeads, i64 dim, i64 scaleBits, i64 window, i64 capBits) {
	DYNAMIC(u32, mem);
	const int parts = DIM / OUT;
	TILE_OF(blockX() / parts * (heads / kvHeads >> logShare));
	const int line = Line<DIM>::bytes, ownKeys = 64, group = threadX() / 128, me = threadX() % 128;
	const int mine = me / warp * 16, column = blockX() % parts * OUT;
	// A group brings 32 keys and their values.
	const int stage = 2 * ROWS * line + 8 * ROWS, limit = n << log;
	const SharedAddress ks = sharedAddress(mem), vs = ks + ownKeys / 2 * line, ring = ks + 2 * ownKeys * line, place = ring + group * 2 * stage;
	const SharedAddress a = (mine / 32 * ownKeys + mine % 32) * line + laneOfA<DIM>();
	const Range keys = {own + mine, own + mine + 15};
	const int begin = own << log, seen = (int)lowest((i64)limit, ((i64)own + ownKeys - 1 + reach) << log), end = begin + (seen - begin + ROWS - 1) / ROWS * ROWS;
	const i64 lastHead = head0 + heads / kvHeads;
	float accK[1][OUT / 8][4], accV[1][OUT / 8][4];
	clear<1, OUT>(accK);
	clear<1, OUT>(accV);
	i64 head = head0, nextHead;
	int f0 = begin + group * ROWS, nextRow;
	const auto wrap = [=](int &f, i64 &head) INLINE {
		for (; f >= end; f -= end - begin) head += 1 << log;
	};
	const auto fetch = [=](SharedAddress to, int f0, i64 head) INLINE {
		Rows<DIM>(row, f0, head, heads, log).template pull<ROWS>(to, q, dy, limit - f0);
		const int f = f0 + me % ROWS;
		if (me < 2 * ROWS) copy4(to + 2 * ROWS * line + 4 * me, (me < ROWS ? lse : dots) + rowAt(f, head), f < limit);
	};
	Rows<DIM>(row, own + group * (ownKeys / 2), kvHead, kvHeads, 0).template pull<ownKeys / 2>(ks + group * ownKeys * line, k, v, n - own - group * (ownKeys / 2));
	wrap(f0, head);
	if (head < lastHead) fetch(place, f0, head);
	awaitCopies();
	barrier();
	u32 heldK[HELD ? DIM / 16 : 1][4], heldV[HELD ? DIM / 16 : 1][4];
	if (HELD) {
#pragma unroll
		for (int x = 0; x < DIM / 16; x++) {
			loadMatrices(heldK[HELD ? x : 0], ks + a + 32 * x);
			loadMatrices(heldV[HELD ? x : 0], vs + a + 32 * x);
		}
	}
	for (int turn = 0; head < lastHead; head = nextHead, f0 = nextRow, turn ^= 1) {
		awaitCopies();
		groupBarrier();
		nextHead = head, nextRow = f0 + 2 * ROWS;
		wrap(nextRow, nextHead);
		if (nextHead < lastHead) fetch(place + (turn ^ 1) * stage, nextRow, nextHead);
		const SharedAddress qs = place + turn * stage, dys = qs + ROWS * line, rest = dys + ROWS * line;
		const Range tokens = {f0 >> log, (f0 + ROWS - 1) >> log};
		if (noneSees(tokens, keys, reach)) continue;
		float s[1][ROWS / 8][4], d[1][ROWS / 8][4];
		clear<1, ROWS>(s);
		clear<1, ROWS>(d);
		if (HELD) {
			heldTimes<DIM, ROWS>(s[0], heldK, qs + laneOfB<DIM>());
			heldTimes<DIM, ROWS>(d[0], heldV, dys + laneOfB<DIM>());
		} else {
			rowsTimes<DIM, 1, ROWS>(s, ks + a, qs + laneOfB<DIM>());
			rowsTimes<DIM, 1, ROWS>(d, vs + a, dys + laneOfB<DIM>());
		}
		float off[ROWS / 8][2], dot[ROWS / 8][2];
#pragma unroll
		for (int j = 0; j < ROWS / 8; j++) {
			const f32x2 l = sharedPair(rest + 32 * j + 8 * t), p = sharedPair(rest + 4 * ROWS + 32 * j + 8 * t);
			off[j][0] = -log2e * l.x, off[j][1] = -log2e * l.y, dot[j][0] = p.x, dot[j][1] = p.y;
		}
#define SEES sees((f0 + 8 * j + 2 * t + e % 2) >> log, own + mine + g + e / 2 * 8, reach)
		BOTH_GRADIENTS(1, ROWS, !allSee(tokens, keys, reach), off[j][e % 2], dot[j][e % 2]);
#undef SEES
		timesColumns<DIM, 1, ROWS, OUT>(accV, s, dys + laneOfA<DIM>() + 2 * column);
		timesColumns<DIM, 1, ROWS, OUT>(accK, d, qs + laneOfA<DIM>() + 2 * column);
	}
	// The first group gives its part of dv away and takes the other's of dk, in place of
	// all that was there.
	const SharedAddress partV = ks, partK = partV + ownKeys * OUT * 4;
	barrier();
	if (group == 0)
		give<OUT>(partV, accV[0]);
	else
		give<OUT>(partK, accK[0]);
	barrier();
	if (group == 0)
		addGiven<OUT>(accK[0], partK);
	else
		addGiven<OUT>(accV[0], partV);
#pragma unroll
	for (int r = 0; r < 2; r++) {
		const int u = own + mine + g + 8 * r;
		if (u >= n) continue;
		const i64 at = ((row + u) * kvHeads + kvHead) * dim + column;
		if (group == 0)
			storeRow<OUT>(dk + at, accK[0], r, scale, (int)dim - column);
		else
			storeRow<OUT>(dv + at, accV[0], r, 1.0f, (int)dim - column);
	}
}

#define FLASH(NAME, DIM, TILES, KEYS, ROWS, OUT, HELD) \
	GLOBAL BOUNDS(128, 2) flashBackQ_##NAME(float *dq, u32 *qb, u32 *dyb, float *dots, const void *dy, const void *y, i64 brain, const float *lse, const float *q, const u32 *k, const u32 *v, const int *tiles, i64 logShare, i64 heads, i64 kvHeads, i64 dim, i64 scaleBits, i64 window, i64 capBits) { \
		flashBackQBody<DIM, TILES, KEYS>(dq, qb, dyb, dots, dy, y, brain, lse, q, k, v, tiles, logShare, heads, kvHeads, dim, scaleBits, window, capBits); \
	} \
	GLOBAL BOUNDS(256, 1) flashBackKV_##NAME(float *dk, float *dv, const u32 *dy, const float *lse, const float *dots, const u32 *q, const u32 *k, const u32 *v, const int *tiles, i64 logShare, i64 heads, i64 kvHeads, i64 dim, i64 scaleBits, i64 window, i64 capBits) { \
		flashBackKVBody<DIM, ROWS, OUT, HELD>(dk, dv, dy, lse, dots, q, k, v, tiles, logShare, heads, kvHeads, dim, scaleBits, window, capBits); \
	}
FLASH(64, 64, 2, 32, 32, 64, true)
FLASH(128, 128, 2, 32, 32, 128, true)
FLASH(128less, 128, 2, 16, 16, 128, true)
FLASH(256, 256, 1, 32, 16, 128, false)
