package arch

// mistral is Mistral 7B (Jiang et al., 2023) and its children, Zephyr among
// them: Llama with a window of attention where the file gives one; null, as
// from version 0.2 on, is none. In GGUF files it calls itself llama.
var mistral = family{
	name: "mistral", class: "MistralForCausalLM",
	defaults: defaults{kvHeads: 8, context: 1 << 17, window: 4096, eps: 1e-6, theta: 1e4, act: "silu", bos: 1, eos: []int32{2}},
	hf: func(h *hfConfig, c *Config) error {
		if h.KVHeads == nil && c.Heads%c.KVHeads != 0 {
			c.KVHeads = c.Heads
		}
		w, err := h.window(c.family.defaults.window)
		if err != nil {
			return err
		}
		return h.windows(c, w, func(int) bool { return true })
	},
	names: usual,
}
