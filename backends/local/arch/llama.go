package arch

// llama is Llama 1, 2 and 3 (Touvron et al., 2023; Grattafiori et al., 2024):
// RMSNorm before attention and before the gated feed-forward layer, rotary
// positions on whole heads, grouped queries. Biases only where the file says
// so. From 3.1 on the rotary frequencies are scaled by rope type llama3.
var llama = family{
	name: "llama", gguf: "llama", class: "LlamaForCausalLM",
	defaults: defaults{context: 2048, eps: 1e-6, theta: 1e4, act: "silu", bos: 1, eos: []int32{2}},
	hf: func(h *hfConfig, c *Config) error {
		h.biases(c)
		return nil
	},
	meta:  (*ggufConfig).llama,
	names: usual,
}
