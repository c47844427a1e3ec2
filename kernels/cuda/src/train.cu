// What training adds: gradients over rows, the loss, dropout.
// Sums over rows go through chunks of 512 in the order of the rows, the chunks
// being added in their order.
#include "philox.h"

const int chunkRows = 512;

#define EACH(i, n) for (i64 i = (i64)blockX() * threads() + threadX(); i < n; i += (i64)blocks() * threads())

// columnDots: dst[i] += Σ_t a[t][i]·b[t][i]; b may be null.
GLOBAL columnDots(float *dst, const float *a, const float *b, i64 rows, i64 c) {
	EACH(i, c) {
		float total = 0;
		for (i64 base = 0; base < rows; base += chunkRows) {
			float sum = 0;
			for (i64 t = base; t < base + chunkRows && t < rows; t++) sum = b ? fma32(a[t * c + i], b[t * c + i], sum) : sum + a[t * c + i];
			total += sum;
		}
		dst[i] += total;
	}
}

// crossEntropy: a block a row.
GLOBAL crossEntropy(float *loss, float *dlogits, const float *logits, i64 vocab, const int *labels, const float *weights) {
	const float *row = logits + blockX() * vocab;
	float top = row[0];
	for (i64 i = threadX(); i < vocab; i += threads()) top = max32(top, row[i]);
	top = maxBlock(top);
	double sum = 0;
	for (i64 i = threadX(); i < vocab; i += threads()) sum += (double)exp32(row[i] - top);
	sum = sumBlock64(sum);
	const int label = labels[blockX()];
	if (threadX() == 0) loss[blockX()] = (float)((double)top + log64(sum) - (double)row[label]);
	if (!dlogits) return;
	barrier(); // in place: the label's logit was read
	float *grad = dlogits + blockX() * vocab;
	const float weight = weights[blockX()], total = (float)sum;
	for (i64 i = threadX(); i < vocab; i += threads()) {
		float p = exp32(row[i] - top) / total;
		grad[i] = weight * (i == label ? p - 1.0f : p);
	}
}

// dropout: four values a counter.
GLOBAL dropout(float *dst, const float *x, i64 rows, i64 cols, i64 addTo, DROPPED) {
	const Dropped d = DROPPED_OF;
	const i64 groups = (cols + 3) / 4;
	EACH(i, rows * groups) {
		const i64 t = over(i, groups), group = i - t * groups;
		const u32 bits = kept(d, keyOf(d, t), (u32)group);
#pragma unroll
		for (int j = 0; j < 4; j++) {
			const i64 col = group * 4 + j;
			if (col >= cols) continue;
			const i64 at = t * cols + col;
			put(dst + at, bits >> j & 1 ? x[at] * d.factor : 0.0f, addTo, 1.0f);
		}
	}
}

// attentionDots: dots[t·heads + h] = dy·y, a warp each.
GLOBAL attentionDots(float *dots, const float *dy, const float *y, i64 n, i64 dim) {
	i64 i = (i64)blockX() * (threads() / warp) + threadX() / warp;
	if (i >= n) return;
	float sum = 0;
	for (i64 d = threadX() % warp; d < dim; d += warp) sum = fma32(dy[i * dim + d], y[i * dim + d], sum);
	sum = sumWarp(sum);
	if (threadX() % warp == 0) dots[i] = sum;
}

// Backward attention goes in tiles of TILE rows t by TILE rows u of one run, of 256
// threads. tiles has four numbers a block: the run's first row, its length, and
// the first of the TILE rows within it that the block owns. Sums go row by row, so that
// they are the same whatever TILE is: it is the largest that shared memory has room for.

// gradients fills ps and ds, [TILE][TILE+1], with P and dS of query head h for the
// rows t0+i and u0+j of a run that begins at row: the formulas of
// kernels.TrainDevice. q, k, v, dy of the tile lie in shared memory, rows dim+1
// apart.
template <int TILE> DEVICE void gradients(float *ps, float *ds, const float *qs, const float *ks, const float *vs, const float *dys, const float *lse, const float *dots, i64 row, i64 t0, i64 u0, i64 n, i64 h, i64 heads, int dim, float scale, i64 window, float cap) {
	for (int e = threadX(); e < TILE * TILE; e += threads()) {
		int i = e / TILE, j = e % TILE;
		i64 t = t0 + i, u = u0 + j;
		float p = 0, d = 0;
		if (t < n && u <= t && (window <= 0 || u > t - window)) {
			float score = 0, dp = 0;
			for (int l = 0; l < dim; l++) {
				score = fma32(qs[i * (dim + 1) + l], ks[j * (dim + 1) + l], score);
				dp = fma32(dys[i * (dim + 1) + l], vs[j * (dim + 1) + l], dp);
			}
			score *= scale;
			float bend = 1;
			if (cap > 0) {
				float y = tanh32(score / cap);
				score = cap * y;
				bend = 1.0f - y * y;
			}
			i64 at = (row + t) * heads + h;
			p = exp32(score - lse[at]);
			d = scale * p * (dp - dots[at]) * bend;
		}
		ps[i * (TILE + 1) + j] = p;
		ds[i * (TILE + 1) + j] = d;
	}
}

// fetch brings TILE rows of one head to shared memory, zeros beyond the run.
template <int TILE> DEVICE void fetch(float *to, const float *from, i64 row, i64 first, i64 n, i64 h, i64 heads, int dim) {
	for (int e = threadX(); e < TILE * dim; e += threads()) {
		int i = e / dim, d = e % dim;
		to[i * (dim + 1) + d] = first + i < n ? from[((row + first + i) * heads + h) * dim + d] : 0.0f;
	}
}

