"""How fast PEFT and bitsandbytes do on a GPU what evalrun does there: qlora.py [flags], one JSON line out.

A model of Mistral-7B's shape in NF4 with double quantisation, of random values (speed does not depend on them), made on
the device and never written. Measured are decoding by transformers' generate, and updates of QLoRA as such trainings are
commonly written: forward, backward, clipping and AdamW under autocast to bfloat16, sdpa attention, the adapters in float32.

    base       all that is not 4-bit stays in bfloat16: the fastest form
    prepared   after prepare_model_for_kbit_training: embedding, norms and head in float32, as PEFT's guide has it

Gradient checkpointing is measured for the largest batch, and for one whose activations did not fit without. Needs torch, transformers, peft, accelerate and bitsandbytes.
"""
import argparse
import json
import os
import statistics
import sys
import time
import warnings

os.environ.update(HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false", TQDM_DISABLE="1")
warnings.filterwarnings("ignore")
began = time.perf_counter()

import bitsandbytes as bnb
import peft
import torch
import transformers
from transformers import AutoModelForCausalLM, MistralConfig

transformers.utils.logging.set_verbosity_error()

shapes = {
    "mistral-7b": dict(hidden_size=4096, intermediate_size=14336, num_hidden_layers=32, num_attention_heads=32, num_key_value_heads=8, vocab_size=32000),
    "tiny": dict(hidden_size=128, intermediate_size=256, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, vocab_size=512),
}


def build(shape, device):
    """The model on no device, then each linear but the head as random 4-bit weights, and the rest as random values."""
    config = MistralConfig(**shape, sliding_window=None, tie_word_embeddings=False, attn_implementation="sdpa")
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    for name, m in list(model.named_modules()):
        if not isinstance(m, torch.nn.Linear) or name == "lm_head":
            continue
        with torch.device("meta"):
            linear = bnb.nn.Linear4bit(m.in_features, m.out_features, bias=False, compute_dtype=torch.bfloat16, compress_statistics=True, quant_type="nf4")
        values = torch.randn(m.out_features, m.in_features, device=device, dtype=torch.bfloat16).mul_(0.02)
        linear.weight = bnb.nn.Params4bit(values, requires_grad=False, compress_statistics=True, quant_type="nf4", module=linear).to(device)
        parent, _, child = name.rpartition(".")
        setattr(model.get_submodule(parent), child, linear)
    for m in list(model.modules()):
        for name, p in list(m.named_parameters(recurse=False)):
            if p.is_meta:
                values = torch.randn(p.shape, device=device, dtype=p.dtype).mul_(0.02) if p.ndim > 1 else torch.ones(p.shape, device=device, dtype=p.dtype)
                setattr(m, name, torch.nn.Parameter(values, requires_grad=False))
    model.model.rotary_emb = type(model.model.rotary_emb)(config).to(device)
    model.is_loaded_in_4bit = model.is_quantized = True  # what PEFT asks for
    model.generation_config.eos_token_id = None
    assert not [n for n, t in [*model.named_parameters(), *model.named_buffers()] if t.is_meta]
    return model


class Clock:
    def __init__(self, device):
        self.wait = torch.cuda.synchronize if device == "cuda" else lambda: None

    def time(self, f):
        self.wait()
        start = time.perf_counter()
        f()
        self.wait()
        return time.perf_counter() - start


def memory(device, reset=False):
    if device != "cuda":
        return None
    if reset:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        return None
    return dict(peak_allocated_gib=round(torch.cuda.max_memory_allocated() / 2**30, 2), peak_reserved_gib=round(torch.cuda.max_memory_reserved() / 2**30, 2))


def decode(model, batch, prompt, new, device, vocab):
    """Tokens a second behind a prompt: the time of 2·new tokens less that of new, so that prompt and start fall out; their mean position is prompt + 1.5·new."""
    ids = torch.randint(3, vocab, (batch, prompt), device=device)
    clock = Clock(device)

    def run(n):
        with torch.no_grad():
            out = model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=n, min_new_tokens=n, do_sample=False, pad_token_id=0)
        assert out.shape[1] == prompt + n

    run(4)
    memory(device, reset=True)
    short, long = clock.time(lambda: run(new)), clock.time(lambda: run(2 * new))
    seconds = long - short
    return dict(what="decode", batch=batch, position=prompt + 3 * new // 2, tokens_per_second=round(batch * new / seconds, 1), ms_per_step=round(1000 * seconds / new, 2), memory=memory(device))


def train(model, form, batch, tokens, checkpointing, seconds, device, vocab):
    """Median of updates within the seconds given, after two that are not counted."""
    model.train()
    if checkpointing:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs=dict(use_reentrant=False))
    else:
        model.gradient_checkpointing_disable()
    ps = [p for p in model.parameters() if p.requires_grad]
    opt = torch.optim.AdamW(ps, lr=2e-4, weight_decay=0.0, fused=device == "cuda")
    ids = torch.randint(3, vocab, (batch, tokens), device=device)
    memory(device, reset=True)
    clock, losses = Clock(device), []

    def update():
        with torch.autocast(device, dtype=torch.bfloat16):
            loss = model(input_ids=ids, labels=ids, use_cache=False).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(ps, 0.5)
        opt.step()
        opt.zero_grad()
        losses.append(loss.item())

    line = dict(what="train", form=form, batch=batch, tokens=tokens, gradient_checkpointing=checkpointing)
    try:
        for _ in range(2):
            update()
        each, start = [], time.perf_counter()
        while len(each) < 3 or time.perf_counter() - start < seconds:
            each.append(clock.time(update))
    except torch.OutOfMemoryError:
        return dict(line, out_of_memory=True)
    finally:
        opt.zero_grad()
    ms = statistics.median(each)
    return dict(line, tokens_per_second=round(batch * tokens / ms), ms_per_update=round(1000 * ms, 2), updates=len(each), loss_first=round(losses[0], 4), loss_last=round(losses[-1], 4), memory=memory(device))


