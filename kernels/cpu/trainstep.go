package cpu

import (
	"fmt"
	"math"

	"github.com/evalrun/evalrun/kernels"
)

// CrossEntropy does a row a task: the maximum, the exponentials, their sum.
func (d *Device) CrossEntropy(loss, dlogits, logits kernels.Buffer, vocab int, labels []int32, weights []float32) {
	rows := len(labels)
	out, in := kernels.Host(loss, rows, "loss"), kernels.Host(logits, rows*vocab, "logits")
	var grad []float32
	if dlogits != nil {
		grad = kernels.Host(dlogits, rows*vocab, "dlogits")
	}
	d.pool.do(rows, rows*vocab > chunkFloats, func(t, thread int) {
		row, label := in[t*vocab:(t+1)*vocab], labels[t]
		if label < 0 || int(label) >= vocab {
			panic(fmt.Sprintf("BUG: label %d of %d", label, vocab))
		}
		top := float32(math.Inf(-1))
		for _, v := range row {
			if v > top {
				top = v
			}
		}
		e := d.work[thread].take(vocab)
		copy(e, row)
		d.path.exp(e, top)
		total := sum(e)
		out[t] = top + float32(math.Log(float64(total))) - row[label]
		if grad == nil {
			return
		}
		g, by := grad[t*vocab:(t+1)*vocab], weights[t]/total
		for j, v := range e {
			g[j] = v * by
		}
		g[label] = weights[t] * float32(float32(e[label]/total)-1)
	})
}

func (d *Device) Adam(p, g, m, v kernels.Buffer, n int, o kernels.AdamOptions) {
	ps, gs := kernels.Host(p, n, "p"), kernels.Host(g, n, "g")
	ms, vs := kernels.Host(m, n, "m"), kernels.Host(v, n, "v")
	c1 := 1 - math.Pow(o.Beta1, float64(o.Step))
	c2 := math.Sqrt(1 - math.Pow(o.Beta2, float64(o.Step)))
	b1, b2, r1, r2 := float32(o.Beta1), float32(o.Beta2), float32(1-o.Beta1), float32(1-o.Beta2)
	step, eps, scale := float32(o.LR*c2/c1), float32(o.Eps*c2), float32(o.GradScale)
	decay, shrink := float32(o.WeightDecay), float32(1-o.LR*o.WeightDecay)
	d.each(n, func(from, to int) {
		for i := from; i < to; i++ {
			x, grad := ps[i], float32(gs[i]*scale)
			switch o.Decay {
			case kernels.DecayInGradient:
				grad = float32(decay*x) + grad
			case kernels.DecayBefore:
				x = float32(x * shrink)
			}
			m := float32(ms[i]*b1) + float32(r1*grad)
			v := float32(vs[i]*b2) + float32(float32(r2*grad)*grad)
			ms[i], vs[i] = m, v
			x -= float32(step * (m / (float32(math.Sqrt(float64(v))) + eps)))
			if o.Decay == kernels.DecayAfter {
				x = float32(x * shrink)
			}
			ps[i] = x
		}
	})
}

func (d *Device) SumSquares(xs ...kernels.Buffer) []float64 {
	out := make([]float64, len(xs))
	for i, x := range xs {
		out[i] = d.sumSquares(kernels.Host(x, x.Len(), "x"))
	}
	return out
}

func (d *Device) sumSquares(in []float32) (total float64) {
	n := len(in)
	sums := make([]float64, (n+kernels.ChunkValues-1)/kernels.ChunkValues)
	d.pool.do(len(sums), n > 2*chunkFloats, func(c, _ int) {
		for _, v := range in[c*kernels.ChunkValues : min(n, (c+1)*kernels.ChunkValues)] {
			sums[c] += float64(v) * float64(v)
		}
	})
	for _, s := range sums {
		total += s
	}
	return total
}
