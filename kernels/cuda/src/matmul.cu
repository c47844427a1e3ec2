// Products in float32.
//
// # The order of a sum
//
// matmul's K is cut into pieces of 32 values. Piece p belongs to class p % 32;
// a class is summed by fused multiply-adds in the order of k, and the sums of
// the classes are added in their order, to 0. gemv, where a lane of a warp owns a
// class, and gemm, where a thread goes through all classes, so give the same
// bits. Sums over rows (matmulBack, weightGrad) go through chunks of 512.
#include "weight.h"

const int piece = 32, classes = 32, chunkRows = 512;

// load fills v with values i to i+31 of a weight; i lies at a multiple of 16
// bytes and, where there are blocks, all 32 in one of them.
template <int KIND> DEVICE void load(float *v, const Weight &w, const float *map, i64 i) {
	if (KIND == kindF32) {
		const f32x4 *from = (const f32x4 *)((const float *)w.data + i);
#pragma unroll
		for (int j = 0; j < 8; j++) {
			f32x4 q = from[j];
			v[4 * j] = q.x, v[4 * j + 1] = q.y, v[4 * j + 2] = q.z, v[4 * j + 3] = q.w;
		}
	} else if (KIND == kindF16 || KIND == kindBF16) {
		const u32x4 *from = (const u32x4 *)((const u16 *)w.data + i);
#pragma unroll
		for (int j = 0; j < 4; j++) {
			u32x4 q = from[j];
			u32 words[4] = {q.x, q.y, q.z, q.w};
#pragma unroll
			for (int l = 0; l < 4; l++) {
				v[8 * j + 2 * l] = KIND == kindF16 ? halfFloat((u16)words[l]) : bitsFloat(words[l] << 16);
				v[8 * j + 2 * l + 1] = KIND == kindF16 ? halfFloat((u16)(words[l] >> 16)) : bitsFloat(words[l] & 0xffff0000u);
			}
		}
	} else if (KIND == kindInt8) {
		i64 at = w.first + i;
		float s = scaleOf(w, at);
#pragma unroll
		for (int j = 0; j < 2; j++) {
			u32x4 q = ((const u32x4 *)(w.data + at))[j];
			u32 words[4] = {q.x, q.y, q.z, q.w};
#pragma unroll
			for (int l = 0; l < 16; l++) {
				float c = (float)(signed char)(words[l / 4] >> 8 * (l % 4));
				v[16 * j + l] = rounded(c * s * int8Unit, w.round);
			}
		}
	} else {
		i64 at = w.first + i;
		float s = scaleOf(w, at);
		u32x4 q = *(const u32x4 *)(w.data + (at >> 1));
		u32 words[4] = {q.x, q.y, q.z, q.w};
		const SharedAddress mine = sharedAddress(map + threadX() % warp);
#pragma unroll
		for (int j = 0; j < 4; j++) lookUp(v + 8 * j, words[j], s, mine, w.round);
	}
}

