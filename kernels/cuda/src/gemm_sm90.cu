// Products of bfloat16 matrices on Hopper's matrix units, summed in float32:
// dst [m, n] = a [m, k] · bᵀ, b [n, k]; k is a multiple of 64.
//
// A block of two warpgroups owns 128 by 256 outputs, each of them 64 by 256 in
// registers. Tiles of 64 columns of a and b go through shared memory in a ring
// of four, copied asynchronously two tiles ahead, in the layout that wgmma calls
// 128-byte swizzle: the 16-byte chunk c of row r lies at place c ^ (r mod 8).
#include "device.h"

#ifndef EMULATE

const int rowsA = 128, rowsB = 256, depth = 64, stages = 4, ahead = 2;
const int bytesA = rowsA * depth * 2, bytesB = rowsB * depth * 2, bytesStage = bytesA + bytesB;

// copy16 starts the copy of 16 bytes, zeros where there are none.
DEVICE void copy16(u32 to, const void *from, bool there) {
	asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(from), "r"(there ? 16 : 0) : "memory");
}
DEVICE void commitCopies() { asm volatile("cp.async.commit_group;" ::: "memory"); }
DEVICE void awaitCopies() { asm volatile("cp.async.wait_group 1;" ::: "memory"); }

// tileOf describes rows of 128 bytes in shared memory to wgmma: the address,
// 1024 bytes from 8 rows to the next 8, swizzle of 128 bytes.
DEVICE u64 tileOf(u32 address) { return (u64)(address >> 4 & 0x3fff) | 1ull << 16 | 64ull << 32 | 1ull << 62; }

// multiply adds a tile of 64 by 16 times 16 by 256 to d.
DEVICE void multiply(float *d, u64 a, u64 b) {
	asm volatile(
		"{\n"
		"wgmma.mma_async.sync.aligned.m64n256k16.f32.bf16.bf16 {%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, %48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63, %64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79, %80, %81, %82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95, %96, %97, %98, %99, %100, %101, %102, %103, %104, %105, %106, %107, %108, %109, %110, %111, %112, %113, %114, %115, %116, %117, %118, %119, %120, %121, %122, %123, %124, %125, %126, %127}, %128, %129, 1, 1, 1, 0, 0;\n"
		"}\n"
		: "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]), "+f"(d[4]), "+f"(d[5]), "+f"(d[6]), "+f"(d[7]), "+f"(d[8]), "+f"(d[9]), "+f"(d[10]), "+f"(d[11]), "+f"(d[12]), "+f"(d[13]), "+f"(d[14]), "+f"(d[15]), "+f"(d[16]), "+f"(d[17]), "+f"(d[18]), "+f"(d[19]), "+f"(d[20]), "+f"(d[21]), "+f"(d[22]), "+f"(d[23]), "+f"(d[24]), "+f"(d[25]), "+f"(d[26]), "+f"(d[27]), "+f"(d[28]), "+f"(d[29]), "+f"(d[30]), "+f"(d[31]), "+f"(d[32]), "+f"(d[33]), "+f"(d[34]), "+f"(d[35]), "+f"(d[36]), "+f"(d[37]), "+f"(d[38]), "+f"(d[39]), "+f"(d[40]), "+f"(d[41]), "+f"(d[42]), "+f"(d[43]), "+f"(d[44]), "+f"(d[45]), "+f"(d[46]), "+f"(d[47]), "+f"(d[48]), "+f"(d[49]), "+f"(d[50]), "+f"(d[51]), "+f"(d[52]), "+f"(d[53]), "+f"(d[54]), "+f"(d[55]), "+f"(d[56]), "+f"(d[57]), "+f"(d[58]), "+f"(d[59]), "+f"(d[60]), "+f"(d[61]), "+f"(d[62]), "+f"(d[63]), "+f"(d[64]), "+f"(d[65]), "+f"(d[66]), "+f"(d[67]), "+f"(d[68]), "+f"(d[69]), "+f"(d[70]), "+f"(d[71]), "+f"(d[72]), "+f"(d[73]), "+f"(d[74]), "+f"(d[75]), "+f"(d[76]), "+f"(d[77]), "+f"(d[78]), "+f"(d[79]), "+f"(d[80]), "+f"(d[81]), "+f"(d[82]), "+f"(d[83]), "+f"(d[84]), "+f"(d[85]), "+f"(d[86]), "+f"(d[87]), "+f"(d[88]), "+f"(d[89]), "+f"(d[90]), "+f"(d[91]), "+f"(d[92]), "+f"(d[93]), "+f"(d[94]), "+f"(d[95]), "+f"(d[96]), "+f"(d[97]), "+f"(d[98]), "+f"(d[99]), "+f"(d[100]), "+f"(d[101]), "+f"(d[102]), "+f"(d[103]), "+f"(d[104]), "+f"(d[105]), "+f"(d[106]), "+f"(d[107]), "+f"(d[108]), "+f"(d[109]), "+f"(d[110]), "+f"(d[111]), "+f"(d[112]), "+f"(d[113]), "+f"(d[114]), "+f"(d[115]), "+f"(d[116]), "+f"(d[117]), "+f"(d[118]), "+f"(d[119]), "+f"(d[120]), "+f"(d[121]), "+f"(d[122]), "+f"(d[123]), "+f"(d[124]), "+f"(d[125]), "+f"(d[126]), "+f"(d[127])
		: "l"(a), "l"(b));
}

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

