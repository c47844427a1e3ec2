"""What transformers and PEFT compute: reference.py VERB, a JSON object on standard input, JSON lines out.

    versions                                    packages and threads
    folder    {gguf, out}                       a GGUF model as a Hugging Face folder
    random    {config, tokenizer, out, seed}    a Llama model of that shape with random weights
    quantise  {model, out}                      the folder as a 4-bit checkpoint (NF4, double quantisation)
    logits    {model, adapter, lines, out}      logits of every line's ids, safetensors logits.0, logits.1 …
    train     {model, recipe, start, examples, out, batch, windows}   the recipe by torch and PEFT
    ceiling   {size}                            GFLOP/s of torch's own products
"""
import json
import math
import os
import sys
import time
import warnings

os.environ.update(HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false", TORCHDYNAMO_DISABLE="1", CUDA_VISIBLE_DEVICES="", TQDM_DISABLE="1")
warnings.filterwarnings("ignore")

import torch
import transformers
from peft import PeftModel, prepare_model_for_kbit_training
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig, LlamaConfig

transformers.utils.logging.set_verbosity_error()
transformers.utils.logging.disable_progress_bar()
IGNORED = -100


def say(**line):
    print(json.dumps(line), flush=True)


def load(model, dtype=torch.float32, quantise=None):
    """The base. A folder that is a 4-bit checkpoint says so itself; quantise makes one of another, with that compute type."""
    more = {}
    if quantise:
        more["quantization_config"] = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=quantise)
    return AutoModelForCausalLM.from_pretrained(model, dtype=dtype, attn_implementation="sdpa", device_map={"": "cpu"}, **more)


def plain(model):
    """4-bit layers as float32 ones of the same values: on some processors bitsandbytes 0.50 computes with 4-bit layers in
    bfloat16 when it does not train, whatever the compute type."""
    import bitsandbytes as bnb
    from bitsandbytes.backends.default.ops import _dequantize_4bit_compute
    import bitsandbytes.functional as F

    for name, m in list(model.named_modules()):
        if not isinstance(m, bnb.nn.Linear4bit):
            continue
        s = m.weight.quant_state
        absmax = F.dequantize_blockwise(s.absmax, s.state2) + s.offset if s.nested else s.absmax
        linear = torch.nn.Linear(m.in_features, m.out_features, bias=m.bias is not None)
        with torch.no_grad():
            # The library's own C++ kernel is wrong for some row lengths; this path of it is not.
            linear.weight.copy_(_dequantize_4bit_compute(m.weight.data.reshape(-1), absmax.float(), s.code, s.blocksize, s.shape, s.dtype))
            if m.bias is not None:
                linear.bias.copy_(m.bias)
        parent, _, child = name.rpartition(".")
        setattr(model.get_submodule(parent), child, linear)
    return torch.nn.Module.float(model)  # transformers refuses to cast what was quantised


def versions(_):
    import bitsandbytes, peft
    say(torch=torch.__version__, transformers=transformers.__version__, peft=peft.__version__, bitsandbytes=bitsandbytes.__version__, threads=torch.get_num_threads())


def folder(job):
    where = dict(gguf_file=os.path.basename(job["gguf"]))
    of = os.path.dirname(os.path.abspath(job["gguf"]))
    m = AutoModelForCausalLM.from_pretrained(of, dtype=torch.float32, **where)
    del m.config.quantization_config
    whole = AutoModelForCausalLM.from_config(m.config, dtype=torch.float32)
    whole.load_state_dict(m.state_dict())
    whole.save_pretrained(job["out"])
    AutoTokenizer.from_pretrained(of, **where).save_pretrained(job["out"])


def random(job):
    torch.manual_seed(job["seed"])
    m = AutoModelForCausalLM.from_config(LlamaConfig(**job["config"]), dtype=torch.float32)
    m.save_pretrained(job["out"])
    AutoTokenizer.from_pretrained(job["tokenizer"]).save_pretrained(job["out"])
    say(parameters=m.num_parameters())


def quantise(job):
    load(job["model"], quantise=torch.float32).save_pretrained(job["out"])
    AutoTokenizer.from_pretrained(job["model"]).save_pretrained(job["out"])


def logits(job):
    m = plain(load(job["model"]))
    if job["adapter"]:
        m = PeftModel.from_pretrained(m, job["adapter"])
    m.eval()
    out = {}
    with torch.no_grad():
        for i, line in enumerate(open(job["lines"])):
            out[f"logits.{i}"] = m(input_ids=torch.tensor([json.loads(line)["ids"]])).logits[0].float().contiguous()
    save_file(out, job["out"])


