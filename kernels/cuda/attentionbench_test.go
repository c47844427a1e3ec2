//go:build cuda

package cuda

import (
	"fmt"
	"testing"

	"github.com/evalrun/evalrun/kernels"
	"github.com/evalrun/evalrun/kernels/format"
)

func TestAttention(t *testing.T) {
	d := openGPU(t)
	defer d.Close()
	longAttention(t, d, []int{1, 560, 33, 1400, 256, 30, 40, 50, 900, 31, 1, 7, 64, 65, 66, 67, 68, 69, 70, 71, 72, 73, 74}, attentionShapes()...)
}

// BenchmarkAttention is inference's attention of a layer in Mistral-7B's shape: a
// token of so many sequences at a position, and a prompt. There are as many layers
// as no cache holds, started as one graph.
func BenchmarkAttention(b *testing.B) {
	for _, c := range []struct{ rows, tokens, pos int }{
		{1, 1, 200}, {8, 1, 200}, {50, 1, 200}, {1, 1, 1000}, {1, 1, 4000}, {8, 1, 4000}, {50, 1, 4000}, {1, 820, 0}, {4, 820, 0}, {1, 64, 756}, {1, 128, 700}, {1, 256, 0}, {1, 4096, 0},
	} {
		b.Run(fmt.Sprintf("%dx%d@%d", c.rows, c.tokens, c.pos), func(b *testing.B) {
			d := openGPU(b)
			defer d.Close()
			n, each := c.pos+c.tokens, (c.pos+c.tokens-1)/page+1
			bytes := 8 * c.rows * n * kvHeads * dim
			var spans []kernels.Span
			for i := range c.rows {
				s := kernels.Span{Row: i * c.tokens, N: c.tokens, Pos: c.pos}
				for p := range each {
					s.Pages = append(s.Pages, int32(p*c.rows+i))
				}
				spans = append(spans, s)
			}
			var caches []kernels.KV
			for range min(max(200<<20/bytes, 1), 64) {
				kv, err := d.AllocKV(c.rows*each, kvHeads, dim)
				if err != nil {
					b.Fatal(err)
				}
				caches = append(caches, kv)
			}
			values := c.rows * c.tokens * heads * dim
			q, err := d.Alloc(format.F32, values)
			if err != nil {
				b.Fatal(err)
			}
			dst, _ := d.Alloc(format.F32, values)
			d.Fill(q, values, 0.1)
			layers := func() {
				for _, kv := range caches {
					d.Attention(dst, q, kv, spans, heads, kernels.AttentionOptions{Scale: 0.088})
				}
			}
			work := func() { d.Together(layers) }
			work() // what comes for the second time is a graph
			t := measure(d, work).Seconds() / float64(len(caches))
			pairs := float64(c.rows) * float64(c.tokens) * float64(2*c.pos+c.tokens+1) / 2
			b.ReportMetric(1e6*t, "µs")
			b.ReportMetric(100*float64(bytes)/t/peakBytes, "%ofbytes")
			b.ReportMetric(100*4*pairs*heads*dim/t/peakFloat, "%offloat32")
			b.Log(profile(d, layers))
		})
	}
}
