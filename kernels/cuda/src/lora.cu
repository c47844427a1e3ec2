// The narrow products of low-rank adapters, whose small side is at most a few
// dozen: all adapters of a batch in two kernels. pair.cu has the gradients.
//
// The order of each sum is matmul.cu's, so an adapter's rows have the bits of
// products of their own.
#include "weight.h"

const int piece = 32, classes = 32, chunkRows = 512, takes = 8;

// Tables of a batch. blocks has four numbers a block: the adapter, the first of
// its up to 8 rows, how many, and where their low parts begin in rows of low.
// adapters has twelve numbers an adapter; see ../lora.go.
struct Low {
	const u8 *a, *b;
	int kindA, kindB, wideA, wideB;
	i64 rank, at; // at: of its first value in low
	float scale;
};
DEVICE Low adapterOf(const int *adapters, int i) {
	const int *e = adapters + 12 * i;
	const u64 *p = (const u64 *)e;
	return Low{(const u8 *)p[0], (const u8 *)p[1], e[4], e[5], e[6], e[7], e[8], e[9], bitsFloat((u32)e[10])};
}

// plain is value i of a weight of floating point, plain4 four of them that lie
// at a multiple of their size.
DEVICE float plain(const u8 *data, int kind, i64 i) {
	if (kind == kindF32) return ((const float *)data)[i];
	u16 h = ((const u16 *)data)[i];
	return kind == kindF16 ? halfFloat(h) : brainFloat(h);
}
struct alignas(8) u16x4 {
	u16 x, y, z, w;
};
DEVICE f32x4 plain4(const u8 *data, int kind, i64 i) {
	if (kind == kindF32) return *(const f32x4 *)((const float *)data + i);
	const u16x4 h = *(const u16x4 *)((const u16 *)data + i);
	if (kind == kindF16) return f32x4{halfFloat(h.x), halfFloat(h.y), halfFloat(h.z), halfFloat(h.w)};
	return f32x4{brainFloat(h.x), brainFloat(h.y), brainFloat(h.z), brainFloat(h.w)};
}

// loraShrink: low = x·Aᵀ of up to 8 rows and 8 of an adapter's rank, one a warp,
// whose lane p owns class p. x goes through shared memory, 1024 values a row at a
// time, a lane's 32 values 36 apart.
GLOBAL loraShrink(float *low, const float *x, i64 k, const int *table, const int *adapters) {
	SHARED f32x4 tile[takes * classes * 9];
	SHARED float part[8][takes][classes + 1];
	float *xs = (float *)tile;
	const int *entry = table + 4 * blockX();
	const Low l = adapterOf(adapters, entry[0]);
	const i64 row = entry[1], rows = entry[2], r0 = (i64)blockY() * 8;
	if (r0 >= l.rank) return;
	const int lane = threadX() % warp, me = threadX() / warp;
	const i64 out = r0 + me;
	float acc[takes];
#pragma unroll
	for (int m = 0; m < takes; m++) acc[m] = 0;
	for (i64 base = 0; base < k; base += classes * piece) {
		const int n0 = (int)lowest((i64)(classes * piece), k - base);
		barrier();
		for (int m = 0; m < rows; m++)
			for (int i = threadX(); i < n0; i += threads()) xs[(m * classes + i / piece) * 36 + i % piece] = x[(row + m) * k + base + i];
		barrier();
		const int left = (int)lowest((i64)piece, k - base - lane * piece);
		if (out >= l.rank || left <= 0) continue;
		const i64 at = out * k + base + lane * piece;
		if (l.wideA && left == piece) {
#pragma unroll
			for (int j = 0; j < piece; j += 4) {
				const f32x4 v = plain4(l.a, l.kindA, at + j);
#pragma unroll
				for (int m = 0; m < takes; m++) {
					if (m >= rows) continue;
					const f32x4 q = *(const f32x4 *)(xs + (m * classes + lane) * 36 + j);
					acc[m] = fma32(q.x, v.x, acc[m]);
					acc[m] = fma32(q.y, v.y, acc[m]);
					acc[m] = fma32(q.z, v.z, acc[m]);
					acc[m] = fma32(q.w, v.w, acc[m]);
				}
			}
			continue;
		}
#pragma unroll 1
		for (int j = 0; j < left; j++) {
			const float v = plain(l.a, l.kindA, at + j);
#pragma unroll
			for (int m = 0; m < takes; m++)
				if (m < rows) acc[m] = fma32(xs[(m * classes + lane) * 36 + j], v, acc[m]);
		}
	}
#pragma unroll
	for (int m = 0; m < takes; m++) part[me][m][lane] = acc[m];
	warpBarrier();
	if (lane >= rows || out >= l.rank) return;
	float sum = 0;
	for (int p = 0; p < classes; p++) sum += part[me][lane][p];
	low[l.at + (entry[3] + lane) * l.rank + out] = sum;
}

