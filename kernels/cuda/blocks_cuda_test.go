//go:build cuda

package cuda

import (
	"fmt"
	"testing"

	"github.com/evalrun/evalrun/kernels"
	"github.com/evalrun/evalrun/kernels/format"
)

func TestBlocks(t *testing.T) {
	d := openGPU(t)
	defer d.Close()
	blocksOn(t, d, blockTypes)
}

// BenchmarkBlocks is the product of one row with GGUF's formats, of some also a gated
// layer's and products of more rows: bytes of the file a second.
func BenchmarkBlocks(b *testing.B) {
	d := openGPU(b)
	defer d.Close()
	for _, c := range []struct {
		typ  format.Type
		n, k int
		rows []int
	}{
		{format.Q8_0, 14336, 4096, []int{1, 4, 16, 64}}, {format.Q8_0, 4096, 14336, []int{1}},
		{format.Q4_0, 14336, 4096, []int{1}}, {format.Q4_0, 4096, 14336, []int{1}},
		{format.Q4_K, 14336, 4096, []int{1, 4, 8, 16, 64, 256}}, {format.Q4_K, 4096, 14336, []int{1, 4}}, {format.Q4_K, 4096, 4096, []int{1}},
		{format.Q6_K, 14336, 4096, []int{1}}, {format.Q6_K, 4096, 14336, []int{1}},
		{format.Q5_K, 14336, 4096, []int{1}}, {format.Q2_K, 14336, 4096, []int{1}},
	} {
		w := blocksOf(b, c.typ, c.n, c.k)
		var ps []kernels.Prepared // more than the cache holds
		for bytes := int64(0); bytes < 200<<20; bytes += ps[0].Bytes() {
			p, err := d.Prepare(w, kernels.ForMatMul)
			if err != nil {
				b.Fatal(err)
			}
			ps = append(ps, p)
		}
		turn := 0
		next := func() kernels.Prepared {
			turn++
			return ps[turn%len(ps)]
		}
		for _, rows := range c.rows {
			x, _ := d.Alloc(format.F32, rows*c.k)
			y, _ := d.Alloc(format.F32, rows*c.n)
			name := fmt.Sprintf("%v[%d,%d]", c.typ, c.n, c.k)
			b.Run(fmt.Sprint(name, "/", rows), func(b *testing.B) {
				timed(b, d, float64(len(w.Data)), peakBytes, "TB/s", func() { d.MatMul(y, x, rows, next(), kernels.Store) })
			})
			if rows == 1 && c.n > c.k {
				b.Run(name+"/gated", func(b *testing.B) {
					timed(b, d, 2*float64(len(w.Data)), peakBytes, "TB/s", func() { kernels.MatMulGate(d, y, y, x, 1, next(), next(), kernels.SiLU) })
				})
			}
		}
	}
}

// BenchmarkDecodeBlocks is BenchmarkDecode's step with weights in GGUF's formats.
func BenchmarkDecodeBlocks(b *testing.B) {
	for _, typ := range []format.Type{format.Q8_0, format.Q4_K} {
		b.Run(typ.Name(), func(b *testing.B) {
			d := openGPU(b)
			defer d.Close()
			decode(b, d, newMistral(b, d, 50*decodePages, func(n, k int) kernels.Weight { return blocksOf(b, typ, n, k) }), 1, 8, 50)
		})
	}
}
