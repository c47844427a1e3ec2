package cpu

import (
	"math"

	"github.com/evalrun/evalrun/kernels"
)

// Dropout takes two groups of four values at a time: a generator's rounds wait
// for each other, those of two do not.
func (d *Device) Dropout(dst, x kernels.Buffer, cols int, o kernels.Dropping, e kernels.Epilogue) {
	rows := len(o.Rows)
	out, in := kernels.Host(dst, rows*cols, "dst"), kernels.Host(x, rows*cols, "x")
	by, limit := 1/(1-o.P), int64(float64(o.P)*(1<<32))
	d.rows(rows, 4*cols, func(t, _ int) {
		to, from := out[t*cols:(t+1)*cols], in[t*cols:(t+1)*cols]
		for i := 0; i < cols; i += 8 {
			words := philoxPair(o.Rows[t], o.Stream, uint32(i/4), o.Seed)
			if n := cols - i; n >= 8 {
				dropEight((*[8]float32)(to[i:]), (*[8]float32)(from[i:]), &words, by, limit, e == kernels.Add)
			} else { // the tail, in a block of its own
				var a, b [8]float32
				copy(a[:], to[i:])
				copy(b[:], from[i:])
				dropEight(&a, &b, &words, by, limit, e == kernels.Add)
				copy(to[i:], a[:n])
			}
		}
	})
}

// dropEight stores or adds from·by where a word is not below the limit, and 0
// elsewhere, without a branch that no processor can foretell.
func dropEight(to, from *[8]float32, words *[8]uint32, by float32, limit int64, add bool) {
	for j, w := range words {
		dropped := uint32((int64(w) - limit) >> 63) // all ones or none
		v := math.Float32frombits(math.Float32bits(from[j]*by) &^ dropped)
		if add {
			v = to[j] + v
		}
		to[j] = v
	}
}

// philoxPair is kernels.Philox of the counters (row, stream, group) and
// (row, stream, group+1). The first three words of a counter are the same for
// both, and so is what one round makes of them.
func philoxPair(row uint64, stream, group uint32, key uint64) [8]uint32 {
	const m0, m1, step0, step1 = 0xd2511f53, 0xcd9e8d57, 0x9e3779b9, 0xbb67ae85
	k0, k1 := uint32(key), uint32(key>>32)
	a, b := uint64(m0)*uint64(uint32(row)), uint64(m1)*uint64(stream)
	c0, c1 := uint32(b>>32)^uint32(row>>32)^k0, uint32(b)
	c2, c3 := uint32(a>>32)^group^k1, uint32(a)
	e0, e1, e2, e3 := c0, c1, uint32(a>>32)^(group+1)^k1, c3
	for range 9 {
		k0, k1 = k0+step0, k1+step1
		a, b := uint64(m0)*uint64(c0), uint64(m1)*uint64(c2)
		f, g := uint64(m0)*uint64(e0), uint64(m1)*uint64(e2)
		c0, c1, c2, c3 = uint32(b>>32)^c1^k0, uint32(b), uint32(a>>32)^c3^k1, uint32(a)
		e0, e1, e2, e3 = uint32(g>>32)^e1^k0, uint32(g), uint32(f>>32)^e3^k1, uint32(f)
	}
	return [8]uint32{c0, c1, c2, c3, e0, e1, e2, e3}
}
