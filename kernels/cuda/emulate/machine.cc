//go:build emulate

#include "../src/device.h"
#include <algorithm>
#include <dlfcn.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string>
#include <ucontext.h>
#include <vector>

namespace machine {
int thread, block, blockY, threads, blocks, sharedBytes;
alignas(128) u8 dynamicShared[256 << 10];
u32 exchange[1024], operands[1024][6];

namespace {
const int stackBytes = 64 << 10, most = 1024;
struct Fibre {
	jmp_buf at;
	ucontext_t start;
	bool begun, ended;
	Wait wait; // what it waits for
};
Fibre fibres[most];
u8 *stacks;
jmp_buf host;
int alive, waiting, generation;
int idle; // how many threads in a row have found that they have to wait on
bool held; // the slow warp
std::string failure, noted;
int warpAlive[32], warpWaiting[32], warpGeneration[32];
bool warpOrders[32]; // what the warp waits at is its barrier
int groupWaiting[8], groupGeneration[8]; // of 128 threads, all of them alive
const int parameters = 32; // a kernel takes those that it declares
void (*kernel)(i64, i64, i64, i64, i64, i64, i64, i64, i64, i64, i64, i64, i64, i64, i64, i64, i64, i64, i64, i64, i64, i64, i64, i64, i64, i64, i64, i64, i64, i64, i64, i64);
i64 arguments[parameters];

struct Copy {
	u64 to, from;
	int bytes;
	bool there;
	void *at; // in the kernel
	void make() const {
		wrote(to, bytes);
		if (checks) checkCopyEnds(thread, to, from, bytes, there, at);
		if (there)
			memcpy((void *)to, (const void *)from, bytes);
		else
			memset((void *)to, 0, bytes);
	}
};
std::vector<Copy> copies[most];   // of each thread, not made yet
std::vector<size_t> batches[most]; // where its closed batches end in them

// enter goes on with fibre t.
void enter(int t) {
	thread = t;
	Fibre &f = fibres[t];
	if (f.begun) _longjmp(f.at, 1);
	f.begun = true;
	moved();
	setcontext(&f.start);
}

// others counts threads that are not of the slow warp.
int others() { return alive - (slow < 0 ? 0 : warpAlive[slow]); }

// next goes on with the fibre after this one, or ends the block.
void next() {
	if (alive == 0) _longjmp(host, 1);
	if (others() == 0) held = false;
	int t = thread;
	do t = (t + (backwards ? threads - 1 : 1)) % threads;
	while (fibres[t].ended || (held && t / 32 == slow));
	enter(t);
}

// stuck is when no thread can go on: something that was put off happens, or the slow warp
// has its turn, or the block fails.
void stuck() {
	idle = 0;
	if (later()) return;
	if (held) {
		held = false;
		return;
	}
	std::string all;
	for (int t = 0; t < threads; t++) {
		if (fibres[t].ended) continue;
		auto of = [](int t) { return fibres[t].wait.what ? std::string(fibres[t].wait.what) : lacking(fibres[t].wait.at); };
		const int first = t;
		while (t + 1 < threads && !fibres[t + 1].ended && of(t + 1) == of(first)) t++;
		char who[80];
		snprintf(who, sizeof who, t > first ? "; threads %d to %d wait for " : "; thread %d waits for ", first, t);
		all += who + of(first);
	}
	fail("no thread can go on%s", all.c_str());
}

void release(int w) {
	if (warpWaiting[w] > 0 && warpWaiting[w] == warpAlive[w]) {
		warpWaiting[w] = 0;
		warpGeneration[w]++;
		if (checks && warpOrders[w]) checkWarpBarrier(w);
	}
	if (waiting > 0 && waiting == alive) {
		waiting = 0;
		generation++;
		if (checks) checkBarrier();
	}
}

void run() {
	const auto kernel = machine::kernel;
	i64 a[parameters];
	memcpy(a, arguments, sizeof a);
	if (checks) checkEnter(thread);
	kernel(a[0], a[1], a[2], a[3], a[4], a[5], a[6], a[7], a[8], a[9], a[10], a[11], a[12], a[13], a[14], a[15], a[16], a[17], a[18], a[19], a[20], a[21], a[22], a[23], a[24], a[25], a[26], a[27], a[28], a[29], a[30], a[31]);
	if (checks) checkLeave(), checkExit(thread);
	fibres[thread].ended = true;
	moved();
	alive--;
	warpAlive[thread / 32]--;
	release(thread / 32);
	next();
}
} // namespace

// EMULATE_BACKWARDS turns about what a GPU may do in any order: threads run from the last
// to the first, and so do blocks, and copies to shared memory come when they are
// waited for, not when they are asked for. What gives other values then lacks a
// barrier or waits for too little.
bool backwards;

// A warp may be slow (EMULATE_SLOW): it goes on only where all others wait and nothing is
// under way. -1: none is.
int slow;

extern "C" void emulateOrder(int back, int slowWarp) {
	backwards = back;
	slow = slowWarp;
}
extern "C" void emulateUsual() {
	const char *s = getenv("EMULATE_SLOW");
	emulateOrder(getenv("EMULATE_BACKWARDS") != 0, s ? atoi(s) : -1);
}
const bool begun = (emulateUsual(), true);

void moved() {
	idle = 0;
	held = slow >= 0 && thread / 32 != slow;
}

void yield(const Wait &w) {
	fibres[thread].wait = w;
	if (++idle > (held ? others() : alive)) stuck();
	if (_setjmp(fibres[thread].at) == 0) next();
}

// told is why, with the kernel and the block.
static std::string told(const char *why) {
	Dl_info known = {};
	dladdr((void *)kernel, &known);
	return std::string(known.dli_sname ? known.dli_sname : "a kernel") + ", block " + std::to_string(block) + ", " + std::to_string(blockY) + ": " + why;
}

void fail(const char *format, ...) {
	char text[2000];
	va_list of;
	va_start(of, format);
	vsnprintf(text, sizeof text, format, of);
	va_end(of);
	failure = told(text);
	_longjmp(host, 1);
}
extern "C" void emulateNote(const char *why) { noted = told(why); }
extern "C" void emulateFail(const char *why) { fail("%s", why); }

// Barriers and waits that the kernels came to, and the one that they do without, for tests
// of the checker.
static std::vector<std::string> places;
static std::string without;
static bool noting;
static bool leftOut(PLACE) {
	if (!noting && without.empty()) return false;
	const char *name = strrchr(file, '/');
	const std::string place = std::string(name ? name + 1 : file) + ":" + std::to_string(line);
	if (noting && std::find(places.begin(), places.end(), place) == places.end()) places.push_back(place);
	return place == without;
}
extern "C" void emulateWithout(int note, const char *place) {
	noting = note;
	without = place;
	if (note) places.clear();
}
extern "C" const char *emulatePlace(int i) { return i < (int)places.size() ? places[i].c_str() : 0; }

void barrier(PLACE) {
	Inside inside;
	if (checks && leftOut(file, line)) return;
	if (checks) checkMeets(thread, "a barrier", 0, file, line, __builtin_return_address(0));
	int g = generation;
	waiting++;
	release(thread / 32);
	until(Wait{"barrier", 0, 0}, [=] { return generation != g; });
}

void groupBarrier(PLACE) {
	Inside inside;
	if (checks && leftOut(file, line)) return;
	if (checks) checkMeets(thread, "a barrier of 128 threads", 1, file, line, __builtin_return_address(0));
	int i = thread / 128, g = groupGeneration[i];
	if (++groupWaiting[i] == 128) {
		groupWaiting[i] = 0;
		groupGeneration[i]++;
		if (checks) checkGroupBarrier(i);
	}
	until(Wait{"groupBarrier", 0, 0}, [=] { return groupGeneration[i] != g; });
}

void meet(const char *what, bool orders, PLACE) {
	Inside inside;
	if (checks && orders && leftOut(file, line)) return;
	if (checks) checkMeets(thread, what, 1, file, line, __builtin_return_address(0));
	int w = thread / 32, g = warpGeneration[w];
	warpWaiting[w]++;
	warpOrders[w] = orders;
	release(w);
	until(Wait{"its warp", 0, 0}, [=] { return warpGeneration[w] != g; });
}

void copy(u64 to, u64 from, int bytes, bool there) {
	Inside inside;
	const Copy c = {to, from, bytes, there, __builtin_return_address(0)};
	if (checks) checkCopyBegins(thread, to, from, bytes, there, c.at);
	if (backwards || checks)
		copies[thread].push_back(c);
	else
		c.make();
}
void closeCopies() {
	Inside inside;
	batches[thread].push_back(copies[thread].size());
}
// awaitCopies makes the copies of all batches but the last so many; -1: all copies.
void awaitCopies(int left, PLACE) {
	Inside inside;
	if (checks && leftOut(file, line)) return;
	auto &mine = copies[thread];
	auto &ends = batches[thread];
	const size_t keep = left < 0 ? 0 : left < (int)ends.size() ? left : ends.size();
	const size_t n = left < 0 ? mine.size() : ends.size() > keep ? ends[ends.size() - keep - 1] : 0;
	for (size_t i = 0; i < n; i++) mine[i].make();
	mine.erase(mine.begin(), mine.begin() + n);
	ends.erase(ends.begin(), ends.end() - keep);
	for (size_t &e : ends) e -= n;
}

bool chosen(int x, int y, int gridX, int gridY); // corner.cc

// emulateLaunch runs a kernel. It gives what a block failed of, or null.
extern "C" const char *emulateLaunch(void *k, const i64 *args, int n, int gridX, int gridY, int count, int shared) {
	if (!stacks) stacks = (u8 *)malloc((size_t)stackBytes * most);
	kernel = (decltype(kernel))k;
	memset(arguments, 0, sizeof arguments);
	memcpy(arguments, args, n * sizeof *args);
	threads = count;
	blocks = gridX;
	sharedBytes = shared;
	failure.clear();
	noted.clear();
	if (checks) checkLaunch(stacks, (u64)stackBytes * most, dynamicShared, count, shared);
	for (volatile int y = 0; y < gridY; y++)
		for (volatile int x = 0; x < gridX; x++) {
			if (!chosen(x, y, gridX, gridY)) continue;
			block = backwards ? gridX - 1 - x : x;
			blockY = backwards ? gridY - 1 - y : y;
			alive = count;
			waiting = 0;
			for (int &g : groupWaiting) g = 0;
			if (checks) checkBlock(block, blockY);
			for (int w = 0; w < 32; w++) {
				warpWaiting[w] = 0;
				warpAlive[w] = count - 32 * w < 0 ? 0 : count - 32 * w > 32 ? 32 : count - 32 * w;
			}
			for (int t = 0; t < count; t++) {
				Fibre &f = fibres[t];
				f.begun = f.ended = false;
				copies[t].clear();
				batches[t].clear();
				getcontext(&f.start);
				f.start.uc_stack.ss_sp = stacks + (size_t)t * stackBytes;
				f.start.uc_stack.ss_size = stackBytes;
				f.start.uc_link = 0;
				makecontext(&f.start, run, 0);
			}
			beginBlock();
			held = slow >= 0;
			thread = backwards ? 0 : count - 1;
			if (_setjmp(host) == 0) next();
			if (failure.empty() && _setjmp(host) == 0) endBlock();
			if (!failure.empty()) return failure.c_str();
		}
	return noted.empty() ? 0 : noted.c_str();
}

} // namespace machine

