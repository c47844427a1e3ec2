// Package nn holds the layers that decoder models are made of, on top of
// kernels.Device. A layer has its weights and a Forward from buffers to
// buffers; it knows neither families nor files.
//
// Rows of a batch are tokens of many sequences side by side; which row belongs
// to whom stands in the batch's spans, and only attention looks at them. Which
// adapter a row uses stands in the batch's uses, and only modules that an
// adapter can change look at those.
package nn

import (
	"fmt"

	"github.com/evalrun/evalrun/kernels"
	"github.com/evalrun/evalrun/kernels/format"
)

// Batch is what one forward pass computes.
type Batch struct {
	IDs   []int32        // token of each row
	Pos   []int32        // row of the rotary tables of each row, see Rope.Row
	Spans []kernels.Span // the sequences, covering all rows
	Want  []int32        // rows whose final state is asked for, ascending
	Uses  []Use          // rows that use an adapter, ascending
}

// Block is one decoder layer:
//
//	x = x + O·attention(norm(x)), x = x + MLP(norm(x))
//
// or, where Parallel is set, x = x + O·attention(h) + MLP(h) with h = norm(x).
// A post-norm takes what its layer adds.
type Block struct {
	AttentionNorm Norm
	Attention     Attention
	PostAttention Norm
	MLPNorm       Norm
	MLP           MLP
	PostMLP       Norm
	Parallel      bool
}

// Decoder is a stack of blocks between an embedding and a final norm. Head
// makes logits of what Forward gives.
type Decoder struct {
	Embed      Embedding
	EmbedScale float32 // factor of the embeddings; 0 is 1
	Blocks     []Block
	Norm       Norm
	Head       Linear
	LogitCap   float32 // bound of the logits; 0 is none
	Hidden     int
	Vocab      int
}

// Workspace is the memory of a forward pass of up to Rows rows and of logits
// of up to LogitRows rows, planned once.
type Workspace struct {
	Rows, LogitRows    int
	x, h, q, k, v, att kernels.Buffer
	gate, up, fused    kernels.Buffer
	out                kernels.Buffer // what a layer adds, before it is added
	picked, state      kernels.Buffer
	logits             kernels.Buffer

	uses     []Use // of the rows of state
	segments []kernels.Segment
}

// sizes are the widths of a workspace's buffers.
type sizes struct{ q, kv, mlp, fused int }

func (d *Decoder) sizes() (s sizes) {
	for i := range d.Blocks {
		a, m := &d.Blocks[i].Attention, &d.Blocks[i].MLP
		s.q = max(s.q, a.Heads*a.Dim)
		s.kv = max(s.kv, a.KVHeads*a.Dim)
		s.mlp = max(s.mlp, m.Width)
		if a.QKV.Weight != nil {
			s.fused = max(s.fused, (a.Heads+2*a.KVHeads)*a.Dim)
		}
		if m.GateUp.Weight != nil {
			s.fused = max(s.fused, 2*m.Width)
		}
	}
	return s
}

// WorkspaceBytes is the memory that NewWorkspace takes.
func (d *Decoder) WorkspaceBytes(rows, logitRows int) int64 {
	s := d.sizes()
	return 4 * (int64(rows)*int64(5*d.Hidden+2*s.q+2*s.kv+2*s.mlp+s.fused) + int64(logitRows)*int64(d.Vocab))
}

