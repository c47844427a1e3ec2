package nn

import (
	"slices"

	"github.com/evalrun/evalrun/kernels"
	"github.com/evalrun/evalrun/kernels/format"
)

// rowsOf are rows that go through a linear layer: how many, the dropout
// counters of each, and whether BF16 applies (it does within blocks).
type rowsOf struct {
	n     int
	keys  []uint64
	seed  uint64
	block bool
}

// rounds tells whether the device fuses a layer's products and their rounding.
func (p *Pass) rounds(l *Linear, r rowsOf) bool {
	return p.half != nil && r.block && p.half.Rounds(l.Weight)
}

// joins tells whether a layer's output is such a product, whatever is added to it.
func (p *Pass) joins(l *Linear, r rowsOf) bool {
	t := p.t.Linears[l]
	return l.Bias == nil && (t == nil || t.Magnitude == nil) && p.rounds(l, r)
}

// allJoin tells whether all layers of blocks do.
func (p *Pass) allJoin() bool {
	for i := range p.d.Blocks {
		for _, l := range p.d.Blocks[i].linears() {
			if l.Weight != nil && !p.joins(l, rowsOf{block: true}) {
				return false
			}
		}
	}
	return true
}

// normsGiveBoth tells whether blocks' norms leave what they give as BF16 too, for the
// products behind them.
func (p *Pass) normsGiveBoth() bool {
	for i := range p.d.Blocks {
		if b := &p.d.Blocks[i]; b.AttentionNorm.Bias != nil || b.Attention.QKV.Weight != nil {
			return false
		}
	}
	return p.half != nil && p.allJoin()
}

// linears computes layers of one input x; in is x, or x rounded.
func (p *Pass) linears(ls []*Linear, ys []kernels.Buffer, x, in kernels.Buffer, r rowsOf) {
	ws, join := make([]kernels.Prepared, len(ls)), true
	for i, l := range ls {
		if t := p.t.Linears[l]; t != nil && t.Magnitude != nil {
			for i, l := range ls {
				p.linear(l, ys[i], x, r)
			}
			return
		}
		ws[i], join = l.Weight, join && p.joins(l, r)
	}
	if join {
		p.half.MatMulsRounded(ys, nil, in, r.n, ws)
	} else {
		for i, l := range ls {
			p.base(l, ys[i], x, r, true)
		}
	}
	p.adapt(ls, ys, x, r)
}

// adapt adds the low-rank pairs of layers of one input, where they have any, to ys.
func (p *Pass) adapt(ls []*Linear, ys []kernels.Buffer, x kernels.Buffer, r rowsOf) {
	if ps := p.pairs(ls, ys, r); len(ps) > 0 {
		p.dev.(kernels.PairTrainer).PairsForward(x, r.n, ps)
	}
	for i, l := range ls {
		if t := p.t.Linears[l]; t != nil && t.Pair.A != nil && !p.together(t) {
			p.dev.LoRA(ys[i], p.dropped(l, t, x, r), []kernels.Segment{{N: r.n, LowRank: t.Pair}})
		}
	}
}

// pairs are those that the device trains in few operations; ys are the layers' outputs
// or their gradients.
func (p *Pass) pairs(ls []*Linear, ys []kernels.Buffer, r rowsOf) (ps []kernels.TrainedPair) {
	for i, l := range ls {
		if t := p.t.Linears[l]; t != nil && p.together(t) {
			ps = append(ps, kernels.TrainedPair{LowRank: t.Pair, Dropping: p.dropping(t, r), Y: ys[i], Low: p.lows[l], GradA: t.GradA, GradB: t.GradB})
		}
	}
	return ps
}

// together tells whether the device trains a pair in few operations, dropout and all.
func (p *Pass) together(t *TrainedLinear) bool {
	dev, ok := p.dev.(kernels.PairTrainer)
	return ok && t.Pair.A != nil && dev.TrainsPair(t.Pair)
}

