// Training a low-rank pair A [r, k], B [n, r] beside a matrix: what it adds to the
// matrix' output, and its gradients. Dropout's values are drawn where x is read,
// so no dropped copy is written; each kernel reads its wide operand once.
//
// # The order of sums
//
// Sums over rows (gradBody): row t belongs to lane t mod 64. A lane sums its rows
// by fused multiply-adds in their order; eight neighbours are added in a tree,
// those 4 apart first; the eight groups of eight are added in their order, to 0.
//
// Sums over the width of a row: value i belongs to thread i/4 mod 256 (shrinkBody)
// or i mod 256 (backBody). A thread sums its values by fused multiply-adds in their
// order; the lanes of a warp are added in a tree, those 16 apart first; the eight
// warps are added in their order, to 0.
//
// So they depend on the number of rows, and on the width, alone. (The chunks and
// classes of matmul.cu would leave most of a GPU idle: the rank is small, so rows
// and width are what there is to share out.)
#include "philox.h"

const int lanes = 64, stripe = 16, most = 8, ahead = 4, tall = 8, high = 16, mostRank = 64;

// Pair is one of those beside layers of the same input; see ../pair.go. y is what the
// pair adds to, on the way back its gradient.
struct Pair {
	const float *a, *b;
	float *y, *low, *dlow, *da, *db;
	i64 n, r, expands, backs; // its first blocks in pairExpand and pairBack
	i64 stream, limit, factor, scale;
	METHOD Dropped dropped(const u32 *keys, i64 seed) const { return Dropped{keys, (u32)seed, (u32)((u64)seed >> 32), (u32)stream, (u32)limit, real(factor)}; }
};

// four reads values i to i+3 of n: WIDE says that all are there or none, at a
// multiple of 16 bytes; of those that are not there it gives others.
template <bool WIDE> DEVICE void four(float *v, const float *x, i64 i, i64 n) {
	if (WIDE) {
		const f32x4 q = fetch(x + lowest(i, n - 4));
		v[0] = q.x, v[1] = q.y, v[2] = q.z, v[3] = q.w;
		return;
	}
#pragma unroll
	for (int c = 0; c < 4; c++) v[c] = i + c < n ? x[i + c] : 0.0f;
}

// drop keeps of four values those that bits name, times factor.
DEVICE void drop(float *v, u32 bits, float factor) {
#pragma unroll
	for (int c = 0; c < 4; c++) v[c] = bits >> c & 1 ? v[c] * factor : 0.0f;
}

// halve adds what two lanes `apart` have of 2·N values, each keeping the half that
// its bit of the lane's number stands for.
template <int N> DEVICE void halve(float *acc, int apart) {
	const bool upper = threadX() & apart;
#pragma unroll
	for (int i = 0; i < N; i++) {
		const float low = acc[i], high = acc[i + N];
		acc[i] = (upper ? high : low) + shuffleXor(upper ? low : high, apart);
	}
}

// addRows adds what the next four rows of a lane give, row t the first, or left of
// them, all read before the first is used. Rows beyond count as the last one times
// 0: to leave them out would be a branch for each, which the reads would move
// behind.
template <bool WIDE, bool DROP, bool ALL>
DEVICE void addRows(float *acc, const float *wide, const float *narrow, int t, int left, i64 i0, i64 j0, i64 w, i64 r, const Dropped &d) {
	if (left <= 0) return;
	float v[ahead][4], low[ahead][most];
	const int last = ALL ? ahead - 1 : left - 1;
#pragma unroll
	for (int u = 0; u < ahead; u++) {
		const u64 row = (u32)(t + lowest(u, last) * lanes);
		four<WIDE>(v[u], wide + row * (u32)w, i0, w);
		four<WIDE>(low[u], narrow + row * (u32)r, j0, r);
		four<WIDE>(low[u] + 4, narrow + row * (u32)r, j0 + 4, r);
	}
	if (DROP) {
		// Drawn while the values are on their way, a row at a time to spare registers.
		u32 bits = 0;
		u32x2 key = keyOf(d, t + last * lanes);
#pragma unroll 1
		for (int u = ahead - 1; u >= 0; u--) {
			const u32x2 next = keyOf(d, t + lowest(u > 0 ? u - 1 : 0, last) * lanes);
			bits = bits << 4 | kept(d, key, (u32)i0 / 4);
			key = next;
		}
#pragma unroll
		for (int u = 0; u < ahead; u++) drop(v[u], bits >> 4 * u, d.factor);
	}
#pragma unroll
	for (int u = 0; u < ahead; u++)
#pragma unroll
		for (int j = 0; j < most; j++) {
			const float y = ALL || u < left ? low[u][j] : 0.0f;
#pragma unroll
			for (int c = 0; c < 4; c++) acc[4 * j + c] = fma32(v[u][c], y, acc[4 * j + c]);
		}
}

