package merge

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/evalrun/evalrun/backends/local/arch"
	"github.com/evalrun/evalrun/backends/local/lora"
	"github.com/evalrun/evalrun/backends/local/weights"
)

// ggufFamilies are llama.cpp's names of architectures by Hugging Face's
// model_type.
var ggufFamilies = map[string]string{
	"llama": "llama", "mistral": "llama", "qwen2": "qwen2", "qwen3": "qwen3", "gemma": "gemma", "gemma2": "gemma2",
	"gemma3_text": "gemma3", "phi": "phi2", "phi3": "phi3",
}

// ggufModules are llama.cpp's names of a block's linear modules by Hugging
// Face's.
var ggufModules = map[string]string{
	"self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v", "self_attn.qkv_proj": "attn_qkv",
	"self_attn.o_proj": "attn_output", "self_attn.dense": "attn_output",
	"mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down", "mlp.gate_up_proj": "ffn_up",
	"mlp.fc1": "ffn_up", "mlp.fc2": "ffn_down",
}

var blockPath = regexp.MustCompile(`^(?:model\.)*layers\.(\d+)\.(.+)$`)

// ggufShape reads the base's shape, and the name that llama.cpp has for its
// family: an adapter of another one is refused there.
func ggufShape(base string) (family string, c *arch.Config, err error) {
	if strings.HasSuffix(base, ".gguf") {
		c, f, err := arch.Open(base)
		if err != nil {
			return "", nil, err
		}
		family, _ = f.Meta().String("general.architecture")
		return family, c, f.Close()
	}
	text, err := os.ReadFile(filepath.Join(base, "config.json"))
	if err != nil {
		return "", nil, fmt.Errorf("read the base's configuration: %w", err)
	}
	var kind struct {
		Type string `json:"model_type"`
	}
	if err := json.Unmarshal(text, &kind); err != nil {
		return "", nil, fmt.Errorf("config.json: %w", err)
	}
	family, ok := ggufFamilies[kind.Type]
	if !ok {
		return "", nil, fmt.Errorf("model_type %q cannot be exported; these can: %s", kind.Type, strings.Join(slices.Sorted(maps.Keys(ggufFamilies)), ", "))
	}
	c, err = arch.ParseHF(text)
	return family, c, err
}

// GGUF writes an adapter as llama.cpp reads it beside a base: tensors
// blk.N.NAME.weight.lora_a [rank, k] and .lora_b [n, rank] in float32, and
// adapter.lora.alpha, by which llama.cpp scales their product as alpha / rank.
// base is a folder with the base's config.json, or its GGUF file. In the llama
// family the rows of q and k are in llama.cpp's order of pairs.
func GGUF(base, adapter, path string) error {
	family, c, err := ggufShape(base)
	if err != nil {
		return err
	}
	a, err := lora.Open(adapter)
	if err != nil {
		return err
	}
	defer a.Close()
	model, err := arch.Sketch(c, arch.Options{})
	if err != nil {
		return err
	}
	if _, err := a.Bind(model.LoRAModules()); err != nil { // it fits the base whole
		return err
	}
	pairs, others, err := a.Pairs()
	if err != nil {
		return err
	}
	if others > 0 || a.Config.DoRA {
		return errors.New("only A and B of LoRA can be exported: this adapter has DoRA's magnitudes, biases or whole weights too; merge it into its base instead")
	}
	// llama.cpp has one alpha for all modules; where scales differ, B takes
	// the rest.
	alpha := pairs[0].Scale * float32(pairs[0].Rank)
	var tensors []weights.Tensor
	for i := range pairs {
		p := &pairs[i]
		m := blockPath.FindStringSubmatch(p.Path)
		if m == nil || ggufModules[m[2]] == "" {
			return fmt.Errorf("llama.cpp's name of %s is not known", p.Path)
		}
		b := p.B
		if heads := m[2] == "self_attn.q_proj" || m[2] == "self_attn.k_proj"; heads && family == "llama" {
			b = arch.Pair(b, p.Rank, c.HeadDim)
		}
		if f := p.Scale * float32(p.Rank) / alpha; f != 1 {
			b = slices.Clone(b)
			for i := range b {
				b[i] *= f
			}
		}
		name := "blk." + m[1] + "." + ggufModules[m[2]] + ".weight"
		tensors = append(tensors, weights.Float32s(name+".lora_a", p.A, p.Rank, p.K), weights.Float32s(name+".lora_b", b, p.N, p.Rank))
	}
	meta := weights.NewMeta()
	meta.SetString("general.architecture", family)
	meta.SetString("general.type", "adapter")
	meta.SetString("adapter.type", "lora")
	meta.SetFloat32("adapter.lora.alpha", alpha)
	return weights.WriteGGUF(path, tensors, meta)
}
