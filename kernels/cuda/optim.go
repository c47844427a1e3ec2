package cuda

import (
	"math"
	"unsafe"

	"github.com/evalrun/evalrun/kernels"
)

var _ kernels.ManyAdam = (*Device)(nil)

// parameters is the table of src/optim.cu, with the chunks of all.
func (d *Device) parameters(ps []kernels.AdamParameter) (table uint64, chunks int) {
	words := make([]uint64, 0, 6*len(ps))
	for _, p := range ps {
		var at [4]uint64
		for i, b := range []kernels.Buffer{p.P, p.G, p.M, p.V} {
			if b != nil {
				at[i] = on(b, p.N, "a parameter")
			}
		}
		words = append(words, at[0], at[1], at[2], at[3], num(p.N), num(chunks))
		chunks += chunksOf(p.N)
	}
	if chunks > 0 {
		table = d.table(halvesOf(words))
	}
	return table, chunks
}

func chunksOf(n int) int { return (n + kernels.ChunkValues - 1) / kernels.ChunkValues }

func (d *Device) Adam(p, g, m, v kernels.Buffer, n int, o kernels.AdamOptions) {
	d.adam([]kernels.AdamParameter{{P: p, G: g, M: m, V: v, N: n}}, o, 0)
}

// AdamAll is one kernel.
func (d *Device) AdamAll(ps []kernels.AdamParameter, o kernels.AdamOptions) { d.adam(ps, o, 1) }

func (d *Device) adam(ps []kernels.AdamParameter, o kernels.AdamOptions, clear uint64) {
	c1 := 1 - math.Pow(o.Beta1, float64(o.Step))
	c2 := math.Sqrt(1 - math.Pow(o.Beta2, float64(o.Step)))
	f := func(x float64) uint64 { return real32(float32(x)) }
	when := map[kernels.Decay]int{kernels.DecayBefore: 0, kernels.DecayAfter: 1, kernels.DecayInGradient: 2}[o.Decay]
	table, chunks := d.parameters(ps)
	d.launch("adam", chunks, 1, 256, 0, table, num(len(ps)), clear, f(o.GradScale),
		f(o.Beta1), f(1-o.Beta1), f(o.Beta2), f(1-o.Beta2), f(o.LR*c2/c1), f(o.Eps*c2), f(1-o.LR*o.WeightDecay), f(o.WeightDecay), num(when))
}

// SumSquares is one kernel; it adds the sums of each buffer's chunks on the host, in
// their order.
func (d *Device) SumSquares(xs ...kernels.Buffer) []float64 {
	ps := make([]kernels.AdamParameter, len(xs))
	for i, x := range xs {
		ps[i] = kernels.AdamParameter{G: x, N: x.Len()}
	}
	sums := make([]float64, len(xs))
	table, chunks := d.parameters(ps)
	if chunks == 0 {
		return sums
	}
	mem := d.scratch(2 * chunks)
	d.launch("sumSquares", chunks, 1, 256, 0, mem.at, table, num(len(ps)))
	parts := make([]float64, chunks)
	d.check("read", d.driver.Download(unsafe.Pointer(&parts[0]), mem.at, 8*int64(chunks)))
	d.release(mem)
	for i, x := range xs {
		n := chunksOf(x.Len())
		for _, p := range parts[:n] {
			sums[i] += p
		}
		parts = parts[n:]
	}
	return sums
}
