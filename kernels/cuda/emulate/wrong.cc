//go:build emulate && check

// Kernels that are wrong in one way each, and their right twins (RIGHT), for the tests of
// the checker. They are started on two blocks of 256 threads, with 4 KiB of shared memory
// each, on 512 values that are there and 512 that nobody has written.
#include "../src/device.h"
#include "../src/copies.h"

#define BOTH(name) \
	template <bool RIGHT> DEVICE void name(float *x); \
	GLOBAL name##Wrong(float *x) { name<false>(x); } \
	GLOBAL name##Right(float *x) { name<true>(x); } \
	template <bool RIGHT> DEVICE void name(float *x)

namespace wrong {

// A neighbour's value without a barrier.
BOTH(neighbour) {
	SHARED float part[256];
	const int t = threadX(), i = blockX() * threads() + t;
	part[t] = x[i];
	if (RIGHT) barrier();
	x[i] = part[(t + 255) % 256];
}

// The next round writes what another thread may not have read yet.
BOTH(round) {
	DYNAMIC(float, mem);
	const int t = threadX(), i = blockX() * threads() + t;
	float sum = 0;
	for (int k = 0; k < 2; k++) {
		mem[t] = x[i] + k;
		barrier();
		sum += mem[(t + 32) % threads()];
		if (RIGHT) barrier();
	}
	x[i] = sum;
}

// Another lane's value with a shuffle between, which orders nothing.
BOTH(warpNeighbour) {
	SHARED float part[256];
	const int t = threadX(), i = blockX() * threads() + t;
	part[t] = x[i];
	float v = shuffleXor(x[i], 1);
	if (RIGHT) warpBarrier();
	x[i] = v + part[t ^ 1];
}

// Another warp's value with a barrier of the warp alone.
BOTH(otherWarp) {
	SHARED float part[256];
	const int t = threadX(), i = blockX() * threads() + t;
	part[t] = x[i];
	if (RIGHT)
		barrier();
	else
		warpBarrier();
	x[i] = part[t ^ 32];
}

// Another group's value with a barrier of 128 threads.
BOTH(otherGroup) {
	SHARED float part[256];
	const int t = threadX(), i = blockX() * threads() + t;
	part[t] = x[i];
	if (RIGHT)
		barrier();
	else
		groupBarrier();
	x[i] = part[t ^ 128];
}

// Every thread writes the same.
BOTH(sameValue) {
	SHARED float one;
	if (!RIGHT || threadX() == 0) one = 1;
	barrier();
	x[blockX() * threads() + threadX()] = one;
}

// Two values of 16 bits: two threads write both, or each its own.
BOTH(halves) {
	SHARED u16 two[2];
	const int t = threadX();
	if (t < 2) two[RIGHT ? t : 0] = (u16)t;
	barrier();
	x[blockX() * threads() + t] = two[0];
}

// A copy that its thread has not waited for.
BOTH(copied) {
	DYNAMIC(float, mem);
	const int t = threadX(), i = blockX() * threads() + t;
	copy4(sharedAddress(mem + t), x + i, true);
	closeCopies();
	copy4(sharedAddress(mem + threads() + t), x + i, false);
	closeCopies();
	if (RIGHT)
		awaitBatches<0>();
	else
		awaitBatches<1>();
	x[i] = mem[t] + mem[threads() + t];
}

// A copy that its thread has waited for, and no barrier.
BOTH(copiedByOther) {
	DYNAMIC(float, mem);
	const int t = threadX(), i = blockX() * threads() + t;
	copy4(sharedAddress(mem + t), x + i, true);
	awaitCopies();
	if (RIGHT) barrier();
	const float v = mem[t ^ 64];
	barrier();
	x[i] = v;
}

// A copy to where another thread may still read.
BOTH(copiedOver) {
	DYNAMIC(float, mem);
	const int t = threadX(), i = blockX() * threads() + t;
	mem[t] = 1;
	barrier();
	const float v = mem[t ^ 64];
	if (RIGHT) barrier();
	copy4(sharedAddress(mem + t), x + i, true);
	awaitCopies();
	x[i] = v + mem[t];
}

// The source of a copy is written while the copy is under way.
BOTH(copySource) {
	DYNAMIC(float, mem);
	const int t = threadX(), i = blockX() * threads() + t;
	copy4(sharedAddress(mem + t), x + i, true);
	if (RIGHT) awaitCopies();
	if (RIGHT) barrier();
	x[i ^ 1] = 3;
	awaitCopies();
	barrier();
}

// Two blocks write one place.
BOTH(blocks) {
	if (threadX() == 0) x[RIGHT ? blockX() : 0] = 1;
}

// A block reads what another writes.
BOTH(blockReads) {
	const float v = x[RIGHT ? blockX() * threads() : 0];
	if (threadX() == 0) x[blockX() * threads()] = v;
}

// One value behind the end of a buffer.
BOTH(beyond) {
	const int i = blockX() * threads() + threadX();
	x[i + (RIGHT ? 0 : 1)] = 1;
}

// Values behind the end of a buffer are read, further than the last 16 bytes reach.
BOTH(beyondRead) {
	const int i = blockX() * threads() + threadX();
	const float v = x[i + (RIGHT ? 0 : 4)];
	if (v == 12345) x[i] = 1;
}

// One value behind the dynamic shared memory.
BOTH(beyondShared) {
	DYNAMIC(float, mem);
	mem[threadX() + (RIGHT ? 0 : 769)] = 1;
}

// One value behind an array of shared memory.
BOTH(beyondStatic) {
	SHARED float part[256];
	const int t = threadX();
	part[t + (RIGHT ? 0 : 1)] = 1;
	barrier();
	x[blockX() * threads() + t] = RIGHT ? part[t] : 1;
}

// An address that is not there.
BOTH(null) {
	if (!RIGHT) x = 0;
	x[blockX() * threads() + threadX()] = 1;
}

// Shared memory that the block has not written; the block before has.
BOTH(unwritten) {
	SHARED float part[256];
	const int t = threadX();
	if (RIGHT || blockX() == 0) part[t] = 1;
	barrier();
	x[blockX() * threads() + t] = part[t];
}

// Memory that nobody has written.
BOTH(unwrittenGlobal) {
	float *fresh = x + 2 * threads();
	const int i = blockX() * threads() + threadX();
	if (RIGHT) fresh[i] = 1;
	x[i] = fresh[i];
}

// A shuffle of a warp of which some lanes have returned.
BOTH(returned) {
	const int t = threadX();
	if (!RIGHT && t >= 200) return;
	x[blockX() * threads() + t] = shuffleXor((float)t, 1);
}

// Lanes of a warp at two barriers.
BOTH(parted) {
	SHARED float part[256];
	const int t = threadX();
	part[t] = 1;
	if (!RIGHT && t % 2)
		barrier();
	else
		barrier();
	x[blockX() * threads() + t] = part[t ^ 32];
}

// Some lanes wait for the block, the others for their warp.
BOTH(waiting) {
	const int t = threadX();
	if (RIGHT || t % 2) barrier();
	warpBarrier();
	x[blockX() * threads() + t] = 1;
}

// A warp waits for a barrier of 128 threads of which some have returned.
BOTH(stuck) {
	const int t = threadX();
	if (!RIGHT && t < 32) return;
	groupBarrier();
	x[blockX() * threads() + t] = 1;
}

// A thread that has returned takes part in no barrier.
BOTH(left) {
	SHARED float part[256];
	const int t = threadX();
	part[t] = 1;
	if (!RIGHT && t >= 224) return;
	barrier();
	x[blockX() * threads() + t] = part[(t + 32) % 256];
}

// What is loaded and stored by wide instructions is seen as well.
BOTH(words) {
	DYNAMIC(u32, mem);
	const int t = threadX();
	storeShared(sharedAddress(mem + 4 * t), u32x4{1, 2, 3, 4});
	if (RIGHT) barrier();
	u32 w[4];
	sharedWords(w, sharedAddress(mem + 4 * (t ^ 32)));
	x[blockX() * threads() + t] = (float)w[3];
}

// Matrices are loaded of rows that other lanes have written.
BOTH(matrices) {
	DYNAMIC(u32, mem);
	const int t = threadX();
	storeShared(sharedAddress(mem + 4 * t), u32x4{1, 2, 3, 4});
	if (RIGHT) warpBarrier();
	u32 m[4];
	loadMatrices(m, sharedAddress(mem + 4 * t));
	x[blockX() * threads() + t] = (float)m[3];
}
} // namespace wrong
