// Package lora reads adapters as PEFT writes them (adapter_config.json and
// adapter_model.safetensors) and matches them to the modules of a model.
//
// Law of the house: an adapter is never merged into its base, and what of it
// cannot be applied is an error that names it. PEFT passes silently over
// tensors that fit nothing, and evaluates the base model; here that is refused.
//
// First call: Open, then Adapter.Bind.
package lora

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/evalrun/evalrun/backends/local/weights"
)

// Config is what adapter_config.json says, as far as it changes an answer.
// Keys that are missing or null have PEFT's defaults; unknown ones are passed
// over.
type Config struct {
	// Base is base_model_name_or_path, for messages.
	Base  string
	Rank  int
	Alpha float64
	// RSLoRA scales by alpha/sqrt(r) (Kalajdzievski, 2023) in the place of
	// alpha/r.
	RSLoRA bool
	DoRA   bool
	Bias   string // none, all or lora_only

	targets, exclude matcher
	layers           []int
	layersPattern    []string
	ranks            []pattern
	alphas           []pattern
	save             []string
}

// file is adapter_config.json.
type file struct {
	Type          string                     `json:"peft_type"`
	Base          *string                    `json:"base_model_name_or_path"`
	Rank          *int                       `json:"r"`
	Alpha         *float64                   `json:"lora_alpha"`
	RSLoRA        *bool                      `json:"use_rslora"`
	DoRA          *bool                      `json:"use_dora"`
	QALoRA        *bool                      `json:"use_qalora"`
	Bias          *string                    `json:"bias"`
	Targets       json.RawMessage            `json:"target_modules"`
	Exclude       json.RawMessage            `json:"exclude_modules"`
	Layers        json.RawMessage            `json:"layers_to_transform"`
	LayersPattern json.RawMessage            `json:"layers_pattern"`
	Ranks         map[string]json.RawMessage `json:"rank_pattern"`
	Alphas        map[string]json.RawMessage `json:"alpha_pattern"`
	Save          []string                   `json:"modules_to_save"`
	Init          any                        `json:"init_lora_weights"`
	Parameters    json.RawMessage            `json:"target_parameters"`
	Replication   json.RawMessage            `json:"layer_replication"`
	Invocation    json.RawMessage            `json:"alora_invocation_tokens"`
	TokenIndices  json.RawMessage            `json:"trainable_token_indices"`
	BlockDiagonal json.RawMessage            `json:"use_bdlora"`
	Arrow         json.RawMessage            `json:"arrow_config"`
	KaSA          json.RawMessage            `json:"kasa_config"`
	MonteCLoRA    json.RawMessage            `json:"monteclora_config"`
	VeLoRA        json.RawMessage            `json:"velora_config"`
}

// set tells whether a value is there and holds something.
func set(raw json.RawMessage) bool {
	switch string(bytes.TrimSpace(raw)) {
	case "", "null", "[]", "{}", "false":
		return false
	}
	return true
}

// ParseConfig reads the text of an adapter_config.json.
func ParseConfig(text []byte) (*Config, error) {
	c, err := parseConfig(text)
	if err != nil {
		return nil, fmt.Errorf("adapter_config.json: %w", err)
	}
	return c, nil
}

func parseConfig(text []byte) (*Config, error) {
	var f file
	if err := json.Unmarshal(text, &f); err != nil {
		return nil, err
	}
	if f.Type != "LORA" && f.Type != "" {
		return nil, fmt.Errorf("peft_type is %q: only LORA is supported, with its variants rsLoRA and DoRA", f.Type)
	}
	for _, k := range []struct {
		name string
		raw  json.RawMessage
	}{
		{"target_parameters", f.Parameters}, {"layer_replication", f.Replication},
		{"alora_invocation_tokens", f.Invocation}, {"trainable_token_indices", f.TokenIndices},
		{"use_bdlora", f.BlockDiagonal}, {"arrow_config", f.Arrow}, {"kasa_config", f.KaSA},
		{"monteclora_config", f.MonteCLoRA}, {"velora_config", f.VeLoRA},
	} {
		if set(k.raw) {
			return nil, fmt.Errorf("%s is set, which is not supported", k.name)
		}
	}
	if f.QALoRA != nil && *f.QALoRA {
		return nil, errors.New("use_qalora is set, which is not supported")
	}
	// These ways to begin take something out of the base's own weights, which
	// is not part of the adapter's file.
	if init, ok := f.Init.(string); ok {
		for _, changes := range []string{"pissa", "olora", "corda", "loftq", "lora_ga"} {
			if strings.HasPrefix(strings.ToLower(init), changes) {
				return nil, fmt.Errorf("init_lora_weights is %q: the adapter belongs to a base with changed weights; save it with path_initial_model_for_weight_conversion", init)
			}
		}
	}
	c := &Config{Rank: 8, Alpha: 8, Bias: "none"}
	if f.Base != nil {
		c.Base = *f.Base
	}
	if f.Rank != nil {
		c.Rank = *f.Rank
	}
	if f.Alpha != nil {
		c.Alpha = *f.Alpha
	}
	if f.Bias != nil {
		c.Bias = *f.Bias
	}
	c.RSLoRA = f.RSLoRA != nil && *f.RSLoRA
	c.DoRA = f.DoRA != nil && *f.DoRA
	c.save = f.Save
	if c.Rank < 1 || c.Rank > maxRank {
		return nil, fmt.Errorf("r is %d, want 1 to %d", c.Rank, maxRank)
	}
	if math.IsInf(c.Alpha, 0) || math.IsNaN(c.Alpha) {
		return nil, fmt.Errorf("lora_alpha is %g", c.Alpha)
	}
	if c.Bias != "none" && c.Bias != "all" && c.Bias != "lora_only" {
		return nil, fmt.Errorf("bias is %q, known are: none, all, lora_only", c.Bias)
	}
	var err error
	if c.targets, err = newMatcher(f.Targets); err != nil {
		return nil, fmt.Errorf("target_modules: %w", err)
	}
	if c.exclude, err = newMatcher(f.Exclude); err != nil {
		return nil, fmt.Errorf("exclude_modules: %w", err)
	}
	if c.layers, err = oneOrMany[int](f.Layers); err != nil {
		return nil, fmt.Errorf("layers_to_transform: %w", err)
	}
	if c.layersPattern, err = oneOrMany[string](f.LayersPattern); err != nil {
		return nil, fmt.Errorf("layers_pattern: %w", err)
	}
	if c.ranks, err = patterns(text, "rank_pattern", f.Ranks); err != nil {
		return nil, err
	}
	if c.alphas, err = patterns(text, "alpha_pattern", f.Alphas); err != nil {
		return nil, err
	}
	for _, p := range c.ranks {
		if p.value != math.Trunc(p.value) || p.value < 1 || p.value > maxRank {
			return nil, fmt.Errorf("rank_pattern: %q is %g, want 1 to %d", p.key, p.value, maxRank)
		}
	}
	return c, nil
}

