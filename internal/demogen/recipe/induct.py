"""Write the weights that training starts from: random ones with heads that copy.

    induct.py OUT.safetensors

A model of this size finds "look for the present token further up and say what
followed it" (induction; Olsson et al., 2022) only after far more text than this
recipe has, so it is written into the random weights by hand, and training
starts from there:

- dimension 0 of the embedding becomes a constant for every token;
- layer 0, key/value head 0 looks one position back: queries and keys read the
  constant alone, with phases such that the rotary score peaks at distance 1;
  it writes a projection of the previous token's embedding;
- layer 1 looks, with both key/value heads, for a key whose previous token
  resembles the present one, in the slow rotary pairs, where positions hardly
  matter, and writes the token that stands there.
"""
import sys

import torch
from safetensors.torch import save_file

from common import CONFIG, Llama, hf_state

torch.manual_seed(5)
w = {n: p.detach().clone() for n, p in hf_state(Llama(CONFIG)).items()}
# Large embeddings and a small last norm: the token itself stays visible in the
# residual stream beside what the layers write.
w["model.embed_tokens.weight"].normal_(std=0.5)
w["model.norm.weight"].fill_(0.1)
g = torch.Generator().manual_seed(3)
H, D, half = CONFIG["hidden_size"], CONFIG["head_dim"], CONFIG["head_dim"] // 2
CONST, PEAK, MATCH, WRITE0, WRITE1 = 0.7, 9.0, 4.0, 0.7, 3.0
L = lambda i, n: w[f"model.layers.{i}.{n}.weight"]
q = lambda i: L(i, "self_attn.q_proj"); k = lambda i: L(i, "self_attn.k_proj")
v = lambda i: L(i, "self_attn.v_proj"); o = lambda i: L(i, "self_attn.o_proj")

# A clean constant channel: nobody else reads or writes dimension 0.
E = w["model.embed_tokens.weight"]
E[:, 0] = CONST
for i in range(CONFIG["num_hidden_layers"]):
    for n in ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "mlp.gate_proj", "mlp.up_proj"):
        L(i, n)[:, 0] = 0
    for n in ("self_attn.o_proj", "mlp.down_proj"):
        L(i, n)[0, :] = 0

# Directions: the mean embedding tells tokens apart badly, so it is left out.
X = E / E.pow(2).mean(1, keepdim=True).sqrt()
mu = X.mean(0)
avoid = torch.stack([torch.eye(H)[0], mu])
basis = torch.linalg.qr(torch.cat([avoid, torch.randn(H - 2, H, generator=g)]).T)[0].T[2:]  # orthonormal rows
slow = list(range(20, half))                      # rotary pairs that turn less than 0.0032 a position
pairs = [i for i in slow] + [i + half for i in slow]
P = basis[:2 * len(pairs)]                        # what is matched: 24 directions a head
OUT = torch.linalg.qr(torch.cat([avoid, torch.randn(H - 2, H, generator=g)]).T)[0].T[2:][:2 * len(pairs)]

# Layer 0, kv head 0 with query heads 0 and 1: the previous token.
freq = CONFIG["rope_theta"] ** (-torch.arange(0, D, 2).float() / D)
use = 12
for h in (0, 1):
    q(0)[h * D:(h + 1) * D] = 0
    q(0)[h * D:h * D + use, 0] = PEAK
k(0)[:D] = 0
k(0)[:use, 0] = PEAK * freq[:use].cos()
k(0)[half:half + use, 0] = PEAK * freq[:use].sin()
n0 = L(0, "input_layernorm")
v(0)[:D] = 0
v(0)[:len(P)] = P / n0[None]
o(0)[:, :2 * D] = 0
o(0)[:, :len(P)] = WRITE0 * OUT.T

# Layer 1: match and copy.
n1 = L(1, "input_layernorm")
c = len(pairs)
for kv in (0, 1):
    Pk, Ok = P[kv * c:(kv + 1) * c], OUT[kv * c:(kv + 1) * c]
    k(1)[kv * D:(kv + 1) * D] = 0
    k(1)[[kv * D + p for p in pairs]] = MATCH * Ok / n1[None]
    h = 2 * kv  # the first query head of the pair; the second keeps its own query
    q(1)[h * D:(h + 1) * D] = 0
    q(1)[[h * D + p for p in pairs]] = MATCH * Pk / n1[None]
    R = basis[100 + kv * D:100 + (kv + 1) * D]
    v(1)[kv * D:(kv + 1) * D] = R / n1[None]
    o(1)[:, h * D:(h + 1) * D] = WRITE1 * R.T
    o(1)[:, (h + 1) * D:(h + 2) * D] = 0
save_file({n: x.contiguous() for n, x in w.items()}, sys.argv[1])
