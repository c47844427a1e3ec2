package nn

import (
	"fmt"

	"github.com/evalrun/evalrun/kernels"
	"github.com/evalrun/evalrun/kernels/format"
)

// TrainedLinear is what is trained of a linear layer: a low-rank pair beside
// it, with or without DoRA's magnitude, or the layer itself. Gradients are added
// to; a nil one is not computed.
type TrainedLinear struct {
	// Pair is scale·B·A (Hu et al., 2021), prepared from values that change; A
	// nil is none.
	Pair         kernels.LowRank
	GradA, GradB kernels.Buffer
	// Magnitude is DoRA's length of each row of W + scale·B·A (Liu et al., 2024);
	// Norms is the length that the rows have, no gradient goes through it, and
	// Columns is Magnitude / Norms.
	Magnitude, GradMagnitude, Norms, Columns kernels.Buffer
	// Dropout is the probability on the input of A, Stream the number of the
	// layer in its random numbers.
	Dropout float32
	Stream  uint32
	// GradWeight [N, K] and GradBias [N] are those of the layer itself.
	GradWeight, GradBias kernels.Buffer
}

// TrainedNorm is the gradients of a norm's own values.
type TrainedNorm struct {
	GradWeight, GradBias kernels.Buffer
}

// Trained is what is trained of a decoder.
type Trained struct {
	Linears map[*Linear]*TrainedLinear
	Norms   map[*Norm]*TrainedNorm
	// GradEmbed [Vocab, Hidden] is the embedding's; a tied head adds to it as
	// well through its own TrainedLinear.
	GradEmbed kernels.Buffer
	// Pad is the token whose row of the embedding has no gradient (padding_idx of
	// torch.nn.Embedding), -1 if there is none.
	Pad int32
}

// Packed is examples side by side: rows of one do not see those of another.
type Packed struct {
	IDs  []int32
	Pos  []int32 // row of the rotary tables of each row
	Runs []kernels.Run
	// LossRows are the rows whose logits are judged, ascending; Labels is the
	// token that each should have told, Weights the factor of its loss.
	LossRows []int32
	Labels   []int32
	Weights  []float32
	// Keys and Seed are the counters of dropout: one key a row.
	Keys []uint64
	Seed uint64
}

// PassOptions plan the memory of a pass.
type PassOptions struct {
	Rows      int // most rows of a batch
	LossRows  int // most judged rows
	LogitRows int // rows of logits at a time
	// Keep holds what every block computed for its gradients; without it only
	// the blocks' inputs are held, and a block is computed again when its turn
	// comes. The bits are the same.
	Keep bool
	// BF16 rounds what goes into and comes out of the blocks' linear layers to
	// bfloat16, forward and backward, as bitsandbytes' Linear4bit does with that
	// compute type. Adapters, norms, attention and head stay float32; what attention
	// gives is rounded for its own gradient too, unless an adapter takes it.
	BF16 bool
}

// Pass computes the loss of packed examples, and gradients of what is trained.
type Pass struct {
	dev   kernels.TrainDevice
	half  kernels.RoundedProducts // nil where the device has none or BF16 is not asked for
	inner format.Type             // of what lies between the products of the feed-forward layers
	heads format.Type             // of what attention gives, and of its gradient
	d     *Decoder
	t     Trained
	o     PassOptions
	first int // the lowest block that has something to train; -1: the embedding has
	bytes int64

	blocks []activations // one a block, or one for all
	inputs []kernels.Buffer
	out    kernels.Buffer // of the last block, judged rows

	// Scratch.
	dx, dh, dout                kernels.Buffer // [Rows, Hidden]
	dq, dk, dv, datt            kernels.Buffer
	act, dup                    kernels.Buffer // [Rows, MLP]
	fused                       kernels.Buffer
	low, dlow                   kernels.Buffer             // [Rows, rank]
	lows                        map[*Linear]kernels.Buffer // [Rows, rank], for the way back
	drop                        kernels.Buffer             // a dropped input, and gradients of one
	round, dround               kernels.Buffer             // rounded copies
	hHalf, dxHalf               kernels.Buffer             // h of a block and dx as BF16, where norms give both
	dqHalf, dkHalf              kernels.Buffer             // dq and dk, where their rotation does
	dxRounded, dqkRounded       bool                       // the halves are what dx, and dq and dk, are
	z, dz, column               kernels.Buffer             // what DoRA scales
	state, dstate               kernels.Buffer             // [LossRows, Hidden]
	logits, raw, losses         kernels.Buffer
	pickedAtt, pickedX, pickedH kernels.Buffer
}

