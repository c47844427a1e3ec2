package arch

import "math"

// gemma is Gemma (Mesnard et al., 2024): Llama with a tanh GELU, embeddings
// times the root of their width, and norms by 1 + w. Its files say hidden_act
// gelu and mean the tanh form. In GGUF files the norms' 1 is added already.
var gemma = family{
	name: "gemma", gguf: "gemma", class: "GemmaForCausalLM",
	defaults: defaults{kvHeads: 16, headDim: 256, context: 8192, eps: 1e-6, theta: 1e4, act: "gelu_pytorch_tanh", tied: true, bos: 2, eos: []int32{1}, pad: 1},
	hf: func(h *hfConfig, c *Config) error {
		h.gemma(c)
		if c.Act == "gelu" {
			c.Act = "gelu_pytorch_tanh"
		}
		return nil
	},
	meta: func(g *ggufConfig, c *Config) error {
		g.gemma(c)
		return nil
	},
	names: usual,
}

// gemma is what the three generations share.
func (h *hfConfig) gemma(c *Config) {
	h.biases(c)
	c.NormPlus1 = true
	c.EmbedScale = float32(math.Sqrt(float64(c.Hidden)))
}
