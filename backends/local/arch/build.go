package arch

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/evalrun/evalrun/backends/local/lora"
	"github.com/evalrun/evalrun/backends/local/nn"
	"github.com/evalrun/evalrun/backends/local/quant"
	"github.com/evalrun/evalrun/backends/local/weights"
	"github.com/evalrun/evalrun/kernels"
	"github.com/evalrun/evalrun/kernels/format"
)

// loader takes tensors from a checkpoint, checks them against the shape, and
// puts layers together. Its methods note the first error in err, and do nothing
// from then on, so that a family reads like its picture.
type loader struct {
	options Options
	dev     kernels.Device
	file    *weights.File
	config  *Config
	context int
	gguf    bool
	root    string // before layers. in Hugging Face's names
	modules []Module
	used    map[string]bool
	outline bool  // of shapes: nothing is read but types
	held    int64 // bytes of weights that are read in place of, or beside, a device's own form
	row     int64 // bytes of a row of the embedding, where rows are looked up in the file
	err     error
}

// roots are the places of a decoder within a checkpoint: of a language model,
// of its bare decoder, and of the decoder in a model that sees pictures too.
var roots = []string{"model.", "", "model.language_model.", "language_model.model."}

// heads are those of the output layer.
var heads = []string{"lm_head", "language_model.lm_head"}

// Places are the names that a Hugging Face checkpoint may have for a module.
func Places(path string) []string {
	if path == heads[0] {
		return heads
	}
	var all []string
	for _, r := range roots {
		all = append(all, r+strings.TrimPrefix(path, roots[0]))
	}
	return all
}

func (l *loader) build() (*nn.Decoder, error) {
	c, n := l.config, &l.config.family.names
	l.root = roots[0]
	for _, r := range roots {
		if !l.gguf && l.has(r+"embed_tokens.weight") {
			l.root = r
			break
		}
	}
	ropes := make([]*nn.Rope, len(c.Ropes))
	for i, r := range c.Ropes {
		long := r.Long
		if l.context <= r.Switch {
			long = nil // no sequence is that long
		}
		var err error
		if ropes[i], err = l.angles(nn.Angles{Freqs: r.Freqs, Long: long, Scale: r.Scale, Style: r.Style}); err != nil {
			return nil, fmt.Errorf("rotary table: %w", err)
		}
	}
	d := &nn.Decoder{Hidden: c.Hidden, Vocab: c.Vocab, EmbedScale: c.EmbedScale, LogitCap: c.LogitCap}
	embed := l.whole("embed_tokens", "token_embd")
	uses := kernels.ForEmbed
	if c.Tied {
		uses |= kernels.ForMatMul
	}
	d.Embed = nn.Embedding{Table: l.weight(embed, c.Vocab, c.Hidden, uses), Module: l.module(Module{Module: lora.Module{Path: embed.path, Kind: lora.Embedding, N: c.Vocab, K: c.Hidden}, file: embed.file})}
	d.Blocks = make([]nn.Block, c.Layers)
	for i := range d.Blocks {
		if l.block(&d.Blocks[i], i, n, ropes[c.RopeOf[i]]); l.err != nil {
			return nil, l.err
		}
	}
	d.Norm = l.norm(l.whole(n.norm.hf, n.norm.gguf), c.Hidden)
	l.modules[d.Norm.Module].Norm = &d.Norm
	head := l.whole("lm_head", "output")
	head.path = "lm_head"
	if !l.gguf {
		head.file = heads[0]
		if !l.has(heads[0]+".weight") && l.has(heads[1]+".weight") {
			head.file = heads[1]
		}
		if c.Tied && !l.has("lm_head.bias") {
			head.file = embed.file
		}
	}
	if c.Tied {
		d.Head = nn.Linear{Weight: d.Embed.Table, Module: l.module(Module{Module: lora.Module{Path: head.path, N: c.Vocab, K: c.Hidden, Bias: c.HeadBias}, Linear: &d.Head, file: head.file})}
		if c.HeadBias {
			d.Head.Bias = l.vector(head.file+".bias", c.Vocab, false)
		}
	} else {
		d.Head = l.linear(head, c.Vocab, c.Hidden, c.HeadBias, 0)
		l.modules[d.Head.Module].Linear = &d.Head
	}
	return d, l.err
}

