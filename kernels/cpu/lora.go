package cpu

import (
	"math"

	"github.com/evalrun/evalrun/kernels"
)

// LoRA is two products a segment, through the tiles of MatMul: the bits of a
// row are those that it has in a segment of its own.
func (d *Device) LoRA(dst, x kernels.Buffer, segments []kernels.Segment) {
	for _, s := range segments {
		a, b := s.A.(*weight), s.B.(*weight)
		kernels.CheckSegments(segments, dst.Len()/b.n)
		in := kernels.Host(x, (s.Row+s.N)*a.k, "x")[s.Row*a.k:]
		out := kernels.Host(dst, (s.Row+s.N)*b.n, "dst")[s.Row*b.n:]
		low := d.low.take(s.N * a.n)
		d.multiply(low, in, s.N, a, kernels.Store, 1)
		d.multiply(out, low, s.N, b, kernels.Add, s.Scale)
	}
}

// RowNorms decodes a row of the weight, adds its adapter's part and sums the
// squares.
func (d *Device) RowNorms(dst kernels.Buffer, p kernels.Prepared, l kernels.LowRank) {
	w := p.(*weight)
	out := kernels.Host(dst, w.n, "dst")
	var down []float32 // A as rows
	var up *weight
	rank := 0
	if l.A != nil {
		a := l.A.(*weight)
		up, rank = l.B.(*weight), a.n
		down = d.tall.take(a.n * a.k)
		for r := range a.n {
			a.decode(d.path, down[r*a.k:][:a.k], r*a.k)
		}
	}
	d.pool.do(w.n, w.n*w.k > smallWork, func(n, thread int) {
		mem := d.work[thread].take(2*w.k + rank)
		row, delta, b := mem[:w.k], mem[w.k:2*w.k], mem[2*w.k:]
		w.decode(d.path, row, n*w.k)
		if up != nil {
			clear(delta)
			up.decode(d.path, b, n*up.k)
			for r, v := range b {
				for k, a := range down[r*w.k:][:w.k] {
					delta[k] = float32(v*a) + delta[k]
				}
			}
			for k, v := range delta {
				row[k] += float32(l.Scale * v)
			}
		}
		out[n] = float32(math.Sqrt(float64(d.path.sumSquares(row))))
	})
}
