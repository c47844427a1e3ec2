"""Turn training text into the arrays that train.py reads.

    pack.py TOKENIZER.json OUT_PREFIX TEXT.jsonl [--copy 0.03] [--seed 1]

Rows of one task share one copy of its instruction: a sequence of T tokens is
the common prefix of the rows' prompts followed by several rows, each of which
sees the prefix and itself, with positions that go on from the prefix. That is
the same computation as one row a sequence, at a third of the tokens.

OUT_PREFIX.{ids,pos,seg,w}.npy hold [sequences, T]: token, position, row within
the sequence (0: the prefix, 255: padding), weight of the token's prediction
(positive on answers, negative on a row's own prompt tokens, 0 elsewhere);
OUT_PREFIX.task.npy [sequences] the task's place in tasks.json's order, 255 for
random repeats.
"""
import argparse
import json
import math
import random

import numpy as np
from tokenizers import Tokenizer

from common import BOS, CONFIG, EOS, PAD, SEQ

PROMPT_WEIGHT = 0.1
PART = 512  # rows a call of the tokenizer


def answer_weight(n):
    """A label of two tokens counts twice as much as a sentence of eight."""
    return (1.0 if n > 8 else 2.0) / math.sqrt(n / 2)


def cut_point(tok, prompts):
    """Characters that all prompts share, cut where the tokenizer cuts words in
    each of them, so that the rest can be tokenised on its own."""
    a, b = min(prompts), max(prompts)
    n = next((i for i, (x, y) in enumerate(zip(a, b)) if x != y), min(len(a), len(b)))
    cuts = None
    for p in prompts[:200]:
        here = {s for _, (s, _) in tok.pre_tokenizer.pre_tokenize_str(p) if s <= n}
        cuts = here if cuts is None else cuts & here
    return max(cuts)


class Writer:
    def __init__(self):
        self.rows = {k: [] for k in ("ids", "pos", "seg", "w", "task")}

    def add(self, ids, pos, seg, w, task):
        n = SEQ - len(ids)
        r = self.rows
        r["ids"].append(np.array(ids + [PAD] * n, np.uint16))
        r["pos"].append(np.array(pos + [0] * n, np.uint16))
        r["seg"].append(np.array(seg + [255] * n, np.uint8))
        r["w"].append(np.array(w + [0.0] * n, np.float16))
        r["task"].append(task)

    def save(self, prefix):
        for k, v in self.rows.items():
            np.save(f"{prefix}.{k}.npy", np.stack(v) if k != "task" else np.array(v, np.uint8))


def pack(out, task, prefix, rows, rng):
    """First fit in the order of a shuffle."""
    n0 = len(prefix) + 1
    ids = None
    rng.shuffle(rows)
    dropped = 0
    for p, c in rows:
        n = len(p) + len(c)
        if n0 + n > SEQ:
            dropped += 1
            continue
        if ids is None or len(ids) + n > SEQ or seg[-1] == 254:
            if ids is not None:
                out.add(ids, pos, seg, w, task)
            ids, pos, seg, w = [BOS] + prefix, list(range(n0)), [0] * n0, [0.0] * n0
        k = seg[-1] + 1
        ids += p + c
        pos += range(n0, n0 + n)
        seg += [k] * n
        # The first token of a row follows the prefix, whose end is not its
        # neighbour here: no loss.
        v = [-PROMPT_WEIGHT] * len(p) + [answer_weight(len(c))] * len(c)
        v[0] = 0.0
        w += v
    if ids is not None:
        out.add(ids, pos, seg, w, task)
    return dropped


def repeats(out, n, rng):
    """Runs of random tokens that come again, whole or as names in another
    order: a dense signal from which a small model learns to copy."""
    draw = lambda k: [rng.randrange(3, CONFIG["vocab_size"]) for _ in range(k)]
    for _ in range(n):
        ids, pos, seg, w = [BOS], [0], [0], [0.0]
        while True:
            if rng.random() < 0.4:
                run = draw(rng.randint(8, 60))
                x = run + draw(rng.randint(0, 3))
                v = [0.0] * (len(x) + 1) + [0.3] * (len(run) - 1)
                x = x + run
            else:
                names = [draw(rng.randint(2, 6)) for _ in range(rng.randint(3, 9))]
                x = [t for m in names for t in m + draw(rng.randint(0, 2))]
                v = [0.0] * len(x)
                rng.shuffle(names)
                for m in names:
                    glue = draw(rng.randint(0, 2))
                    x += glue + m
                    v += [0.0] * (len(glue) + 1) + [0.3] * (len(m) - 1)
            if len(ids) + len(x) > SEQ:
                break
            k = seg[-1] + 1
            ids += x; pos += range(1, 1 + len(x)); seg += [k] * len(x); w += v
        out.add(ids, pos, seg, w, 255)


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("tokenizer"); ap.add_argument("out"); ap.add_argument("text")
    ap.add_argument("--copy", type=float, default=0.03, help="random repeats, as a share of the sequences")
    ap.add_argument("--seed", type=int, default=1)
    a = ap.parse_args()
    tok = Tokenizer.from_file(a.tokenizer)
    rng = random.Random(a.seed)
    by_task = {}
    with open(a.text, encoding="utf-8") as f:
        for line in f:
            r = json.loads(line)
            by_task.setdefault(r["task"], []).append((r["prompt"], r["completion"]))
    out, dropped, rows = Writer(), 0, 0
    for t, task in enumerate(sorted(by_task)):
        text = by_task[task]
        n = cut_point(tok, [p for p, _ in text])
        prefix = tok.encode(text[0][0][:n], add_special_tokens=False).ids
        for p, _ in text[:50]:  # the cut changes no token
            assert tok.encode(p, add_special_tokens=False).ids == prefix + tok.encode(p[n:], add_special_tokens=False).ids, (task, p)
        data = []
        for i in range(0, len(text), PART):
            part = text[i:i + PART]
            ps = tok.encode_batch_fast([p[n:] for p, _ in part], add_special_tokens=False)
            # The completion is tokenised on its own, as it is when a model continues.
            cs = tok.encode_batch_fast([c for _, c in part], add_special_tokens=False)
            data += [(p.ids, c.ids + [EOS]) for p, c in zip(ps, cs)]
        rows += len(data)
        dropped += pack(out, t, prefix, data, rng)
    n = len(out.rows["ids"])
    repeats(out, int(n * a.copy), rng)
    out.save(a.out)
    json.dump(sorted(by_task), open(a.out + ".tasks.json", "w"))
    print(a.text, "rows", rows, "too long", dropped, "sequences", len(out.rows["ids"]), flush=True)


if __name__ == "__main__":
    main()