// block puts one layer together.
func (l *loader) block(b *nn.Block, i int, n *names, rope *nn.Rope) {
	c := l.config
	at := func(of name) place { return l.place(i, of) }
	q, kv := c.Heads*c.HeadDim, c.KVHeads*c.HeadDim
	act, _ := activation(c.Act)

	b.AttentionNorm = l.norm(at(n.attentionNorm), c.Hidden)
	a := &b.Attention
	a.Heads, a.KVHeads, a.Dim, a.Rope = c.Heads, c.KVHeads, c.HeadDim, rope
	a.Options = kernels.AttentionOptions{Scale: c.AttentionScale, Window: c.Windows[i], SoftCap: c.AttentionCap}
	if a.Options.Scale == 0 {
		a.Options.Scale = rootOf(c.HeadDim)
	}
	if w := a.Options.Window; w >= l.context {
		a.Options.Window = 0 // no sequence is that long
	}
	paired := 0
	if c.Ropes[0].Style == kernels.RopePairs {
		paired = c.HeadDim
	}
	if l.fused(at(n.qkv), at(n.q)) {
		a.QKV = l.linear(at(n.qkv), q+2*kv, c.Hidden, c.QKVBias, 0)
	} else {
		a.Q = l.linear(at(n.q), q, c.Hidden, c.QKVBias, paired)
		a.K = l.linear(at(n.k), kv, c.Hidden, c.QKVBias, paired)
		a.V = l.linear(at(n.v), kv, c.Hidden, c.QKVBias, 0)
	}
	if c.QKNorm {
		a.QNorm, a.KNorm = l.norm(at(n.qNorm), c.HeadDim), l.norm(at(n.kNorm), c.HeadDim)
	}
	a.O = l.linear(at(n.o), c.Hidden, q, c.OutBias, 0)
	if n.postAttention != (name{}) {
		b.PostAttention = l.norm(at(n.postAttention), c.Hidden)
	}
	if b.Parallel = n.mlpNorm == (name{}); !b.Parallel {
		b.MLPNorm = l.norm(at(n.mlpNorm), c.Hidden)
	}
	m := &b.MLP
	m.Act, m.Width = act, c.MLP
	switch {
	case n.gateUp != (name{}) && l.fused(at(n.gateUp), at(n.gate)):
		m.GateUp = l.linear(at(n.gateUp), 2*c.MLP, c.Hidden, c.MLPBias, 0)
	case n.gate != (name{}):
		m.Gate = l.linear(at(n.gate), c.MLP, c.Hidden, c.MLPBias, 0)
		fallthrough
	default:
		m.Up = l.linear(at(n.up), c.MLP, c.Hidden, c.MLPBias, 0)
	}
	m.Down = l.linear(at(n.down), c.Hidden, c.MLP, c.MLPBias, 0)
	if n.postMLP != (name{}) {
		b.PostMLP = l.norm(at(n.postMLP), c.Hidden)
	}
	if l.err != nil {
		return
	}
	for _, x := range []*nn.Linear{&a.Q, &a.K, &a.V, &a.QKV, &a.O, &m.Gate, &m.Up, &m.GateUp, &m.Down} {
		if x.Weight != nil {
			l.modules[x.Module].Linear = x
		}
	}
	for _, x := range []*nn.Norm{&b.AttentionNorm, &a.QNorm, &a.KNorm, &b.PostAttention, &b.MLPNorm, &b.PostMLP} {
		if x.Weight != nil {
			l.modules[x.Module].Norm = x
		}
	}
}

func rootOf(n int) float32 { return float32(1 / math.Sqrt(float64(n))) }

// place is where a module's tensors are, and its name for adapters.
type place struct{ file, path string }

// place gives the names of a module of a layer.
func (l *loader) place(layer int, n name) place {
	p := place{}
	if n.hf != "" {
		p.path = fmt.Sprintf("model.layers.%d.%s", layer, n.hf)
		p.file = fmt.Sprintf("%slayers.%d.%s", l.root, layer, n.hf)
	}
	if l.gguf {
		p.file = ""
		if n.gguf != "" {
			p.file = fmt.Sprintf("blk.%d.%s", layer, n.gguf)
		}
	}
	return p
}

// whole gives the names of a module of the whole model.
func (l *loader) whole(hf, gguf string) place {
	if l.gguf {
		return place{gguf, "model." + hf}
	}
	return place{l.root + hf, "model." + hf}
}

// fused tells whether the fused form of a matrix is to be read: where the file
// has it, or has no other.
func (l *loader) fused(fused, first place) bool {
	return fused.file != "" && (first.file == "" || l.has(fused.file+".weight"))
}

// has tells whether the file has a tensor; without a file none is there.
func (l *loader) has(name string) bool { return l.file != nil && l.file.Has(name) }

// module gives a module its number.
func (l *loader) module(m Module) int {
	if m.Path == "" {
		return 0 // nothing that an adapter could name
	}
	l.modules = append(l.modules, m)
	return len(l.modules) - 1
}

// tensor finds a tensor of a shape that must be exactly so.
func (l *loader) tensor(name string, shape ...int) (weights.Tensor, error) {
	t, err := l.file.Tensor(name)
	if err != nil {
		if errors.Is(err, weights.ErrNoTensor) {
			return t, fmt.Errorf("%w; want shape %v", err, shape)
		}
		return t, err
	}
	if !slices.Equal(t.Shape, shape) {
		return t, fmt.Errorf("tensor %q: shape %v, want %v", name, t.Shape, shape)
	}
	if t.Type == format.Invalid {
		return t, fmt.Errorf("tensor %q: weights of type %s are not supported", name, t.Stored)
	}
	return t, nil
}

