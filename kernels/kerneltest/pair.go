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
		fused.PairForward(y, low, p.x, p.rows, p.LowRank, p.Dropping)
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
		fused.PairBack(dx, da, db, p.dy, p.x, low, p.rows, p.LowRank, p.Dropping)
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
	dev, ok := b.dev.(kernels.PairTrainer)
	if !ok {
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
		dev.PairBack(in, on(b, d, make([]float32, rank*k)), on(b, d, make([]float32, n*rank)), p.dy, p.x, b.forward(d, p, to), p.rows, p.LowRank, p.Dropping)
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
