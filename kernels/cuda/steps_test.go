package cuda

import (
	"testing"

	"github.com/evalrun/evalrun/kernels"
	"github.com/evalrun/evalrun/kernels/format"
)

// graphing is a fake that keeps graphs, of which it knows no more than that they were
// started.
type graphing struct {
	*fake
	made, started int
}

func (g *graphing) Graph([]uintptr, [][4]int, [][]uint64) (uintptr, error) {
	g.made++
	return uintptr(g.made), nil
}
func (g *graphing) GraphArgs(uintptr, int, []uint64) error { return nil }
func (g *graphing) GraphLaunch(uintptr) error              { g.started++; return nil }
func (g *graphing) GraphFree(uintptr)                      {}

// BenchmarkStep is what the host does for a token of 32 layers: everything but the
// driver's own time.
func BenchmarkStep(b *testing.B) {
	const layers, heads, kvHeads, dim, width, inner = 32, 16, 8, 16, 256, 384
	driver := &graphing{fake: newFake(1 << 30)}
	d := Over(driver, nil)
	prepare := func(n, k int) kernels.Prepared {
		p, err := d.Prepare(nf4(b, n, k, format.BF16), kernels.ForMatMul)
		if err != nil {
			b.Fatal(err)
		}
		return p
	}
	buffer := func(n int) kernels.Buffer {
		x, err := d.Alloc(format.F32, n)
		if err != nil {
			b.Fatal(err)
		}
		return x
	}
	q, k, v, o, gate, up, down := prepare(width, width), prepare(kvHeads*dim, width), prepare(kvHeads*dim, width), prepare(width, width), prepare(inner, width), prepare(inner, width), prepare(width, inner)
	x, h, qs, ks, vs, a, c := buffer(width), buffer(width), buffer(width), buffer(kvHeads*dim), buffer(kvHeads*dim), buffer(inner), buffer(inner)
	norm, angles := buffer(width), buffer(1024*dim)
	var caches []kernels.KV
	for range layers {
		kv, err := d.AllocKV(8, kvHeads, dim)
		if err != nil {
			b.Fatal(err)
		}
		caches = append(caches, kv)
	}
	pages := []int32{0, 1, 2, 3, 4, 5, 6, 7}
	at := 0
	for b.Loop() {
		pos := 130 + at%100
		at++
		spans := []kernels.Span{{N: 1, Pos: pos, Pages: pages}}
		d.Together(func() {
			for l := range layers {
				d.RMSNorm(h, x, norm, 1, 1e-5)
				kernels.MatMuls(d, []kernels.Buffer{qs, ks, vs}, h, 1, []kernels.Prepared{q, k, v})
				kernels.RopeStoreKV(d, qs, ks, vs, heads, kvHeads, kernels.Rotation{Dim: dim, Cos: angles, Sin: angles, Half: dim / 2}, []int32{int32(pos)}, caches[l], spans)
				d.Attention(h, qs, caches[l], spans, heads, kernels.AttentionOptions{Scale: 0.1})
				d.MatMul(x, h, 1, o, kernels.Add)
				d.RMSNorm(h, x, norm, 1, 1e-5)
				kernels.MatMulGate(d, a, c, h, 1, gate, up, kernels.SiLU)
				d.MatMul(x, a, 1, down, kernels.Add)
			}
		})
	}
	if driver.started < at-3 {
		b.Errorf("%d of %d steps were started as graphs, %d graphs made", driver.started, at, driver.made)
	}
	b.ReportMetric(b.Elapsed().Seconds()/float64(b.N)/layers/8*1e6, "µs/kernel")
}
