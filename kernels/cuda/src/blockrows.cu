// Products of many rows with weights in GGML's blocks: a code is decoded once for up
// to 64 rows.
//
// The order of a sum is matmul.cu's. A block owns ROWS by 32 outputs and goes through the
// 32 classes eight at a time, 256 values side by side: each of its eight groups of 64 threads sums the pieces of a
// class of its own, ROWS/8 by 4 outputs a thread, then the eight sums are added in their
// order; as in fewrows.cu. Blocks come as in blocks.cu: copied 16 bytes a thread, while the
// values before are multiplied.
#include "blocks.h"

const int piece = 32, classes = 32, groups = 8, groupThreads = 64, cols = 32, side = groups * piece;

// A run of 256 values lies as far behind a multiple of 16 bytes as on the device, and those of
// different outputs an odd number of 16 bytes apart, which spreads them over the banks.
template <int F> DEVICE constexpr u32 roomOfRun() {
	typedef Block<F> B;
	return (side / B::values * B::bytes + (B::align == 16 ? 0 : 14 + 15)) / 16 * 16 | 16;
}

template <int F, int ROWS> DEVICE void blockRows(float *dst, const float *x, u32 rows, u32 n, u32 k, i64 addTo, float by, const u8 *data, u32 magic) {
	typedef Block<F> B;
	const int R = ROWS / 8, sums = ROWS * cols / (groups * groupThreads);
	const u32 runBytes = side / B::values * B::bytes, room = roomOfRun<F>(), rowBytes = k / B::values * B::bytes;
	DYNAMIC(float, mem); // xs [groups][piece][ROWS], ws [groups][piece][cols], the blocks; in place of xs then the groups' sums
	const int group = threadX() / groupThreads, t = threadX() % groupThreads;
	const SharedAddress blocksAt = sharedAddress(mem) + groups * piece * (ROWS + cols) * 4;
	float *xs = mem + group * piece * ROWS, *ws = mem + groups * piece * ROWS + group * piece * cols;
	const u32 row0 = blockY() * ROWS, col0 = blockX() * cols;
	const int half = t / cols, chunk = t % 8, first = t / 8; // what a thread brings
	const int row = t / 8 * R, col = t % 8 * 4;              // what it sums
	const int mask = ROWS - 1; // values of x lie turned, as in fewrows.cu

	// begin is where the run of an output's values from base on lies; an output that is not
	// there is the last one.
	auto begin = [&](int output, u32 base) INLINE { return (u64)(col0 + output < n ? col0 + output : n - 1) * rowBytes + base / B::values * B::bytes; };
	f32x4 next[R];
	const int left = (int)(rows - row0) - first;
	const float *fromX = x + (u64)(row0 + first) * k + 4 * chunk + group * piece;
	auto ask = [&](u32 base) INLINE {
		if (base >= k) return;
		const float *from = fromX + base;
		const bool there = base + group * piece < k;
#pragma unroll
		for (int i = 0; i < R; i++, from += 8 * (u64)k) next[i] = there && 8 * i < left ? *(const f32x4 *)from : f32x4{0, 0, 0, 0};
		const int output = threadX() / 16, unit = threadX() % 16;
		const u64 at = begin(output, base);
		const u32 lead = B::align == 16 ? 0 : at & 15, rest = rowBytes - base / B::values * B::bytes;
		const u32 units = (lead + (rest < runBytes ? rest : runBytes) + 15) / 16;
#pragma unroll
		for (u32 i = 0; i < room / 16; i += 16)
			if (unit + i < units) copy16(blocksAt + output * room + (unit + i) * 16, data + (at - lead) + (unit + i) * 16);
		closeCopies();
	};

	float acc[R][4], total[sums];
#pragma unroll
	for (int i = 0; i < sums; i++) total[i] = 0;
	ask(0);
	for (u32 c0 = 0; c0 < classes && c0 * piece < k; c0 += groups) {
#pragma unroll
		for (int i = 0; i < R; i++)
#pragma unroll
			for (int j = 0; j < 4; j++) acc[i][j] = 0;
#pragma unroll 1
		for (u32 base = c0 * piece; base < k; base += classes * piece) {
			const bool more = base + group * piece < k;
			awaitBatches<0>();
			barrier();
			if (more) {
#pragma unroll
				for (int i = 0; i < R; i++) {
					const int at = (first + 8 * i) ^ (4 * chunk & mask);
					float *to = xs + 4 * chunk * ROWS + at;
					to[0] = next[i].x, to[ROWS] = next[i].y, to[2 * ROWS] = next[i].z, to[3 * ROWS] = next[i].w;
				}
				const int output = t % cols;
				const u32 lead = B::align == 16 ? 0 : begin(output, base) & 15;
				Codes<4> codes;
				read<F, 4>(codes, InShared{blocksAt + output * room + lead + group * piece / B::values * B::bytes}, group % (B::values / piece), 4 * half);
#pragma unroll
				for (int j = 0; j < 16; j++) ws[(half * 16 + j) * cols + output] = decoded<F>(codes, j, magic);
			}
			barrier();
			const u32 later = base + classes * piece;
			ask(later < k ? later : c0 + groups < classes ? (c0 + groups) * piece : k);
			if (!more) continue;
#pragma unroll 4
			for (int s = 0; s < piece; s++) {
				const int turn = 4 * (s / 4) & mask;
				float a[R];
				if (R >= 4) {
#pragma unroll
					for (int h = 0; h < R; h += 4) {
						const f32x4 q = *(const f32x4 *)(xs + s * ROWS + ((row + h) ^ turn));
						a[h] = q.x, a[h + 1] = q.y, a[h + 2] = q.z, a[h + 3] = q.w;
					}
				} else {
#pragma unroll
					for (int i = 0; i < R; i++) a[i] = xs[s * ROWS + (row ^ turn) + i];
				}
				const f32x4 q = *(const f32x4 *)(ws + s * cols + col);
				const float b[4] = {q.x, q.y, q.z, q.w};
#pragma unroll
				for (int i = 0; i < R; i++)
#pragma unroll
					for (int j = 0; j < 4; j++) acc[i][j] = fma32(a[i], b[j], acc[i][j]);
			}
		}
		// The sums of eight classes, where xs was.
		barrier();
#pragma unroll
		for (int i = 0; i < R; i++) *(f32x4 *)(mem + (group * ROWS + row + i) * cols + col) = f32x4{acc[i][0], acc[i][1], acc[i][2], acc[i][3]};
		barrier();
#pragma unroll
		for (int i = 0; i < sums; i++)
#pragma unroll
			for (int c = 0; c < groups; c++) total[i] += mem[c * ROWS * cols + threadX() + groups * groupThreads * i];
	}
#pragma unroll
	for (int i = 0; i < sums; i++) {
		const int e = threadX() + groups * groupThreads * i;
		const u32 r = row0 + e / cols, c = col0 + e % cols;
		if (r < rows && c < n) put(dst + (u64)r * n + c, total[i], addTo, by);
	}
}

#define BLOCK_ROWS(F, ROWS) \
	GLOBAL BOUNDS(512, 1) blockRows##ROWS##_##F(float *dst, const float *x, i64 rows, i64 n, i64 k, i64 addTo, i64 by, const u8 *data) { \
		blockRows<F, ROWS>(dst, x, (u32)rows, (u32)n, (u32)k, addTo, real(by), data, hidden(Block<F>::base, k)); \
	}
#define BLOCK_ROWS_OF(F) BLOCK_ROWS(F, 16) BLOCK_ROWS(F, 64)
EACH_FORMAT(BLOCK_ROWS_OF)
