// Products of up to four rows with weights in GGML's blocks, and their values.
//
// The order of a sum is matmul.cu's: a lane owns the pieces of 32 values whose
// number is its own modulo 32.
#include "activation.h"
#include "blocks.h"

const int piece = 32, classes = 32, stride = piece * classes; // values of a step
const int most = 16;                                          // warps of a block
const int outs = 2;                                           // outputs that a warp takes at a time
const int stages = 4;                                         // steps that are here or on their way

// A step of a row is a run of bytes that seldom begins at a multiple of 16, as copies
// do: it lies in shared memory as far behind one as it does on the device. A word that is
// read of its last bytes may reach beyond them.
template <int F> DEVICE constexpr u32 roomOfStep() {
	typedef Block<F> B;
	return (stride / B::values * B::bytes + (B::align == 16 ? 0 : 14 + 15)) / 16 * 16;
}

// Matrix is a weight [n, k] and where its products go.
struct Matrix {
	float *dst;
	u32 n;
	const u8 *data;
};

// alone says that there is no activation.
const i64 alone = -1;

// gemv: dst [rows, n] = x [rows, k] · wᵀ, up to M rows from blockY()·M on; of one row with up
// to three weights, each to its own dst; or with an activation, a.dst = activation(x·a) · (x·b).
//
// A warp takes two outputs at a time, for an activation one of each weight. It copies
// the blocks of a step, 1024 values of both, three steps ahead into a ring of its own, 16 bytes a lane, so that memory is read
// in whole lines whatever a block's size; then a lane reads its piece. x lies in shared memory chunk values of a row at a time, a
// piece every 36. Where that is all of a row, a block's warps go on from outputs to
// outputs each for itself.
template <int F, int M>
DEVICE void gemvBlocks(const float *x, u32 rows, u32 k, i64 addTo, float by, u32 chunk, i64 activation, const Matrix &a, const Matrix &b, const Matrix &c, u32 base) {
	typedef Block<F> B;
	const bool gated = M == 1 && activation != alone;
	const u32 stepBytes = stride / B::values * B::bytes, room = roomOfStep<F>();
	DYNAMIC(u8, mem); // rings of a block's warps, then x
	SHARED float part[most][M * outs][classes + 1];
	const u32 lane = threadX() % warp, me = threadX() / warp, warps = threads() / warp;
	const u32 steps = (k + stride - 1) / stride, rowBytes = k / B::values * B::bytes;
	const u32 groupsA = gated ? a.n : (a.n + outs - 1) / outs, groupsB = M > 1 || gated ? 0 : (b.n + outs - 1) / outs;
	const u32 groups = groupsA + groupsB + (M > 1 || gated ? 0 : (c.n + outs - 1) / outs);
	const SharedAddress ring = sharedAddress(mem) + me * stages * outs * room, xs = sharedAddress(mem) + warps * stages * outs * room;
	const SharedAddress mine = xs + lane * 36 * 4;
	const u32 row0 = blockY() * M;
	x += (i64)row0 * k, rows -= row0;

	// bring starts the copies of x from a value on; a row that is not there is the last one.
	auto bring = [&](u32 from) INLINE {
		const u32 width = k - from < chunk ? k - from : chunk;
		for (u32 m = 0; m < M; m++)
			for (u32 i = threadX() * 4; i < width; i += threads() * 4)
				copy16(xs + (m * (chunk / piece * 36) + i / piece * 36 + i % piece) * 4, (const u8 *)(x + (i64)(m < rows ? m : rows - 1) * k + from + i));
		closeCopies();
	};
	bring(0);

	// find gives the weight and the output that number r of a group is.
	auto find = [&](u32 group, u32 r, Matrix &w, u32 &out) INLINE {
		w = a, out = group * outs + r;
		if (gated) {
			out = group;
			if (r == 1) w = b;
		} else if (M == 1 && group >= groupsA) {
			const bool second = group - groupsA < groupsB;
			w = second ? b : c;
			out -= (second ? groupsA : groupsA + groupsB) * outs;
		}
	};
	// begin is where its row lies; that of one that is not there is the last one's.
	auto begin = [&](u32 group, u32 r) INLINE {
		Matrix w;
		u32 out;
		find(group, r, w, out);
		return w.data + (u64)(out < w.n ? out : w.n - 1) * rowBytes;
	};

	// What is asked for next, by half a warp an output.
	const u32 half = lane / 16;
	u32 nextGroup = blockX() * warps + me, nextStep = 0, nextSlot = 0;
	const u8 *nextRow = nullptr;
	auto ask = [&]() INLINE {
		if (nextGroup < groups) {
			if (nextStep == 0) nextRow = begin(nextGroup, half);
			const u8 *at = nextRow + nextStep * stepBytes;
			const u32 lead = B::align == 16 ? 0 : (u64)at & 15, left = rowBytes - nextStep * stepBytes;
			const u32 units = (lead + (left < stepBytes ? left : stepBytes) + 15) / 16;
			const u8 *from = at - lead + lane % 16 * 16;
			const SharedAddress to = ring + (nextSlot * outs + half) * room + lane % 16 * 16;
#pragma unroll
			for (u32 i = 0; i < room / 16; i += 16)
				if (lane % 16 + i < units) copy16(to + i * 16, from + i * 16);
			if (++nextStep == steps) nextStep = 0, nextGroup += blocks() * warps;
			if (++nextSlot == stages) nextSlot = 0;
		}
		closeCopies();
	};
#pragma unroll 1
	for (int i = 0; i < stages - 1; i++) ask();
	awaitBatches<stages - 1>();
	barrier();

	float acc[M][outs];
	u32 slot = 0, low[outs]; // the end of the address of each output's row
	// use adds a step's products.
	auto use = [&](u32 step, SharedAddress values) INLINE {
		if ((step * classes + lane) * piece >= k) return;
		const u32 number = lane * piece / B::values; // of the lane's block within the step
		Codes<8> codes[outs];
#pragma unroll
		for (u32 r = 0; r < outs; r++) {
			const u32 lead = B::align == 16 ? 0 : (low[r] + step * stepBytes) & 15;
			read<F, 8>(codes[r], InShared{ring + (slot * outs + r) * room + lead + number * B::bytes}, lane % (B::values / piece));
		}
#pragma unroll
		for (int i = 0; i < piece; i += 4) {
			float in[M][4];
#pragma unroll
			for (int m = 0; m < M; m++) sharedFloats(in[m], values + (m * (chunk / piece * 36) + i) * 4);
#pragma unroll
			for (int j = 0; j < 4; j++)
#pragma unroll
				for (u32 r = 0; r < outs; r++) {
					const float w = decoded<F>(codes[r], i + j, base);
#pragma unroll
					for (int m = 0; m < M; m++) acc[m][r] = fma32(in[m][j], w, acc[m][r]);
				}
		}
	};

	for (u32 first = blockX() * warps; first < groups; first += blocks() * warps) {
		const u32 group = first + me;
#pragma unroll
		for (int m = 0; m < M; m++)
#pragma unroll
			for (int r = 0; r < outs; r++) acc[m][r] = 0;
		if (B::align < 16 && group < groups) {
#pragma unroll
			for (int r = 0; r < outs; r++) low[r] = (u32)(u64)begin(group, r);
		}
		for (u32 from = 0; from < k; from += chunk) {
			if (chunk < k && (from > 0 || first > blockX() * warps)) {
				barrier();
				bring(from);
				awaitBatches<0>();
				barrier();
			}
			if (group >= groups) continue;
			for (u32 step = from / stride; step < steps && step * stride < from + chunk; step++) {
				awaitBatches<stages - 2>();
				warpBarrier(); // all lanes' copies are here, and nobody reads what the next ones go over
				ask();
				use(step, mine + (step * stride - from) / piece * 36 * 4);
				if (++slot == stages) slot = 0;
			}
		}
		if (group >= groups) continue;
#pragma unroll
		for (int m = 0; m < M; m++)
#pragma unroll
			for (int r = 0; r < outs; r++) part[me][m * outs + r][lane] = acc[m][r];
		warpBarrier();
		float sum = 0;
		if (lane < M * outs) {
#pragma unroll
			for (int p = 0; p < classes; p++) sum += part[me][lane][p];
		}
		if (gated) {
			const float up = shuffle(sum, 1);
			if (lane == 0) a.dst[group] = activated(sum, activation) * up;
		} else if (lane < M * outs && lane / outs < rows) {
			Matrix w;
			u32 out;
			find(group, lane % outs, w, out);
			if (out < w.n) put(w.dst + (i64)(row0 + lane / outs) * w.n + out, sum, addTo, by);
		}
		warpBarrier(); // spare: the next outputs begin with one as well
	}
}

