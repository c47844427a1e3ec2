package arch_test

import (
	"math"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/evalrun/evalrun/backends/local/arch"
	"github.com/evalrun/evalrun/backends/local/internal/fixture"
	"github.com/evalrun/evalrun/backends/local/weights"
	"github.com/evalrun/evalrun/kernels"
	"github.com/evalrun/evalrun/kernels/format"
	"github.com/evalrun/evalrun/kernels/ref"
)

// changed writes the small model's GGUF file with other metadata, without some
// keys and with further tensors, and opens it.
func changed(t *testing.T, without []string, set func(m *weights.Meta), more ...weights.Tensor) (*arch.Config, error) {
	t.Helper()
	f, err := weights.Open(fixture.Tiny.WriteGGUF(t, 1, format.F32, format.F32))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	m := weights.NewMeta()
	for _, key := range f.Meta().Keys() {
		if slices.Contains(without, key) {
			continue
		}
		switch v := f.Meta().Value(key).(type) {
		case string:
			m.SetString(key, v)
		case uint32:
			m.SetUint32(key, v)
		case float32:
			m.SetFloat32(key, v)
		default:
			t.Fatalf("key %s is a %T", key, v)
		}
	}
	if set != nil {
		set(m)
	}
	tensors := more
	for _, name := range f.Names() {
		x, err := f.Tensor(name)
		if err != nil {
			t.Fatal(err)
		}
		tensors = append(tensors, x)
	}
	path := filepath.Join(t.TempDir(), "changed.gguf")
	if err := weights.WriteGGUF(path, tensors, m); err != nil {
		t.Fatal(err)
	}
	model, err := arch.Load(ref.New(), path, 16)
	if err != nil {
		return nil, err
	}
	return model.Config, model.Close()
}

func TestGGUFConfig(t *testing.T) {
	c, err := changed(t, []string{"llama.vocab_size"}, func(m *weights.Meta) { m.SetUint32("tokenizer.ggml.eot_token_id", 9) })
	if err != nil {
		t.Fatal(err)
	}
	if c.Vocab != fixture.Tiny.Vocab || c.BOS != 1 || !slices.Equal(c.EOS, []int32{2, 9}) || !c.Tied || c.Ropes[0].Style != kernels.RopePairs {
		t.Errorf("%+v", c)
	}
	plain := c.Ropes[0].Freqs
	if math.Abs(float64(plain[1])-math.Pow(10000, -0.25)) > 1e-6 { // heads of 8
		t.Errorf("angles %v", plain)
	}
	c, err = changed(t, nil, func(m *weights.Meta) {
		m.SetString("llama.rope.scaling.type", "linear")
		m.SetFloat32("llama.rope.scaling.factor", 4)
	})
	if err != nil || c.Ropes[0].Freqs[1] != plain[1]/4 {
		t.Errorf("linear scaling: %v, %v", c, err)
	}
	for _, key := range []string{"scaling.factor", "scale_linear"} { // without a type
		c, err = changed(t, nil, func(m *weights.Meta) { m.SetFloat32("llama.rope."+key, 4) })
		if err != nil || c.Ropes[0].Freqs[1] != plain[1]/4 {
			t.Errorf("%s alone: %v, %v", key, c, err)
		}
	}
	c, err = changed(t, nil, nil, weights.Float32s("rope_freqs.weight", []float32{1, 2, 8, 8}, 4))
	if err != nil || c.Ropes[0].Freqs[0] != plain[0] || c.Ropes[0].Freqs[1] != plain[1]/2 {
		t.Errorf("factors: %v, %v", c, err)
	}
}

func TestGGUFRefusals(t *testing.T) {
	for _, c := range []struct {
		without string
		set     func(m *weights.Meta)
		more    []weights.Tensor
		want    string
	}{
		{without: "general.architecture", want: "general.architecture is missing"},
		{set: func(m *weights.Meta) { m.SetString("general.architecture", "rwkv") }, want: `architecture "rwkv" is not supported; supported are: llama`},
		{without: "llama.block_count", want: "llama.block_count is missing"},
		{without: "llama.attention.layer_norm_rms_epsilon", want: "layer_norm_rms_epsilon is missing"},
		{set: func(m *weights.Meta) { m.SetString("llama.block_count", "two") }, want: "llama.block_count is missing or no number"},
		{set: func(m *weights.Meta) { m.SetUint32("llama.attention.head_count", 0) }, want: "head_count is 0"},
		{set: func(m *weights.Meta) { m.SetUint32("llama.feed_forward_length", math.MaxUint32) }, want: "feed_forward_length is 4294967295"},
		{set: func(m *weights.Meta) { m.SetUint32("llama.feed_forward_length", 73) }, want: "want [73 40]"},
		{set: func(m *weights.Meta) { m.SetUint32("llama.rope.dimension_count", 4) }, want: "only whole heads of 8"},
		{set: func(m *weights.Meta) { m.SetString("llama.rope.scaling.type", "yarn") }, want: `rope scaling "yarn" is not supported`},
		{set: func(m *weights.Meta) { m.SetString("llama.rope.scaling.type", "linear") }, want: "rope.scaling.factor is 0"},
		{more: []weights.Tensor{weights.Float32s("rope_freqs.weight", []float32{1}, 1)}, want: "holds 1 factors, want 4"},
		{more: []weights.Tensor{weights.Float32s("blk.0.ffn_gate.bias", make([]float32, 72), 72)}, want: `tensor "blk.0.ffn_gate.bias" is no part of a llama model`},
		{more: []weights.Tensor{weights.Float32s("rope_factors_long.weight", make([]float32, 4), 4)}, want: `tensor "rope_factors_long.weight" is no part`},
		{more: []weights.Tensor{weights.Float32s("output.weight", []float32{1}, 1)}, want: `tensor "output.weight": shape [1], want [263 40]`},
	} {
		_, err := changed(t, []string{c.without}, c.set, c.more...)
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "changed.gguf") {
			t.Errorf("error %v, want %q", err, c.want)
		}
	}
}