#define BACK_PARAMETERS const float *dy, const float *lse, const float *dots, const float *q, const float *k, const float *v, const int *tiles, i64 heads, i64 kvHeads, i64 width, i64 scaleBits, i64 window, i64 capBits
#define BACK_ARGUMENTS dy, lse, dots, q, k, v, tiles, heads, kvHeads, width, scaleBits, window, capBits
#define BACK_SHARED \
	DYNAMIC(float, mem); \
	const int dim = (int)width, lines = TILE * (dim + 1); \
	float *qs = mem, *ks = qs + lines, *vs = ks + lines, *dys = vs + lines, *ps = dys + lines, *ds = ps + TILE * (TILE + 1); \
	const int *entry = tiles + 4 * blockX(); \
	const i64 row = entry[0], n = entry[1], own = entry[2]; \
	const float scale = real(scaleBits), cap = real(capBits); \
	const int values = (own + TILE < n ? TILE : (int)(n - own)) * dim

// attentionBackQ: dq of TILE rows and a query head, over the rows u in order. Sums stay
// where they are wanted, a thread's own, between one tile and the next.
template <int TILE> DEVICE void backQ(float *dq, BACK_PARAMETERS) {
	BACK_SHARED;
	const i64 h = blockY(), kvHead = h / (heads / kvHeads);
	float *acc = dq + ((row + own) * heads + h) * dim;
	const i64 step = heads * dim;
	for (int e = threadX(); e < values; e += threads()) acc[e / dim * step + e % dim] = 0;
	fetch<TILE>(qs, q, row, own, n, h, heads, dim);
	fetch<TILE>(dys, dy, row, own, n, h, heads, dim);
	i64 u0 = window > 0 && own - window + 1 > 0 ? (own - window + 1) / TILE * TILE : 0;
	for (; u0 < own + TILE && u0 < n; u0 += TILE) {
		barrier();
		fetch<TILE>(ks, k, row, u0, n, kvHead, kvHeads, dim);
		fetch<TILE>(vs, v, row, u0, n, kvHead, kvHeads, dim);
		barrier();
		gradients<TILE>(ps, ds, qs, ks, vs, dys, lse, dots, row, own, u0, n, h, heads, dim, scale, window, cap);
		barrier();
		for (int e = threadX(); e < values; e += threads()) {
			int i = e / dim, d = e % dim;
			float sum = acc[i * step + d];
			for (int j = 0; j < TILE; j++) sum = fma32(ds[i * (TILE + 1) + j], ks[j * (dim + 1) + d], sum);
			acc[i * step + d] = sum;
		}
	}
}
GLOBAL attentionBackQ_32(float *dq, BACK_PARAMETERS) { backQ<32>(dq, BACK_ARGUMENTS); }
GLOBAL attentionBackQ_16(float *dq, BACK_PARAMETERS) { backQ<16>(dq, BACK_ARGUMENTS); }
GLOBAL attentionBackQ_8(float *dq, BACK_PARAMETERS) { backQ<8>(dq, BACK_ARGUMENTS); }

// attentionBackKV: dk and dv of TILE rows and a head of k and v, over the query
// heads that share it in order, and for each over the rows t in order.
template <int TILE> DEVICE void backKV(float *dk, float *dv, BACK_PARAMETERS) {
	BACK_SHARED;
	const i64 kvHead = blockY(), group = heads / kvHeads, first = ((row + own) * kvHeads + kvHead) * dim, step = kvHeads * dim;
	for (int e = threadX(); e < values; e += threads()) {
		const i64 at = first + e / dim * step + e % dim;
		dk[at] = dv[at] = 0;
	}
	fetch<TILE>(ks, k, row, own, n, kvHead, kvHeads, dim);
	fetch<TILE>(vs, v, row, own, n, kvHead, kvHeads, dim);
	for (i64 h = kvHead * group; h < (kvHead + 1) * group; h++) {
		for (i64 t0 = own; t0 < n && (window <= 0 || t0 < own + TILE + window); t0 += TILE) {
			barrier();
			fetch<TILE>(qs, q, row, t0, n, h, heads, dim);
			fetch<TILE>(dys, dy, row, t0, n, h, heads, dim);
			barrier();
			gradients<TILE>(ps, ds, qs, ks, vs, dys, lse, dots, row, t0, own, n, h, heads, dim, scale, window, cap);
			barrier();
			for (int e = threadX(); e < values; e += threads()) {
				int j = e / dim, d = e % dim;
				const i64 at = first + j * step + d;
				float sumK = dk[at], sumV = dv[at];
				for (int i = 0; i < TILE; i++) {
					sumK = fma32(ds[i * (TILE + 1) + j], qs[i * (dim + 1) + d], sumK);
					sumV = fma32(ps[i * (TILE + 1) + j], dys[i * (dim + 1) + d], sumV);
				}
				dk[at] = sumK;
				dv[at] = sumV;
			}
		}
	}
}
GLOBAL attentionBackKV_32(float *dk, float *dv, BACK_PARAMETERS) { backKV<32>(dk, dv, BACK_ARGUMENTS); }
GLOBAL attentionBackKV_16(float *dk, float *dv, BACK_PARAMETERS) { backKV<16>(dk, dv, BACK_ARGUMENTS); }
GLOBAL attentionBackKV_8(float *dk, float *dv, BACK_PARAMETERS) { backKV<8>(dk, dv, BACK_ARGUMENTS); }
