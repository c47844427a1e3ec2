// Package nn holds the layers that decoder models are made of, on top of
// kernels.Device. A layer has its weights and a Forward from buffers to
// buffers; it knows neither families nor files.
//
// Rows of a batch are tokens of many sequences side by side; which row belongs
// to whom stands in the batch's spans, and only attention looks at them.
package nn

import (
	"fmt"

	"github.com/evalrun/evalrun/kernels"
	"github.com/evalrun/evalrun/kernels/format"
)

// Batch is what one forward pass computes.
type Batch struct {
	IDs   []int32        // token of each row
	Pos   []int32        // position of each row within its sequence
	Spans []kernels.Span // the sequences, covering all rows
	Want  []int32        // rows whose final state is asked for, ascending
}

// Linear is y = x·Wᵀ.
type Linear struct {
	Weight kernels.Prepared
}

// Forward computes y from rows rows of x, or adds to y.
func (l Linear) Forward(dev kernels.Device, y, x kernels.Buffer, rows int, e kernels.Epilogue) {
	dev.MatMul(y, x, rows, l.Weight, e)
}

// Norm is RMSNorm.
type Norm struct {
	Weight kernels.Buffer
	Eps    float32
}

// Forward normalises rows rows of x.
func (n Norm) Forward(dev kernels.Device, y, x kernels.Buffer, rows int) {
	dev.RMSNorm(y, x, n.Weight, rows, n.Eps)
}

// Attention is causal self-attention with grouped queries (Ainslie et al.,
// 2023) and rotary positions.
type Attention struct {
	Q, K, V, O          Linear
	Heads, KVHeads, Dim int
	Rope                *Rope
	Scale               float32
}

// MLP is the gated feed-forward layer, down(SwiGLU(gate, up)).
type MLP struct {
	Gate, Up, Down Linear
	Width          int
}

// Block is one pre-norm decoder layer:
//
//	x = x + O·attention(norm(x)), x = x + MLP(norm(x))
type Block struct {
	AttentionNorm Norm
	Attention     Attention
	MLPNorm       Norm
	MLP           MLP
}

// Decoder is a stack of blocks between an embedding and a final norm. Head
// makes logits of what Forward gives.
type Decoder struct {
	Embed  kernels.Prepared
	Blocks []Block
	Norm   Norm
	Head   Linear
	Hidden int
	Vocab  int
}

// Workspace is the memory of a forward pass of up to Rows rows and of logits
// of up to LogitRows rows, planned once.
type Workspace struct {
	Rows, LogitRows    int
	x, h, q, k, v, att kernels.Buffer
	gate, up           kernels.Buffer
	picked, state      kernels.Buffer
	logits             kernels.Buffer
}

// sizes are the widths of a workspace's buffers.
func (d *Decoder) sizes() (q, kv, mlp int) {
	for _, b := range d.Blocks {
		q = max(q, b.Attention.Heads*b.Attention.Dim)
		kv = max(kv, b.Attention.KVHeads*b.Attention.Dim)
		mlp = max(mlp, b.MLP.Width)
	}
	return q, kv, mlp
}

// WorkspaceBytes is the memory that NewWorkspace takes.
func (d *Decoder) WorkspaceBytes(rows, logitRows int) int64 {
	q, kv, mlp := d.sizes()
	return 4 * (int64(rows)*int64(4*d.Hidden+2*q+2*kv+2*mlp) + int64(logitRows)*int64(d.Vocab))
}

// NewWorkspace allocates a workspace.
func (d *Decoder) NewWorkspace(dev kernels.Device, rows, logitRows int) (*Workspace, error) {
	q, kv, mlp := d.sizes()
	w := &Workspace{Rows: rows, LogitRows: logitRows}
	for _, b := range []struct {
		at *kernels.Buffer
		n  int
	}{
		{&w.x, rows * d.Hidden}, {&w.h, rows * d.Hidden}, {&w.picked, rows * d.Hidden}, {&w.state, rows * d.Hidden},
		{&w.q, rows * q}, {&w.att, rows * q}, {&w.k, rows * kv}, {&w.v, rows * kv},
		{&w.gate, rows * mlp}, {&w.up, rows * mlp}, {&w.logits, logitRows * d.Vocab},
	} {
		buf, err := dev.Alloc(format.F32, b.n)
		if err != nil {
			return nil, fmt.Errorf("allocate workspace of %d rows: %w", rows, err)
		}
		*b.at = buf
	}
	return w, nil
}

