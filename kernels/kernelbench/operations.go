package kernelbench

import (
	"fmt"

	"github.com/evalrun/evalrun/kernels"
)

// products are those of a projection [width, width] with weights of each format:
// one row, as in decoding, and many; and looking rows up, which decodes them.
func (b *bench) products() error {
	n, k, rows := b.o.Width, b.o.Width, b.o.Rows
	bufs, err := b.buffers(rows*k, rows*n)
	if err != nil {
		return err
	}
	x, y := bufs[0], bufs[1]
	for _, name := range formats {
		w, err := b.weight(name, n, k)
		if err != nil {
			return err
		}
		atLeast := int64(beyondCaches)
		if b.o.Width <= 512 { // caches keep all of it anyway
			atLeast = 0
		}
		ps, traffic, err := b.prepared(w, kernels.ForMatMul, atLeast)
		if err != nil {
			return err
		}
		turn := 0
		for _, m := range []int{1, rows} {
			b.add("MatMul "+name, fmt.Sprintf("[%d, %d] x [%d, %d]", m, k, n, k),
				work{read: traffic + 4*float64(m*k), written: 4 * float64(m*n), flop: 2 * float64(m) * float64(n) * float64(k), matrix: true},
				func() {
					b.dev.MatMul(y, x, m, ps[turn%len(ps)], kernels.Store)
					turn++
				})
			if rows == 1 {
				break
			}
		}
	}
	w, err := b.weight("NF4", n, k)
	if err != nil {
		return err
	}
	ps, traffic, err := b.prepared(w, kernels.ForMatMul|kernels.ForEmbed, 0)
	if err != nil {
		return err
	}
	if d, ok := b.dev.(interface{ Dequantise(kernels.Prepared) error }); ok {
		if err := d.Dequantise(ps[0]); err != nil {
			return err
		}
		b.add("Dequantise NF4 to BF16", fmt.Sprintf("[%d, %d]", n, k), work{read: traffic, written: 2 * float64(n*k)}, func() { _ = d.Dequantise(ps[0]) })
	}
	ids := make([]int32, rows)
	for i := range ids {
		ids[i] = int32(i * 31 % n)
	}
	b.add("Embed NF4", fmt.Sprintf("%d of %d rows of %d", rows, n, k), work{read: traffic * float64(rows) / float64(n), written: 4 * float64(rows*k)},
		func() { b.dev.Embed(y, ps[0], ids) })
	return nil
}

// large is a number of rows of the width whose values no cache holds.
func (b *bench) large() int {
	if b.o.Width <= 512 {
		return b.o.Rows
	}
	return max(b.o.Rows, (48<<20)/4/b.o.Width)
}

func (b *bench) rowwise() error {
	c, rows := b.o.Width, b.large()
	bufs, err := b.buffers(rows*c, rows*c, rows*c, c, c)
	if err != nil {
		return err
	}
	// Outputs are no operands where repeating would let them fade: a processor is
	// slow with numbers near zero.
	x, y, z, weight, bias := bufs[0], bufs[1], bufs[2], bufs[3], bufs[4]
	n := float64(rows * c)
	shape := fmt.Sprintf("[%d, %d]", rows, c)
	b.add("RMSNorm", shape, work{read: 4 * n, written: 4 * n, flop: 5 * n}, func() { b.dev.RMSNorm(y, x, weight, rows, 1e-5) })
	b.add("LayerNorm", shape, work{read: 4 * n, written: 4 * n, flop: 8 * n}, func() { b.dev.LayerNorm(y, x, weight, bias, rows, 1e-5) })
	b.add("Gate SiLU", shape, work{read: 8 * n, written: 4 * n, flop: 15 * n}, func() { b.dev.Gate(z, y, x, rows*c, kernels.SiLU) })
	b.add("Add", shape, work{read: 8 * n, written: 4 * n, flop: n}, func() { b.dev.Add(y, x, rows*c) })
	heads, _, dim := b.heads()
	angles, err := b.buffer(rows * dim / 2)
	if err != nil {
		return err
	}
	eighth := make([]float32, rows*dim/2) // of a turn, cosine and sine
	for i := range eighth {
		eighth[i] = 0.70710678
	}
	b.dev.Write(angles, eighth)
	pos := make([]int32, rows)
	for i := range pos {
		pos[i] = int32(i)
	}
	b.add("Rope", fmt.Sprintf("%d rows of %d heads of %d", rows, heads, dim), work{read: 4 * n, written: 4 * n, flop: 3 * n},
		func() { b.dev.Rope(z, heads, dim, angles, angles, dim/2, pos, kernels.RopeHalves) })
	return nil
}

