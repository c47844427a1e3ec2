package lora

import (
	"errors"
	"fmt"
	"slices"
	"sort"
	"strings"

	"github.com/evalrun/evalrun/backends/local/weights"
	"github.com/evalrun/evalrun/kernels/format"
)

// A Module is a part of a model that an adapter may name.
type Module struct {
	Path string // within the base model, as Hugging Face names it
	Kind Kind
	// N outputs and K inputs; of a norm N values, of an embedding N rows of K.
	N, K int
	Bias bool
}

// Kind tells what a module is.
type Kind uint8

// The kinds of modules.
const (
	Linear Kind = iota
	Norm
	Embedding
)

// A Part is what an adapter does to one module. Tensors keep the file's type.
type Part struct {
	Module int // index in the list that Bind was given
	// A [Rank, K] and B [N, Rank], whose product times Scale is added to the
	// weight; Rank 0 is no such product.
	A, B  weights.Tensor
	Rank  int
	Scale float32
	// Magnitude is DoRA's length of each row of the weight (Liu et al., 2024).
	Magnitude []float32
	// Shift is the bias of B, times Scale.
	Shift []float32
	// Weight takes the place of the module's own (modules_to_save), Bias of its
	// bias.
	Weight *weights.Tensor
	Bias   []float32
}

// ErrOtherModel is wrapped where an adapter does not fit the model's shape.
var ErrOtherModel = errors.New("the adapter belongs to another model")

// prefix is what PEFT puts before the paths of the base model.
const prefix = "base_model.model."

// home is the place of the decoder in the modules' paths.
const home = "model."

// roots are other places of the decoder in the model that was trained: alone,
// or within one that sees pictures too.
var roots = []string{"model.language_model.", "language_model.model.", "model.model."}

// Bind matches every tensor of the adapter to one of a model's modules.
func (a *Adapter) Bind(modules []Module) ([]Part, error) { return a.match(modules, true) }

// Shapes is Bind by the configuration and the file's header alone: no value is
// looked at, and those of Magnitude, Shift and Bias are zeros.
func (a *Adapter) Shapes(modules []Module) ([]Part, error) { return a.match(modules, false) }

func (a *Adapter) match(modules []Module, values bool) ([]Part, error) {
	parts, err := a.bind(modules, values)
	if err != nil {
		if errors.Is(err, ErrOtherModel) && a.Config.Base != "" {
			err = fmt.Errorf("%w (its adapter_config.json names %s)", err, a.Config.Base)
		}
		return nil, fmt.Errorf("adapter %s: %w", a.Path, err)
	}
	return parts, nil
}

func (a *Adapter) bind(modules []Module, values bool) ([]Part, error) {
	index := make(map[string]int, len(modules))
	for i, m := range modules {
		if m.Path != "" {
			index[m.Path] = i
		}
	}
	trained := a.trained(index)
	parts := map[int]*Part{}
	halves := map[int]string{} // modules with A or B, and the name of one of them
	for _, name := range a.file.Names() {
		path, what := split(name)
		if strings.HasSuffix(path, ".original_module") {
			continue // what stands aside while the adapter's own is used
		}
		at, ok := find(index, path)
		if !ok {
			return nil, fmt.Errorf("tensor %q: the model has no module %s: %w", name, path, ErrOtherModel)
		}
		if parts[at] == nil {
			parts[at] = &Part{Module: at}
		}
		t, err := a.file.Tensor(name)
		if err != nil {
			return nil, err
		}
		if what == "lora_A.weight" || what == "lora_B.weight" {
			halves[at] = name
		}
		if err := a.put(parts[at], modules[at], trained(modules[at].Path), what, t, values); err != nil {
			return nil, err
		}
	}
	if len(parts) == 0 {
		return nil, errors.New("adapter_model.safetensors holds no tensors")
	}
	if err := a.complete(modules, parts, halves, trained); err != nil {
		return nil, err
	}
	if err := numbers(parts, values); err != nil {
		return nil, err
	}
	var out []Part
	for _, p := range parts {
		out = append(out, *p)
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Module < out[j].Module })
	return out, nil
}

