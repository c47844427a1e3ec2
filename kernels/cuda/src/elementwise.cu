// Operations value by value and row by row, and moves.
#include "activation.h"
#include "weight.h"

#define EACH(i, n) for (i64 i = (i64)blockX() * threads() + threadX(); i < n; i += (i64)blocks() * threads())

// slope is a'(x).
DEVICE float slope(float x, i64 a) {
	if (a == silu) {
		float s = 1.0f / (1.0f + exp32(-x));
		return s * (1.0f + x * (1.0f - s));
	}
	if (a == geluTanh) {
		const float c = 0.79788456080286536f;
		float t = tanh32(c * (x + 0.044715f * (x * (x * x))));
		return (1.0f + t) * 0.5f + x * 0.5f * (1.0f - t * t) * c * (1.0f + 0.134145f * (x * x));
	}
	float bell = x * x > 170.0f ? 0.0f : exp32(-0.5f * (x * x));
	return (float)(0.5 * (1 + erf64((double)x * 0.70710678118654752)) + (double)x * bell * 0.39894228040143268);
}

// fours: these addresses take accesses of four values.
DEVICE bool fours(const void *a, const void *b, const void *c) { return (((u64)a | (u64)b | (u64)c) & 15) == 0; }

// map1 and map2: dst[i] = f(a[i]), f(a[i], b[i]), four values a thread where that
// is possible: an access of 16 bytes a lane moves more.
template <typename F> DEVICE void map1(float *dst, const float *a, i64 n, F f) {
	const i64 quads = fours(dst, a, a) ? n / 4 : 0;
	EACH(i, quads) {
		const f32x4 x = ((const f32x4 *)a)[i];
		((f32x4 *)dst)[i] = f32x4{f(x.x), f(x.y), f(x.z), f(x.w)};
	}
	EACH(i, n - 4 * quads) dst[4 * quads + i] = f(a[4 * quads + i]);
}
template <typename F> DEVICE void map2(float *dst, const float *a, const float *b, i64 n, F f) {
	const i64 quads = fours(dst, a, b) ? n / 4 : 0;
	EACH(i, quads) {
		const f32x4 x = ((const f32x4 *)a)[i], y = ((const f32x4 *)b)[i];
		((f32x4 *)dst)[i] = f32x4{f(x.x, y.x), f(x.y, y.y), f(x.z, y.z), f(x.w, y.w)};
	}
	EACH(i, n - 4 * quads) dst[4 * quads + i] = f(a[4 * quads + i], b[4 * quads + i]);
}

GLOBAL activate(float *dst, const float *x, i64 n, i64 a) {
	map1(dst, x, n, [=](float x) { return activated(x, a); });
}
GLOBAL gate(float *dst, const float *g, const float *up, i64 n, i64 a) {
	map2(dst, g, up, n, [=](float g, float up) { return activated(g, a) * up; });
}
GLOBAL activateBack(float *dx, const float *dy, const float *x, i64 n, i64 a) {
	map2(dx, dy, x, n, [=](float dy, float x) { return dy * slope(x, a); });
}
GLOBAL gateBack(float *dgate, float *dup, const float *dy, const float *g, const float *up, i64 n, i64 a) {
	const i64 quads = fours(dgate, dup, dy) && fours(g, up, g) ? n / 4 : 0;
	EACH(i, quads) {
		const f32x4 y = ((const f32x4 *)dy)[i], x = ((const f32x4 *)g)[i], u = ((const f32x4 *)up)[i];
		((f32x4 *)dgate)[i] = f32x4{y.x * u.x * slope(x.x, a), y.y * u.y * slope(x.y, a), y.z * u.z * slope(x.z, a), y.w * u.w * slope(x.w, a)};
		((f32x4 *)dup)[i] = f32x4{y.x * activated(x.x, a), y.y * activated(x.y, a), y.z * activated(x.z, a), y.w * activated(x.w, a)};
	}
	EACH(j, n - 4 * quads) {
		const i64 i = 4 * quads + j;
		const float y = dy[i], x = g[i], u = up[i];
		dgate[i] = y * u * slope(x, a);
		dup[i] = y * activated(x, a);
	}
}
GLOBAL add(float *dst, const float *x, i64 n) {
	map2(dst, dst, x, n, [](float a, float b) { return a + b; });
}
GLOBAL addBias(float *dst, const float *bias, i64 n, i64 c) {
	EACH(i, n) dst[i] += bias[i - over(i, c) * c];
}
GLOBAL scale(float *dst, const float *x, i64 n, i64 by) {
	map1(dst, x, n, [=](float x) { return x * real(by); });
}
GLOBAL scaleColumns(float *dst, const float *s, i64 n, i64 c) {
	EACH(i, n) dst[i] *= s[i - over(i, c) * c];
}
GLOBAL softCap(float *dst, const float *x, i64 n, i64 cap) {
	EACH(i, n) dst[i] = real(cap) * tanh32(x[i] / real(cap));
}
GLOBAL softCapBack(float *dx, const float *dy, const float *x, i64 n, i64 cap) {
	EACH(i, n) {
		float t = tanh32(x[i] / real(cap));
		dx[i] = dy[i] * (1.0f - t * t);
	}
}
GLOBAL roundTo(float *dst, const float *x, i64 n, i64 type) {
	map1(dst, x, n, [=](float x) { return rounded(x, (int)type); });
}
GLOBAL divide(float *dst, const float *x, const float *y, i64 n) {
	EACH(i, n) dst[i] = x[i] / y[i];
}
GLOBAL fill(float *dst, i64 n, i64 v) {
	EACH(i, n) dst[i] = real(v);
}
GLOBAL gather(float *dst, const float *x, const int *rows, i64 n, i64 cols) {
	EACH(i, n) {
		const i64 row = over(i, cols);
		dst[i] = x[rows[row] * cols + i - row * cols];
	}
}
// scatter: a thread owns a column and goes through the rows in their order.
GLOBAL scatter(float *dst, const float *x, const int *rows, i64 count, i64 cols) {
	EACH(j, cols) {
		for (i64 i = 0; i < count; i++) dst[rows[i] * cols + j] += x[i * cols + j];
	}
}
GLOBAL columns(float *dst, const float *x, i64 total, i64 width, i64 from, i64 n) {
	EACH(i, total) dst[i] = x[i / n * width + from + i % n];
}
GLOBAL putColumns(float *dst, const float *x, i64 total, i64 width, i64 from, i64 n) {
	EACH(i, total) dst[i / n * width + from + i % n] = x[i];
}

