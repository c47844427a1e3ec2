// Attention of training on the matrix units (Dao, 2023): q, k, v and dy rounded to
// bfloat16, products summed in float32, softmax in float32, and what is
// multiplied next (P, dS) rounded to bfloat16. The formulas are those of
// kernels.TrainDevice, deterministic: what several blocks have to add goes to
// places of its own first.
//
// A block of four warps owns 64 rows of a run and a head; a warp owns 16 of them.
// DIM is the size of a head, filled up with zeros to 64, 128 or 256. tiles has
// four numbers a block: the run's first row, its length, and the first of the 64
// rows within it that the block owns.
#include "device.h"

const int ownRows = 64, warpRows = 16;

// Matrices lie in shared memory as words of two bfloat16 values along what is
// summed. A row has 4 words more than its values need, so that the 8 rows by 4
// words that a fragment asks for lie in 32 banks.
template <int N> struct Words { static const int line = N / 2 + 4; };

// brainHeads: dst[i] = the values of a head of x, [rows, dim] as bfloat16 [rows, wide].
GLOBAL brainHeads(u32 *dst, const float *x, i64 rows, i64 dim, i64 wide) {
	for (i64 i = (i64)blockX() * threads() + threadX(); i < rows * wide / 2; i += (i64)blocks() * threads()) {
		const i64 row = over(2 * i, wide), d = 2 * i - row * wide;
		const float *from = x + row * dim + d;
		dst[i] = brains(d < dim ? from[0] : 0.0f, d + 1 < dim ? from[1] : 0.0f);
	}
}

// pull brings ROWS rows of a head to shared memory as they lie, zeros beyond the run.
template <int DIM, int ROWS> DEVICE void pull(u32 *to, const u32 *from, i64 row, int first, int n, i64 head, i64 heads) {
	const int chunks = DIM / 8;
#pragma unroll 4
	for (int e = threadX(); e < ROWS * chunks; e += threads()) {
		const int i = e / chunks, c = e % chunks;
		u32x4 q = {0, 0, 0, 0};
		if (first + i < n) q = *(const u32x4 *)(from + ((row + first + i) * heads + head) * (DIM / 2) + 4 * c);
		*(u32x4 *)(to + i * Words<DIM>::line + 4 * c) = q;
	}
}

// pullTurned brings columns from column on, COLS of them, of ROWS rows: a row in
// shared memory for each column, words of two rows.
template <int DIM, int ROWS, int COLS> DEVICE void pullTurned(u32 *to, const u32 *from, i64 row, int first, int n, i64 head, i64 heads, int column) {
#pragma unroll 4
	for (int e = threadX(); e < ROWS / 2 * (COLS / 2); e += threads()) {
		// Four pairs of columns by eight of rows are a warp's.
		const int c = e / 32 % (COLS / 8) * 4 + e % 4, i = e / 32 / (COLS / 8) * 8 + e / 4 % 8;
		const u32 *at = from + ((row + first + 2 * i) * heads + head) * (DIM / 2) + column / 2 + c;
		const u32 a = first + 2 * i < n ? at[0] : 0u, b = first + 2 * i + 1 < n ? at[heads * (DIM / 2)] : 0u;
		to[2 * c * Words<ROWS>::line + i] = (a & 0xffffu) | b << 16;
		to[(2 * c + 1) * Words<ROWS>::line + i] = a >> 16 | (b & 0xffff0000u);
	}
}

// rowsTimes: s [16, COLS] += the warp's rows of a, [.., DIM], times the rows of b.
template <int DIM, int COLS> DEVICE void rowsTimes(float (*s)[4], const u32 *a, const u32 *b) {
	const int lane = threadX() % warp, g = lane / 4, t = lane % 4, line = Words<DIM>::line;
	a += (threadX() / warp * warpRows + g) * line + t;
	b += g * line + t;
#pragma unroll
	for (int k = 0; k < DIM / 16; k++) {
		const u32 x[4] = {a[8 * k], a[8 * line + 8 * k], a[8 * k + 4], a[8 * line + 8 * k + 4]};
#pragma unroll
		for (int j = 0; j < COLS / 8; j++) matrixUnit(s[j], x, b[8 * j * line + 8 * k], b[8 * j * line + 8 * k + 4]);
	}
}

