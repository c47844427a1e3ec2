// Products of bfloat16 matrices on Hopper's matrix units, summed in float32:
// dst [m, n] = a [m, k] · bᵀ, b [n, k]; k is a multiple of 64.
//
// A block of two warpgroups owns 128 by 256 outputs, each of them 64 by 256 in
// registers. Tiles of 64 columns of a and b go through shared memory in a ring
// of four, copied asynchronously two tiles ahead, in the layout that wgmma calls
// 128-byte swizzle: the 16-byte chunk c of row r lies at place c ^ (r mod 8).
#include "copies.h"

// How a product is stored: with howRound it is rounded to bfloat16 before it is stored or
// added; with howBrain dst is of bfloat16 itself, and nothing is added.
const i64 howRound = 2, howBrain = 4;

// Product is a weight's part of a batch of products of the same a: where it goes, its
// columns, and the first column of tiles that is not its own; see ../brain.go.
struct Product {
	void *dst;
	const float *plus;
	int n, end;
	i64 how;
};

// find gives the product that a column of tiles belongs to, and makes the column count
// from the product's first.
DEVICE int find(const Product *products, int &col) {
	int p = 0;
	while (col >= products[p].end) p++;
	if (p > 0) col -= products[p - 1].end;
	return p;
}

// Tile is an output of a batch of products: its row and its column of tiles; none
// where row is below 0.
struct Tile {
	int row, col;
};

// tileOfTurn gives what a block takes at a turn, of down rows and columns of tiles. The
// last row of tiles may be half empty (half = 1), so that one of its tiles takes half as
// long. The others go round, rows first; then those blocks that have one less take two
// halves each, and then all what is left.
DEVICE Tile tileOfTurn(int turn, int down, int columns, int half) {
	const int b = blockX(), all = blocks(), rows = down - half, whole = rows * columns;
	const int o = b + turn * all;
	if (o < whole) return Tile{o % rows, o / rows};
	if (!half) return Tile{-1, 0};
	const int first = whole % all, fewer = all - first; // from block first on there is one less
	int t = turn - (whole / all + (b < first)), j = b - first + t * fewer;
	if (b < first || t >= 2) {
		if (b >= first) t -= 2;
		j = 2 * fewer + b + t * all;
	}
	return j < columns ? Tile{rows, j} : Tile{-1, 0};
}

// A chain is products with the same dst, each of its own a and b and added to those
// before it: depths has the depth of each, in tiles, 16 bits each.
DEVICE int depthOf(i64 depths, int link) { return (int)(depths >> 16 * link & 0xffff); }


#ifndef EMULATE

const int rowsA = 128, rowsB = 256, depth = 64, stages = 4, ahead = 2;
const int bytesA = rowsA * depth * 2, bytesB = rowsB * depth * 2, bytesStage = bytesA + bytesB;

// tileOf describes rows of 128 bytes in shared memory to wgmma: the address,
// 1024 bytes from 8 rows to the next 8, swizzle of 128 bytes.
DEVICE u64 tileOf(u32 address) { return (u64)(address >> 4 & 0x3fff) | 1ull << 16 | 64ull << 32 | 1ull << 62; }

// multiply adds a tile of 64 by 16 times 16 by W to d, 64 by W: W / 2 values a thread.
template <int W> DEVICE void multiply(float *d, u64 a, u64 b);

