package arch

import "fmt"

// gemma3 is the language model of Gemma 3 (Kamath et al., 2025): the four norms
// of Gemma 2 and norms on the heads of q and k in the place of its bounds. Most
// layers have a window and rotary positions of a short base; every sixth, or
// those that layer_types names, sees everything, by a long base that may be
// scaled.
var gemma3 = family{
	name: "gemma3_text", also: []string{"gemma3"}, gguf: "gemma3", class: "Gemma3ForCausalLM",
	defaults: defaults{kvHeads: 4, headDim: 256, context: 1 << 17, window: 4096, eps: 1e-6, theta: 1e6, act: "gelu_pytorch_tanh", tied: true, bos: 2, eos: []int32{1}, pad: 1},
	hf: func(h *hfConfig, c *Config) error {
		h.gemma(c)
		c.QKNorm = true
		c.Act = c.family.defaults.act
		if h.Activation != nil {
			c.Act = *h.Activation
		}
		// attn_logit_softcapping is a key of the class that its attention does not read.
		c.LogitCap = float32(h.LogitCap.or(0))
		if err := h.scale(c, 256); err != nil {
			return err
		}
		pattern := 6
		if h.WindowPattern != nil {
			pattern = *h.WindowPattern
		}
		if pattern < 1 {
			return fmt.Errorf("sliding_window_pattern is %d, want at least 1", pattern)
		}
		w, err := h.window(c.family.defaults.window)
		if err == nil && w == 0 {
			err = fmt.Errorf("sliding_window is null, and %s models have layers with a window", c.Family)
		}
		if err != nil {
			return err
		}
		slides := func(layer int) bool { return (layer+1)%pattern != 0 }
		if err := h.windows(c, w, slides); err != nil {
			return err
		}
		c.RopeOf = make([]int, c.Layers)
		for i := range c.RopeOf {
			local := slides(i)
			if h.LayerTypes != nil {
				local = h.LayerTypes[i] == "sliding_attention"
			}
			if local {
				c.RopeOf[i] = 1
			}
		}
		return h.gemma3Ropes(c)
	},
	meta: func(g *ggufConfig, c *Config) error {
		g.gemma(c)
		c.QKNorm = true
		if c.Layers == 62 { // 27B
			c.AttentionScale = rootOf(c.Hidden / c.Heads)
		}
		slides := func(layer int) bool { return (layer+1)%6 != 0 }
		if err := g.windows(c, 1024, slides); err != nil {
			return err
		}
		local := RopeConfig{Style: c.Ropes[0].Style, Freqs: baseFreqs(1e4, 2*len(c.Ropes[0].Freqs))}
		c.Ropes = append(c.Ropes, local)
		c.RopeOf = make([]int, c.Layers)
		for i := range c.RopeOf {
			if slides(i) {
				c.RopeOf[i] = 1
			}
		}
		return nil
	},
	names: fourNorms.with(func(n *names) {
		n.qNorm = name{"self_attn.q_norm", "attn_q_norm"}
		n.kNorm = name{"self_attn.k_norm", "attn_k_norm"}
	}),
}

// gemma3Ropes makes the two tables: of the layers that see everything, which
// rope_theta and rope_scaling describe, and of those with a window.
func (h *hfConfig) gemma3Ropes(c *Config) error {
	full, sliding := ropeParams{}, ropeParams{}
	fullTheta, slidingTheta := c.family.defaults.theta, 1e4
	if h.Rope != nil {
		if h.Rope.full == nil && h.Rope.sliding == nil && !h.Rope.one.empty {
			return fmt.Errorf("rope_parameters has neither full_attention nor sliding_attention: %s models have a set for each kind of layer", c.Family)
		}
		if h.Rope.full != nil {
			full = *h.Rope.full
		}
		if h.Rope.sliding != nil {
			sliding = *h.Rope.sliding
		}
	}
	if s := h.RopeScaling; s != nil {
		theta := full.Theta
		full = *s
		if full.Theta == nil {
			full.Theta = theta
		}
	}
	for _, t := range []struct {
		to       *float64
		old, new *float64
	}{{&fullTheta, h.RopeTheta, full.Theta}, {&slidingTheta, h.RopeLocal, sliding.Theta}} {
		if t.old != nil {
			*t.to = *t.old
		}
		if t.new != nil {
			*t.to = *t.new
		}
	}
	if c.HeadDim < 1 || c.HeadDim > maxWidth {
		return fmt.Errorf("head_dim is %d, want 1 to %d", c.HeadDim, maxWidth)
	}
	a, err := full.table(c, fullTheta)
	if err != nil {
		return err
	}
	b, err := sliding.table(c, slidingTheta)
	if err != nil {
		return err
	}
	if err := together(&a, &b); err != nil {
		return err
	}
	c.Ropes = []RopeConfig{a, b}
	return nil
}

// together gives both tables long forms where one has them, as a sequence is
// long for all layers alike.
func together(a, b *RopeConfig) error {
	switch {
	case a.Long != nil && b.Long != nil && a.Switch != b.Switch:
		return fmt.Errorf("rope scaling longrope: original_max_position_embeddings is %d for one kind of layer and %d for the other, want the same", a.Switch, b.Switch)
	case a.Long != nil && b.Long == nil:
		b.Long, b.Switch = b.Freqs, a.Switch
	case b.Long != nil && a.Long == nil:
		a.Long, a.Switch = a.Freqs, b.Switch
	}
	return nil
}
