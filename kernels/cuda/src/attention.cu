// The key-value cache and attention over it.
//
// A page holds for each head the keys as [dim][32], positions side by side, so
// that a warp's lanes take a position each, and the values as [32][dim].
#include "attention.h"
#include "copies.h"

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

// Shape of a block of attention on heads of up to 128·C values: its warps, the
// pieces that a warp has room for, and the values that one page or group leaves:
// for four queries the maxima, the sums, and the outputs. With EXACT the heads have
// 128·C values, so that all is known but the pages.
template <int C, bool EXACT, int DEPTH> struct Decode {
	static const int warps = C == 4 ? 4 : 8, depth = DEPTH, wide = 128 * C, part = 8 + 4 * wide, units = 2 * wide / (32 * warps);
	static const int unroll = EXACT ? 8 * C : 1;
	static const bool even = EXACT && 16 * C % DEPTH == 0; // a piece's room is always the same
};

// A page that a warp reads: where its keys and values begin, and which keys are seen,
// from to to-1; all of them, some or none.
struct Source {
	i64 base;
	int from, to;
	METHOD bool some() const { return to > from; }
	METHOD bool whole() const { return from <= 0 && to >= page; }
};

// attend: a block takes up to four query heads of a row that share a head of keys,
// so that these are fetched once. Its warps take a page each. What a warp reads
// comes in pieces of 2 KiB, 16 values of the keys or some of the values' rows, to
// a ring of its own, in which a lane finds what it asked for itself: so nobody
// waits for another before the pages are joined, and several pieces are under way
// always.
//
// table has twelve numbers a row: its row in q, its position, where its pages
// begin in pages, 0, and the pages of the first group that it sees, so that these
// need not wait for that. lse may be null. Where there are few blocks, the groups of
// pages are shared out among gridY of them, and partial takes what each group
// leaves, most groups a row, for attentionJoin.
template <int C, bool EXACT, int DEPTH> DEVICE void attend(float *dst, float *lse, float *partial, const float *q, const float *ks, const float *vs, const int *table, const int *pages, i64 heads, i64 kvHeads, i64 dimension, i64 scaleBits, i64 window, i64 capBits, i64 shares, i64 most) {
	typedef Decode<C, EXACT, DEPTH> D;
	DYNAMIC(float, mem); // q [dim][4], the warps' parts, their rings
	const int me = threadX() / warp, lane = threadX() % warp, dim = EXACT ? 128 * C : (int)dimension, keyPieces = (dim + 15) / 16, pieces = keyPieces + 8 * C;
	const int piece = 4 * 4 * warp, chunk = 4 * warp; // values of a piece, and of a quarter
	float *parts = mem + 4 * D::wide, *part = parts + me * D::part, *ring = parts + D::warps * D::part + me * DEPTH * piece + 4 * lane;
	const int each = (int)(heads / kvHeads), fours = (each + 3) / 4, share = blockY();
	const int kvHead = blockX() / fours % (int)kvHeads, count = lowest(4, each - blockX() % fours * 4);
	const int *entry = table + 12 * (blockX() / (fours * (int)kvHeads));
	const int pos = entry[1], seen = window > 0 && pos - (int)window + 1 > 0 ? pos - (int)window + 1 : 0, first = seen / page, last = pos / page;
	const i64 head = (i64)entry[0] * heads + kvHead * each + blockX() % fours * 4;
	const int *mine = pages + entry[2];
	const Scoring scoring = {real(scaleBits), real(capBits)};
	const float none = bitsFloat(noneBits);

	// The warp's pages one after another: the one that it computes, the next, and the number
	// of that behind it.
	const auto after = [=](int b) INLINE { return b + D::warps + ((b + D::warps) % group < D::warps ? ((int)shares - 1) * group : 0); };
	const auto numberOf = [=](int b) INLINE { return b <= last ? mine[b] : 0; };
	const auto sourceOf = [=](int b, int number) INLINE {
		const i64 base = ((i64)number * kvHeads + kvHead) * page * dim;
		return Source{base, seen - b * page, b <= last ? pos + 1 - b * page : seen - b * page};
	};
	int come = (first / group + share) * group + me, number = entry[4 + me]; // the next page
	if (share > 0 || come < first) {
		while (come < first) come = after(come);
		number = numberOf(come);
	}
	Source now = sourceOf(come, number);
	come = after(come);
	number = numberOf(come);
	int used = 0; // the room of the piece that is computed
	// ask starts the copy of a page's piece n.
	const bool byFours = dim % 4 == 0;
	const auto ask = [&](const Source &s, int n, float *at) INLINE {
		if (s.some()) {
			if (n < keyPieces) {
				const int d = n * 16 + lane / 8, key = lane % 8 * 4;
				const bool some = key < s.to && key + 4 > s.from;
				const float *k = ks + (s.base + d * page + key);
#pragma unroll
				for (int i = 0; i < 4; i++) copy16(sharedAddress(at + i * chunk), k + i * 4 * page, some && d + 4 * i < dim);
			} else {
				const int key = (n - keyPieces) * 4 / C;
				const float *v = vs + (s.base + key * dim + lane * 4);
				if (EXACT && s.whole()) {
#pragma unroll
					for (int i = 0; i < 4; i++) copy16(sharedAddress(at + i * chunk), v + i / C * dim + i % C * 128);
				} else {
#pragma unroll
					for (int i = 0; i < 4; i++) {
						const int j = key + i / C, left = j >= s.from && j < s.to ? dim - lane * 4 - i % C * 128 : 0;
						const float *here = v + i / C * dim + i % C * 128;
						float *there = at + i * chunk;
						if (byFours)
							copy16(sharedAddress(there), here, left > 0);
						else
#pragma unroll 1
							for (int e = 0; e < 4; e++) copy4(sharedAddress(there + e), here + e, left > e);
					}
				}
			}
		}
		closeCopies();
	};
#pragma unroll
	for (int n = 0; n < DEPTH - 1; n++) ask(now, n, ring + n * piece);
	Source next = sourceOf(come, number);
	// await gives the place of the page's piece n, which has come, and asks for another
	// to the room of the one before.
	const auto await = [&](int n) INLINE {
		awaitBatches<DEPTH - 2>();
		const int m = n + DEPTH - 1, here = D::even ? n % DEPTH : used, before = D::even ? m % DEPTH : used > 0 ? used - 1 : DEPTH - 1;
		if (m < pieces)
			ask(now, m, ring + before * piece);
		else
			ask(next, m - pieces, ring + before * piece);
		if (!D::even) used = used + 1 == DEPTH ? 0 : used + 1;
		return ring + here * piece;
	};
	for (int i = threadX(); i < 4 * 16 * keyPieces; i += 32 * D::warps) {
		const int r = i / (16 * keyPieces), d = i % (16 * keyPieces);
		mem[4 * d + r] = r < count && d < dim ? q[head * dim + r * dim + d] : 0.0f;
	}
	barrier();

	// A thread owns pairs of columns of the output. Maxima are known to lanes: that of
	// query h to lanes 8h to 8h+7.
	float allTop = none, allTotal[D::units];
	f32x2 all[D::units];
#pragma unroll
	for (int k = 0; k < D::units; k++) allTotal[k] = all[k].x = all[k].y = 0;
	for (int g = first / group + share; g * group <= last; g += (int)shares) {
		float top = none, total[D::units];
		f32x2 out[D::units];
#pragma unroll
		for (int k = 0; k < D::units; k++) total[k] = out[k].x = out[k].y = 0;
		for (int base = g * group; base < (g + 1) * group; base += D::warps) {
			const int low = first > base ? first : base, high = lowest(last, base + D::warps - 1), b = base + me;
			if (low > high) continue;
			if (b >= low && b <= high) {
				float s[4][4], o[C][4][4], peak, sum;
				number = numberOf(after(come)); // in time for when it is wanted
#pragma unroll
				for (int r = 0; r < 16; r++) s[r / 4][r % 4] = 0;
#pragma unroll D::unroll
				for (int n = 0; n < keyPieces; n++) {
					const float *k = await(n), *x = mem + 4 * (16 * n + lane / 8);
#pragma unroll
					for (int i = 0; i < 4; i++) outer<4>(s, x + 16 * i, *(const f32x4 *)(k + i * chunk));
				}
				halve<4>(s, 16);
				halve<2>(s, 8);
				softmaxOf(s[0], seen - b * page, pos + 1 - b * page, scoring, peak, sum);
				float *e = part + 8; // [key][4]
#pragma unroll
				for (int j = 0; j < 4; j++) e[(lane % 8 * 4 + j) * 4 + lane / 8] = s[0][j];
				warpBarrier();
#pragma unroll
				for (int r = 0; r < 16 * C; r++) o[r / 16][r / 4 % 4][r % 4] = 0;
#pragma unroll D::unroll
				for (int n = 0; n < 8 * C; n++) {
					const float *v = await(keyPieces + n), *x = e + n * 4 / C * 4;
#pragma unroll
					for (int i = 0; i < 4; i++) outer<4>(o[i % C], x + i / C * 4, *(const f32x4 *)(v + i * chunk));
				}
				warpBarrier();
				now = next;
				come = after(come);
				next = sourceOf(come, number);
				if (lane % 8 == 0) {
					part[lane / 8] = peak;
					part[4 + lane / 8] = sum;
				}
#pragma unroll
				for (int r = 0; r < 4; r++)
#pragma unroll
					for (int c = 0; c < C; c++) *(f32x4 *)(part + 8 + r * D::wide + c * 128 + lane * 4) = f32x4{o[c][r][0], o[c][r][1], o[c][r][2], o[c][r][3]};
			}
			barrier();
			// Join the pages in order. First the factors of all: lane 8h+i those of query h and page i.
			const int i = lane % 8, h = lane / 8;
			const bool there = base + i >= low && base + i <= high;
			const float max = there ? parts[i * D::part + h] : none, sum = there ? parts[i * D::part + 4 + h] : 0.0f;
			float most = max;
#pragma unroll
			for (int d = 1; d < 8; d *= 2) {
				const float left = shuffle(most, i >= d ? lane - d : lane);
				most = max32(most, left);
			}
			most = max32(top, most);
			const float left = shuffle(most, i > 0 ? lane - 1 : lane), before = i > 0 ? left : top;
			const float old = exp32(before - most), fresh = exp32(max - most);
			top = shuffle(most, lane | 7);
#pragma unroll
			for (int j = 0; j < D::warps; j++) {
				if (base + j < low || base + j > high) continue;
#pragma unroll
				for (int k = 0; k < D::units; k++) {
					const int at = 2 * (threadX() + k * 32 * D::warps), r = at / D::wide;
					const float keep = shuffle(old, 8 * r + j), take = shuffle(fresh, 8 * r + j);
					const f32x2 p = *(const f32x2 *)(parts + j * D::part + 8 + at);
					total[k] = total[k] * keep + shuffle(sum, 8 * r + j) * take;
					out[k].x = out[k].x * keep + p.x * take;
					out[k].y = out[k].y * keep + p.y * take;
				}
			}
			barrier();
		}
		float *leave = partial + ((i64)blockX() * most + (g - first / group)) * D::part;
		const float next = max32(allTop, top), old = exp32(allTop - next), fresh = exp32(top - next);
		allTop = next;
		if (partial && me == 0 && lane % 8 == 0) leave[lane / 8] = top;
#pragma unroll
		for (int k = 0; k < D::units; k++) {
			const int at = 2 * (threadX() + k * 32 * D::warps), r = at / D::wide;
			const float keep = shuffle(old, 8 * r), take = shuffle(fresh, 8 * r);
			if (partial) {
				if (at % D::wide == 0) leave[4 + r] = total[k];
				*(f32x2 *)(leave + 8 + at) = out[k];
			}
			allTotal[k] = allTotal[k] * keep + total[k] * take;
			all[k].x = all[k].x * keep + out[k].x * take;
			all[k].y = all[k].y * keep + out[k].y * take;
		}
	}
	if (partial) return;
#pragma unroll
	for (int k = 0; k < D::units; k++) {
		const int at = 2 * (threadX() + k * 32 * D::warps), r = at / D::wide, d = at % D::wide;
		const float top = shuffle(allTop, 8 * r);
		if (r >= count) continue;
		float *to = dst + (head + r) * dim;
		if (d < dim) to[d] = all[k].x / allTotal[k];
		if (d + 1 < dim) to[d + 1] = all[k].y / allTotal[k];
		if (lse && d == 0) lse[head + r] = top + (float)log64(allTotal[k]);
	}
}

