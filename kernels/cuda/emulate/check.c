//go:build emulate

// What compute-sanitizer finds on a GPU, here: races, accesses outside of memory, reads of
// what nobody wrote, and instructions of a whole warp that not all of it reach.
//
// With the build tag check the compiler puts a call before each access of the kernels
// (-fsanitize=thread), and the calls come to this file, not to a sanitizer's library. It
// is C, not C++, so that it is compiled without them.
//
// # What is a race
//
// Two accesses of two threads to one byte, of which at least one writes, with nothing
// that orders them. Threads of one block are ordered by a barrier that both take part
// in and that lies between the accesses: one of the block, of 128 threads, or of the warp
// (bar.warp.sync). Shuffles, products and loads of matrices bring a warp together,
// and the PTX ISA promises nothing about memory for them; they order nothing here.
// Threads of two blocks of a launch are not ordered at all, launches are.
//
// Those barriers are of sets of threads of which one contains the other, and every thread
// of a set takes part in all of the set's. So an access at a time t comes before all that
// a thread does now if the last barrier of the smallest set that has both was later
// than t: a number for each warp, group and block is all there is to keep. Of the reads
// since the last write only the last one is kept, with whether there were some of
// other lanes, warps or groups since the last barrier of each, and of other blocks;
// whether a write is ordered behind all of them depends on nothing else. The check is
// exact: it finds a race wherever the accesses of this run have one, whatever the order in
// which the emulation ran them, and tells of no others.
//
// A thread that has returned takes part in no barrier any more: what it did after its last
// one comes before nothing else of the block.
//
// A copy to shared memory is under way from where it is asked for until its thread has
// waited for it, and then is a write of that thread; nobody may touch its place meanwhile.
#define _GNU_SOURCE
#include "check.h"
#include <dlfcn.h>
#include <link.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

typedef unsigned long long u64;
typedef unsigned int u32;

// Cell is what is known of four bytes, or of one where they had different fates: the last
// write and the last read, each as time·2^16 + thread·2^6 + flags, and from where.
typedef struct {
	u64 write, read;
	u32 writer, reader;
} Cell;
// Flags of write: the bytes are somebody's; they were written; a copy to them is under way;
// each has a cell of its own; they are the machine's own variables; they lie behind what was
// asked for, within the 16 bytes that its last are of, and may be read, with no promise.
enum { there = 1, written = 2, underWay = 4, bytewise = 8, machines = 16, spare = 32 };
// Flags of read: there were others, of another lane of the warp, another warp of the
// group, another group of the block, another block.
enum { otherLane = 1, otherWarp = 2, otherGroup = 4, otherBlock = 8 };

static u64 timeOf(u64 mark) { return mark >> 16; }
static int threadOf(u64 mark) { return mark >> 6 & 1023; }

// Room is a range of addresses with its cells.
typedef struct {
	u64 from, bytes;
	Cell *words, *each;
	int shared;
} Room;
static Room heap, image; // the device's memory, and variables of this program

static u64 base; // what addresses of the program's file lie below those in memory
static u64 left; // where the heap's next block begins
static u64 stackFrom, stackBytes;
static u64 dynamicFrom;
static int dynamicBytes;

static int on; // a kernel's own code runs
static int muted; // something was found in this launch
static int me; // its thread
static u64 now = 1, launchTime, blockTime, groupTime[8], warpTime[32];
static u64 blockEnd[1024], groupEnd[1024], warpEnd[1024]; // the last barriers that count for a thread

// Blocks of this launch, and when they began.
static struct Began {
	u64 at;
	int x, y;
} *began;
static int begun, room;

// Meeting is where lanes of a warp wait for the others.
static struct Meeting {
	int count, all, thread, line;
	const char *what, *file;
	u64 from;
} meetings[32];
static int lanes[32]; // that have not returned
static int launched;

