// Norms over rows, and their gradients. A block owns a row; a thread takes its groups
// of four values threadX(), threadX() + threads() and so on, in that order. The
// order of a sum depends on the width alone; what a second pass reads is in the cache.
#include "values.h"

const int chunkRows = 512;

// EACH_GROUP goes through a thread's groups of a row of c values, i being the first
// value of one. WHOLE says below that c and all addresses allow accesses of 16 bytes.
#define EACH_GROUP(i, c) for (i64 i = 4 * (i64)threadX(); i < c; i += 4 * (i64)threads())

// four reads values i to i+3 of a row, zeros beyond its end.
template <bool WHOLE> DEVICE void four(float *v, const float *row, i64 i, i64 c) {
	if (WHOLE) return groupOf(v, row + i);
#pragma unroll
	for (int j = 0; j < 4; j++) v[j] = i + j < c ? row[i + j] : 0.0f;
}
// storeFour writes those that are there.
template <bool WHOLE> DEVICE void storeFour(float *row, const float *v, i64 i, i64 c) {
	if (WHOLE) return storeGroup(row + i, v);
#pragma unroll
	for (int j = 0; j < 4; j++)
		if (i + j < c) row[i + j] = v[j];
}
template <bool WHOLE> DEVICE void storeFour(u16 *row, const float *v, i64 i, i64 c) {
	if (WHOLE) {
		*(u32x2 *)(row + i) = u32x2{brains(v[0], v[1]), brains(v[2], v[3])};
		return;
	}
#pragma unroll
	for (int j = 0; j < 4; j++)
		if (i + j < c) store(row + i + j, v[j]);
}

// sumsBlock adds each of N values over a block's threads, as sumBlock does.
template <int N> DEVICE void sumsBlock(float *x) {
	SHARED float part[N][32];
#pragma unroll
	for (int n = 0; n < N; n++) {
		x[n] = sumWarp(x[n]);
		if (threadX() % warp == 0) part[n][threadX() / warp] = x[n];
	}
	barrier();
#pragma unroll
	for (int n = 0; n < N; n++) {
		x[n] = 0;
		for (int i = 0; i < threads() / warp; i++) x[n] += part[n][i];
	}
	barrier();
}

template <bool WHOLE> DEVICE float sumOf(const float *x, i64 c) {
	float sum[1] = {0};
	EACH_GROUP(i, c) {
		float v[4];
		four<WHOLE>(v, x, i, c);
#pragma unroll
		for (int j = 0; j < 4; j++) sum[0] += v[j];
	}
	sumsBlock<1>(sum);
	return sum[0];
}
// squaresOf is Σ (x - mean)².
template <bool WHOLE> DEVICE float squaresOf(const float *x, float mean, i64 c) {
	float sum[1] = {0};
	EACH_GROUP(i, c) {
		float v[4];
		four<WHOLE>(v, x, i, c);
#pragma unroll
		for (int j = 0; j < 4; j++)
			if (WHOLE || i + j < c) sum[0] = fma32(v[j] - mean, v[j] - mean, sum[0]);
	}
	sumsBlock<1>(sum);
	return sum[0];
}

template <bool WHOLE, typename T> DEVICE void rmsNormRow(T *dst, u16 *half, const float *x, const float *weight, i64 c, float eps) {
	const float s = 1.0f / sqrt32(squaresOf<WHOLE>(x, 0, c) / (float)c + eps);
	EACH_GROUP(i, c) {
		float v[4], w[4];
		four<WHOLE>(v, x, i, c);
		four<WHOLE>(w, weight, i, c);
#pragma unroll
		for (int j = 0; j < 4; j++) v[j] = v[j] * s * w[j];
		storeFour<WHOLE>(dst, v, i, c);
		if (half) storeFour<WHOLE>(half, v, i, c);
	}
}
template <bool WHOLE, typename T> DEVICE void layerNormRow(T *dst, const float *x, const float *weight, const float *bias, i64 c, float eps) {
	const float mean = sumOf<WHOLE>(x, c) / (float)c;
	const float s = 1.0f / sqrt32(squaresOf<WHOLE>(x, mean, c) / (float)c + eps);
	EACH_GROUP(i, c) {
		float v[4], w[4], b[4];
		four<WHOLE>(v, x, i, c);
		four<WHOLE>(w, weight, i, c);
		four<WHOLE>(b, bias, i, c);
#pragma unroll
		for (int j = 0; j < 4; j++) v[j] = (v[j] - mean) * s * w[j] + b[j];
		storeFour<WHOLE>(dst, v, i, c);
	}
}

#define LAYER_NORM(NAME, T) \
	GLOBAL_UPTO(512) layerNorm##NAME(T *dst, const float *x, const float *weight, const float *bias, i64 c, i64 eps) { \
		dst += blockX() * c; \
		x += blockX() * c; \
		if (c % 4 == 0 && grouped(dst, x, weight) && grouped(bias, bias, bias)) \
			layerNormRow<true>(dst, x, weight, bias, c, real(eps)); \
		else \
			layerNormRow<false>(dst, x, weight, bias, c, real(eps)); \
	}
