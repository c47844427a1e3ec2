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

// BenchmarkBlocks is the product of one row, and of few, with GGUF's formats: bytes
// of the file a second.
func BenchmarkBlocks(b *testing.B) {
	d := openGPU(b)
	defer d.Close()
	for _, typ := range []format.Type{format.Q8_0, format.Q4_0, format.Q4_K, format.Q5_K, format.Q6_K, format.Q2_K} {
		for _, s := range [][2]int{{14336, 4096}, {4096, 14336}} {
			w := blocksOf(b, typ, s[0], s[1])
			var ps []kernels.Prepared // more than the cache holds
			for bytes := int64(0); bytes < 200<<20; bytes += ps[0].Bytes() {
				p, err := d.Prepare(w, kernels.ForMatMul)
				if err != nil {
					b.Fatal(err)
				}
				ps = append(ps, p)
			}
			b.Run(fmt.Sprint(typ, s, "gated"), func(b *testing.B) {
				x, _ := d.Alloc(format.F32, s[1])
				y, _ := d.Alloc(format.F32, s[0])
				i := 0
				timed(b, d, 2*float64(len(w.Data)), peakBytes, "TB/s", func() {
					kernels.MatMulGate(d, y, y, x, 1, ps[i%len(ps)], ps[(i+1)%len(ps)], kernels.SiLU)
					i += 2
				})
			})
			for _, rows := range []int{1, 4, 8, 16, 64, 256} {
				b.Run(fmt.Sprint(typ, s, rows), func(b *testing.B) {
					x, _ := d.Alloc(format.F32, rows*s[1])
					y, _ := d.Alloc(format.F32, rows*s[0])
					i := 0
					timed(b, d, float64(len(w.Data)), peakBytes, "TB/s", func() {
						d.MatMul(y, x, rows, ps[i%len(ps)], kernels.Store)
						i++
					})
				})
			}
		}
	}
}
