package kerneltest

import (
	"fmt"

	"github.com/evalrun/evalrun/kernels"
	"github.com/evalrun/evalrun/kernels/format"
)

// together decodes with two layers, token by token, calling one by one and within
// Together: the same bits, while sequences come and go, cross into new
// pages, change adapters, and buffers are new ones.
func together(b bench) {
	const heads, kvHeads, dim, layers, inner, most, vocab = 4, 2, 16, 2, 96, 3, 40
	const width = heads * dim
	type layer struct{ q, k, v, o, up, down, a, b kernels.Prepared }
	prepare := func(n, k int) kernels.Prepared {
		p, err := b.dev.Prepare(quantised("NF4 double BF16", format.NF4, format.BF16, true).make(b, n, k), kernels.ForMatMul|kernels.ForEmbed)
		if err != nil {
			b.Fatal(err)
		}
		return p
	}
	var ls []layer
	for range layers {
		ls = append(ls, layer{prepare(width, width), prepare(kvHeads*dim, width), prepare(kvHeads*dim, width), prepare(width, width),
			prepare(inner, width), prepare(width, inner), prepare(5, width), prepare(width, 5)})
	}
	table := prepare(vocab, width)
	angles := on(b, b.dev, b.normal(200*dim/2))
	norm := on(b, b.dev, b.normal(width))
	fresh := func(n int) kernels.Buffer { return on(b, b.dev, make([]float32, n)) }

	decode := func(around func(f func())) (all []float32) {
		var caches []kernels.KV
		for range layers {
			kv, err := b.dev.AllocKV(12, kvHeads, dim)
			if err != nil {
				b.Fatal(err)
			}
			caches = append(caches, kv)
		}
		x, h, q, k, v, att, up := fresh(most*width), fresh(most*width), fresh(most*width), fresh(most*kvHeads*dim), fresh(most*kvHeads*dim), fresh(most*width), fresh(most*inner)
		out := make([]float32, most*width)
		for step := range 40 {
			rows := 1 + step/10%most
			if step == 25 { // an operand that was another buffer before
				up = fresh(most * inner)
			}
			var spans []kernels.Span
			var pos, ids []int32
			for r := range rows {
				p := 20 + step + 13*r
				spans = append(spans, kernels.Span{Row: r, N: 1, Pos: p, Pages: []int32{int32(4 * r), int32(4*r + 1), int32(4*r + 2), int32(4*r + 3)}[:p/kernels.PageTokens+1]})
				pos, ids = append(pos, int32(p)), append(ids, int32((7*step+r)%vocab))
			}
			around(func() {
				b.dev.Embed(x, table, ids)
				for i, l := range ls {
					b.dev.RMSNorm(h, x, norm, rows, 1e-5)
					b.dev.MatMul(q, h, rows, l.q, kernels.Store)
					b.dev.MatMul(k, h, rows, l.k, kernels.Store)
					b.dev.MatMul(v, h, rows, l.v, kernels.Store)
					if step%3 == 0 {
						b.dev.LoRA(q, h, []kernels.Segment{{Row: rows - 1, N: 1, LowRank: kernels.LowRank{A: l.a, B: l.b, Scale: 0.5 + float32(step)/8}}})
					}
					b.dev.Rope(q, heads, dim, angles, angles, dim/2, pos, kernels.RopeHalves)
					b.dev.Rope(k, kvHeads, dim, angles, angles, dim/2, pos, kernels.RopeHalves)
					b.dev.StoreKV(caches[i], k.Slice(0, rows*kvHeads*dim), v.Slice(0, rows*kvHeads*dim), spans)
					b.dev.Attention(att.Slice(0, rows*width), q.Slice(0, rows*width), caches[i], spans, heads, kernels.AttentionOptions{Scale: 0.25})
					b.dev.MatMul(x, att, rows, l.o, kernels.Add)
					if step == 31 && i == 1 { // something that has to be seen in between
						b.dev.Write(norm, []float32{0.5})
						b.dev.Read(out[:1], x)
					}
					b.dev.RMSNorm(h, x, norm, rows, 1e-5)
					b.dev.MatMul(up, h, rows, l.up, kernels.Store)
					b.dev.Activate(up, up, rows*inner, kernels.SiLU)
					b.dev.MatMul(x, up, rows, l.down, kernels.Add)
				}
			})
			b.dev.Read(out[:rows*width], x)
			all = append(all, out[:rows*width]...)
		}
		return all
	}
	begin := func() { b.dev.Write(norm, []float32{1}) }
	begin()
	want := decode(func(f func()) { f() })
	for i, v := range want {
		if v != v {
			b.Fatalf("value %d is not a number", i)
		}
	}
	begin()
	same(b, fmt.Sprintf("%s, together", b.dev.Name()), decode(func(f func()) { kernels.Together(b.dev, f) }), want)
}