def rates(opt, r):
    """The recipe's schedule by torch's and transformers' own classes, stepped every micro-batch."""
    from torch.optim.lr_scheduler import CosineAnnealingWarmRestarts, LambdaLR, SequentialLR

    warm = r.get("warmup", 0.03 * r["steps"])
    if r["schedule"] == "cosine-restarts":
        return SequentialLR(opt, [LambdaLR(opt, lambda s: s / warm), CosineAnnealingWarmRestarts(opt, T_0=r["restart"])], [warm])
    kind = {"constant": "constant_with_warmup"}.get(r["schedule"], r["schedule"])
    return transformers.get_scheduler(kind, opt, math.ceil(warm), r["steps"])


def losses(m, batch):
    """Mean cross-entropy of each example: label t is judged by the logits of t-1. Several examples are padded on the right."""
    size = max(len(e["ids"]) for e in batch)
    ids = torch.zeros(len(batch), size, dtype=torch.long)
    labels = torch.full((len(batch), size), IGNORED)
    mask = torch.zeros(len(batch), size, dtype=torch.long)
    for i, e in enumerate(batch):
        n = len(e["ids"])
        ids[i, :n], labels[i, :n], mask[i, :n] = torch.tensor(e["ids"]), torch.tensor(e["labels"]), 1
    out = m(input_ids=ids, attention_mask=mask if len(batch) > 1 else None).logits[:, :-1].float()
    each = torch.nn.functional.cross_entropy(out.flatten(0, 1), labels[:, 1:].flatten(), ignore_index=IGNORED, reduction="none").view(len(batch), -1)
    judged = (labels[:, 1:] != IGNORED).sum(1)
    return each.sum(1) / judged


def shares(window):
    """What each example has of the judged tokens of its micro-batch: the loss of one is the mean over its tokens."""
    own = [sum(l != IGNORED for l in e["labels"][1:]) for e in window]
    all = {}
    for e, n in zip(window, own):
        all[e["step"]] = all.get(e["step"], 0) + n
    return [n / all[e["step"]] for e, n in zip(window, own)]


def train(job):
    r = job["recipe"]
    compute = torch.bfloat16 if r["compute"] == "bf16" else torch.float32
    ready = os.path.exists(os.path.join(job["model"], "config.json")) and "quantization_config" in json.load(open(os.path.join(job["model"], "config.json")))
    base = load(job["model"], dtype=compute, quantise=compute if r["quant"] == "nf4" and not ready else None)
    if r["quant"] == "nf4":
        base = prepare_model_for_kbit_training(base, use_gradient_checkpointing=False)
    m = PeftModel.from_pretrained(base, job["start"], is_trainable=True)
    m.train()
    ps = [p for p in m.parameters() if p.requires_grad]
    make = torch.optim.AdamW if r["optimiser"] == "adamw" else torch.optim.Adam
    opt = make(ps, lr=r["lr"], betas=tuple(r["betas"]), eps=r["eps"], weight_decay=r["weight_decay"])
    sched, window, done = rates(opt, r), [], 0
    for line in open(job["examples"]):
        window.append(json.loads(line))
        if "window" not in window[-1]:
            continue
        began, busy, rate, norm = time.perf_counter(), time.process_time(), [], None
        share = shares(window)
        each = dict.fromkeys((e["step"] for e in window), 0.0)  # of the micro-batches
        for at in range(0, len(window), job["batch"]):
            some = losses(m, window[at : at + job["batch"]]) * torch.tensor(share[at : at + job["batch"]])
            (some.sum() / r["accumulate"]).backward()
            for e, l in zip(window[at:], some.tolist()):
                each[e["step"]] += l
        for i in range(len(each)):
            rate.append(opt.param_groups[0]["lr"])
            if i < len(each) - 1:
                sched.step()
        if window[-1]["window"] == "update":
            norm = torch.nn.utils.clip_grad_norm_(ps, r["clip"] if r["clip"] > 0 else math.inf).item()
            opt.step()
        opt.zero_grad()
        sched.step()
        say(step=window[-1]["step"], losses=list(each.values()), lr=rate, grad_norm=norm, tokens=sum(len(e["ids"]) for e in window), seconds=time.perf_counter() - began, cpu=time.process_time() - busy)
        window, done = [], done + 1
        if done == job["windows"]:
            break
    if job["out"]:
        m.save_pretrained(job["out"])


def ceiling(job):
    n = job["size"]
    for name, dtype in ("f32", torch.float32), ("bf16", torch.bfloat16):
        a, b, best = torch.randn(n, n).to(dtype), torch.randn(n, n).to(dtype), 0.0
        for _ in range(6):
            began = time.perf_counter()
            a @ b
            best = max(best, 2 * n**3 / (time.perf_counter() - began) / 1e9)
        say(type=name, gflops=best)


if __name__ == "__main__":
    verbs = dict(versions=versions, folder=folder, random=random, quantise=quantise, logits=logits, train=train, ceiling=ceiling)
    job = json.load(sys.stdin)
    if "threads" in job:
        torch.set_num_threads(job["threads"])
    verbs[sys.argv[1]](job)