// gemvBody: rows <= M of x times N outputs. wide says that every piece that is
// whole suits load. A warp owns OUT outputs, its lane p
// class p. x goes through shared memory, STEPS·1024 values a row at a time; a
// lane's 32 values are 36 apart, which leaves no two lanes in one bank.
template <int KIND, int M, int OUT, int STEPS>
DEVICE void gemvBody(float *dst, const float *x, i64 rows, i64 n, i64 k, i64 addTo, i64 by, i64 wide, const Weight &w) {
	const int warps = 8, stage = STEPS * 1024; // values of x at a time
	SHARED f32x4 tile[M * STEPS * classes * 9];
	TABLE(map);
	SHARED float part[warps][M * OUT][classes + (M * OUT < 8)]; // eight fill the 48 KiB
	float *xs = (float *)tile;
	const int lane = threadX() % warp, me = threadX() / warp;
	const i64 out = ((i64)blockX() * warps + me) * OUT;
	if (KIND == kindCode4) spread(map, w.map);
	float acc[M][OUT];
#pragma unroll
	for (int m = 0; m < M; m++)
#pragma unroll
		for (int r = 0; r < OUT; r++) acc[m][r] = 0;
	for (i64 base = 0; base < k; base += stage) {
		barrier();
		int n0 = (int)lowest((i64)stage, k - base);
		for (int m = 0; m < M; m++)
			for (int i = threadX(); i < (n0 + piece - 1) / piece * piece; i += threads())
				xs[(m * STEPS * classes + i / piece) * 36 + i % piece] = m < rows && i < n0 ? x[m * k + base + i] : 0.0f;
		barrier();
		for (int step = 0; step < STEPS; step++) {
			i64 at = base + (step * classes + lane) * piece;
			int left = (int)lowest((i64)piece, k - at);
			if (left <= 0) break;
#pragma unroll
			for (int r = 0; r < OUT; r++) {
				if (out + r >= n) break;
				if (!wide || left < piece) {
#pragma unroll 1
					for (int j = 0; j < left; j++) {
						float v = value<KIND>(w, (out + r) * k + at + j);
#pragma unroll
						for (int m = 0; m < M; m++) acc[m][r] = fma32(xs[((m * STEPS + step) * classes + lane) * 36 + j], v, acc[m][r]);
					}
					continue;
				}
				float v[piece];
				load<KIND>(v, w, map, (out + r) * k + at);
#pragma unroll
				for (int m = 0; m < M; m++) {
					const f32x4 *mine = (const f32x4 *)(xs + ((m * STEPS + step) * classes + lane) * 36);
#pragma unroll
					for (int j = 0; j < 8; j++) {
						f32x4 q = mine[j];
						acc[m][r] = fma32(q.x, v[4 * j], acc[m][r]);
						acc[m][r] = fma32(q.y, v[4 * j + 1], acc[m][r]);
						acc[m][r] = fma32(q.z, v[4 * j + 2], acc[m][r]);
						acc[m][r] = fma32(q.w, v[4 * j + 3], acc[m][r]);
					}
				}
			}
		}
	}
#pragma unroll
	for (int m = 0; m < M; m++)
#pragma unroll
		for (int r = 0; r < OUT; r++) part[me][m * OUT + r][lane] = acc[m][r];
	warpBarrier();
	for (int i = lane; i < M * OUT; i += warp) {
		int m = i / OUT, r = i % OUT;
		if (m >= rows || out + r >= n) continue;
		float sum = 0;
		for (int p = 0; p < classes; p++) sum += part[me][i][p];
		put(dst + m * n + out + r, sum, addTo, real(by));
	}
}

#define GEMV(KIND) \
	GLOBAL gemv1_##KIND(float *dst, const float *x, i64 rows, i64 n, i64 k, i64 addTo, i64 by, i64 wide, WEIGHT) { \
		Weight w = WEIGHT_OF; \
		gemvBody<KIND, 1, 2, 4>(dst, x, rows, n, k, addTo, by, wide, w); \
	} \
	GLOBAL gemv2_##KIND(float *dst, const float *x, i64 rows, i64 n, i64 k, i64 addTo, i64 by, i64 wide, WEIGHT) { \
		Weight w = WEIGHT_OF; \
		gemvBody<KIND, 2, 2, 2>(dst, x, rows, n, k, addTo, by, wide, w); \
	} \
	GLOBAL gemv4_##KIND(float *dst, const float *x, i64 rows, i64 n, i64 k, i64 addTo, i64 by, i64 wide, WEIGHT) { \
		Weight w = WEIGHT_OF; \
		gemvBody<KIND, 4, 2, 1>(dst, x, rows, n, k, addTo, by, wide, w); \
	} \
	GLOBAL gemv8_##KIND(float *dst, const float *x, i64 rows, i64 n, i64 k, i64 addTo, i64 by, i64 wide, WEIGHT) { \
		Weight w = WEIGHT_OF; \
		gemvBody<KIND, 8, 1, 1>(dst, x, rows, n, k, addTo, by, wide, w); \
	}
EACH_KIND(GEMV)

// A tile is 64 by 64 outputs of a block of 256 threads, 4 by 4 a thread; the
// operands go through shared memory 32 steps of the sum at a time.
const int side = 64, pad = 4;

