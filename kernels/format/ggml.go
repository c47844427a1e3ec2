package format

import (
	"encoding/binary"
	"math"
)

// GGML's simple blocks of 32 values (ggml-common.h, ggml-quants.c). The
// encoders follow its reference quantisers step by step, so that a file made
// here equals one made by llama.cpp.

const qBlock = 32

// Q8_0: struct { half d; int8 q[32] }, x[i] = d * q[i].
func decodeQ8_0(dst []float32, src []byte) {
	for b := 0; b*qBlock < len(dst); b++ {
		in, out := src[b*34:b*34+34], dst[b*qBlock:b*qBlock+qBlock]
		d := F16ToF32(binary.LittleEndian.Uint16(in))
		for i := range out {
			out[i] = d * float32(int8(in[2+i]))
		}
	}
}

// d = max|x| / 127, q = round(x / d), halves away from zero. The quotient is
// taken with the scale before it is rounded to binary16.
func encodeQ8_0(dst []byte, src []float32) {
	for b := 0; b*qBlock < len(src); b++ {
		out, in := dst[b*34:b*34+34], src[b*qBlock:b*qBlock+qBlock]
		var top float32
		for _, f := range in {
			top = max(top, float32(math.Abs(float64(f))))
		}
		d := top / 127
		binary.LittleEndian.PutUint16(out, F32ToF16(d))
		inv := inverse(d)
		for i, f := range in {
			q := math.Round(float64(f * inv))
			out[2+i] = byte(int8(clampQ(q, -128, 127)))
		}
	}
}

// Q4_0: struct { half d; uint8 q[16] }, x[i] = d * (n[i] - 8). The low nibbles
// hold values 0 to 15, the high ones 16 to 31.
func decodeQ4_0(dst []float32, src []byte) {
	for b := 0; b*qBlock < len(dst); b++ {
		in, out := src[b*18:b*18+18], dst[b*qBlock:b*qBlock+qBlock]
		d := F16ToF32(binary.LittleEndian.Uint16(in))
		for i, n := range in[2:] {
			out[i] = d * float32(int(n&15)-8)
			out[i+16] = d * float32(int(n>>4)-8)
		}
	}
}

// The value of largest magnitude, with its sign, becomes -8: d = x / -8, and
// n = trunc(x / d + 8.5), at most 15.
func encodeQ4_0(dst []byte, src []float32) {
	for b := 0; b*qBlock < len(src); b++ {
		out, in := dst[b*18:b*18+18], src[b*qBlock:b*qBlock+qBlock]
		var top, signed float32
		for _, f := range in {
			if a := float32(math.Abs(float64(f))); a > top {
				top, signed = a, f
			}
		}
		d := signed / -8
		binary.LittleEndian.PutUint16(out, F32ToF16(d))
		inv := inverse(d)
		nibble := func(f float32) byte {
			return byte(clampQ(math.Trunc(float64(float32(f*inv)+8.5)), 0, 15))
		}
		for i := range 16 {
			out[2+i] = nibble(in[i]) | nibble(in[i+16])<<4
		}
	}
}

// Types that are only read. Q4_1: struct { half d, m; uint8 q[16] }, x = d·q + m;
// Q5_0 and Q5_1 are Q4_0, with an offset of 16, and Q4_1 with the fifth bits of
// all 32 values in four bytes before q.
func decodeQ4_1(dst []float32, src []byte) {
	for b := 0; b*qBlock < len(dst); b++ {
		in, out := src[b*20:b*20+20], dst[b*qBlock:b*qBlock+qBlock]
		d, m := F16ToF32(binary.LittleEndian.Uint16(in)), F16ToF32(binary.LittleEndian.Uint16(in[2:]))
		for i, n := range in[4:] {
			out[i] = float32(d*float32(n&15)) + m
			out[i+16] = float32(d*float32(n>>4)) + m
		}
	}
}

func decodeQ5_0(dst []float32, src []byte) {
	for b := 0; b*qBlock < len(dst); b++ {
		in, out := src[b*22:b*22+22], dst[b*qBlock:b*qBlock+qBlock]
		d := F16ToF32(binary.LittleEndian.Uint16(in))
		for i := range out {
			out[i] = d * float32(fiveBits(in[2:], i)-16)
		}
	}
}

func decodeQ5_1(dst []float32, src []byte) {
	for b := 0; b*qBlock < len(dst); b++ {
		in, out := src[b*24:b*24+24], dst[b*qBlock:b*qBlock+qBlock]
		d, m := F16ToF32(binary.LittleEndian.Uint16(in)), F16ToF32(binary.LittleEndian.Uint16(in[2:]))
		for i := range out {
			out[i] = float32(d*float32(fiveBits(in[4:], i))) + m
		}
	}
}

// fiveBits is code i of four bytes of fifth bits and sixteen of nibbles.
func fiveBits(in []byte, i int) int {
	high := binary.LittleEndian.Uint32(in) >> i & 1
	return int(in[4+i%16]>>(i/16*4)&15) | int(high)<<4
}

// inverse is 1/d, and 0 for the scale of a block of zeros.
func inverse(d float32) float32 {
	if d == 0 {
		return 0
	}
	return 1 / d
}

// clampQ keeps q within a code's range whatever came in, NaN and infinities
// included, so that the conversion to an integer is defined.
func clampQ(q, lo, hi float64) int {
	if !(q > lo) {
		if math.IsNaN(q) {
			return 0
		}
		return int(lo)
	}
	return int(min(q, hi))
}
