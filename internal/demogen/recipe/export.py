"""Write a checkpoint as GGUF (Q8_0) and, with --hf, as a Hugging Face folder.

    export.py CHECKPOINT.safetensors TOKENIZER.json OUT.gguf [--hf DIR] [--f32]
"""
import argparse
import json
import os
import shutil
import struct

import numpy as np
from safetensors.numpy import load_file, save_file

from common import BOS, CONFIG, EOS, PAD

ap = argparse.ArgumentParser()
ap.add_argument("checkpoint"); ap.add_argument("tokenizer"); ap.add_argument("out")
ap.add_argument("--hf"); ap.add_argument("--f32", action="store_true")
a = ap.parse_args()
w = load_file(a.checkpoint)
tok = json.load(open(a.tokenizer, encoding="utf-8"))
c = CONFIG

U32, F32, BOOL, STRING, ARRAY = 4, 6, 7, 8, 9
T_F32, T_Q8_0 = 0, 8
ALIGN = 32


def s(x):
    b = x.encode("utf-8")
    return struct.pack("<Q", len(b)) + b


def value(kind, v):
    return {U32: lambda: struct.pack("<I", v), F32: lambda: struct.pack("<f", v), BOOL: lambda: struct.pack("<?", v), STRING: lambda: s(v)}[kind]()


def kv(key, kind, v):
    if isinstance(v, list):
        return s(key) + struct.pack("<IIQ", ARRAY, kind, len(v)) + b"".join(value(kind, x) for x in v)
    return s(key) + struct.pack("<I", kind) + value(kind, v)


def q8_0(x):
    """Blocks of 32: float16 scale = max|x| / 127, then int8."""
    b = x.reshape(-1, 32).astype(np.float32)
    d = (np.abs(b).max(1, keepdims=True) / 127).astype(np.float16)
    inv = np.where(d > 0, 1 / np.maximum(d.astype(np.float32), 1e-30), 0)
    q = np.clip(np.rint(b * inv), -127, 127).astype(np.int8)
    return np.concatenate([d.view(np.int8).reshape(-1, 2), q], axis=1).tobytes()