#define EMBED(KIND) \
	GLOBAL embed_##KIND(float *dst, const int *ids, i64 n, i64 k, WEIGHT) { \
		Weight w = WEIGHT_OF; \
		EACH(i, n) dst[i] = value<KIND>(w, ids[i / k] * k + i % k); \
	}
EACH_KIND(EMBED)

// decode_KIND: dst[i] = value from+i of a weight.
#define DECODE(KIND) \
	GLOBAL decode_##KIND(float *dst, i64 from, i64 n, WEIGHT) { \
		Weight w = WEIGHT_OF; \
		EACH(i, n) dst[i] = value<KIND>(w, from + i); \
	}
EACH_KIND(DECODE)

// rope: a thread turns one pair; sign is 1, or -1 for the gradient.
GLOBAL rope(float *x, const float *cosine, const float *sine, const int *pos, i64 rows, i64 heads, i64 dim, i64 half, i64 pairs, i64 sign) {
	EACH(i, rows * heads * half) {
		i64 head = over(i, half), j = i - head * half, t = over(head, heads);
		float *h = x + head * dim;
		float c = cosine[pos[t] * half + j], s = sine[pos[t] * half + j] * (float)sign;
		i64 ia = pairs ? 2 * j : j, ib = pairs ? 2 * j + 1 : j + half;
		float a = h[ia], b = h[ib];
		h[ia] = a * c - b * s;
		h[ib] = b * c + a * s;
	}
}

// rmsNorm and layerNorm: a block a row. Threads add their columns in order,
// then the block's tree: an order that depends on the width alone.
GLOBAL rmsNorm(float *dst, const float *x, const float *weight, i64 c, i64 eps) {
	dst += blockX() * c;
	x += blockX() * c;
	float sum = 0;
	for (i64 i = threadX(); i < c; i += threads()) sum = fma32(x[i], x[i], sum);
	float s = 1.0f / sqrt32(sumBlock(sum) / (float)c + real(eps));
	for (i64 i = threadX(); i < c; i += threads()) dst[i] = x[i] * s * weight[i];
}
GLOBAL layerNorm(float *dst, const float *x, const float *weight, const float *bias, i64 c, i64 eps) {
	dst += blockX() * c;
	x += blockX() * c;
	float sum = 0, square = 0;
	for (i64 i = threadX(); i < c; i += threads()) sum += x[i];
	float mean = sumBlock(sum) / (float)c;
	for (i64 i = threadX(); i < c; i += threads()) square = fma32(x[i] - mean, x[i] - mean, square);
	float s = 1.0f / sqrt32(sumBlock(square) / (float)c + real(eps));
	for (i64 i = threadX(); i < c; i += threads()) dst[i] = (x[i] - mean) * s * weight[i] + bias[i];
}

// rowNorms: a block a row n of w, ‖w[n] + scale·b[n]·a‖; a and b as float32.
#define ROW_NORMS(KIND) \
	GLOBAL rowNorms_##KIND(float *dst, i64 k, const float *a, const float *b, i64 rank, i64 by, WEIGHT) { \
		Weight w = WEIGHT_OF; \
		i64 n = blockX(); \
		float sum = 0; \
		for (i64 i = threadX(); i < k; i += threads()) { \
			float v = value<KIND>(w, n * k + i), delta = 0; \
			for (i64 r = 0; r < rank; r++) delta = fma32(b[n * rank + r], a[r * k + i], delta); \
			v += real(by) * delta; \
			sum = fma32(v, v, sum); \
		} \
		sum = sumBlock(sum); \
		if (threadX() == 0) dst[n] = sqrt32(sum); \
	}
EACH_KIND(ROW_NORMS)
