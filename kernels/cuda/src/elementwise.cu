// Operations value by value and row by row, and moves.
#include "activation.h"
#include "values.h"
#include "weight.h"

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

// map1 and map2: dst[i] = f(a[i]), f(a[i], b[i]), 16 bytes a thread where that is
// possible: such an access moves more.
template <typename T, typename F> DEVICE void map1(T *dst, const T *a, i64 n, F f) {
	const int g = Group<T>::n;
	const i64 groups = grouped(dst, a, a) ? n / g : 0;
	EACH(i, groups) {
		float x[g];
		groupOf(x, a + g * i);
#pragma unroll
		for (int j = 0; j < g; j++) x[j] = f(x[j]);
		storeGroup(dst + g * i, x);
	}
	EACH(i, n - g * groups) store(dst + g * groups + i, f(valueOf(a[g * groups + i])));
}
template <typename T, typename F> DEVICE void map2(T *dst, const T *a, const T *b, i64 n, F f) {
	const int g = Group<T>::n;
	const i64 groups = grouped(dst, a, b) ? n / g : 0;
	EACH(i, groups) {
		float x[g], y[g];
		groupOf(x, a + g * i);
		groupOf(y, b + g * i);
#pragma unroll
		for (int j = 0; j < g; j++) x[j] = f(x[j], y[j]);
		storeGroup(dst + g * i, x);
	}
	EACH(i, n - g * groups) store(dst + g * groups + i, f(valueOf(a[g * groups + i]), valueOf(b[g * groups + i])));
}

// gateGradients: with y the gradient of a(gate)·up, x becomes that of gate and u
// that of up. SiLU needs its exponential once for both.
DEVICE void gateGradients(float y, float &x, float &u, i64 a) {
	float v, d;
	if (a == silu) {
		const float s = 1.0f / (1.0f + exp32(-x));
		v = x * s;
		d = s * (1.0f + x * (1.0f - s));
	} else {
		v = activated(x, a);
		d = slope(x, a);
	}
	x = y * u * d;
	u = y * v;
}
template <typename T> DEVICE void gateBackOf(T *dgate, T *dup, const T *dy, const T *gate, const T *up, i64 n, i64 a) {
	const int g = Group<T>::n;
	const i64 groups = grouped(dgate, dup, dy) && grouped(gate, up, up) ? n / g : 0;
	EACH(i, groups) {
		float y[g], x[g], u[g];
		groupOf(y, dy + g * i);
		groupOf(x, gate + g * i);
		groupOf(u, up + g * i);
#pragma unroll
		for (int j = 0; j < g; j++) gateGradients(y[j], x[j], u[j], a);
		storeGroup(dgate + g * i, x);
		storeGroup(dup + g * i, u);
	}
	EACH(j, n - g * groups) {
		const i64 i = g * groups + j;
		float x = valueOf(gate[i]), u = valueOf(up[i]);
		gateGradients(valueOf(dy[i]), x, u, a);
		store(dgate + i, x);
		store(dup + i, u);
	}
}

#define ACTIVATIONS(NAME, T) \
	GLOBAL activate##NAME(T *dst, const T *x, i64 n, i64 a) { \
		map1(dst, x, n, [=](float x) INLINE { return activated(x, a); }); \
	} \
	GLOBAL gate##NAME(T *dst, const T *g, const T *up, i64 n, i64 a) { \
		map2(dst, g, up, n, [=](float g, float up) INLINE { return activated(g, a) * up; }); \
	} \
	GLOBAL activateBack##NAME(T *dx, const T *dy, const T *x, i64 n, i64 a) { \
		map2(dx, dy, x, n, [=](float dy, float x) INLINE { return dy * slope(x, a); }); \
	} \
	GLOBAL gateBack##NAME(T *dgate, T *dup, const T *dy, const T *g, const T *up, i64 n, i64 a) { gateBackOf(dgate, dup, dy, g, up, n, a); }
EACH_TYPE(ACTIVATIONS)

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
// scatter: a thread owns a column and goes through the rows in their order.
#define MOVES(NAME, T) \
	GLOBAL fill##NAME(T *dst, i64 n, i64 v) { \
		EACH(i, n) store(dst + i, real(v)); \
	} \
	GLOBAL gather##NAME(T *dst, const T *x, const int *rows, i64 n, i64 cols) { \
		EACH(i, n) { \
			const i64 row = over(i, cols); \
			dst[i] = x[rows[row] * cols + i - row * cols]; \
		} \
	} \
	GLOBAL scatter##NAME(T *dst, const T *x, const int *rows, i64 count, i64 cols) { \
		EACH(j, cols) { \
			for (i64 i = 0; i < count; i++) store(dst + rows[i] * cols + j, valueOf(dst[rows[i] * cols + j]) + valueOf(x[i * cols + j])); \
		} \
	}
EACH_TYPE(MOVES)

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

// decode_KIND: dst[i] = value from+i of a weight. Float32 is as it is.
#define DECODE(KIND) \
	GLOBAL decode_##KIND(float *dst, i64 from, i64 n, WEIGHT) { \
		Weight w = WEIGHT_OF; \
		EACH(i, n) dst[i] = value<KIND>(w, from + i); \
	}
DECODE(1) DECODE(2) DECODE(3) DECODE(4)

// rope: a thread turns one pair, or four of RopeHalves where 16 bytes may be read at
// once; sign is 1, or -1 for the gradient. rounded, which may be null, becomes what is
// turned as bfloat16.
GLOBAL rope(float *x, u16 *rounded, const float *cosine, const float *sine, const int *pos, i64 rows, i64 heads, i64 dim, i64 half, i64 pairs, i64 sign) {
	if (!pairs && half % 4 == 0 && dim % 4 == 0 && grouped(x, cosine, sine) && grouped(rounded, rounded, rounded)) {
		const i64 fours = half / 4;
		EACH(i, rows * heads * fours) {
			const i64 head = over(i, fours), j = 4 * (i - head * fours), at = pos[over(head, heads)] * half + j;
			float *h = x + head * dim + j;
			float a[4], b[4], c[4], s[4];
			groupOf(a, h);
			groupOf(b, h + half);
			groupOf(c, cosine + at);
			groupOf(s, sine + at);
#pragma unroll
			for (int l = 0; l < 4; l++) {
				const float turn = s[l] * (float)sign, first = a[l];
				a[l] = first * c[l] - b[l] * turn;
				b[l] = b[l] * c[l] + first * turn;
			}
			storeGroup(h, a);
			storeGroup(h + half, b);
			if (rounded) {
				u16 *r = rounded + head * dim + j;
				*(u32x2 *)r = u32x2{brains(a[0], a[1]), brains(a[2], a[3])};
				*(u32x2 *)(r + half) = u32x2{brains(b[0], b[1]), brains(b[2], b[3])};
			}
		}
		return;
	}
	EACH(i, rows * heads * half) {
		i64 head = over(i, half), j = i - head * half, t = over(head, heads);
		float *h = x + head * dim;
		float c = cosine[pos[t] * half + j], s = sine[pos[t] * half + j] * (float)sign;
		i64 ia = pairs ? 2 * j : j, ib = pairs ? 2 * j + 1 : j + half;
		float a = h[ia], b = h[ib];
		h[ia] = a * c - b * s;
		h[ib] = b * c + a * s;
		if (rounded) {
			store(rounded + head * dim + ia, h[ia]);
			store(rounded + head * dim + ib, h[ib]);
		}
	}
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
