// The optimiser: all of a model's parameters in one kernel, which a table names, in
// chunks of 4096 values, a block each.
#include "device.h"

const int chunkValues = 4096;

struct Parameter {
	float *p, *g, *m, *v;
	i64 n, first; // values; its first block
};

// parameterOf is the one whose chunk the block has: the last that begins with it or
// before.
DEVICE Parameter parameterOf(const Parameter *table, i64 count) {
	i64 low = 0;
	for (i64 high = count; high - low > 1;) {
		const i64 middle = (low + high) / 2;
		if (table[middle].first <= blockX()) low = middle;
		else high = middle;
	}
	return table[low];
}

#define CHUNK(i, x) const i64 base = (blockX() - x.first) * chunkValues; \
	for (i64 i = base + threadX(); i < base + chunkValues && i < x.n; i += threads())

// adam: the formulas of kernels.TrainDevice; decay 0 before the update, 1 after
// it, 2 in the gradient. clear: the gradient is 0 afterwards.
GLOBAL adam(const Parameter *table, i64 count, i64 clear, i64 gradScale, i64 beta1, i64 rest1, i64 beta2, i64 rest2, i64 rate, i64 eps, i64 shrink, i64 decay, i64 when) {
	const Parameter of = parameterOf(table, count);
	CHUNK(i, of) {
		float grad = of.g[i] * real(gradScale), x = of.p[i];
		if (when == 2) grad += real(decay) * x;
		if (when == 0) x *= real(shrink);
		const float a = of.m[i] * real(beta1) + real(rest1) * grad;
		const float b = of.v[i] * real(beta2) + real(rest2) * grad * grad;
		x -= real(rate) * (a / (sqrt32(b) + real(eps)));
		if (when == 1) x *= real(shrink);
		of.m[i] = a;
		of.v[i] = b;
		of.p[i] = x;
		if (clear) of.g[i] = 0;
	}
}

// sumSquares: out is the sum of each chunk of the gradients.
GLOBAL sumSquares(double *out, const Parameter *table, i64 count) {
	const Parameter of = parameterOf(table, count);
	double sum = 0;
	CHUNK(i, of) sum += (double)of.g[i] * (double)of.g[i];
	sum = sumBlock64(sum);
	if (threadX() == 0) out[blockX()] = sum;
}
