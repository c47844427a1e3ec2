package arch

import (
	"fmt"
	"math"

	"github.com/evalrun/evalrun/backends/local/nn"
	"github.com/evalrun/evalrun/kernels"
)

// llama is Llama 2 and 3 (Touvron et al., 2023): RMSNorm before attention and
// before the gated feed-forward layer, rotary positions on whole heads,
// grouped queries, no biases.
func (l *loader) llama() (*nn.Decoder, error) {
	c := l.config
	rope, err := nn.NewRope(l.dev, c.Rope.Freqs, l.context, c.Rope.Style)
	if err != nil {
		return nil, fmt.Errorf("rotary table: %w", err)
	}
	d := &nn.Decoder{Hidden: c.Hidden, Vocab: c.Vocab}
	for i := range c.Layers {
		at := func(hf, gguf string) string {
			return l.pick(fmt.Sprintf("model.layers.%d.%s.weight", i, hf), fmt.Sprintf("blk.%d.%s.weight", i, gguf))
		}
		q, kv := c.Heads*c.HeadDim, c.KVHeads*c.HeadDim
		d.Blocks = append(d.Blocks, nn.Block{
			AttentionNorm: l.norm(at("input_layernorm", "attn_norm"), &err),
			Attention: nn.Attention{
				Q:     l.linear(at("self_attn.q_proj", "attn_q"), q, c.Hidden, &err),
				K:     l.linear(at("self_attn.k_proj", "attn_k"), kv, c.Hidden, &err),
				V:     l.linear(at("self_attn.v_proj", "attn_v"), kv, c.Hidden, &err),
				O:     l.linear(at("self_attn.o_proj", "attn_output"), c.Hidden, q, &err),
				Heads: c.Heads, KVHeads: c.KVHeads, Dim: c.HeadDim,
				Rope: rope, Scale: float32(1 / math.Sqrt(float64(c.HeadDim))),
			},
			MLPNorm: l.norm(at("post_attention_layernorm", "ffn_norm"), &err),
			MLP: nn.MLP{
				Gate:  l.linear(at("mlp.gate_proj", "ffn_gate"), c.MLP, c.Hidden, &err),
				Up:    l.linear(at("mlp.up_proj", "ffn_up"), c.MLP, c.Hidden, &err),
				Down:  l.linear(at("mlp.down_proj", "ffn_down"), c.Hidden, c.MLP, &err),
				Width: c.MLP,
			},
		})
	}
	d.Norm = l.norm(l.pick("model.norm.weight", "output_norm.weight"), &err)
	if err != nil {
		return nil, err
	}
	embed := l.pick("model.embed_tokens.weight", "token_embd.weight")
	if c.Tied {
		d.Embed, err = l.weight(embed, c.Vocab, c.Hidden, kernels.ForEmbed|kernels.ForMatMul)
		d.Head = nn.Linear{Weight: d.Embed}
		return d, err
	}
	if d.Embed, err = l.weight(embed, c.Vocab, c.Hidden, kernels.ForEmbed); err != nil {
		return nil, err
	}
	d.Head = l.linear(l.pick("lm_head.weight", "output.weight"), c.Vocab, c.Hidden, &err)
	return d, err
}
