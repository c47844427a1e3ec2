"""Model, tokenizer and file names that train.py, export.py and check.py share."""
import json
import math

import torch
import torch.nn as nn
import torch.nn.functional as F

# Hidden and MLP width are multiples of 256, so every block format fits.
CONFIG = dict(
    vocab_size=2048, hidden_size=256, intermediate_size=512, num_hidden_layers=6,
    num_attention_heads=4, num_key_value_heads=2, head_dim=64, rope_theta=10000.0,
    rms_norm_eps=1e-5, max_position_embeddings=2048,
)
BOS, EOS, PAD = 0, 1, 2  # "<s>", "</s>", "<pad>"
SEQ = 512  # tokens of a training sequence


def rope_tables(positions, dim, theta):
    """cos and sin for positions [..., T] as [..., T, dim/2] (Llama's half split)."""
    inv = theta ** (-torch.arange(0, dim, 2, dtype=torch.float32, device=positions.device) / dim)
    ang = positions.float()[..., None] * inv
    return ang.cos(), ang.sin()


def rotate(x, cos, sin):
    a, b = x.float().chunk(2, dim=-1)
    return torch.cat((a * cos - b * sin, b * cos + a * sin), dim=-1).to(x.dtype)


class RMSNorm(nn.Module):
    def __init__(self, n, eps):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(n))
        self.eps = eps

    def forward(self, x):
        return F.rms_norm(x.float(), (x.shape[-1],), self.weight, self.eps).to(x.dtype)


class Layer(nn.Module):
    def __init__(self, c):
        super().__init__()
        h, hd = c["hidden_size"], c["head_dim"]
        self.nh, self.nkv, self.hd = c["num_attention_heads"], c["num_key_value_heads"], hd
        lin = lambda i, o: nn.Linear(i, o, bias=False)
        self.input_layernorm = RMSNorm(h, c["rms_norm_eps"])
        self.post_attention_layernorm = RMSNorm(h, c["rms_norm_eps"])
        self.q_proj, self.k_proj = lin(h, self.nh * hd), lin(h, self.nkv * hd)
        self.v_proj, self.o_proj = lin(h, self.nkv * hd), lin(self.nh * hd, h)
        m = c["intermediate_size"]
        self.gate_proj, self.up_proj, self.down_proj = lin(h, m), lin(h, m), lin(m, h)

    def forward(self, x, cos, sin, attend):
        b, t, _ = x.shape
        y = self.input_layernorm(x)
        q = self.q_proj(y).view(b, t, self.nh, self.hd).transpose(1, 2)
        k = self.k_proj(y).view(b, t, self.nkv, self.hd).transpose(1, 2)
        v = self.v_proj(y).view(b, t, self.nkv, self.hd).transpose(1, 2)
        q, k = rotate(q, cos, sin), rotate(k, cos, sin)
        a = attend(q, k, v.to(q.dtype))
        x = x + self.o_proj(a.transpose(1, 2).reshape(b, t, -1))
        y = self.post_attention_layernorm(x)
        return x + self.down_proj(F.silu(self.gate_proj(y)) * self.up_proj(y))


class Llama(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.c = c
        self.embed_tokens = nn.Embedding(c["vocab_size"], c["hidden_size"])
        self.layers = nn.ModuleList(Layer(c) for _ in range(c["num_hidden_layers"]))
        self.norm = RMSNorm(c["hidden_size"], c["rms_norm_eps"])
        for n, p in self.named_parameters():
            if p.dim() == 2:
                std = 0.05
                if n.endswith(("o_proj.weight", "down_proj.weight")):
                    std = 0.02 / math.sqrt(2 * c["num_hidden_layers"])
                elif not n.startswith("embed"):
                    std = 1 / math.sqrt(p.shape[1]) * 0.6
                nn.init.normal_(p, std=std)

    def forward(self, ids, positions, attend):
        """Hidden states [B, T, H] after the last norm; logits are h @ embed.T.

        attend(q [B, heads, T, D], k, v [B, kv heads, T, D]) is the attention."""
        cos, sin = rope_tables(positions, self.c["head_dim"], self.c["rope_theta"])
        cos, sin = cos[:, None], sin[:, None]
        x = self.embed_tokens(ids)
        for l in self.layers:
            x = l(x, cos, sin, attend)
        return self.norm(x)


def hf_state(model):
    """The weights under the names of a Hugging Face LlamaForCausalLM."""
    out = {}
    for n, p in model.state_dict().items():
        if n.startswith("layers."):
            _, i, rest = n.split(".", 2)
            if rest.split(".")[0] in ("q_proj", "k_proj", "v_proj", "o_proj"):
                rest = "self_attn." + rest
            elif rest.split(".")[0] in ("gate_proj", "up_proj", "down_proj"):
                rest = "mlp." + rest
            n = f"layers.{i}.{rest}"
        out["model." + n] = p
    return out


def read_jsonl(path):
    with open(path, encoding="utf-8") as f:
        return [json.loads(l) for l in f]
