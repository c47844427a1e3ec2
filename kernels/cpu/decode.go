package cpu

import (
	"github.com/evalrun/evalrun/kernels/format"
)

// Decoding of the formats that products read in few bits. The bits are those of
// format.Quant.Decode, which is the twin of all that stands here.

// decode writes values from, from+1, ... of the flattened weight to dst.
func (w *weight) decode(p *path, dst []float32, from int) {
	switch {
	case w.values != nil:
		copy(dst, w.values[from:])
	case w.source.Quant != nil:
		p.decodeQuant(dst, w.source.Quant, from)
	default:
		w.source.Decode(dst, from)
	}
}

func (p *path) decodeQuant(dst []float32, q *format.Quant, from int) {
	for at := q.First + from; len(dst) > 0; {
		block := at / q.Block
		n := min(len(dst), (block+1)*q.Block-at)
		scale := q.Scale(block)
		if q.Kind == format.Int8 {
			p.decode8(dst[:n], q.Codes[at:], scale)
		} else {
			p.decode4(dst[:n], q.Codes, at, (*[16]float32)(q.Map), scale)
		}
		switch {
		case q.Round == format.F32:
		case q.Round == format.BF16 && scale == scale:
			p.roundBF16(dst[:n])
		default:
			format.RoundTo(dst[:n], q.Round)
		}
		dst, at = dst[n:], at+n
	}
}

// decode4Go is dst[i] = table[code at+i] * scale, two codes a byte, the first
// in the high half.
func decode4Go(dst []float32, codes []byte, at int, table *[16]float32, scale float32) {
	for i := range dst {
		c := codes[(at+i)/2]
		if (at+i)%2 == 0 {
			c >>= 4
		}
		dst[i] = table[c&15] * scale
	}
}

// decode8Go is dst[i] = code i * scale / 127.
func decode8Go(dst []float32, codes []byte, scale float32) {
	for i := range dst {
		dst[i] = float32(float32(int8(codes[i]))*scale) * format.Int8Unit
	}
}

func roundBF16Go(x []float32) { format.RoundTo(x, format.BF16) }

// interleaveGo is dst[k*16+l] = src[l*stride+k] for sixteen rows of n values.
func interleaveGo(dst, src []float32, stride, n int) {
	for l := range lanes {
		for k, v := range src[l*stride:][:n] {
			dst[k*lanes+l] = v
		}
	}
}

// lineFloats is the part of a row that is decoded at a time, a multiple of
// every format's blocks.
const lineFloats = 256

// decodePanel writes panel p of w, [k][16]; lines holds 16·lineFloats values on
// the way. Lanes beyond the last output are zero.
func (w *weight) decodePanel(path *path, panel []float32, p int, lines []float32) {
	outputs := min(lanes, w.n-p*lanes)
	clear(lines[outputs*lineFloats:])
	for from := 0; from < w.k; from += lineFloats {
		n := min(lineFloats, w.k-from)
		for l := range outputs {
			w.decode(path, lines[l*lineFloats:][:n], (p*lanes+l)*w.k+from)
		}
		path.interleave(panel[from*lanes:], lines, lineFloats, n)
	}
}
