package arch

import "fmt"

// gemma2 is Gemma 2 (Riviere et al., 2024): Gemma with norms before and after
// both layers, bounded scores and logits, a score scale of its own, and a
// window on every other layer, the first one included.
var gemma2 = family{
	name: "gemma2", gguf: "gemma2", class: "Gemma2ForCausalLM",
	defaults: defaults{kvHeads: 4, headDim: 256, context: 8192, window: 4096, eps: 1e-6, theta: 1e4, act: "gelu_pytorch_tanh", tied: true, bos: 2, eos: []int32{1}, pad: 1},
	hf: func(h *hfConfig, c *Config) error {
		h.gemma(c)
		c.Act = c.family.defaults.act
		if h.Activation != nil {
			c.Act = *h.Activation
		}
		c.AttentionCap, c.LogitCap = float32(h.AttentionCap.or(50)), float32(h.LogitCap.or(30))
		if err := h.scale(c, 256); err != nil {
			return err
		}
		w, err := h.window(c.family.defaults.window)
		if err == nil && w == 0 {
			err = fmt.Errorf("sliding_window is null, and %s models have layers with a window", c.Family)
		}
		if err != nil {
			return err
		}
		return h.windows(c, w, func(layer int) bool { return layer%2 == 0 })
	},
	meta: func(g *ggufConfig, c *Config) error {
		g.gemma(c)
		c.AttentionCap, c.LogitCap = g.float("attn_logit_softcapping", 50), g.float("final_logit_softcapping", 30)
		if c.Layers == 46 { // 27B, whose scale is by the width a head would have
			c.AttentionScale = rootOf(c.Hidden / c.Heads)
		}
		return g.windows(c, 4096, func(layer int) bool { return layer%2 == 0 })
	},
	names: fourNorms,
}

// fourNorms are the names of Gemma 2 and 3.
var fourNorms = usual.with(func(n *names) {
	n.postAttention = name{"post_attention_layernorm", "post_attention_norm"}
	n.mlpNorm = name{"pre_feedforward_layernorm", "ffn_norm"}
	n.postMLP = name{"post_feedforward_layernorm", "post_ffw_norm"}
})

func (g *ggufConfig) windows(c *Config, def int, slides func(layer int) bool) error {
	w, err := g.int("attention.sliding_window", def)
	if err != nil {
		return err
	}
	if w < 1 || w > maxContext {
		return fmt.Errorf("key %s.attention.sliding_window is %d", g.family, w)
	}
	c.Windows = make([]int, c.Layers)
	for i := range c.Windows {
		if slides(i) {
			c.Windows[i] = w
		}
	}
	return nil
}
