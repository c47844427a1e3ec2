package arch

// qwen2 is Qwen 2 and 2.5 (Yang et al., 2024): Llama with biases on q, k and v.
// A window counts only where use_sliding_window is set, and then from layer
// max_window_layers on.
var qwen2 = family{
	name: "qwen2", gguf: "qwen2", class: "Qwen2ForCausalLM",
	defaults: defaults{kvHeads: 32, context: 1 << 15, window: 4096, eps: 1e-6, theta: 1e4, act: "silu", bos: -1},
	hf: func(h *hfConfig, c *Config) error {
		c.QKVBias = true
		return h.qwen(c)
	},
	meta: func(g *ggufConfig, c *Config) error {
		c.QKVBias = true
		return nil
	},
	names: usual,
}

// qwen is the windows of both generations.
func (h *hfConfig) qwen(c *Config) error {
	if h.KVHeads == nil && c.Heads%c.KVHeads != 0 {
		c.KVHeads = c.Heads
	}
	w := 0
	if h.UseWindow != nil && *h.UseWindow {
		var err error
		if w, err = h.window(c.family.defaults.window); err != nil {
			return err
		}
	}
	first := 28
	if h.MaxWindowLayers != nil {
		first = *h.MaxWindowLayers
	}
	return h.windows(c, w, func(layer int) bool { return layer >= first })
}