// Tile is what the kernels below have in common. a(i, r) and b(j, r) are the
// operands at output row i and column j and step r of the sum.
struct Tile {
	float acc[4][4], total[4][4];
	METHOD void clear(float t[4][4]) {
#pragma unroll
		for (int i = 0; i < 4; i++)
#pragma unroll
			for (int j = 0; j < 4; j++) t[i][j] = 0;
	}
	// close adds what was summed to the total.
	METHOD void close() {
#pragma unroll
		for (int i = 0; i < 4; i++)
#pragma unroll
			for (int j = 0; j < 4; j++) {
				total[i][j] += acc[i][j];
				acc[i][j] = 0;
			}
	}
	METHOD void multiply(const float (*as)[side + pad], const float (*bs)[side + pad], int steps) {
		const int row = threadX() / 16 * 4, col = threadX() % 16 * 4;
#pragma unroll 8
		for (int s = 0; s < steps; s++) {
			f32x4 a = *(const f32x4 *)&as[s][row], b = *(const f32x4 *)&bs[s][col];
			float x[4] = {a.x, a.y, a.z, a.w}, y[4] = {b.x, b.y, b.z, b.w};
#pragma unroll
			for (int i = 0; i < 4; i++)
#pragma unroll
				for (int j = 0; j < 4; j++) acc[i][j] = fma32(x[i], y[j], acc[i][j]);
		}
	}
	METHOD void store(float *dst, i64 row0, i64 col0, i64 rows, i64 cols, i64 addTo, float by) {
		const i64 row = row0 + threadX() / 16 * 4, col = col0 + threadX() % 16 * 4;
#pragma unroll
		for (int i = 0; i < 4; i++)
#pragma unroll
			for (int j = 0; j < 4; j++)
				if (row + i < rows && col + j < cols) put(dst + (row + i) * cols + col + j, total[i][j], addTo, by);
	}
};

// fetchCodes fills a tile with 4-bit weights, a word of eight codes a thread.
// across: the words run along the sum (gemm), else along the columns (gemmBack).
// Rows and steps from their limits on become zeros.
template <bool ACROSS> DEVICE void fetchCodes(float (*bs)[side + pad], const Weight &w, SharedAddress mine, i64 row0, i64 base, i64 rows, int steps, i64 k) {
	const int t = threadX();
	float v[8];
	if (ACROSS) { // rows row0.. of the weight are columns of the tile, values base.. steps
		const int r = t % side, word = t / side;
		const bool there = row0 + r < rows && word * 8 < steps;
		if (there) {
			const i64 i = w.first + (row0 + r) * k + base + word * 8;
			lookUp(v, *(const u32 *)(w.data + (i >> 1)), scaleOf(w, i), mine, w.round);
		}
#pragma unroll
		for (int j = 0; j < 8; j++) bs[word * 8 + j][r] = there ? v[j] : 0.0f;
	} else { // rows base.. of the weight are steps, values row0.. columns; rows is k
		const int u = t / 8, word = t % 8;
		const bool there = u < steps && row0 + word * 8 < rows;
		if (there) {
			const i64 i = w.first + (base + u) * k + row0 + word * 8;
			lookUp(v, *(const u32 *)(w.data + (i >> 1)), scaleOf(w, i), mine, w.round);
		}
#pragma unroll
		for (int j = 0; j < 8; j++) bs[u][word * 8 + j] = there ? v[j] : 0.0f;
	}
}

// gemm: dst [rows, n] = x [rows, k] · wᵀ, or added with the factor by.
template <int KIND> DEVICE void gemmBody(float *dst, const float *x, i64 rows, i64 n, i64 k, i64 addTo, i64 by, i64 wide, const Weight &w) {
	TABLE(table);
	if (KIND == kindCode4) spread(table, w.map);
	const SharedAddress mine = sharedAddress(table + threadX() % warp);
	SHARED f32x4 sharedA[piece][(side + pad) / 4], sharedB[piece][(side + pad) / 4];
	float (*as)[side + pad] = (float (*)[side + pad])sharedA, (*bs)[side + pad] = (float (*)[side + pad])sharedB;
	const i64 row0 = (i64)blockY() * side, col0 = (i64)blockX() * side;
	Tile t;
	t.clear(t.acc);
	t.clear(t.total);
	for (int p = 0; p < classes && p * piece < k; p++) {
		for (i64 base = p * piece; base < k; base += classes * piece) {
			int steps = (int)lowest((i64)piece, k - base);
			barrier();
			for (int i = threadX(); i < piece * side; i += threads()) {
				int s = i % piece, r = i / piece;
				as[s][r] = s < steps && row0 + r < rows ? x[(row0 + r) * k + base + s] : 0.0f;
				if (KIND != kindCode4 || !wide) bs[s][r] = s < steps && col0 + r < n ? value<KIND>(w, (col0 + r) * k + base + s) : 0.0f;
			}
			if (KIND == kindCode4 && wide) fetchCodes<true>(bs, w, mine, col0, base, n, steps, k);
			barrier();
			t.multiply(as, bs, steps);
		}
		t.close();
	}
	t.store(dst, row0, col0, rows, n, addTo, real(by));
}