// split takes a tensor's name apart: the module's path and what it is there.
func split(name string) (path, what string) {
	rest := strings.TrimPrefix(name, prefix)
	for _, s := range []string{".lora_A.", ".lora_B.", ".lora_embedding_A", ".lora_embedding_B", ".lora_magnitude_vector", ".token_adapter."} {
		if at := strings.Index(rest, s); at >= 0 {
			what = strings.ReplaceAll(rest[at+1:], ".default", "")
			if strings.HasPrefix(what, "lora_magnitude_vector") {
				what = "lora_magnitude_vector"
			}
			return rest[:at], what
		}
	}
	rest = strings.ReplaceAll(strings.ReplaceAll(rest, ".modules_to_save.default.", "."), ".modules_to_save.", ".")
	rest = strings.ReplaceAll(rest, ".base_layer.", ".")
	if at := strings.LastIndexByte(rest, '.'); at >= 0 {
		return rest[:at], rest[at+1:]
	}
	return rest, ""
}

func find(index map[string]int, path string) (int, bool) {
	at, ok := index[path]
	for _, r := range roots {
		if rest, cut := strings.CutPrefix(path, r); !ok && cut {
			at, ok = index["model."+rest]
		}
	}
	if !ok {
		at, ok = index["model."+path]
	}
	return at, ok
}

// trained gives a module's path in the model that the adapter was trained on, by
// which adapter_config.json calls it.
func (a *Adapter) trained(index map[string]int) func(path string) string {
	root := home
	for _, name := range a.file.Names() {
		path, _ := split(name)
		if _, ok := index[path]; ok {
			continue
		}
		for _, r := range append(roots, "") {
			if rest, cut := strings.CutPrefix(path, r); cut {
				if _, ok := index[home+rest]; ok {
					root = r
					break
				}
			}
		}
	}
	return func(path string) string {
		if rest, cut := strings.CutPrefix(path, home); cut {
			return root + rest
		}
		return path
	}
}

// put enters one tensor into its part; path is the module's where it was trained.
func (a *Adapter) put(p *Part, m Module, path, what string, t weights.Tensor, values bool) error {
	rank := a.Config.rank(path)
	want := func(says string, shape ...int) error {
		if !slices.Equal(t.Shape, shape) {
			return fmt.Errorf("tensor %q: shape %v, want %v (%s of %s): %w", t.Name, t.Shape, shape, says, m.Path, ErrOtherModel)
		}
		return nil
	}
	vector := func(to *[]float32, says string) error {
		err := want(says, m.N)
		if err == nil && !values {
			*to = make([]float32, m.N)
		} else if err == nil {
			*to, err = finite(t)
		}
		return err
	}
	switch {
	case m.Kind == Linear && what == "lora_A.weight":
		p.A, p.Rank, p.Scale = t, rank, a.Config.scale(path)
		if len(t.Shape) == 2 && t.Shape[1] == m.K && t.Shape[0] != rank {
			return fmt.Errorf("tensor %q: rank %d, and adapter_config.json says %d", t.Name, t.Shape[0], rank)
		}
		return want("rank and inputs", rank, m.K)
	case m.Kind == Linear && what == "lora_B.weight":
		p.B = t
		if len(t.Shape) == 2 && t.Shape[0] == m.N && t.Shape[1] != rank {
			return fmt.Errorf("tensor %q: rank %d, and adapter_config.json says %d", t.Name, t.Shape[1], rank)
		}
		return want("outputs and rank", m.N, rank)
	case m.Kind == Linear && what == "lora_B.bias":
		if err := vector(&p.Shift, "outputs"); err != nil {
			return err
		}
		for i := range p.Shift {
			p.Shift[i] *= a.Config.scale(path)
		}
		return nil
	case m.Kind == Linear && what == "lora_magnitude_vector":
		if n := t.Len(); len(t.Shape) == 2 && n == m.N { // [N, 1] in older files
			t.Shape = []int{n}
		}
		return vector(&p.Magnitude, "outputs")
	case what == "weight" && m.Kind == Norm:
		if err := want("width", m.N); err != nil {
			return err
		}
		p.Weight = &t
		return nil
	case what == "weight":
		if err := want("outputs and inputs", m.N, m.K); err != nil {
			return err
		}
		p.Weight = &t
		return nil
	case what == "bias" && m.Bias:
		return vector(&p.Bias, "outputs")
	}
	return fmt.Errorf("tensor %q: %s of %s is not supported", t.Name, what, m.Path)
}