EACH_TYPE(LAYER_NORM)

// half, which may be null, becomes dst as bfloat16.
GLOBAL_UPTO(512) rmsNorm(float *dst, u16 *half, const float *x, const float *weight, i64 c, i64 eps) {
	dst += blockX() * c;
	x += blockX() * c;
	if (half) half += blockX() * c;
	if (c % 4 == 0 && grouped(dst, x, weight) && grouped(half, half, half))
		rmsNormRow<true>(dst, half, x, weight, c, real(eps));
	else
		rmsNormRow<false>(dst, half, x, weight, c, real(eps));
}
GLOBAL_UPTO(512) rmsNormBrain(u16 *dst, const float *x, const float *weight, i64 c, i64 eps) {
	dst += blockX() * c;
	x += blockX() * c;
	if (c % 4 == 0 && grouped(dst, x, weight))
		rmsNormRow<true>(dst, 0, x, weight, c, real(eps));
	else
		rmsNormRow<false>(dst, 0, x, weight, c, real(eps));
}

// normBackRow: with x̂ = s·(x - mean) and g = dy·weight,
//
//	dx = s·(g - mean(g) - x̂·mean(g·x̂))
//
// where mean and mean(g) are 0 in a norm that takes off none. Σ g·x̂ is taken as
// s·Σ g·(x - mean), so that one pass has all sums. stats, where it is asked for,
// becomes mean and s; half, likewise, dx as bfloat16.
template <bool WHOLE> DEVICE void normBackRow(float *dx, u16 *half, float *stats, const float *dy, const float *x, const float *weight, i64 c, float eps, bool centred, bool addTo) {
	const float mean = centred ? sumOf<WHOLE>(x, c) / (float)c : 0.0f;
	float sums[3] = {0, 0, 0}; // of (x - mean)², g, g·(x - mean)
	EACH_GROUP(i, c) {
		float v[4], y[4], w[4];
		four<WHOLE>(v, x, i, c);
		four<WHOLE>(y, dy, i, c);
		four<WHOLE>(w, weight, i, c);
#pragma unroll
		for (int j = 0; j < 4; j++) {
			if (!WHOLE && i + j >= c) continue;
			const float from = v[j] - mean, g = y[j] * w[j];
			sums[0] = fma32(from, from, sums[0]);
			sums[1] += g;
			sums[2] = fma32(g, from, sums[2]);
		}
	}
	sumsBlock<3>(sums);
	const float s = 1.0f / sqrt32(sums[0] / (float)c + eps);
	const float gMean = centred ? sums[1] / (float)c : 0.0f, hatMean = s * sums[2] / (float)c;
	if (stats && threadX() == 0) {
		stats[0] = mean;
		stats[1] = s;
	}
	if (!dx) return;
	EACH_GROUP(i, c) {
		float v[4], y[4], w[4], old[4] = {0, 0, 0, 0};
		four<WHOLE>(v, x, i, c);
		four<WHOLE>(y, dy, i, c);
		four<WHOLE>(w, weight, i, c);
		if (addTo) four<WHOLE>(old, dx, i, c);
#pragma unroll
		for (int j = 0; j < 4; j++) v[j] = old[j] + s * (y[j] * w[j] - gMean - (v[j] - mean) * s * hatMean);
		storeFour<WHOLE>(dx, v, i, c);
		if (half) storeFour<WHOLE>(half, v, i, c);
	}
}
GLOBAL_UPTO(512) normBack(float *dx, u16 *half, float *stats, const float *dy, const float *x, const float *weight, i64 c, i64 eps, i64 centred, i64 addTo) {
	dy += blockX() * c;
	x += blockX() * c;
	if (dx) dx += blockX() * c;
	if (half) half += blockX() * c;
	if (stats) stats += 2 * blockX();
	if (c % 4 == 0 && grouped(dx, dy, x) && grouped(weight, half, half))
		normBackRow<true>(dx, half, stats, dy, x, weight, c, real(eps), centred, addTo);
	else
		normBackRow<false>(dx, half, stats, dy, x, weight, c, real(eps), centred, addTo);
}

// normWeights: dweight[i] += Σ_t dy·x̂, dbias[i] += Σ_t dy; either may be null.
GLOBAL normWeights(float *dweight, float *dbias, const float *stats, const float *dy, const float *x, i64 rows, i64 c) {
	EACH(i, c) {
		float totalW = 0, totalB = 0;
		for (i64 base = 0; base < rows; base += chunkRows) {
			float w = 0, b = 0;
			for (i64 t = base; t < base + chunkRows && t < rows; t++) {
				float g = dy[t * c + i];
				w = fma32(g, (x[t * c + i] - stats[2 * t]) * stats[2 * t + 1], w);
				b += g;
			}
			totalW += w;
			totalB += b;
		}
		if (dweight) dweight[i] += totalW;
		if (dbias) dbias[i] += totalB;
	}
}