#define TEN(t) "%" #t "0, %" #t "1, %" #t "2, %" #t "3, %" #t "4, %" #t "5, %" #t "6, %" #t "7, %" #t "8, %" #t "9, "
#define TO80 TEN() TEN(1) TEN(2) TEN(3) TEN(4) TEN(5) TEN(6) TEN(7)
#define TO110 TO80 TEN(8) TEN(9) TEN(10)
#define IN4(i) "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3])
#define IN8(i) IN4(i), IN4(i + 4)
#define IN40(i) IN8(i), IN8(i + 8), IN8(i + 16), IN8(i + 24), IN8(i + 32)
#define MULTIPLY(W, NAMES, ...) \
	template <> METHOD void multiply<W>(float *d, u64 a, u64 b) { \
		asm volatile("wgmma.mma_async.sync.aligned.m64n" #W "k16.f32.bf16.bf16 {" NAMES "}, %[a], %[b], 1, 1, 1, 0, 0;" : __VA_ARGS__ : [a] "l"(a), [b] "l"(b)); \
	}
MULTIPLY(176, TO80 "%80, %81, %82, %83, %84, %85, %86, %87", IN40(0), IN40(40), IN8(80))
MULTIPLY(208, TO80 TEN(8) TEN(9) "%100, %101, %102, %103", IN40(0), IN40(40), IN8(80), IN8(88), IN8(96))
MULTIPLY(232, TO110 "%110, %111, %112, %113, %114, %115", IN40(0), IN40(40), IN8(80), IN8(88), IN8(96), IN8(104), IN4(112))
MULTIPLY(240, TO110 "%110, %111, %112, %113, %114, %115, %116, %117, %118, %119", IN40(0), IN40(40), IN40(80))
MULTIPLY(256, TO110 TEN(11) "%120, %121, %122, %123, %124, %125, %126, %127", IN40(0), IN40(40), IN40(80), IN8(120))

// fetch starts the copies of tile t of a and b into a stage.
DEVICE void fetch(u32 stage, const u16 *a, const u16 *b, i64 row0, i64 col0, i64 m, i64 n, i64 k, i64 t) {
	const int chunk = threadX() % 8, first = threadX() / 8; // 32 rows at a time
	const i64 at = t * depth + chunk * 8;
	const u32 to = stage + first * 128 + (chunk ^ first % 8) * 16;
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

GLOBAL __attribute__((launch_bounds(256, 1))) gemmBrain(void *dst, const float *plus, const u16 *a, const u16 *b, i64 m, i64 n, i64 k, i64 how) {
	DYNAMIC(u8, mem);
	const u32 base = (sharedAddress(mem) + 1023) / 1024 * 1024;
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
		asm volatile("fence.proxy.async;" ::: "memory");
		barrier();
		const u32 stage = base + (u32)(t % stages) * bytesStage;
		const u64 da = tileOf(stage + group * 64 * 128), db = tileOf(stage + bytesA);
		asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
#pragma unroll
		for (int i = 0; i < depth / 16; i++) multiply<rowsB>(d, da + 2 * i, db + 2 * i);
		asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
		if (t + ahead < tiles) fetch(base + (u32)((t + ahead) % stages) * bytesStage, a, b, row0, col0, m, n, k, t + ahead);
		closeCopies();
		asm volatile("wgmma.wait_group.sync.aligned 1;" ::: "memory");
	}
	asm volatile("wgmma.wait_group.sync.aligned 0;" ::: "memory");
	storeAny(dst, plus, d, row0 + group * 64, col0, m, n, how);
}

// The same product with the copies left to the tensor memory unit: a ninth warp
// asks for tiles and eight multiply. full and empty are barriers in shared memory,
// one a stage; maps describe a and b to the unit.
DEVICE void arrive(u32 at) { asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(at) : "memory"); }
DEVICE void await(u32 at, u32 parity) {
	asm volatile(
		"{\n"
		".reg .pred done;\n"
		"again:\n"
		"mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n"
		"@done bra over;\n"
		"bra again;\n"
		"over:\n"
		"}\n" ::"r"(at), "r"(parity)
		: "memory");
}
DEVICE void copyTile(u32 to, const void *map, int x, int y, u32 full) {
	asm volatile("cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%2, %3}], [%4];" ::"r"(to), "l"(map), "r"(x), "r"(y), "r"(full) : "memory");
}

// What a product's addresses are known to point to.
#define INGLOBAL __attribute__((address_space(1)))
typedef float __attribute__((ext_vector_type(2))) floats2;
typedef u32 __attribute__((ext_vector_type(2))) words2;