// Values: a thread decodes eight at a time, numbers ids[r]·k + c of a weight for row r of dst, or the
// weight as it lies where there are no ids.
template <int F> DEVICE Codes<2> eight(const u8 *data, i64 at) {
	typedef Block<F> B;
	Codes<2> codes;
	const u32 i = (u32)at % B::values;
	read<F, 2>(codes, InMemory{data + at / B::values * B::bytes}, i / piece, i % piece / 4);
	return codes;
}

#define EACH_EIGHT(i, n) for (i64 i = ((i64)blockX() * threads() + threadX()) * 8; i < n; i += (i64)blocks() * threads() * 8)

template <int F> DEVICE void valuesOf(float *dst, const int *ids, i64 n, i64 k, const u8 *data) {
	EACH_EIGHT(i, n) {
		const i64 row = ids ? over(i, k) : 0;
		const Codes<2> c = eight<F>(data, ids ? ids[row] * k + i - row * k : i);
		float v[8];
#pragma unroll
		for (int j = 0; j < 8; j++) v[j] = decoded<F>(c, j);
		if ((u64)dst % 16 == 0) {
			f32x4 *to = (f32x4 *)(dst + i);
			to[0] = f32x4{v[0], v[1], v[2], v[3]}, to[1] = f32x4{v[4], v[5], v[6], v[7]};
		} else {
#pragma unroll
			for (int j = 0; j < 8; j++) dst[i + j] = v[j];
		}
	}
}

