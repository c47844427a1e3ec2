package arch

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/evalrun/evalrun/backends/local/weights"
	"github.com/evalrun/evalrun/kernels"
)

// ParseGGUF reads the shape from a GGUF file's metadata. The vocabulary's size
// is that of the embedding where the metadata do not say it, and rope_freqs
// holds Llama 3.1's factors, so both tensors are looked at too.
func ParseGGUF(f *weights.File) (*Config, error) {
	c, err := parseGGUF(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", f.Path(), err)
	}
	return c, nil
}

// ggufConfig reads a file's keys, which begin with the family's name.
type ggufConfig struct {
	file   *weights.File
	meta   *weights.Meta
	family string
}

// int reads a number that is at least 0 and no larger than a size can be; def
// where it is missing, an error there if def is negative.
func (g *ggufConfig) int(key string, def int) (int, error) {
	v, ok := g.meta.Int(g.family + "." + key)
	switch {
	case !ok && def < 0:
		return 0, fmt.Errorf("key %s.%s is missing or no number", g.family, key)
	case !ok:
		return def, nil
	case v < 0 || v > maxVocab:
		return 0, fmt.Errorf("key %s.%s is %d", g.family, key, v)
	}
	return int(v), nil
}

func (g *ggufConfig) float(key string, def float32) float32 {
	if v, ok := g.meta.Float(g.family + "." + key); ok {
		return float32(v)
	}
	return def
}

func parseGGUF(file *weights.File) (*Config, error) {
	m := file.Meta()
	arch, ok := m.String("general.architecture")
	if !ok {
		return nil, fmt.Errorf("key general.architecture is missing")
	}
	var f *family
	var supported []string
	for _, x := range families {
		if x.gguf != "" {
			supported = append(supported, x.gguf)
			if x.gguf == arch {
				f = x
			}
		}
	}
	if f == nil {
		return nil, unknownFamily(arch, supported)
	}
	g := &ggufConfig{file, m, arch}
	c := &Config{family: f, Family: f.name, BOS: -1, Pad: -1, Act: f.defaults.act}
	for _, k := range []struct {
		key string
		to  *int
	}{
		{"embedding_length", &c.Hidden}, {"block_count", &c.Layers}, {"attention.head_count", &c.Heads},
		{"feed_forward_length", &c.MLP}, {"context_length", &c.Context},
	} {
		var err error
		if *k.to, err = g.int(k.key, -1); err != nil {
			return nil, err
		}
	}
	if c.Heads <= 0 {
		return nil, fmt.Errorf("key %s.attention.head_count is %d", arch, c.Heads)
	}
	rotated := 0
	for _, k := range []struct {
		key string
		to  *int
		def int
	}{
		{"attention.head_count_kv", &c.KVHeads, c.Heads}, {"attention.key_length", &c.HeadDim, c.Hidden / c.Heads},
		{"vocab_size", &c.Vocab, 0}, {"rope.dimension_count", &rotated, 0},
	} {
		var err error
		if *k.to, err = g.int(k.key, k.def); err != nil {
			return nil, err
		}
	}
	epsKey := "attention.layer_norm_rms_epsilon"
	if f == &phi {
		epsKey = "attention.layer_norm_epsilon"
	}
	eps, ok := m.Float(arch + "." + epsKey)
	if !ok {
		return nil, fmt.Errorf("key %s.%s is missing", arch, epsKey)
	}
	c.NormEps = float32(eps)
	if embed, err := file.Tensor("token_embd.weight"); err != nil {
		return nil, err
	} else if c.Vocab == 0 && len(embed.Shape) == 2 {
		c.Vocab = embed.Shape[0]
	}
	c.Tied = !file.Has("output.weight")
	if err := c.check(); err != nil {
		return nil, err
	}
	if rotated == 0 {
		rotated = c.HeadDim
	}
	if rotated > c.HeadDim || rotated%2 != 0 {
		return nil, fmt.Errorf("key %s.rope.dimension_count is %d, and heads have %d values", arch, rotated, c.HeadDim)
	}
	if rotated != c.HeadDim && f == &llama {
		return nil, fmt.Errorf("key %s.rope.dimension_count is %d: only whole heads of %d are rotated", arch, rotated, c.HeadDim)
	}
	if id, ok := m.Int("tokenizer.ggml.bos_token_id"); ok {
		c.BOS = int32(id)
	}
	for _, key := range []string{"tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id"} {
		if id, ok := m.Int(key); ok && !slices.Contains(c.EOS, int32(id)) {
			c.EOS = append(c.EOS, int32(id))
		}
	}
	rope, err := g.rope(rotated)
	if err != nil {
		return nil, err
	}
	c.Ropes = []RopeConfig{rope}
	if f.meta != nil {
		if err := f.meta(g, c); err != nil {
			return nil, err
		}
	}
	if err := c.check(); err != nil {
		return nil, err
	}
	c.complete()
	return c, nil
}

