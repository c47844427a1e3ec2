"""Train the demonstration model.

    train.py TRAIN.jsonl TOKENIZER.json OUT_DIR [--minutes 75 | --steps N] [--workers 2]

Rows of one task share one copy of its instruction: a sequence is the common
prefix of the rows' prompts followed by several rows, each of which sees the
prefix and itself, with positions that go on from the prefix. That is the same
computation as one row a sequence, at a third of the tokens.
"""
import argparse
import math
import os
import random
import time

import numpy as np
import torch
import torch.distributed as dist
import torch.nn.functional as F
from tokenizers import Tokenizer

from common import BOS, CONFIG, EOS, PAD, Llama, hf_state, read_jsonl

ap = argparse.ArgumentParser()
ap.add_argument("train"); ap.add_argument("tokenizer"); ap.add_argument("out")
ap.add_argument("--minutes", type=float, default=75)
ap.add_argument("--steps", type=int, default=0, help="length of the schedule; without it --minutes rules")
ap.add_argument("--lr", type=float, default=2e-3)
ap.add_argument("--muon", type=float, default=0.0, help="learning rate of Muon for the matrices; 0: AdamW for all")
ap.add_argument("--decay", type=float, default=0.02, help="weight decay of Muon")
ap.add_argument("--tokens", type=int, default=3072, help="tokens a step and worker")
ap.add_argument("--seq", type=int, default=320)
ap.add_argument("--prompt-weight", type=float, default=0.1)
ap.add_argument("--workers", type=int, default=2, help="processes of one thread each; gradients are averaged")
ap.add_argument("--copy", type=float, default=0.25, help="share of the sequences that are runs of random tokens said again")
ap.add_argument("--init", default="", help="checkpoint to start from")
ap.add_argument("--seed", type=int, default=1)
ap.add_argument("--save-every", type=float, default=8, help="minutes")
a = ap.parse_args()
# One thread a process: with two threads in one process and other work on the
# machine, each matrix product waits for the slower thread.
os.makedirs(a.out, exist_ok=True)

# --- rows -> tokens -------------------------------------------------------
tok = Tokenizer.from_file(a.tokenizer)
tok.no_padding()
by_task, prefix = {}, {}
rows = read_jsonl(a.train)
for i in range(0, len(rows), 20000):
    part = rows[i:i + 20000]
    ps = tok.encode_batch([r["prompt"] for r in part], add_special_tokens=False)
    # The completion is tokenised on its own, as it is when a model continues.
    cs = tok.encode_batch([r["completion"] for r in part], add_special_tokens=False)
    for r, p, c in zip(part, ps, cs):
        by_task.setdefault(r["task"], []).append((np.array(p.ids, np.uint16), np.array(c.ids + [EOS], np.uint16)))
del rows
for t, l in by_task.items():
    n = min(len(p) for p, _ in l)
    first = l[0][0][:n]
    for p, _ in l:
        d = np.nonzero(p[:n] != first[:n])[0]
        if len(d):
            n = int(d[0])
    prefix[t] = first[:n].copy()
    by_task[t] = [(p[n:], c) for p, c in l]
names = sorted(by_task)
rank = 0
for r in range(1, a.workers):
    if os.fork() == 0:
        rank = r
        break
torch.set_num_threads(1)
torch.manual_seed(a.seed)
rng = random.Random(a.seed * 1000 + rank)
if a.workers > 1:
    dist.init_process_group("gloo", init_method=f"file://{os.path.abspath(a.out)}/rendezvous", rank=rank, world_size=a.workers)
if rank == 0:
    print("rows", sum(map(len, by_task.values())), "tokens", sum(len(p) + len(c) for l in by_task.values() for p, c in l), flush=True)


def tasks_in_turn():
    """Sequences, task by task in proportion to the rows left; epochs without end."""
    while True:
        todo = []
        for t in names:
            l = list(range(len(by_task[t])))
            rng.shuffle(l)
            room = a.seq - len(prefix[t]) - 1
            cur, used = [], 0
            for i in l:
                n = sum(map(len, by_task[t][i]))
                if n > max(room, 900):
                    continue
                if cur and used + n > room:
                    todo.append((t, cur)); cur, used = [], 0
                cur.append(i); used += n
            if cur:
                todo.append((t, cur))
        rng.shuffle(todo)
        yield from todo