// activations are what a block computes on the way forward and needs on the
// way back.
type activations struct {
	x          kernels.Buffer // input
	h          kernels.Buffer // normalised input
	q, k, v    kernels.Buffer // rotated
	qRaw, kRaw kernels.Buffer // before their norms
	att, lse   kernels.Buffer
	o          kernels.Buffer // attention's output before its post-norm
	mid        kernels.Buffer // input of the feed-forward norm
	h2         kernels.Buffer
	gate, up   kernels.Buffer
	m          kernels.Buffer // feed-forward output before its post-norm
}

// NewPass plans a pass over the decoder. Nothing is computed.
func NewPass(dev kernels.TrainDevice, d *Decoder, t Trained, o PassOptions) (*Pass, error) {
	p := &Pass{dev: dev, d: d, t: t, o: o}
	p.first = p.lowest()
	if o.BF16 {
		p.half, _ = dev.(kernels.RoundedProducts)
	}
	p.inner, p.heads = p.innerType(), p.headsType()
	var err error
	alloc := func(t format.Type, n int) kernels.Buffer {
		if n == 0 || err != nil {
			return nil
		}
		var b kernels.Buffer
		if b, err = dev.Alloc(t, n); err != nil {
			err = fmt.Errorf("allocate a training pass of %d rows: %w", o.Rows, err)
			return nil
		}
		bytes, _ := t.Bytes(int64(n))
		p.bytes += bytes
		return b
	}
	of := func(t format.Type) func(n int) kernels.Buffer {
		return func(n int) kernels.Buffer { return alloc(t, n) }
	}
	p.plan(of(format.F32), of(format.BF16), of(p.inner), of(p.heads))
	if err != nil {
		return nil, err
	}
	return p, nil
}

// Decode has the device keep the values of all matrices beside their codes, where
// it multiplies faster so: transposed too from the first block with something to
// train on. The bits are the same.
func (p *Pass) Decode() error {
	dev, ok := p.dev.(kernels.Keeper)
	if !ok {
		return nil
	}
	for i := range p.d.Blocks {
		for _, l := range p.d.Blocks[i].linears() {
			if l.Weight == nil {
				continue
			}
			if err := dev.Keep(l.Weight, i >= p.first); err != nil {
				return err
			}
		}
	}
	return dev.Keep(p.d.Head.Weight, true)
}

// LogitBytes is the part of Bytes that logits take.
func (p *Pass) LogitBytes() int64 {
	bytes := 4 * int64(p.o.LogitRows) * int64(p.d.Vocab)
	if p.d.LogitCap != 0 {
		bytes *= 2
	}
	return bytes
}

// innerType is BF16 where all that lies between the products of the feed-forward
// layers is rounded anyway: no adapter adds to them, and the device fuses them all.
func (p *Pass) innerType() format.Type {
	for i := range p.d.Blocks {
		b := &p.d.Blocks[i]
		for _, l := range []*Linear{&b.MLP.Gate, &b.MLP.Up, &b.MLP.GateUp, &b.MLP.Down} {
			if l.Weight != nil && (l == &b.MLP.GateUp || !p.joins(l, rowsOf{block: true}) || p.t.Linears[l] != nil) {
				return format.F32
			}
		}
	}
	return format.BF16
}

// headsType is BF16 where what attention gives is rounded anyway and the device does
// all that is done with it.
func (p *Pass) headsType() format.Type {
	for i := range p.d.Blocks {
		a := &p.d.Blocks[i].Attention
		if !p.roundsHeads(a) || !p.joins(&a.O, rowsOf{block: true}) || !p.half.RoundsAttention(a.shape()) {
			return format.F32
		}
	}
	return format.BF16
}

// roundsHeads tells whether what attention gives is rounded, for all that takes it:
// the next matrix, where nothing else is added to that, and the gradient.
func (p *Pass) roundsHeads(a *Attention) bool { return p.o.BF16 && p.t.Linears[&a.O] == nil }