// timesTurned: d [16, COLS] += s [16, STEPS], rounded, times b whose rows are columns.
template <int STEPS, int COLS> DEVICE void timesTurned(float (*d)[4], const float (*s)[4], const u32 *b) {
	const int lane = threadX() % warp, line = Words<STEPS>::line;
	b += lane / 4 * line + lane % 4;
#pragma unroll
	for (int k = 0; k < STEPS / 16; k++) {
		const float *l = s[2 * k], *r = s[2 * k + 1];
		const u32 x[4] = {brains(l[0], l[1]), brains(l[2], l[3]), brains(r[0], r[1]), brains(r[2], r[3])};
#pragma unroll
		for (int j = 0; j < COLS / 8; j++) matrixUnit(d[j], x, b[8 * j * line + 8 * k], b[8 * j * line + 8 * k + 4]);
	}
}

template <int COLS> DEVICE void clear(float (*d)[4]) {
#pragma unroll
	for (int j = 0; j < COLS / 8; j++)
#pragma unroll
		for (int e = 0; e < 4; e++) d[j][e] = 0;
}

// storeRows writes a warp's rows of a head, those that the run has.
template <int COLS> DEVICE void storeRows(float *dst, const float (*d)[4], i64 row, i64 own, i64 n, i64 head, i64 heads, i64 dim, int column) {
	const int lane = threadX() % warp;
#pragma unroll
	for (int j = 0; j < COLS / 8; j++)
#pragma unroll
		for (int e = 0; e < 4; e++) {
			const i64 r = own + threadX() / warp * warpRows + lane / 4 + 8 * (e / 2), c = column + 8 * j + lane % 4 * 2 + e % 2;
			if (r < n && c < dim) dst[((row + r) * heads + head) * dim + c] = d[j][e];
		}
}

// sees: token t sees itself and the reach-1 tokens before it.
DEVICE bool sees(int t, int u, int reach) { return u <= t && u > t - reach; }
DEVICE int firstTile(int own, i64 window, int size) { return window > 0 && own - window + 1 > 0 ? (int)(own - window + 1) / size * size : 0; }

#define TILE_OF \
	const int *entry = tiles + 4 * blockX(); \
	const i64 row = entry[0]; \
	const int n = entry[1], own = entry[2], reach = window > 0 && window < n ? (int)window : n; \
	const float scale = real(scaleBits), cap = real(capBits); \
	const int lane = threadX() % warp, g = lane / 4, t = lane % 4

// flash: y and lse of 64 rows and a head, over tiles of KEYS keys.
template <int DIM, int KEYS> DEVICE void flashBody(float *dst, float *lse, const u32 *q, const u32 *k, const u32 *v, const int *tiles, i64 heads, i64 kvHeads, i64 dim, i64 scaleBits, i64 window, i64 capBits) {
	DYNAMIC(u32, mem);
	TILE_OF;
	u32 *qs = mem, *ks = qs + ownRows * Words<DIM>::line, *vt = ks + KEYS * Words<DIM>::line;
	const i64 head = blockY(), kvHead = head / (heads / kvHeads);
	const float none = bitsFloat(0xff800000u);
	float out[DIM / 8][4], top[2] = {none, none}, total[2] = {0, 0};
	clear<DIM>(out);
	pull<DIM, ownRows>(qs, q, row, own, n, head, heads);
	for (int u0 = firstTile(own, window, KEYS); u0 < own + ownRows && u0 < n; u0 += KEYS) {
		barrier();
		pull<DIM, KEYS>(ks, k, row, u0, n, kvHead, kvHeads);
		pullTurned<DIM, KEYS, DIM>(vt, v, row, u0, n, kvHead, kvHeads, 0);
		barrier();
		float s[KEYS / 8][4], most[2] = {top[0], top[1]}, old[2];
		clear<KEYS>(s);
		rowsTimes<DIM, KEYS>(s, qs, ks);
#pragma unroll
		for (int j = 0; j < KEYS / 8; j++)
#pragma unroll
			for (int e = 0; e < 4; e++) {
				float score = scale * s[j][e];
				if (cap > 0) score = cap * tanh32(score / cap);
				s[j][e] = sees(own + threadX() / warp * warpRows + g + 8 * (e / 2), u0 + 8 * j + 2 * t + e % 2, reach) ? score : none;
				most[e / 2] = max32(most[e / 2], s[j][e]);
			}
#pragma unroll
		for (int r = 0; r < 2; r++) {
			most[r] = max32(most[r], shuffleXor(most[r], 1));
			most[r] = max32(most[r], shuffleXor(most[r], 2));
			old[r] = top[r] == none ? 0.0f : exp32(top[r] - most[r]);
			top[r] = most[r];
			total[r] *= old[r];
		}
#pragma unroll
		for (int j = 0; j < KEYS / 8; j++)
#pragma unroll
			for (int e = 0; e < 4; e++) {
				s[j][e] = s[j][e] == none ? 0.0f : exp32(s[j][e] - top[e / 2]);
				total[e / 2] += s[j][e];
			}
#pragma unroll
		for (int j = 0; j < DIM / 8; j++)
#pragma unroll
			for (int e = 0; e < 4; e++) out[j][e] *= old[e / 2];
		timesTurned<KEYS, DIM>(out, s, vt);
	}
#pragma unroll
	for (int r = 0; r < 2; r++) {
		total[r] += shuffleXor(total[r], 1);
		total[r] += shuffleXor(total[r], 2);
		const i64 at = own + threadX() / warp * warpRows + g + 8 * r;
		if (t == 0 && at < n) lse[(row + at) * heads + head] = top[r] + (float)log64(total[r]);
	}
#pragma unroll
	for (int j = 0; j < DIM / 8; j++)
#pragma unroll
		for (int e = 0; e < 4; e++) out[j][e] /= total[e / 2];
	storeRows<DIM>(dst, out, row, own, n, head, heads, dim, 0);
}

