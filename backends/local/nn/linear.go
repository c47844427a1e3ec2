package nn

import (
	"github.com/evalrun/evalrun/kernels"
)

// Linear is y = x·Wᵀ + b, W [N, K]; without a Weight it is not there.
type Linear struct {
	Weight kernels.Prepared
	Bias   kernels.Buffer // nil is none
	// Module is the number by which adapters know the layer.
	Module int
}

// Forward computes y [rows, N] from x [rows, K].
func (l *Linear) Forward(dev kernels.Device, w *Workspace, y, x kernels.Buffer, rows int, uses []Use) {
	if !l.replaced(uses) {
		dev.MatMul(y, x, rows, l.Weight, kernels.Store)
	} else {
		n, k := l.Weight.Shape()
		runs(uses, l.Module, rows, func(row, count int, p *Part) {
			weight := l.Weight
			if p != nil && p.Weight != nil {
				weight = p.Weight
			}
			dev.MatMul(y.Slice(row*n, (row+count)*n), x.Slice(row*k, (row+count)*k), count, weight, kernels.Store)
		})
	}
	l.finish(dev, w, y, x, rows, uses)
}

// replaced tells whether a use has a weight of its own in the place of the layer's.
func (l *Linear) replaced(uses []Use) bool {
	for _, u := range uses {
		if p := u.part(l.Module); p != nil && p.Weight != nil {
			return true
		}
	}
	return false
}

// finish adds what follows the product: adapters and the bias.
func (l *Linear) finish(dev kernels.Device, w *Workspace, y, x kernels.Buffer, rows int, uses []Use) {
	if !changes(uses, l.Module) {
		if l.Bias != nil {
			dev.AddBias(y, l.Bias, rows)
		}
		return
	}
	n, _ := l.Weight.Shape()
	w.segments = w.segments[:0]
	runs(uses, l.Module, rows, func(row, count int, p *Part) {
		if p != nil && p.LowRank.A != nil {
			w.segments = append(w.segments, kernels.Segment{Row: row, N: count, LowRank: p.LowRank})
		}
	})
	if len(w.segments) > 0 {
		dev.LoRA(y, x, w.segments)
	}
	runs(uses, l.Module, rows, func(row, count int, p *Part) {
		bias, part := l.Bias, y.Slice(row*n, (row+count)*n)
		if p != nil {
			if p.Columns != nil {
				dev.ScaleColumns(part, p.Columns, count)
			}
			if p.Shift != nil {
				dev.AddBias(part, p.Shift, count)
			}
			if p.Bias != nil {
				bias = p.Bias
			}
		}
		if bias != nil {
			dev.AddBias(part, bias, count)
		}
	})
}

// forwardAll is Forward of several layers with the same x.
func forwardAll(dev kernels.Device, w *Workspace, ls []*Linear, ys []kernels.Buffer, x kernels.Buffer, rows int, uses []Use) {
	ws := make([]kernels.Prepared, len(ls))
	for i, l := range ls {
		if l.replaced(uses) {
			for i, l := range ls {
				l.Forward(dev, w, ys[i], x, rows, uses)
			}
			return
		}
		ws[i] = l.Weight
	}
	kernels.MatMuls(dev, ys, x, rows, ws)
	for i, l := range ls {
		l.finish(dev, w, ys[i], x, rows, uses)
	}
}

// plain tells whether the layer is its product and nothing more.
func (l *Linear) plain(uses []Use) bool { return l.Bias == nil && !changes(uses, l.Module) }

// add adds the layer's output, through a post-norm where there is one, to y.
// However the batch is composed, a row's sum is taken in the same order: first
// all of the layer's own terms, then the residual.
func (l *Linear) add(dev kernels.Device, w *Workspace, y, x kernels.Buffer, rows int, uses []Use, post *Norm) {
	if l.Bias == nil && post.Weight == nil && !changes(uses, l.Module) {
		dev.MatMul(y, x, rows, l.Weight, kernels.Add)
		return
	}
	n, _ := l.Weight.Shape()
	l.Forward(dev, w, w.out, x, rows, uses)
	if post.Weight != nil {
		post.Forward(dev, w.out, w.out, rows, uses)
	}
	dev.Add(y, w.out, rows*n)
}

// Norm is RMSNorm, or LayerNorm where it has a Bias; without a Weight it is
// not there.
type Norm struct {
	Weight, Bias kernels.Buffer
	Eps          float32
	Module       int
}

// Forward normalises rows rows of x, each as wide as the weight; y may be x.
func (n *Norm) Forward(dev kernels.Device, y, x kernels.Buffer, rows int, uses []Use) {
	n.forward(dev, y, x, rows, 1, uses)
}

// forward normalises each of the heads of each row on its own.
func (n *Norm) forward(dev kernels.Device, y, x kernels.Buffer, rows, heads int, uses []Use) {
	if !changes(uses, n.Module) {
		n.run(dev, y, x, rows*heads)
		return
	}
	width := n.Weight.Len() * heads
	runs(uses, n.Module, rows, func(row, count int, p *Part) {
		m := *n
		if p != nil {
			if p.Norm != nil {
				m.Weight = p.Norm
			}
			if p.Bias != nil {
				m.Bias = p.Bias
			}
		}
		m.run(dev, y.Slice(row*width, (row+count)*width), x.Slice(row*width, (row+count)*width), count*heads)
	})
}

func (n *Norm) run(dev kernels.Device, y, x kernels.Buffer, rows int) {
	if n.Bias != nil {
		dev.LayerNorm(y, x, n.Weight, n.Bias, rows, n.Eps)
		return
	}
	dev.RMSNorm(y, x, n.Weight, rows, n.Eps)
}

// Embedding is y[t] = table[ids[t]].
type Embedding struct {
	Table  kernels.Prepared
	Module int
}

// Forward looks up a row for each id.
func (e *Embedding) Forward(dev kernels.Device, y kernels.Buffer, ids []int32, uses []Use) {
	if !changes(uses, e.Module) {
		dev.Embed(y, e.Table, ids)
		return
	}
	_, width := e.Table.Shape()
	runs(uses, e.Module, len(ids), func(row, count int, p *Part) {
		table := e.Table
		if p != nil {
			table = p.Weight
		}
		dev.Embed(y.Slice(row*width, (row+count)*width), table, ids[row:row+count])
	})
}
