// The product of one row with 4-bit codes: what decoding one sequence consists of.
//
// The order of a sum is matmul.cu's: a lane owns the pieces of 32 values whose
// number is its own modulo 32.
#include "weight.h"

const int piece = 32, classes = 32;

// Shared memory of a block: the pairs of values that a byte of codes stands
// for, the 256 of them for each lane, so that no two lanes meet in a bank and the
// address of a pair is the byte, eight bits up, beside the lane's own; behind
// them x, a piece of 32 values every 36.
const int pairBytes = 256 * warp * 8;

// A Row is what a lane asks for of one output's codes, a step of 1024 values
// ahead of their use.
struct Row {
	u32x4 codes;
	float scale; // absmax, of the block or of the block of its scale
	u32 second;  // code of the scale
};

template <int ROUND> DEVICE float as(float x) { return ROUND == kindBF16 ? asBrain(x) : ROUND == kindF16 ? roundHalf(x) : x; }

// gemvCode: dst [n] = x [k] · w, w of 4-bit codes in whole pieces (wide), counted
// in 32 bits, blocks of powers of two. A warp takes OUT outputs at a time, so
// that what it reads of x serves all of them. ROUND is the kind that the weights
// are rounded to, NESTED says that their scales are codes themselves.
template <int ROUND, bool NESTED, int OUT>
DEVICE void gemvCode(float *dst, const float *x, i64 n, i64 k, i64 addTo, i64 by, const Weight &w) {
	const int most = 16; // warps
	DYNAMIC(u8, mem);
	SHARED float scales[256];
	SHARED float part[most][OUT][classes + 1];
	f32x2 *pairs = (f32x2 *)mem;
	float *xs = (float *)(mem + pairBytes);
	const u32 lane = threadX() % warp, me = threadX() / warp, warps = threads() / warp;
	const u32 outs = (u32)n, width = (u32)k, stride = blocks() * warps * OUT, shift = (u32)w.shift, shift2 = (u32)w.shift2;
	const u32 begin = (u32)w.first + lane * piece;
	u32 out = (blockX() * warps + me) * OUT, base = 0;

	Row one[OUT], two[OUT];
	auto ask = [&](Row *row, u32 out, u32 base) INLINE {
		if (out >= outs || base + lane * piece >= width) return;
#pragma unroll
		for (int r = 0; r < OUT; r++) {
			// An output that is not there is the last one; nobody stores it.
			const u32 i = (out + r < outs ? out + r : outs - 1) * width + base + begin, b = i >> shift;
			row[r].codes = *(const u32x4 *)(w.data + (i >> 1));
			row[r].second = NESTED ? w.codes[b] : 0;
			row[r].scale = w.absmax[NESTED ? b >> shift2 : b];
		}
	};
	ask(one, out, 0);
	for (u32 i = threadX(); i < 256 * warp; i += threads()) {
		const u32 byte = i / warp;
		pairs[i] = f32x2{w.map[byte >> 4], w.map[byte & 15]};
	}
	if (NESTED)
		for (u32 i = threadX(); i < 256; i += threads()) scales[i] = w.map2[i];
	for (u32 i = threadX() * 4; i < width; i += threads() * 4) *(f32x4 *)(xs + i / piece * 36 + i % piece) = *(const f32x4 *)(x + i);
	barrier();

	const SharedAddress table = sharedAddress(pairs);
	float acc[OUT];
#pragma unroll
	for (int r = 0; r < OUT; r++) acc[r] = 0;
	// step uses what row holds and asks for the next step's into ahead.
	auto step = [&](const Row *row, Row *ahead) INLINE {
		const bool last = base + classes * piece >= width;
		const u32 nextOut = last ? out + stride : out, nextBase = last ? 0 : base + classes * piece;
		ask(ahead, nextOut, nextBase);
		if (base + lane * piece < width) {
			const f32x4 *from = (const f32x4 *)(xs + (base / piece + lane) * 36);
			float scale[OUT];
#pragma unroll
			for (int r = 0; r < OUT; r++) scale[r] = NESTED ? scales[row[r].second] * row[r].scale + w.offset : row[r].scale;
#pragma unroll
			for (int j = 0; j < 4; j++) {
				const f32x4 a = from[2 * j], b = from[2 * j + 1];
				const float eight[8] = {a.x, a.y, a.z, a.w, b.x, b.y, b.z, b.w};
#pragma unroll
				for (int r = 0; r < OUT; r++) {
					const u32x4 q = row[r].codes;
					const u32 word = j == 0 ? q.x : j == 1 ? q.y : j == 2 ? q.z : q.w;
#pragma unroll
					for (int t = 0; t < 4; t++) {
						const f32x2 v = sharedPair(table + byteBeside(word, t, lane * 8));
						acc[r] = fma32(eight[2 * t], as<ROUND>(v.x * scale[r]), acc[r]);
						acc[r] = fma32(eight[2 * t + 1], as<ROUND>(v.y * scale[r]), acc[r]);
					}
				}
			}
		}
		if (last) {
#pragma unroll
			for (int r = 0; r < OUT; r++) {
				part[me][r][lane] = acc[r];
				acc[r] = 0;
			}
			warpBarrier();
			if (lane < OUT && out + lane < outs) {
				float sum = 0;
#pragma unroll
				for (int p = 0; p < classes; p++) sum += part[me][lane][p];
				put(dst + out + lane, sum, addTo, real(by));
			}
			warpBarrier();
		}
		out = nextOut;
		base = nextBase;
	};
	while (out < outs) {
		step(one, two);
		if (out >= outs) break;
		step(two, one);
	}
}

#define GEMV_CODE(NAME, ROUND, NESTED, OUT) \
	GLOBAL NAME##OUT##_##ROUND(float *dst, const float *x, i64 n, i64 k, i64 addTo, i64 by, WEIGHT) { \
		Weight w = WEIGHT_OF; \
		gemvCode<ROUND, NESTED, OUT>(dst, x, n, k, addTo, by, w); \
	}
// Kinds are those of weights; here they are what the values are rounded to.
#define GEMV_CODES(ROUND) \
	GEMV_CODE(gemvCode, ROUND, false, 2) \
	GEMV_CODE(gemvCode, ROUND, false, 4) \
	GEMV_CODE(gemvNested, ROUND, true, 2) \
	GEMV_CODE(gemvNested, ROUND, true, 4)
#ifdef ONLY_KIND
APPLY(GEMV_CODES, ONLY_KIND)
#else
GEMV_CODES(0) GEMV_CODES(1) GEMV_CODES(2)
#endif
