package arch

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"slices"
)

// hfConfig is the part of config.json that is read. Files of transformers 4
// say rope_theta and rope_scaling, those of 5 rope_parameters; a key may be
// null, and one that is missing has the class's default.
type hfConfig struct {
	ModelType     string   `json:"model_type"`
	Architectures []string `json:"architectures"`

	Hidden  *int `json:"hidden_size"`
	Layers  *int `json:"num_hidden_layers"`
	Heads   *int `json:"num_attention_heads"`
	KVHeads *int `json:"num_key_value_heads"`
	HeadDim *int `json:"head_dim"`
	MLP     *int `json:"intermediate_size"`
	Vocab   *int `json:"vocab_size"`
	Context *int `json:"max_position_embeddings"`

	RMSEps        *float64 `json:"rms_norm_eps"`
	LayerEps      *float64 `json:"layer_norm_eps"`
	Tied          *bool    `json:"tie_word_embeddings"`
	Act           *string  `json:"hidden_act"`
	Activation    *string  `json:"hidden_activation"`
	AttentionBias bool     `json:"attention_bias"`
	MLPBias       bool     `json:"mlp_bias"`
	QKLayerNorm   bool     `json:"qk_layernorm"`
	Bidirectional any      `json:"use_bidirectional_attention"`

	LayerTypes      []string          `json:"layer_types"`
	Window          optional[int]     `json:"sliding_window"`
	UseWindow       *bool             `json:"use_sliding_window"`
	MaxWindowLayers *int              `json:"max_window_layers"`
	WindowPattern   *int              `json:"sliding_window_pattern"`
	QueryScalar     *float64          `json:"query_pre_attn_scalar"`
	AttentionCap    optional[float64] `json:"attn_logit_softcapping"`
	LogitCap        optional[float64] `json:"final_logit_softcapping"`

	RopeTheta     *float64    `json:"rope_theta"`
	RopeLocal     *float64    `json:"rope_local_base_freq"`
	RopeScaling   *ropeParams `json:"rope_scaling"`
	Rope          *ropeSet    `json:"rope_parameters"`
	PartialRotary *float64    `json:"partial_rotary_factor"`
	FirstContext  *float64    `json:"original_max_position_embeddings"`

	BOS          optional[int32] `json:"bos_token_id"`
	Pad          optional[int32] `json:"pad_token_id"`
	EOS          tokenIDs        `json:"eos_token_id"`
	Quantization *QuantConfig    `json:"quantization_config"`

	// Text is the language model's part of a model that sees pictures too.
	Text json.RawMessage `json:"text_config"`
}

// QuantConfig is the part of quantization_config that decides whether and how
// the weights are read.
type QuantConfig struct {
	Method   string   `json:"quant_method"`
	Load4Bit bool     `json:"load_in_4bit"`
	Load8Bit bool     `json:"load_in_8bit"`
	Type4Bit string   `json:"bnb_4bit_quant_type"`
	Double   bool     `json:"bnb_4bit_use_double_quant"`
	Skip     []string `json:"llm_int8_skip_modules"`
}

// optional tells a key that is null from one that is missing.
type optional[T any] struct {
	set, null bool
	value     T
}

func (o *optional[T]) UnmarshalJSON(text []byte) error {
	o.set = true
	if o.null = string(text) == "null"; o.null {
		return nil
	}
	return json.Unmarshal(text, &o.value)
}

// or is the value, the default where the key is missing, and zero where it is
// null.
func (o optional[T]) or(def T) T {
	if !o.set {
		return def
	}
	return o.value
}

// tokenIDs is one id, a list of ids, or null.
type tokenIDs struct {
	set bool
	ids []int32
}

func (t *tokenIDs) UnmarshalJSON(text []byte) error {
	t.set = true
	if string(text) == "null" {
		return nil
	}
	var one int32
	if err := json.Unmarshal(text, &one); err == nil {
		t.ids = []int32{one}
		return nil
	}
	return json.Unmarshal(text, &t.ids)
}

// ParseHF reads the text of a config.json.
func ParseHF(text []byte) (*Config, error) {
	c, err := parseHF(text)
	if err != nil {
		return nil, fmt.Errorf("config.json: %w", err)
	}
	return c, nil
}

func parseHF(text []byte) (*Config, error) {
	var h hfConfig
	// Python writes numbers that JSON lacks; none of the keys read here has one.
	text = bytes.ReplaceAll(text, []byte("-Infinity"), []byte("null"))
	text = bytes.ReplaceAll(text, []byte("Infinity"), []byte("null"))
	text = bytes.ReplaceAll(text, []byte("NaN"), []byte("null"))
	if err := json.Unmarshal(text, &h); err != nil {
		return nil, err
	}
	class := ""
	if len(h.Architectures) > 0 {
		class = h.Architectures[0]
	}
	// The text model within a model of pictures and text: its keys stand in
	// text_config, the quantisation and sometimes the end tokens outside.
	if len(h.Text) > 0 && h.Hidden == nil && string(h.Text) != "null" {
		inner := hfConfig{Quantization: h.Quantization}
		if err := json.Unmarshal(h.Text, &inner); err != nil {
			return nil, fmt.Errorf("text_config: %w", err)
		}
		if inner.ModelType == "" {
			inner.ModelType = h.ModelType
		}
		if inner.Tied == nil {
			inner.Tied = h.Tied
		}
		if h.EOS.set && !inner.EOS.set {
			inner.EOS = h.EOS
		}
		h = inner
	}
	f := familyOf(h.ModelType, class)
	if f == nil {
		name := h.ModelType
		if name == "" {
			name = class
		}
		return nil, unknownFamily(name, Families())
	}
	return h.config(f)
}

