// A processor that plays a GPU: the words of ../src/device.h for a C++ compiler
// of the host. Each thread of a block is a fibre; a fibre runs until it waits
// at a barrier or exchanges values with its warp. Blocks run one after another.
#pragma once
#include "check.h"
#include <math.h>
#include <string.h>
#include <string>

#ifdef CHECK // names that are seen from outside, so that addresses have names
#define GLOBAL extern "C" __attribute__((used)) inline void
#define DEVICE inline
#define SHARED static __attribute__((aligned(1 << 16))) // with nothing behind them
#else
#define GLOBAL extern "C" void
#define DEVICE static inline
#define SHARED static
#endif
#define GLOBAL_UPTO(n) GLOBAL
#define METHOD inline
#define BOUNDS(threads, blocks)
#define CONSTANT static const
#define DYNAMIC(type, name) type *name = (type *)machine::dynamicShared

// Where in a kernel a word stands.
#define HERE const char *file = __builtin_FILE(), int line = __builtin_LINE()
#define PLACE const char *file, int line

namespace machine {
extern int thread, block, blockY, threads, blocks;
extern int sharedBytes; // of dynamicShared, that the block has
extern bool backwards;
extern int slow;
extern u8 dynamicShared[];
extern u32 exchange[1024], operands[1024][6];
void barrier(PLACE);
void groupBarrier(PLACE);
// meet waits for the whole warp; orders says that it is a barrier to its accesses as well,
// which shuffles, products and loads of matrices are not.
void meet(const char *what, bool orders, PLACE);
void copy(u64 to, u64 from, int bytes, bool there);
void closeCopies();
void awaitCopies(int left, PLACE);

// checks says that accesses are checked (check.c).
#ifdef CHECK
const bool checks = true;
#else
const bool checks = false;
#endif
// Inside is while a thread is in the machine's own code, whose accesses are not the
// kernel's.
struct Inside {
	const bool was = checks && checkLeave();
	~Inside() {
		if (was) checkEnter(thread);
	}
};

// fail ends the block and its kernel's start.
__attribute__((noreturn, format(printf, 1, 2))) void fail(const char *format, ...);

// Wait says what a thread waits for; with no word for it, an mbarrier, of which lacking
// tells.
struct Wait {
	const char *what;
	u64 at;
	u32 parity;
};
void yield(const Wait &w);
void moved();
// until lets others go on until ready. Where none can and nothing is under way, the block
// fails.
template <typename F> void until(const Wait &w, F ready) {
	while (!ready()) yield(w);
	moved();
}

// The part of hopper.cc: what it does when a block begins and ends, when no thread can go
// on (later), and when a thread writes to shared memory by cp.async (wrote).
void beginBlock();
void endBlock();
bool later();
void wrote(u64 to, int bytes);
std::string lacking(u64 at);
} // namespace machine