static void *reserve(u64 bytes) {
	void *p = mmap(0, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (p == MAP_FAILED) {
		perror("emulate: room for what is known of memory");
		abort();
	}
	return p;
}

static Room roomOf(u64 from, u64 bytes, int shared) {
	const Room r = {from, bytes, reserve(bytes / 4 * sizeof(Cell)), reserve(bytes * sizeof(Cell)), shared};
	return r;
}

static int ofProgram(struct dl_phdr_info *info, size_t size, void *data) {
	u64 from = ~0ull, to = 0;
	for (int i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *p = &info->dlpi_phdr[i];
		if (p->p_type != PT_LOAD || !(p->p_flags & PF_W)) continue;
		const u64 at = info->dlpi_addr + p->p_vaddr;
		if (at < from) from = at;
		if (at + p->p_memsz > to) to = at + p->p_memsz;
	}
	base = info->dlpi_addr;
	from &= ~15ull;
	image = roomOf(from, (to - from + 15) & ~15ull, 1);
	return 1; // the first is the program itself
}

static void begin(void) {
	if (heap.bytes) return;
	const u64 bytes = 256ull << 30;
	heap = roomOf((u64)reserve(bytes), bytes, 0);
	left = heap.from;
	dl_iterate_phdr(ofProgram, 0);
}

// set gives cells of a range new marks.
static void set(const Room *r, u64 from, u64 bytes, u64 mark) {
	const Cell fresh = {mark, 0, 0, 0};
	for (u64 a = from; a < from + bytes;) {
		Cell *c = &r->words[(a - r->from) / 4];
		if (a % 4 == 0 && a + 4 <= from + bytes) {
			*c = fresh;
			a += 4;
			continue;
		}
		Cell *each = &r->each[(a - r->from) / 4 * 4];
		if (!(c->write & bytewise)) {
			for (int i = 0; i < 4; i++) each[i] = *c;
			c->write = there | bytewise;
		}
		each[a % 4] = fresh;
		a++;
	}
}

// The device's memory. Between blocks lies a page that is nobody's.

void *checkAlloc(long long bytes) {
	begin();
	const u64 at = left, page = 4096;
	left = (at + bytes + 2 * page - 1) / page * page;
	if (left > heap.from + heap.bytes) return 0;
	set(&heap, at, bytes, there);
	return (void *)at;
}

void checkFree(void *p, long long bytes) {
	const u64 page = 4096, from = (u64)p, whole = (bytes + page - 1) / page * page, cell = sizeof(Cell);
	madvise(p, whole, MADV_DONTNEED);
	madvise(heap.words + (from - heap.from) / 4, whole / 4 * cell, MADV_DONTNEED);
	madvise(heap.each + (from - heap.from), whole * cell, MADV_DONTNEED);
}

// checkTaken says that of a block only the first bytes were asked for, and that what
// they held before is nobody's.
void checkTaken(u64 at, long long bytes, long long size) {
	memset((void *)at, 0xff, size);
	const u64 end = at + bytes, last = (end + 15) & ~15ull;
	set(&heap, at, bytes, there);
	set(&heap, end, last - end, spare);
	set(&heap, last, at + size - last, 0);
}

// checkHost is an access of the host; what it gives says why it may not be.
const char *checkHost(u64 at, long long bytes, int writes) {
	static char text[200];
	for (u64 a = at; a < at + bytes; a += 4 - a % 4) {
		const Cell *c = a - heap.from < heap.bytes ? &heap.words[(a - heap.from) / 4] : 0;
		const u64 mark = !c ? 0 : c->write & bytewise ? heap.each[a - heap.from].write : c->write;
		if (mark & there && (writes || mark & written)) continue;
		snprintf(text, sizeof text, "the host %s %lld bytes at %llx, of which byte %llu %s", writes ? "writes" : "reads", bytes, at, a - at, mark & there ? "was never written" : "is outside of what was asked for");
		return text;
	}
	if (writes) set(&heap, at, bytes, there | written);
	return 0;
}

// Reports.

// place tells an address as what it is; *where is for the names.
static const char *place(u64 a, char *where, size_t size) {
	Dl_info known;
	ElfW(Sym) *symbol = 0;
	if (a - dynamicFrom < 256 << 10)
		snprintf(where, size, "byte %llu of the %d of dynamic shared memory", a - dynamicFrom, dynamicBytes);
	else if (a - image.from < image.bytes && dladdr1((void *)a, &known, (void **)&symbol, RTLD_DL_SYMENT) && known.dli_sname)
		snprintf(where, size, "byte %llu of %s (%d bytes)", a - (u64)known.dli_saddr, known.dli_sname, symbol ? (int)symbol->st_size : 0);
	else if (a - heap.from < heap.bytes) {
		// The nearest block before it.
		u64 b = a / 4 * 4;
		while (b > heap.from && !(heap.words[(b - heap.from) / 4].write & there) && a - b < 1 << 20) b -= 4;
		u64 end = b + 4;
		while (end < heap.from + heap.bytes && heap.words[(end - heap.from) / 4].write & there) end += 4;
		while (b > heap.from && heap.words[(b - 4 - heap.from) / 4].write & there) b -= 4;
		snprintf(where, size, "byte %llu of the block of %llu at %llx in global memory", a - b, end - b, b);
	} else
		snprintf(where, size, "address %llx, which is nobody's", a);
	return where;
}

// Addresses of code stand in a report as @ and their number in the program's file; the
// host's side puts lines of the source for them.
static void report(const char *format, ...) {
	static char text[2000];
	va_list of;
	va_start(of, format);
	vsnprintf(text, sizeof text, format, of);
	va_end(of);
	on = 0;
	muted = 1;
	static int goOn = -1;
	if (goOn < 0) goOn = getenv("EMULATE_GO_ON") != 0;
	if (!goOn) emulateFail(text);
	emulateNote(text);
}

static u64 code(u64 pc) { return pc - base - 1; }

static void blockOf(u64 time, char *text, size_t size) {
	int i = begun - 1;
	while (i > 0 && began[i].at > time) i--;
	snprintf(text, size, " of block %d, %d", began[i].x, began[i].y);
}

static void race(u64 a, int bytes, int writes, u64 pc, u64 mark, u32 from, int wrote) {
	char where[300], who[60] = "another thread", block[60] = "";
	const u64 others = wrote ? 0 : mark & (otherLane | otherWarp | otherGroup | otherBlock);
	if (!others) snprintf(who, sizeof who, "thread %d", threadOf(mark));
	if (timeOf(mark) < began[begun - 1].at || others & otherBlock) blockOf(timeOf(mark), block, sizeof block);
	report("race: thread %d %s %d bytes at @%llx, and %s%s %s them at @%x, with nothing between that orders the two: %s",
		me, writes ? "writes" : "reads", bytes, code(pc), who, block, wrote ? "wrote" : "read", from, place(a, where, sizeof where));
}

// Order.

static u64 less(u64 a, u64 b) { return a < b ? a : b; }

// unordered tells whether an access of this launch, and block if it is one to shared memory,
// comes before nothing that this thread does now.
static int unordered(u64 mark) {
	const u64 t = timeOf(mark);
	const int who = threadOf(mark);
	if (t < began[begun - 1].at) return 1;
	if (who == me) return 0;
	if (who / 32 == me / 32) return t >= less(warpTime[me / 32], warpEnd[who]);
	if (who / 128 == me / 128) return t >= less(groupTime[me / 128], groupEnd[who]);
	return t >= less(blockTime, blockEnd[who]);
}

// follows tells whether a write comes after all reads since the last one.
static int follows(u64 read) {
	const u64 t = timeOf(read);
	const int who = threadOf(read);
	if (read & otherBlock) return 0;
	if (t >= began[begun - 1].at) {
		if (read & otherGroup && t >= blockTime) return 0;
		if (read & otherWarp && who / 128 == me / 128 && t >= groupTime[me / 128]) return 0;
		if (read & otherLane && who / 32 == me / 32 && t >= warpTime[me / 32]) return 0;
	}
	return !unordered(read);
}

// joined are the flags of a read now behind one before.
static u64 joined(u64 old, u64 start) {
	const u64 t = timeOf(old);
	const int who = threadOf(old);
	if (t < start || old == 0) return 0;
	if (t < began[begun - 1].at) return otherBlock;
	u64 flags = old & otherBlock;
	if (t >= blockTime && (old & otherGroup || who / 128 != me / 128)) flags |= otherGroup;
	if (who / 128 == me / 128 && t >= groupTime[me / 128] && (old & otherWarp || who / 32 != me / 32)) flags |= otherWarp;
	if (who / 32 == me / 32 && t >= warpTime[me / 32] && (old & otherLane || who != me)) flags |= otherLane;
	return flags;
}

// An access writes, or reads, or reads for an asynchronous copy: that may bring what nobody wrote,
// as a page of keys that are not all there. It is NaN (checkTaken), so that its use shows.
enum { reading = 0, writing = 1, copying = 2 };

static u64 markOf(void) { return now << 16 | (u64)me << 6; }

static void outside(u64 a, int bytes, int writes, u64 pc) {
	char where[300];
	report("outside of memory: thread %d %s %d bytes at @%llx: %s", me, writes ? "writes" : "reads", bytes, code(pc), place(a, where, sizeof where));
}

static void one(const Room *r, Cell *c, u64 a, int bytes, int how, u64 pc) {
	const int writes = how & writing;
	const u64 start = r->shared ? began[begun - 1].at : launchTime;
	const u64 w = c->write;
	if (w & spare && !writes) return;
	if (!(w & there)) outside(a, bytes, writes, pc);
	if (w & underWay && timeOf(w) >= start) {
		char where[300];
		report("race: thread %d %s %d bytes at @%llx to which a copy of thread %d that began at @%x is under way: %s", me, writes ? "writes" : "reads", bytes, code(pc), threadOf(w), c->writer, place(a, where, sizeof where));
	}
	if (w & written && timeOf(w) >= start && unordered(w)) race(a, bytes, writes, pc, w, c->writer, 1);
	if (writes) {
		if (c->read && timeOf(c->read) >= start && !follows(c->read)) race(a, bytes, writes, pc, c->read, c->reader, 0);
		c->write = markOf() | there | written;
		c->read = 0;
		c->writer = code(pc);
		return;
	}
	if (how != copying && (!(w & written) || (r->shared && timeOf(w) < start))) {
		char where[300];
		report("not written: thread %d reads %d bytes at @%llx that %s: %s", me, bytes, code(pc), r->shared ? "no thread of the block wrote" : "nobody wrote", place(a, where, sizeof where));
	}
	c->read = markOf() | joined(c->read, start);
	c->reader = code(pc);
}

// find learns what variable an address of the program belongs to.
static void find(u64 a, int bytes, int writes, u64 pc) {
	Dl_info known;
	ElfW(Sym) *symbol = 0;
	if (a - dynamicFrom < 256 << 10) return;
	if (!dladdr1((void *)a, &known, (void **)&symbol, RTLD_DL_SYMENT) || !symbol || !known.dli_sname) return;
	const u64 from = (u64)known.dli_saddr;
	if (a - from >= symbol->st_size) return;
	set(&image, from, symbol->st_size, strncmp(known.dli_sname, "_ZN7machine", 11) == 0 ? there | machines : there);
}

static void access(u64 a, int bytes, int how, u64 pc) {
	const int writes = how & writing;
	if (a - stackFrom < stackBytes) return;
	const Room *r = a - heap.from < heap.bytes ? &heap : &image;
	if (a - r->from >= r->bytes) {
		outside(a, bytes, writes, pc);
		return;
	}
	const u64 end = a + bytes;
	while (a < end) {
		const u64 i = (a - r->from) / 4;
		Cell *c = &r->words[i];
		if (c->write == 0 && r->shared) find(a, bytes, writes, pc);
		if (c->write & machines) return;
		const int whole = a % 4 == 0 && end - a >= 4;
		if (whole && !(c->write & bytewise)) {
			one(r, c, a, bytes, how, pc);
			a += 4;
			continue;
		}
		Cell *each = &r->each[4 * i];
		if (!(c->write & bytewise)) {
			for (int j = 0; j < 4; j++) each[j] = *c;
			c->write = there | bytewise;
		}
		do one(r, &each[a % 4], a, bytes, how, pc);
		while (++a % 4 && a < end);
	}
}

// What the machine tells.

void checkLaunch(const void *stacks, u64 stack, const void *dynamic, int threads, int shared) {
	begin();
	stackFrom = (u64)stacks, stackBytes = stack;
	dynamicFrom = (u64)dynamic;
	dynamicBytes = shared;
	static int before;
	if (shared < before) set(&image, dynamicFrom + shared, before - shared, 0);
	if (shared > before) set(&image, dynamicFrom + before, shared - before, there);
	before = shared;
	launchTime = ++now;
	launched = threads;
	begun = 0;
	muted = 0;
}

void checkBlock(int x, int y) {
	if (begun == room) began = realloc(began, (room = 2 * room + 16) * sizeof *began);
	now++;
	began[begun].at = now, began[begun].x = x, began[begun].y = y;
	begun++;
	blockTime = now;
	for (int i = 0; i < 8; i++) groupTime[i] = now;
	for (int i = 0; i < 32; i++) {
		warpTime[i] = now;
		meetings[i].count = 0;
		lanes[i] = launched - 32 * i < 0 ? 0 : launched - 32 * i > 32 ? 32 : launched - 32 * i;
	}
	for (int i = 0; i < launched; i++) blockEnd[i] = groupEnd[i] = warpEnd[i] = ~0ull;
}

void checkEnter(int thread) {
	me = thread;
	on = !muted;
}
int checkLeave(void) {
	const int was = on;
	on = 0;
	return was;
}

void checkBarrier(void) {
	blockTime = ++now;
	for (int i = 0; i < 8; i++) groupTime[i] = now;
	for (int i = 0; i < 32; i++) warpTime[i] = now;
}
void checkGroupBarrier(int group) {
	groupTime[group] = ++now;
	for (int i = 0; i < 4; i++) warpTime[4 * group + i] = now;
}
void checkWarpBarrier(int warp) { warpTime[warp] = ++now; }

static void missing(const struct Meeting *m) {
	report("not the whole warp: thread %d is at %s (@%llx), which wants all 32 threads, and some have returned or were never there", m->thread, m->what, m->from);
}

void checkMeets(int thread, const char *what, int all, const char *file, int line, const void *from) {
	if (muted) return;
	struct Meeting *m = &meetings[thread / 32];
	const u64 pc = code((u64)from);
	if (m->count == 0) {
		m->what = what, m->all = all, m->file = file, m->line = line, m->from = pc, m->thread = thread;
	} else if (m->what != what || m->line != line || strcmp(m->file, file))
		report("not the whole warp: thread %d is at %s (@%llx) while thread %d of its warp waits at %s (@%llx)", thread, what, pc, m->thread, m->what, m->from);
	if (all && lanes[thread / 32] != 32) missing(m);
	if (++m->count >= lanes[thread / 32]) m->count = 0;
}

void checkExit(int thread) {
	struct Meeting *m = &meetings[thread / 32];
	blockEnd[thread] = blockTime, groupEnd[thread] = groupTime[thread / 128], warpEnd[thread] = warpTime[thread / 32];
	lanes[thread / 32]--;
	if (muted) return;
	if (m->count > 0 && m->all) missing(m);
	if (m->count > 0 && m->count >= lanes[thread / 32]) m->count = 0;
}

// mark sets or takes off that a copy to a place is under way.
static void mark(u64 to, int bytes, u64 flags, u64 pc) {
	for (u64 a = to; a < to + bytes; a += 4) {
		Cell *c = &image.words[(a - image.from) / 4];
		const int each = c->write & bytewise ? 4 : 1;
		if (each == 4) c = &image.each[a - image.from];
		for (int i = 0; i < each; i++) {
			c[i].write = markOf() | there | written | flags;
			if (pc) c[i].writer = pc;
		}
	}
}

void checkCopyBegins(int thread, u64 to, u64 from, int bytes, int full, const void *at) {
	me = thread;
	if (full && !muted) access(from, bytes, copying, (u64)at);
	if (!muted) access(to, bytes, writing, (u64)at);
	if (!muted) mark(to, bytes, underWay, code((u64)at));
}

void checkCopyEnds(int thread, u64 to, u64 from, int bytes, int full, const void *at) {
	me = thread;
	if (full && !muted) access(from, bytes, copying, (u64)at);
	if (!muted) mark(to, bytes, 0, 0);
}

void checkReads(int thread, u64 from, int bytes, const void *at) {
	me = thread;
	if (!muted && bytes > 0) access(from, bytes, copying, (u64)at);
}

// What the compiler calls.

#define FROM (u64) __builtin_return_address(0)
#define ACCESS(n) \
	void __tsan_read##n(void *a) { if (on) access((u64)a, n, 0, FROM); } \
	void __tsan_write##n(void *a) { if (on) access((u64)a, n, 1, FROM); } \
	void __tsan_unaligned_read##n(void *a) { if (on) access((u64)a, n, 0, FROM); } \
	void __tsan_unaligned_write##n(void *a) { if (on) access((u64)a, n, 1, FROM); }
ACCESS(1)
ACCESS(2)
ACCESS(4)
ACCESS(8)
ACCESS(16)
void __tsan_read_range(void *a, long n) { if (on && n) access((u64)a, n, 0, FROM); }
void __tsan_write_range(void *a, long n) { if (on && n) access((u64)a, n, 1, FROM); }
void *__tsan_memcpy(void *to, const void *from, unsigned long n) {
	if (on && n) access((u64)from, n, 0, FROM), access((u64)to, n, 1, FROM);
	return memcpy(to, from, n);
}
void *__tsan_memset(void *to, int v, unsigned long n) {
	if (on && n) access((u64)to, n, 1, FROM);
	return memset(to, v, n);
}
void __tsan_func_entry(void *a) {}
void __tsan_func_exit(void) {}
void __tsan_init(void) {}
void __tsan_vptr_update(void **a, void *b) {}
void __tsan_vptr_read(void **a) {}
