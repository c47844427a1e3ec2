package arch

import (
	"github.com/evalrun/evalrun/backends/local/nn"
	"github.com/evalrun/evalrun/backends/local/quant"
	"github.com/evalrun/evalrun/backends/local/weights"
	"github.com/evalrun/evalrun/kernels"
	"github.com/evalrun/evalrun/kernels/format"
)

// Sketch is a model of the shape that a config describes, without weights. Its
// layers cannot compute.
func Sketch(c *Config, o Options) (*Model, error) {
	return Outline(&kernels.Shapes{}, c, nil, 0, o)
}

// Outline is the model that Build would make of the same, on the outline of a
// device: for plans of memory, before anything is loaded. Of the file, types are
// read and no values; f may be nil, weights then count two bytes a value.
func Outline(dev kernels.Outline, c *Config, f *weights.File, context int, o Options) (*Model, error) {
	if context == 0 {
		context = c.Context
	}
	l := &loader{options: o, dev: dev, outline: true, file: f, config: c, context: context, gguf: f != nil && f.Meta() != nil, modules: make([]Module, 1)}
	d, err := l.build()
	if err == nil && f != nil {
		err = f.Release()
	}
	if err != nil {
		return nil, err
	}
	return &Model{Config: c, Decoder: d, Modules: l.modules, dev: dev, file: f, held: l.held, row: l.row}, nil
}

// Parameters counts the values of all modules that a checkpoint holds; a tied
// head is the embedding again.
func (m *Model) Parameters() (n int64) {
	for _, x := range m.Modules {
		if x.Linear == &m.Head && m.Config.Tied {
			continue
		}
		n += int64(x.N) * int64(max(x.K, 1))
		if x.Bias {
			n += int64(x.N)
		}
	}
	return n
}

// sketch is weight of a shape.
func (l *loader) sketch(name string, n, k int, use kernels.Use) kernels.Prepared {
	w := kernels.Weight{Name: name, Type: format.BF16, N: n, K: k}
	if l.file != nil {
		if w, l.err = quant.Load(l.file, name, n, k); l.err != nil {
			return nil
		}
	}
	copied := false
	switch plain := w.Quant == nil && !w.Type.Quantized(); {
	case plain && l.options.Quant.Applies(name) && use == kernels.ForMatMul:
		w.Quant = l.options.Quant.Outline(w, l.options.DType)
	case plain:
		if to := l.options.DType; to != format.Invalid && to != w.Type {
			w.Type, copied = to, true
		}
	}
	var p kernels.Prepared
	if p, l.err = l.dev.Prepare(w, use); l.err == nil {
		l.count(w, p, copied, use)
	}
	return p
}

// count adds what is held beside a device's own form: what products go on
// reading stays in memory, and so does a copy where there is no other form. Rows
// of the embedding that are looked up in the file come in as they are wanted.
func (l *loader) count(w kernels.Weight, p kernels.Prepared, copied bool, use kernels.Use) {
	reads, own := kernels.Reads(p), p.Bytes() > 0
	switch {
	case copied && !own:
		reads, _ = w.Type.Bytes(int64(w.N) * int64(w.K))
	case reads == 0 && !own && use&kernels.ForEmbed != 0 && w.Quant == nil:
		l.row, _ = w.Type.Bytes(int64(w.K))
	}
	l.held += reads
}

// angles is a rotary table, of a sketch without the angles.
func (l *loader) angles(a nn.Angles) (*nn.Rope, error) {
	if !l.outline {
		return nn.NewRope(l.dev, a, l.context)
	}
	r := &nn.Rope{Half: len(a.Freqs), Context: l.context, Long: a.Long != nil, Style: a.Style}
	rows := l.context
	if r.Long {
		rows *= 2
	}
	var err error
	if r.Cos, err = l.dev.Alloc(format.F32, rows*r.Half); err == nil {
		r.Sin, err = l.dev.Alloc(format.F32, rows*r.Half)
	}
	return r, err
}
