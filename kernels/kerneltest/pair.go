package kerneltest

import (
	"fmt"

	"github.com/evalrun/evalrun/kernels"
	"github.com/evalrun/evalrun/kernels/format"
)

// pairShape is a low-rank pair in training: rows of k values, n outputs.
type pairShape struct {
	rows, n, k, rank int
	drop             float32
}

// A training is a pair's operands on a device.
type training struct {
	kernels.LowRank
	pairShape
	kernels.Dropping
	x, dy kernels.Buffer
}

// pass is the pair as a PairTrainer takes it.
func (p training) pass(y, low, da, db kernels.Buffer) kernels.TrainedPair {
	return kernels.TrainedPair{LowRank: p.LowRank, Dropping: p.Dropping, Y: y, Low: low, GradA: da, GradB: db}
}

// pairs compares a device that trains pairs in few operations with the formulas'
// operations on ref.
func pairs(b trainBench) {
	dev, ok := b.dev.(kernels.PairTrainer)
	if !ok {
		return
	}
	for _, s := range []pairShape{{1, 4, 4, 4, 0}, {5, 36, 20, 8, 0.3}, {70, 100, 1032, 8, 0.05}, {131, 300, 68, 16, 0.5}, {67, 540, 72, 12, 0.1}, {600, 64, 96, 64, 0.2}, {300, 24, 40, 4, 0}} {
		a, bs, x, dy := b.values(s.rank, s.k), b.values(s.n, s.rank), b.normal(s.rows*s.k), b.normal(s.rows*s.n)
		load := func(dev kernels.TrainDevice) (p training) {
			p = training{pairShape: s, x: on(b, dev, x), dy: on(b, dev, dy)}
			p.Scale = 1.5
			p.A, p.B = b.trained(dev, a, s.rank, s.k), b.trained(dev, bs, s.n, s.rank)
			p.Dropping = kernels.Dropping{P: s.drop, Seed: 1<<40 | 7, Stream: 3}
			for t := range s.rows {
				p.Rows = append(p.Rows, uint64(t%3)<<32|uint64(t/3))
			}
			return p
		}
		if p := load(b.dev.(kernels.TrainDevice)); !dev.TrainsPair(p.LowRank) {
			continue
		}
		what := fmt.Sprintf("%+v", s)
		b.both(what+", y", s.rows*s.n, 1e-4, b.normal(s.rows*s.n), func(dev kernels.TrainDevice, y kernels.Buffer) { b.forward(dev, load(dev), y) })
		for which, size := range []int{s.rank * s.k, s.n * s.rank, s.rows * s.k} {
			b.both(what+[]string{", dA", ", dB", ", dx"}[which], size, 1e-4, b.normal(size), func(dev kernels.TrainDevice, dst kernels.Buffer) {
				p := load(dev)
				grads := []kernels.Buffer{on(b, dev, make([]float32, s.rank*s.k)), on(b, dev, make([]float32, s.n*s.rank)), nil}
				grads[which] = dst
				b.back(dev, p, b.forward(dev, p, on(b, dev, make([]float32, s.rows*s.n))), grads[2], grads[0], grads[1])
			})
		}
	}
}

// pairsTogether: several beside layers of one input give the bits of one after another.
func pairsTogether(b trainBench) {
	dev, ok := b.dev.(kernels.PairTrainer)
	if !ok {
		return
	}
	d := b.dev.(kernels.TrainDevice)
	const rows, k = 75, 136
	x := on(b, d, b.normal(rows*k))
	var given []training
	for i, s := range []pairShape{{rows, 300, k, 8, 0.3}, {rows, 24, k, 16, 0}, {rows, 260, k, 4, 0.1}} {
		p := training{pairShape: s, x: x, dy: on(b, d, b.normal(rows*s.n))}
		p.LowRank = kernels.LowRank{A: b.trained(d, b.values(s.rank, k), s.rank, k), B: b.trained(d, b.values(s.n, s.rank), s.n, s.rank), Scale: float32(i) + 0.5}
		p.Dropping = kernels.Dropping{P: s.drop, Seed: 9, Stream: uint32(i)}
		for t := range rows {
			p.Rows = append(p.Rows, uint64(t))
		}
		if given = append(given, p); !dev.TrainsPair(p.LowRank) {
			return
		}
	}
	run := func(each int) (all []float32) {
		dx := on(b, d, make([]float32, rows*k))
		outs := []kernels.Buffer{dx}
		var forward, back []kernels.TrainedPair
		for _, p := range given {
			zero := func(n int) kernels.Buffer {
				outs = append(outs, on(b, d, make([]float32, n)))
				return outs[len(outs)-1]
			}
			forward = append(forward, p.pass(zero(rows*p.n), zero(rows*p.rank), zero(p.rank*k), zero(p.n*p.rank)))
			f := forward[len(forward)-1]
			back = append(back, p.pass(p.dy, f.Low, f.GradA, f.GradB))
		}
		for i := 0; i < len(given); i += each {
			dev.PairsForward(x, rows, forward[i:i+each])
			dev.PairsBack(dx, x, rows, back[i:i+each])
		}
		for _, o := range outs {
			part := make([]float32, o.Len())
			d.Read(part, o)
			all = append(all, part...)
		}
		return all
	}
	same(b, "pairs together", run(len(given)), run(1))
}

