// Products of one row with 4-bit codes whose values are float32 or rounded to
// binary16; those of bfloat16 are thirdsone.cu's.
//
// The order of a sum is matmul.cu's: a lane owns the pieces of 32 values whose
// number is its own modulo 32.
#include "activation.h"
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

template <int ROUND> DEVICE float as(float x) { return ROUND == kindF16 ? roundHalf(x) : x; }

// Codes are a weight [outs, k] of 4-bit codes, and where its products go. All
// weights of a kernel have the same map, the same map of scales and equal blocks, powers of
// two; they are counted in 32 bits.
struct Codes {
	float *dst;
	u32 outs;
	const u8 *data;
	const float *absmax;
	const u8 *codes; // of the scales, where they are codes themselves
	u32 first;
	float offset;
};

// Shared is what all of a kernel's weights have in common.
struct Common {
	const float *x, *map, *map2;
	u32 k, shift, shift2;
};

enum Mode {
	one,     // dst = x · a, or dst + (x · a)·by
	several, // the products of x with a, b and c, each to its dst
	gated,   // a.dst = activation(x · a) · (x · b)
};

// gemvCode: the products of x [k] with up to three weights in whole pieces
// (wide). A warp takes a group of OUT outputs at a time, so that what it reads of
// x serves all of them: of one weight, or for a gate half of them of each. ROUND is the kind that the weights
// are rounded to, NESTED says that their scales are codes themselves.
template <int ROUND, bool NESTED, int OUT, Mode MODE>
DEVICE void gemvCode(const Common &all, u32 groups, i64 addTo, float by, i64 activation, const Codes &a, const Codes &b, const Codes &c) {
	const int most = 16; // warps, as GLOBAL_UPTO says below
	const u32 each = MODE == gated ? OUT / 2 : OUT; // outputs of a group
	DYNAMIC(u8, mem);
	SHARED float scales[256];
	SHARED float part[most][OUT][classes + 1];
	f32x2 *pairs = (f32x2 *)mem;
	float *xs = (float *)(mem + pairBytes);
	const u32 lane = threadX() % warp, me = threadX() / warp, warps = threads() / warp;
	const u32 width = all.k, stride = blocks() * warps, shift = all.shift, shift2 = all.shift2;

	// from is the weight that a group's outputs belong to, out the first of them.
	u32 group = blockX() * warps + me, base = 0, out, nextOut;
	Codes from, next;
	auto find = [&](u32 group, Codes &from, u32 &out) INLINE {
		from = a;
		if (MODE == several) {
			const u32 ofA = (a.outs + OUT - 1) / OUT, ofB = (b.outs + OUT - 1) / OUT;
			if (group >= ofA) {
				from = group - ofA < ofB ? b : c;
				group -= group - ofA < ofB ? ofA : ofA + ofB;
			}
		}
		out = group * each;
	};
	Row first[OUT], second[OUT];
	auto ask = [&](Row *row, const Codes &from, u32 out, u32 base) INLINE {
		if (base + lane * piece >= width) return;
#pragma unroll
		for (u32 r = 0; r < OUT; r++) {
			const Codes &w = MODE == gated && r >= each ? b : from;
			const u32 o = out + r % each;
			// An output that is not there is the last one; nobody stores it.
			const u32 i = (o < w.outs ? o : w.outs - 1) * width + base + w.first + lane * piece, block = i >> shift;
			row[r].codes = *(const u32x4 *)(w.data + (i >> 1));
			row[r].second = NESTED ? w.codes[block] : 0;
			row[r].scale = w.absmax[NESTED ? block >> shift2 : block];
		}
	};
	if (group < groups) {
		find(group, from, out);
		ask(first, from, out, 0);
	}
#pragma unroll 4
	for (u32 i = threadX(); i < 256 * warp; i += threads()) {
		const u32 byte = i / warp;
		pairs[i] = f32x2{all.map[byte >> 4], all.map[byte & 15]};
	}
	if (NESTED)
		for (u32 i = threadX(); i < 256; i += threads()) scales[i] = all.map2[i];
#pragma unroll 4
	for (u32 i = threadX() * 4; i < width; i += threads() * 4) *(f32x4 *)(xs + i / piece * 36 + i % piece) = *(const f32x4 *)(all.x + i);
	barrier();

	const SharedAddress table = sharedAddress(pairs);
	float acc[OUT];
#pragma unroll
	for (int r = 0; r < OUT; r++) acc[r] = 0;
	// step uses what row holds and asks for the next step's into ahead.
	auto step = [&](const Row *row, Row *ahead) INLINE {
		const bool last = base + classes * piece >= width;
		const u32 nextBase = last ? 0 : base + classes * piece;
		const u32 nextGroup = last ? group + stride : group;
		next = from;
		nextOut = out;
		if (last) find(nextGroup, next, nextOut);
		if (nextGroup < groups) ask(ahead, next, nextOut, nextBase);
		if (base + lane * piece < width) {
			const f32x4 *mine = (const f32x4 *)(xs + (base / piece + lane) * 36);
			float scale[OUT];
#pragma unroll
			for (u32 r = 0; r < OUT; r++)
				scale[r] = NESTED ? scales[row[r].second] * row[r].scale + (MODE == gated && r >= each ? b : from).offset : row[r].scale;
#pragma unroll
			for (int j = 0; j < 4; j++) {
				const f32x4 low = mine[2 * j], high = mine[2 * j + 1];
				const float eight[8] = {low.x, low.y, low.z, low.w, high.x, high.y, high.z, high.w};
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
			float sum = 0;
			if (lane < OUT) {
#pragma unroll
				for (int p = 0; p < classes; p++) sum += part[me][lane][p];
			}
			const float other = MODE == gated ? shuffle(sum, lane + each & 31) : 0.0f;
			if (lane < each && out + lane < from.outs) {
				if (MODE == gated)
					from.dst[out + lane] = activated(sum, activation) * other;
				else
					put(from.dst + out + lane, sum, addTo, by);
			}
			warpBarrier();
		}
		from = next;
		out = nextOut;
		group = nextGroup;
		base = nextBase;
	};
	while (group < groups) {
		step(first, second);
		if (group >= groups) break;
		step(second, first);
	}
}

#define COMMON const float *x, i64 k, const float *map, const float *map2, i64 shift, i64 shift2, i64 groups
#define COMMON_OF Common{x, map, map2, (u32)k, (u32)shift, (u32)shift2}
#define CODES(a) float *a##Dst, i64 a##Outs, const u8 *a##Data, const float *a##Absmax, const u8 *a##Codes, i64 a##First, i64 a##Offset
#define CODES_OF(a) Codes{a##Dst, (u32)a##Outs, a##Data, a##Absmax, a##Codes, (u32)a##First, real(a##Offset)}
#define GEMV_ONE(NAME, ROUND, NESTED, OUT) \
	GLOBAL_UPTO(512) NAME##OUT##_##ROUND(COMMON, i64 addTo, i64 by, CODES(a)) { \
		const Codes codes = CODES_OF(a); \
		gemvCode<ROUND, NESTED, OUT, one>(COMMON_OF, (u32)groups, addTo, real(by), 0, codes, codes, codes); \
	}