// linear computes y = x·Wᵀ + b with what is trained beside it.
//
// With DoRA y = (x·Wᵀ + s·(x·Aᵀ)·Bᵀ) ∘ c + b. Where there is dropout, PEFT lets
// W see the dropped input x' in the part that DoRA changes:
//
//	y = x·Wᵀ - x'·Wᵀ + (x'·Wᵀ + s·(x'·Aᵀ)·Bᵀ) ∘ c + b
func (p *Pass) linear(l *Linear, y, x kernels.Buffer, r rowsOf) {
	dev, t := p.dev, p.t.Linears[l]
	n, _ := l.Weight.Shape()
	if t == nil || t.Pair.A == nil || t.Magnitude == nil {
		p.base(l, y, x, r, true)
		p.adapt([]*Linear{l}, []kernels.Buffer{y}, x, r)
		return
	}
	dropped := p.dropped(l, t, x, r)
	p.scaled(l, t, y, x, dropped, r)
	dev.ScaleColumns(y, t.Columns, r.n)
	if t.Dropout != 0 {
		p.base(l, p.dz, dropped, r, false)
		dev.Scale(p.dz, p.dz, r.n*n, -1)
		dev.Add(y, p.dz, r.n*n)
		p.base(l, p.dz, x, r, false)
		dev.Add(y, p.dz, r.n*n)
	}
	if l.Bias != nil {
		dev.AddBias(y, l.Bias, r.n)
	}
}

// scaled is what DoRA scales: z = x'·Wᵀ + s·(x'·Aᵀ)·Bᵀ, x' being x dropped.
func (p *Pass) scaled(l *Linear, t *TrainedLinear, z, x, dropped kernels.Buffer, r rowsOf) {
	p.base(l, z, dropped, r, false)
	if p.together(t) {
		p.adapt([]*Linear{l}, []kernels.Buffer{z}, x, r)
		return
	}
	p.dev.LoRA(z, dropped, []kernels.Segment{{N: r.n, LowRank: t.Pair}})
}

// base computes the layer alone, rounding a copy of its input and its output
// where BF16 applies.
func (p *Pass) base(l *Linear, y, x kernels.Buffer, r rowsOf, bias bool) {
	n, k := l.Weight.Shape()
	round := r.block && p.o.BF16
	if p.rounds(l, r) && (!bias || l.Bias == nil) {
		p.half.MatMulsRounded([]kernels.Buffer{y}, nil, x, r.n, []kernels.Prepared{l.Weight})
		return
	}
	if round {
		p.dev.Round(p.round, x, r.n*k, format.BF16)
		x = p.round
	}
	p.dev.MatMul(y, x, r.n, l.Weight, kernels.Store)
	if bias && l.Bias != nil {
		p.dev.AddBias(y, l.Bias, r.n)
	}
	if round {
		p.dev.Round(y, y, r.n*n, format.BF16)
	}
}

// baseBacks stores Σ dy·W of layers in dx, or adds it, in their order.
func (p *Pass) baseBacks(ls []*Linear, dx kernels.Buffer, dys []kernels.Buffer, r rowsOf, e kernels.Epilogue) {
	ws, ins := make([]kernels.Prepared, len(ls)), slices.Clone(dys)
	for i, l := range ls {
		if !p.rounds(l, r) {
			for i, l := range ls {
				p.baseBack(l, dx, dys[i], r, e)
				e = kernels.Add
			}
			return
		}
		ws[i] = l.Weight
		switch {
		case p.dxRounded && dys[i] == p.dx:
			ins[i] = p.dxHalf
		case p.dqkRounded && dys[i] == p.dq:
			ins[i] = p.dqHalf
		case p.dqkRounded && dys[i] == p.dk:
			ins[i] = p.dkHalf
		}
	}
	plus := dx
	if e == kernels.Store {
		plus = nil
	}
	p.half.MatMulBacksRounded(dx, plus, ins, r.n, ws)
}

