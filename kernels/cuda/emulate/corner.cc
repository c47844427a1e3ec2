//go:build emulate

#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

// Shapes as large as real ones: of each kernel some blocks run, in memory that is there
// only where it is touched, each piece up against a page that may not be touched.

typedef unsigned long long u64;
typedef unsigned char u8;

namespace machine {
void fail(const char *format, ...);
}

namespace {
const u64 pageBytes = 4096;
struct sigaction before;

u64 whole(u64 bytes, u64 unit) { return (bytes + unit - 1) / unit * unit; }

void fault(int, siginfo_t *info, void *) {
	machine::fail("it touches address %p, which is no memory of the device", info->si_addr);
}
} // namespace

namespace machine {
int few; // of each kernel's blocks, so many and the first and last; 0: all

// chosen tells whether a block runs.
bool chosen(int x, int y, int gridX, int gridY) {
	if (few == 0 || (u64)gridX * gridY <= (u64)few + 2) return true;
	const u64 at = (u64)y * gridX + x, all = (u64)gridX * gridY;
	if (at == 0 || at == all - 1) return true;
	const u64 step = all / (few + 1);
	return at % step == step / 2 && at / step < (u64)few;
}
} // namespace machine

extern "C" u64 emulateReserve(u64 bytes) {
	const u64 room = whole(bytes, pageBytes);
	u8 *at = (u8 *)mmap(0, room + pageBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (at == MAP_FAILED) return 0;
	mprotect(at + room, pageBytes, PROT_NONE);
	return (u64)at + room - whole(bytes, 256); // as aligned as a GPU's memory
}
extern "C" void emulateRelease(u64 at, u64 bytes) {
	const u64 room = whole(bytes, pageBytes);
	munmap((void *)(at + whole(bytes, 256) - room), room + pageBytes);
}
// emulateFew runs few blocks of each kernel from here on, and tells what they touch that is
// not there; 0 runs all again.
extern "C" void emulateFew(int few) {
	machine::few = few;
	if (few == 0) {
		sigaction(SIGSEGV, &before, 0);
		return;
	}
	struct sigaction act = {};
	act.sa_sigaction = fault;
	act.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER; // the block is left, not gone on with
	sigaction(SIGSEGV, &act, &before);
}
