// Package merge makes a model of a base and an adapter: each adapted weight W
// becomes W + s·B·A, or what DoRA makes of that. It is for those who serve a
// model elsewhere; an evaluation never merges.
//
// First call: Write.
package merge

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/evalrun/evalrun/backends/local/arch"
	"github.com/evalrun/evalrun/backends/local/lora"
	"github.com/evalrun/evalrun/backends/local/quant"
	"github.com/evalrun/evalrun/backends/local/weights"
	"github.com/evalrun/evalrun/kernels"
	"github.com/evalrun/evalrun/kernels/format"
)

// What an adapter may be merged onto.
const (
	// Stored is the base as its files have it.
	Stored = "bf16"
	// Dequant is what the base was while the adapter was trained: its linear
	// weights rounded to NF4 and back.
	Dequant = "dequant"
)

// Result counts what was written.
type Result struct {
	Files, Tensors, Merged int
	Bytes                  int64
}

type merger struct {
	base  *weights.File
	onto  string
	parts map[string]*lora.Part // by tensor name: weights
	bias  map[string]*lora.Part // and biases
	// linear are the weights that a quantised loading rounds.
	linear map[string]bool
	// untied says that embedding and head are one in the base and two from now
	// on, as the adapter changes either.
	untied bool
	// embed and head are the tensors of the embedding and of the output layer, also
	// where the base has none of its own.
	embed, head string
}

// head is the output layer's path.
const head = "lm_head"

// Write merges the adapter into the base, a Hugging Face folder, and writes
// the folder out, which must not exist yet: safetensors files of the base's
// names and types, and copies of its other files. Quantised weights come out
// in bfloat16.
func Write(base, adapter, out, onto string) (*Result, error) {
	if onto != Stored && onto != Dequant {
		return nil, fmt.Errorf("an adapter is merged onto %s or %s, not %q", Stored, Dequant, onto)
	}
	if entries, err := os.ReadDir(out); err == nil && len(entries) > 0 {
		return nil, fmt.Errorf("%s is there already", out)
	}
	if st, err := os.Stat(base); err != nil || !st.IsDir() {
		return nil, fmt.Errorf("%s is no folder with config.json and *.safetensors", base)
	}
	a, err := lora.Open(adapter)
	if err != nil {
		return nil, err
	}
	defer a.Close()
	c, f, err := arch.Open(base)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	m := &merger{base: f, onto: onto, parts: map[string]*lora.Part{}, bias: map[string]*lora.Part{}, linear: map[string]bool{}}
	if err := m.bind(c, a); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(out, 0o777); err != nil {
		return nil, err
	}
	return m.write(base, out)
}

// bind finds the base's tensors that the adapter changes.
func (m *merger) bind(c *arch.Config, a *lora.Adapter) error {
	model, err := arch.Sketch(c, arch.Options{})
	if err != nil {
		return err
	}
	for _, x := range model.Modules {
		if x.Kind == lora.Embedding {
			m.embed, _ = m.name(x.Path, ".weight")
		}
		if x.Kind == lora.Linear && x.Path != "" {
			if name, ok := m.name(x.Path, ".weight"); ok {
				m.linear[name] = true
			}
		}
	}
	if name, ok := m.name(head, ".weight"); ok {
		m.head = name
	} else if m.head = head + ".weight"; strings.HasPrefix(m.embed, "language_model.model.") {
		m.head = "language_model." + m.head // beside the decoder
	}
	parts, err := a.Bind(model.LoRAModules())
	if err != nil {
		return err
	}
	for i := range parts {
		p := &parts[i]
		path := model.Modules[p.Module].Path
		if p.Rank > 0 || p.Weight != nil {
			name, ok := m.name(path, ".weight")
			if c.Tied && (path == head || model.Modules[p.Module].Kind == lora.Embedding) {
				m.untied = true
				if path == head {
					name, ok = m.head, true
				}
			}
			if !ok {
				return fmt.Errorf("the base stores no weight of %s, which the adapter changes: it shares one with another module", path)
			}
			m.parts[name] = p
		}
		if p.Shift != nil || p.Bias != nil {
			name, ok := m.name(path, ".bias")
			if !ok {
				return fmt.Errorf("the adapter adds a bias to %s, and the base has none there", path)
			}
			m.bias[name] = p
		}
	}
	return nil
}