DEVICE int threadX() { return machine::thread; }
DEVICE int blockX() { return machine::block; }
DEVICE int blockY() { return machine::blockY; }
DEVICE int threads() { return machine::threads; }
DEVICE int blocks() { return machine::blocks; }
DEVICE void barrier(HERE) { machine::barrier(file, line); }
DEVICE void warpBarrier(HERE) { machine::meet("a barrier of its warp", true, file, line); }
DEVICE float bitsFloat(u32 b) { return __builtin_bit_cast(float, b); }
DEVICE u32 floatBits(float x) { return __builtin_bit_cast(u32, x); }
// exchangeWith: every lane of the warp comes here, as shfl.sync wants it.
DEVICE float exchangeWith(float x, int lane, PLACE) {
	int me = machine::thread;
	machine::exchange[me] = floatBits(x);
	machine::meet("a shuffle", false, file, line);
	float y = bitsFloat(machine::exchange[me / 32 * 32 + lane]);
	machine::meet("a shuffle", false, file, line);
	return y;
}
DEVICE float shuffleXor(float x, int lane, HERE) { return exchangeWith(x, machine::thread % 32 ^ lane, file, line); }
DEVICE float shuffle(float x, int lane, HERE) { return exchangeWith(x, lane, file, line); }
DEVICE float fma32(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
DEVICE float sqrt32(float x) { return sqrtf(x); }
DEVICE float max32(float a, float b) { return a > b ? a : b; }
DEVICE float halfFloat(u16 h) { return (float)__builtin_bit_cast(_Float16, h); }
DEVICE float roundHalf(float x) { return (float)(_Float16)x; }
DEVICE u32 toBfloat(float x) {
	u32 b = floatBits(x);
	return x != x ? 0x7fffu : (b + 0x7fffu + (b >> 16 & 1)) >> 16;
}
DEVICE u32 brains(float low, float high) { return toBfloat(low) | toBfloat(high) << 16; }
// matrixUnit: every lane of the warp comes here and lays out its operands; then
// each sums its four values from what the others laid out.
DEVICE float operandOf(int lane, int word, int half) {
	u32 two = machine::operands[machine::thread / 32 * 32 + lane][word];
	return bitsFloat(half ? two & 0xffff0000u : two << 16);
}
DEVICE void matrixUnit(float *d, const u32 *a, u32 b0, u32 b1, HERE) {
	u32 *mine = machine::operands[machine::thread];
	for (int i = 0; i < 4; i++) mine[i] = a[i];
	mine[4] = b0, mine[5] = b1;
	machine::meet("a matrix product", false, file, line);
	const int g = machine::thread % 32 / 4, t = machine::thread % 4;
	for (int i = 0; i < 4; i++)
		for (int k = 0; k < 16; k++) {
			const int owner = k % 8 / 2, column = 2 * t + i % 2;
			d[i] = fma32(operandOf(4 * g + owner, k / 8 * 2 + i / 2, k % 2), operandOf(4 * column + owner, 4 + k / 8, k % 2), d[i]);
		}
	machine::meet("a matrix product", false, file, line);
}
DEVICE float fetchOne(const float *at) { return *at; }
DEVICE f32x4 fetch(const float *at) { return *(const f32x4 *)at; }
typedef u64 SharedAddress;
DEVICE SharedAddress sharedAddress(const void *p) { return (u64)p; }
DEVICE float sharedFloat(SharedAddress at) { return *(const float *)at; }
DEVICE f32x2 sharedPair(SharedAddress at) { return *(const f32x2 *)at; }
DEVICE u32 byteBeside(u32 word, int byte, u32 low) { return (word >> 8 * byte & 255) << 8 | low; }
// aligned ends the process where the GPU would refuse an address.
DEVICE const void *aligned(u64 at, u64 to) {
	if (at % to) __builtin_trap();
	return (const void *)at;
}
DEVICE u32 sharedWord(SharedAddress at) { return *(const u32 *)aligned(at, 4); }
DEVICE u32 sharedHalf(SharedAddress at) { return *(const u16 *)aligned(at, 2); }
DEVICE void sharedWords(u32 *w, SharedAddress at) { memcpy(w, aligned(at, 16), 16); }
DEVICE void sharedFloats(float *v, SharedAddress at) { memcpy(v, aligned(at, 16), 16); }
DEVICE u32 permute(u32 low, u32 high, u32 choice) {
	const u64 both = (u64)high << 32 | low;
	u32 word = 0;
	for (int i = 0; i < 4; i++) word |= (u32)(both >> 8 * (choice >> 4 * i & 7) & 255) << 8 * i;
	return word;
}
DEVICE float asBrain(float x) { return bitsFloat(toBfloat(x) << 16); }
DEVICE void copy16(SharedAddress to, const void *from, bool there) {
	if (there) aligned((u64)from, 16);
	machine::copy((u64)aligned(to, 16), (u64)from, 16, there);
}
DEVICE void copy4(SharedAddress to, const void *from, bool there) { machine::copy((u64)aligned(to, 4), (u64)from, 4, there); }
DEVICE void awaitCopies(HERE) { machine::awaitCopies(-1, file, line); }
DEVICE void groupBarrier(HERE) { machine::groupBarrier(file, line); }
template <typename T> DEVICE void storeShared(SharedAddress to, T v) { memcpy((void *)to, &v, sizeof v); }
// loadMatrices: every lane of the warp comes here and names a row; then each takes
// its values of the four matrices.
DEVICE u32 valueOf(int matrix, int row, int column) {
	const u32 *named = machine::operands[machine::thread / 32 * 32 + 8 * matrix + row];
	return ((const u16 *)(named[0] | (u64)named[1] << 32))[column];
}
DEVICE void loadMatrices(u32 *m, SharedAddress row, bool turned = false, HERE) {
	u32 *mine = machine::operands[machine::thread];
	mine[0] = (u32)row, mine[1] = (u32)(row >> 32);
	machine::meet("a load of matrices", false, file, line);
	const int g = machine::thread % 32 / 4, t = machine::thread % 4 * 2;
	for (int i = 0; i < 4; i++) m[i] = turned ? valueOf(i, t, g) | valueOf(i, t + 1, g) << 16 : valueOf(i, g, t) | valueOf(i, g, t + 1) << 16;
	machine::meet("a load of matrices", false, file, line);
}
DEVICE void loadTurned(u32 *m, SharedAddress row, HERE) { loadMatrices(m, row, true, file, line); }
DEVICE float power2(float x) { return exp2f(x); }
DEVICE float logarithm2(float x) { return log2f(x); }
DEVICE float inverse(float x) { return 1.0f / x; }
DEVICE float larger(float a, float b) { return a > b ? a : b; }