template <int F> DEVICE void brainOf(u32x4 *dst, i64 n, const u8 *data) {
	EACH_EIGHT(i, n) {
		const Codes<2> c = eight<F>(data, i);
		dst[i / 8] = u32x4{brains(decoded<F>(c, 0), decoded<F>(c, 1)), brains(decoded<F>(c, 2), decoded<F>(c, 3)), brains(decoded<F>(c, 4), decoded<F>(c, 5)), brains(decoded<F>(c, 6), decoded<F>(c, 7))};
	}
}

// brainTurned: dst [k, n], the transposed values of a weight [n, k]; a block of 256 threads a square of 64
// rows and the piece of 32 columns.
template <int F> DEVICE void brainTurned(u16 *dst, i64 n, i64 k, const u8 *data) {
	const int side = 64;
	SHARED float square[piece][side + 1];
	const i64 row = (i64)blockY() * side, col = (i64)blockX() * piece;
	const int r = threadX() / 4, first = threadX() % 4 * 8;
	if (row + r < n) {
		const Codes<2> c = eight<F>(data, (row + r) * k + col + first);
#pragma unroll
		for (int i = 0; i < 8; i++) square[first + i][r] = decoded<F>(c, i);
	}
	barrier();
#pragma unroll 1
	for (int i = threadX(); i < piece * side; i += threads())
		if (row + i % side < n) dst[(col + i / side) * n + row + i % side] = (u16)brains(square[i / side][i % side], 0.0f);
}

#define MATRIX(a) float *a##Dst, i64 a##N, const u8 *a##Data
#define MATRIX_OF(a) Matrix{a##Dst, (u32)a##N, a##Data}
#define BLOCKS_OF(F) \
	GLOBAL BOUNDS(512, 1) gemvBlocks1_##F(const float *x, i64 k, i64 addTo, i64 by, i64 chunk, i64 activation, MATRIX(a), MATRIX(b), MATRIX(c)) { \
		gemvBlocks<F, 1>(x, 1, (u32)k, addTo, real(by), (u32)chunk, activation, MATRIX_OF(a), MATRIX_OF(b), MATRIX_OF(c), hidden(Block<F>::base, k)); \
	} \
	GLOBAL BOUNDS(512, 1) gemvBlocks4_##F(const float *x, i64 k, i64 addTo, i64 by, i64 chunk, i64 rows, MATRIX(a)) { \
		gemvBlocks<F, 4>(x, (u32)rows, (u32)k, addTo, real(by), (u32)chunk, alone, MATRIX_OF(a), MATRIX_OF(a), MATRIX_OF(a), hidden(Block<F>::base, k)); \
	} \
	GLOBAL blockValues_##F(float *dst, const int *ids, i64 n, i64 k, const u8 *data) { valuesOf<F>(dst, ids, n, k, data); } \
	GLOBAL blockBrain_##F(u32x4 *dst, i64 n, const u8 *data) { brainOf<F>(dst, n, data); } \
	GLOBAL blockTurned_##F(u16 *dst, i64 n, i64 k, const u8 *data) { brainTurned<F>(dst, n, k, data); }
EACH_FORMAT(BLOCKS_OF)
