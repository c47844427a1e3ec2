// Products of one row with weights of 16-bit values: what decoding one sequence
// consists of. The sums are those of thirds.cu; of the 8 columns that the matrix
// unit has for rows, three take the parts of the one.
#include "activation.h"
#include "thirds.h"

const int tileOuts = 16; // outputs of a tile

// Values are a weight [outs, k], and where its products go. All weights of a kernel have
// the same maps and equal blocks, powers of two; values are counted in 32 bits.
struct Values {
	float *dst;
	u32 outs;
	const u8 *data;
	const float *absmax;
	const u8 *codes; // of the scales
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
enum Scales { noScales, plainScales, codedScales };

// oneBody: a block takes every blocks()th tile of 16 outputs (of a gate, 16 of either
// weight), and its warps the pieces of K of all of them: the sums of a piece go to
// shared memory, where they are added in their order at the end. What a warp reads of the weights it
// asks for 256 values ahead.
template <Scales SCALES, bool HALF, Mode MODE>
DEVICE void oneBody(const Common &all, u32 tiles, i64 addTo, float by, i64 activation, const Values &a, const Values &b, const Values &c) {
	const bool CODES = SCALES != noScales;
	const int M = MODE == gated ? 2 : 1, steps = Gulp<CODES>::steps, gulps = chunkValues / Gulp<CODES>::span, reads = Gulp<CODES>::reads;
	const u32 span = Gulp<CODES>::span, own = Gulp<CODES>::own;
	DYNAMIC(u8, mem);
	SHARED f32x4 maps[4];
	SHARED float scales[256];
	u32x2 *xs = (u32x2 *)(mem + (CODES ? pairBytes : 0)); // [steps of K][3 parts][4 lanes]
	const u32 lane = threadX() % warp, me = threadX() / warp, warps = threads() / warp, g = lane / 4, t = lane % 4;
	const u32 width = all.k, padded = (width + span - 1) / span * span, shift = all.shift, shift2 = all.shift2, piece = pieceOf(width), pieces = (width + piece - 1) / piece;
	const u32 mine = tiles > (u32)blockX() ? (tiles - blockX() + blocks() - 1) / blocks() : 0, tasks = mine * pieces;
	float *sums = (float *)(xs + padded / 16 * 12); // [tile][piece][M][16]

	// from is the weight that a tile's outputs belong to, out the first of them.
	auto find = [&](u32 tile, Values &from, u32 &out) INLINE {
		from = a;
		if (MODE == several) {
			const u32 ofA = (a.outs + tileOuts - 1) / tileOuts, ofB = (b.outs + tileOuts - 1) / tileOuts;
			if (tile >= ofA) {
				from = tile - ofA < ofB ? b : c;
				tile -= tile - ofA < ofB ? ofA : ofA + ofB;
			}
		}
		out = tile * tileOuts;
	};
	u32x4 ahead[gulps][2 * M][reads];
	float absmax[gulps][2 * M];
	u32 second[gulps][2 * M];
	Values from;
	u32 out = 0, base = 0, end = 0; // of the task asked for: its first output, the values asked for, where they end
	auto ask = [&](int i) INLINE {
		const u32 at = base + i * span;
		if (at + t * own >= width) return;
#pragma unroll
		for (int r = 0; r < 2 * M; r++) {
			const Values &w = r < 2 ? from : b;
			const u32 o = out + g + r % 2 * 8;
			const u32 v = (o < w.outs ? o : w.outs - 1) * width + at + t * own + (CODES ? w.first : 0); // one that is not there is the last
			const u32x4 *row = (const u32x4 *)(CODES ? w.data + (v >> 1) : w.data + 2 * (i64)v);
#pragma unroll
			for (int j = 0; j < reads; j++) ahead[i][r][j] = row[j];
			if (SCALES == plainScales) absmax[i][r] = w.absmax[v >> shift];
			if (SCALES == codedScales) {
				const u32 block = v >> shift;
				second[i][r] = w.codes[block];
				absmax[i][r] = w.absmax[block >> shift2];
			}
		}
	};
	auto begin = [&](u32 task) INLINE {
		find(blockX() + task / pieces * blocks(), from, out);
		base = task % pieces * piece;
		end = lowest((int)width, (int)(base + piece));
	};
	if (me < tasks) {
		begin(me);
#pragma unroll
		for (int i = 0; i < gulps; i++) ask(i);
	}
	// What comes from memory here is asked for at once: waiting for one thing after
	// another would take longer than the products of a small weight.
	const int early = 2;
	f32x4 firstX[early];
	float map = 0, scale = 0;
#pragma unroll
	for (int i = 0; i < early; i++)
		if (threadX() + i * threads() < width / 4) firstX[i] = fourOf(all.x + 4 * (threadX() + i * threads()));
		else firstX[i] = f32x4{0, 0, 0, 0};
	if (CODES) map = all.map[lane % 16];
	if (SCALES == codedScales && threadX() < 256) scale = all.map2[threadX()];
	auto split = [&](u32 i, const f32x4 &v) INLINE {
		u32 low[3], high[3];
		thirdsOf(low, v.x, v.y);
		thirdsOf(high, v.z, v.w);
		u32x2 *to = xs + (i / (4 * steps) * steps + i % steps) * 12 + i / steps % 4;
#pragma unroll
		for (int p = 0; p < 3; p++) to[4 * p] = u32x2{low[p], high[p]};
	};
	if (CODES) spreadPairs((f32x2 *)mem, map);
	if (CODES && threadX() < 16) ((float *)maps)[threadX()] = map;
	if (SCALES == codedScales) {
		if (threadX() < 256) scales[threadX()] = scale;
		for (u32 i = threadX() + threads(); i < 256; i += threads()) scales[i] = all.map2[i];
	}
#pragma unroll
	for (int i = 0; i < early; i++)
		if (threadX() + i * threads() < padded / 4) split(threadX() + i * threads(), firstX[i]);
	for (u32 i = threadX() + early * threads(); i < padded / 4; i += threads()) split(i, i < width / 4 ? fourOf(all.x + 4 * i) : f32x4{0, 0, 0, 0});
	barrier();

	const SharedAddress pairs = sharedAddress(mem);
	const u32x2 *part = xs + (g < 2 ? g : 2) * 4 + t; // columns from 3 on repeat the third; nobody looks at them
	float acc[M][4];
#pragma unroll
	for (int i = 0; i < M; i++)
#pragma unroll
		for (int e = 0; e < 4; e++) acc[i][e] = 0;
	for (u32 task = me; task < tasks;) {
		const u32 at = base;
		const float offset = from.offset;
		const bool last = base + chunkValues >= end; // of this piece
		if (!last)
			base += chunkValues;
		else if (task + warps < tasks)
			begin(task + warps);
		else
			base = width; // nothing more to ask for
#pragma unroll
		for (int i = 0; i < gulps; i++) {
			u32x4 q[2 * M][reads];
			float scale[2 * M];
			const bool there = at + i * span + t * own < width; // if not, codes times zero
#pragma unroll
			for (int r = 0; r < 2 * M; r++) {
#pragma unroll
				for (int j = 0; j < reads; j++) q[r][j] = ahead[i][r][j];
				scale[r] = 0;
				if (!there) continue;
				if (SCALES == plainScales) scale[r] = absmax[i][r];
				if (SCALES == codedScales) scale[r] = scales[second[i][r]] * absmax[i][r] + (r < 2 ? offset : b.offset);
			}
			ask(i);
			if (at + i * span >= width) continue;
			const u32x2 *x = part + (at / 16 + i * steps) * 12;
			// Of bfloat16, half of the rows are looked up in shared memory and half in registers:
			// the one has no more to give, the other is bound by instructions.
			const bool both = CODES && !HALF;
			Chosen chosen[M];
#pragma unroll
			for (int j = 0; j < M; j++)
				if (both) chosen[j].fill(maps, scale[2 * j + 1]);
#pragma unroll
			for (int s = 0; s < steps; s++) {
				const u32x2 v = x[s * 12];
#pragma unroll
				for (int j = 0; j < M; j++) {
					Pairs<HALF> f[2];
					rowPairs<CODES, HALF>(f[0], q[2 * j], s, scale[2 * j], pairs, lane);
					if (both)
						chosen[j].pairs((Pairs<false> &)f[1], q[2 * j + 1], s);
					else
						rowPairs<CODES, HALF>(f[1], q[2 * j + 1], s, scale[2 * j + 1], pairs, lane);
					multiplyTile<HALF>(acc[j], f, v);
				}
			}
		}
		if (!last) continue;
		// Lanes t = 0 have the first and the second part, t = 1 the third.
#pragma unroll
		for (int j = 0; j < M; j++) {
			const float low = shuffle(acc[j][0], lane + 1 & 31), high = shuffle(acc[j][2], lane + 1 & 31);
			if (t == 0) {
				float *to = sums + (task * M + j) * tileOuts + g;
				to[0] = acc[j][0] + (acc[j][1] + low);
				to[8] = acc[j][2] + (acc[j][3] + high);
			}
#pragma unroll
			for (int e = 0; e < 4; e++) acc[j][e] = 0;
		}
		task += warps;
	}
	barrier();
	for (u32 i = threadX(); i < mine * tileOuts; i += threads()) {
		const float *mySums = sums + i / tileOuts * pieces * M * tileOuts + i % tileOuts;
		float sum[M];
#pragma unroll
		for (int j = 0; j < M; j++) {
			sum[j] = 0;
#pragma unroll 8
			for (u32 p = 0; p < pieces; p++) sum[j] += mySums[(p * M + j) * tileOuts];
		}
		Values to;
		u32 o;
		find(blockX() + i / tileOuts * blocks(), to, o);
		o += i % tileOuts;
		if (o >= to.outs) continue;
		if (MODE == gated)
			to.dst[o] = activated(sum[0], activation) * sum[M - 1];
		else
			put(to.dst + o, sum[0], addTo, by);
	}
}

#define COMMON const float *x, i64 k, const float *map, const float *map2, i64 shift, i64 shift2, i64 tiles
#define COMMON_OF Common{x, map, map2, (u32)k, (u32)shift, (u32)shift2}
#define VALUES(a) float *a##Dst, i64 a##Outs, const u8 *a##Data, const float *a##Absmax, const u8 *a##Codes, i64 a##First, i64 a##Offset
#define VALUES_OF(a) Values{a##Dst, (u32)a##Outs, a##Data, a##Absmax, a##Codes, (u32)a##First, real(a##Offset)}
// At most so many threads a block, since what is asked for ahead takes registers.
#define ONE_ROW(NAME, SCALES, HALF, THREADS) \
	GLOBAL_UPTO(THREADS) NAME(COMMON, i64 addTo, i64 by, VALUES(a)) { \
		const Values values = VALUES_OF(a); \
		oneBody<SCALES, HALF, one>(COMMON_OF, (u32)tiles, addTo, real(by), 0, values, values, values); \
	} \
	GLOBAL_UPTO(THREADS) NAME##Several(COMMON, VALUES(a), VALUES(b), VALUES(c)) { \
		oneBody<SCALES, HALF, several>(COMMON_OF, (u32)tiles, 0, 1.0f, 0, VALUES_OF(a), VALUES_OF(b), VALUES_OF(c)); \
	} \
	GLOBAL_UPTO(THREADS) NAME##Gated(COMMON, i64 activation, VALUES(a), VALUES(b)) { \
		const Values up = VALUES_OF(b); \
		oneBody<SCALES, HALF, gated>(COMMON_OF, (u32)tiles, 0, 1.0f, activation, VALUES_OF(a), up, up); \
	}
#if !defined HALF_VALUES || !HALF_VALUES
ONE_ROW(oneRowBrain, noScales, false, 256)
ONE_ROW(oneRowCodesBrain, plainScales, false, 512)
ONE_ROW(oneRowNestedBrain, codedScales, false, 512)
#endif
#if !defined HALF_VALUES || HALF_VALUES
ONE_ROW(oneRowHalf, noScales, true, 256)
ONE_ROW(oneRowCodesHalf, plainScales, true, 512)
ONE_ROW(oneRowNestedHalf, codedScales, true, 512)
#endif
