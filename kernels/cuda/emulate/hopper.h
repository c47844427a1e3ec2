// The instructions of ../src/hopper.h on the processor, by the PTX ISA's definitions;
// hopper.cc has what they do.
#pragma once

namespace machine {
// An instruction that a test leaves out or does wrongly, to see that it is found; the
// numbers are those of emulate.go.
enum Broken { whole, noFullWait, noEmptyWait, fewBytes, manyBytes, noArrival, twoArrivals, noProductWait, noLastWait, noSumFence, noAsyncFence, noBarrierFence, noMapFence, otherSwizzle, otherStride };
extern int broken;

void beginBarrier(u64 at, int arrivals);
void arrive(u64 at, int bytes);
void await(u64 at, u32 parity);
void fenceBarriers();
void fenceAsync();
void fenceMap(const void *map);
void copyTile(u64 to, const void *map, int x, int y, u64 full);
void multiply(float *d, int wide, u64 a, u64 b);
void fenceSums();
void closeProducts();
void awaitProducts(int left);
} // namespace machine

#define INGLOBAL
struct alignas(8) floats2 {
	float x, y;
};
DEVICE floats2 operator+(floats2 a, floats2 b) { return floats2{a.x + b.x, a.y + b.y}; }
struct alignas(8) words2 {
	u32 x, y;
};

template <int ARRIVALS> DEVICE void beginBarrier(SharedAddress at) { machine::beginBarrier(at, ARRIVALS); }
DEVICE void arrive(SharedAddress at) { machine::arrive(at, 0); }
DEVICE void arriveExpecting(SharedAddress at, int bytes) { machine::arrive(at, bytes); }
DEVICE void await(SharedAddress at, u32 parity) { machine::await(at, parity); }
DEVICE void fenceBarriers() { machine::fenceBarriers(); }
DEVICE void fenceAsync() { machine::fenceAsync(); }
DEVICE void fenceMap(const void *map) { machine::fenceMap(map); }
DEVICE void copyTile(SharedAddress to, const void *map, int x, int y, SharedAddress full) { machine::copyTile(to, map, x, y, full); }
template <int W> DEVICE void multiply(float *d, u64 a, u64 b) {
	static_assert(W % 8 == 0 && W <= 256, "wgmma has no such width");
	machine::multiply(d, W, a, b);
}
DEVICE void fenceSums() { machine::fenceSums(); }
DEVICE void closeProducts() { machine::closeProducts(); }
template <int LEFT> DEVICE void awaitProducts() { machine::awaitProducts(LEFT); }
template <typename T> DEVICE void afterSums(const T *&, int &, int &, int &) {}
