package kernelbench

import (
	"fmt"

	"github.com/evalrun/evalrun/kernels"
)

// training are the gradients of a step of QLoRA, the loss and the optimiser, on
// devices that train.
func (b *bench) training() error {
	d, ok := b.dev.(kernels.TrainDevice)
	if !ok {
		return nil
	}
	const rank = 8
	n, k, rows := b.o.Width, b.o.Width, b.o.Rows
	w, err := b.weight("NF4", n, k)
	if err != nil {
		return err
	}
	ps, traffic, err := b.prepared(w, kernels.ForMatMul, 0)
	if err != nil {
		return err
	}
	bufs, err := b.buffers(rows*n, rows*k, rank*k, rows*rank)
	if err != nil {
		return err
	}
	dy, x, dw, low := bufs[0], bufs[1], bufs[2], bufs[3]
	m := float64(rows)
	b.add("MatMulBack NF4", fmt.Sprintf("[%d, %d] x [%d, %d]", rows, n, n, k),
		work{read: traffic + 4*m*float64(n), written: 4 * m * float64(k), flop: 2 * m * float64(n) * float64(k), matrix: true},
		func() { d.MatMulBack(x, dy, rows, ps[0], kernels.Store) })
	b.add("WeightGrad", fmt.Sprintf("[%d, %d] of %d rows", rank, k, rows),
		work{read: 4 * m * float64(rank+k), written: 4 * float64(rank*k), flop: 2 * m * float64(rank*k)},
		func() { d.WeightGrad(dw, low, x, rows, rank, k) })
	if err := b.trainRows(d); err != nil {
		return err
	}
	if err := b.trainAttention(d); err != nil {
		return err
	}
	return b.optimiser(d)
}

func (b *bench) trainRows(d kernels.TrainDevice) error {
	c, rows := b.o.Width, b.large()
	bufs, err := b.buffers(rows*c, rows*c, rows*c, rows*c, c)
	if err != nil {
		return err
	}
	x, y, z, u, weight := bufs[0], bufs[1], bufs[2], bufs[3], bufs[4]
	n := float64(rows * c)
	shape := fmt.Sprintf("[%d, %d]", rows, c)
	b.add("RMSNormBack", shape, work{read: 8 * n, written: 4 * n, flop: 10 * n},
		func() { d.RMSNormBack(z, nil, y, x, weight, rows, 1e-5, kernels.Store) })
	b.add("GateBack SiLU", shape, work{read: 8 * n, written: 8 * n, flop: 25 * n}, func() { d.GateBack(z, u, y, x, x, rows*c, kernels.SiLU) })
	p := kernels.Dropping{P: 0.1, Seed: 1, Rows: make([]uint64, rows)}
	for i := range p.Rows {
		p.Rows[i] = uint64(i)
	}
	b.add("Dropout", shape, work{read: 4 * n, written: 4 * n, flop: 15 * n}, func() { d.Dropout(z, x, c, p, kernels.Store) })
	return nil
}

func (b *bench) trainAttention(d kernels.TrainDevice) error {
	heads, kvHeads, dim := b.heads()
	rows := b.o.Rows
	s := kernels.AttentionShape{Heads: heads, KVHeads: kvHeads, Dim: dim, AttentionOptions: kernels.AttentionOptions{Scale: 0.088}}
	wide, narrow := rows*heads*dim, rows*kvHeads*dim
	bufs, err := b.buffers(wide, wide, wide, wide, narrow, narrow, narrow, narrow, rows*heads)
	if err != nil {
		return err
	}
	y, dy, q, dq, k, v, dk, dv, lse := bufs[0], bufs[1], bufs[2], bufs[3], bufs[4], bufs[5], bufs[6], bufs[7], bufs[8]
	runs := []kernels.Run{{N: rows}}
	pairs := float64(rows) * float64(rows+1) / 2 * float64(heads*dim)
	shape := fmt.Sprintf("%d positions, %d heads on %d of %d", rows, heads, kvHeads, dim)
	b.add("AttentionTrain", shape, work{read: 4 * float64(wide+2*narrow), written: 4 * float64(wide), flop: 4 * pairs, matrix: true},
		func() { d.AttentionTrain(y, lse, q, k, v, runs, s) })
	b.add("AttentionBack", shape, work{read: 4 * float64(3*wide+2*narrow), written: 4 * float64(wide+2*narrow), flop: 10 * pairs, matrix: true},
		func() { d.AttentionBack(dq, dk, dv, dy, y, lse, q, k, v, runs, s) })
	return nil
}

func (b *bench) optimiser(d kernels.TrainDevice) error {
	vocab := 8 * b.o.Width
	rows := max(1, b.o.Rows/8) // rows that have a label
	count := 64 * b.o.Width
	bufs, err := b.buffers(rows*vocab, rows, count, count, count, count)
	if err != nil {
		return err
	}
	logits, loss := bufs[0], bufs[1]
	labels, weights := make([]int32, rows), make([]float32, rows)
	for i := range labels {
		labels[i], weights[i] = int32(i), 1
	}
	n := float64(rows * vocab)
	b.add("CrossEntropy and its gradient", fmt.Sprintf("[%d, %d]", rows, vocab), work{read: 4 * n, written: 4 * n, flop: 20 * n},
		func() { d.CrossEntropy(loss, logits, logits, vocab, labels, weights) })
	p, g, m, v := bufs[2], bufs[3], bufs[4], bufs[5]
	d.Fill(m, count, 0)
	d.Fill(v, count, 0)
	b.add("Adam", fmt.Sprintf("%d values", count), work{read: 16 * float64(count), written: 12 * float64(count), flop: 15 * float64(count)}, func() {
		d.Adam(p, g, m, v, count, kernels.AdamOptions{LR: 1e-5, Beta1: 0.9, Beta2: 0.999, Eps: 1e-8, Step: 1, GradScale: 1})
	})
	b.add("SumSquares", fmt.Sprintf("%d values", count), work{read: 4 * float64(count), flop: 2 * float64(count)}, func() { d.SumSquares(g) })
	return nil
}
