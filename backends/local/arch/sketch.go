package arch

import (
	"github.com/evalrun/evalrun/kernels"
	"github.com/evalrun/evalrun/kernels/format"
)

// Sketch is a model of the shape that a config describes, without weights: for
// plans of memory, before anything is loaded. Its layers cannot compute. Bytes
// is what the weights would take: two bytes a value, or what the options
// quantise them to.
func Sketch(c *Config, o Options) (*Model, error) {
	l := &loader{options: o, config: c, context: c.Context, modules: make([]Module, 1)}
	d, err := l.build()
	if err != nil {
		return nil, err
	}
	return &Model{Config: c, Decoder: d, Modules: l.modules, held: l.held}, nil
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

// sketch counts a weight and gives its shape.
func (l *loader) sketch(name string, n, k int, use kernels.Use) kernels.Prepared {
	if l.options.Quant.Applies(name) && use == kernels.ForMatMul {
		l.held += l.options.Quant.Bytes(n, k)
	} else {
		l.held += 2 * int64(n) * int64(k)
	}
	return shaped{n, k}
}

// shaped is a prepared weight of which there is only the shape.
type shaped struct{ n, k int }

// Shape is the weight's.
func (s shaped) Shape() (n, k int) { return s.n, s.k }

// Bytes are counted by the sketch.
func (s shaped) Bytes() int64 { return 0 }

// outline is a buffer of which there is only the length.
type outline int

// Type is what values are computed in.
func (o outline) Type() format.Type { return format.F32 }

// Len is the number of values.
func (o outline) Len() int { return int(o) }

// Slice is a shorter outline.
func (o outline) Slice(from, to int) kernels.Buffer { return outline(to - from) }
