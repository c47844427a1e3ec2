// Products of a batch's rows with 4-bit codes in whole pieces (wide): a code is
// decoded once for up to 64 rows.
//
// The order of a sum is matmul.cu's. A block owns ROWS by 32 outputs and goes
// through the 32 classes four at a time: each of its four groups of 64 threads
// sums the pieces of a class of its own, ROWS/8 by 4 outputs a thread, then the
// four sums are added in their order. So there are as many threads as a tile of
// four times the outputs would have, and the order depends on K alone.
#include "weight.h"

const int piece = 32, classes = 32, groups = 4, groupThreads = 64, cols = 32;

// Ahead is what a thread has asked for of the next piece of its class: of x, 4
// values of every eighth row, and 16 codes of an output with their scale.
template <int R> struct Ahead {
	f32x4 x[R];
	u32x2 codes;
	float scale;
};

template <int ROWS> DEVICE void fewRows(float *dst, const float *x, i64 rows, i64 n, i64 k, i64 addTo, i64 by, const Weight &w) {
	const int R = ROWS / 8, sums = (ROWS * cols + 255) / 256;
	DYNAMIC(float, mem); // xs [groups][piece][ROWS], ws [groups][piece][cols]; then the groups' sums
	TABLE(table);
	spread(table, w.map);
	const SharedAddress mine = sharedAddress(table + threadX() % warp);
	const int group = threadX() / groupThreads, t = threadX() % groupThreads;
	float *xs = mem + group * piece * ROWS, *ws = mem + groups * piece * ROWS + group * piece * cols;
	const i64 row0 = (i64)blockY() * ROWS, col0 = (i64)blockX() * cols, output = col0 + t % cols;
	const bool there = output < n;
	const int half = t / cols, chunk = t % 8, first = t / 8; // what a thread brings
	const int row = t / 8 * R, col = t % 8 * 4;              // what it sums
	// Values of x lie turned, the rows of step s at places that differ by s / 4, so
	// that neither writing nor reading them meets in a bank.
	const int mask = ROWS - 1;

	Ahead<R> next;
	const int left = (int)lowest((i64)ROWS, rows - row0) - first;
	const float *fromX = x + (row0 + first) * k + 4 * chunk;
	const i64 firstCode = w.first + (there ? output : n - 1) * k;
	auto ask = [&](int base) {
		if (base >= k) return;
		const float *from = fromX + base;
#pragma unroll
		for (int i = 0; i < R; i++, from += 8 * k) next.x[i] = 8 * i < left ? *(const f32x4 *)from : f32x4{0, 0, 0, 0};
		next.codes = *(const u32x2 *)(w.data + ((firstCode + base) >> 1) + 8 * half);
		next.scale = scaleOf(w, firstCode + base);
	};

	float acc[R][4], total[sums];
#pragma unroll
	for (int i = 0; i < sums; i++) total[i] = 0;
	ask(group * piece);
	for (int c0 = 0; c0 < classes && c0 * piece < k; c0 += groups) {
#pragma unroll
		for (int i = 0; i < R; i++)
#pragma unroll
			for (int j = 0; j < 4; j++) acc[i][j] = 0;
#pragma unroll 1
		for (int round = c0 * piece; round < k; round += classes * piece) {
			const bool more = round + group * piece < k;
			barrier();
			if (more) {
#pragma unroll
				for (int i = 0; i < R; i++) {
					const int at = (first + 8 * i) ^ (4 * chunk & mask);
					float *to = xs + 4 * chunk * ROWS + at;
					to[0] = next.x[i].x, to[ROWS] = next.x[i].y, to[2 * ROWS] = next.x[i].z, to[3 * ROWS] = next.x[i].w;
				}
				float v[16];
				lookUp(v, next.codes.x, next.scale, mine, w.round);
				lookUp(v + 8, next.codes.y, next.scale, mine, w.round);
#pragma unroll
				for (int j = 0; j < 16; j++) ws[(half * 16 + j) * cols + t % cols] = v[j];
			}
			barrier();
			const int later = round + classes * piece;
			ask((later < k ? later : c0 + groups < classes ? (c0 + groups) * piece : (int)k) + group * piece);
			if (!more) continue;
#pragma unroll
			for (int s = 0; s < piece; s++) {
				const int turn = 4 * (s / 4) & mask;
				float a[R];
				if (R >= 4) {
#pragma unroll
					for (int h = 0; h < R; h += 4) {
						const f32x4 q = *(const f32x4 *)(xs + s * ROWS + ((row + h) ^ turn));
						a[h] = q.x, a[h + 1] = q.y, a[h + 2] = q.z, a[h + 3] = q.w;
					}
				} else {
#pragma unroll
					for (int i = 0; i < R; i++) a[i] = xs[s * ROWS + (row ^ turn) + i];
				}
				const f32x4 q = *(const f32x4 *)(ws + s * cols + col);
				const float b[4] = {q.x, q.y, q.z, q.w};
#pragma unroll
				for (int i = 0; i < R; i++)
#pragma unroll
					for (int j = 0; j < 4; j++) acc[i][j] = fma32(a[i], b[j], acc[i][j]);
			}
		}
		// The sums of four classes, where xs was.
		barrier();
#pragma unroll
		for (int i = 0; i < R; i++) *(f32x4 *)(mem + (group * ROWS + row + i) * cols + col) = f32x4{acc[i][0], acc[i][1], acc[i][2], acc[i][3]};
		barrier();
#pragma unroll
		for (int i = 0; i < sums; i++)
#pragma unroll
			for (int c = 0; c < groups; c++) total[i] += mem[c * ROWS * cols + threadX() + 256 * i];
	}
#pragma unroll
	for (int i = 0; i < sums; i++) {
		const int e = threadX() + 256 * i;
		const i64 r = row0 + e / cols, c = col0 + e % cols;
		if (r < rows && c < n) put(dst + r * n + c, total[i], addTo, real(by));
	}
}

#define FEW_ROWS(ROWS, BLOCKS) \
	GLOBAL BOUNDS(256, BLOCKS) fewRows_##ROWS(float *dst, const float *x, i64 rows, i64 n, i64 k, i64 addTo, i64 by, i64 wide, WEIGHT) { \
		Weight w = WEIGHT_OF; \
		fewRows<ROWS>(dst, x, rows, n, k, addTo, by, w); \
	}
FEW_ROWS(8, 2)
FEW_ROWS(16, 2)
FEW_ROWS(32, 2)
FEW_ROWS(64, 1)