def main():
    a = argparse.ArgumentParser()
    a.add_argument("--shape", default="mistral-7b", choices=shapes)
    a.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    a.add_argument("--seconds", type=float, default=3, help="for each training measured")
    a.add_argument("--tokens", type=int, default=820)
    a.add_argument("--batches", default="1,4")
    a.add_argument("--prompt", type=int, default=104, help="decoding: tokens of the prompt")
    a.add_argument("--new", type=int, default=64, help="decoding: tokens measured")
    a.add_argument("--limit", type=float, default=85, help="seconds after which nothing further is begun")
    o = a.parse_args()
    shape, vocab = shapes[o.shape], shapes[o.shape]["vocab_size"]
    late = lambda: time.perf_counter() - began > o.limit
    torch.manual_seed(1)
    out = dict(shape=o.shape, device=torch.cuda.get_device_name() if o.device == "cuda" else "cpu", python=sys.version.split()[0], torch=torch.__version__, transformers=transformers.__version__,
               peft=peft.__version__, bitsandbytes=bnb.__version__, seconds_import=round(time.perf_counter() - began, 1))
    batches = [int(b) for b in o.batches.split(",")]
    start = time.perf_counter()
    model = build(shape, o.device)
    out.update(seconds_build=round(time.perf_counter() - start, 1), memory_built=memory(o.device), results=[])

    def result(line):
        out["results"].append(line)
        print(json.dumps(line), file=sys.stderr, flush=True)

    for form in ("base", "prepared"):
        if form == "prepared":
            model = peft.prepare_model_for_kbit_training(model.unload(), use_gradient_checkpointing=False)
        lora = peft.LoraConfig(r=8, lora_alpha=16, lora_dropout=0.05, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM")
        model = peft.get_peft_model(model, lora)
        out["trained_values"] = sum(p.numel() for p in model.parameters() if p.requires_grad)
        for batch in batches:
            for checkpointing in (False, True):
                if late() or checkpointing and batch != max(batches) and "out_of_memory" not in out["results"][-1]:
                    continue
                result(train(model, form, batch, o.tokens, checkpointing, o.seconds, o.device, vocab))
    model = model.unload()
    for p in model.parameters():
        if p.dtype == torch.float32:
            p.data = p.data.bfloat16()
    for batch in (1, 8):
        if not late():
            result(decode(model.eval(), batch, o.prompt, o.new, o.device, vocab))
    out.update(complete=not late(), seconds=round(time.perf_counter() - began, 1))
    print(json.dumps(out), flush=True)


if __name__ == "__main__":
    main()
