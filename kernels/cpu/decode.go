package cpu

import (
	"math"
	"sync"

	"github.com/evalrun/evalrun/kernels/format"
)

// Decoding of the formats that products read in few bits. The bits are those of
// format.Quant.Decode, which is the twin of all that stands here.

// lookup is the map of a 4-bit format: its values, and their bytes by place.
type lookup struct {
	values [16]float32
	planes [64]byte // [4][16]
}

func newLookup(m []float32) *lookup {
	t := &lookup{values: [16]float32(m)}
	for i, v := range m {
		for b := range 4 {
			t.planes[b*16+i] = byte(math.Float32bits(v) >> (8 * b))
		}
	}
	return t
}

// decode writes values from, from+1, ... of the flattened weight to dst,
// all of one row.
func (w *weight) decode(p *path, dst []float32, from int) {
	switch q := w.source.Quant; {
	case w.values != nil:
		copy(dst, w.values[from:])
	case w.panels != nil:
		row, col := from/w.k, from%w.k
		panel := w.panels[(row/lanes*w.k+col)*lanes+row%lanes:]
		for i := range dst {
			dst[i] = panel[i*lanes]
		}
	case q != nil:
		w.decodeQuant(p, dst, q.First+from)
		if q.Round != format.F32 {
			p.round(dst, q.Round)
		}
	default:
		t := w.source.Type
		p.decodePlain(dst, w.source.Data[from/t.BlockSize()*t.BlockBytes():], t)
	}
}

// decodePlain decodes a format whose scales lie with its values. A path may
// know some of them.
func (p *path) decodePlain(dst []float32, src []byte, t format.Type) {
	if p.plain == nil || !p.plain(dst, src, t) {
		t.Decode(dst, src)
	}
}

func (p *path) round(x []float32, t format.Type) {
	if t == format.BF16 {
		p.roundBF16(x)
		return
	}
	format.RoundTo(x, t)
}

// scratchScales are the scales of a few blocks: an array of decodeQuant's own
// would be garbage after each row, as it goes through a function of the path.
var scratchScales = sync.Pool{New: func() any { return new([16]float32) }}

// decodeQuant decodes value at of the codes and those behind it: whole blocks
// several at a time, parts of blocks one by one.
func (w *weight) decodeQuant(p *path, dst []float32, at int) {
	q := w.source.Quant
	scales := scratchScales.Get().(*[16]float32)
	defer scratchScales.Put(scales)
	for len(dst) > 0 {
		block := at / q.Block
		n := min(len(dst), (block+1)*q.Block-at)
		if q.Kind == format.Int8 {
			p.decode8(dst[:n], q.Codes[at:], q.Scale(block))
			dst, at = dst[n:], at+n
			continue
		}
		if n < q.Block || at%2 == 1 || q.Block%2 == 1 {
			decodePart(dst[:n], q.Codes, at, w.lookup, q.Scale(block))
			dst, at = dst[n:], at+n
			continue
		}
		blocks := min(len(dst)/q.Block, len(scales))
		for i := range blocks {
			scales[i] = q.Scale(block + i)
		}
		n = blocks * q.Block
		p.decode4(dst[:n], q.Codes[at/2:], q.Block, w.lookup, scales[:blocks])
		dst, at = dst[n:], at+n
	}
}

// decodePart is dst[i] = value of code at+i, times scale.
func decodePart(dst []float32, codes []byte, at int, t *lookup, scale float32) {
	for i := range dst {
		c := codes[(at+i)/2]
		if (at+i)%2 == 0 {
			c >>= 4
		}
		dst[i] = t.values[c&15] * scale
	}
}

// decode4Go decodes blocks of size codes, two a byte, the first in the high
// half: dst[i] = value of code i, times the scale of its block. size is even.
func decode4Go(dst []float32, codes []byte, size int, t *lookup, scales []float32) {
	for b, scale := range scales {
		out, in := dst[b*size:(b+1)*size], codes[b*size/2:]
		for i := range size / 2 {
			out[2*i], out[2*i+1] = t.values[in[i]>>4]*scale, t.values[in[i]&15]*scale
		}
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

// raw is where values from to from+n-1 lie; nil for a trained weight.
func (w *weight) raw(from, n int) []byte {
	switch q := w.source.Quant; {
	case w.values != nil:
		return nil
	case q == nil:
		size, bytes := w.source.Type.BlockSize(), w.source.Type.BlockBytes()
		return w.source.Data[from/size*bytes : (from+n)/size*bytes]
	case q.Kind.FourBit():
		return q.Codes[(q.First+from)/2 : (q.First+from+n)/2]
	default:
		return q.Codes[q.First+from : q.First+from+n]
	}
}

// A piece is values from to from+n-1, at most lineFloats, of panel p.
type piece struct{ panel, from, n int }

// decodePanel writes a piece of w, [n][16]; lines holds 16·lineFloats values on
// the way. Lanes beyond the last output are zero. Rows lie far apart in memory,
// so it asks for the rows of the piece that comes next while it decodes; n 0 is
// none.
func (w *weight) decodePanel(path *path, panel []float32, is, next piece, lines []float32) {
	outputs := min(lanes, w.n-is.panel*lanes)
	ahead := min(lanes, w.n-next.panel*lanes)
	clear(lines[outputs*lineFloats:])
	for l := range outputs {
		if next.n > 0 && l < ahead {
			path.prefetch(w.raw((next.panel*lanes+l)*w.k+next.from, next.n))
		}
		w.decode(path, lines[l*lineFloats:][:is.n], (is.panel*lanes+l)*w.k+is.from)
	}
	path.interleave(panel, lines, lineFloats, is.n)
}
