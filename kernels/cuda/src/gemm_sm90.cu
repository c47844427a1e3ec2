// Products of tiles.h that are copied by the threads that multiply, 128 by 256 outputs a
// block, two tiles ahead: of any matrices, and with any driver that knows Hopper.
#include "copies.h"
#include "tiles.h"

const int rowsB = 256, ahead = 2;
const int bytesStage = bytesA + rowsB * depth * 2;

// fetch starts the copies of tile t of a and b into a stage.
DEVICE void fetch(SharedAddress stage, const u16 *a, const u16 *b, i64 row0, i64 col0, i64 m, i64 n, i64 k, i64 t) {
	const int chunk = threadX() % 8, first = threadX() / 8; // 32 rows at a time
	const i64 at = t * depth + chunk * 8;
	const SharedAddress to = stage + first * 128 + (chunk ^ first % 8) * 16;
#pragma unroll
	for (int r = 0; r < rowsA; r += 32) {
		i64 row = row0 + first + r;
		copy16(to + r * 128, a + (row < m ? row * k + at : 0), row < m);
	}
#pragma unroll
	for (int r = 0; r < rowsB; r += 32) {
		i64 row = col0 + first + r;
		copy16(to + bytesA + r * 128, b + (row < n ? row * k + at : 0), row < n);
	}
}

// storeAny writes a warpgroup's 64 by 256 outputs wherever they lie, or adds them to what
// lies at plus.
DEVICE void storeAny(void *dst, const float *plus, const float *d, i64 row0, i64 col0, i64 m, i64 n, i64 how) {
	const int lane = threadX() % warp;
	const i64 row = row0 + threadX() % 128 / warp * 16 + lane / 4, col = col0 + lane % 4 * 2;
#pragma unroll
	for (int i = 0; i < 128; i++) {
		const i64 r = row + i / 2 % 2 * 8, c = col + i / 4 * 8 + i % 2;
		if (r >= m || c >= n) continue;
		float v = d[i];
		if (how & howRound) v = asBrain(v);
		if (how & howBrain)
			((u16 *)dst)[r * n + c] = (u16)brains(v, 0.0f);
		else
			((float *)dst)[r * n + c] = plus ? plus[r * n + c] + v : v;
	}
}

GLOBAL BOUNDS(256, 1) gemmBrain(void *dst, const float *plus, const u16 *a, const u16 *b, i64 m, i64 n, i64 k, i64 how) {
	DYNAMIC(u8, mem);
	const SharedAddress base = (sharedAddress(mem) + 1023) / 1024 * 1024;
	const i64 row0 = (i64)blockX() * rowsA, col0 = (i64)blockY() * rowsB;
	const int group = threadX() / 128;
	const i64 tiles = k / depth;
	float d[128];
#pragma unroll
	for (int i = 0; i < 128; i++) d[i] = 0;
	for (int t = 0; t < ahead; t++) {
		if (t < tiles) fetch(base + t * bytesStage, a, b, row0, col0, m, n, k, t);
		closeCopies();
	}
#pragma unroll 1
	for (i64 t = 0; t < tiles; t++) {
		// This tile has arrived for all, and all have finished the tile before the
		// last, whose place the next copy takes.
		awaitBatches<1>();
		fenceAsync();
		barrier();
		const SharedAddress stage = base + (u32)(t % stages) * bytesStage;
		const u64 da = tileOf(stage + group * 64 * 128), db = tileOf(stage + bytesA);
		fenceSums();
#pragma unroll
		for (int i = 0; i < depth / 16; i++) multiply<rowsB>(d, da + 2 * i, db + 2 * i);
		closeProducts();
		if (t + ahead < tiles) fetch(base + (u32)((t + ahead) % stages) * bytesStage, a, b, row0, col0, m, n, k, t + ahead);
		closeCopies();
		awaitProducts<1>();
	}
	awaitProducts<0>();
	storeAny(dst, plus, d, row0 + group * 64, col0, m, n, how);
}
