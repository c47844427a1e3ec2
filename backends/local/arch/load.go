package arch

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"

	"github.com/evalrun/evalrun/backends/local/lora"
	"github.com/evalrun/evalrun/backends/local/nn"
	"github.com/evalrun/evalrun/backends/local/quant"
	"github.com/evalrun/evalrun/backends/local/weights"
	"github.com/evalrun/evalrun/kernels"
	"github.com/evalrun/evalrun/kernels/format"
)

// Model is a loaded model: its shape and its layers on a device.
type Model struct {
	Config *Config
	*nn.Decoder
	// Modules are what an adapter may change, by number; number 0 is none.
	Modules []Module
	dev     kernels.Device
	file    *weights.File
	held    int64
	row     int64
}

// LoRAModules are the modules as package lora knows them, by number.
func (m *Model) LoRAModules() []lora.Module {
	modules := make([]lora.Module, len(m.Modules))
	for i, x := range m.Modules {
		modules[i] = x.Module
	}
	return modules
}

// A Module is a part of a model that an adapter may name.
type Module struct {
	lora.Module
	// Linear is the layer of a linear module, Norm that of a norm.
	Linear *nn.Linear
	Norm   *nn.Norm
	// PairedHeads, where it is not 0, is the size of heads whose rows the file
	// keeps in pairs, not halves.
	PairedHeads int
	// Plus1 says that the file's values are w of 1 + w.
	Plus1 bool
	file  string // its tensors' name in the file, without .weight
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
		c.ends(g.EOS.ids)
	}
	return c, c.untie(f)
}

// untie believes a file with a head of its own over a configuration that ties it
// to the embedding, as transformers does from version 5 on.
func (c *Config) untie(f *weights.File) error {
	if !c.Tied {
		return nil
	}
	head, err := first(f, heads)
	if errors.Is(err, weights.ErrNoTensor) {
		return nil
	}
	if err != nil {
		return err
	}
	table, err := first(f, Places("model.embed_tokens"))
	if errors.Is(err, weights.ErrNoTensor) {
		return nil // which the loader tells
	}
	if err != nil {
		return err
	}
	c.Tied = head.Type == table.Type && bytes.Equal(head.Data, table.Data)
	return f.Release()
}

// first is the weight of the first of the modules that the file has.
func first(f *weights.File, names []string) (weights.Tensor, error) {
	for _, name := range names {
		if f.Has(name + ".weight") {
			return f.Tensor(name + ".weight")
		}
	}
	return f.Tensor(names[0] + ".weight")
}

// Load opens the checkpoint at path and builds its model on dev.
func Load(dev kernels.Device, path string, context int) (*Model, error) {
	c, f, err := Open(path)
	if err != nil {
		return nil, err
	}
	return Build(dev, c, f, context, Options{})
}

// Options say how a checkpoint's numbers are held. The zero value leaves them
// as they are.
type Options struct {
	// DType is F32, F16 or BF16: weights are rounded to it before anything else,
	// and computed with in float32 all the same.
	DType format.Type
	// Quant quantises every linear layer but the head when it is loaded.
	Quant quant.Policy
}

// ParseOptions reads the names that users give: a dtype or "", and a way to
// quantise, "none" or "".
func ParseOptions(dtype, policy string) (Options, error) {
	o := Options{}
	switch dtype {
	case "":
	case "f32", "float32":
		o.DType = format.F32
	case "f16", "float16", "half":
		o.DType = format.F16
	case "bf16", "bfloat16":
		o.DType = format.BF16
	default:
		return o, fmt.Errorf("dtype %q is not supported; supported are: f32, f16, bf16", dtype)
	}
	var err error
	o.Quant, err = quant.ParsePolicy(policy)
	return o, err
}

// Build puts the model of an open checkpoint together on dev, with rotary
// tables for the given context, 0 being the model's own. Closing the model
// closes the file, as does an error.
func Build(dev kernels.Device, c *Config, f *weights.File, context int, o Options) (*Model, error) {
	if context == 0 {
		context = c.Context
	}
	for _, r := range c.Ropes {
		if r.Within && context > c.Context {
			return nil, errors.Join(fmt.Errorf("load model %s: a context of %d tokens under dynamic rope scaling, which is supported up to the model's %d", f.Path(), context, c.Context), f.Close())
		}
	}
	if q := c.Quant; q != nil && q.Method != "bitsandbytes" && !q.Load4Bit && !q.Load8Bit {
		return nil, errors.Join(fmt.Errorf("load model %s: quantization_config: weights quantised by %q are not supported; supported are those of bitsandbytes; use the unquantised checkpoint or a GGUF file", f.Path(), q.Method), f.Close())
	}
	l := &loader{options: o, dev: dev, file: f, config: c, context: context, gguf: f.Meta() != nil, modules: make([]Module, 1), used: map[string]bool{}}
	// What loading leaves behind is small beside what it makes, but a collector
	// that waits for the heap to double would let it pile up to the model's size.
	defer debug.SetGCPercent(debug.SetGCPercent(loadingGC))
	d, err := l.build()
	if err == nil && l.gguf {
		err = l.leftover()
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("load model %s: %w", f.Path(), err), f.Close())
	}
	return &Model{Config: c, Decoder: d, Modules: l.modules, dev: dev, file: f, held: l.held, row: l.row}, nil
}

// Values are a matrix of the model as float32 [N, K], decoded if it is quantised.
func (m *Model) Values(module int) ([]float32, error) {
	x := m.Modules[module]
	values, _, err := quant.Values(m.file, x.file+".weight")
	if err != nil {
		return nil, err
	}
	if len(values) != x.N*x.K {
		return nil, fmt.Errorf("tensor %q: %d values, want %d", x.file+".weight", len(values), x.N*x.K)
	}
	return values, nil
}

// loadingGC is the share of the heap, in percent, that may be garbage while a
// model is loaded.
const loadingGC = 10

// Close unmaps the checkpoint; the device must not be used with the model
// afterwards.
func (m *Model) Close() error { return m.file.Close() }

// Bytes is the memory that the weights take beside the mapped file.
func (m *Model) Bytes() int64 {
	sum := m.held + m.Embed.Table.Bytes()
	for _, l := range m.Linears() {
		sum += l.Weight.Bytes()
	}
	return sum
}

// Held is the part of Bytes that is no memory of the device: weights that are
// read where they lie in the file, or in a copy.
func (m *Model) Held() int64 { return m.held }

// TableRow is the bytes of a row of the embedding where rows are looked up in
// the mapped file; else 0.
func (m *Model) TableRow() int64 { return m.row }

// LongFrom is the length from which a sequence is a long one, with rotary
// angles of its own; 0 if there is no such length. A sequence of exactly that
// many tokens is still short.
func (m *Model) LongFrom() int {
	if m.Blocks[0].Attention.Rope.Long {
		return m.Config.Ropes[0].Switch
	}
	return 0
}

// RopeRow is the row of the rotary tables for a position of a short or long
// sequence.
func (m *Model) RopeRow(pos int, long bool) int32 {
	if long {
		pos += m.Blocks[0].Attention.Rope.Context
	}
	return int32(pos)
}
