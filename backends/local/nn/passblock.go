package nn

import (
	"github.com/evalrun/evalrun/kernels"
	"github.com/evalrun/evalrun/kernels/format"
)

func (p *Pass) acts(i int) *activations {
	if p.o.Keep {
		return &p.blocks[i]
	}
	return &p.blocks[0]
}

// output is where block i leaves its output.
func (p *Pass) output(i int) kernels.Buffer {
	if i+1 < len(p.inputs) {
		return p.inputs[i+1]
	}
	return p.out
}

// behind gives the rows that go on behind a block's attention: all, but of the
// last block only the judged ones.
func (p *Pass) behind(i int, b *Packed) rowsOf {
	if i < len(p.inputs)-1 {
		return p.all(b)
	}
	return rowsOf{n: len(b.LossRows), keys: judgedKeys(b, 0, len(b.LossRows)), seed: b.Seed, block: true}
}

func (p *Pass) all(b *Packed) rowsOf {
	return rowsOf{n: len(b.IDs), keys: b.Keys, seed: b.Seed, block: true}
}

func (a *Attention) shape() kernels.AttentionShape {
	return kernels.AttentionShape{Heads: a.Heads, KVHeads: a.KVHeads, Dim: a.Dim, AttentionOptions: a.Options}
}

// forward computes block i from its input.
func (p *Pass) forward(i int, b *Packed) {
	dev, block, c := p.dev, &p.d.Blocks[i], p.acts(i)
	a, m, hidden := &block.Attention, &block.MLP, p.d.Hidden
	wide, narrow := a.Heads*a.Dim, a.KVHeads*a.Dim
	x, all := p.inputs[i], p.all(b)

	in := c.h
	if p.hHalf != nil {
		in = p.hHalf
		p.half.RMSNormBoth(c.h, in, x, block.AttentionNorm.Weight, all.n, block.AttentionNorm.Eps)
	} else {
		block.AttentionNorm.run(dev, c.h, x, all.n)
	}
	q, k := c.q, c.k
	if a.QNorm.Weight != nil {
		q, k = c.qRaw, c.kRaw
	}
	if a.QKV.Weight != nil {
		p.linear(&a.QKV, p.fused, c.h, all)
		dev.Columns(q, p.fused, all.n, wide+2*narrow, 0, wide)
		dev.Columns(k, p.fused, all.n, wide+2*narrow, wide, narrow)
		dev.Columns(c.v, p.fused, all.n, wide+2*narrow, wide+narrow, narrow)
	} else {
		p.linears([]*Linear{&a.Q, &a.K, &a.V}, []kernels.Buffer{q, k, c.v}, c.h, in, all)
	}
	if a.QNorm.Weight != nil {
		a.QNorm.run(dev, c.q, q, all.n*a.Heads)
		a.KNorm.run(dev, c.k, k, all.n*a.KVHeads)
	}
	a.Rope.Forward(dev, c.q, a.Heads, a.Dim, b.Pos)
	a.Rope.Forward(dev, c.k, a.KVHeads, a.Dim, b.Pos)
	dev.AttentionTrain(c.att, c.lse, c.q, c.k, c.v, b.Runs, a.shape())
	if p.roundsHeads(a) && p.heads != format.BF16 {
		dev.Round(c.att, c.att, all.n*wide, format.BF16)
	}

	r, att, h := p.behind(i, b), c.att, c.h
	if i == len(p.inputs)-1 {
		dev.Gather(p.pickedAtt, c.att, b.LossRows, wide)
		dev.Gather(p.pickedX, x, b.LossRows, hidden)
		att, x = p.pickedAtt, p.pickedX
		if block.Parallel {
			dev.Gather(p.pickedH, h, b.LossRows, hidden)
			h = p.pickedH
		}
	}
	p.addTo(c.mid, x, &a.O, att, c.o, &block.PostAttention, r)
	if !block.Parallel {
		h = c.h2
		block.MLPNorm.run(dev, h, c.mid, r.n)
	}
	switch {
	case m.GateUp.Weight != nil:
		p.linear(&m.GateUp, p.fused, h, r)
		dev.Columns(c.gate, p.fused, r.n, 2*m.Width, 0, m.Width)
		dev.Columns(c.up, p.fused, r.n, 2*m.Width, m.Width, m.Width)
	case m.Gate.Weight != nil:
		p.linears([]*Linear{&m.Gate, &m.Up}, []kernels.Buffer{c.gate, c.up}, h, h, r)
	default:
		p.linear(&m.Up, c.up, h, r)
	}
	p.activate(m, c, r.n)
	p.addTo(p.output(i), c.mid, &m.Down, p.act, c.m, &block.PostMLP, r)
}

