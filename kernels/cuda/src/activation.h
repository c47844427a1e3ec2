// The functions of feed-forward layers.
#pragma once
#include "device.h"

enum { silu = 0, geluTanh = 1, geluErf = 2 };

// activated is a(x): SiLU is x / (1 + e^-x), and since (1 + tanh u)/2 is
// 1 / (1 + e^-2u), so is GELU's approximation with z = 2u.
DEVICE float activated(float x, i64 a) {
	if (a == geluErf) return (float)(x * 0.5 * (1 + erf64((double)x * 0.70710678118654752)));
	float z = x;
	if (a == geluTanh) z = 1.5957691216057308f * (x + 0.044715f * (x * (x * x)));
	return x / (1.0f + exp32(-z));
}