// NewWorkspace allocates a workspace.
func (d *Decoder) NewWorkspace(dev kernels.Device, rows, logitRows int) (*Workspace, error) {
	s := d.sizes()
	w := &Workspace{Rows: rows, LogitRows: logitRows}
	for _, b := range []struct {
		at *kernels.Buffer
		n  int
	}{
		{&w.x, rows * d.Hidden}, {&w.h, rows * d.Hidden}, {&w.out, rows * d.Hidden}, {&w.picked, rows * d.Hidden}, {&w.state, rows * d.Hidden},
		{&w.q, rows * s.q}, {&w.att, rows * s.q}, {&w.k, rows * s.kv}, {&w.v, rows * s.kv},
		{&w.gate, rows * s.mlp}, {&w.up, rows * s.mlp}, {&w.fused, rows * s.fused}, {&w.logits, logitRows * d.Vocab},
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
	rows, uses := len(b.IDs), b.Uses
	if rows > w.Rows || len(b.Want) > rows {
		panic(fmt.Sprintf("BUG: batch of %d rows, %d wanted, in a workspace of %d", rows, len(b.Want), w.Rows))
	}
	d.Embed.Forward(dev, w.x, b.IDs, uses)
	if d.EmbedScale != 0 {
		dev.Scale(w.x, w.x, rows*d.Hidden, d.EmbedScale)
	}
	x := w.x
	for i := range d.Blocks {
		block := &d.Blocks[i]
		block.AttentionNorm.Forward(dev, w.h, w.x, rows, uses)
		block.Attention.Forward(dev, w, b, caches[i])
		if i == len(d.Blocks)-1 && len(b.Want) < rows {
			// Behind the last attention only the wanted rows matter.
			rows, uses = len(b.Want), wanted(uses, b.Want)
			if rows == 0 {
				return w.state
			}
			width := block.Attention.Heads * block.Attention.Dim
			dev.Gather(w.q, w.att, b.Want, width)
			dev.Gather(w.picked, w.x, b.Want, d.Hidden)
			x, w.q, w.att = w.picked, w.att, w.q
			if block.Parallel {
				dev.Gather(w.out, w.h, b.Want, d.Hidden)
				w.h, w.out = w.out, w.h
			}
		}
		block.Attention.O.add(dev, w, x, w.att, rows, uses, &block.PostAttention)
		if !block.Parallel {
			block.MLPNorm.Forward(dev, w.h, x, rows, uses)
		}
		block.MLP.add(dev, w, x, w.h, rows, uses, &block.PostMLP)
	}
	d.Norm.Forward(dev, w.state, x, rows, uses)
	w.uses = uses
	return w.state
}

// Logits computes the logits of rows from to from+n-1 of a state that Forward
// gave, at most LogitRows of them, into dst [n, Vocab].
func (d *Decoder) Logits(dev kernels.Device, w *Workspace, state kernels.Buffer, from, n int, dst []float32) {
	if n > w.LogitRows {
		panic(fmt.Sprintf("BUG: logits of %d rows in a workspace of %d", n, w.LogitRows))
	}
	d.Head.Forward(dev, w, w.logits, state.Slice(from*d.Hidden, (from+n)*d.Hidden), n, between(w.uses, from, n))
	if d.LogitCap != 0 {
		dev.SoftCap(w.logits, w.logits, n*d.Vocab, d.LogitCap)
	}
	dev.Read(dst[:n*d.Vocab], w.logits)
}

// NewCaches allocates the key-value caches of all blocks.
func (d *Decoder) NewCaches(dev kernels.Device, pages int) ([]kernels.KV, error) {
	caches := make([]kernels.KV, len(d.Blocks))
	for i := range d.Blocks {
		a := &d.Blocks[i].Attention
		kv, err := dev.AllocKV(pages, a.KVHeads, a.Dim)
		if err != nil {
			return nil, fmt.Errorf("layer %d: %w", i, err)
		}
		caches[i] = kv
	}
	return caches, nil
}

// Linears are the decoder's matrices, the embedding's and a tied head's aside.
func (d *Decoder) Linears() []*Linear {
	var all []*Linear
	for i := range d.Blocks {
		a, m := &d.Blocks[i].Attention, &d.Blocks[i].MLP
		for _, l := range []*Linear{&a.Q, &a.K, &a.V, &a.QKV, &a.O, &m.Gate, &m.Up, &m.GateUp, &m.Down} {
			if l.Weight != nil {
				all = append(all, l)
			}
		}
	}
	if d.Head.Weight != d.Embed.Table {
		all = append(all, &d.Head)
	}
	return all
}