// baseBack stores dy·W in dx, or adds it, one operation after another.
func (p *Pass) baseBack(l *Linear, dx, dy kernels.Buffer, r rowsOf, e kernels.Epilogue) {
	n, k := l.Weight.Shape()
	if !r.block || !p.o.BF16 {
		p.dev.MatMulBack(dx, dy, r.n, l.Weight, e)
		return
	}
	if p.rounds(l, r) {
		p.baseBacks([]*Linear{l}, dx, []kernels.Buffer{dy}, r, e)
		return
	}
	p.dev.Round(p.round, dy, r.n*n, format.BF16)
	to := dx
	if e == kernels.Add {
		to = p.dround
	}
	p.dev.MatMulBack(to, p.round, r.n, l.Weight, kernels.Store)
	p.dev.Round(to, to, r.n*k, format.BF16)
	if e == kernels.Add {
		p.dev.Add(dx, p.dround, r.n*k)
	}
}

// dropped is the input of A: x, or a copy with values dropped.
func (p *Pass) dropped(l *Linear, t *TrainedLinear, x kernels.Buffer, r rowsOf) kernels.Buffer {
	if t.Dropout == 0 {
		return x
	}
	_, k := l.Weight.Shape()
	p.dev.Dropout(p.drop, x, k, p.dropping(t, r), kernels.Store)
	return p.drop
}

func (p *Pass) dropping(t *TrainedLinear, r rowsOf) kernels.Dropping {
	return kernels.Dropping{P: t.Dropout, Seed: r.seed, Stream: t.Stream, Rows: r.keys}
}

// linearBacks is linearBack of layers with one input: dx gets what comes through the
// layers, then what comes through the pairs beside them.
func (p *Pass) linearBacks(ls []*Linear, dx kernels.Buffer, dys []kernels.Buffer, x kernels.Buffer, r rowsOf, e kernels.Epilogue) {
	for _, l := range ls {
		if t := p.t.Linears[l]; t != nil && t.Magnitude != nil { // which needs scratch of its own
			for i, l := range ls {
				p.linearBack(l, dx, dys[i], x, r, e)
				e = kernels.Add
			}
			return
		}
	}
	for i, l := range ls {
		p.ownBack(l, dys[i], x, r)
	}
	if dx != nil {
		p.baseBacks(ls, dx, dys, r, e)
	}
	p.pairsBack(ls, dx, dys, x, r)
}

// ownBack adds the gradients of a layer's own weight and bias where they are trained.
func (p *Pass) ownBack(l *Linear, dy, x kernels.Buffer, r rowsOf) {
	t := p.t.Linears[l]
	n, k := l.Weight.Shape()
	if t != nil && t.GradWeight != nil {
		p.dev.WeightGrad(t.GradWeight, dy, x, r.n, n, k)
	}
	if t != nil && t.GradBias != nil {
		p.dev.ColumnDots(t.GradBias, dy, nil, r.n)
	}
}

// linearBack adds the gradients of what is trained of a layer whose input was
// x and whose output's gradient is dy, and stores in dx or adds to it the
// gradient of x. dx nil is not asked for.
func (p *Pass) linearBack(l *Linear, dx, dy, x kernels.Buffer, r rowsOf, e kernels.Epilogue) {
	dev, t := p.dev, p.t.Linears[l]
	n, k := l.Weight.Shape()
	p.ownBack(l, dy, x, r)
	dz := dy
	if t != nil && t.Magnitude != nil {
		dz = p.magnitudeBack(l, t, dy, x, r)
	}
	if dx != nil {
		through := dz
		if t != nil && t.Dropout != 0 {
			through = dy // of x itself; the rest comes through x'
		}
		p.baseBack(l, dx, through, r, e)
	}
	if t == nil || t.Pair.A == nil {
		return
	}
	p.pairsBack([]*Linear{l}, dx, []kernels.Buffer{dz}, x, r)
	if dx != nil && t.Magnitude != nil && t.Dropout != 0 {
		dev.Scale(p.z, dy, r.n*n, -1)
		dev.Add(p.z, dz, r.n*n)
		p.baseBack(l, p.drop, p.z, r, kernels.Store)
		dev.Dropout(dx, p.drop, k, p.dropping(t, r), kernels.Add)
	}
}

