package arch_test

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/evalrun/evalrun/backends/local/internal/fixture"
	"github.com/evalrun/evalrun/backends/local/weights"
	"github.com/evalrun/evalrun/internal/shared"
	"github.com/evalrun/evalrun/kernels/format"
	"github.com/evalrun/evalrun/kernels/ref"
)

// ggufNames are llama.cpp's names of tensors, by the end of Hugging Face's.
var ggufNames = map[string]string{
	"input_layernorm": "attn_norm", "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
	"self_attn.qkv_proj": "attn_qkv", "self_attn.o_proj": "attn_output", "self_attn.dense": "attn_output",
	"self_attn.q_norm": "attn_q_norm", "self_attn.k_norm": "attn_k_norm", "post_attention_layernorm": "ffn_norm",
	"mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down", "mlp.gate_up_proj": "ffn_up",
	"mlp.fc1": "ffn_up", "mlp.fc2": "ffn_down", "pre_feedforward_layernorm": "ffn_norm", "post_feedforward_layernorm": "post_ffw_norm",
}

var layerName = regexp.MustCompile(`^model\.layers\.(\d+)\.(.*)\.(weight|bias)$`)

// The golden models, written as llama.cpp's converter writes such families, are
// the same models. What a GGUF file cannot say (another score scale, another
// pattern of windows) is set to what it means in both.
func TestGGUFTwins(t *testing.T) {
	root := shared.Path(t, "golden", "models")
	for family, c := range map[string]struct {
		arch string
		hf   map[string]any
		set  func(m *weights.Meta, config map[string]any)
	}{
		"phi": {"phi2", nil, func(m *weights.Meta, c map[string]any) {
			m.SetUint32("phi2.rope.dimension_count", uint32(c["hidden_size"].(float64)/c["num_attention_heads"].(float64)*c["partial_rotary_factor"].(float64)))
			m.SetFloat32("phi2.attention.layer_norm_epsilon", 1e-5)
		}},
		"gemma": {"gemma", nil, nil},
		"gemma2": {"gemma2", map[string]any{"query_pre_attn_scalar": nil}, func(m *weights.Meta, c map[string]any) {
			m.SetFloat32("gemma2.attn_logit_softcapping", float32(c["attn_logit_softcapping"].(float64)))
			m.SetFloat32("gemma2.final_logit_softcapping", float32(c["final_logit_softcapping"].(float64)))
		}},
		"gemma3": {"gemma3", map[string]any{"query_pre_attn_scalar": nil, "sliding_window_pattern": 6, "rope_local_base_freq": 10000, "rope_scaling": nil}, nil},
		"qwen2":  {"qwen2", map[string]any{"use_sliding_window": false}, nil},
		"qwen3":  {"qwen3", nil, nil},
		"phi3":   {"phi3", nil, nil},
	} {
		t.Run(family, func(t *testing.T) {
			dir := variant(t, filepath.Join(root, family), "v4")
			var config map[string]any
			text, err := os.ReadFile(filepath.Join(dir, "config.json"))
			if err == nil {
				err = json.Unmarshal(text, &config)
			}
			if err != nil {
				t.Fatal(err)
			}
			dim, ok := config["head_dim"].(float64)
			if !ok {
				dim = config["hidden_size"].(float64) / config["num_attention_heads"].(float64)
			}
			maps.Copy(config, c.hf)
			if _, there := config["query_pre_attn_scalar"]; there {
				config["query_pre_attn_scalar"] = dim
			}
			fixture.WriteConfig(t, dir, config)
			hf := load(t, ref.New(), dir)
			gguf := load(t, ref.New(), writeTwin(t, dir, c.arch, config, int(dim), c.set))
			want := flat(forward(t, ref.New(), hf, someIDs, 64))
			if d := furthest(forward(t, ref.New(), gguf, someIDs, 64), want); !(d <= 2e-5) {
				t.Errorf("logits differ by %g", d)
			}
		})
	}
}

func writeTwin(t *testing.T, dir, arch string, config map[string]any, dim int, set func(*weights.Meta, map[string]any)) string {
	t.Helper()
	f, err := weights.Open(filepath.Join(dir, "model.safetensors"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	m := weights.NewMeta()
	m.SetString("general.architecture", arch)
	m.SetString("tokenizer.ggml.model", "no_vocab")
	for key, from := range map[string]string{
		"embedding_length": "hidden_size", "block_count": "num_hidden_layers", "attention.head_count": "num_attention_heads",
		"attention.head_count_kv": "num_key_value_heads", "feed_forward_length": "intermediate_size", "context_length": "max_position_embeddings",
		"attention.sliding_window": "sliding_window",
	} {
		if v, ok := config[from].(float64); ok {
			m.SetUint32(arch+"."+key, uint32(v))
		}
	}
	m.SetUint32(arch+".attention.key_length", uint32(dim))
	if eps, ok := config["rms_norm_eps"].(float64); ok {
		m.SetFloat32(arch+".attention.layer_norm_rms_epsilon", float32(eps))
	}
	m.SetFloat32(arch+".rope.freq_base", float32(config["rope_theta"].(float64)))
	if set != nil {
		set(m, config)
	}
	var out []weights.Tensor
	for _, name := range f.Names() {
		x, err := f.Tensor(name)
		if err != nil {
			t.Fatal(err)
		}
		switch part := layerName.FindStringSubmatch(name); {
		case part != nil:
			to := ggufNames[part[2]]
			if strings.HasPrefix(arch, "gemma") && arch != "gemma" && part[2] == "post_attention_layernorm" {
				to = "post_attention_norm"
			}
			if to == "" {
				t.Fatalf("no name for %s", name)
			}
			x.Name = "blk." + part[1] + "." + to + "." + part[3]
		default:
			x.Name = strings.NewReplacer("model.embed_tokens", "token_embd", "model.final_layernorm", "output_norm", "model.norm", "output_norm", "lm_head", "output").Replace(name)
		}
		if strings.HasPrefix(arch, "gemma") && strings.Contains(x.Name, "norm") {
			values, err := x.Floats()
			if err != nil {
				t.Fatal(err)
			}
			for i := range values {
				values[i]++
			}
			x.Data = make([]byte, 4*len(values))
			format.F32.Encode(x.Data, values)
		}
		out = append(out, x)
	}
	path := filepath.Join(t.TempDir(), "twin.gguf")
	if err := weights.WriteGGUF(path, out, m); err != nil {
		t.Fatal(err)
	}
	return path
}
