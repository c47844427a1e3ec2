package arch

// phi is Phi-1, 1.5 and 2 (Li et al., 2023): one LayerNorm whose output goes to
// attention and to the feed-forward layer side by side, rotary positions on the
// first part of each head, biases everywhere, and a feed-forward layer without
// a gate.
var phi = family{
	name: "phi", gguf: "phi2", class: "PhiForCausalLM", partial: true,
	defaults: defaults{context: 2048, eps: 1e-5, theta: 1e4, act: "gelu_new", bos: 1, eos: []int32{2}},
	hf: func(h *hfConfig, c *Config) error {
		c.LayerNorm, c.QKVBias, c.OutBias, c.MLPBias, c.HeadBias = true, true, true, true, true
		c.QKNorm = h.QKLayerNorm
		if h.PartialRotary == nil {
			half := 0.5
			h.PartialRotary = &half
		}
		return nil
	},
	meta: func(g *ggufConfig, c *Config) error {
		c.LayerNorm, c.QKVBias, c.OutBias, c.MLPBias, c.HeadBias = true, true, true, true, true
		c.Act = "gelu_new"
		return nil
	},
	names: names{
		attentionNorm: name{"input_layernorm", "attn_norm"},
		q:             name{"self_attn.q_proj", "attn_q"},
		k:             name{"self_attn.k_proj", "attn_k"},
		v:             name{"self_attn.v_proj", "attn_v"},
		qkv:           name{"", "attn_qkv"},
		qNorm:         name{"self_attn.q_layernorm", ""},
		kNorm:         name{"self_attn.k_layernorm", ""},
		o:             name{"self_attn.dense", "attn_output"},
		up:            name{"mlp.fc1", "ffn_up"},
		down:          name{"mlp.fc2", "ffn_down"},
		norm:          name{"final_layernorm", "output_norm"},
	},
}