// activate leaves the input of the last matrix in act.
func (p *Pass) activate(m *MLP, c *activations, rows int) {
	if c.gate != nil {
		p.dev.Gate(p.act, c.gate, c.up, rows*m.Width, m.Act)
	} else {
		p.dev.Activate(p.act, c.up, rows*m.Width, m.Act)
	}
}

// addTo computes y = x + post(l(in)); before keeps what the post-norm is given.
func (p *Pass) addTo(y, x kernels.Buffer, l *Linear, in, before kernels.Buffer, post *Norm, r rowsOf) {
	n, _ := l.Weight.Shape()
	if post.Weight == nil && p.t.Linears[l] == nil && p.joins(l, r) {
		p.half.MatMulsRounded([]kernels.Buffer{y}, x, in, r.n, []kernels.Prepared{l.Weight})
		return
	}
	if post.Weight == nil {
		p.linear(l, p.dout, in, r)
	} else {
		p.linear(l, before, in, r)
		post.run(p.dev, p.dout, before, r.n)
	}
	p.dev.Scale(y, x, r.n*n, 1)
	p.dev.Add(y, p.dout, r.n*n)
}

// backward takes the gradient of block i's output in dx, adds the gradients of
// what is trained in it, and leaves the gradient of its input in dx, unless
// nothing below needs it.
func (p *Pass) backward(i int, b *Packed) {
	dev, block, c := p.dev, &p.d.Blocks[i], p.acts(i)
	a, m, hidden := &block.Attention, &block.MLP, p.d.Hidden
	wide, narrow := a.Heads*a.Dim, a.KVHeads*a.Dim
	x, all, r, last := p.inputs[i], p.all(b), p.behind(i, b), i == len(p.inputs)-1

	h := c.h2
	if block.Parallel {
		if h = c.h; last {
			h = p.pickedH
		}
	}
	if p.t.Linears[&m.Down] != nil { // its gradients are of its input
		p.activate(m, c, r.n)
	}
	p.linearBack(&m.Down, p.dup, p.postBack(&block.PostMLP, c.m, r.n), p.act, r, kernels.Store)
	switch {
	case m.GateUp.Weight != nil:
		dev.GateBack(c.gate, p.dup, p.dup, c.gate, c.up, r.n*m.Width, m.Act)
		dev.PutColumns(p.fused, c.gate, r.n, 2*m.Width, 0, m.Width)
		dev.PutColumns(p.fused, p.dup, r.n, 2*m.Width, m.Width, m.Width)
		p.linearBack(&m.GateUp, p.dh, p.fused, h, r, kernels.Store)
	case m.Gate.Weight != nil:
		dev.GateBack(c.gate, p.dup, p.dup, c.gate, c.up, r.n*m.Width, m.Act)
		p.linearBacks([]*Linear{&m.Gate, &m.Up}, p.dh, []kernels.Buffer{c.gate, p.dup}, h, r, kernels.Store)
	default:
		dev.ActivateBack(p.dup, p.dup, c.up, r.n*m.Width, m.Act)
		p.linearBack(&m.Up, p.dh, p.dup, h, r, kernels.Store)
	}
	if !block.Parallel {
		p.normBack(&block.MLPNorm, p.dx, p.dh, c.mid, r.n, kernels.Add)
	}

	do := p.postBack(&block.PostAttention, c.o, r.n)
	if last {
		datt := p.dq
		if p.heads == format.BF16 {
			datt = p.pickedAtt // which only a matrix that is trained would need
		}
		p.linearBack(&a.O, datt, do, p.pickedAtt, r, kernels.Store)
		p.spread(p.datt, datt, wide, b)
		dev.Scale(p.dout, p.dx, r.n*hidden, 1)
		p.spread(p.dx, p.dout, hidden, b)
		p.dxRounded = false
		if block.Parallel {
			dev.Scale(p.dout, p.dh, r.n*hidden, 1)
			p.spread(p.dh, p.dout, hidden, b)
		}
	} else {
		p.linearBack(&a.O, p.datt, do, c.att, r, kernels.Store)
	}
	dev.AttentionBack(p.dq, p.dk, p.dv, p.datt, c.att, c.lse, c.q, c.k, c.v, b.Runs, a.shape())
	// Both as BF16, where they are then multiplied with.
	if p.dqkRounded = p.dqHalf != nil && a.QNorm.Weight == nil && 2*a.Rope.Half == a.Dim; p.dqkRounded {
		p.half.RopeBackBoth(p.dq, p.dqHalf, a.Heads, a.Dim, a.Rope.Cos, a.Rope.Sin, b.Pos, a.Rope.Style)
		p.half.RopeBackBoth(p.dk, p.dkHalf, a.KVHeads, a.Dim, a.Rope.Cos, a.Rope.Sin, b.Pos, a.Rope.Style)
	} else {
		dev.RopeBack(p.dq, a.Heads, a.Dim, a.Rope.Cos, a.Rope.Sin, a.Rope.Half, b.Pos, a.Rope.Style)
		dev.RopeBack(p.dk, a.KVHeads, a.Dim, a.Rope.Cos, a.Rope.Sin, a.Rope.Half, b.Pos, a.Rope.Style)
	}
	if a.QNorm.Weight != nil {
		p.normBack(&a.QNorm, p.dq, p.dq, c.qRaw, all.n*a.Heads, kernels.Store)
		p.normBack(&a.KNorm, p.dk, p.dk, c.kRaw, all.n*a.KVHeads, kernels.Store)
	}
	dh := p.dh
	if i <= p.first && p.t.Norms[&block.AttentionNorm] == nil {
		dh = nil // nothing below is trained
	}
	e := kernels.Store
	if block.Parallel {
		e = kernels.Add
	}
	if a.QKV.Weight != nil {
		dev.PutColumns(p.fused, p.dq, all.n, wide+2*narrow, 0, wide)
		dev.PutColumns(p.fused, p.dk, all.n, wide+2*narrow, wide, narrow)
		dev.PutColumns(p.fused, p.dv, all.n, wide+2*narrow, wide+narrow, narrow)
		p.linearBack(&a.QKV, dh, p.fused, c.h, all, e)
	} else {
		p.linearBacks([]*Linear{&a.Q, &a.K, &a.V}, dh, []kernels.Buffer{p.dq, p.dk, p.dv}, c.h, all, e)
	}
	if dh != nil {
		p.normBack(&block.AttentionNorm, p.dx, dh, x, all.n, kernels.Add)
	}
}

// postBack is the gradient of what went into a post-norm, or dx itself where
// there is none.
func (p *Pass) postBack(post *Norm, before kernels.Buffer, rows int) kernels.Buffer {
	if post.Weight == nil {
		return p.dx
	}
	p.normBack(post, p.dout, p.dx, before, rows, kernels.Store)
	return p.dout
}

// spread puts judged rows of x back to their places in dst, others zero.
func (p *Pass) spread(dst, x kernels.Buffer, width int, b *Packed) {
	p.dev.Fill(dst, len(b.IDs)*width, 0)
	p.dev.Scatter(dst, x, b.LossRows, width)
}
