package train

import (
	"fmt"
	"sort"

	"github.com/evalrun/evalrun/backends/local/arch"
	"github.com/evalrun/evalrun/backends/local/lora"
	"github.com/evalrun/evalrun/backends/local/nn"
	"github.com/evalrun/evalrun/backends/local/weights"
	"github.com/evalrun/evalrun/kernels"
	"github.com/evalrun/evalrun/kernels/format"
)

// Tuned is what is trained of a model: an adapter, or all of it. Its values
// live on the device; what layers compute with follows after Refresh.
type Tuned struct {
	dev    kernels.TrainDevice
	model  *arch.Model
	nn     nn.Trained
	params []*Parameter // by name
	shapes map[string][]int
	plus1  map[string]bool // norms that the checkpoint keeps as w of 1 + w
	paired map[string]int  // whose rows the base keeps in pairs: the size of its heads
	pairs  []pair
	whole  []kernels.Prepared
}

// pair is a low-rank pair with what is derived from its values.
type pair struct {
	linear *nn.Linear
	t      *nn.TrainedLinear
	n      int
}

func newTuned(dev kernels.TrainDevice, m *arch.Model) *Tuned {
	return &Tuned{dev: dev, model: m, shapes: map[string][]int{}, plus1: map[string]bool{}, paired: map[string]int{},
		nn: nn.Trained{Pad: -1, Linears: map[*nn.Linear]*nn.TrainedLinear{}, Norms: map[*nn.Norm]*nn.TrainedNorm{}}}
}

// Config is the model's.
func (t *Tuned) Config() *arch.Config { return t.model.Config }

// Parameters are all that is trained, by name: of an adapter as in
// adapter_model.safetensors, of a model as in its checkpoint.
func (t *Tuned) Parameters() []*Parameter { return t.params }

// Shape is that of a parameter's tensor.
func (t *Tuned) Shape(name string) []int { return t.shapes[name] }

// parameter makes the parameter of a buffer of values.
func (t *Tuned) parameter(name string, value kernels.Buffer, shape ...int) (*Parameter, error) {
	p, err := NewParameter(t.dev, name, value, value.Len())
	if err != nil {
		return nil, err
	}
	t.shapes[name] = shape
	t.params = append(t.params, p)
	sort.Slice(t.params, func(i, j int) bool { return t.params[i].Name < t.params[j].Name })
	return p, nil
}

// buffer puts values on the device.
func (t *Tuned) buffer(values []float32) (kernels.Buffer, error) {
	b, err := t.dev.Alloc(format.F32, len(values))
	if err != nil {
		return nil, err
	}
	t.dev.Write(b, values)
	return b, nil
}

// Adapt trains the low-rank pairs of an adapter, starting from its values.
// dropout is on the input of every pair.
func Adapt(dev kernels.TrainDevice, m *arch.Model, a *lora.Adapter, dropout float64) (*Tuned, error) {
	parts, err := a.Bind(m.LoRAModules())
	if err != nil {
		return nil, err
	}
	t := newTuned(dev, m)
	for _, p := range parts {
		path := m.Modules[p.Module].Path
		if p.Rank == 0 || p.Weight != nil || p.Bias != nil || p.Shift != nil {
			return nil, fmt.Errorf("adapter %s: %s: only low-rank pairs and DoRA's magnitudes can be trained", a.Path, path)
		}
		values, err := p.A.Floats()
		if err != nil {
			return nil, err
		}
		b, err := p.B.Floats()
		if err != nil {
			return nil, err
		}
		magnitude := p.Magnitude
		if dim := m.Modules[p.Module].PairedHeads; dim > 0 {
			if b = arch.Pair(b, p.Rank, dim); magnitude != nil {
				magnitude = arch.Pair(magnitude, 1, dim)
			}
		}
		if err := t.adapt(p.Module, p.Rank, p.Scale, values, b, magnitude, dropout); err != nil {
			return nil, fmt.Errorf("adapter %s: %s: %w", a.Path, path, err)
		}
	}
	return t, t.Refresh()
}

// adapt puts a pair beside a module: A [rank, K], B [N, rank], and DoRA's
// magnitude where it is not nil.
func (t *Tuned) adapt(module, rank int, scale float32, a, b, magnitude []float32, dropout float64) error {
	m := &t.model.Modules[module]
	base := "base_model.model." + m.Path
	if m.PairedHeads != 0 {
		t.paired[base+".lora_B.weight"], t.paired[base+".lora_magnitude_vector"] = m.PairedHeads, m.PairedHeads
	}
	tl := &nn.TrainedLinear{Dropout: float32(dropout), Stream: uint32(module)}
	prepared := func(what string, values []float32, n, k int) (w kernels.Prepared, grad kernels.Buffer, err error) {
		buf, err := t.buffer(values)
		if err != nil {
			return nil, nil, err
		}
		p, err := t.parameter(base+what, buf, n, k)
		if err != nil {
			return nil, nil, err
		}
		w, err = t.dev.PrepareTrained(buf, n, k, kernels.ForMatMul)
		return w, p.Grad, err
	}
	var err error
	if tl.Pair.A, tl.GradA, err = prepared(".lora_A.weight", a, rank, m.K); err != nil {
		return err
	}
	if tl.Pair.B, tl.GradB, err = prepared(".lora_B.weight", b, m.N, rank); err != nil {
		return err
	}
	tl.Pair.Scale = scale
	if magnitude != nil {
		if tl.Magnitude, err = t.buffer(magnitude); err != nil {
			return err
		}
		p, err := t.parameter(base+".lora_magnitude_vector", tl.Magnitude, m.N)
		if err != nil {
			return err
		}
		tl.GradMagnitude = p.Grad
		if tl.Norms, err = t.dev.Alloc(format.F32, m.N); err != nil {
			return err
		}
		if tl.Columns, err = t.dev.Alloc(format.F32, m.N); err != nil {
			return err
		}
	}
	t.nn.Linears[m.Linear] = tl
	t.pairs = append(t.pairs, pair{m.Linear, tl, m.N})
	return nil
}

