// Package arch knows the families of models: how each says its shape in
// config.json or in a GGUF file's metadata, and how it is put together from
// the layers of nn. Every family is one page.
package arch

import (
	"fmt"
	"slices"
	"strings"

	"github.com/evalrun/evalrun/kernels"
)

// A family is one architecture: what its files leave out, what its
// config.json says beyond the common keys, and where its tensors are.
type family struct {
	name  string   // model_type in config.json
	also  []string // further model types of the same shape
	gguf  string   // general.architecture, "" where GGUF files are not read
	class string   // architectures[0] in config.json, for files without model_type
	// partial says that partial_rotary_factor counts. The other families rotate
	// whole heads whatever their files say, as transformers does.
	partial bool

	defaults defaults
	// hf adds what config.json says, meta what GGUF metadata say.
	hf   func(h *hfConfig, c *Config) error
	meta func(g *ggufConfig, c *Config) error
	// names of a block's tensors.
	names names
}

// defaults are the values of transformers' class for keys that a file leaves
// out. A KVHeads or HeadDim of 0 follows from the others.
type defaults struct {
	kvHeads, headDim, context int
	window                    int
	eps                       float32
	theta                     float64
	act                       string
	tied                      bool
	bos                       int32
	pad                       int32 // one more than the token, 0 is none
	eos                       []int32
}

// families in the order in which messages list them.
var families = []*family{&llama, &mistral, &phi, &gemma, &gemma2, &gemma3, &qwen2, &qwen3, &phi3}

// Families are the names of the architectures that can be loaded, as
// config.json gives them in model_type.
func Families() []string {
	var all []string
	for _, f := range families {
		all = append(all, f.name)
	}
	return all
}

func familyOf(modelType, class string) *family {
	for _, f := range families {
		if f.name == modelType || slices.Contains(f.also, modelType) || modelType == "" && class != "" && class == f.class {
			return f
		}
	}
	return nil
}

// unknownFamily is the sentence for a model that cannot be loaded.
func unknownFamily(name string, supported []string) error {
	return fmt.Errorf("architecture %q is not supported; supported are: %s", name, strings.Join(supported, ", "))
}

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

	NormEps   float32
	LayerNorm bool // mean and bias too; otherwise RMSNorm
	NormPlus1 bool // the file holds w of a factor 1 + w
	Act       string
	// Biases that the projections have.
	QKVBias, OutBias, MLPBias, HeadBias bool
	QKNorm                              bool // norms on the heads of q and k
	Tied                                bool // the head is the embedding, in the file too

	EmbedScale     float32 // factor of the embeddings, 0 is 1
	AttentionScale float32 // factor of q·k, 0 is 1/sqrt(HeadDim)
	AttentionCap   float32 // c of c·tanh(score/c), 0 is none
	LogitCap       float32 // likewise of the logits

	// Windows is, a layer, the number of tokens that one sees, itself included;
	// 0 is all.
	Windows []int
	// Ropes are the tables of angles, RopeOf says which one a layer uses.
	Ropes  []RopeConfig
	RopeOf []int

	// BOS is the token that starts a text, -1 if there is none; EOS those that
	// end one.
	BOS int32
	EOS []int32
	// Pad is the token that fills up batches, -1 if there is none. Its row of the
	// embedding is not trained by what stands in a text.
	Pad int32

	// Quant is quantization_config as it stands in config.json, nil without.
	Quant *QuantConfig

	family *family
}

// RopeConfig says the angles of the rotary positions.
type RopeConfig struct {
	Style kernels.RopeStyle
	// Freqs is the angle of each pair at position 1, one for two of the values
	// that are rotated.
	Freqs []float32
	// Long takes the place of Freqs for a sequence of more than Switch tokens;
	// nil where there is no such change (LongRoPE, Ding et al., 2024).
	Long   []float32
	Switch int
	// Scale is a factor of cosine and sine, 0 is 1.
	Scale float32
	// Within says that the table is right within the model's own context only.
	Within bool
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
	if !(c.NormEps >= 0) || c.NormEps > 1 {
		return fmt.Errorf("the norms' epsilon is %g", c.NormEps)
	}
	for _, f := range []struct {
		name  string
		value float32
	}{{"attn_logit_softcapping", c.AttentionCap}, {"final_logit_softcapping", c.LogitCap}, {"attention scale", c.AttentionScale}, {"embedding scale", c.EmbedScale}} {
		if !(f.value >= 0 && f.value < 1e9) {
			return fmt.Errorf("%s is %g", f.name, f.value)
		}
	}
	if _, err := activation(c.Act); err != nil {
		return err
	}
	return nil
}

// complete fills what follows from the rest once the shape is checked.
func (c *Config) complete() {
	if c.Windows == nil {
		c.Windows = make([]int, c.Layers)
	}
	if c.RopeOf == nil {
		c.RopeOf = make([]int, c.Layers)
	}
}

// PageBytes is the memory of one page of keys and values in all layers, on a
// host device.
func (c *Config) PageBytes() int64 {
	return int64(c.Layers) * kernels.KVBytes(1, c.KVHeads, c.HeadDim)
}

// uniform gives all layers the same window.
func (c *Config) uniform(window int) {
	c.Windows = slices.Repeat([]int{window}, c.Layers)
}