// name finds a module's tensor at one of its places.
func (m *merger) name(path, end string) (string, bool) {
	for _, p := range arch.Places(path) {
		if m.base.Has(p + end) {
			return p + end, true
		}
	}
	return "", false
}

func (m *merger) write(base, out string) (*Result, error) {
	r := &Result{}
	where := map[string]string{}
	skip := map[string]bool{"model.safetensors.index.json": true}
	for _, path := range m.base.Files() {
		if !strings.HasSuffix(path, ".safetensors") {
			continue
		}
		file := filepath.Base(path)
		skip[file] = true
		shard, err := weights.Open(path)
		if err != nil {
			return nil, err
		}
		var tensors []weights.Tensor
		names := shard.Names()
		if m.untied && !m.base.Has(m.head) && shard.Has(m.embed) {
			names = append(names, m.head)
		}
		for _, name := range names {
			t, merged, err := m.tensor(name)
			if err != nil {
				return nil, errors.Join(fmt.Errorf("tensor %q: %w", name, err), shard.Close())
			}
			if t.Name == "" {
				continue // a part of another's form
			}
			if merged {
				r.Merged++
			}
			where[name] = file
			r.Bytes += int64(len(t.Data))
			tensors = append(tensors, t)
		}
		err = weights.WriteSafetensors(filepath.Join(out, file), tensors, map[string]string{"format": "pt"})
		if err = errors.Join(err, shard.Close()); err != nil {
			return nil, err
		}
		r.Files, r.Tensors = r.Files+1, r.Tensors+len(tensors)
	}
	if r.Files > 1 {
		text, err := json.MarshalIndent(map[string]any{"metadata": map[string]any{"total_size": r.Bytes}, "weight_map": where}, "", "  ")
		if err != nil {
			return nil, err
		}
		if err := store(filepath.Join(out, "model.safetensors.index.json"), text); err != nil {
			return nil, err
		}
	}
	return r, m.copyRest(base, out, skip)
}

// tensor is one tensor of the merged model.
func (m *merger) tensor(name string) (t weights.Tensor, merged bool, err error) {
	from := name
	if name == m.head && !m.base.Has(m.head) {
		from = m.embed
	}
	if t, err = m.base.Tensor(from); err != nil {
		return t, false, err
	}
	t.Name = name
	part, bias := m.parts[name], m.bias[name]
	rounds := m.onto == Dequant && m.linear[name] && quant.NF4.Applies(name)
	stored := t.Type == format.F32 || t.Type == format.F16 || t.Type == format.BF16 || t.Type == format.F64
	if part == nil && bias == nil && !rounds && stored {
		return t, false, nil
	}
	values, shape, err := quant.Values(m.base, from)
	if err != nil || values == nil {
		return weights.Tensor{}, false, err
	}
	out := weights.Tensor{Name: name, Type: t.Type, Shape: shape}
	if !stored {
		out.Type = format.BF16
	}
	if rounds && stored {
		w, err := quant.NF4.Apply(kernels.Weight{Name: name, Type: t.Type, N: shape[0], K: shape[1], Data: t.Data}, format.BF16)
		if err != nil {
			return out, false, err
		}
		w.Decode(values, 0)
	}
	switch {
	case part != nil:
		err = apply(values, shape, part)
	case bias != nil:
		err = shift(values, bias)
	}
	if err != nil {
		return out, false, err
	}
	for i, v := range values {
		if v-v != 0 {
			return out, false, fmt.Errorf("value %d of the merged weight is %g", i, v)
		}
	}
	out.Data = make([]byte, size(out.Type)*len(values))
	out.Type.Encode(out.Data, values)
	return out, part != nil || bias != nil, nil
}

func size(t format.Type) int {
	switch t {
	case format.F64:
		return 8
	case format.F32:
		return 4
	}
	return 2
}