// storeFloats writes groups FIRST to FIRST+N-1 of 8 columns of a warpgroup's 64 by W
// outputs, or adds them to what lies at plus, and then those behind: N loads of a thread
// are on their way at once, none of which waits for a store before it, and what has been
// stored makes room for more. to and from are of a thread's first value, groups is the
// number of groups that are there.
template <int W, bool ADD, int FIRST, int N> DEVICE void storeFloats(float INGLOBAL *to, const float INGLOBAL *from, const float *d, i64 below, const bool *here, int groups, bool round) {
	floats2 old[2 * N];
	if (ADD) {
#pragma unroll
		for (int i = 0; i < 2 * N; i++) {
			old[i] = floats2{0, 0};
			if (FIRST + i / 2 < groups && here[i % 2]) old[i] = *(const floats2 INGLOBAL *)(from + i % 2 * below + 8 * (FIRST + i / 2));
		}
	}
#pragma unroll
	for (int i = 0; i < 2 * N; i++) {
		const int at = 4 * (FIRST + i / 2) + 2 * (i % 2);
		floats2 v = {d[at], d[at + 1]};
		if (round) v = floats2{asBrain(v.x), asBrain(v.y)};
		if (ADD) v = old[i] + v;
		if (FIRST + i / 2 < groups && here[i % 2]) *(floats2 INGLOBAL *)(to + i % 2 * below + 8 * (FIRST + i / 2)) = v;
	}
	constexpr int next = FIRST + N, left = W / 8 - next;
	if constexpr (left > 0) storeFloats<W, ADD, next, left < next + 3 ? left : next + 3>(to, from, d, below, here, groups, round);
}

// storeBrains writes them as bfloat16. Two lanes beside each other exchange a word, so
// that each has four columns, of a group of 8 or of the next: four lanes write 32 bytes.
template <int W> DEVICE void storeBrains(const Product &p, const float *d, i64 row, int col, int m, int groups, int lane) {
	const int odd = lane % 2;
	const i64 below = 8 * (i64)p.n;
	u16 INGLOBAL *to = (u16 INGLOBAL *)(u16 *)p.dst + row * p.n + col + 8 * odd + lane / 2 * 4;
#pragma unroll
	for (int j = 0; j < W / 8; j += 2) {
#pragma unroll
		for (int h = 0; h < 2; h++) {
			const bool here = row + 8 * h < m;
			const u32 mine = brains(d[4 * j + 2 * h], d[4 * j + 2 * h + 1]);
			if (j + 1 == W / 8) { // the last of an odd number: two columns a lane
				if (here && j < groups) *(u32 INGLOBAL *)(to + h * below + 8 * (j - odd) + lane % 2 * 2) = mine;
				continue;
			}
			const u32 next = brains(d[4 * j + 4 + 2 * h], d[4 * j + 5 + 2 * h]);
			const u32 other = floatBits(shuffleXor(bitsFloat(odd ? mine : next), 1));
			const words2 four = odd ? words2{other, next} : words2{mine, other};
			if (here && j + odd < groups) *(words2 INGLOBAL *)(to + h * below + 8 * j) = four;
		}
	}
}

// storeTile writes a warpgroup's 64 by W outputs. Their columns are a multiple of 8, and
// addresses are multiples of 16 bytes.
template <int W> DEVICE void storeTile(const Product *product, const float *d, int row0, int col, int m, int link) {
	// Places are reckoned when the sums are there, which leave no registers before.
	int thread = threadX();
	asm volatile("" : "+l"(product), "+r"(thread), "+r"(row0), "+r"(col)::"memory");
	const Product p = *product;
	const int row = row0 + thread % 128 / warp * 16 + thread % warp / 4, groups = (p.n - col) / 8;
	if (p.how & howBrain) return storeBrains<W>(p, d, row, col, m, groups, thread % 4);
	const i64 at = (i64)row * p.n + col + thread % 4 * 2, below = 8 * (i64)p.n;
	const bool here[2] = {row < m, row + 8 < m}, round = p.how & howRound;
	float INGLOBAL *to = (float INGLOBAL *)(float *)p.dst + at;
	const float *plus = link ? (const float *)p.dst : p.plus; // what this thread has stored before
	const float INGLOBAL *from = (const float INGLOBAL *)plus + at;
	if (plus)
		storeFloats<W, true, 0, 3>(to, from, d, below, here, groups, round);
	else
		storeFloats<W, false, 0, 3>(to, from, d, below, here, groups, round);
}