// weight reads a matrix in whichever form the file has it, quantises it if it is
// a linear layer and the options ask for that, and gives it to the device. The
// pages of the file are let go at once, so that loading takes no more memory
// than the model.
func (l *loader) weight(at place, n, k int, use kernels.Use) kernels.Prepared {
	if l.err != nil {
		return nil
	}
	name, copied := at.file+".weight", false
	if l.outline {
		return l.sketch(name, n, k, use)
	}
	l.used[name] = true
	w, err := quant.Load(l.file, name, n, k)
	if errors.Is(err, weights.ErrNoTensor) {
		err = fmt.Errorf("%w; want shape [%d %d]", err, n, k)
	}
	if err == nil {
		err = finite(w)
	}
	if err == nil {
		if l.options.Quant.Applies(name) && use == kernels.ForMatMul {
			w, err = l.options.Quant.Apply(w, l.options.DType)
		} else if w.Quant == nil {
			t := l.rounded(weights.Tensor{Type: w.Type, Shape: []int{n, k}, Data: w.Data})
			if copied = w.Type != t.Type; copied {
				w.Type, w.Data = t.Type, t.Data
			}
		}
	}
	if err != nil {
		l.err = err
		return nil
	}
	var p kernels.Prepared
	if p, l.err = l.dev.Prepare(w, use); l.err == nil {
		l.count(w, p, copied, use)
	}
	if err := l.file.Release(); l.err == nil {
		l.err = err
	}
	return p
}

// finite refuses weights that are no numbers.
func finite(w kernels.Weight) error {
	at := -1
	if w.Quant == nil {
		at = weights.NotFinite(weights.Tensor{Type: w.Type, Data: w.Data})
	} else {
		scales := w.Quant.Absmax
		if n := w.Quant.Nested; n != nil {
			scales = append(slices.Clone(n.Absmax), n.Offset)
		}
		for _, x := range scales {
			if x-x != 0 {
				return fmt.Errorf("tensor %q: a scale is %g", w.Name, x)
			}
		}
	}
	if at < 0 {
		return nil
	}
	return fmt.Errorf("tensor %q: value [%d, %d] is not a finite number", w.Name, at/w.K, at%w.K)
}

// rounded gives a tensor of floating-point numbers in the type that the options
// ask for.
func (l *loader) rounded(t weights.Tensor) weights.Tensor {
	to := l.options.DType
	if to == format.Invalid || to == t.Type || t.Type.BlockSize() != 1 {
		return t
	}
	const panel = 1 << 16
	out, row := t, make([]float32, min(panel, t.Len()))
	out.Type, out.Data = to, make([]byte, t.Len()*to.BlockBytes())
	for at := 0; at < t.Len(); at += panel {
		n := min(panel, t.Len()-at)
		t.Type.Decode(row[:n], t.Data[at*t.Type.BlockBytes():])
		to.Encode(out.Data[at*to.BlockBytes():], row[:n])
	}
	return out
}

func (l *loader) linear(at place, n, k int, bias bool, paired int) nn.Linear {
	x := nn.Linear{Weight: l.weight(at, n, k, kernels.ForMatMul)}
	if bias {
		x.Bias = l.vector(at.file+".bias", n, false)
	}
	x.Module = l.module(Module{Module: lora.Module{Path: at.path, N: n, K: k, Bias: bias}, PairedHeads: paired, file: at.file})
	return x
}

// vector reads a tensor of one dimension.
func (l *loader) vector(name string, n int, plus1 bool) kernels.Buffer {
	if l.err != nil {
		return nil
	}
	if l.outline {
		var b kernels.Buffer
		b, l.err = l.dev.Alloc(format.F32, n)
		return b
	}
	l.used[name] = true
	t, err := l.tensor(name, n)
	if err != nil {
		l.err = err
		return nil
	}
	values, err := l.rounded(t).Floats()
	if err != nil {
		l.err = err
		return nil
	}
	for i, x := range values {
		if x-x != 0 {
			l.err = fmt.Errorf("tensor %q: value %d is %g", name, i, x)
			return nil
		}
		if plus1 {
			values[i] = 1 + x
		}
	}
	b, err := l.dev.Alloc(format.F32, n)
	if err != nil {
		l.err = err
		return nil
	}
	l.dev.Write(b, values)
	return b
}

func (l *loader) norm(at place, width int) nn.Norm {
	c := l.config
	n := nn.Norm{Weight: l.vector(at.file+".weight", width, c.NormPlus1), Eps: c.NormEps}
	if c.LayerNorm {
		n.Bias = l.vector(at.file+".bias", width, false)
	}
	n.Module = l.module(Module{Module: lora.Module{Path: at.path, Kind: lora.Norm, N: width, Bias: c.LayerNorm}, Plus1: c.NormPlus1, file: at.file})
	return n
}