extern "C" void *emulateFind(const char *name) { return dlsym(RTLD_DEFAULT, name); }

#include "../src/activation.h"
#include "../src/copies.h"
#include "../src/hopper.h"
#include "../src/values.h"
#include "../src/weight.h"
#include "../src/thirds.h"
#include "../src/blocks.h"
#include "../src/philox.h"
#include "../src/attention.cu"
#include "../src/prompt.cu"
namespace brain {
#include "../src/brain.cu"
}
namespace elementwise {
#include "../src/elementwise.cu"
}
namespace matmul {
#include "../src/matmul.cu"
}
namespace norm {
#include "../src/norm.cu"
}
namespace ggml {
#include "../src/blocks.cu"
}
namespace blockrows {
#include "../src/blockrows.cu"
}
namespace onerow {
#include "../src/onerow.cu"
}
namespace thirds {
#include "../src/thirds.cu"
}
namespace ropestore {
#include "../src/ropestore.cu"
}
namespace optim {
#include "../src/optim.cu"
}
namespace train {
#include "../src/train.cu"
}
namespace lora {
#include "../src/lora.cu"
}
namespace pair {
#include "../src/pair.cu"
}
namespace flash {
#include "../src/flash.cu"
#undef FLASH
#include "../src/flashback.cu"
}
namespace gemmmatrix {
#include "../src/gemm.cu"
}
namespace gemm {
#include "../src/gemm_sm90.cu"
#include "../src/tiles_sm90.cu"
}