// heads are those of a layer of the width: of 128 values, four on one of keys.
func (b *bench) heads() (heads, kvHeads, dim int) {
	heads, dim = b.o.Width/128, 128
	return heads, max(1, heads/4), dim
}

// attention of a prompt, and of one and sixteen sequences that go on by a token.
func (b *bench) attention() error {
	heads, kvHeads, dim := b.heads()
	o := kernels.AttentionOptions{Scale: 0.088}
	const page, side = kernels.PageTokens, 16
	each := (max(b.o.Context, b.o.Rows) + page - 1) / page
	kv, err := b.dev.AllocKV(side*each, kvHeads, dim)
	if err != nil {
		return err
	}
	span := func(row, n, pos int) kernels.Span {
		s := kernels.Span{Row: row, N: n, Pos: pos}
		for p := range each {
			s.Pages = append(s.Pages, int32(row/max(n, 1)%side*each+p))
		}
		return s
	}
	t := max(b.o.Rows, b.o.Context)
	bufs, err := b.buffers(t*heads*dim, t*heads*dim, t*kvHeads*dim, t*kvHeads*dim)
	if err != nil {
		return err
	}
	y, q, k, v := bufs[0], bufs[1], bufs[2], bufs[3]
	for i := range side { // every position holds something
		s := span(i, 1, 0)
		s.Row, s.N = 0, each*page
		if s.N > t {
			s.N = t
		}
		b.dev.StoreKV(kv, k, v, []kernels.Span{s})
	}
	rows, context := b.o.Rows, b.o.Context
	values := float64(heads * dim)
	pairs := float64(rows) * float64(rows+1) / 2
	b.add("Attention, a prompt", fmt.Sprintf("%d positions, %d heads on %d of %d", rows, heads, kvHeads, dim),
		work{read: 4 * float64(rows) * (values + 2*float64(kvHeads*dim)), written: 4 * float64(rows) * values, flop: 4 * pairs * values},
		func() {
			b.dev.Attention(y.Slice(0, rows*heads*dim), q.Slice(0, rows*heads*dim), kv, []kernels.Span{span(0, rows, 0)}, heads, o)
		})
	for _, n := range []int{1, side} {
		if n > t {
			continue
		}
		var spans []kernels.Span
		for i := range n {
			spans = append(spans, span(i, 1, context-1))
		}
		b.add("Attention, decoding", fmt.Sprintf("%d at position %d, %d heads on %d of %d", n, context-1, heads, kvHeads, dim),
			work{read: 8 * float64(n*context*kvHeads*dim), written: 4 * float64(n) * values, flop: 4 * float64(n*context) * values},
			func() { b.dev.Attention(y.Slice(0, n*heads*dim), q.Slice(0, n*heads*dim), kv, spans, heads, o) })
	}
	b.add("StoreKV", fmt.Sprintf("%d positions, %d heads of %d", rows, kvHeads, dim),
		work{read: 8 * float64(rows*kvHeads*dim), written: 8 * float64(rows*kvHeads*dim)},
		func() { b.dev.StoreKV(kv, k, v, []kernels.Span{span(0, rows, 0)}) })
	return nil
}

// adapters: a row each of several, and a prompt of one.
func (b *bench) adapters() error {
	const rank = 8
	n, k, rows := b.o.Width, b.o.Width, b.o.Rows
	bufs, err := b.buffers(rows*k, rows*n)
	if err != nil {
		return err
	}
	x, y := bufs[0], bufs[1]
	var all []kernels.LowRank
	for range min(25, rows) {
		l := kernels.LowRank{Scale: 1e-3}
		for _, p := range []struct {
			at   *kernels.Prepared
			n, k int
		}{{&l.A, rank, k}, {&l.B, n, rank}} {
			w, err := b.weight("F32", p.n, p.k)
			if err != nil {
				return err
			}
			if *p.at, err = b.dev.Prepare(w, kernels.ForMatMul); err != nil {
				return err
			}
		}
		all = append(all, l)
	}
	one := []kernels.Segment{{N: rows, LowRank: all[0]}}
	var each []kernels.Segment
	for i, l := range all {
		each = append(each, kernels.Segment{Row: i, N: 1, LowRank: l})
	}
	for _, c := range []struct {
		what     string
		m        int
		segments []kernels.Segment
	}{{"a row each", len(each), each}, {"one adapter", rows, one}} {
		a := float64(len(c.segments) * rank * (n + k))
		m := float64(c.m)
		b.add("LoRA, "+c.what, fmt.Sprintf("%d rows, %d adapters of rank %d, [%d, %d]", c.m, len(c.segments), rank, n, k),
			work{read: 4 * (a + m*float64(k+n)), written: 4 * m * float64(n), flop: 2 * m * float64(rank*(n+k))},
			func() { b.dev.LoRA(y, x, c.segments) })
	}
	return nil
}