// magnitudeBack adds the gradient of DoRA's magnitude m, and gives that of
// what the columns scale: with y = z ∘ (m / norm),
//
//	dm = (Σ_t dy ∘ z) / norm    dz = dy ∘ (m / norm)
func (p *Pass) magnitudeBack(l *Linear, t *TrainedLinear, dy, x kernels.Buffer, r rowsOf) kernels.Buffer {
	dev := p.dev
	n, _ := l.Weight.Shape()
	p.scaled(l, t, p.z, x, p.dropped(l, t, x, r), r)
	column := p.column.Slice(0, n)
	dev.Fill(column, n, 0)
	dev.ColumnDots(column, dy, p.z, r.n)
	dev.Divide(column, column, t.Norms, n)
	dev.Add(t.GradMagnitude, column, n)
	dev.Scale(p.dz, dy, r.n*n, 1)
	dev.ScaleColumns(p.dz, t.Columns, r.n)
	return p.dz
}

// pairsBack is pairBack of layers of one input.
func (p *Pass) pairsBack(ls []*Linear, dx kernels.Buffer, dys []kernels.Buffer, x kernels.Buffer, r rowsOf) {
	if ps := p.pairs(ls, dys, r); len(ps) > 0 {
		p.dev.(kernels.PairTrainer).PairsBack(dx, x, r.n, ps)
	}
	for i, l := range ls {
		if t := p.t.Linears[l]; t != nil && t.Pair.A != nil && !p.together(t) {
			p.pairBack(l, t, dx, dys[i], x, r)
		}
	}
}

// pairBack adds the gradients of A and B, whose input was x', and of x to dx:
//
//	dB = s·dyᵀ·(x'·Aᵀ)    dA = (s·dy·B)ᵀ·x'    dx += mask ∘ (s·dy·B)·A / (1 - p)
func (p *Pass) pairBack(l *Linear, t *TrainedLinear, dx, dy, x kernels.Buffer, r rowsOf) {
	dev := p.dev
	x = p.dropped(l, t, x, r)
	n, k := l.Weight.Shape()
	rank, _ := t.Pair.A.Shape()
	dev.MatMul(p.low, x, r.n, t.Pair.A, kernels.Store)
	dev.Scale(p.low, p.low, r.n*rank, t.Pair.Scale)
	dev.WeightGrad(t.GradB, dy, p.low, r.n, n, rank)
	dev.MatMulBack(p.dlow, dy, r.n, t.Pair.B, kernels.Store)
	dev.Scale(p.dlow, p.dlow, r.n*rank, t.Pair.Scale)
	dev.WeightGrad(t.GradA, p.dlow, x, r.n, rank, k)
	switch {
	case dx == nil:
	case t.Dropout == 0:
		dev.MatMulBack(dx, p.dlow, r.n, t.Pair.A, kernels.Add)
	default:
		dev.MatMulBack(p.drop, p.dlow, r.n, t.Pair.A, kernels.Store)
		dev.Dropout(dx, p.drop, k, p.dropping(t, r), kernels.Add)
	}
}

// normBack adds the gradients of a norm's values where they are trained, and
// stores in dx or adds to it the gradient of x. dx may be dy.
func (p *Pass) normBack(n *Norm, dx, dy, x kernels.Buffer, rows int, e kernels.Epilogue) {
	var dw, db kernels.Buffer
	if t := p.t.Norms[n]; t != nil {
		dw, db = t.GradWeight, t.GradBias
	}
	if p.dxHalf != nil && dx == p.dx {
		if p.dxRounded = n.Bias == nil; p.dxRounded {
			p.half.RMSNormBackBoth(dx, p.dxHalf, dw, dy, x, n.Weight, rows, n.Eps, e)
			return
		}
	}
	if n.Bias != nil {
		p.dev.LayerNormBack(dx, dw, db, dy, x, n.Weight, rows, n.Eps, e)
		return
	}
	p.dev.RMSNormBack(dx, dw, dy, x, n.Weight, rows, n.Eps, e)
}