def build(t, idx):
    pre = prefix[t]
    n0 = len(pre) + 1
    ids, pos, seg, w = [BOS] + pre.tolist(), list(range(n0)), [0] * n0, [0.0] * n0
    for k, i in enumerate(idx, 1):
        p, c = by_task[t][i]
        x = p.tolist() + c.tolist()
        ids += x; pos += range(n0, n0 + len(x)); seg += [k] * len(x)
        # w[j] weighs the prediction of token j; the first token of a row
        # follows the prefix, whose end is not its neighbour here: no loss.
        cw = 1.0 if len(c) > 8 else 2.0
        w += [0.0 if j == 0 else a.prompt_weight for j in range(len(p))] + [cw / math.sqrt(len(c) / 2)] * len(c)
        if len(p) == 0:
            w[-len(c)] = 0.0
    return ids, pos, seg, w


def build_copy():
    """Runs of random tokens that come again, whole or as names in another
    order: the dense signal from which a small model learns to copy."""
    ids, pos, seg, w = [BOS], [0], [0], [0.0]
    k = 0
    while len(ids) < a.seq - 60:
        k += 1
        draw = lambda n: [rng.randrange(3, CONFIG["vocab_size"]) for _ in range(n)]
        if rng.random() < 0.4:
            run = draw(rng.randint(8, 60))
            x = run + draw(rng.randint(0, 3))
            v = [0.0] * len(x)
            x += run
            v += [0.0] + [1.0] * (len(run) - 1)
        else:
            names = [draw(rng.randint(2, 6)) for _ in range(rng.randint(3, 9))]
            x, v = [], []
            for n in names:
                x += n + draw(rng.randint(0, 2))
            v = [0.0] * len(x)
            rng.shuffle(names)
            for n in names:
                glue = draw(rng.randint(0, 2))
                x += glue + n
                v += [0.0] * (len(glue) + 1) + [1.0] * (len(n) - 1)
        if len(ids) + len(x) > a.seq + 40:
            break
        ids += x; pos += range(1, 1 + len(x)); seg += [k] * len(x); w += [0.3 * y for y in v]
    return ids, pos, seg, w


