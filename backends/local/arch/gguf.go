package arch

import (
	"fmt"
	"slices"

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

func parseGGUF(f *weights.File) (*Config, error) {
	m := f.Meta()
	family, ok := m.String("general.architecture")
	if !ok {
		return nil, fmt.Errorf("key general.architecture is missing")
	}
	if !slices.Contains(Families, family) {
		return nil, unknownFamily(family)
	}
	c := &Config{Family: family, BOS: -1}
	number := func(key string, to *int, must bool) error {
		v, ok := m.Int(family + "." + key)
		if !ok && must {
			return fmt.Errorf("key %s.%s is missing or no number", family, key)
		}
		if ok {
			if v < 0 || v > maxVocab {
				return fmt.Errorf("key %s.%s is %d", family, key, v)
			}
			*to = int(v)
		}
		return nil
	}
	for _, k := range []struct {
		key string
		to  *int
	}{
		{"embedding_length", &c.Hidden}, {"block_count", &c.Layers}, {"attention.head_count", &c.Heads},
		{"feed_forward_length", &c.MLP}, {"context_length", &c.Context},
	} {
		if err := number(k.key, k.to, true); err != nil {
			return nil, err
		}
	}
	if c.Heads <= 0 {
		return nil, fmt.Errorf("key %s.attention.head_count is %d", family, c.Heads)
	}
	c.KVHeads, c.HeadDim = c.Heads, c.Hidden/c.Heads
	rotated := 0
	for _, k := range []struct {
		key string
		to  *int
	}{
		{"attention.head_count_kv", &c.KVHeads}, {"attention.key_length", &c.HeadDim}, {"vocab_size", &c.Vocab},
		{"rope.dimension_count", &rotated},
	} {
		if err := number(k.key, k.to, false); err != nil {
			return nil, err
		}
	}
	eps, ok := m.Float(family + ".attention.layer_norm_rms_epsilon")
	if !ok {
		return nil, fmt.Errorf("key %s.attention.layer_norm_rms_epsilon is missing", family)
	}
	c.NormEps = float32(eps)
	if embed, err := f.Tensor("token_embd.weight"); err != nil {
		return nil, err
	} else if c.Vocab == 0 && len(embed.Shape) == 2 {
		c.Vocab = embed.Shape[0]
	}
	c.Tied = !f.Has("output.weight")
	if err := c.check(); err != nil {
		return nil, err
	}
	if rotated != 0 && rotated != c.HeadDim {
		return nil, fmt.Errorf("key %s.rope.dimension_count is %d: only whole heads of %d are rotated", family, rotated, c.HeadDim)
	}
	if id, ok := m.Int("tokenizer.ggml.bos_token_id"); ok {
		c.BOS = int32(id)
	}
	for _, key := range []string{"tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id"} {
		if id, ok := m.Int(key); ok && !slices.Contains(c.EOS, int32(id)) {
			c.EOS = append(c.EOS, int32(id))
		}
	}
	freqs, err := ggufFreqs(f, family, c.HeadDim)
	if err != nil {
		return nil, err
	}
	// llama.cpp's converter reorders the rows of q and k so that the two
	// values of a pair lie side by side.
	c.Rope = RopeConfig{Style: kernels.RopePairs, Freqs: freqs}
	return c, nil
}

func ggufFreqs(f *weights.File, family string, dim int) ([]float32, error) {
	m := f.Meta()
	theta := 10000.0
	if v, ok := m.Float(family + ".rope.freq_base"); ok {
		theta = v
	}
	freqs, err := baseFreqs(theta, dim)
	if err != nil {
		return nil, err
	}
	kind, ok := m.String(family + ".rope.scaling.type")
	switch {
	case !ok || kind == "none":
	case kind == "linear":
		by, ok := m.Float(family + ".rope.scaling.factor")
		if !ok || !(by >= 1) {
			return nil, fmt.Errorf("key %s.rope.scaling.factor is %g, want at least 1", family, by)
		}
		for i := range freqs {
			freqs[i] /= float32(by)
		}
	default:
		return nil, fmt.Errorf("rope scaling %q is not supported; supported are: none, linear", kind)
	}
	if f.Has("rope_freqs.weight") {
		t, err := f.Tensor("rope_freqs.weight")
		if err != nil {
			return nil, err
		}
		factors, err := t.Floats()
		if err != nil {
			return nil, err
		}
		if len(factors) != len(freqs) {
			return nil, fmt.Errorf("tensor %q holds %d factors, want %d", t.Name, len(factors), len(freqs))
		}
		for i, by := range factors {
			freqs[i] /= by
		}
	}
	return freqs, nil
}
