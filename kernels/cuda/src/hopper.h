// Instructions of Hopper (sm_90a) that clang has no words for, one a function: barriers
// in shared memory that count bytes (mbarrier), copies of tiles by the tensor memory unit
// (cp.async.bulk.tensor) and products of a warpgroup, which is four warps (wgmma). Names
// and meanings are those of the PTX ISA; ../emulate/hopper.h plays them.
#pragma once
#include "device.h"

// What a product's addresses are known to point to, and values that are read and written
// together.
#ifdef EMULATE
#include "../emulate/hopper.h"
#else
#define INGLOBAL __attribute__((address_space(1)))
typedef float __attribute__((ext_vector_type(2))) floats2;
typedef u32 __attribute__((ext_vector_type(2))) words2;

// A barrier's phase is complete with so many arrivals, and as many bytes copied as were
// expected; it begins in phase 0.
template <int ARRIVALS> DEVICE void beginBarrier(SharedAddress at) { asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(at), "n"(ARRIVALS) : "memory"); }
DEVICE void arrive(SharedAddress at) { asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(at) : "memory"); }
DEVICE void arriveExpecting(SharedAddress at, int bytes) { asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(at), "r"(bytes) : "memory"); }
// await waits until a phase of this parity is complete.
DEVICE void await(SharedAddress at, u32 parity) {
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
// fenceBarriers makes barriers begun by this thread visible to the unit; fenceAsync makes
// what it wrote to shared memory visible to the unit and to products.
DEVICE void fenceBarriers() { asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory"); }
DEVICE void fenceAsync() { asm volatile("fence.proxy.async;" ::: "memory"); }

// fenceMap makes a map that the host wrote visible to the unit, for the block's threads
// that come after a barrier: the unit keeps maps, and not in order with a stream's work.
DEVICE void fenceMap(const void *map) { asm volatile("fence.proxy.tensormap::generic.acquire.sys [%0], 128;" ::"l"(map) : "memory"); }

// copyTile starts the copy of a map's box at column x and row y to shared memory, whose
// bytes the barrier full counts.
DEVICE void copyTile(SharedAddress to, const void *map, int x, int y, SharedAddress full) {
	asm volatile("cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%2, %3}], [%4];" ::"r"(to), "l"(map), "r"(x), "r"(y), "r"(full) : "memory");
}

// multiply adds a tile of 64 by 16 times 16 by W to d, 64 by W: W / 2 values a thread. a
// and b describe tiles in shared memory whose rows hold what is summed over.
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

// fenceSums goes before products whose sums d were read or written since; closeProducts
// makes a group of the products started since the last; awaitProducts waits until no more
// than LEFT groups are under way, and only then may their sums be read.
DEVICE void fenceSums() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
DEVICE void closeProducts() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
template <int LEFT> DEVICE void awaitProducts() { asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(LEFT) : "memory"); }

// afterSums makes the compiler reckon with these values no earlier than here.
template <typename T> DEVICE void afterSums(const T *&p, int &a, int &b, int &c) { asm volatile("" : "+l"(p), "+r"(a), "+r"(b), "+r"(c)::"memory"); }
#endif
