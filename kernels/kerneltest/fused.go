package kerneltest

import (
	"fmt"

	"github.com/evalrun/evalrun/kernels"
	"github.com/evalrun/evalrun/kernels/format"
)

// fused holds what a device computes in one to its own parts, bit by bit.
func fused(b bench) {
	b.fusedProducts()
	b.fusedRope()
}

func (b bench) fusedProducts() {
	for _, l := range []layout{quantised("NF4 double BF16", format.NF4, format.BF16, true), quantised("NF4", format.NF4, format.F32, false),
		quantised("FP4 F16", format.FP4, format.F16, true), plain(format.BF16), plain(format.Q8_0), kQuant(format.Q6_K)} {
		for _, s := range []struct{ rows, k int }{{1, 32}, {1, 192}, {1, 2144}, {3, 96}, {1, 33}} {
			s.k = (s.k + l.rows - 1) / l.rows * l.rows
			ns := []int{1 + b.rand.IntN(70), 1 + b.rand.IntN(9), 30}
			for count := 1; count <= len(ns); count++ {
				x := on(b, b.dev, b.normal(s.rows*s.k))
				var ws []kernels.Prepared
				var parts, wholes, dsts []kernels.Buffer
				for _, n := range ns[:count] {
					ws = append(ws, prepare(b, b.dev, l.make(b, n, s.k), kernels.ForMatMul))
					part, _ := output(b, b.dev, s.rows*n, nil)
					inner, whole := output(b, b.dev, s.rows*n, nil)
					parts, dsts, wholes = append(parts, part), append(dsts, inner), append(wholes, whole)
				}
				kernels.MatMuls(b.dev, dsts, x, s.rows, ws)
				for i, n := range ns[:count] {
					b.dev.MatMul(parts[i], x, s.rows, ws[i], kernels.Store)
					want := make([]float32, s.rows*n)
					b.dev.Read(want, parts[i])
					same(b, fmt.Sprintf("%s: product %d of %d, %d rows of %d", l.name, i, count, s.rows, s.k), result(b, b.dev, wholes[i]), want)
				}
			}
			n := 1 + b.rand.IntN(130)
			gate, up := prepare(b, b.dev, l.make(b, n, s.k), kernels.ForMatMul), prepare(b, b.dev, l.make(b, n, s.k), kernels.ForMatMul)
			x := on(b, b.dev, b.normal(s.rows*s.k))
			for _, a := range []kernels.Activation{kernels.SiLU, kernels.GELUTanh, kernels.GELUErf} {
				dst, whole := output(b, b.dev, s.rows*n, nil)
				work, g, u := on(b, b.dev, make([]float32, s.rows*n)), on(b, b.dev, make([]float32, s.rows*n)), on(b, b.dev, make([]float32, s.rows*n))
				kernels.MatMulGate(b.dev, dst, work, x, s.rows, gate, up, a)
				b.dev.MatMul(g, x, s.rows, gate, kernels.Store)
				b.dev.MatMul(u, x, s.rows, up, kernels.Store)
				b.dev.Gate(g, g, u, s.rows*n, a)
				want := make([]float32, s.rows*n)
				b.dev.Read(want, g)
				same(b, fmt.Sprintf("%s: gate %d, %d rows of %d", l.name, a, s.rows, s.k), result(b, b.dev, whole), want)
			}
		}
	}
}

func (b bench) fusedRope() {
	for _, s := range []struct {
		shape
		half  int
		style kernels.RopeStyle
	}{{shape{heads: 4, kvHeads: 2, dim: 16}, 8, kernels.RopeHalves}, {shape{heads: 3, kvHeads: 3, dim: 20}, 6, kernels.RopePairs}, {shape{heads: 2, kvHeads: 1, dim: 33}, 16, kernels.RopeHalves}} {
		const rows, pages = 9, 4
		wide, narrow := rows*s.heads*s.dim, rows*s.kvHeads*s.dim
		q, k, v := b.normal(wide), b.normal(narrow), b.normal(narrow)
		cos, sin := on(b, b.dev, b.normal(64*s.half)), on(b, b.dev, b.normal(64*s.half))
		spans := []kernels.Span{{Row: 0, N: 5, Pos: 30, Pages: []int32{2, 0}}, {Row: 5, N: 1, Pos: 0, Pages: []int32{1}}, {Row: 6, N: 3, Pos: 3, Pages: []int32{3}}}
		var pos []int32
		for _, p := range spans {
			for i := range p.N {
				pos = append(pos, int32(p.Pos+i))
			}
		}
		run := func(together bool) (rotated, attended []float32) {
			kv, err := b.dev.AllocKV(pages, s.kvHeads, s.dim)
			if err != nil {
				b.Fatal(err)
			}
			dq, dk, dv := on(b, b.dev, q), on(b, b.dev, k), on(b, b.dev, v)
			// What lies before a span is there already.
			b.dev.StoreKV(kv, on(b, b.dev, b.fixed(30*s.kvHeads*s.dim)), on(b, b.dev, b.fixed(30*s.kvHeads*s.dim)), []kernels.Span{{N: 30, Pages: []int32{2}}})
			b.dev.StoreKV(kv, on(b, b.dev, b.fixed(3*s.kvHeads*s.dim)), on(b, b.dev, b.fixed(3*s.kvHeads*s.dim)), []kernels.Span{{N: 3, Pages: []int32{3}}})
			if together {
				kernels.RopeStoreKV(b.dev, dq, dk, dv, s.heads, s.kvHeads, kernels.Rotation{Dim: s.dim, Cos: cos, Sin: sin, Half: s.half, Style: s.style}, pos, kv, spans)
			} else {
				b.dev.Rope(dq, s.heads, s.dim, cos, sin, s.half, pos, s.style)
				b.dev.Rope(dk, s.kvHeads, s.dim, cos, sin, s.half, pos, s.style)
				b.dev.StoreKV(kv, dk, dv, spans)
			}
			dst, whole := output(b, b.dev, wide, nil)
			b.dev.Attention(dst, dq, kv, spans, s.heads, s.options())
			rotated = make([]float32, wide)
			b.dev.Read(rotated, dq)
			return rotated, result(b, b.dev, whole)
		}
		r1, a1 := run(true)
		r2, a2 := run(false)
		same(b, fmt.Sprintf("%+v: queries", s), r1, r2)
		same(b, fmt.Sprintf("%+v: attention over what was stored", s), a1, a2)
	}
}

// fixed are n values that are the same each time.
func (b bench) fixed(n int) []float32 {
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(i%17)/8 - 1
	}
	return x
}
