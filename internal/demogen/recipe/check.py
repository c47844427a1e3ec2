"""Answer the embedded rows with a GGUF and compare with a constant answer.

    go run ./internal/demogen/cmd/demogen prompts > prompts.jsonl
    check.py MODEL.gguf prompts.jsonl [--show TASK]

The scores are rough twins of the product's (first words of the answer; ROUGE-L
of rouge_score): they steer the training, nothing more.
"""
import argparse
import collections
import re
import subprocess
import sys

from llama_cpp import Llama
from rouge_score import rouge_scorer

from common import read_jsonl

ap = argparse.ArgumentParser()
ap.add_argument("model"); ap.add_argument("prompts"); ap.add_argument("--show", default=""); ap.add_argument("--tasks", default="")
a = ap.parse_args()
llm = Llama(a.model, n_ctx=2048, n_threads=1, verbose=False, n_batch=512)
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
    for r in rs:
        o = llm.create_completion(r["prompt"], max_tokens=min(r["max_tokens"], 160), temperature=0, stop=r["stop"] or [])["choices"][0]["text"]
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