// gradBody: dw += scale·Σ_t wide[t][i]·narrow[t][j] of 16 values i and 8 values j, at
// i·stepI + j·stepJ. A thread has four i and every 64th row.
template <bool WIDE, bool DROP>
DEVICE void gradBody(float *dw, const float *wide, const float *narrow, i64 column, i64 rows, i64 w, i64 r, i64 stepI, i64 stepJ, float scale, const Dropped &d) {
	SHARED f32x4 part[lanes / 8][most][stripe / 4];
	const int group = threadX() % 4, lane = threadX() / 4;
	const i64 i0 = column * stripe + group * 4, j0 = (i64)blockY() * most;
	float acc[4 * most];
#pragma unroll
	for (int i = 0; i < 4 * most; i++) acc[i] = 0;
	int t = lane, left = ((int)rows - lane + lanes - 1) / lanes; // rows of this lane
#pragma unroll 1
	for (; left >= ahead; left -= ahead, t += ahead * lanes) addRows<WIDE, DROP, true>(acc, wide, narrow, t, ahead, i0, j0, w, r, d);
	addRows<WIDE, DROP, false>(acc, wide, narrow, t, left, i0, j0, w, r, d);
	halve<16>(acc, 16);
	halve<8>(acc, 8);
	halve<4>(acc, 4);
	part[lane / 8][lane % 8][group] = f32x4{acc[0], acc[1], acc[2], acc[3]};
	barrier();
	if (threadX() >= most * stripe) return;
	const bool across = stepI == 1; // neighbours in the gradient by neighbouring threads
	const int i = across ? threadX() % stripe : threadX() / most, j = across ? threadX() / stripe : threadX() % most;
	if (column * stripe + i >= w || j0 + j >= r) return;
	float total = 0;
#pragma unroll
	for (int g = 0; g < lanes / 8; g++) total += ((const float *)part[g][j])[i];
	put(dw + (column * stripe + i) * stepI + (j0 + j) * stepJ, total, 1, scale);
}

// narrowGrad is the gradient of any matrix with a small side.
GLOBAL BOUNDS(256, 2) narrowGrad(float *dw, const float *wide, const float *narrow, i64 rows, i64 w, i64 r, i64 stepI, i64 stepJ, i64 whole) {
	if (whole) gradBody<true, false>(dw, wide, narrow, blockX(), rows, w, r, stepI, stepJ, 1.0f, Dropped{});
	else gradBody<false, false>(dw, wide, narrow, blockX(), rows, w, r, stepI, stepJ, 1.0f, Dropped{});
}

// joinRows adds what the threads of a block have of 8 rows by 8 of the rank.
DEVICE void joinRows(float *low, float *acc, i64 row0, i64 rows, i64 r, float scale) {
	SHARED f32x2 part[8][warp];
	halve<32>(acc, 16);
	halve<16>(acc, 8);
	halve<8>(acc, 4);
	halve<4>(acc, 2);
	halve<2>(acc, 1);
	part[threadX() / warp][threadX() % warp] = f32x2{acc[0], acc[1]};
	barrier();
	const i64 row = row0 + threadX() / most, j = (i64)blockY() * most + threadX() % most;
	if (threadX() >= tall * most || row >= rows || j >= r) return;
	float total = 0;
#pragma unroll
	for (int g = 0; g < 8; g++) total += ((const float *)part[g])[threadX()];
	low[row * r + j] = total * scale;
}

// shrinkBody: low [rows, r] = x' [rows, k] · Aᵀ, x' being x dropped; 8 rows by 8 of
// the rank a block.
template <bool DROP> DEVICE void shrinkBody(float *low, const float *x, const float *a, i64 block, i64 rows, i64 k, i64 r, const Dropped &d) {
	const i64 row0 = block * tall, j0 = (i64)blockY() * most;
	const int last = (int)lowest(rows - row0, (i64)tall) - 1;
	x += row0 * k;
	float acc[tall * most];
#pragma unroll
	for (int i = 0; i < tall * most; i++) acc[i] = 0;
#pragma unroll 1
	for (i64 i = 4 * threadX(); i < k; i += 4 * 256) {
		float v[tall][4], q[most][4];
#pragma unroll
		for (int m = 0; m < tall; m++) four<true>(v[m], x, (i64)((u32)lowest(m, last) * (u32)k) + i, (i64)tall * k);
#pragma unroll
		for (int j = 0; j < most; j++) four<true>(q[j], a + lowest(j0 + j, r - 1) * k, i, k);
		u32 bits = 0; // drawn while the values are on their way, two rows at a time to spare registers
		if (DROP)
#pragma unroll 2
			for (int m = tall - 1; m >= 0; m--) bits = bits << 4 | kept(d, keyOf(d, row0 + lowest(m, last)), (u32)i / 4);
#pragma unroll
		for (int m = 0; m < tall; m++) {
			if (DROP) drop(v[m], bits >> 4 * m, d.factor);
#pragma unroll
			for (int j = 0; j < most; j++)
#pragma unroll
				for (int c = 0; c < 4; c++) acc[m * most + j] = fma32(v[m][c], q[j][c], acc[m * most + j]);
		}
	}
	joinRows(low, acc, row0, rows, r, 1.0f);
}

