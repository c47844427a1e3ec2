// GGML's blocks (GGUF's formats), decoded where they are used. The formulas are those
// of package format; a weight lies as the file has it.
//
// A piece of 32 values becomes 8 words of four codes, a byte each, with a scale and a
// summand for each 16 values; see read. A byte becomes a float without a conversion: put into
// the fraction of a power of two 2^e at the place where its last bit counts 1, it is
// 2^e + code. One multiply-add then gives
//
//	scale·(2^e + code) + add,    add = -scale·(2^e + bias)
//
// which is scale·(code - bias) exactly: scales have at most 18 bits (a binary16's 11 and
// 7 of a factor), so both the product inside and add are what they say, and so is
// the value, of at most 24. Formats with a minimum take 2^e off first, and their product
// scale·code of at most 22 bits is exact as well, so that the value is rounded once, as it
// is where product and minimum are taken one by one.
#pragma once
#include "copies.h"

// Formats as the host counts them; see blockTypes in ../blocks.go.
enum { Q8_0, Q4_0, Q4_1, Q5_0, Q5_1, Q2_K, Q3_K, Q4_K, Q5_K, Q6_K };

template <int F> struct Block {
	static const int values = F >= Q2_K ? 256 : 32;
	static const int bytes = F == Q8_0 ? 34 : F == Q4_0 ? 18 : F == Q4_1 ? 20 : F == Q5_0 ? 22 : F == Q5_1 ? 24 : F == Q2_K ? 84 : F == Q3_K ? 110 : F == Q4_K ? 144 : F == Q5_K ? 176 : 210;
	// What addresses within a block are multiples of at least, in bytes.
	static const int align = bytes % 16 == 0 ? 16 : bytes % 4 == 0 ? 4 : 2;
	static const bool minima = F == Q4_1 || F == Q5_1 || F == Q2_K || F == Q4_K || F == Q5_K;
	static const int bias = F == Q8_0 ? 128 : F == Q4_0 ? 8 : F == Q5_0 ? 16 : F == Q3_K ? 4 : F == Q6_K ? 32 : 0;
	// 2^e and the place of a code's byte in its float: codes of 8 bits stand one byte lower.
	static const u32 base = F == Q8_0 ? 0x47000000 : 0x43000000, choice = F == Q8_0 ? 0x7404 : 0x7044, place = F == Q8_0 ? 4 : 8;
};

// Codes are N words of a piece's codes. Eight have two scales, fewer lie in one half.
template <int N> struct Codes {
	static const int halves = N == 8 ? 2 : 1;
	u32 word[N];
	float scale[halves], add[halves];
};

// decoded is value i of some codes. base is Block::base; a kernel may pass one that the compiler does not
// see through (hidden).
template <int F, int N> DEVICE float decoded(const Codes<N> &c, int i, u32 base = Block<F>::base) {
	typedef Block<F> B;
	float code = bitsFloat(permute(c.word[i / 4], base, B::choice | (u32)(i % 4) << B::place));
	if (B::minima) code -= bitsFloat(B::base);
	return fma32(c.scale[i / 16], code, c.add[i / 16]);
}

// joined gives N words from an offset on. Blocks lie at even addresses: what begins in the
// middle of a word is put together of two.
template <class From, int N, int ALIGN> DEVICE void joined(const From &from, u32 *w, int at) {
	if (ALIGN >= 4) {
#pragma unroll
		for (int i = 0; i < N; i++) w[i] = from.word(at + 4 * i);
		return;
	}
	const int odd = from.odd(at);
	const u32 choice = odd ? 0x5432 : 0x3210;
	u32 low = from.word(at - odd);
#pragma unroll
	for (int i = 0; i < N; i++) {
		const u32 high = i < N - 1 || odd ? from.word(at - odd + 4 * (i + 1)) : 0;
		w[i] = permute(low, high, choice);
		low = high;
	}
}

// InShared and InMemory are where a block is read from. odd is 2 where an offset is not one of
// a whole word, else 0.
struct InShared {
	SharedAddress block;
	METHOD u32 word(int at) const { return sharedWord(block + at); }
	METHOD u32 half(u32 at) const { return sharedHalf(block + at); }
	METHOD u32 odd(u32 at) const { return (u32)(block + at) & 2; }
	template <int N, int ALIGN> METHOD void words(u32 *w, u32 at) const {
		if (ALIGN == 16 && N % 4 == 0) {
#pragma unroll
			for (int i = 0; i < N; i += 4) sharedWords(w + i, block + at + 4 * i);
		} else
			joined<InShared, N, ALIGN>(*this, w, at);
	}
};
struct InMemory {
	const u8 *block;
	METHOD u32 word(int at) const { return *(const u32 *)(block + at); }
	METHOD u32 half(u32 at) const { return *(const u16 *)(block + at); }
	METHOD u32 odd(u32 at) const { return (u32)((u64)block + at) & 2; }
	template <int N, int ALIGN> METHOD void words(u32 *w, u32 at) const { joined<InMemory, N, ALIGN>(*this, w, at); }
};

// hidden is x, of which the assembler does not know so. A permutation has room for one
// constant; it takes the longer one, and then brings the choice to a register before each. number is
// one of 32 bits.
DEVICE u32 hidden(u32 x, i64 number) { return x + (u32)(number >> 32) * threadX(); }

DEVICE u32 rotated(u32 x, u32 left) { return x << (left & 31) | x >> (-left & 31); }

