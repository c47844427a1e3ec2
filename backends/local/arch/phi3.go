package arch

import "fmt"

// phi3 is Phi-3 and 3.5 mini (Abdin et al., 2024): Llama with q, k and v in one
// matrix and gate and up in another, a window where the file gives one, and
// LongRoPE in the models of long context.
var phi3 = family{
	name: "phi3", gguf: "phi3", class: "Phi3ForCausalLM", partial: true,
	defaults: defaults{context: 4096, eps: 1e-5, theta: 1e4, act: "silu", bos: 1, eos: []int32{32000}, pad: 32001},
	hf: func(h *hfConfig, c *Config) error {
		w, err := h.window(0)
		if err != nil {
			return err
		}
		scalings := []*ropeParams{h.RopeScaling}
		if h.Rope != nil {
			scalings = append(scalings, &h.Rope.one)
		}
		for _, s := range scalings {
			if s == nil {
				continue
			}
			switch s.kind() {
			case "default", "longrope":
			case "su", "yarn":
				s.Kind = "longrope" // early files call it so
			default:
				return fmt.Errorf("rope scaling %q is not supported; those of phi3 are: default, longrope", s.kind())
			}
		}
		if h.FirstContext == nil {
			first := 4096.0
			h.FirstContext = &first
		}
		c.uniform(w) // layer_types is not read, as in transformers
		return nil
	},
	meta: (*ggufConfig).phi3,
	names: usual.with(func(n *names) {
		n.q, n.k, n.v, n.qkv = name{"", "attn_q"}, name{"", "attn_k"}, name{"", "attn_v"}, name{"self_attn.qkv_proj", "attn_qkv"}
		n.gate, n.up, n.gateUp = name{}, name{}, name{"mlp.gate_up_proj", "ffn_up"}
	}),
}
