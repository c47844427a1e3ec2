package arch

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/evalrun/evalrun/backends/local/nn"
	"github.com/evalrun/evalrun/backends/local/weights"
	"github.com/evalrun/evalrun/kernels"
	"github.com/evalrun/evalrun/kernels/format"
)

// Model is a loaded model: its shape and its layers on a device.
type Model struct {
	Config *Config
	*nn.Decoder
	file *weights.File
}

// Open opens the checkpoint at path, a Hugging Face folder or a GGUF file, and
// reads its shape. The caller closes the file.
func Open(path string) (*Config, *weights.File, error) {
	f, err := weights.Open(path)
	if err != nil {
		return nil, nil, err
	}
	c, err := readConfig(path, f)
	if err != nil {
		return nil, nil, errors.Join(err, f.Close())
	}
	return c, f, nil
}

func readConfig(path string, f *weights.File) (*Config, error) {
	if f.Meta() != nil {
		return ParseGGUF(f)
	}
	dir := path
	if st, err := os.Stat(path); err != nil || !st.IsDir() {
		dir = filepath.Dir(path)
	}
	text, err := os.ReadFile(filepath.Join(dir, "config.json"))
	if err != nil {
		return nil, fmt.Errorf("read model: %w", err)
	}
	c, err := ParseHF(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", dir, err)
	}
	// Further tokens that end an answer stand in generation_config.json.
	if text, err := os.ReadFile(filepath.Join(dir, "generation_config.json")); err == nil {
		var g struct {
			EOS tokenIDs `json:"eos_token_id"`
		}
		if err := json.Unmarshal(text, &g); err != nil {
			return nil, fmt.Errorf("%s: generation_config.json: %w", dir, err)
		}
		for _, id := range g.EOS {
			if !slices.Contains(c.EOS, id) {
				c.EOS = append(c.EOS, id)
			}
		}
	}
	return c, nil
}

// Load opens the checkpoint at path and builds its model on dev.
func Load(dev kernels.Device, path string, context int) (*Model, error) {
	c, f, err := Open(path)
	if err != nil {
		return nil, err
	}
	return Build(dev, c, f, context)
}

// Build puts the model of an open checkpoint together on dev, with rotary
// tables for context positions (0: all that the model was made for). The file
// belongs to the model from now on and stays mapped until Close; if Build
// fails, it is closed.
func Build(dev kernels.Device, c *Config, f *weights.File, context int) (*Model, error) {
	if context <= 0 {
		context = c.Context
	}
	l := &loader{dev: dev, file: f, config: c, context: context, gguf: f.Meta() != nil}
	d, err := l.build()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("load model %s: %w", f.Path(), err), f.Close())
	}
	return &Model{Config: c, Decoder: d, file: f}, nil
}

// Close unmaps the checkpoint; the device must not be used with the model
// afterwards.
func (m *Model) Close() error { return m.file.Close() }

// Bytes is the memory that the weights take beside the mapped file.
func (m *Model) Bytes() int64 {
	sum := m.Embed.Bytes()
	if m.Head.Weight != m.Embed {
		sum += m.Head.Weight.Bytes()
	}
	for _, b := range m.Blocks {
		for _, l := range []nn.Linear{b.Attention.Q, b.Attention.K, b.Attention.V, b.Attention.O, b.MLP.Gate, b.MLP.Up, b.MLP.Down} {
			sum += l.Weight.Bytes()
		}
	}
	return sum
}

// loader takes tensors from a checkpoint and checks them against the shape.
type loader struct {
	dev     kernels.Device
	file    *weights.File
	config  *Config
	context int
	gguf    bool
}

func (l *loader) build() (*nn.Decoder, error) {
	switch l.config.Family {
	case "llama":
		return l.llama()
	}
	return nil, unknownFamily(l.config.Family)
}

// pick gives the name that this kind of file uses.
func (l *loader) pick(hf, gguf string) string {
	if l.gguf {
		return gguf
	}
	return hf
}

// tensor finds a tensor of a shape that must be exactly so.
func (l *loader) tensor(name string, shape ...int) (weights.Tensor, error) {
	t, err := l.file.Tensor(name)
	if err != nil {
		return t, err
	}
	if !slices.Equal(t.Shape, shape) {
		return t, fmt.Errorf("tensor %q: shape %v, want %v", name, t.Shape, shape)
	}
	switch t.Type {
	case format.F32, format.F16, format.BF16, format.F64, format.Q8_0, format.Q4_0:
		return t, nil
	}
	return t, fmt.Errorf("tensor %q: weights of type %s are not supported; supported are: F32, F16, BF16, F64, Q8_0, Q4_0", name, t.Stored)
}

func (l *loader) weight(name string, n, k int, use kernels.Use) (kernels.Prepared, error) {
	t, err := l.tensor(name, n, k)
	if err != nil {
		return nil, err
	}
	return l.dev.Prepare(kernels.Weight{Name: name, Type: t.Type, N: n, K: k, Data: t.Data}, use)
}

// linear and vector note the first error in *err, so that a family's page
// reads like its picture.
func (l *loader) linear(name string, n, k int, err *error) nn.Linear {
	if *err != nil {
		return nn.Linear{}
	}
	w, e := l.weight(name, n, k, kernels.ForMatMul)
	*err = e
	return nn.Linear{Weight: w}
}

func (l *loader) norm(name string, err *error) nn.Norm {
	if *err != nil {
		return nn.Norm{}
	}
	n := nn.Norm{Eps: l.config.NormEps}
	var t weights.Tensor
	if t, *err = l.tensor(name, l.config.Hidden); *err != nil {
		return n
	}
	var values []float32
	if values, *err = t.Floats(); *err != nil {
		return n
	}
	if n.Weight, *err = l.dev.Alloc(format.F32, len(values)); *err == nil {
		l.dev.Write(n.Weight, values)
	}
	return n
}
