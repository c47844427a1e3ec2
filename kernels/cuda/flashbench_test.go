//go:build cuda

package cuda

import (
	"fmt"
	"testing"

	"github.com/evalrun/evalrun/kernels"
	"github.com/evalrun/evalrun/kernels/format"
)

// BenchmarkFlash is training's attention of a layer in Mistral-7B's shape, in
// bfloat16, y and dy in buffers of that type. Counted are the products of pairs that see each other: two forward,
// five back, though the kernels back compute seven.
func BenchmarkFlash(b *testing.B) {
	for _, c := range []struct{ examples, tokens int }{{1, 820}, {4, 820}, {16, 820}, {1, 4096}} {
		d := openGPU(b)
		d.brain = true
		s := kernels.AttentionShape{Heads: heads, KVHeads: kvHeads, Dim: dim, AttentionOptions: kernels.AttentionOptions{Scale: 0.088}}
		rows := c.examples * c.tokens
		var runs []kernels.Run
		for e := range c.examples {
			runs = append(runs, kernels.Run{Row: e * c.tokens, N: c.tokens})
		}
		of := func(t format.Type, n int) kernels.Buffer {
			x, err := d.Alloc(t, n)
			if err != nil {
				b.Fatal(err)
			}
			d.Fill(x, n, 0.1)
			return x
		}
		buf := func(n int) kernels.Buffer { return of(format.F32, n) }
		wide, narrow := rows*heads*dim, rows*kvHeads*dim
		q, dq, lse := buf(wide), buf(wide), buf(rows*heads)
		y, dy := of(format.BF16, wide), of(format.BF16, wide)
		k, v, dk, dv := buf(narrow), buf(narrow), buf(narrow), buf(narrow)
		product := float64(heads*dim) * float64(c.examples*c.tokens) * float64(c.tokens+1) // 2 operations a pair and value
		for _, way := range []struct {
			name     string
			products float64
			f        func()
		}{
			{"forward", 2, func() { d.AttentionTrain(y, lse, q, k, v, runs, s) }},
			{"back", 5, func() { d.AttentionBack(dq, dk, dv, dy, y, lse, q, k, v, runs, s) }},
		} {
			b.Run(fmt.Sprintf("%dx%d/%s", c.examples, c.tokens, way.name), func(b *testing.B) {
				t := measure(d, way.f).Seconds()
				b.ReportMetric(1000*t, "ms")
				b.ReportMetric(way.products*product/t/1e12, "TFLOP/s")
				b.ReportMetric(100*way.products*product/t/peakBrain, "%ofceiling")
				b.Log(profile(d, way.f))
			})
		}
		d.Close()
	}
}
