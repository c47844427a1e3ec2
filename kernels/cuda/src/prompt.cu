// Attention over many tokens of one sequence, to the bits of attention.cu.
#include "attention.h"
#include "copies.h"

// Shape of a block on heads of up to 128·C values: its warps, the rows of each, and
// of all.
template <int C> struct Prompt { static const int warps = 4, each = 16 / C, rows = warps * each, wide = 128 * C, left = 34 * each; };

// bringPage starts the copies of n rows of width values from memory to rows of WIDE,
// of which only those from first to end-1 are read. whole says that it may be done
// by fours.
template <int WIDE> DEVICE void bringPage(float *to, const float *from, int n, int width, int first, int end, bool whole) {
	for (int i = 4 * threadX(); i < n * WIDE; i += 4 * threads()) {
		const int row = i / WIDE, column = i % WIDE, left = row >= first && row < end ? width - column : 0;
		const float *here = from + (i64)row * width + column;
		if (whole)
			copy16(sharedAddress(to + i), here, left > 0);
		else
			for (int e = 0; e < 4; e++) copy4(sharedAddress(to + i + e), here + e, left > e);
	}
}

// The part of a page or group, size keys from start on, that a token at pos sees.
DEVICE bool seesSome(int pos, int seen, int start, int size) { return pos >= start && seen < start + size && pos >= seen; }

// Softmax of a row as pages, or groups, join it.
struct Running {
	float top, total;
	METHOD void begin() { top = bitsFloat(noneBits), total = 0; }
	// join gives what to multiply the output with, and what comes to it. Where the row
	// sees nothing of that, its own bits remain: x·1 + 0·(-0) is x.
	METHOD void join(bool some, float peak, float sum, float &old, float &fresh) {
		const float next = max32(top, peak), o = exp32(top - next), f = exp32(peak - next);
		old = some ? o : 1.0f;
		fresh = some ? f : -0.0f;
		top = some ? next : top;
		total = total * old + sum * fresh;
	}
};