// plan gives every buffer of the pass its size; half makes those of BF16, inner and heads
// those of innerType and headsType.
func (p *Pass) plan(alloc, half, inner, heads func(n int) kernels.Buffer) {
	d, o := p.d, p.o
	s, h := d.sizes(), d.Hidden
	a := &d.Blocks[0].Attention
	wide, narrow := s.q, s.kv
	count := 1
	if o.Keep {
		count = len(d.Blocks)
	}
	p.blocks, p.inputs = make([]activations, count), make([]kernels.Buffer, len(d.Blocks))
	for i := range p.inputs {
		p.inputs[i] = alloc(o.Rows * h)
	}
	for i := range p.blocks {
		b, c := &d.Blocks[i], &p.blocks[i]
		c.h = alloc(o.Rows * h)
		c.q, c.k, c.v = alloc(o.Rows*wide), alloc(o.Rows*narrow), alloc(o.Rows*narrow)
		if b.Attention.QNorm.Weight != nil {
			c.qRaw, c.kRaw = alloc(o.Rows*wide), alloc(o.Rows*narrow)
		}
		c.att, c.lse = heads(o.Rows*wide), alloc(o.Rows*a.Heads)
		rows := o.Rows
		if i == len(d.Blocks)-1 {
			rows = o.LossRows // see behind
		}
		if b.PostAttention.Weight != nil {
			c.o = alloc(rows * h)
		}
		c.mid = alloc(rows * h)
		if !b.Parallel {
			c.h2 = inner(rows * h)
		}
		c.up = inner(rows * s.mlp)
		if b.MLP.Gate.Weight != nil || b.MLP.GateUp.Weight != nil {
			c.gate = inner(rows * s.mlp)
		}
		if b.PostMLP.Weight != nil {
			c.m = alloc(rows * h)
		}
	}
	p.out = alloc(o.LossRows * h)
	p.dx, p.dh, p.dout = alloc(o.Rows*h), alloc(o.Rows*h), alloc(o.Rows*h)
	p.dq, p.dk, p.dv, p.datt = alloc(o.Rows*wide), alloc(o.Rows*narrow), alloc(o.Rows*narrow), heads(o.Rows*wide)
	p.act, p.dup = inner(o.Rows*s.mlp), inner(o.Rows*s.mlp)
	p.fused = alloc(o.Rows * s.fused)
	w := p.widths()
	p.low, p.dlow = alloc(o.Rows*w.rank), alloc(o.Rows*w.rank)
	p.planLows(func() kernels.Buffer { return alloc(o.Rows * w.low) })
	p.drop = alloc(o.Rows * w.dropped)
	if o.BF16 && !p.allJoin() {
		p.round, p.dround = alloc(o.Rows*w.base), alloc(o.Rows*h)
	}
	if p.normsGiveBoth() {
		p.hHalf, p.dxHalf = half(o.Rows*h), half(o.Rows*h)
		p.dqHalf, p.dkHalf = half(o.Rows*wide), half(o.Rows*narrow)
	}
	p.z, p.dz, p.column = alloc(o.Rows*w.scaled), alloc(o.Rows*w.scaled), alloc(w.scaled)
	p.state, p.dstate = alloc(o.LossRows*h), alloc(o.LossRows*h)
	p.logits, p.losses = alloc(o.LogitRows*d.Vocab), alloc(o.LossRows)
	if d.LogitCap != 0 {
		p.raw = alloc(o.LogitRows * d.Vocab)
	}
	p.pickedAtt, p.pickedX, p.pickedH = heads(o.LossRows*wide), alloc(o.LossRows*h), alloc(o.LossRows*h)
}

// planLows gives what is kept of the pairs that the device trains: of each, or
// where blocks are computed again, of the like ones of all blocks in one.
func (p *Pass) planLows(alloc func() kernels.Buffer) {
	p.lows = map[*Linear]kernels.Buffer{}
	var shared [9]kernels.Buffer
	for i := range p.d.Blocks {
		for j, l := range p.d.Blocks[i].linears() {
			if t := p.t.Linears[l]; t == nil || !p.together(t) {
				continue
			}
			if shared[j] == nil || p.o.Keep {
				shared[j] = alloc()
			}
			p.lows[l] = shared[j]
		}
	}
	if t := p.t.Linears[&p.d.Head]; t != nil && p.together(t) {
		p.lows[&p.d.Head] = alloc()
	}
}

// Bytes is the memory that the pass has taken.
func (p *Pass) Bytes() int64 { return p.bytes }

// lowest finds the first block with something to train.
func (p *Pass) lowest() int {
	if p.t.GradEmbed != nil {
		return -1
	}
	for i := range p.d.Blocks {
		b := &p.d.Blocks[i]
		for _, n := range []*Norm{&b.AttentionNorm, &b.Attention.QNorm, &b.Attention.KNorm, &b.PostAttention, &b.MLPNorm, &b.PostMLP} {
			if p.t.Norms[n] != nil {
				return i
			}
		}
		for _, l := range b.linears() {
			if p.t.Linears[l] != nil {
				return i
			}
		}
	}
	return len(p.d.Blocks)
}

// linears are all of a block's matrices, also those that are not there.
func (b *Block) linears() []*Linear {
	a, m := &b.Attention, &b.MLP
	return []*Linear{&a.Q, &a.K, &a.V, &a.QKV, &a.O, &m.Gate, &m.Up, &m.GateUp, &m.Down}
}

// widths say what scratch the linear layers need.
type widths struct {
	base    int // inputs or outputs of a block's layer
	rank    int // of pairs
	low     int // of pairs that the device trains
	dropped int // inputs of a layer with dropout
	scaled  int // outputs of a layer with DoRA
}