func (h *hfConfig) config(f *family) (*Config, error) {
	d := f.defaults
	c := &Config{family: f, Family: f.name, BOS: h.BOS.or(d.bos), EOS: d.eos, NormEps: d.eps, Context: d.context, Tied: d.tied, Act: d.act, Quant: h.Quantization}
	if h.BOS.null {
		c.BOS = -1
	}
	c.Pad = h.Pad.or(d.pad - 1)
	if h.Pad.null {
		c.Pad = -1
	}
	if h.EOS.set {
		c.EOS = h.EOS.ids
	}
	for _, k := range []struct {
		name string
		from *int
		to   *int
	}{
		{"hidden_size", h.Hidden, &c.Hidden}, {"num_hidden_layers", h.Layers, &c.Layers},
		{"num_attention_heads", h.Heads, &c.Heads}, {"intermediate_size", h.MLP, &c.MLP},
		{"vocab_size", h.Vocab, &c.Vocab},
	} {
		if k.from == nil {
			return nil, fmt.Errorf("key %q is missing", k.name)
		}
		*k.to = *k.from
	}
	if c.Heads <= 0 {
		return nil, fmt.Errorf("num_attention_heads is %d", c.Heads)
	}
	c.KVHeads, c.HeadDim = d.kvHeads, d.headDim
	for _, k := range []struct{ from, to *int }{{h.KVHeads, &c.KVHeads}, {h.HeadDim, &c.HeadDim}, {h.Context, &c.Context}} {
		if k.from != nil {
			*k.to = *k.from
		}
	}
	if c.KVHeads == 0 && h.KVHeads == nil {
		c.KVHeads = c.Heads
	}
	if c.HeadDim == 0 && h.HeadDim == nil {
		c.HeadDim = c.Hidden / c.Heads
	}
	if h.Tied != nil {
		c.Tied = *h.Tied
	}
	if h.Act != nil {
		c.Act = *h.Act
	}
	eps := h.RMSEps
	if f.name == "phi" {
		eps = h.LayerEps
	}
	if eps != nil {
		c.NormEps = float32(*eps)
	}
	if b, ok := h.Bidirectional.(bool); ok && b || h.Bidirectional != nil && !ok {
		return nil, fmt.Errorf("use_bidirectional_attention is not supported: only models that read from left to right")
	}
	if c.Layers > maxLayers || c.Layers < 1 {
		return nil, fmt.Errorf("num_hidden_layers is %d, want 1 to %d", c.Layers, maxLayers)
	}
	if f.hf != nil {
		if err := f.hf(h, c); err != nil {
			return nil, err
		}
	}
	if err := c.check(); err != nil {
		return nil, err
	}
	if c.Ropes == nil {
		rope, err := h.rope(c)
		if err != nil {
			return nil, err
		}
		c.Ropes = []RopeConfig{rope}
	}
	c.complete()
	return c, nil
}

// gated copies a bias switch of the gated families: one key for all four
// projections of attention.
func (h *hfConfig) biases(c *Config) {
	c.QKVBias, c.OutBias, c.MLPBias = h.AttentionBias, h.AttentionBias, h.MLPBias
}

// window is sliding_window, checked; 0 is none.
func (h *hfConfig) window(def int) (int, error) {
	w := h.Window.or(def)
	if w < 0 || h.Window.set && !h.Window.null && w == 0 {
		return 0, fmt.Errorf("sliding_window is %d, want at least 1", w)
	}
	return w, nil
}

// windows gives the layers' windows: those of layer_types where the file has
// them, else those that slides says.
func (h *hfConfig) windows(c *Config, window int, slides func(layer int) bool) error {
	c.Windows = make([]int, c.Layers)
	if h.LayerTypes != nil && len(h.LayerTypes) != c.Layers {
		return fmt.Errorf("layer_types lists %d layers, num_hidden_layers is %d", len(h.LayerTypes), c.Layers)
	}
	for i := range c.Windows {
		sliding := slides(i)
		if h.LayerTypes != nil {
			switch t := h.LayerTypes[i]; t {
			case "sliding_attention":
				sliding = true
			case "full_attention":
				sliding = false
			default:
				return fmt.Errorf("layer_types: layer %d is %q, known are: full_attention, sliding_attention", i, t)
			}
		}
		if sliding && h.LayerTypes != nil && window == 0 {
			return fmt.Errorf("layer_types: layer %d is %q, and sliding_window gives no window", i, h.LayerTypes[i])
		}
		if sliding {
			c.Windows[i] = window
		}
	}
	return nil
}

// scale is 1/sqrt(query_pre_attn_scalar).
func (h *hfConfig) scale(c *Config, def float64) error {
	if h.QueryScalar != nil {
		def = *h.QueryScalar
	}
	if !(def > 0) || math.IsInf(def, 0) {
		return fmt.Errorf("query_pre_attn_scalar is %g", def)
	}
	c.AttentionScale = float32(1 / math.Sqrt(def))
	return nil
}

// ends adds tokens that end a text.
func (c *Config) ends(ids []int32) {
	for _, id := range ids {
		if !slices.Contains(c.EOS, id) {
			c.EOS = append(slices.Clip(c.EOS), id)
		}
	}
}