def interleave(x, heads):
    """llama.cpp rotates neighbouring pairs, Hugging Face the two halves of a head."""
    return x.reshape(heads, 2, x.shape[0] // heads // 2, x.shape[1]).swapaxes(1, 2).reshape(x.shape)


vocab = sorted(tok["model"]["vocab"].items(), key=lambda e: e[1])
tokens = [t for t, _ in vocab]
merges = [m if isinstance(m, str) else " ".join(m) for m in tok["model"]["merges"]]
assert len(tokens) == c["vocab_size"] and tokens[:3] == ["<s>", "</s>", "<pad>"]
meta = [
    ("general.architecture", STRING, "llama"), ("general.name", STRING, "evalrun demo"), ("general.license", STRING, "apache-2.0"),
    ("general.description", STRING, "demonstration model of evalrun: trained on generated text only"),
    ("general.file_type", U32, 0 if a.f32 else 7), ("general.quantization_version", U32, 2), ("general.alignment", U32, ALIGN),
    ("llama.vocab_size", U32, c["vocab_size"]), ("llama.context_length", U32, c["max_position_embeddings"]),
    ("llama.embedding_length", U32, c["hidden_size"]), ("llama.block_count", U32, c["num_hidden_layers"]),
    ("llama.feed_forward_length", U32, c["intermediate_size"]), ("llama.attention.head_count", U32, c["num_attention_heads"]),
    ("llama.attention.head_count_kv", U32, c["num_key_value_heads"]), ("llama.attention.key_length", U32, c["head_dim"]),
    ("llama.attention.value_length", U32, c["head_dim"]), ("llama.attention.layer_norm_rms_epsilon", F32, c["rms_norm_eps"]),
    ("llama.rope.dimension_count", U32, c["head_dim"]), ("llama.rope.freq_base", F32, c["rope_theta"]),
    ("tokenizer.ggml.model", STRING, "gpt2"), ("tokenizer.ggml.pre", STRING, "gpt-2"),
    ("tokenizer.ggml.tokens", STRING, tokens), ("tokenizer.ggml.token_type", 5, [3 if i < 3 else 1 for i in range(len(tokens))]),
    ("tokenizer.ggml.merges", STRING, merges), ("tokenizer.ggml.bos_token_id", U32, BOS), ("tokenizer.ggml.eos_token_id", U32, EOS),
    ("tokenizer.ggml.padding_token_id", U32, PAD), ("tokenizer.ggml.add_bos_token", BOOL, True), ("tokenizer.ggml.add_eos_token", BOOL, False),
]
value_i32 = value
value = lambda kind, v: struct.pack("<i", v) if kind == 5 else value_i32(kind, v)

tensors = [("token_embd.weight", w["model.embed_tokens.weight"])]
for i in range(c["num_hidden_layers"]):
    p = f"model.layers.{i}."
    tensors += [
        (f"blk.{i}.attn_norm.weight", w[p + "input_layernorm.weight"]),
        (f"blk.{i}.attn_q.weight", interleave(w[p + "self_attn.q_proj.weight"], c["num_attention_heads"])),
        (f"blk.{i}.attn_k.weight", interleave(w[p + "self_attn.k_proj.weight"], c["num_key_value_heads"])),
        (f"blk.{i}.attn_v.weight", w[p + "self_attn.v_proj.weight"]),
        (f"blk.{i}.attn_output.weight", w[p + "self_attn.o_proj.weight"]),
        (f"blk.{i}.ffn_norm.weight", w[p + "post_attention_layernorm.weight"]),
        (f"blk.{i}.ffn_gate.weight", w[p + "mlp.gate_proj.weight"]),
        (f"blk.{i}.ffn_up.weight", w[p + "mlp.up_proj.weight"]),
        (f"blk.{i}.ffn_down.weight", w[p + "mlp.down_proj.weight"]),
    ]
tensors.append(("output_norm.weight", w["model.norm.weight"]))
infos, data = b"", b""
for name, x in tensors:
    f32 = x.ndim == 1 or a.f32
    infos += s(name) + struct.pack("<I", x.ndim) + b"".join(struct.pack("<Q", d) for d in reversed(x.shape))
    infos += struct.pack("<IQ", T_F32 if f32 else T_Q8_0, len(data))
    data += x.astype(np.float32).tobytes() if f32 else q8_0(x)
    data += b"\0" * (-len(data) % ALIGN)
head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(meta)) + b"".join(kv(*m) for m in meta) + infos
head += b"\0" * (-len(head) % ALIGN)
with open(a.out, "wb") as f:
    f.write(head + data)
print(a.out, os.path.getsize(a.out), "bytes")

if a.hf:
    os.makedirs(a.hf, exist_ok=True)
    save_file(w, os.path.join(a.hf, "model.safetensors"), metadata={"format": "pt"})
    shutil.copy(a.tokenizer, os.path.join(a.hf, "tokenizer.json"))
    conf = dict(c, architectures=["LlamaForCausalLM"], model_type="llama", hidden_act="silu", attention_bias=False, mlp_bias=False,
                tie_word_embeddings=True, bos_token_id=BOS, eos_token_id=EOS, pad_token_id=PAD, torch_dtype="float32", attention_dropout=0.0,
                initializer_range=0.02, use_cache=True)
    json.dump(conf, open(os.path.join(a.hf, "config.json"), "w"), indent=1)
    json.dump(dict(tokenizer_class="PreTrainedTokenizerFast", bos_token="<s>", eos_token="</s>", pad_token="<pad>", add_bos_token=True,
                   model_max_length=c["max_position_embeddings"]), open(os.path.join(a.hf, "tokenizer_config.json"), "w"), indent=1)