def batch(stream):
    seqs, total, copies = [], 0, []
    while total < a.tokens:
        copies.append(rng.random() < a.copy * (1 - done))
        s = build_copy() if copies[-1] else build(*next(stream))
        seqs.append(s); total += len(s[0])
    T = -(-max(len(s[0]) for s in seqs) // 32) * 32
    B = len(seqs)
    ids = torch.full((B, T), PAD); pos = torch.zeros(B, T, dtype=torch.long)
    seg = torch.full((B, T), -1); w = torch.zeros(B, T)
    for i, s in enumerate(seqs):
        n = len(s[0])
        ids[i, :n] = torch.tensor(s[0]); pos[i, :n] = torch.tensor(s[1])
        seg[i, :n] = torch.tensor(s[2]); w[i, :n] = torch.tensor(s[3])
    causal = torch.ones(T, T, dtype=torch.bool).tril()
    mask = (seg[:, :, None] == seg[:, None, :]) | (seg[:, None, :] == 0)
    mask = (mask & causal)[:, None]
    return ids, pos, mask, w, torch.tensor(copies), total


done = 0.0  # share of the schedule that is over; copying fades out with it

# --- model and optimiser --------------------------------------------------
model = Llama(CONFIG)
if a.init:
    from safetensors.torch import load_file
    names_hf = dict(zip(hf_state(model).keys(), model.state_dict().keys()))
    model.load_state_dict({names_hf[k]: v for k, v in load_file(a.init).items()})
if rank == 0:
    print("parameters", sum(p.numel() for p in model.parameters()), flush=True)
mats = [p for n, p in model.named_parameters() if p.dim() == 2 and not n.startswith("embed")]
rest = [p for n, p in model.named_parameters() if p.dim() != 2 or n.startswith("embed")]


class Muon(torch.optim.Optimizer):
    """Momentum orthogonalised by five Newton-Schulz steps (Jordan et al., 2024)."""

    def __init__(self, params, lr, momentum=0.95, wd=0.02):
        super().__init__(params, dict(lr=lr, momentum=momentum, wd=wd))

    @torch.no_grad()
    def step(self):
        for g in self.param_groups:
            for p in g["params"]:
                s = self.state[p]
                m = s.setdefault("m", torch.zeros_like(p))
                m.lerp_(p.grad, 1 - g["momentum"])
                x = p.grad.lerp(m, g["momentum"]).bfloat16()
                flip = x.shape[0] > x.shape[1]
                if flip:
                    x = x.T
                x = x / (x.norm() + 1e-7)
                for _ in range(5):
                    y = x @ x.T
                    x = 3.4445 * x + (-4.7750 * y + 2.0315 * (y @ y)) @ x
                if flip:
                    x = x.T
                p.mul_(1 - g["lr"] * g["wd"])
                p.add_(x.float(), alpha=-g["lr"] * max(1, p.shape[0] / p.shape[1]) ** 0.5)


if a.muon:
    opts = [Muon(mats, a.muon, wd=a.decay), torch.optim.AdamW(rest, lr=a.lr, betas=(0.9, 0.95), weight_decay=0.0)]
else:
    opts = [torch.optim.AdamW([{"params": mats, "weight_decay": 0.05}, {"params": rest, "weight_decay": 0.0}], lr=a.lr, betas=(0.9, 0.95))]
base = [[g["lr"] for g in o.param_groups] for o in opts]


def save(name):
    from safetensors.torch import save_file
    tmp = os.path.join(a.out, name + ".tmp")
    save_file({k: v.detach().float().contiguous() for k, v in hf_state(model).items()}, tmp)
    os.replace(tmp, os.path.join(a.out, name))


params = list(model.parameters())
start = last_save = last_log = time.time()
step, seen, avg, avg_t, avg_c = 0, 0, None, None, None
stream = tasks_in_turn()
while True:
    frac = step / a.steps if a.steps else (time.time() - start) / (60 * a.minutes)
    if a.workers > 1:  # all workers stop together
        f = torch.tensor([frac])
        dist.broadcast(f, 0)
        frac = f.item()
    if frac >= 1:
        break
    lr = min(1.0, (step + 1) / 30) * (0.03 + 0.97 * 0.5 * (1 + math.cos(math.pi * frac)))
    for o, b in zip(opts, base):
        for g, l in zip(o.param_groups, b):
            g["lr"] = l * lr
    done = frac
    ids, pos, mask, w, copies, n = batch(stream)
    with torch.autocast("cpu", torch.bfloat16):
        h = model(ids, pos, mask)
    # Prompt tokens: a quarter of them, drawn anew each time, at four times the weight.
    tw = w[:, 1:]
    isp = (tw > 0) & (tw <= a.prompt_weight)
    pick = (tw > a.prompt_weight) | (isp & (torch.rand(tw.shape) < 0.25))
    tw = torch.where(isp, tw * 4, tw)[pick]
    hs, ts = h[:, :-1][pick], ids[:, 1:][pick]
    with torch.autocast("cpu", torch.bfloat16):
        logits = F.linear(hs, model.embed_tokens.weight)
    ce = F.cross_entropy(logits.float(), ts, reduction="none")
    loss = (ce * tw).sum() / tw.sum()
    for o in opts:
        o.zero_grad(set_to_none=True)
    loss.backward()
    if a.workers > 1:
        flat = torch.cat([p.grad.reshape(-1) for p in params])
        dist.all_reduce(flat)
        flat /= a.workers
        for p, g in zip(params, flat.split([p.numel() for p in params])):
            p.grad = g.view_as(p)
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    for o in opts:
        o.step()
    with torch.no_grad():
        iscopy = copies[:, None].expand(pick.shape)[pick]
        m = (tw > 4 * a.prompt_weight + 1e-6) & ~iscopy
        tl = (ce * tw)[m].sum() / tw[m].sum().clamp(min=1e-9)
        if iscopy.any():
            m = iscopy & (tw > 0)
            cl = ce[m].mean().item()
            avg_c = cl if avg_c is None else 0.9 * avg_c + 0.1 * cl
    avg = loss.item() if avg is None else 0.95 * avg + 0.05 * loss.item()
    avg_t = tl.item() if avg_t is None else 0.95 * avg_t + 0.05 * tl.item()
    step += 1; seen += n * a.workers
    now = time.time()
    if rank == 0 and now - last_log > 20:
        print(f"step {step} min {(now - start) / 60:.1f} tokens {seen / 1e6:.2f}M ({seen / (now - start):.0f}/s) lr {lr:.3f} loss {avg:.4f} target {avg_t:.4f} copy {avg_c or 0:.3f}", flush=True)
        last_log = now
    if rank == 0 and now - last_save > 60 * a.save_every:
        save("last.safetensors"); last_save = now
if rank == 0:
    save("last.safetensors")
    print(f"done: steps {step} tokens {seen} minutes {(time.time() - start) / 60:.1f} loss {avg:.4f} target {avg_t:.4f}", flush=True)
