#!/usr/bin/env python3
"""A tiny random Llama, adapters of every kind that is read, and PEFT's logits with each of them.

    make.py        # writes into its own folder; torch 2.15, transformers 5.23, peft 0.21
"""
import json
import os
import shutil

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, LlamaConfig

here = os.path.dirname(os.path.abspath(__file__))
gen = torch.Generator().manual_seed(11)
config = LlamaConfig(vocab_size=23, hidden_size=12, intermediate_size=14, num_hidden_layers=2, num_attention_heads=2,
                     num_key_value_heads=1, head_dim=6, max_position_embeddings=64, rms_norm_eps=1e-5,
                     tie_word_embeddings=False, attention_bias=True, dtype="float32")
base = AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval()
for p in base.parameters():
    p.data.copy_(torch.randn(p.shape, generator=gen) * 0.4 + (1.0 if p.dim() == 1 and len(p) == 12 else 0.0))
shutil.rmtree(f"{here}/model", ignore_errors=True)
base.save_pretrained(f"{here}/model")
os.remove(f"{here}/model/generation_config.json")
ids = torch.randint(0, 23, (1, 9), generator=gen)

common = dict(task_type="CAUSAL_LM", r=3, lora_alpha=6, lora_dropout=0.0)
kinds = {
    "patterns": dict(target_modules=["q_proj", "model.layers.1.mlp.up_proj", "o_proj"], rank_pattern={"o_proj": 2, "layers.0.self_attn.q_proj": 4},
                     alpha_pattern={"^model.layers.1.self_attn.q_proj": 1.5}),
    "regex": dict(target_modules=r".*\.(?:0|1)\.mlp\.(?:gate|down)_proj", exclude_modules=["layers.0.mlp.down_proj"]),
    "layers": dict(target_modules=["k_proj", "v_proj"], layers_to_transform=[1], use_rslora=True),
    "dora": dict(target_modules="all-linear", use_dora=True),
    "save": dict(target_modules=["q_proj"], modules_to_save=["lm_head", "embed_tokens", "norm"]),
    "bias": dict(target_modules=["q_proj", "v_proj"], bias="lora_only", lora_bias=False),
    "lora_bias": dict(target_modules=["k_proj", "down_proj"], lora_bias=True),
}
expected, tensors = {"ids": ids[0].tolist()}, {}
for kind, args in kinds.items():
    model = AutoModelForCausalLM.from_pretrained(f"{here}/model", attn_implementation="eager")
    model = get_peft_model(model, LoraConfig(**(common | args))).eval()
    for name, p in model.named_parameters():
        if "lora_magnitude" in name:
            p.data.mul_(1 + 0.1 * torch.randn(p.shape, generator=gen))
        elif "lora_" in name or "modules_to_save" in name or p.requires_grad:
            p.data.add_(0.3 * torch.randn(p.shape, generator=gen))
    shutil.rmtree(f"{here}/{kind}", ignore_errors=True)
    model.save_pretrained(f"{here}/{kind}")
    os.remove(f"{here}/{kind}/README.md")
    again = AutoModelForCausalLM.from_pretrained(f"{here}/model", attn_implementation="eager")
    again = PeftModel.from_pretrained(again, f"{here}/{kind}").eval()
    with torch.no_grad():
        want = model(input_ids=ids).logits[0]
        assert torch.equal(again(input_ids=ids).logits[0], want), kind
    tensors[kind] = want.contiguous()
with torch.no_grad():
    tensors["model"] = base(input_ids=ids).logits[0].contiguous()
save_file(tensors, f"{here}/expected.safetensors")
with open(f"{here}/expected.json", "w") as f:
    json.dump(expected, f)
