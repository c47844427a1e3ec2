// The key-value cache and attention over it.
//
// A page holds for each head the keys as [dim][32], positions side by side, so
// that a warp's lanes take a position each, and the values as [32][dim].
#include "device.h"

const int page = 32, dims = 16; // dims·32 is the largest head

// storeKV: place[i] = row, page·32 + position in the page.
GLOBAL storeKV(float *ks, float *vs, const float *k, const float *v, const int *place, i64 n, i64 heads, i64 dim) {
	for (i64 i = (i64)blockX() * threads() + threadX(); i < n * heads * dim; i += (i64)blocks() * threads()) {
		i64 d = i % dim, h = i / dim % heads, t = i / dim / heads;
		i64 row = place[2 * t], at = place[2 * t + 1];
		i64 base = (at / page * heads + h) * page * dim;
		ks[base + d * page + at % page] = k[(row * heads + h) * dim + d];
		vs[base + at % page * dim + d] = v[(row * heads + h) * dim + d];
	}
}

GLOBAL copyPage(float *ks, float *vs, i64 dst, i64 src, i64 size) {
	for (i64 i = (i64)blockX() * threads() + threadX(); i < size; i += (i64)blocks() * threads()) {
		ks[dst * size + i] = ks[src * size + i];
		vs[dst * size + i] = vs[src * size + i];
	}
}

// attention: a block an output row and head. Each page that the row sees is a
// block of the softmax (Milakov and Gimelshein, 2018) of its own, with its
// maximum, its sum and its part of the output; these are joined in the order of
// the pages. The warps of the block take a page each, so their number changes
// no bit.
//
// table has four numbers a row: its row in q, its position, where its pages
// begin in pages, and 0. lse may be null.
GLOBAL attention(float *dst, float *lse, const float *q, const float *ks, const float *vs, const int *table, const int *pages, i64 heads, i64 kvHeads, i64 dim, i64 scaleBits, i64 window, i64 capBits) {
	DYNAMIC(float, mem); // q [dim], then for each warp: top, sum, out [dim]
	const float scale = real(scaleBits), cap = real(capBits);
	const int warps = threads() / warp, me = threadX() / warp, lane = threadX() % warp;
	const int *entry = table + 4 * (blockX() / heads);
	const i64 head = blockX() % heads, kvHead = head / (heads / kvHeads);
	const i64 row = entry[0], pos = entry[1];
	const int *mine = pages + entry[2];
	const i64 at = (row * heads + head) * dim;
	float *parts = mem + dim;
	for (int d = threadX(); d < dim; d += threads()) mem[d] = q[at + d];
	barrier();

	const float none = bitsFloat(0xff800000u);
	float top = none, total = 0, out[dims];
#pragma unroll
	for (int i = 0; i < dims; i++) out[i] = 0;
	i64 seen = window > 0 && pos - window + 1 > 0 ? pos - window + 1 : 0;
	for (i64 first = seen / page; first * page <= pos; first += warps) {
		const i64 b = first + me;
		if (b * page <= pos) {
			const i64 base = ((i64)mine[b] * kvHeads + kvHead) * page * dim;
			const i64 p = b * page + lane;
			const bool sees = p >= seen && p <= pos;
			float score = none;
			if (sees) {
				float sum = 0;
				const float *key = ks + base + lane;
#pragma unroll 16
				for (int d = 0; d < dim; d++) sum = fma32(mem[d], key[d * page], sum);
				score = scale * sum;
				if (cap > 0) score = cap * tanh32(score / cap);
			}
			const float most = maxWarp(score);
			const float e = sees ? exp32(score - most) : 0.0f;
			const float sum = sumWarp(e);
			float *part = parts + me * (dim + 2);
			if (lane == 0) {
				part[0] = most;
				part[1] = sum;
			}
			const int from = (int)(seen > b * page ? seen - b * page : 0), to = (int)lowest((i64)page, pos + 1 - b * page);
			for (int d0 = 0; d0 < dim; d0 += warp) {
				int d = d0 + lane;
				float add = 0;
				const float *val = vs + base + (d < dim ? d : 0);
				// Places that the row does not see may hold anything, so they are not read.
#pragma unroll
				for (int j = 0; j < page; j++) add = fma32(shuffle(e, j), j >= from && j < to ? val[j * dim] : 0.0f, add);
				if (d < dim) part[2 + d] = add;
			}
		}
		barrier();
		for (int i = 0; i < warps && (first + i) * page <= pos; i++) {
			const float *part = parts + i * (dim + 2);
			const float next = max32(top, part[0]), old = exp32(top - next), fresh = exp32(part[0] - next);
			total = total * old + part[1] * fresh;
#pragma unroll
			for (int j = 0; j < dims; j++) {
				int d = threadX() + j * threads();
				if (d < dim) out[j] = out[j] * old + part[2 + d] * fresh;
			}
			top = next;
		}
		barrier();
	}
#pragma unroll
	for (int j = 0; j < dims; j++) {
		int d = threadX() + j * threads();
		if (d < dim) dst[at + d] = out[j] / total;
	}
	if (lse && threadX() == 0) lse[row * heads + head] = top + (float)log64(total);
}
