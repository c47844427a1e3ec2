//go:build emulate

// What the instructions of Hopper do, by the PTX ISA. Where a GPU may take its time, this
// takes the least (forwards) or the most that it may (backwards): tiles land, and products
// read shared memory, at once, or only when no thread can go on without. Until then a
// tile's place holds NaN, and so do a product's sums until they are waited for.
#include "../src/hopper.h"
#include "../driver/tensormap.h"
#include <algorithm>
#include <stdio.h>
#include <string>
#include <vector>

namespace machine {
int broken;

namespace {
const u64 window = 256 << 10; // what the 18 bits of a shared address reach

// offsetOf is the place in dynamic shared memory of bytes of which no more than those 18
// bits of the address are known.
u64 offsetOf(u64 address, int bytes, const char *who) {
	const u64 o = address - (u64)dynamicShared & window - 1;
	if (o + bytes > (u64)sharedBytes) fail("%s reaches byte %llu of shared memory, of which the block has %d", who, o + bytes - 1, sharedBytes);
	return o;
}

// swizzled exchanges the 16-byte chunks of rows of so many bytes, 0 for none: the chunk's
// number xor that of the 128 bytes that it lies in, counted from a pattern's begin.
u64 swizzled(u64 address, int bytes, int base = 0) {
	if (bytes == 0) return address;
	return address ^ ((address >> 7) - base & bytes / 16 - 1) << 4;
}

// Barriers.

struct Barrier {
	u64 at;
	int expected, pending; // arrivals: of a phase, and those that are missing
	i64 bytes;             // expected less copied
	u32 phase;
	int by;
	bool visible; // to the unit
	// seal is what lies in its place, so that it is noticed when something else does.
	u64 seal() const { return 0x6d62617272696572ull ^ (u64)pending << 40 ^ (u64)bytes << 16 ^ phase; }
	void close() const {
		const u64 s = seal();
		memcpy((void *)at, &s, 8);
	}
};
std::vector<Barrier> barriers;

int numberOf(u64 at) {
	for (size_t i = 0; i < barriers.size(); i++)
		if (barriers[i].at == at) return i;
	return -1;
}
Barrier &barrierAt(u64 at) {
	const int i = numberOf(at);
	if (i < 0) fail("thread %d: there is no mbarrier at byte %lld of shared memory", thread, at - (u64)dynamicShared);
	Barrier &b = barriers[i];
	u64 now;
	memcpy(&now, (void *)at, 8);
	if (now != b.seal()) fail("mbarrier %d was written over", i);
	return b;
}

// count adds to the bytes that are expected, and ends the phase where all is there.
void count(Barrier &b, i64 bytes) {
	const i64 most = (1 << 20) - 1;
	b.bytes += bytes;
	if (b.bytes > most || b.bytes < -most) fail("mbarrier %d counts %lld bytes, and no more than %lld either way can be", (int)(&b - barriers.data()), b.bytes, most);
	if (b.pending == 0 && b.bytes == 0) {
		b.phase++;
		b.pending = b.expected;
	}
	b.close();
}

// Tiles.

// Map is what cuTensorMapEncodeTiled makes here.
struct Map {
	u64 mark, at, columns, rows, stride;
	u32 wide, tall, swizzle; // of a box in values, and bytes of a row that are swizzled
	int bytes() const { return wide * tall * 2; }
};
const u64 mapMark = 0x70616d726f736e65ull;
static_assert(sizeof(Map) <= 128, "a map has 128 bytes");

struct Tile {
	Map map;
	u64 to;
	int x, y;
	u64 full;
	u8 *chunk(int row, int c) const { return (u8 *)swizzled(to + row * map.wide * 2 + c * 16, map.swizzle); }
	void spoil() const {
		for (u32 r = 0; r < map.tall; r++) memset((u8 *)to + r * map.wide * 2, 0xff, map.wide * 2);
	}
	void land() const {
		for (u32 r = 0; r < map.tall; r++)
			for (u32 c = 0; c < map.wide / 8; c++) {
				u16 values[8];
				for (int i = 0; i < 8; i++) {
					const i64 row = (i64)y + r, column = (i64)x + 8 * c + i;
					const bool there = row >= 0 && row < (i64)map.rows && column >= 0 && column < (i64)map.columns;
					values[i] = there ? *(const u16 *)(map.at + row * map.stride + column * 2) : 0;
				}
				memcpy(chunk(r, c), values, 16);
			}
		count(barrierAt(full), -map.bytes());
	}
};
std::vector<Tile> tiles; // on their way
std::vector<const void *> fencedMaps;

int encode(void *map, int type, u32 rank, void *at, const u64 *dims, const u64 *strides, const u32 *box, const u32 *steps, int interleave, int swizzle, int, int fill) {
	const int invalid = 1, rows[] = {0, 32, 64, 128};
	if (type != 9 || rank != 2 || interleave != 0 || fill != 0 || swizzle < 0 || swizzle > 3) return invalid; // bfloat16, and what Map knows
	if ((u64)map % 64 || (u64)at % 16 || strides[0] % 16 || strides[0] >= 1ull << 40) return invalid;
	for (int i = 0; i < 2; i++)
		if (dims[i] < 1 || dims[i] > 1ull << 32 || box[i] < 1 || box[i] > 256 || steps[i] != 1) return invalid;
	if (box[0] * 2 % 16 || (swizzle && box[0] * 2 > (u32)rows[swizzle])) return invalid;
	const Map m = {mapMark, (u64)at, dims[0], dims[1], strides[0], box[0], box[1], (u32)rows[swizzle]};
	memset(map, 0, 128);
	memcpy(map, &m, sizeof m);
	return 0;
}

// What threads wrote to shared memory and have not fenced since: of 16 bytes, 1 + the
// thread, and its fences by then. Products see only what was fenced.
struct Written {
	u32 by, fences;
} written[window / 16];
u32 fences[1024];

// Products.

const u32 underWay = 0x7fc0dead; // a NaN: a sum that is not there yet

// Sums are 64 by W accumulators of a warpgroup while products add to them.
struct Sums {
	int wide, lanes; // columns, and threads whose sums they hold
	float *of[128];  // the thread's registers; 0: it has them back, or has not come yet
	int last[128];   // its last product
	alignas(16) float at[64][256];
	// A thread's value i, as the accumulators of wgmma.m64nNk16 are shared out.
	float &value(int lane, int i) { return at[lane / 32 * 16 + lane % 32 / 4 + i / 2 % 2 * 8][i / 4 * 8 + lane % 4 * 2 + i % 2]; }
};

// Tall is a tile in shared memory as a descriptor has it: rows of 16 values, 32 bytes.
struct Tall {
	u64 start, leading, stride;
	int base, swizzle;
	Tall(u64 d) {
		const int rows[] = {0, 128, 64, 32};
		start = (d & 0x3fff) << 4, leading = (d >> 16 & 0x3fff) << 4, stride = (d >> 32 & 0x3fff) << 4;
		base = d >> 49 & 7, swizzle = rows[d >> 62];
		if (d & (3ull << 14 | 3ull << 30 | 7ull << 46 | 0x3ffull << 52)) fail("a matrix descriptor %llx has bits set that mean nothing", d);
		if (swizzle && ((start >> 7) - base & swizzle / 16 - 1)) fail("a matrix descriptor %llx begins within the pattern of its swizzle, and has no base offset that says so", d);
	}
	u64 offset(int row, int chunk) const {
		const int wide = swizzle ? swizzle : 16;
		const u64 next = swizzle ? 16 : leading;
		return offsetOf(swizzled(start + row / 8 * stride + row % 8 * wide + chunk * next & window - 1, swizzle, base), 16, "a product");
	}
};

struct Op {
	u64 a, b;
	Sums *sums;
	int lanes, wide; // threads that have come; columns
};

struct Group {
	std::vector<Op> ops; // of this block
	int done;            // of them
	int over;            // of these, those that its first thread has waited for
	std::vector<Sums *> live;
	int issued[128];
	std::vector<int> ends[128]; // where a thread's groups end in ops
	bool fenced[128];
} groups[8];

void compute(Op &op) {
	typedef float four __attribute__((vector_size(16)));
	static float a[64][16];
	alignas(16) static float b[16][256];
	const Tall ta(op.a), tb(op.b);
	const int wide = op.sums->wide;
	for (int c = 0; c < 2; c++) {
		for (int r = 0; r < 64; r++)
			for (int i = 0; i < 8; i++) a[r][8 * c + i] = brainFloat(((const u16 *)(dynamicShared + ta.offset(r, c)))[i]);
		for (int r = 0; r < wide; r++) {
			const u16 *values = (const u16 *)(dynamicShared + tb.offset(r, c));
			for (int i = 0; i < 8; i++) b[8 * c + i][r] = brainFloat(values[i]);
		}
	}
	for (int r = 0; r < 64; r++)
		for (int c = 0; c < wide; c += 8) {
			four *sum = (four *)&op.sums->at[r][c], x = sum[0], y = sum[1];
			for (int k = 0; k < 16; k++) { // products of two bfloat16 are exact
				const float v = a[r][k];
				const four *w = (const four *)&b[k][c];
				x += v * w[0], y += v * w[1];
			}
			sum[0] = x, sum[1] = y;
		}
}

void computeNext(Group &g) { compute(g.ops[g.done++]); }

// seen holds what a product will read to what has been fenced.
void seen(u64 descriptor, int rows) {
	const Tall t(descriptor);
	for (int r = 0; r < rows; r++)
		for (int c = 0; c < 2; c++) {
			const u64 o = t.offset(r, c);
			const Written w = written[o / 16];
			if (w.by && fences[w.by - 1] == w.fences) fail("a product reads byte %llu of shared memory, which thread %d wrote without a fence.proxy.async since", o, w.by - 1);
		}
}

// reads tells the checker that this thread's products read a tile.
void reads(u64 descriptor, int rows) {
	const Tall t(descriptor);
	for (int r = 0; r < rows; r++)
		for (int c = 0; c < 2; c++) checkReads(thread, (u64)dynamicShared + t.offset(r, c), 16, __builtin_return_address(0));
}
} // namespace

void wrote(u64 to, int bytes) {
	Inside inside;
	const u64 o = to - (u64)dynamicShared;
	if (o >= window) return;
	for (u64 i = o / 16; i <= (o + bytes - 1) / 16; i++) written[i] = Written{(u32)thread + 1, fences[thread]};
}

void beginBarrier(u64 at, int arrivals) {
	Inside inside;
	if (at % 8) fail("an mbarrier at byte %llu of shared memory, which is no multiple of 8", at - (u64)dynamicShared);
	offsetOf(at, 8, "an mbarrier");
	if (numberOf(at) >= 0) fail("mbarrier %d begins twice", numberOf(at));
	barriers.push_back(Barrier{at, arrivals, arrivals, 0, 0, thread, false});
	barriers.back().close();
}

void arrive(u64 at, int bytes) {
	Inside inside;
	if (broken == noArrival && bytes == 0 && thread == 128) return;
	if (broken == twoArrivals && bytes == 0 && thread == 128) {
		broken = whole;
		arrive(at, 0);
	}
	if (bytes && broken == fewBytes) bytes -= 16 << 10;
	if (bytes && broken == manyBytes) bytes += 128;
	Barrier &b = barrierAt(at);
	if (b.pending == 0) fail("thread %d arrives at mbarrier %d, which lacks none of its %d arrivals in phase %u, but %lld bytes", thread, numberOf(at), b.expected, b.phase, b.bytes);
	b.pending--;
	count(b, bytes);
}

void await(u64 at, u32 parity) {
	Inside inside;
	if (broken == noEmptyWait && thread >= 256) return;
	if (broken == noFullWait && thread < 256) return;
	until(Wait{0, at, parity}, [=] { return (barrierAt(at).phase & 1) != parity; });
}

// lacking tells what is missing where a thread waits for a barrier.
std::string lacking(u64 at) {
	const int i = numberOf(at);
	if (i < 0) return "an mbarrier that is gone";
	const Barrier &b = barriers[i];
	char text[200];
	snprintf(text, sizeof text, "phase %u of mbarrier %d, which lacks %d of %d arrivals and %lld bytes", b.phase, i, b.pending, b.expected, b.bytes);
	return text;
}

void fenceBarriers() {
	Inside inside;
	if (broken == noBarrierFence) return;
	for (Barrier &b : barriers)
		if (b.by == thread) b.visible = true;
}

void fenceAsync() {
	Inside inside;
	if (broken == noAsyncFence || broken == noBarrierFence) return;
	fences[thread]++;
	for (Barrier &b : barriers)
		if (b.by == thread) b.visible = true;
}

void fenceMap(const void *map) {
	Inside inside;
	if (broken != noMapFence) fencedMaps.push_back(map);
}

void copyTile(u64 to, const void *map, int x, int y, u64 full) {
	Inside inside;
	Tile t = {{}, to, x, y, full};
	if ((u64)map % 64) fail("a tensor map at %p, which is no multiple of 64", map);
	memcpy(&t.map, map, sizeof t.map);
	if (t.map.mark != mapMark) fail("thread %d copies a tile by what is no tensor map", thread);
	if (std::find(fencedMaps.begin(), fencedMaps.end(), map) == fencedMaps.end()) fail("thread %d copies a tile by a map that its block has not fenced", thread);
	if (broken == otherSwizzle) t.map.swizzle = 64;
	if (to % 128) fail("a tile is copied to byte %llu of shared memory, which is no multiple of 128", to - (u64)dynamicShared);
	offsetOf(to, t.map.bytes(), "a tile");
	if (!barrierAt(full).visible) fail("a tile is counted at mbarrier %d, whose beginning was not fenced", numberOf(full));
	const i64 from = x < 0 ? 0 : x, end = (i64)x + t.map.wide < (i64)t.map.columns ? x + t.map.wide : t.map.columns;
	for (i64 row = y < 0 ? 0 : y; checks && row < (i64)y + t.map.tall && row < (i64)t.map.rows; row++)
		checkReads(thread, t.map.at + row * t.map.stride + from * 2, (end - from) * 2, __builtin_return_address(0));
	if (!backwards) return t.land();
	t.spoil();
	tiles.push_back(t);
}

void multiply(float *d, int wide, u64 a, u64 b) {
	Inside inside;
	Group &g = groups[thread / 128];
	const int lane = thread % 128, index = g.issued[lane]++, n = wide / 2;
	if (broken == otherStride) b += 64ull << 32;
	Sums *sums = 0;
	for (Sums *s : g.live)
		if (s->of[lane] == d && s->wide == wide) sums = s;
	if (!sums) {
		if (!g.fenced[lane]) fail("thread %d adds a product to sums without a wgmma.fence since they were its own", thread);
		if (index == (int)g.ops.size()) {
			sums = new Sums();
			sums->wide = wide;
			g.live.push_back(sums);
		} else
			sums = g.ops[index].sums;
	}
	if (index == (int)g.ops.size()) g.ops.push_back(Op{a, b, sums, 0, wide});
	Op &op = g.ops[index];
	if (op.a != a || op.b != b || op.sums != sums || sums->wide != wide) fail("thread %d is at another product than its warpgroup: %llx by %llx, not %llx by %llx", thread, a, b, op.a, op.b);
	for (int i = 0; i < n; i++) {
		if (sums->of[lane]) {
			if (floatBits(d[i]) != underWay) fail("thread %d wrote to a sum of products that are under way", thread);
			continue;
		}
		sums->value(lane, i) = d[i];
		d[i] = bitsFloat(underWay);
	}
	if (!sums->of[lane]) sums->lanes++;
	sums->of[lane] = d;
	sums->last[lane] = index;
	if (++op.lanes < 128) return;
	seen(a, 64);
	seen(b, wide);
	if (checks) reads(a, 64), reads(b, wide);
	if (!backwards) computeNext(g);
}

void fenceSums() {
	Inside inside;
	if (broken == noSumFence) return;
	groups[thread / 128].fenced[thread % 128] = true;
}

void closeProducts() {
	Inside inside;
	Group &g = groups[thread / 128];
	g.ends[thread % 128].push_back(g.issued[thread % 128]);
}

void awaitProducts(int left) {
	Inside inside;
	if (broken == noProductWait && left > 0) return;
	if (broken == noLastWait && left == 0) return;
	Group &g = groups[thread / 128];
	const int lane = thread % 128;
	const std::vector<int> &ends = g.ends[lane];
	if ((int)ends.size() <= left) return;
	const int end = ends[ends.size() - 1 - left];
	until(Wait{"products of its warpgroup (wgmma.wait_group)", 0, 0}, [&] { return g.done >= end; });
	// Until here they may have read.
	for (; checks && lane == 0 && g.over < end; g.over++) reads(g.ops[g.over].a, 64), reads(g.ops[g.over].b, g.ops[g.over].wide);
	for (size_t s = 0; s < g.live.size(); s++) {
		Sums *sums = g.live[s];
		if (!sums->of[lane] || sums->last[lane] >= end) continue;
		for (int i = 0; i < sums->wide / 2; i++) {
			if (floatBits(sums->of[lane][i]) != underWay) fail("thread %d wrote to a sum of products that are under way", thread);
			sums->of[lane][i] = sums->value(lane, i);
		}
		sums->of[lane] = 0;
		g.fenced[lane] = false;
		if (--sums->lanes > 0) continue;
		delete sums;
		g.live.erase(g.live.begin() + s--);
	}
}

// later makes one thing happen that was put off, the last tile before any product; false
// where there is none.
bool later() {
	if (!tiles.empty()) {
		const Tile t = tiles.back();
		tiles.pop_back();
		t.land();
		return true;
	}
	for (Group &g : groups)
		if (g.done < (int)g.ops.size() && g.ops[g.done].lanes == 128) {
			computeNext(g);
			return true;
		}
	return false;
}

// beginBlock forgets the last block; in shared memory is anything.
void beginBlock() {
	memset(dynamicShared, 0xff, sharedBytes);
	for (u32 &f : fences) f++;
	barriers.clear();
	tiles.clear();
	fencedMaps.clear();
	for (Group &g : groups) {
		for (Sums *s : g.live) delete s;
		g.live.clear();
		g.ops.clear();
		g.done = g.over = 0;
		for (int i = 0; i < 128; i++) {
			g.issued[i] = 0;
			g.ends[i].clear();
			g.fenced[i] = false;
		}
	}
}

// endBlock holds a block whose threads have all returned to what has to be over by then.
void endBlock() {
	if (!tiles.empty()) fail("the block ends with %zu tiles on their way to shared memory", tiles.size());
	for (const Barrier &b : barriers)
		if (b.bytes) fail("the block ends with %lld bytes in phase %u of mbarrier %d that were expected and not copied (below 0: the other way round)", b.bytes, b.phase, numberOf(b.at));
	for (const Group &g : groups)
		if (g.done < (int)g.ops.size() || !g.live.empty()) fail("the block ends with products that nobody waited for");
}

extern "C" int emulateTensorMap(void *map, u64 at, u64 rows, u64 cols, u32 box) { return describeTiles(encode, map, at, rows, cols, box); }
extern "C" void emulateBreak(int what) { broken = what; }
} // namespace machine