GLOBAL_UPTO(256) pairShrink(const Pair *pairs, const float *x, i64 rows, i64 k, const u32 *keys, i64 seed) {
	const i64 blocks = (rows + tall - 1) / tall, which = over(blockX(), blocks);
	const Pair p = pairs[which];
	if ((i64)blockY() * most >= p.r) return;
	if (p.limit) shrinkBody<true>(p.low, x, p.a, blockX() - which * blocks, rows, k, p.r, p.dropped(keys, seed));
	else shrinkBody<false>(p.low, x, p.a, blockX() - which * blocks, rows, k, p.r, p.dropped(keys, seed));
}

// pairExpand: y [rows, n] += scale · low · Bᵀ, 16 rows by 256 columns a block.
GLOBAL_UPTO(256) pairExpand(const Pair *pairs, i64 count, i64 rows) {
	SHARED f32x4 lows[high][mostRank / 4];
	i64 which = count - 1;
	while (pairs[which].expands > blockX()) which--;
	const Pair p = pairs[which];
	float *y = p.y;
	const float *low = p.low, *b = p.b;
	const i64 n = p.n, r = p.r;
	const i64 row0 = (i64)blockY() * high, column = (blockX() - p.expands) * 256 + threadX(), safe = lowest(column, n - 1);
	float old[high], acc[high];
#pragma unroll
	for (int m = 0; m < high; m++) {
		old[m] = y[lowest(row0 + m, rows - 1) * n + safe];
		acc[m] = 0;
	}
	const int quarter = (int)r / 4;
	for (int i = threadX(); i < high * quarter; i += 256)
		lows[i / quarter][i % quarter] = *(const f32x4 *)(low + lowest(row0 + i / quarter, rows - 1) * r + i % quarter * 4);
	barrier();
	for (int j = 0; j < quarter; j++) {
		const f32x4 q = *(const f32x4 *)(b + safe * r + 4 * j);
#pragma unroll
		for (int m = 0; m < high; m++) {
			const f32x4 l = lows[m][j];
			acc[m] = fma32(l.x, q.x, acc[m]);
			acc[m] = fma32(l.y, q.y, acc[m]);
			acc[m] = fma32(l.z, q.z, acc[m]);
			acc[m] = fma32(l.w, q.w, acc[m]);
		}
	}
	if (column >= n) return;
#pragma unroll
	for (int m = 0; m < high; m++)
		if (row0 + m < rows) y[(row0 + m) * n + column] = old[m] + acc[m] * real(p.scale);
}

// backBody: dlow [rows, r] = scale · dy [rows, n] · B, 8 rows by 8 of the rank a block.
DEVICE void backBody(float *dlow, const float *dy, const float *b, i64 block, i64 rows, i64 n, i64 r, float scale) {
	const i64 row0 = block * tall, j0 = (i64)blockY() * most;
	float acc[tall * most];
#pragma unroll
	for (int i = 0; i < tall * most; i++) acc[i] = 0;
#pragma unroll 1
	for (i64 first = threadX(); first < n; first += 2 * 256) {
		float v[2][tall], q[2][most];
#pragma unroll
		for (int u = 0; u < 2; u++) {
			const i64 i = lowest(first + u * 256, n - 1);
			four<true>(q[u], b + i * r, j0, r);
			four<true>(q[u] + 4, b + i * r, j0 + 4, r);
#pragma unroll
			for (int m = 0; m < tall; m++) v[u][m] = fetchOne(dy + lowest(row0 + m, rows - 1) * n + i);
		}
#pragma unroll
		for (int u = 0; u < 2; u++)
#pragma unroll
			for (int j = 0; j < most; j++) {
				const float w = first + u * 256 < n ? q[u][j] : 0.0f;
#pragma unroll
				for (int m = 0; m < tall; m++) acc[m * most + j] = fma32(v[u][m], w, acc[m * most + j]);
			}
	}
	joinRows(dlow, acc, row0, rows, r, scale);
}

