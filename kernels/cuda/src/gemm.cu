// Products of bfloat16 matrices on the matrix units of any processor from capability 8.0
// on, summed in float32: dst [m, n] = a [m, k] · bᵀ, b [n, k]; k is a multiple of 64.
// Hopper's own way is gemm_sm90.cu.
//
// A block of four warps owns 128 by 128 outputs, a warp 64 by 64 of them in
// registers. Tiles of 32 columns of a and b go through shared memory in a ring of
// three, copied two tiles ahead. A row's four chunks of 16 bytes are exchanged by
// its number, so that the eight rows that ldmatrix reads at once lie in all banks: chunk c
// of row r at place c ^ (r / 2 mod 4).
//
// A sum is taken in the order of k, 16 values a step of the matrix unit, whatever m is.
#include "copies.h"

const int side = 128, depth = 32, ring = 3, tileBytes = side * depth * 2;

DEVICE u32 placeOf(int row, int chunk) { return row * (2 * depth) + (chunk ^ row / 2 % 4) * 16; }

// Source is what a thread copies of a matrix: chunks of every 32nd of 128 rows.
struct Source {
	const u16 *at[4]; // null beyond the last row
	u32 to;
	METHOD Source(const u16 *matrix, i64 first, i64 rows, i64 k) {
		const int row = threadX() / 4, chunk = threadX() % 4;
		to = placeOf(row, chunk); // the same of rows 32 apart
#pragma unroll
		for (int i = 0; i < 4; i++) {
			const i64 r = first + row + 32 * i;
			at[i] = r < rows ? matrix + r * k + 8 * chunk : nullptr;
		}
	}
	METHOD void pull(SharedAddress tile, const u16 *any) {
#pragma unroll
		for (int i = 0; i < 4; i++) {
			copy16(tile + to + 32 * i * (2 * depth), at[i] ? at[i] : any, at[i] != nullptr);
			if (at[i]) at[i] += depth;
		}
	}
};

// storeTwo writes two values beside each other, the second where there is one.
DEVICE void storeTwo(void *dst, const float *plus, i64 at, f32x2 v, bool second, bool pairs, i64 how) {
	if (how & howRound) v = f32x2{asBrain(v.x), asBrain(v.y)};
	if (how & howBrain) {
		u16 *to = (u16 *)dst + at;
		const u32 two = brains(v.x, v.y);
		if (pairs) {
			*(u32 *)to = two;
			return;
		}
		to[0] = (u16)two;
		if (second) to[1] = (u16)(two >> 16);
		return;
	}
	float *to = (float *)dst + at;
	if (pairs) {
		if (plus) {
			const f32x2 old = *(const f32x2 *)(plus + at);
			v = f32x2{old.x + v.x, old.y + v.y};
		}
		*(f32x2 *)to = v;
		return;
	}
	to[0] = plus ? plus[at] + v.x : v.x;
	if (second) to[1] = plus ? plus[at + 1] + v.y : v.y;
}

GLOBAL BOUNDS(128, 2) gemmMatrix(void *dst, const float *plus, const u16 *a, const u16 *b, i64 m, i64 n, i64 k, i64 how) {
	DYNAMIC(u8, mem);
	const SharedAddress base = sharedAddress(mem);
	const i64 row0 = (i64)blockX() * side, col0 = (i64)blockY() * side;
	const int lane = threadX() % warp, me = threadX() / warp, down = me / 2 * 64, right = me % 2 * 64;
	// The row and chunk that a lane names to ldmatrix: of a, 16 rows by two chunks; of b, two
	// chunks of eight rows, then of the next eight. Their places move with the row by whole 16 rows.
	const int rowA = down + lane % 16, chunkA = lane / 16, rowB = right + lane / 16 * 8 + lane % 8, chunkB = lane / 8 % 2;
	Source as(a, row0, m, k), bs(b, col0, n, k);
	const auto pull = [&](int slot) INLINE {
		as.pull(base + slot * 2 * tileBytes, a);
		bs.pull(base + slot * 2 * tileBytes + tileBytes, b);
	};
	const int tiles = (int)(k / depth);
	float d[4][8][4];
#pragma unroll
	for (int i = 0; i < 4 * 8 * 4; i++) d[i / 32][i / 4 % 8][i % 4] = 0;
#pragma unroll
	for (int s = 0; s < ring - 1; s++) {
		if (s < tiles) pull(s);
		closeCopies();
	}
	int slot = 0, ahead = ring - 1;
#pragma unroll 1
	for (int t = 0; t < tiles; t++) {
		// This tile has arrived for all, and all have finished the one before, whose place the
		// next copies take.
		awaitBatches<ring - 2>();
		barrier();
		if (t + ring - 1 < tiles) pull(ahead);
		closeCopies();
		const SharedAddress at = base + slot * 2 * tileBytes, bt = at + tileBytes;
		u32 x[2][4][4], y[2][4][4];
		const auto load = [&](int step, int into) INLINE {
#pragma unroll
			for (int i = 0; i < 4; i++) loadMatrices(x[into][i], at + placeOf(rowA, 2 * step + chunkA) + 16 * i * (2 * depth));
#pragma unroll
			for (int j = 0; j < 4; j++) loadMatrices(y[into][j], bt + placeOf(rowB, 2 * step + chunkB) + 16 * j * (2 * depth));
		};
		load(0, 0);
#pragma unroll
		for (int step = 0; step < depth / 16; step++) {
			if (step + 1 < depth / 16) load(step + 1, (step + 1) % 2);
#pragma unroll
			for (int i = 0; i < 4; i++)
#pragma unroll
				for (int j = 0; j < 8; j++) matrixUnit(d[i][j], x[step % 2][i], y[step % 2][j / 2][j % 2 * 2], y[step % 2][j / 2][j % 2 * 2 + 1]);
		}
		slot = slot + 1 == ring ? 0 : slot + 1;
		ahead = ahead + 1 == ring ? 0 : ahead + 1;
	}
	const bool pairs = n % 2 == 0 && (((u64)dst | (u64)plus) & 7) == 0;
	const i64 row = row0 + down + lane / 4, col = col0 + right + lane % 4 * 2;
#pragma unroll
	for (int i = 0; i < 4; i++)
#pragma unroll
		for (int h = 0; h < 2; h++) {
			const i64 r = row + 16 * i + 8 * h;
			if (r >= m) continue;
#pragma unroll
			for (int j = 0; j < 8; j++) {
				const i64 c = col + 8 * j;
				if (c < n) storeTwo(dst, plus, r * n + c, f32x2{d[i][j][2 * h], d[i][j][2 * h + 1]}, c + 1 < n, pairs, how);
			}
		}
}
