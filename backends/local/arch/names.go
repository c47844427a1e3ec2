package arch

import (
	"fmt"

	"github.com/evalrun/evalrun/kernels"
)

// name is a tensor's or module's name in the two kinds of files, without its
// layer and without .weight.
type name struct{ hf, gguf string }

// names are those of a block's modules; an empty one is not part of the family.
// Where a file has the fused form of q, k, v or of gate and up, that is read.
type names struct {
	attentionNorm  name
	q, k, v, qkv   name
	qNorm, kNorm   name
	o              name
	postAttention  name // norm of attention's output
	mlpNorm        name // none: the feed-forward layer stands beside attention
	gate, up       name
	gateUp         name
	down           name
	postMLP        name // norm of the feed-forward layer's output
	norm           name // behind the last block
	embed, lmHead  name
	hfRoot, ggRoot string
}

// usual are the names that most families share.
var usual = names{
	attentionNorm: name{"input_layernorm", "attn_norm"},
	q:             name{"self_attn.q_proj", "attn_q"},
	k:             name{"self_attn.k_proj", "attn_k"},
	v:             name{"self_attn.v_proj", "attn_v"},
	o:             name{"self_attn.o_proj", "attn_output"},
	mlpNorm:       name{"post_attention_layernorm", "ffn_norm"},
	gate:          name{"mlp.gate_proj", "ffn_gate"},
	up:            name{"mlp.up_proj", "ffn_up"},
	down:          name{"mlp.down_proj", "ffn_down"},
	norm:          name{"norm", "output_norm"},
}

// with changes a copy of the names.
func (n names) with(change func(*names)) names {
	change(&n)
	return n
}

var activations = map[string]kernels.Activation{
	"silu": kernels.SiLU, "swish": kernels.SiLU,
	"gelu_new": kernels.GELUTanh, "gelu_pytorch_tanh": kernels.GELUTanh, "gelu_fast": kernels.GELUTanh,
	"gelu": kernels.GELUErf, "gelu_python": kernels.GELUErf,
}

func activation(name string) (kernels.Activation, error) {
	a, ok := activations[name]
	if !ok {
		return 0, fmt.Errorf("hidden_act %q is not supported; supported are: silu, gelu, gelu_new, gelu_pytorch_tanh", name)
	}
	return a, nil
}