// finite decodes a small tensor and refuses values that are no numbers.
func finite(t weights.Tensor) ([]float32, error) {
	values, err := t.Floats()
	if err != nil {
		return nil, err
	}
	for i, x := range values {
		if x-x != 0 {
			return nil, fmt.Errorf("tensor %q: value %d is %g", t.Name, i, x)
		}
	}
	return values, nil
}

// complete holds the parts against what adapter_config.json promises.
func (a *Adapter) complete(modules []Module, parts map[int]*Part, halves map[int]string, trained func(path string) string) error {
	c := a.Config
	for i, m := range modules {
		if m.Path == "" {
			continue
		}
		path := trained(m.Path)
		p := parts[i]
		if p == nil {
			p = &Part{}
		}
		for _, half := range []struct {
			name string
			t    weights.Tensor
			want []int
		}{{"lora_A", p.A, []int{c.rank(path), m.K}}, {"lora_B", p.B, []int{m.N, c.rank(path)}}} {
			if halves[i] != "" && half.t.Name == "" {
				return fmt.Errorf("tensor %q is missing; want shape %v", prefix+m.Path+"."+half.name+".weight", half.want)
			}
		}
		if c.DoRA && halves[i] != "" && p.Magnitude == nil {
			return fmt.Errorf("use_dora is set, and tensor %q is missing; want shape [%d]", prefix+m.Path+".lora_magnitude_vector", m.N)
		}
		if p.Magnitude != nil && (!c.DoRA || halves[i] == "") {
			return fmt.Errorf("tensor %q is there, and use_dora is not set or its A and B are missing", prefix+m.Path+".lora_magnitude_vector")
		}
		if m.Kind != Linear {
			if halves[i] != "" {
				return fmt.Errorf("tensor %q: only linear modules have adapters here", halves[i])
			}
			continue
		}
		if !c.targets.given {
			continue
		}
		target, err := c.target(path)
		if err != nil {
			return fmt.Errorf("target_modules: %w", err)
		}
		if target && halves[i] == "" {
			return fmt.Errorf("target_modules names %s, and tensor %q is missing; want shape [%d %d]", m.Path, prefix+m.Path+".lora_A.weight", c.rank(path), m.K)
		}
		if !target && halves[i] != "" {
			return fmt.Errorf("tensor %q: target_modules does not name %s, so that PEFT would pass over it", halves[i], m.Path)
		}
	}
	for _, name := range c.save {
		found := false
		for i, m := range modules {
			if strings.HasSuffix(m.Path, name) { // as PEFT does, without a dot before
				p := parts[i]
				if p == nil || p.Weight == nil {
					return fmt.Errorf("modules_to_save names %s, and tensor %q is missing", name, prefix+m.Path+".weight")
				}
				found = true
			}
		}
		if !found {
			return fmt.Errorf("modules_to_save names %s: the model has no such module: %w", name, ErrOtherModel)
		}
	}
	return nil
}

// numbers holds the matrices to types that are computed with and, where values are
// looked at, to finite ones.
func numbers(parts map[int]*Part, values bool) error {
	for _, p := range parts {
		for _, t := range []*weights.Tensor{&p.A, &p.B, p.Weight} {
			if t == nil || t.Name == "" {
				continue
			}
			switch t.Type {
			case format.F32, format.F16, format.BF16, format.F64:
			default:
				return fmt.Errorf("tensor %q: type %s is not supported in adapters", t.Name, t.Stored)
			}
			if !values {
				continue
			}
			if at := weights.NotFinite(*t); at >= 0 {
				return fmt.Errorf("tensor %q: value %d is not a finite number", t.Name, at)
			}
		}
	}
	return nil
}