// read gives words first to first+N-1 of a piece of a block: all 8, or up to four of one half.
template <int F, int N, class From> DEVICE void read(Codes<N> &to, const From &from, u32 piece, u32 first = 0) {
	typedef Block<F> B;
	const int halves = Codes<N>::halves;
	const u32 half = N == 8 ? 0 : first / 4; // the first
	u32 *c = to.word;
	float scale[2], minimum[2];
	if (F == Q8_0) {
		from.template words<N, B::align>(c, 2 + 4 * first);
#pragma unroll
		for (int i = 0; i < N; i++) c[i] ^= 0x80808080;
		scale[0] = scale[1] = halfFloat((u16)from.half(0));
	} else if (F < Q2_K) {
		// The low halves of 16 bytes are values 0 to 15, the high ones the others; a fifth bit of each
		// stands before them.
		const int few = N == 8 ? 4 : N;
		u32 q[few];
		from.template words<few, B::align>(q, B::bytes - 16 + 4 * (first % 4));
#pragma unroll
		for (int i = 0; i < N; i++) c[i] = q[i % few] >> 4 * (half + i / 4) & 0x0f0f0f0f;
		if (F == Q5_0 || F == Q5_1) {
			u32 high;
			from.template words<1, B::align>(&high, B::bytes - 20);
#pragma unroll
			for (int i = 0; i < N; i++) // four bits, to the fifth of a byte each
				c[i] |= (high >> 4 * (first + i) & 15) * 0x02040810 & 0x10101010;
		}
		scale[0] = scale[1] = halfFloat((u16)from.half(0));
		if (B::minima) minimum[0] = minimum[1] = -halfFloat((u16)from.half(2));
	} else if (F == Q2_K) {
		from.template words<N, B::align>(c, 16 + piece / 4 * 32 + 4 * first);
#pragma unroll
		for (int i = 0; i < N; i++) c[i] = c[i] >> 2 * (piece % 4) & 0x03030303;
		const u32 two = from.half(2 * piece) >> 8 * half;
		const float d = halfFloat((u16)from.half(80)), dmin = halfFloat((u16)from.half(82));
#pragma unroll
		for (int h = 0; h < halves; h++) {
			scale[h] = d * (float)(int)(two >> 8 * h & 15);
			minimum[h] = dmin * (float)(int)(two >> (8 * h + 4) & 15);
		}
	} else if (F == Q3_K) {
		u32 high[N];
		from.template words<N, B::align>(c, 32 + piece / 4 * 32 + 4 * first);
		from.template words<N, B::align>(high, 4 * first);
#pragma unroll
		for (int i = 0; i < N; i++) c[i] = (c[i] >> 2 * (piece % 4) & 0x03030303) | (rotated(high[i], 2 - piece) & 0x04040404);
		const u32 low = from.half(96 + piece % 4 * 2) >> piece / 4 * 4, top = from.half(104 + piece % 2 * 2) >> piece / 2 * 2;
		const u32 two = ((low & 0x0f0f) | (top & 0x0303) << 4) >> 8 * half;
		const float d = halfFloat((u16)from.half(108));
#pragma unroll
		for (int h = 0; h < halves; h++) scale[h] = d * (float)((int)(two >> 8 * h & 63) - 32);
	} else if (F == Q4_K || F == Q5_K) {
		from.template words<N, B::align>(c, B::bytes - 128 + piece / 2 * 32 + 4 * first);
#pragma unroll
		for (int i = 0; i < N; i++) c[i] = c[i] >> 4 * (piece % 2) & 0x0f0f0f0f;
		if (F == Q5_K) {
			u32 high[N];
			from.template words<N, B::align>(high, 16 + 4 * first);
#pragma unroll
			for (int i = 0; i < N; i++) c[i] |= rotated(high[i], 4 - piece) & 0x10101010;
		}
		u32 head[4]; // both scales; the first four scales, minima, the low parts of the others
		from.template words<4, B::align>(head, 0);
		const bool others = piece >= 4;
		u32 s = others ? (head[3] & 0x0f0f0f0f) | (head[1] >> 2 & 0x30303030) : head[1] & 0x3f3f3f3f;
		u32 m = others ? (head[3] >> 4 & 0x0f0f0f0f) | (head[2] >> 2 & 0x30303030) : head[2] & 0x3f3f3f3f;
		scale[0] = scale[1] = halfFloat((u16)head[0]) * (float)(int)(s >> 8 * (piece % 4) & 63);
		minimum[0] = minimum[1] = halfFloat((u16)(head[0] >> 16)) * (float)(int)(m >> 8 * (piece % 4) & 63);
	} else {
		u32 high[N];
		from.template words<N, B::align>(c, piece / 4 * 64 + piece % 2 * 32 + 4 * first);
		from.template words<N, B::align>(high, 128 + piece / 4 * 32 + 4 * first);
#pragma unroll
		for (int i = 0; i < N; i++) c[i] = (c[i] >> piece % 4 / 2 * 4 & 0x0f0f0f0f) | (rotated(high[i], 4 - piece % 4 * 2) & 0x30303030);
		const u32 two = from.half(192 + 2 * piece) >> 8 * half;
		const float d = halfFloat((u16)from.half(208));
#pragma unroll
		for (int h = 0; h < halves; h++) scale[h] = d * (float)(signed char)(two >> 8 * h);
	}
#pragma unroll
	for (int h = 0; h < halves; h++) {
		to.scale[h] = scale[h];
		to.add[h] = B::minima ? -minimum[h] : scale[h] * -(bitsFloat(B::base) + B::bias);
	}
}

// With ONLY_FORMAT, a source is translated for one format alone.
#ifdef ONLY_FORMAT
#define APPLY_FORMAT(M, F) M(F)
#define EACH_FORMAT(M) APPLY_FORMAT(M, ONLY_FORMAT)
#else
#define EACH_FORMAT(M) M(Q8_0) M(Q4_0) M(Q4_1) M(Q5_0) M(Q5_1) M(Q2_K) M(Q3_K) M(Q4_K) M(Q5_K) M(Q6_K)
#endif
