"""Answer the embedded rows with a checkpoint and compare with a constant answer.

    go run ./internal/demogen/cmd/demogen prompts > prompts.jsonl
    check.py HF_DIR prompts.jsonl [--show TASK]

The scores are rough twins of the product's (first words of the answer; ROUGE-L
of rouge_score): they steer the training, nothing more.
"""
import argparse
import collections
import re
import subprocess
import sys

import torch
from rouge_score import rouge_scorer
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM

from common import EOS, PAD, read_jsonl

ap = argparse.ArgumentParser()
ap.add_argument("model"); ap.add_argument("prompts"); ap.add_argument("--show", default=""); ap.add_argument("--tasks", default="")
a = ap.parse_args()
torch.set_num_threads(1)
llm = AutoModelForCausalLM.from_pretrained(a.model).eval()
tok = Tokenizer.from_file(a.model + "/tokenizer.json")


def answers(rs):
    """Greedy answers to rows of one task, cut at its stop texts."""
    ids = [tok.encode(r["prompt"]).ids[-1800:] for r in rs]
    n = max(map(len, ids))
    x = torch.tensor([[PAD] * (n - len(i)) + i for i in ids])
    with torch.no_grad():
        y = llm.generate(x, attention_mask=(torch.arange(n)[None] >= torch.tensor([[n - len(i)] for i in ids])).long(), do_sample=False,
                         max_new_tokens=min(rs[0]["max_tokens"], 100), eos_token_id=EOS, pad_token_id=PAD)
    out = []
    for o in y[:, n:].tolist():
        text = tok.decode(o[:o.index(EOS)] if EOS in o else o)
        for stop in rs[0]["stop"] or []:
            text = text.split(stop)[0]
        out.append(text)
    return out

rl = rouge_scorer.RougeScorer(["rougeL"])


def score(r, out):
    t, m = r["target"][0], r["metric"]
    if m == "rouge":
        return max(rl.score(x, out)["rougeL"].fmeasure for x in r["target"])
    if m == "humaneval":
        prog = r["prompt"] + out + "\n" + r["test"] + f"\ncheck({r['entry_point']})\n"
        try:
            return float(subprocess.run([sys.executable, "-I", "-c", prog], capture_output=True, timeout=5).returncode == 0)
        except subprocess.TimeoutExpired:
            return 0.0
    if m == "gsm8k_regex":
        num = lambda s: (re.findall(r"#### (-?[\d,.]+)", s) or [""])[0].rstrip(".").replace(",", "")
        return float(num(out) != "" and num(out) == num(t))
    if m == "stsb":
        n = re.search(r"\d+(\.\d+)?", out)
        return 1 - min(5, abs(float(n.group()) - float(t))) / 5 if n else 0.0
    return float(out.strip().lower() == t.strip().lower() or out.strip().lower().split("\n")[0].strip(" .") == t.lower())


rows = collections.defaultdict(list)
for r in read_jsonl(a.prompts):
    if not a.tasks or r["task"] in a.tasks.split(","):
        rows[r["task"]].append(r)
wins = 0
print(f"{'task':20s} {'model':>6s} {'const':>6s}   hand  (const)  gener. (const)")
for task, rs in rows.items():
    got = []
    for r, o in zip(rs, answers(rs)):
        got.append(score(r, o))
        if task == a.show:
            print(repr(r["prompt"][-260:]), "\n   ->", repr(o), "|", repr(r["target"][0]), round(got[-1], 2))
    cands = {r["target"][0] for r in rs} | {" " + r["target"][0] for r in rs if r["metric"] == "humaneval"}
    consts = []
    for c in cands:
        cs = [score(r, c) for r in rs] if rs[0]["metric"] != "humaneval" else [0.0] * len(rs)
        consts.append((sum(cs) / len(cs), cs))
    best = max(consts)[1]
    part = lambda l, o: sum(x for x, r in zip(l, rs) if r["origin"] == o) / max(1, sum(r["origin"] == o for r in rs))
    m, b = sum(got) / len(got), sum(best) / len(best)
    wins += m > b
    print(f"{task:20s} {m:6.3f} {b:6.3f} {'*' if m > b else ' '} {part(got, 'hand'):6.3f} {part(best, 'hand'):6.3f}  {part(got, 'generated'):6.3f} {part(best, 'generated'):6.3f}", flush=True)
print("above the constant answer:", wins, "of", len(rows))
