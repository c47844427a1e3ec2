#!/usr/bin/env python3
"""Prints how fast Hugging Face tokenizers encodes the text of BenchmarkEncode on one core.

    RAYON_NUM_THREADS=1 taskset -c 0 python peer.py tokenizer.json...

Times are of the process, so that a busy machine does not count. Development only. The text
is that of english() in bench_test.go, 1 MiB.
"""
import sys
import time

from tokenizers import Tokenizer

WORDS = """the of and to in a is that for it as was with be by on not he his but at are this have from or had an they which one you were her all she there would their we him been has when who will more no if out so said what up its about into than them can only other new some could time these two may then do first any my now such like our over man me even most made after also did many before must through back years where much your way well down should because each just those people how too little state good very make world still own see men work long get here between both life being under never day same another know while last might us great old year off come since against go came right used take three""".split()
TAIL = """administration knowledgeable international unquestionable photosynthesis characteristic extraordinarily neighbourhood Mediterranean incomprehensible thermodynamics archaeological bureaucratic constitutional philosophical hypothesis quantitative Shakespeare 1984 3.14159 e-mail self-evident co-operation""".split()


def english(n):
    state, parts, size = 1, [], 0

    def draw(k):
        nonlocal state
        state = (state * 1664525 + 1013904223) & 0xFFFFFFFF
        return (state >> 8) % k

    while size < n:
        k = draw(100)
        word = TAIL[draw(len(TAIL))] if k < 6 else WORDS[draw(len(WORDS))] + WORDS[draw(len(WORDS))] if k < 14 else WORDS[draw(len(WORDS))]
        k = draw(20)
        word += ".\n\n" if k == 0 else ", " if k < 3 else ". The " if k == 3 else " "
        parts.append(word)
        size += len(word)
    return "".join(parts)


text = english(1 << 20)
for path in sys.argv[1:]:
    t = Tokenizer.from_file(path)
    t.encode(text[:10000])
    best = 1e9
    for _ in range(3):
        start = time.process_time()
        n = len(t.encode(text).ids)
        best = min(best, time.process_time() - start)
    # Long texts go in lines, too: the library does better on short ones.
    lines = text.split("\n\n")
    start = time.process_time()
    for line in lines:
        t.encode(line)
    by_line = time.process_time() - start
    print(f"{path}: {len(text) / best / 1e6:.1f} MB/s in one piece ({n} tokens), {len(text) / by_line / 1e6:.1f} MB/s by paragraph")