func (g *ggufConfig) rope(dim int) (RopeConfig, error) {
	m, r := g.meta, RopeConfig{Style: kernels.RopeHalves}
	theta := 10000.0
	if v, ok := m.Float(g.family + ".rope.freq_base"); ok {
		theta = v
	}
	if !(theta > 0) || math.IsInf(theta, 0) {
		return r, fmt.Errorf("key %s.rope.freq_base is %g", g.family, theta)
	}
	r.Freqs = baseFreqs(theta, dim)
	kind, ok := m.String(g.family + ".rope.scaling.type")
	by, scaled := m.Float(g.family + ".rope.scaling.factor")
	if !scaled {
		by, scaled = m.Float(g.family + ".rope.scale_linear") // its first name
	}
	if !ok && scaled && by != 0 {
		kind, ok = "linear", true // what llama.cpp takes a factor alone for
	}
	switch {
	case !ok || kind == "none" || kind == "longrope":
	case kind == "linear":
		if !(by >= 1) {
			return r, fmt.Errorf("key %s.rope.scaling.factor is %g, want at least 1", g.family, by)
		}
		for i := range r.Freqs {
			r.Freqs[i] /= float32(by)
		}
	default:
		return r, fmt.Errorf("rope scaling %q is not supported; supported are: none, linear, longrope", kind)
	}
	factors, err := g.factors("rope_freqs.weight", len(r.Freqs))
	for i, by := range factors {
		r.Freqs[i] /= by
	}
	return r, err
}

// factors reads a tensor of divisors of frequencies, nil where there is none.
func (g *ggufConfig) factors(name string, n int) ([]float32, error) {
	if !g.file.Has(name) {
		return nil, nil
	}
	t, err := g.file.Tensor(name)
	if err != nil {
		return nil, err
	}
	factors, err := t.Floats()
	if err != nil {
		return nil, err
	}
	if len(factors) != n {
		return nil, fmt.Errorf("tensor %q holds %d factors, want %d", t.Name, len(factors), n)
	}
	for i, f := range factors {
		if !(f > 0) || math.IsInf(float64(f), 0) {
			return nil, fmt.Errorf("tensor %q: factor %d is %g", name, i, f)
		}
	}
	return factors, nil
}

// leftover refuses a GGUF file with a tensor that nothing reads, such as biases that
// the family does not have here: as in llama.cpp, what a file holds takes part.
func (l *loader) leftover() error {
	for _, name := range l.file.Names() {
		switch {
		case l.used[name], name == "rope_freqs.weight", strings.HasSuffix(name, ".attn_rot_embd"):
		case l.config.family == &phi3 && strings.HasPrefix(name, "rope_factors_"):
		default:
			return fmt.Errorf("tensor %q is no part of a %s model as it is read here", name, l.config.Family)
		}
	}
	return nil
}

// llama in GGUF files: the converter reorders the rows of q and k so that the
// two values of a pair lie side by side.
func (g *ggufConfig) llama(c *Config) error {
	c.Ropes[0].Style = kernels.RopePairs
	c.QKVBias, c.OutBias = g.file.Has("blk.0.attn_q.bias"), g.file.Has("blk.0.attn_output.bias")
	if c.QKVBias || c.OutBias {
		return fmt.Errorf("biases of %s are not supported in GGUF files", g.family)
	}
	return nil
}

// gemma in GGUF files: the converter has added the 1 of 1 + w to the norms.
func (g *ggufConfig) gemma(c *Config) {
	c.EmbedScale = float32(math.Sqrt(float64(c.Hidden)))
}

// phi3 in GGUF files: LongRoPE's factors are tensors.
func (g *ggufConfig) phi3(c *Config) error {
	w, err := g.int("attention.sliding_window", 0)
	if err != nil {
		return err
	}
	c.uniform(w)
	r := &c.Ropes[0]
	short, err := g.factors("rope_factors_short.weight", len(r.Freqs))
	if err != nil {
		return err
	}
	long, err := g.factors("rope_factors_long.weight", len(r.Freqs))
	if err != nil {
		return err
	}
	if (short == nil) != (long == nil) {
		return fmt.Errorf("of rope_factors_short.weight and rope_factors_long.weight one is missing")
	}
	if short == nil {
		return nil
	}
	if r.Switch, err = g.int("rope.scaling.original_context_length", -1); err != nil {
		return err
	}
	r.Long = slices.Clone(r.Freqs)
	for i := range r.Freqs {
		r.Freqs[i] /= short[i]
		r.Long[i] /= long[i]
	}
	r.Scale = g.float("rope.scaling.attn_factor", 1)
	return nil
}
