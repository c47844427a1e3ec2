// Products of tiles.h with the copies left to the tensor memory unit: a ninth warp asks
// for tiles and eight multiply. full and empty are barriers in shared memory, one a stage;
// maps describe a and b to the unit. Rows of outputs begin at 16 bytes.
//
// The fence of maps wants PTX 8.3, and so drivers of CUDA 12.3 on (545).
#include "tiles.h"

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
	afterSums(product, thread, row0, col);
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
// by W. maps describes to the unit a and each weight, or a and b of each link; it ends
// where products begins, and has at most 32. Blocks take one output after another, and the ninth warp is ahead of the others by up to four
// tiles, across outputs as well.
template <int W> DEVICE void brainTiles(const u8 *maps, const Product *products, int m, i64 depths, int links, int columns, int half) {
	const int bytesStage = bytesA + W * depth * 2;
	DYNAMIC(u8, mem);
	const SharedAddress base = (sharedAddress(mem) + 1023) / 1024 * 1024;
	const SharedAddress full = base + stages * bytesStage, empty = full + 8 * stages;
	const int down = (m + rowsA - 1) / rowsA;
	if (threadX() == 0) {
		for (int s = 0; s < stages; s++) {
			beginBarrier<1>(full + 8 * s);
			beginBarrier<2>(empty + 8 * s);
		}
		fenceBarriers();
		fenceAsync();
	}
	// The host has put other maps here for kernels before this one, which the unit may keep.
	if (threadX() >= 256) {
		const u8 *map = maps + 128 * (threadX() - 256);
		if (map < (const u8 *)products) fenceMap(map);
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
					const u32 s = step % stages;
					const SharedAddress to = base + s * bytesStage;
					if (step >= stages) await(empty + 8 * s, (step / stages - 1) & 1);
					arriveExpecting(full + 8 * s, bytesStage);
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
			if (half && row0 >= m) {
				// Nothing of the last rows' tiles is this warpgroup's, and all that come after
				// are of that row. Only the thread that says so stays: nothing would keep the
				// others from being two turns of a barrier late, where its parity is the same.
				if (!first) return;
				for (int t = 0; t < tiles; t++, step++) {
					const u32 s = step % stages;
					await(full + 8 * s, step / stages & 1);
					arrive(empty + 8 * s);
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
				const SharedAddress stage = base + s * bytesStage;
				const u64 da = tileOf(stage + group * 64 * 128), db = tileOf(stage + bytesA);
				fenceSums();
#pragma unroll
				for (int i = 0; i < depth / 16; i++) multiply<W>(d, da + 2 * i, db + 2 * i);
				closeProducts();
				awaitProducts<1>();
				// The tile before this one has been read.
				if (t > 0 && first) arrive(empty + 8 * ((step - 1) % stages));
			}
			awaitProducts<0>();
			if (first) arrive(empty + 8 * ((step - 1) % stages));
			storeTile<W>(p, d, row0, o.col * W, m, link);
		}
	}
}
#define BRAIN_TILES(W) \
	GLOBAL BOUNDS(288, 1) gemmBrainTiles_##W(const u8 *maps, const Product *products, i64 m, i64 depths, i64 links, i64 columns, i64 half) { \
		brainTiles<W>(maps, products, (int)m, depths, (int)links, (int)columns, (int)half); \
	}
BRAIN_TILES(176)
BRAIN_TILES(208)
BRAIN_TILES(232)
BRAIN_TILES(240)
BRAIN_TILES(256)