// pairBack reads dy: of each pair the first blocks give dlow = scale · dy · B, the others
// dB += scale · dyᵀ · low.
GLOBAL BOUNDS(256, 2) pairBack(const Pair *pairs, i64 count, i64 rows) {
	i64 which = count - 1;
	while (pairs[which].backs > blockX()) which--;
	const Pair p = pairs[which];
	if ((i64)blockY() * most >= p.r) return;
	const i64 blocks = (rows + tall - 1) / tall, block = blockX() - p.backs;
	if (block < blocks) backBody(p.dlow, p.y, p.b, block, rows, p.n, p.r, real(p.scale));
	else gradBody<true, false>(p.db, p.y, p.low, block - blocks, rows, p.n, p.r, p.r, 1, real(p.scale), Dropped{});
}

// inputBody: dx [rows, k] += the gradients dlow · A of each pair's dropped x, 8 rows by
// 1024 columns a block.
DEVICE void inputBody(float *dx, const Pair *pairs, i64 count, i64 block, i64 rows, i64 k, const u32 *keys, i64 seed) {
	SHARED f32x4 lows[tall][mostRank / 4];
	const i64 across = (k + 1023) / 1024, row0 = over(block, across) * tall, column = ((block - over(block, across) * across) * 256 + threadX()) * 4;
	const i64 safe = lowest(column, k - 4);
	float sum[tall][4];
#pragma unroll
	for (int m = 0; m < tall; m++) four<true>(sum[m], dx + lowest(row0 + m, rows - 1) * k, safe, k);
#pragma unroll 1
	for (i64 which = 0; which < count; which++) {
		const Pair p = pairs[which];
		const Dropped d = p.dropped(keys, seed);
		const int quarter = (int)p.r / 4;
		barrier();
		for (int i = threadX(); i < tall * quarter; i += 256)
			lows[i / quarter][i % quarter] = *(const f32x4 *)(p.dlow + lowest(row0 + i / quarter, rows - 1) * p.r + i % quarter * 4);
		barrier();
		float acc[tall][4];
#pragma unroll
		for (int m = 0; m < tall; m++)
#pragma unroll
			for (int c = 0; c < 4; c++) acc[m][c] = 0;
		for (int j = 0; j < quarter; j++) {
			float q[4][4];
#pragma unroll
			for (int i = 0; i < 4; i++) four<true>(q[i], p.a + (4 * j + i) * k, safe, k);
#pragma unroll
			for (int m = 0; m < tall; m++) {
				const f32x4 low = lows[m][j];
				const float l[4] = {low.x, low.y, low.z, low.w};
#pragma unroll
				for (int i = 0; i < 4; i++)
#pragma unroll
					for (int c = 0; c < 4; c++) acc[m][c] = fma32(l[i], q[i][c], acc[m][c]);
			}
		}
		u32 bits = 0xffffffffu;
		if (d.limit)
#pragma unroll 2
			for (int m = tall - 1; m >= 0; m--) bits = bits << 4 | kept(d, keyOf(d, lowest(row0 + m, rows - 1)), (u32)column / 4);
#pragma unroll
		for (int m = 0; m < tall; m++) {
			drop(acc[m], bits >> 4 * m, d.factor);
#pragma unroll
			for (int c = 0; c < 4; c++) sum[m][c] += acc[m][c];
		}
	}
	if (column >= k) return;
#pragma unroll
	for (int m = 0; m < tall; m++)
		if (row0 + m < rows) *(f32x4 *)(dx + (row0 + m) * k + column) = f32x4{sum[m][0], sum[m][1], sum[m][2], sum[m][3]};
}

// pairInput draws x' again: the first blocks give each pair's dA += dlowᵀ · x', the others
// add to dx what came through x'.
GLOBAL BOUNDS(256, 2) pairInput(const Pair *pairs, i64 count, float *dx, const float *x, i64 rows, i64 k, const u32 *keys, i64 seed) {
	const i64 stripes = (k + stripe - 1) / stripe, which = over(blockX(), stripes), column = blockX() - which * stripes;
	if (which >= count) {
		if (blockY() == 0) inputBody(dx, pairs, count, blockX() - count * stripes, rows, k, keys, seed);
		return;
	}
	const Pair p = pairs[which];
	if ((i64)blockY() * most >= p.r) return;
	if (p.limit) gradBody<true, true>(p.da, x, p.dlow, column, rows, k, p.r, 1, k, 1.0f, p.dropped(keys, seed));
	else gradBody<true, false>(p.da, x, p.dlow, column, rows, k, p.r, 1, k, 1.0f, Dropped{});
}
