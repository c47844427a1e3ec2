// Gradients of a low-rank pair: sums over rows whose one side is wide and whose
// other is the rank.
//
// # The order of a sum
//
// Row t belongs to lane t mod 64. A lane sums its rows by fused multiply-adds in
// their order; eight neighbours are added in a tree, 4 apart, then 2, then 1; the
// eight groups of eight are added in their order, to 0, and their sum to what the
// gradient holds. It depends on the number of rows alone. (Chunks of 512 rows, as
// matmul.cu has them, would leave most of a GPU idle: the rank is small, so the
// rows are what there is to share out.)
#include "device.h"

const int lanes = 64, stripe = 16, most = 8, ahead = 4;

// four reads values i to i+3 of n: WIDE says that all are there or none, at a
// multiple of 16 bytes.
template <bool WIDE> DEVICE void four(float *v, const float *x, i64 i, i64 n) {
	if (WIDE) {
		const f32x4 q = fetch(x + lowest(i, n - 4));
		v[0] = q.x, v[1] = q.y, v[2] = q.z, v[3] = q.w;
		return;
	}
#pragma unroll
	for (int c = 0; c < 4; c++) v[c] = i + c < n ? x[i + c] : 0.0f;
}

// half adds what two lanes `apart` have of 2·N rows of four values, each keeping
// the rows that its own bit of the lane's number stands for.
template <int N> DEVICE void half(float (*acc)[4], int apart) {
	const bool upper = threadX() & apart;
#pragma unroll
	for (int j = 0; j < N; j++)
#pragma unroll
		for (int c = 0; c < 4; c++) {
			const float mine = upper ? acc[j + N][c] : acc[j][c], other = upper ? acc[j][c] : acc[j + N][c];
			acc[j][c] = mine + shuffleXor(other, apart);
		}
}

// addRows adds what the next four rows of a lane give, or left of them, all read
// before the first is used. Rows beyond count as the last one times 0: to leave
// them out would be a branch for each, which the reads would move behind.
template <bool WIDE, bool ALL> DEVICE void addRows(float (*acc)[4], const float *wide, const float *narrow, i64 left, i64 i0, i64 j0, i64 w, i64 r) {
	if (left <= 0) return;
	float v[ahead][4], low[ahead][most];
#pragma unroll
	for (int u = 0; u < ahead; u++) {
		const i64 t = (ALL ? u : lowest((i64)u, left - 1)) * lanes;
		four<WIDE>(v[u], wide + t * w, i0, w);
		four<WIDE>(low[u], narrow + t * r, j0, r);
		four<WIDE>(low[u] + 4, narrow + t * r, j0 + 4, r);
	}
#pragma unroll
	for (int u = 0; u < ahead; u++)
#pragma unroll
		for (int j = 0; j < most; j++) {
			const float y = ALL || u < left ? low[u][j] : 0.0f;
#pragma unroll
			for (int c = 0; c < 4; c++) acc[j][c] = fma32(v[u][c], y, acc[j][c]);
		}
}

// gradBody: dw += Σ_t wide[t][i]·narrow[t][j] of 16 values i and 8 values j, at
// i·stepI + j·stepJ. A thread has four i and every 64th row: each value is read
// once, in whole sectors, four rows ahead of their use.
template <bool WIDE> DEVICE void gradBody(float *dw, const float *wide, const float *narrow, i64 rows, i64 w, i64 r, i64 stepI, i64 stepJ) {
	SHARED f32x4 part[lanes / 8][most][stripe / 4];
	const int group = threadX() % 4, lane = threadX() / 4;
	const i64 i0 = (i64)blockX() * stripe + group * 4, j0 = (i64)blockY() * most;
	float acc[most][4];
#pragma unroll
	for (int j = 0; j < most; j++)
#pragma unroll
		for (int c = 0; c < 4; c++) acc[j][c] = 0;
	const float *x = wide + lane * w, *y = narrow + lane * r;
	i64 left = (rows - lane + lanes - 1) / lanes; // rows of this lane
#pragma unroll 1
	for (; left >= ahead; left -= ahead, x += ahead * lanes * w, y += ahead * lanes * r) addRows<WIDE, true>(acc, x, y, ahead, i0, j0, w, r);
	addRows<WIDE, false>(acc, x, y, left, i0, j0, w, r);
	half<4>(acc, 16);
	half<2>(acc, 8);
	half<1>(acc, 4);
	part[lane / 8][lane % 8][group] = f32x4{acc[0][0], acc[0][1], acc[0][2], acc[0][3]};
	barrier();
	if (threadX() >= most * stripe) return;
	const bool across = stepI == 1; // neighbours in the gradient by neighbouring threads
	const int i = across ? threadX() % stripe : threadX() / most, j = across ? threadX() / stripe : threadX() % most;
	if ((i64)blockX() * stripe + i >= w || j0 + j >= r) return;
	float total = 0;
#pragma unroll
	for (int g = 0; g < lanes / 8; g++) total += ((const float *)part[g][j])[i];
	dw[((i64)blockX() * stripe + i) * stepI + (j0 + j) * stepJ] += total;
}

GLOBAL_UPTO(256) narrowGrad(float *dw, const float *wide, const float *narrow, i64 rows, i64 w, i64 r, i64 stepI, i64 stepJ, i64 whole) {
	if (whole) gradBody<true>(dw, wide, narrow, rows, w, r, stepI, stepJ);
	else gradBody<false>(dw, wide, narrow, rows, w, r, stepI, stepJ);
}