// apply changes a weight [n, k]:
//
//	W + s·B·A                              LoRA
//	m ⊙ (W + s·B·A) / ‖W + s·B·A‖          DoRA, by row
//
// (Hu et al., 2021; Liu et al., 2024, equation 5), or puts another in its place.
func apply(w []float32, shape []int, p *lora.Part) error {
	if p.Weight != nil {
		values, err := p.Weight.Floats()
		if err == nil {
			copy(w, values)
		}
		if err != nil || p.Rank == 0 {
			return err
		}
	}
	a, err := p.A.Floats()
	if err != nil {
		return err
	}
	b, err := p.B.Floats()
	if err != nil {
		return err
	}
	k := shape[len(shape)-1]
	for row := range len(w) / k {
		out, sum := w[row*k:(row+1)*k], make([]float32, k)
		for r := range p.Rank {
			x := b[row*p.Rank+r]
			for i, y := range a[r*k : (r+1)*k] {
				sum[i] += x * y
			}
		}
		norm := 0.0
		for i := range out {
			out[i] += p.Scale * sum[i]
			norm += float64(out[i]) * float64(out[i])
		}
		if p.Magnitude == nil {
			continue
		}
		if norm == 0 {
			return fmt.Errorf("row %d is zero, and DoRA divides by its length", row)
		}
		f := p.Magnitude[row] / float32(math.Sqrt(norm))
		for i := range out {
			out[i] *= f
		}
	}
	return nil
}

func shift(b []float32, p *lora.Part) error {
	if p.Bias != nil {
		copy(b, p.Bias)
	}
	if p.Magnitude != nil && p.Shift != nil {
		return errors.New("a bias of lora_B under DoRA cannot be merged")
	}
	for i, v := range p.Shift {
		b[i] += v
	}
	return nil
}

// weightFiles end the names of files that hold the base's weights in other
// forms: copied, they would be loaded in the place of the merged ones.
var weightFiles = []string{".safetensors", ".bin", ".pt", ".pth", ".gguf", ".h5", ".msgpack", ".bin.index.json"}

// copyRest copies the base's other files: configuration and tokenizer. The
// configuration is held to the merged weights.
func (m *merger) copyRest(base, out string, skip map[string]bool) error {
	entries, err := os.ReadDir(base)
	if err != nil {
		return err
	}
	for _, e := range entries {
		name := e.Name()
		st, err := os.Stat(filepath.Join(base, name)) // through the hub's links
		if err != nil || !st.Mode().IsRegular() || skip[name] || slices.ContainsFunc(weightFiles, func(end string) bool { return strings.HasSuffix(name, end) }) {
			continue
		}
		text, err := os.ReadFile(filepath.Join(base, name))
		if err != nil {
			return err
		}
		if name == "config.json" {
			if text, err = m.config(text); err != nil {
				return fmt.Errorf("%s: %w", filepath.Join(base, name), err)
			}
		}
		if err := store(filepath.Join(out, name), text); err != nil {
			return err
		}
	}
	return nil
}

// config takes out of a config.json that weights are quantised, and that a head
// of its own is tied.
func (m *merger) config(text []byte) ([]byte, error) {
	var c map[string]json.RawMessage
	if err := json.Unmarshal(text, &c); err != nil {
		return nil, err
	}
	if c["quantization_config"] == nil && !m.untied {
		return text, nil
	}
	delete(c, "quantization_config")
	if m.untied {
		c["tie_word_embeddings"] = json.RawMessage("false")
		var inner map[string]json.RawMessage
		if err := json.Unmarshal(c["text_config"], &inner); err == nil && inner != nil {
			inner["tie_word_embeddings"] = json.RawMessage("false")
			if c["text_config"], err = json.Marshal(inner); err != nil {
				return nil, err
			}
		}
	}
	return json.MarshalIndent(c, "", "  ")
}

func store(path string, text []byte) error {
	return weights.WriteFile(path, func(w io.Writer) error {
		_, err := w.Write(text)
		return err
	})
}
