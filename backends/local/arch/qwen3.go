package arch

// qwen3 is Qwen 3 (Yang et al., 2025): Qwen 2 with norms on the heads of q and k
// in the place of the biases, and an explicit size of head.
var qwen3 = family{
	name: "qwen3", gguf: "qwen3", class: "Qwen3ForCausalLM",
	defaults: defaults{kvHeads: 32, headDim: 128, context: 1 << 15, window: 4096, eps: 1e-6, theta: 1e4, act: "silu", bos: -1},
	hf: func(h *hfConfig, c *Config) error {
		c.QKNorm = true
		h.biases(c)
		return h.qwen(c)
	},
	meta: func(g *ggufConfig, c *Config) error {
		c.QKNorm = true
		return nil
	},
	names: usual.with(func(n *names) {
		n.qNorm = name{"self_attn.q_norm", "attn_q_norm"}
		n.kNorm = name{"self_attn.k_norm", "attn_k_norm"}
	}),
}