// gemmBack: dx [rows, k] = dy [rows, n] · w.
template <int KIND> DEVICE void gemmBackBody(float *dx, const float *dy, i64 rows, i64 n, i64 k, i64 addTo, i64 wide, const Weight &w) {
	TABLE(table);
	if (KIND == kindCode4) spread(table, w.map);
	const SharedAddress mine = sharedAddress(table + threadX() % warp);
	SHARED f32x4 sharedA[piece][(side + pad) / 4], sharedB[piece][(side + pad) / 4];
	float (*as)[side + pad] = (float (*)[side + pad])sharedA, (*bs)[side + pad] = (float (*)[side + pad])sharedB;
	const i64 row0 = (i64)blockY() * side, col0 = (i64)blockX() * side;
	Tile t;
	t.clear(t.acc);
	t.clear(t.total);
	for (i64 base = 0; base < n; base += piece) {
		int steps = (int)lowest((i64)piece, n - base);
		if (base % chunkRows == 0 && base > 0) t.close();
		barrier();
		for (int i = threadX(); i < piece * side; i += threads()) {
			int s = i % piece, r = i / piece, c = i % side, u = i / side;
			as[s][r] = s < steps && row0 + r < rows ? dy[(row0 + r) * n + base + s] : 0.0f;
			if (KIND != kindCode4 || !wide) bs[u][c] = u < steps && col0 + c < k ? value<KIND>(w, (base + u) * k + col0 + c) : 0.0f;
		}
		if (KIND == kindCode4 && wide) fetchCodes<false>(bs, w, mine, col0, base, k, steps, k);
		barrier();
		t.multiply(as, bs, steps);
	}
	t.close();
	t.store(dx, row0, col0, rows, k, addTo, 1.0f);
}

#define GEMM(KIND) \
	GLOBAL gemm_##KIND(float *dst, const float *x, i64 rows, i64 n, i64 k, i64 addTo, i64 by, i64 wide, WEIGHT) { \
		Weight w = WEIGHT_OF; \
		gemmBody<KIND>(dst, x, rows, n, k, addTo, by, wide, w); \
	} \
	GLOBAL gemmBack_##KIND(float *dx, const float *dy, i64 rows, i64 n, i64 k, i64 addTo, i64 wide, WEIGHT) { \
		Weight w = WEIGHT_OF; \
		gemmBackBody<KIND>(dx, dy, rows, n, k, addTo, wide, w); \
	}
EACH_KIND(GEMM)

#if !defined ONLY_KIND || ONLY_KIND == 0
// weightGrad: dw [n, k] += Σ_t dy[t]ᵀ · x[t].
GLOBAL weightGrad(float *dw, const float *dy, const float *x, i64 rows, i64 n, i64 k) {
	SHARED f32x4 sharedA[piece][(side + pad) / 4], sharedB[piece][(side + pad) / 4];
	float (*as)[side + pad] = (float (*)[side + pad])sharedA, (*bs)[side + pad] = (float (*)[side + pad])sharedB;
	const i64 row0 = (i64)blockY() * side, col0 = (i64)blockX() * side;
	Tile t;
	t.clear(t.acc);
	t.clear(t.total);
	for (i64 base = 0; base < rows; base += piece) {
		int steps = (int)lowest((i64)piece, rows - base);
		if (base % chunkRows == 0 && base > 0) t.close();
		barrier();
		for (int i = threadX(); i < piece * side; i += threads()) {
			int c = i % side, u = i / side;
			as[u][c] = u < steps && row0 + c < n ? dy[(base + u) * n + row0 + c] : 0.0f;
			bs[u][c] = u < steps && col0 + c < k ? x[(base + u) * k + col0 + c] : 0.0f;
		}
		barrier();
		t.multiply(as, bs, steps);
	}
	t.close();
	t.store(dw, row0, col0, n, k, 1, 1.0f);
}
#endif