// Whole trains every value of the model, which must not be quantised.
func Whole(dev kernels.TrainDevice, m *arch.Model) (*Tuned, error) {
	t := newTuned(dev, m)
	for i := range m.Modules {
		x := &m.Modules[i]
		var err error
		switch {
		case x.Path == "":
		case x.Kind == lora.Embedding:
			err = t.embedding(i)
		case x.Kind == lora.Norm:
			err = t.norm(x)
		case x.Linear == &m.Head && m.Head.Weight == m.Embed.Table:
			err = t.bias(x, &nn.TrainedLinear{}) // its weight is the embedding's
		default:
			err = t.linear(i)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", x.Path, err)
		}
	}
	if tied := t.nn.Linears[&m.Head]; m.Config.Tied {
		tied.GradWeight = t.nn.GradEmbed
	}
	return t, t.Refresh()
}

func (t *Tuned) matrix(module int, use kernels.Use) (kernels.Prepared, *Parameter, error) {
	x := &t.model.Modules[module]
	values, err := t.model.Values(module)
	if err != nil {
		return nil, nil, err
	}
	buf, err := t.buffer(values)
	if err != nil {
		return nil, nil, err
	}
	p, err := t.parameter(x.Path+".weight", buf, x.N, x.K)
	if err != nil {
		return nil, nil, err
	}
	w, err := t.dev.PrepareTrained(buf, x.N, x.K, use)
	if err == nil {
		t.whole = append(t.whole, w)
	}
	return w, p, err
}

func (t *Tuned) embedding(module int) error {
	use := kernels.ForEmbed
	if t.model.Config.Tied {
		use |= kernels.ForMatMul
	}
	w, p, err := t.matrix(module, use)
	if err != nil {
		return err
	}
	t.nn.GradEmbed, t.nn.Pad = p.Grad, t.model.Config.Pad
	if t.model.Config.Tied {
		t.model.Head.Weight = w
	}
	t.model.Embed.Table = w
	return nil
}

func (t *Tuned) linear(module int) error {
	x := &t.model.Modules[module]
	w, p, err := t.matrix(module, kernels.ForMatMul)
	if err != nil {
		return err
	}
	x.Linear.Weight = w
	return t.bias(x, &nn.TrainedLinear{GradWeight: p.Grad})
}

func (t *Tuned) bias(x *arch.Module, tl *nn.TrainedLinear) error {
	t.nn.Linears[x.Linear] = tl
	if x.Linear.Bias == nil {
		return nil
	}
	p, err := t.parameter(x.Path+".bias", x.Linear.Bias, x.N)
	if err == nil {
		tl.GradBias = p.Grad
	}
	return err
}

func (t *Tuned) norm(x *arch.Module) error {
	p, err := t.parameter(x.Path+".weight", x.Norm.Weight, x.N)
	if err != nil {
		return err
	}
	t.plus1[p.Name] = x.Plus1
	tn := &nn.TrainedNorm{GradWeight: p.Grad}
	if x.Norm.Bias != nil {
		if p, err = t.parameter(x.Path+".bias", x.Norm.Bias, x.N); err != nil {
			return err
		}
		tn.GradBias = p.Grad
	}
	t.nn.Norms[x.Norm] = tn
	return nil
}

// Refresh brings what layers compute with up to date with the values.
func (t *Tuned) Refresh() error {
	for _, w := range t.whole {
		t.dev.Refresh(w)
	}
	for _, p := range t.pairs {
		t.dev.Refresh(p.t.Pair.A)
		t.dev.Refresh(p.t.Pair.B)
		if p.t.Magnitude != nil {
			t.dev.RowNorms(p.t.Norms, p.linear.Weight, p.t.Pair)
			t.dev.Divide(p.t.Columns, p.t.Magnitude, p.t.Norms, p.n)
		}
	}
	return nil
}

// Gradients are the gradients of all parameters as tensors.
func (t *Tuned) Gradients() []weights.Tensor {
	var out []weights.Tensor
	for _, p := range t.params {
		out = append(out, t.unpaired(t.tensor(p, p.Grad)))
	}
	return out
}

// unpaired gives a tensor's rows in the order that files have.
func (t *Tuned) unpaired(x weights.Tensor) weights.Tensor {
	dim := t.paired[x.Name]
	if dim == 0 {
		return x
	}
	values, _ := x.Floats() // float32 is always read
	return weights.Float32s(x.Name, arch.Unpair(values, len(values)/x.Shape[0], dim), x.Shape...)
}

// stored are all parameters as the device holds them.
func (t *Tuned) stored() []weights.Tensor {
	var out []weights.Tensor
	for _, p := range t.params {
		out = append(out, t.tensor(p, p.Value))
	}
	return out
}

// Values are all parameters as tensors, as files hold them.
func (t *Tuned) Values() []weights.Tensor {
	var out []weights.Tensor
	for _, p := range t.params {
		x := t.unpaired(t.tensor(p, p.Value))
		if t.plus1[p.Name] {
			values, _ := x.Floats() // float32 is always read
			for i := range values {
				values[i]--
			}
			x = weights.Float32s(p.Name, values, x.Shape...)
		}
		out = append(out, x)
	}
	return out
}

func (t *Tuned) tensor(p *Parameter, of kernels.Buffer) weights.Tensor {
	values := make([]float32, p.N)
	t.dev.Read(values, of)
	return weights.Float32s(p.Name, values, t.shapes[p.Name]...)
}
