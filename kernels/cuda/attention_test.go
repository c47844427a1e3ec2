package cuda

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/evalrun/evalrun/kernels"
	"github.com/evalrun/evalrun/kernels/format"
	"github.com/evalrun/evalrun/kernels/ref"
)

// longAttention holds attention of long sequences, whose pages are shared out among
// blocks where there are few rows, to ref, and a row alone to the same row among
// others and as the last one of many tokens.
func longAttention(t *testing.T, d *Device, lengths []int, shapes ...kernels.AttentionShape) {
	rng := rand.New(rand.NewPCG(3, 3))
	for _, s := range shapes {
		t.Run(fmt.Sprintf("%+v", s), func(t *testing.T) {
			pages := 0
			for _, n := range lengths {
				pages += (n + page - 1) / page
			}
			r := ref.New()
			fast, err := d.AllocKV(pages, s.KVHeads, s.Dim)
			if err != nil {
				t.Fatal(err)
			}
			slow, _ := r.AllocKV(pages, s.KVHeads, s.Dim)
			order := rng.Perm(pages)
			values := func(n int) []float32 {
				v := make([]float32, n)
				for i := range v {
					v[i] = float32(rng.NormFloat64())
				}
				return v
			}
			on := func(d kernels.Device, v []float32) kernels.Buffer {
				b, err := d.Alloc(format.F32, len(v))
				if err != nil {
					t.Fatal(err)
				}
				d.Write(b, v)
				return b
			}
			var last []kernels.Span // of each sequence
			for i, n := range lengths {
				span := kernels.Span{N: n}
				for range (n + page - 1) / page {
					span.Pages, order = append(span.Pages, int32(order[0])), order[1:]
				}
				k, v := values(n*s.KVHeads*s.Dim), values(n*s.KVHeads*s.Dim)
				d.StoreKV(fast, on(d, k), on(d, v), []kernels.Span{span})
				r.StoreKV(slow, on(r, k), on(r, v), []kernels.Span{span})
				last = append(last, kernels.Span{Row: i, N: 1, Pos: n - 1, Pages: span.Pages})
			}
			width := s.Heads * s.Dim
			q := values(len(lengths) * width)
			run := func(d kernels.Device, kv kernels.KV, q []float32, spans []kernels.Span) []float32 {
				dst := on(d, make([]float32, len(q)))
				d.Attention(dst, on(d, q), kv, spans, s.Heads, s.AttentionOptions)
				got := make([]float32, len(q))
				d.Read(got, dst)
				return got
			}
			near := func(got, want []float32) {
				t.Helper()
				for i := range want {
					if diff := got[i] - want[i]; !(diff < 1e-5 && diff > -1e-5) {
						t.Fatalf("value %d of row %d is %g, want %g", i%width, i/width, got[i], want[i])
					}
				}
			}
			got := run(d, fast, q, last)
			near(got, run(r, slow, q, last))
			for i, span := range last {
				span.Row = 0
				if alone := run(d, fast, q[i*width:][:width], []kernels.Span{span}); !slices.Equal(alone, got[i*width:][:width]) {
					t.Errorf("row %d alone has other bits", i)
				}
			}
			var many []kernels.Span
			var qs []float32
			for i, span := range last {
				n := min(lengths[i], 37)
				many = append(many, kernels.Span{Row: len(qs) / width, N: n, Pos: lengths[i] - n, Pages: span.Pages})
				qs = append(append(qs, values((n-1)*width)...), q[i*width:][:width]...)
			}
			gots := run(d, fast, qs, many)
			near(gots, run(r, slow, qs, many))
			for i, span := range many {
				if among := gots[(span.Row+span.N-1)*width:][:width]; !slices.Equal(among, got[i*width:][:width]) {
					t.Errorf("the last of %d tokens of row %d has other bits than alone", span.N, i)
				}
			}
		})
	}
}

// attentionShapes are the ways in which heads share keys, and kinds of sizes.
func attentionShapes() (all []kernels.AttentionShape) {
	for _, s := range [][3]int{{4, 1, 128}, {6, 2, 64}, {5, 1, 67}, {8, 1, 80}, {2, 2, 256}, {3, 1, 200}, {2, 1, 512}, {1, 1, 258}, {7, 1, 10}} {
		for _, o := range []kernels.AttentionOptions{{Scale: 0.1}, {Scale: 0.1, Window: 300, SoftCap: 2}} {
			all = append(all, kernels.AttentionShape{Heads: s[0], KVHeads: s[1], Dim: s[2], AttentionOptions: o})
		}
	}
	return all
}