// gemmBrainTiles_W multiplies a with one weight or several, or is a chain, in tiles of 128
// by W. maps describes to the unit a and each weight, or a and b of each link. Blocks
// take one output after another, and the ninth warp is ahead of the others by up to four
// tiles, across outputs as well.
template <int W> DEVICE void brainTiles(const u8 *maps, const Product *products, int m, i64 depths, int links, int columns, int half) {
	const int bytesStage = bytesA + W * depth * 2;
	DYNAMIC(u8, mem);
	const u32 base = (sharedAddress(mem) + 1023) / 1024 * 1024;
	const u32 full = base + stages * bytesStage, empty = full + 8 * stages;
	const int down = (m + rowsA - 1) / rowsA;
	if (threadX() == 0) {
		for (int s = 0; s < stages; s++) {
			asm volatile("mbarrier.init.shared::cta.b64 [%0], 1;" ::"r"(full + 8 * s) : "memory");
			asm volatile("mbarrier.init.shared::cta.b64 [%0], 2;" ::"r"(empty + 8 * s) : "memory");
		}
		asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
		asm volatile("fence.proxy.async;" ::: "memory");
	}
	barrier();
	u32 step = 0; // tiles so far
	if (threadX() >= 256) {
		if (threadX() > 256) return;
		for (int turn = 0;; turn++) {
			Tile o = tileOfTurn(turn, down, columns, half);
			if (o.row < 0) return;
			const int weight = 128 * (1 + find(products, o.col));
			const int row0 = o.row * rowsA, col0 = o.col * W;
			for (int link = 0; link < links; link++) {
				const u8 *map = maps + 256 * link;
				const int tiles = depthOf(depths, link);
				for (int t = 0; t < tiles; t++, step++) {
					const u32 s = step % stages, to = base + s * bytesStage;
					if (step >= stages) await(empty + 8 * s, (step / stages - 1) & 1);
					asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(full + 8 * s), "r"(bytesStage) : "memory");
					copyTile(to, map, t * depth, row0, full + 8 * s);
					copyTile(to + bytesA, map + weight, t * depth, col0, full + 8 * s);
				}
			}
		}
	}
	const int group = threadX() / 128;
	const bool first = threadX() % 128 == 0;
	for (int turn = 0;; turn++) {
		Tile o = tileOfTurn(turn, down, columns, half);
		if (o.row < 0) return;
		const int row0 = o.row * rowsA + group * 64;
		const Product *p = products + find(products, o.col);
		for (int link = 0; link < links; link++) {
			const int tiles = depthOf(depths, link);
			if (row0 >= m) { // nothing of the last rows' tile is this warpgroup's
				for (int t = 0; t < tiles; t++, step++) {
					const u32 s = step % stages;
					await(full + 8 * s, step / stages & 1);
					if (first) arrive(empty + 8 * s);
				}
				continue;
			}
			float d[W / 2];
#pragma unroll
			for (int i = 0; i < W / 2; i++) d[i] = 0;
#pragma unroll 1
			for (int t = 0; t < tiles; t++, step++) {
				const u32 s = step % stages;
				await(full + 8 * s, step / stages & 1);
				const u32 stage = base + s * bytesStage;
				const u64 da = tileOf(stage + group * 64 * 128), db = tileOf(stage + bytesA);
				asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
#pragma unroll
				for (int i = 0; i < depth / 16; i++) multiply<W>(d, da + 2 * i, db + 2 * i);
				asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
				asm volatile("wgmma.wait_group.sync.aligned 1;" ::: "memory");
				// The tile before this one has been read.
				if (t > 0 && first) arrive(empty + 8 * ((step - 1) % stages));
			}
			asm volatile("wgmma.wait_group.sync.aligned 0;" ::: "memory");
			if (first) arrive(empty + 8 * ((step - 1) % stages));
			storeTile<W>(p, d, row0, o.col * W, m, link);
		}
	}
}
#define BRAIN_TILES(W) \
	GLOBAL __attribute__((launch_bounds(288, 1))) gemmBrainTiles_##W(const u8 *maps, const Product *products, i64 m, i64 depths, i64 links, i64 columns, i64 half) { \
		brainTiles<W>(maps, products, (int)m, depths, (int)links, (int)columns, (int)half); \
	}