// bothGradients makes of a score and of dy·v the values P and dS.
DEVICE void bothGradients(float &s, float &d, bool there, float lse, float dot, float scale, float cap) {
	float score = scale * s, bend = 1;
	if (cap > 0) {
		float y = tanh32(score / cap);
		score = cap * y;
		bend = 1.0f - y * y;
	}
	s = there ? exp32(score - lse) : 0.0f;
	d = there ? scale * s * (d - dot) * bend : 0.0f;
}

#define FLASH_BACK const u32 *dy, const float *lse, const float *dots, const u32 *q, const u32 *k, const u32 *v, const int *tiles, i64 heads, i64 kvHeads, i64 dim, i64 scaleBits, i64 window, i64 capBits
#define FLASH_BACK_OF dy, lse, dots, q, k, v, tiles, heads, kvHeads, dim, scaleBits, window, capBits

// flashBackQ: OUT columns of dq of 64 rows and a head.
template <int DIM, int KEYS, int OUT> DEVICE void flashBackQBody(float *dq, FLASH_BACK) {
	DYNAMIC(u32, mem);
	TILE_OF;
	const int line = Words<DIM>::line, parts = DIM / OUT, column = blockY() % parts * OUT;
	u32 *qs = mem, *dys = qs + ownRows * line, *ks = dys + ownRows * line, *vs = ks + KEYS * line, *kt = vs + KEYS * line;
	const i64 head = blockY() / parts, kvHead = head / (heads / kvHeads);
	const int first = own + threadX() / warp * warpRows + g;
	float acc[OUT / 8][4], lses[2], dot[2];
	clear<OUT>(acc);
#pragma unroll
	for (int r = 0; r < 2; r++) {
		const bool there = first + 8 * r < n;
		const i64 at = (row + first + 8 * r) * heads + head;
		lses[r] = there ? lse[at] : 0.0f;
		dot[r] = there ? dots[at] : 0.0f;
	}
	pull<DIM, ownRows>(qs, q, row, own, n, head, heads);
	pull<DIM, ownRows>(dys, dy, row, own, n, head, heads);
	for (int u0 = firstTile(own, window, KEYS); u0 < own + ownRows && u0 < n; u0 += KEYS) {
		barrier();
		pull<DIM, KEYS>(ks, k, row, u0, n, kvHead, kvHeads);
		pull<DIM, KEYS>(vs, v, row, u0, n, kvHead, kvHeads);
		pullTurned<DIM, KEYS, OUT>(kt, k, row, u0, n, kvHead, kvHeads, column);
		barrier();
		float s[KEYS / 8][4], d[KEYS / 8][4];
		clear<KEYS>(s);
		clear<KEYS>(d);
		rowsTimes<DIM, KEYS>(s, qs, ks);
		rowsTimes<DIM, KEYS>(d, dys, vs);
#pragma unroll
		for (int j = 0; j < KEYS / 8; j++)
#pragma unroll
			for (int e = 0; e < 4; e++) {
				const int at = first + 8 * (e / 2);
				bothGradients(s[j][e], d[j][e], at < n && sees(at, u0 + 8 * j + 2 * t + e % 2, reach), lses[e / 2], dot[e / 2], scale, cap);
			}
		timesTurned<KEYS, OUT>(acc, d, kt);
	}
	storeRows<OUT>(dq, acc, row, own, n, head, heads, dim, column);
}