// maxRank bounds what a damaged file may ask for.
const maxRank = 1 << 16

func oneOrMany[T any](raw json.RawMessage) ([]T, error) {
	if !set(raw) {
		return nil, nil
	}
	var one T
	if err := json.Unmarshal(raw, &one); err == nil {
		return []T{one}, nil
	}
	var many []T
	err := json.Unmarshal(raw, &many)
	return many, err
}

// rank and alpha of a module, and the scale of its product.
func (c *Config) rank(path string) int {
	if v, ok := lookup(c.ranks, path); ok {
		return int(v)
	}
	return c.Rank
}

func (c *Config) scale(path string) float32 {
	alpha, rank := c.Alpha, float64(c.rank(path))
	if v, ok := lookup(c.alphas, path); ok {
		alpha = v
	}
	if c.RSLoRA {
		rank = math.Sqrt(rank)
	}
	return float32(alpha / rank)
}

// The files of an adapter's folder.
const (
	configFile = "adapter_config.json"
	modelFile  = "adapter_model.safetensors"
)

// Adapter is an open adapter: its configuration and its tensors.
type Adapter struct {
	Path   string
	Config *Config
	Text   []byte // of adapter_config.json
	file   *weights.File
	hash   string // where it was read whole
}

// Open opens an adapter's folder; its tensors stay in the file. Close it.
func Open(dir string) (*Adapter, error) { return open(dir, (*Adapter).mapFile) }

// Read reads an adapter's folder whole. It waits for the disk in calls that stop
// nobody else, and what becomes of the files afterwards does not matter.
func Read(dir string) (*Adapter, error) { return open(dir, (*Adapter).readFile) }

func open(dir string, model func(*Adapter, string) error) (*Adapter, error) {
	text, err := os.ReadFile(filepath.Join(dir, configFile))
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return nil, fmt.Errorf("there is no %s", filepath.Join(dir, configFile))
	}
	if err != nil {
		return nil, err
	}
	c, err := ParseConfig(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", dir, err)
	}
	name := filepath.Join(dir, modelFile)
	if _, err := os.Stat(name); errors.Is(err, fs.ErrNotExist) {
		if _, err := os.Stat(filepath.Join(dir, "adapter_model.bin")); err == nil {
			return nil, fmt.Errorf("%s: only adapter_model.bin, a PyTorch pickle, which is not read: save the adapter with safe_serialization=True", dir)
		}
	}
	a := &Adapter{Path: dir, Config: c, Text: text}
	if err := model(a, name); err != nil {
		return nil, err
	}
	return a, nil
}

func (a *Adapter) mapFile(name string) (err error) {
	a.file, err = weights.Open(name)
	return err
}

func (a *Adapter) readFile(name string) error {
	data, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	h := newHash()
	h.add(configFile, bytes.NewReader(a.Text)) // from memory: no error
	h.add(modelFile, bytes.NewReader(data))
	a.hash = h.sum()
	a.file, err = weights.Parse(name, data)
	return err
}

// Close unmaps the tensors.
func (a *Adapter) Close() error { return a.file.Close() }

// Hash identifies the adapter by the whole content of both files.
func (a *Adapter) Hash() (string, error) {
	if a.hash != "" {
		return a.hash, nil
	}
	return Hash(a.Path)
}