#define GEMV_MORE(NAME, ROUND, NESTED) \
	GLOBAL_UPTO(512) NAME##Several_##ROUND(COMMON, CODES(a), CODES(b), CODES(c)) { \
		gemvCode<ROUND, NESTED, 4, several>(COMMON_OF, (u32)groups, 0, 1.0f, 0, CODES_OF(a), CODES_OF(b), CODES_OF(c)); \
	} \
	GLOBAL_UPTO(512) NAME##Gated_##ROUND(COMMON, i64 activation, CODES(a), CODES(b)) { \
		const Codes up = CODES_OF(b); \
		gemvCode<ROUND, NESTED, 4, gated>(COMMON_OF, (u32)groups, 0, 1.0f, activation, CODES_OF(a), up, up); \
	}
// Kinds are those of weights; here they are what the values are rounded to.
#define GEMV_CODES(ROUND) \
	GEMV_ONE(gemvCode, ROUND, false, 2) \
	GEMV_ONE(gemvCode, ROUND, false, 4) \
	GEMV_MORE(gemvCode, ROUND, false) \
	GEMV_ONE(gemvNested, ROUND, true, 2) \
	GEMV_ONE(gemvNested, ROUND, true, 4) \
	GEMV_MORE(gemvNested, ROUND, true)
#ifdef ONLY_KIND
APPLY(GEMV_CODES, ONLY_KIND)
#else
GEMV_CODES(0) GEMV_CODES(1)
#endif