// flashBackKV: what one query head adds to OUT columns of dk and dv of 64 rows,
// [rows, heads, dim]: the transposed products, keys across the warp's rows.
template <int DIM, int ROWS, int OUT> DEVICE void flashBackKVBody(float *dk, float *dv, FLASH_BACK) {
	DYNAMIC(u32, mem);
	TILE_OF;
	const int line = Words<DIM>::line, parts = DIM / OUT, column = blockY() % parts * OUT;
	u32 *ks = mem, *vs = ks + ownRows * line, *qs = vs + ownRows * line, *dys = qs + ROWS * line;
	u32 *qt = dys + ROWS * line, *dyt = qt + OUT * Words<ROWS>::line;
	float *lses = (float *)(dyt + OUT * Words<ROWS>::line), *dot = lses + ROWS;
	const i64 head = blockY() / parts, kvHead = head / (heads / kvHeads);
	float accK[OUT / 8][4], accV[OUT / 8][4];
	clear<OUT>(accK);
	clear<OUT>(accV);
	pull<DIM, ownRows>(ks, k, row, own, n, kvHead, kvHeads);
	pull<DIM, ownRows>(vs, v, row, own, n, kvHead, kvHeads);
	for (int t0 = own; t0 < n && (window <= 0 || t0 < own + ownRows + window); t0 += ROWS) {
		barrier();
		pull<DIM, ROWS>(qs, q, row, t0, n, head, heads);
		pull<DIM, ROWS>(dys, dy, row, t0, n, head, heads);
		pullTurned<DIM, ROWS, OUT>(qt, q, row, t0, n, head, heads, column);
		pullTurned<DIM, ROWS, OUT>(dyt, dy, row, t0, n, head, heads, column);
		for (int i = threadX(); i < ROWS; i += threads()) {
			const bool there = t0 + i < n;
			const i64 at = (row + t0 + i) * heads + head;
			lses[i] = there ? lse[at] : 0.0f;
			dot[i] = there ? dots[at] : 0.0f;
		}
		barrier();
		float s[ROWS / 8][4], d[ROWS / 8][4];
		clear<ROWS>(s);
		clear<ROWS>(d);
		rowsTimes<DIM, ROWS>(s, ks, qs);
		rowsTimes<DIM, ROWS>(d, vs, dys);
#pragma unroll
		for (int j = 0; j < ROWS / 8; j++)
#pragma unroll
			for (int e = 0; e < 4; e++) {
				const int i = 8 * j + 2 * t + e % 2;
				bothGradients(s[j][e], d[j][e], t0 + i < n && sees(t0 + i, own + threadX() / warp * warpRows + g + 8 * (e / 2), reach), lses[i], dot[i], scale, cap);
			}
		timesTurned<ROWS, OUT>(accV, s, dyt);
		timesTurned<ROWS, OUT>(accK, d, qt);
	}
	storeRows<OUT>(dk, accK, row, own, n, head, heads, dim, column);
	storeRows<OUT>(dv, accV, row, own, n, head, heads, dim, column);
}

#define FLASH(DIM, KEYS, OUT) \
	GLOBAL BOUNDS(128, 1) flash_##DIM(float *dst, float *lse, const u32 *q, const u32 *k, const u32 *v, const int *tiles, i64 heads, i64 kvHeads, i64 dim, i64 scaleBits, i64 window, i64 capBits) { \
		flashBody<DIM, KEYS>(dst, lse, q, k, v, tiles, heads, kvHeads, dim, scaleBits, window, capBits); \
	} \
	GLOBAL BOUNDS(128, 1) flashBackQ_##DIM(float *dq, FLASH_BACK) { flashBackQBody<DIM, 32, OUT>(dq, FLASH_BACK_OF); } \
	GLOBAL BOUNDS(128, 1) flashBackKV_##DIM(float *dk, float *dv, FLASH_BACK) { flashBackKVBody<DIM, 32, OUT>(dk, dv, FLASH_BACK_OF); }
FLASH(64, 64, 64)
FLASH(128, 64, 128)
FLASH(256, 32, 128)

// sumHeads: dst [rows, kvHeads, dim] = the sum of the query heads that share a
// head, in their order, of each row of the runs; rows has their numbers.
GLOBAL sumHeads(float *dst, const float *part, const int *tiles, i64 heads, i64 kvHeads, i64 dim) {
	const int *entry = tiles + 4 * blockX();
	const i64 row = entry[0] + entry[2], left = lowest((i64)ownRows, (i64)(entry[1] - entry[2])), group = heads / kvHeads;
	for (i64 i = threadX() + (i64)blockY() * threads(); i < left * kvHeads * dim; i += (i64)threads() * 8) {
		const i64 d = i % dim, head = i / dim % kvHeads, r = row + i / dim / kvHeads;
		float sum = 0;
		for (i64 h = head * group; h < (head + 1) * group; h++) sum += part[(r * heads + h) * dim + d];
		dst[(r * kvHeads + head) * dim + d] = sum;
	}
}