#define ATTENTION(NAME, C, EXACT, DEPTH, THREADS, BLOCKS) \
	GLOBAL BOUNDS(THREADS, BLOCKS) attention_##NAME(float *dst, float *lse, float *partial, const float *q, const float *ks, const float *vs, const int *table, const int *pages, i64 heads, i64 kvHeads, i64 dim, i64 scaleBits, i64 window, i64 capBits, i64 shares, i64 most) { \
		attend<C, EXACT, DEPTH>(dst, lse, partial, q, ks, vs, table, pages, heads, kvHeads, dim, scaleBits, window, capBits, shares, most); \
	}
ATTENTION(1, 1, false, 5, 256, 2) // as ../attention.go has them
ATTENTION(2, 2, false, 3, 256, 2)
ATTENTION(4, 4, false, 3, 128, 2)
ATTENTION(128, 1, true, 4, 256, 2)
ATTENTION(128deep, 1, true, 8, 256, 1) // where a block has a processor for itself

// attentionJoin joins what the groups of a row have left, in their order: a block a
// query head, a thread a column.
GLOBAL attentionJoin(float *dst, float *lse, const float *partial, const int *table, i64 heads, i64 kvHeads, i64 dim, i64 wide, i64 window, i64 most) {
	const int each = (int)(heads / kvHeads), fours = (each + 3) / 4, r = blockX() % 4, unit = blockX() / 4;
	if (r >= each - unit % fours * 4) return;
	const int *entry = table + 12 * (unit / (fours * (int)kvHeads));
	const int pos = entry[1], seen = window > 0 && pos - (int)window + 1 > 0 ? pos - (int)window + 1 : 0, n = pos / page / group - seen / page / group + 1;
	const i64 head = (i64)entry[0] * heads + unit / fours % (int)kvHeads * each + unit % fours * 4 + r, part = 8 + 4 * wide;
	const float *from = partial + unit * most * part;
	for (int d = threadX(); d < dim; d += threads()) {
		float top = bitsFloat(noneBits), total = 0, out = 0;
#pragma unroll 4
		for (int g = 0; g < n; g++) {
			const float *left = from + g * part;
			const float next = max32(top, left[r]), old = exp32(top - next), fresh = exp32(left[r] - next);
			top = next;
			total = total * old + left[4 + r] * fresh;
			out = out * old + left[8 + r * wide + d] * fresh;
		}
		dst[head * dim + d] = out / total;
		if (lse && d == 0) lse[head] = top + (float)log64(total);
	}
}