// loraExpand: dst += scale·low·Bᵀ of up to 8 rows and 256 outputs, one a thread.
GLOBAL loraExpand(float *dst, const float *low, i64 n, const int *table, const int *adapters) {
	const int *entry = table + 4 * blockX();
	const Low l = adapterOf(adapters, entry[0]);
	const i64 row = entry[1], rows = entry[2], out = (i64)blockY() * threads() + threadX();
	if (out >= n) return;
	const float *mine = low + l.at + entry[3] * l.rank;
	float total[takes], acc[takes];
#pragma unroll
	for (int m = 0; m < takes; m++) total[m] = 0;
	for (int p = 0; p < classes && p * piece < l.rank; p++) {
#pragma unroll
		for (int m = 0; m < takes; m++) acc[m] = 0;
		for (i64 base = p * piece; base < l.rank; base += classes * piece) {
			const int left = (int)lowest((i64)piece, l.rank - base);
#pragma unroll 1
			for (int j = 0; j < left; j += 4) {
				float v[4];
				if (l.wideB) {
					const f32x4 q = plain4(l.b, l.kindB, out * l.rank + base + j);
					v[0] = q.x, v[1] = q.y, v[2] = q.z, v[3] = q.w;
				} else {
#pragma unroll
					for (int i = 0; i < 4; i++) v[i] = j + i < left ? plain(l.b, l.kindB, out * l.rank + base + j + i) : 0.0f;
				}
#pragma unroll
				for (int m = 0; m < takes; m++) {
					if (m >= rows) continue;
#pragma unroll
					for (int i = 0; i < 4; i++)
						if (j + i < left) acc[m] = fma32(mine[m * l.rank + base + j + i], v[i], acc[m]);
				}
			}
		}
#pragma unroll
		for (int m = 0; m < takes; m++) total[m] += acc[m];
	}
#pragma unroll
	for (int m = 0; m < takes; m++)
		if (m < rows) put(dst + (row + m) * n + out, total[m], 1, l.scale);
}

// narrowBack: dx [rows, k] = dy [rows, n] · w, w of float32 [n, k], k small: 8
// rows by 8 columns a block, four chunks of 512 at a time, which are then added in
// their order.
GLOBAL narrowBack(float *dx, const float *dy, const float *w, i64 rows, i64 n, i64 k, i64 addTo) {
	const int side = 8, chunks = 4;
	SHARED float ys[chunks][side][piece + 1], ws[chunks][piece][side + 1], part[chunks][side][side];
	const i64 row0 = (i64)blockX() * side, col0 = (i64)blockY() * side;
	const int c = threadX() / 64, row = threadX() / side % side, col = threadX() % side;
	float total = 0;
	for (i64 first = 0; first < n; first += chunks * chunkRows) {
		float acc = 0;
		for (int s0 = 0; s0 < chunkRows; s0 += piece) {
			barrier();
#pragma unroll
			for (int i = 0; i < chunks; i++) {
				const int r = threadX() / piece, s = threadX() % piece, u = threadX() / side;
				const i64 at = first + i * chunkRows + s0;
				ys[i][r][s] = row0 + r < rows && at + s < n ? dy[(row0 + r) * n + at + s] : 0.0f;
				ws[i][u][col] = at + u < n && col0 + col < k ? w[(at + u) * k + col0 + col] : 0.0f;
			}
			barrier();
			// What lies behind n is not summed: 0·0 more could change the sign of a zero.
			const int steps = (int)lowest((i64)piece, n - (first + c * chunkRows + s0));
#pragma unroll 8
			for (int s = 0; s < steps; s++) acc = fma32(ys[c][row][s], ws[c][s][col], acc);
		}
		part[c][row][col] = acc;
		barrier();
		if (c == 0)
			for (int i = 0; i < chunks && first + i * chunkRows < n; i++) total += part[i][row][col];
	}
	if (c == 0 && row0 + row < rows && col0 + col < k) put(dx + (row0 + row) * k + col0 + col, total, addTo, 1.0f);
}