func (p *Pass) widths() (w widths) {
	for l, t := range p.t.Linears {
		n, k := l.Weight.Shape()
		if t.Pair.A != nil {
			if r, _ := t.Pair.A.Shape(); p.together(t) {
				w.low = max(w.low, r)
			} else {
				w.rank = max(w.rank, r)
			}
		}
		if t.Magnitude != nil {
			w.scaled = max(w.scaled, n)
		}
		if t.Dropout != 0 && (t.Magnitude != nil || !p.together(t)) {
			w.dropped = max(w.dropped, k)
		}
	}
	for i := range p.d.Blocks {
		for _, l := range p.d.Blocks[i].linears() {
			if l.Weight != nil {
				n, k := l.Weight.Shape()
				w.base = max(w.base, n, k)
			}
		}
	}
	return w
}

// Loss computes the loss of each judged row, [len(LossRows)], unweighted.
func (p *Pass) Loss(b *Packed) []float32 { return p.run(b, false) }

// Backward computes the losses and adds the gradients of
//
//	L = Σ_i Weights[i] · loss[i]
//
// to those of what is trained.
func (p *Pass) Backward(b *Packed) []float32 { return p.run(b, true) }

func (p *Pass) run(b *Packed, back bool) []float32 {
	rows, judged := len(b.IDs), len(b.LossRows)
	if rows > p.o.Rows || judged > p.o.LossRows || judged == 0 {
		panic(fmt.Sprintf("BUG: %d rows, %d judged, in a pass of %d and %d", rows, judged, p.o.Rows, p.o.LossRows))
	}
	kernels.CheckRuns(b.Runs, rows)
	d, dev := p.d, p.dev
	dev.Embed(p.inputs[0], d.Embed.Table, b.IDs)
	if d.EmbedScale != 0 {
		dev.Scale(p.inputs[0], p.inputs[0], rows*d.Hidden, d.EmbedScale)
	}
	for i := range d.Blocks {
		p.forward(i, b)
	}
	d.Norm.run(dev, p.state, p.out, judged)
	p.loss(b, back)
	losses := make([]float32, judged)
	dev.Read(losses, p.losses)
	if !back {
		return losses
	}
	// dx holds the gradient of a block's output: of the judged rows at first.
	p.normBack(&d.Norm, p.dx, p.dstate, p.out, judged, kernels.Store)
	for i := len(d.Blocks) - 1; i >= max(p.first, 0); i-- {
		if !p.o.Keep && i < len(d.Blocks)-1 {
			p.forward(i, b) // the last one still holds its own
		}
		p.backward(i, b)
	}
	if p.first < 0 {
		if d.EmbedScale != 0 {
			dev.Scale(p.dx, p.dx, rows*d.Hidden, d.EmbedScale)
		}
		for row, id := range b.IDs {
			if id == p.t.Pad {
				x := p.dx.Slice(row*d.Hidden, (row+1)*d.Hidden)
				dev.Scale(x, x, d.Hidden, 0)
			}
		}
		dev.Scatter(p.t.GradEmbed, p.dx, b.IDs, d.Hidden)
	}
	return losses
}

// loss computes the losses of the judged rows, and the gradient of their
// states in dstate.
func (p *Pass) loss(b *Packed, back bool) {
	d, dev := p.d, p.dev
	for from := 0; from < len(b.LossRows); from += p.o.LogitRows {
		n := min(p.o.LogitRows, len(b.LossRows)-from)
		state := p.state.Slice(from*d.Hidden, (from+n)*d.Hidden)
		logits, r := p.logits, rowsOf{n: n, keys: judgedKeys(b, from, n), seed: b.Seed}
		if d.LogitCap != 0 {
			p.linear(&d.Head, p.raw, state, r)
			dev.SoftCap(p.logits, p.raw, n*d.Vocab, d.LogitCap)
		} else {
			p.linear(&d.Head, logits, state, r)
		}
		var dlogits kernels.Buffer
		if back {
			dlogits = logits
		}
		dev.CrossEntropy(p.losses.Slice(from, from+n), dlogits, logits, d.Vocab, b.Labels[from:from+n], b.Weights[from:from+n])
		if !back {
			continue
		}
		if d.LogitCap != 0 {
			dev.SoftCapBack(dlogits, dlogits, p.raw, n*d.Vocab, d.LogitCap)
		}
		p.linearBack(&d.Head, p.dstate.Slice(from*d.Hidden, (from+n)*d.Hidden), dlogits, state, r, kernels.Store)
	}
}

// judgedKeys are the dropout counters of judged rows from to from+n-1.
func judgedKeys(b *Packed, from, n int) []uint64 {
	if b.Keys == nil {
		return nil
	}
	keys := make([]uint64, n)
	for i := range keys {
		keys[i] = b.Keys[b.LossRows[from+i]]
	}
	return keys
}