// Forward runs the batch through the blocks and stores its keys and values in
// the caches, one a block. It returns the final, normalised state of the
// wanted rows, [len(Want), Hidden], valid until the workspace is used again.
func (d *Decoder) Forward(dev kernels.Device, w *Workspace, b *Batch, caches []kernels.KV) kernels.Buffer {
	rows := len(b.IDs)
	if rows > w.Rows || len(b.Want) > rows {
		panic(fmt.Sprintf("BUG: batch of %d rows, %d wanted, in a workspace of %d", rows, len(b.Want), w.Rows))
	}
	dev.Embed(w.x, d.Embed, b.IDs)
	x := w.x
	for i := range d.Blocks {
		block := &d.Blocks[i]
		block.attend(dev, w, b, caches[i])
		if i == len(d.Blocks)-1 && len(b.Want) < rows {
			// Behind the last attention only the wanted rows matter.
			rows = len(b.Want)
			if rows == 0 {
				return w.state
			}
			width := block.Attention.Heads * block.Attention.Dim
			dev.Gather(w.q, w.att, b.Want, width)
			dev.Gather(w.picked, w.x, b.Want, d.Hidden)
			x, w.q, w.att = w.picked, w.att, w.q
		}
		block.Attention.O.Forward(dev, x, w.att, rows, kernels.Add)
		block.MLPNorm.Forward(dev, w.h, x, rows)
		block.MLP.Forward(dev, w, x, w.h, rows)
	}
	d.Norm.Forward(dev, w.state, x, rows)
	return w.state
}

// attend leaves the heads' outputs in w.att and the new keys and values in the
// cache.
func (block *Block) attend(dev kernels.Device, w *Workspace, b *Batch, cache kernels.KV) {
	a, rows := &block.Attention, len(b.IDs)
	block.AttentionNorm.Forward(dev, w.h, w.x, rows)
	a.Q.Forward(dev, w.q, w.h, rows, kernels.Store)
	a.K.Forward(dev, w.k, w.h, rows, kernels.Store)
	a.V.Forward(dev, w.v, w.h, rows, kernels.Store)
	width, narrow := rows*a.Heads*a.Dim, rows*a.KVHeads*a.Dim
	a.Rope.Forward(dev, w.q, a.Heads, a.Dim, b.Pos)
	a.Rope.Forward(dev, w.k, a.KVHeads, a.Dim, b.Pos)
	dev.StoreKV(cache, w.k.Slice(0, narrow), w.v.Slice(0, narrow), b.Spans)
	dev.Attention(w.att.Slice(0, width), w.q.Slice(0, width), cache, b.Spans, a.Heads, kernels.AttentionOptions{Scale: a.Scale})
}

// Forward adds the layer's output to x.
func (m *MLP) Forward(dev kernels.Device, w *Workspace, x, h kernels.Buffer, rows int) {
	m.Gate.Forward(dev, w.gate, h, rows, kernels.Store)
	m.Up.Forward(dev, w.up, h, rows, kernels.Store)
	dev.Gate(w.gate, w.gate, w.up, rows*m.Width, kernels.SiLU)
	m.Down.Forward(dev, x, w.gate, rows, kernels.Add)
}

// Logits computes the logits of rows from to from+n-1 of a state that Forward
// gave, at most LogitRows of them, into dst [n, Vocab].
func (d *Decoder) Logits(dev kernels.Device, w *Workspace, state kernels.Buffer, from, n int, dst []float32) {
	if n > w.LogitRows {
		panic(fmt.Sprintf("BUG: logits of %d rows in a workspace of %d", n, w.LogitRows))
	}
	d.Head.Forward(dev, w.logits, state.Slice(from*d.Hidden, (from+n)*d.Hidden), n, kernels.Store)
	dev.Read(dst[:n*d.Vocab], w.logits)
}

// NewCaches allocates the key-value caches of all blocks.
func (d *Decoder) NewCaches(dev kernels.Device, pages int) ([]kernels.KV, error) {
	caches := make([]kernels.KV, len(d.Blocks))
	for i, b := range d.Blocks {
		kv, err := dev.AllocKV(pages, b.Attention.KVHeads, b.Attention.Dim)
		if err != nil {
			return nil, fmt.Errorf("layer %d: %w", i, err)
		}
		caches[i] = kv
	}
	return caches, nil
}