// A product is stored, or added to what lies at plus, where that is not null; with
// howRound it is rounded to bfloat16 before. With howBrain dst is of bfloat16 itself,
// and there is no plus.
const i64 howRound = 2, howBrain = 4;

// storeTile writes a warpgroup's 64 by 256 outputs.
DEVICE void storeTile(void *dst, const float *plus, const float *d, i64 row0, i64 col0, i64 m, i64 n, i64 how) {
	const int lane = threadX() % warp;
	const bool pairs = n % 2 == 0 && (((u64)dst | (u64)plus) & 7) == 0;
	const i64 row = row0 + threadX() % 128 / warp * 16 + lane / 4, col = col0 + lane % 4 * 2;
#pragma unroll
	for (int j = 0; j < rowsB / 8; j++) {
		const i64 c = col + 8 * j;
#pragma unroll
		for (int h = 0; h < 2; h++) {
			const i64 r = row + 8 * h;
			if (r >= m) continue;
			const i64 at = r * n + c;
			f32x2 v = {d[4 * j + 2 * h], d[4 * j + 2 * h + 1]};
			const u32 two = brains(v.x, v.y);
			if (how & howBrain) {
				u16 *to = (u16 *)dst + at;
				if (pairs && c < n) {
					*(u32 *)to = two;
					continue;
				}
				if (c < n) to[0] = (u16)two;
				if (c + 1 < n) to[1] = (u16)(two >> 16);
				continue;
			}
			if (how & howRound) v = f32x2{bitsFloat(two << 16), bitsFloat(two & 0xffff0000u)};
			float *to = (float *)dst + at;
			if (pairs && c < n) {
				if (plus) {
					const f32x2 old = *(const f32x2 *)(plus + at);
					v = f32x2{old.x + v.x, old.y + v.y};
				}
				*(f32x2 *)to = v;
				continue;
			}
			if (c < n) to[0] = plus ? plus[at] + v.x : v.x;
			if (c + 1 < n) to[1] = plus ? plus[at + 1] + v.y : v.y;
		}
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
		commitCopies();
	}
#pragma unroll 1
	for (i64 t = 0; t < tiles; t++) {
		// This tile has arrived for all, and all have finished the tile before the
		// last, whose place the next copy takes.
		awaitCopies();
		asm volatile("fence.proxy.async;" ::: "memory");
		barrier();
		const u32 stage = base + (u32)(t % stages) * bytesStage;
		const u64 da = tileOf(stage + group * 64 * 128), db = tileOf(stage + bytesA);
		asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
#pragma unroll
		for (int i = 0; i < depth / 16; i++) multiply(d, da + 2 * i, db + 2 * i);
		asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
		if (t + ahead < tiles) fetch(base + (u32)((t + ahead) % stages) * bytesStage, a, b, row0, col0, m, n, k, t + ahead);
		commitCopies();
		asm volatile("wgmma.wait_group.sync.aligned 1;" ::: "memory");
	}
	asm volatile("wgmma.wait_group.sync.aligned 0;" ::: "memory");
	storeTile(dst, plus, d, row0 + group * 64, col0, m, n, how);
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

// Blocks take one output after another, rows first, and the ninth warp is ahead of
// the others by up to four tiles, across outputs as well.
GLOBAL __attribute__((launch_bounds(288, 1))) gemmBrainTiles(void *dst, const float *plus, const u8 *maps, i64 m, i64 n, i64 k, i64 how) {
	DYNAMIC(u8, mem);
	const u32 base = (sharedAddress(mem) + 1023) / 1024 * 1024;
	const u32 full = base + stages * bytesStage, empty = full + 8 * stages;
	const int tiles = (int)(k / depth), down = (int)((m + rowsA - 1) / rowsA), outputs = down * (int)((n + rowsB - 1) / rowsB);
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
		for (int o = blockX(); o < outputs; o += blocks()) {
			const int row0 = o % down * rowsA, col0 = o / down * rowsB;
			for (int t = 0; t < tiles; t++, step++) {
				const u32 s = step % stages, to = base + s * bytesStage;
				if (step >= stages) await(empty + 8 * s, (step / stages - 1) & 1);
				asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(full + 8 * s), "r"(bytesStage) : "memory");
				copyTile(to, maps, t * depth, row0, full + 8 * s);
				copyTile(to + bytesA, maps + 128, t * depth, col0, full + 8 * s);
			}
		}
		return;
	}
	const int group = threadX() / 128;
	for (int o = blockX(); o < outputs; o += blocks()) {
		float d[128];
#pragma unroll
		for (int i = 0; i < 128; i++) d[i] = 0;
#pragma unroll 1
		for (int t = 0; t < tiles; t++, step++) {
			const u32 s = step % stages;
			await(full + 8 * s, step / stages & 1);
			const u32 stage = base + s * bytesStage;
			const u64 da = tileOf(stage + group * 64 * 128), db = tileOf(stage + bytesA);
			asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
#pragma unroll
			for (int i = 0; i < depth / 16; i++) multiply(d, da + 2 * i, db + 2 * i);
			asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
			asm volatile("wgmma.wait_group.sync.aligned 1;" ::: "memory");
			// The tile before this one has been read.
			if (t > 0 && threadX() % 128 == 0) arrive(empty + 8 * ((step - 1) % stages));
		}
		asm volatile("wgmma.wait_group.sync.aligned 0;" ::: "memory");
		if (threadX() % 128 == 0) arrive(empty + 8 * ((step - 1) % stages));
		storeTile(dst, plus, d, (i64)(o % down) * rowsA + group * 64, (i64)(o / down) * rowsB, m, n, how);
	}
}

#else

// A twin to read, for the host's side: a block's 128 by 256 outputs, each summed
// in the order of k.
GLOBAL gemmBrain(void *dst, const float *plus, const u16 *a, const u16 *b, i64 m, i64 n, i64 k, i64 how) {
	for (int e = threadX(); e < 128 * 256; e += threads()) {
		const i64 row = (i64)blockX() * 128 + e / 256, col = (i64)blockY() * 256 + e % 256;
		if (row >= m || col >= n) continue;
		float sum = 0;
		for (i64 i = 0; i < k; i++) sum = fma32(brainFloat(a[row * k + i]), brainFloat(b[col * k + i]), sum);
		const i64 at = row * n + col;
		if (how & 2) sum = roundBrain(sum);
		if (how & 4)
			((u16 *)dst)[at] = (u16)brains(sum, 0.0f);
		else
			((float *)dst)[at] = plus ? plus[at] + sum : sum;
	}
}

#endif
