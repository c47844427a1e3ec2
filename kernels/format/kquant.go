package format

import "encoding/binary"

// GGML's K-quants: super-blocks of 256 values whose sub-blocks' scales are
// quantised too (ggml-common.h, ggml-quants.c). They are read, not written.

const kBlock = 256

// Q4_K: struct { half d, dmin; uint8 scales[12]; uint8 q[128] }. Eight
// sub-blocks of 32 values; x = d·scale·q - dmin·min. Pairs of sub-blocks share
// 32 bytes, low nibbles first.
func decodeQ4_K(dst []float32, src []byte) {
	for b := 0; b*kBlock < len(dst); b++ {
		in, out := src[b*144:b*144+144], dst[b*kBlock:b*kBlock+kBlock]
		d := F16ToF32(binary.LittleEndian.Uint16(in))
		dmin := F16ToF32(binary.LittleEndian.Uint16(in[2:]))
		scales, q := in[4:16], in[16:]
		for j := 0; j < 8; j += 2 {
			s1, m1 := ScaleMin(scales, j)
			s2, m2 := ScaleMin(scales, j+1)
			d1, o1 := d*float32(s1), float32(dmin*float32(m1))
			d2, o2 := d*float32(s2), float32(dmin*float32(m2))
			low, high := out[j*32:j*32+32], out[j*32+32:j*32+64]
			for i, c := range q[j*16 : j*16+32] {
				low[i] = float32(d1*float32(c&15)) - o1
				high[i] = float32(d2*float32(c>>4)) - o2
			}
		}
	}
}

// ScaleMin unpacks the 6-bit scale and minimum of sub-block j of Q4_K and Q5_K
// from 12 bytes:
// the first four pairs stand in the low six bits of bytes 0-3 and 4-7, the low
// four bits of the others in bytes 8-11, their high two in the rest of bytes 0-7.
func ScaleMin(s []byte, j int) (scale, min byte) {
	if j < 4 {
		return s[j] & 63, s[j+4] & 63
	}
	return s[j+4]&15 | s[j-4]>>6<<4, s[j+4]>>4 | s[j]>>6<<4
}

// Q6_K: struct { uint8 ql[128]; uint8 qh[64]; int8 scales[16]; half d }. Sixteen
// sub-blocks of 16 values; x = d·scale·(q - 32), q of four low bits from ql and
// two high ones from qh. Each half of 128 values takes 64 bytes of ql: values
// 0-31 and 64-95 lie in the nibbles of the first 32, the others in the rest.
func decodeQ6_K(dst []float32, src []byte) {
	for b := 0; b*kBlock < len(dst); b++ {
		in, out := src[b*210:b*210+210], dst[b*kBlock:b*kBlock+kBlock]
		d := F16ToF32(binary.LittleEndian.Uint16(in[208:]))
		for half := range 2 {
			ql, qh, sc, y := in[half*64:][:64], in[128+half*32:][:32], in[192+half*8:][:8], out[half*128:][:128]
			for l, h := range qh {
				for part := range 4 {
					low := ql[l+part%2*32] >> (part / 2 * 4) & 15
					q := int(low|h>>(2*part)&3<<4) - 32
					y[part*32+l] = float32(d*float32(int8(sc[part*2+l/16]))) * float32(q)
				}
			}
		}
	}
}

// Q5_K is Q4_K with a fifth bit: struct { half d, dmin; uint8 scales[12]; uint8
// qh[32]; uint8 q[128] }; bit j of qh[i] belongs to value i of sub-block j.
func decodeQ5_K(dst []float32, src []byte) {
	for b := 0; b*kBlock < len(dst); b++ {
		in, out := src[b*176:b*176+176], dst[b*kBlock:b*kBlock+kBlock]
		d := F16ToF32(binary.LittleEndian.Uint16(in))
		dmin := F16ToF32(binary.LittleEndian.Uint16(in[2:]))
		scales, high, q := in[4:16], in[16:48], in[48:]
		for j := range 8 {
			s, m := ScaleMin(scales, j)
			scale, min := d*float32(s), float32(dmin*float32(m))
			for i, h := range high {
				c := q[j/2*32+i] >> (j % 2 * 4) & 15
				out[j*32+i] = float32(scale*float32(c|h>>j&1<<4)) - min
			}
		}
	}
}

// Q2_K: struct { uint8 scales[16]; uint8 q[64]; half d, dmin }. Sixteen
// sub-blocks of 16 values; x = d·scale·q - dmin·min, scale and min being the
// halves of a byte. Each half of 128 values takes 32 bytes of q, two bits at a
// time.
func decodeQ2_K(dst []float32, src []byte) {
	for b := 0; b*kBlock < len(dst); b++ {
		in, out := src[b*84:b*84+84], dst[b*kBlock:b*kBlock+kBlock]
		d := F16ToF32(binary.LittleEndian.Uint16(in[80:]))
		dmin := F16ToF32(binary.LittleEndian.Uint16(in[82:]))
		for i := range out {
			s := in[i/16]
			q := in[16+i/128*32+i%32] >> (i / 32 % 4 * 2) & 3
			out[i] = float32(d*float32(s&15))*float32(q) - float32(dmin*float32(s>>4))
		}
	}
}

// Q3_K: struct { uint8 high[32]; uint8 q[64]; uint8 scales[12]; half d }. Sixteen
// sub-blocks of 16 values; x = d·(scale - 32)·(q - 4·(high bit not set)). The
// low four bits of a scale stand in the halves of bytes 0-7, the high two in
// bytes 8-11.
func decodeQ3_K(dst []float32, src []byte) {
	for b := 0; b*kBlock < len(dst); b++ {
		in, out := src[b*110:b*110+110], dst[b*kBlock:b*kBlock+kBlock]
		d := F16ToF32(binary.LittleEndian.Uint16(in[108:]))
		for i := range out {
			j := i / 16
			s := int(in[96+j%8]>>(j/8*4)&15 | in[104+j%4]>>(j/4*2)&3<<4)
			q := int(in[32+i/128*32+i%32] >> (i / 32 % 4 * 2) & 3)
			if in[i%32]>>(i/32)&1 == 0 {
				q -= 4
			}
			out[i] = float32(d*float32(s-32)) * float32(q)
		}
	}
}
