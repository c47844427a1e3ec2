// Package arch knows the families of models: how each says its shape in
// config.json or in a GGUF file's metadata, and how it is put together from
// the layers of nn. Every family is one page.
package arch

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/evalrun/evalrun/kernels"
)

// Families are the architectures that can be loaded, by the name that
// config.json gives as model_type and GGUF as general.architecture.
var Families = []string{"llama"}

// Config is the shape of a model.
type Config struct {
	Family  string
	Hidden  int // width of the residual stream
	Layers  int
	Heads   int // query heads
	KVHeads int // key and value heads, a divisor of Heads
	HeadDim int
	MLP     int // width of the feed-forward layer
	Vocab   int
	Context int // positions that the model was made for
	NormEps float32
	Tied    bool // the head is the embedding
	Rope    RopeConfig
	// BOS is the token that starts a text, -1 if there is none; EOS those that
	// end one.
	BOS int32
	EOS []int32
}

// RopeConfig says the angles of the rotary positions.
type RopeConfig struct {
	Style kernels.RopeStyle
	// Freqs is the angle of each pair at position 1, one for two values of a
	// head.
	Freqs []float32
}

// Limits of a shape. They keep sums of products within an int64 and refuse
// numbers that only a damaged file has.
const (
	maxWidth   = 1 << 20
	maxLayers  = 1 << 12
	maxVocab   = 1 << 24
	maxContext = 1 << 24
)

// check refuses shapes that do not fit together.
func (c *Config) check() error {
	for _, f := range []struct {
		name     string
		value    int
		lo, most int
	}{
		{"hidden_size", c.Hidden, 1, maxWidth}, {"num_hidden_layers", c.Layers, 1, maxLayers},
		{"num_attention_heads", c.Heads, 1, maxWidth}, {"num_key_value_heads", c.KVHeads, 1, maxWidth},
		{"head_dim", c.HeadDim, 1, maxWidth}, {"intermediate_size", c.MLP, 1, maxWidth},
		{"vocab_size", c.Vocab, 1, maxVocab}, {"max_position_embeddings", c.Context, 1, maxContext},
		{"num_attention_heads * head_dim", c.Heads * c.HeadDim, 1, maxWidth},
	} {
		if f.value < f.lo || f.value > f.most {
			return fmt.Errorf("%s is %d, want %d to %d", f.name, f.value, f.lo, f.most)
		}
	}
	if c.Heads%c.KVHeads != 0 {
		return fmt.Errorf("%d attention heads are no multiple of %d key-value heads", c.Heads, c.KVHeads)
	}
	if c.HeadDim%2 != 0 {
		return fmt.Errorf("heads of size %d: rotary positions want an even size", c.HeadDim)
	}
	if !(c.NormEps >= 0) || c.NormEps > 1 {
		return fmt.Errorf("rms_norm_eps is %g", c.NormEps)
	}
	return nil
}

// PageBytes is the memory of one page of keys and values in all layers, on a
// host device.
func (c *Config) PageBytes() int64 {
	return int64(c.Layers) * kernels.KVBytes(1, c.KVHeads, c.HeadDim)
}

// unknownFamily is the sentence for a model that cannot be loaded.
func unknownFamily(name string) error {
	return fmt.Errorf("architecture %q is not supported; supported are: %s", name, strings.Join(Families, ", "))
}

// hfConfig is the part of config.json that is read. Files of transformers 4
// say rope_theta and rope_scaling, those of 5 rope_parameters.
type hfConfig struct {
	ModelType     string      `json:"model_type"`
	Architectures []string    `json:"architectures"`
	Hidden        *int        `json:"hidden_size"`
	Layers        *int        `json:"num_hidden_layers"`
	Heads         *int        `json:"num_attention_heads"`
	KVHeads       *int        `json:"num_key_value_heads"`
	HeadDim       *int        `json:"head_dim"`
	MLP           *int        `json:"intermediate_size"`
	Vocab         *int        `json:"vocab_size"`
	Context       *int        `json:"max_position_embeddings"`
	NormEps       *float64    `json:"rms_norm_eps"`
	Tied          *bool       `json:"tie_word_embeddings"`
	Act           *string     `json:"hidden_act"`
	AttentionBias bool        `json:"attention_bias"`
	MLPBias       bool        `json:"mlp_bias"`
	RopeTheta     *float64    `json:"rope_theta"`
	RopeScaling   *ropeParams `json:"rope_scaling"`
	Rope          *ropeParams `json:"rope_parameters"`
	BOS           *int32      `json:"bos_token_id"`
	EOS           tokenIDs    `json:"eos_token_id"`
	Quantization  any         `json:"quantization_config"`
}

// tokenIDs is one id, a list of ids, or null.
type tokenIDs []int32

func (t *tokenIDs) UnmarshalJSON(text []byte) error {
	var one int32
	if err := json.Unmarshal(text, &one); err == nil {
		if string(text) != "null" {
			*t = tokenIDs{one}
		}
		return nil
	}
	return json.Unmarshal(text, (*[]int32)(t))
}

// ParseHF reads the text of a config.json.
func ParseHF(text []byte) (*Config, error) {
	var h hfConfig
	if err := json.Unmarshal(text, &h); err != nil {
		return nil, fmt.Errorf("config.json: %w", err)
	}
	if !slices.Contains(Families, h.ModelType) {
		name := h.ModelType
		if name == "" && len(h.Architectures) > 0 {
			name = h.Architectures[0]
		}
		return nil, fmt.Errorf("config.json: %w", unknownFamily(name))
	}
	c, err := h.config()
	if err != nil {
		return nil, fmt.Errorf("config.json: %w", err)
	}
	return c, nil
}