// attendMany: a block takes a tile of rows of one head of keys and walks their
// pages, each of which it brings to shared memory once. The rows are the query
// heads that share that head, token by token: row f of a span is head f mod S of
// token f / S.
//
// tiles has six numbers each: the span's first row in q, its first token's position, where its
// pages begin in pages, its rows, and the first of those that the block owns; 0.
template <int C> DEVICE void attendMany(float *dst, float *lse, const float *q, const float *ks, const float *vs, const int *tiles, const int *pages, i64 heads, i64 kvHeads, i64 dimension, i64 scaleBits, i64 window, i64 capBits) {
	typedef Prompt<C> P;
	const int R = P::each, own = R / 4; // rows of a warp; of a lane, as to their scores
	DYNAMIC(float, mem); // q [dim][rows], keys [dim][32], values [32][wide], each warp's exponentials [32][R] and factors
	const int me = threadX() / warp, lane = threadX() % warp, dim = (int)dimension, deep = (dim + 15) / 16 * 16, shared = (int)(heads / kvHeads);
	float *key = mem + P::wide * P::rows, *val = key + P::wide * page, *mine = val + P::wide * page + me * P::left, *factors = mine + 32 * R;
	const int *tile = tiles + 6 * (blockX() / (int)kvHeads);
	const int kvHead = blockX() % (int)kvHeads, start = tile[1], begin = tile[4], end = lowest(tile[3], begin + P::rows);
	const int *numbers = pages + tile[2];
	const auto posOf = [=](int f) INLINE { return start + f / shared; };
	const auto seenOf = [=](int pos) INLINE { return window > 0 && pos - (int)window + 1 > 0 ? pos - (int)window + 1 : 0; };
	const auto headOf = [=](int f) INLINE { return ((i64)tile[0] + f / shared) * heads + kvHead * shared + f % shared; };
	const Scoring scoring = {real(scaleBits), real(capBits)};
	const bool whole = dim % 4 == 0, aligned = whole && (((u64)q | (u64)dst) & 15) == 0;
	const int firstSeen = seenOf(posOf(begin)), lastSeen = posOf(end - 1); // by any row of the block
	const auto bring = [&](int b, bool values) INLINE {
		const i64 base = ((i64)numbers[b] * kvHeads + kvHead) * page * dim;
		if (values)
			bringPage<P::wide>(val, vs + base, page, dim, firstSeen - b * page, lastSeen + 1 - b * page, whole);
		else
			bringPage<page>(key, ks + base, deep, page, 0, dim, true);
	};
	bring(firstSeen / page, false);
	for (int i = threadX(); i < P::rows * deep / 4; i += 32 * P::warps) {
		const int r = i % P::rows, d = i / P::rows * 4, f = begin + r;
		f32x4 x = {0, 0, 0, 0};
		if (f < end) {
			const float *from = q + headOf(f) * dim + d;
			if (aligned && d < dim) {
				x = *(const f32x4 *)from;
			} else {
				if (d < dim) x.x = from[0];
				if (d + 1 < dim) x.y = from[1];
				if (d + 2 < dim) x.z = from[2];
				if (d + 3 < dim) x.w = from[3];
			}
		}
		float *to = mem + d * P::rows + r;
		to[0] = x.x, to[P::rows] = x.y, to[2 * P::rows] = x.z, to[3 * P::rows] = x.w;
	}

	const int rowOf = me * R + lane / 8 * own; // the first of the lane's rows
	int pos[own], seen[own];
	Running all[own], part[own];
#pragma unroll
	for (int i = 0; i < own; i++) {
		const int f = begin + rowOf + i;
		pos[i] = f < end ? posOf(f) : -1;
		seen[i] = seenOf(pos[i]);
		all[i].begin();
		part[i].begin();
	}
	// What the warp's rows see, some and all of them.
	const int low = begin + me * R, high = lowest(end, low + R) - 1;
	const int someFrom = low < end ? seenOf(posOf(low)) : 0, someTo = low < end ? posOf(high) : -1;
	const int allFrom = seenOf(someTo), allTo = low < end && high == low + R - 1 ? posOf(low) : -1;

	float out[C][R][4];
#pragma unroll
	for (int i = 0; i < 64; i++) out[i / (4 * R)][i / 4 % R][i % 4] = 0;
	for (int b = firstSeen / page; b <= lastSeen / page; b++) {
		const bool some = seesSome(someTo, someFrom, b * page, page), clear = b * page >= allFrom && b * page + page - 1 <= allTo;
		awaitCopies();
		barrier(); // the keys are there, the values of the page before used up
		bring(b, true);
		if (some) {
			float s[R][4];
#pragma unroll
			for (int i = 0; i < 4 * R; i++) s[i / 4][i % 4] = 0;
			const float *x = mem + lane / 8 * P::rows + me * R, *k = key + lane * 4;
#pragma unroll 4
			for (int d = 0; d < deep; d += 4) outer<R>(s, x + d * P::rows, *(const f32x4 *)(k + d * page));
			halve<R>(s, 16);
			halve<R / 2>(s, 8);
#pragma unroll
			for (int i = 0; i < own; i++) {
				float peak, sum, old, fresh;
				softmaxOf(s[i], seen[i] - b * page, pos[i] + 1 - b * page, scoring, peak, sum);
				part[i].join(seesSome(pos[i], seen[i], b * page, page), peak, sum, old, fresh);
				const int r = lane / 8 * own + i;
#pragma unroll
				for (int j = 0; j < 4; j++) mine[(lane % 8 * 4 + j) * R + r] = s[i][j];
				if (lane % 8 == 0) {
					factors[r] = old;
					factors[R + r] = fresh;
				}
			}
		}
		awaitCopies();
		barrier(); // the values are there, the keys used up
		if (b < lastSeen / page) bring(b + 1, false);
		if (some) {
			float o[C][R][4];
#pragma unroll
			for (int i = 0; i < 64; i++) o[i / (4 * R)][i / 4 % R][i % 4] = 0;
			const float *v = val + lane * 4;
			if (clear) {
#pragma unroll 4
				for (int j = 0; j < page; j++)
#pragma unroll
					for (int c = 0; c < C; c++) outer<R>(o[c], mine + j * R, *(const f32x4 *)(v + j * P::wide + c * 128));
			} else {
				for (int j = 0; j < page; j++)
#pragma unroll
					for (int c = 0; c < C; c++) outerSeen<R>(o[c], mine + j * R, *(const f32x4 *)(v + j * P::wide + c * 128));
			}
#pragma unroll
			for (int r = 0; r < R; r++) {
				const float old = factors[r], fresh = factors[R + r];
#pragma unroll
				for (int c = 0; c < C; c++)
#pragma unroll
					for (int e = 0; e < 4; e++) out[c][r][e] = out[c][r][e] * old + o[c][r][e] * fresh;
			}
			warpBarrier();
		}
		const bool last = b == lastSeen / page;
		if (b % group < group - 1 && !last) continue;
		// The group joins the groups before, which dst holds meanwhile.
		const int base = b / group * group * page;
#pragma unroll
		for (int i = 0; i < own; i++) {
			float old, fresh;
			all[i].join(seesSome(pos[i], seen[i], base, group * page), part[i].top, part[i].total, old, fresh);
			part[i].begin();
			const int r = lane / 8 * own + i;
			if (lane % 8 == 0) {
				factors[r] = old;
				factors[R + r] = fresh;
				mine[r] = all[i].total;
				if (last && lse && pos[i] >= 0) lse[headOf(begin + rowOf + i)] = all[i].top + (float)log64(all[i].total);
			}
		}
		warpBarrier();
		const bool begun = b / group > firstSeen / page / group;
#pragma unroll
		for (int r = 0; r < R; r++) {
			const float old = factors[r], fresh = factors[R + r], by = mine[r];
#pragma unroll
			for (int c = 0; c < C; c++) {
				const int d = c * 128 + lane * 4;
				if (low + r < end && d < dim) {
					float *at = dst + headOf(low + r) * dim + d;
					float x[4] = {0, 0, 0, 0};
					if (begun) {
						if (aligned) {
							*(f32x4 *)x = *(const f32x4 *)at;
						} else {
#pragma unroll
							for (int e = 0; e < 4; e++)
								if (d + e < dim) x[e] = at[e];
						}
					}
#pragma unroll
					for (int e = 0; e < 4; e++) {
						x[e] = x[e] * old + out[c][r][e] * fresh;
						if (last) x[e] = x[e] / by;
					}
					if (aligned) {
						*(f32x4 *)at = f32x4{x[0], x[1], x[2], x[3]};
					} else {
#pragma unroll
						for (int e = 0; e < 4; e++)
							if (d + e < dim) at[e] = x[e];
					}
				}
#pragma unroll
				for (int e = 0; e < 4; e++) out[c][r][e] = 0;
			}
		}
		warpBarrier(); // spare: the next page begins with a barrier
	}
}

#define PROMPT(C) \
	GLOBAL BOUNDS(128, 2) attentionPrompt_##C(float *dst, float *lse, const float *q, const float *ks, const float *vs, const int *tiles, const int *pages, i64 heads, i64 kvHeads, i64 dim, i64 scaleBits, i64 window, i64 capBits) { \
		attendMany<C>(dst, lse, q, ks, vs, tiles, pages, heads, kvHeads, dim, scaleBits, window, capBits); \
	}
PROMPT(1)
PROMPT(2)