BRAIN_TILES(176)
BRAIN_TILES(208)
BRAIN_TILES(232)
BRAIN_TILES(240)
BRAIN_TILES(256)

#else

// Twins to read, for the host's side: outputs row0 to row0+127, col0 to col0+wide-1,
// each summed in the order of k.
DEVICE void tileOf(void *dst, const float *plus, const u16 *a, const u16 *b, i64 row0, i64 col0, int wide, i64 m, i64 n, i64 k, i64 how) {
	for (int e = threadX(); e < 128 * wide; e += threads()) {
		const i64 row = row0 + e / wide, col = col0 + e % wide;
		if (row >= m || col >= n) continue;
		float sum = 0;
		for (i64 i = 0; i < k; i++) sum = fma32(brainFloat(a[row * k + i]), brainFloat(b[col * k + i]), sum);
		const i64 at = row * n + col;
		if (how & howRound) sum = roundBrain(sum);
		if (how & howBrain)
			((u16 *)dst)[at] = (u16)brains(sum, 0.0f);
		else
			((float *)dst)[at] = plus ? plus[at] + sum : sum;
	}
}
GLOBAL gemmBrain(void *dst, const float *plus, const u16 *a, const u16 *b, i64 m, i64 n, i64 k, i64 how) {
	tileOf(dst, plus, a, b, (i64)blockX() * 128, (i64)blockY() * 256, 256, m, n, k, how);
}

// A map is here what emulate.Machine.TensorMap gives: address, rows, columns, box.
struct Map {
	const u16 *at;
	int rows, cols, box, unused[27];
};
template <int W> DEVICE void brainTiles(const Map *maps, const Product *products, int m, i64 depths, int links, int columns, int half) {
	for (int turn = 0;; turn++) {
		Tile o = tileOfTurn(turn, (m + 127) / 128, columns, half);
		if (o.row < 0) return;
		const int i = find(products, o.col);
		const Product p = products[i];
		for (int link = 0; link < links; link++) {
			const Map &a = maps[2 * link], &b = maps[2 * link + 1 + i];
			const int k = depthOf(depths, link) * 64;
			if (a.rows != m || a.cols != k || a.box != 128 || b.rows != p.n || b.cols != k || b.box != W) continue;
			tileOf(p.dst, link ? (const float *)p.dst : p.plus, a.at, b.at, (i64)o.row * 128, (i64)o.col * W, W, m, p.n, k, p.how);
		}
	}
}
#define BRAIN_TILES(W) \
	GLOBAL gemmBrainTiles_##W(const Map *maps, const Product *products, i64 m, i64 depths, i64 links, i64 columns, i64 half) { \
		brainTiles<W>(maps, products, (int)m, depths, (int)links, (int)columns, (int)half); \
	}
BRAIN_TILES(176)
BRAIN_TILES(208)
BRAIN_TILES(232)
BRAIN_TILES(240)
BRAIN_TILES(256)

#endif