func (h *hfConfig) config() (*Config, error) {
	c := &Config{Family: h.ModelType, BOS: -1, NormEps: 1e-6, Context: 2048}
	for _, f := range []struct {
		name string
		from *int
		to   *int
	}{
		{"hidden_size", h.Hidden, &c.Hidden}, {"num_hidden_layers", h.Layers, &c.Layers},
		{"num_attention_heads", h.Heads, &c.Heads}, {"intermediate_size", h.MLP, &c.MLP},
		{"vocab_size", h.Vocab, &c.Vocab},
	} {
		if f.from == nil {
			return nil, fmt.Errorf("key %q is missing", f.name)
		}
		*f.to = *f.from
	}
	if c.Heads <= 0 {
		return nil, fmt.Errorf("num_attention_heads is %d", c.Heads)
	}
	// What a file leaves out has the class's default.
	c.KVHeads, c.HeadDim = c.Heads, c.Hidden/c.Heads
	for _, f := range []struct{ from, to *int }{{h.KVHeads, &c.KVHeads}, {h.HeadDim, &c.HeadDim}, {h.Context, &c.Context}} {
		if f.from != nil {
			*f.to = *f.from
		}
	}
	if h.NormEps != nil {
		c.NormEps = float32(*h.NormEps)
	}
	c.Tied = h.Tied != nil && *h.Tied
	if h.BOS != nil {
		c.BOS = *h.BOS
	}
	c.EOS = h.EOS
	switch {
	case h.Act != nil && *h.Act != "silu" && *h.Act != "swish":
		return nil, fmt.Errorf("hidden_act %q is not supported for %s, only silu", *h.Act, c.Family)
	case h.AttentionBias || h.MLPBias:
		return nil, fmt.Errorf("attention_bias and mlp_bias are not supported for %s", c.Family)
	case h.Quantization != nil:
		return nil, fmt.Errorf("quantization_config: quantised safetensors are not supported; use the unquantised checkpoint or a GGUF file")
	}
	if err := c.check(); err != nil {
		return nil, err
	}
	freqs, err := h.freqs(c.HeadDim)
	if err != nil {
		return nil, err
	}
	c.Rope = RopeConfig{Style: kernels.RopeHalves, Freqs: freqs}
	return c, nil
}

// ropeParams is rope_scaling or rope_parameters.
type ropeParams struct {
	Theta        *float64 `json:"rope_theta"`
	Kind         string   `json:"rope_type"`
	OldKind      string   `json:"type"`
	Factor       float64  `json:"factor"`
	LowFactor    float64  `json:"low_freq_factor"`
	HighFactor   float64  `json:"high_freq_factor"`
	FirstContext float64  `json:"original_max_position_embeddings"`
}

func (h *hfConfig) freqs(dim int) ([]float32, error) {
	theta := 10000.0
	if h.RopeTheta != nil {
		theta = *h.RopeTheta
	}
	p := ropeParams{}
	for _, from := range []*ropeParams{h.RopeScaling, h.Rope} {
		if from != nil {
			p = *from
			if p.Theta != nil {
				theta = *p.Theta
			}
		}
	}
	if p.Kind == "" {
		p.Kind = p.OldKind
	}
	freqs, err := baseFreqs(theta, dim)
	if err != nil {
		return nil, err
	}
	switch p.Kind {
	case "", "default":
		return freqs, nil
	case "linear", "llama3":
		if !(p.Factor >= 1) || math.IsInf(p.Factor, 0) {
			return nil, fmt.Errorf("rope scaling %s: factor is %g, want at least 1", p.Kind, p.Factor)
		}
	default:
		return nil, fmt.Errorf("rope scaling %q is not supported; supported are: default, linear, llama3", p.Kind)
	}
	if p.Kind == "linear" {
		for i := range freqs {
			freqs[i] /= float32(p.Factor)
		}
		return freqs, nil
	}
	if !(p.FirstContext > 0 && p.LowFactor > 0 && p.HighFactor > p.LowFactor) {
		return nil, fmt.Errorf("rope scaling llama3: original_max_position_embeddings %g, low_freq_factor %g, high_freq_factor %g do not fit",
			p.FirstContext, p.LowFactor, p.HighFactor)
	}
	for i, f := range freqs {
		freqs[i] = p.llama3(f)
	}
	return freqs, nil
}

// baseFreqs is theta^(-2i/dim), in float32 as transformers computes it.
func baseFreqs(theta float64, dim int) ([]float32, error) {
	if !(theta > 0) || math.IsInf(theta, 0) {
		return nil, fmt.Errorf("rope_theta is %g", theta)
	}
	freqs := make([]float32, dim/2)
	for i := range freqs {
		power := float32(2*i) / float32(dim)
		freqs[i] = 1 / float32(math.Pow(theta, float64(power)))
	}
	return freqs, nil
}

// llama3 is Llama 3.1's change of a frequency: slow waves, longer than
// FirstContext/LowFactor, are slowed down by Factor, fast ones stay, and those
// between are blended.
func (p *ropeParams) llama3(f float32) float32 {
	wave := 2 * math.Pi / float64(f)
	switch {
	case wave < p.FirstContext/p.HighFactor:
		return f
	case wave > p.FirstContext/p.LowFactor:
		return float32(float64(f) / p.Factor)
	}
	smooth := (p.FirstContext/wave - p.LowFactor) / (p.HighFactor - p.LowFactor)
	return float32((1-smooth)*float64(f)/p.Factor + smooth*float64(f))
}
