package nn

import (
	"github.com/evalrun/evalrun/kernels"
)

// Attention is causal self-attention with grouped queries (Ainslie et al.,
// 2023) and rotary positions. QKV, where it is there, takes the place of Q, K
// and V; the norms go over each head before it is rotated.
type Attention struct {
	Q, K, V, QKV, O     Linear
	QNorm, KNorm        Norm
	Heads, KVHeads, Dim int
	Rope                *Rope
	Options             kernels.AttentionOptions
}

// Forward leaves the heads' outputs for the rows of w.h in w.att, and the new
// keys and values in the cache.
func (a *Attention) Forward(dev kernels.Device, w *Workspace, b *Batch, cache kernels.KV) {
	rows, uses := len(b.IDs), b.Uses
	wide, narrow := a.Heads*a.Dim, a.KVHeads*a.Dim
	if a.QKV.Weight != nil {
		a.QKV.Forward(dev, w, w.fused, w.h, rows, uses)
		all := wide + 2*narrow
		dev.Columns(w.q, w.fused, rows, all, 0, wide)
		dev.Columns(w.k, w.fused, rows, all, wide, narrow)
		dev.Columns(w.v, w.fused, rows, all, wide+narrow, narrow)
	} else {
		a.Q.Forward(dev, w, w.q, w.h, rows, uses)
		a.K.Forward(dev, w, w.k, w.h, rows, uses)
		a.V.Forward(dev, w, w.v, w.h, rows, uses)
	}
	if a.QNorm.Weight != nil {
		a.QNorm.forward(dev, w.q, w.q, rows, a.Heads, uses)
		a.KNorm.forward(dev, w.k, w.k, rows, a.KVHeads, uses)
	}
	a.Rope.Forward(dev, w.q, a.Heads, a.Dim, b.Pos)
	a.Rope.Forward(dev, w.k, a.KVHeads, a.Dim, b.Pos)
	dev.StoreKV(cache, w.k.Slice(0, rows*narrow), w.v.Slice(0, rows*narrow), b.Spans)
	dev.Attention(w.att.Slice(0, rows*wide), w.q.Slice(0, rows*wide), cache, b.Spans, a.Heads, a.Options)
}

// MLP is the feed-forward layer: down(act(gate)·up), or down(act(up)) where
// there is no gate. GateUp, where it is there, takes the place of both.
type MLP struct {
	Gate, Up, GateUp, Down Linear
	Act                    kernels.Activation
	Width                  int
}

// add adds the layer's output for h to x.
func (m *MLP) add(dev kernels.Device, w *Workspace, x, h kernels.Buffer, rows int, uses []Use, post *Norm) {
	n := rows * m.Width
	switch {
	case m.GateUp.Weight != nil:
		m.GateUp.Forward(dev, w, w.fused, h, rows, uses)
		dev.Columns(w.gate, w.fused, rows, 2*m.Width, 0, m.Width)
		dev.Columns(w.up, w.fused, rows, 2*m.Width, m.Width, m.Width)
		dev.Gate(w.gate, w.gate, w.up, n, m.Act)
	case m.Gate.Weight != nil:
		m.Gate.Forward(dev, w, w.gate, h, rows, uses)
		m.Up.Forward(dev, w, w.up, h, rows, uses)
		dev.Gate(w.gate, w.gate, w.up, n, m.Act)
	default:
		m.Up.Forward(dev, w, w.gate, h, rows, uses)
		dev.Activate(w.gate, w.gate, n, m.Act)
	}
	m.Down.add(dev, w, x, w.gate, rows, uses, post)
}