func (b trainBench) trained(dev kernels.TrainDevice, values []float32, n, k int) kernels.Prepared {
	p, err := dev.PrepareTrained(on(b, dev, values), n, k, kernels.ForMatMul)
	if err != nil {
		b.Fatal(err)
	}
	return p
}

// forward gives low.
func (b trainBench) forward(dev kernels.TrainDevice, p training, y kernels.Buffer) (low kernels.Buffer) {
	low = on(b, dev, make([]float32, p.rows*p.rank))
	if fused, ok := dev.(kernels.PairTrainer); ok {
		fused.PairsForward(p.x, p.rows, []kernels.TrainedPair{p.pass(y, low, nil, nil)})
		return low
	}
	x := b.dropped(dev, p)
	dev.MatMul(low, x, p.rows, p.A, kernels.Store)
	dev.LoRA(y, x, []kernels.Segment{{N: p.rows, LowRank: p.LowRank}})
	return low
}

func (b trainBench) dropped(dev kernels.TrainDevice, p training) kernels.Buffer {
	x := on(b, dev, make([]float32, p.rows*p.k))
	dev.Dropout(x, p.x, p.k, p.Dropping, kernels.Store)
	return x
}

func (b trainBench) back(dev kernels.TrainDevice, p training, low, dx, da, db kernels.Buffer) {
	if fused, ok := dev.(kernels.PairTrainer); ok {
		fused.PairsBack(dx, p.x, p.rows, []kernels.TrainedPair{p.pass(p.dy, low, da, db)})
		return
	}
	dlow, through := on(b, dev, make([]float32, p.rows*p.rank)), on(b, dev, make([]float32, p.rows*p.k))
	dev.MatMulBack(dlow, p.dy, p.rows, p.B, kernels.Store)
	dev.Scale(dlow, dlow, p.rows*p.rank, p.Scale)
	dev.Scale(low, low, p.rows*p.rank, p.Scale)
	dev.WeightGrad(db, p.dy, low, p.rows, p.n, p.rank)
	dev.WeightGrad(da, dlow, b.dropped(dev, p), p.rows, p.rank, p.k)
	if dx != nil {
		dev.MatMulBack(through, dlow, p.rows, p.A, kernels.Store)
		dev.Dropout(dx, through, p.k, p.Dropping, kernels.Add)
	}
}

// pairAlone: a row's output and the gradient of its input have the same bits alone
// and among others.
func (b trainBench) pairAlone() {
	if _, ok := b.dev.(kernels.PairTrainer); !ok {
		return
	}
	const rows, n, k, rank, from, count = 37, 40, 1036, 8, 9, 11
	x, dy := b.normal(rows*k), b.normal(rows*n)
	a, bs := b.values(rank, k), b.values(n, rank)
	run := func(from, count int) (y, dx []float32) {
		d := b.dev.(kernels.TrainDevice)
		p := training{pairShape: pairShape{rows: count, n: n, k: k, rank: rank}, x: on(b, d, x[from*k:(from+count)*k]), dy: on(b, d, dy[from*n:(from+count)*n])}
		p.LowRank = kernels.LowRank{A: b.trained(d, a, rank, k), B: b.trained(d, bs, n, rank), Scale: 2}
		p.Dropping = kernels.Dropping{P: 0.2, Seed: 5, Stream: 1}
		for t := range count {
			p.Rows = append(p.Rows, uint64(from+t))
		}
		to, err := d.Alloc(format.F32, count*n)
		if err != nil {
			b.Fatal(err)
		}
		in := on(b, d, make([]float32, count*k))
		b.back(d, p, b.forward(d, p, to), in, on(b, d, make([]float32, rank*k)), on(b, d, make([]float32, n*rank)))
		y, dx = make([]float32, count*n), make([]float32, count*k)
		d.Read(y, to)
		d.Read(dx, in)
		return y, dx
	}
	y, dx := run(0, rows)
	y1, dx1 := run(from, count)
	same(b, "outputs of rows alone", y1, y[from*n:(from+count)*n])
	same(b, "gradients of rows alone", dx1, dx[from*k:(from+count)*k])
}
