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
		forwardAll(dev, w, []*Linear{&a.Q, &a.K, &a.V}, []kernels.Buffer{w.q, w.k, w.v}, w.h, rows, uses)
	}
	if a.QNorm.Weight != nil {
		a.QNorm.forward(dev, w.q, w.q, rows, a.Heads, uses)
		a.KNorm.forward(dev, w.k, w.k, rows, a.KVHeads, uses)
	}
	a.Rope.store(dev, w.q, w.k.Slice(0, rows*narrow), w.v.Slice(0, rows*narrow), a, b, cache)
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
		if m.Gate.plain(uses) && m.Up.plain(uses) {
			kernels.MatMulGate(dev, w.gate, w.up, h, rows, m.Gate.Weight, m.Up.Weight, m.Act)
			break
		}
		forwardAll(dev, w, []*Linear{&m.Gate, &m.Up}, []kernels.Buffer{w.gate, w.up}, h, rows, uses)
		dev.Gate(w.gate, w.gate, w.up, n, m.Act)
	default:
		m.Up.Forward(dev, w, w.gate, h, rows, uses)
		dev.Activate(w.gate, w.gate, n, m.Act)
	}
	m.Down.add(dev, w, x, w.gate, rows, uses, post)
}
