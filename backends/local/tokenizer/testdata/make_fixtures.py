"""Makes pipelines.jsonl.gz: small tokenizers of every supported kind of step and
what Hugging Face's library answers for them.

    pip install tokenizers==0.23.3
    python make_fixtures.py | gzip -9n > pipelines.jsonl.gz

A row with "file" holds a tokenizer.json; the rows after it hold texts, ids
(without and with special tokens, and literally) and decoded texts. Trained on
the sentences below; no text of others is in it.
"""
import json, random
from tokenizers import Tokenizer, AddedToken, Regex, models, trainers, normalizers as n, pre_tokenizers as p, decoders as d, processors

TEXT = """The small grey cat sat on the mat, and the cat's owner didn't mind. It wasn't theirs!
We'll count 1, 12, 123, 1234 and 56789 apples; they've cost $3.50 each (or 42% less).
Naïve café owners über-serve crêpes. Ελλάδα Россия 東京 中文 한국 ١٢٣ ⅷ ½ 😀👍🏽
def f(x):\n\treturn x ** 2  # square\n\n\n    if x == 10:\n        print("ten")\r\n
cat cats catty concatenate mat mats matter theatre there then than the other others""".split("\n")
rng = random.Random(7)

def texts(extra):
    pieces = ["the cat", " ", "  ", "   ", "\n", "\n\n", "\r\n", "\t", "'s", "'LL", "'ſ", "don't", "123", "12345", "١٢", "½", "é", "e\u0301", "İ", "ß", "ﬁ", "中文", "東", "😀", "👍🏽", "\u200d", "\u00a0", "\u3000", "\u2028", "\x85", "\x00", "_", "-", "...", "!?", "(", "<", ">", "▁", "Ġ", "A", "ΑΣ", "x", "theatre", "unseen", "qzj", "\ufffd", "ǅ", "\u1680", "²", "𝟙"] + extra
    out = ["", " ", "a", "The cat sat on the mat.", " The cat", "the cat ", *TEXT[:4], *extra]
    for _ in range(70):
        out.append("".join(rng.choice(pieces) for _ in range(rng.randint(1, 9))))
    return out

def bpe(norm=None, pre=None, dec=None, post=None, vocab=330, added=(), **model):
    t = Tokenizer(models.BPE(**model))
    if norm: t.normalizer = norm
    if pre: t.pre_tokenizer = pre
    special = [x for x in ("<unk>",) if model.get("unk_token")]
    initial = p.ByteLevel.alphabet() if "ByteLevel" in str(pre) else []
    if model.get("byte_fallback"):
        special += [f"<0x{b:02X}>" for b in range(256)]
        vocab += 256
    t.train_from_iterator(TEXT, trainers.BpeTrainer(vocab_size=vocab, special_tokens=special, initial_alphabet=initial, show_progress=False))
    if model.get("byte_fallback"): # the trainer made them special; they are ordinary tokens
        j = json.loads(t.to_str()); j["added_tokens"] = [a for a in j["added_tokens"] if not a["content"].startswith("<0x")]
        t = Tokenizer.from_str(json.dumps(j))
    finish(t, dec, post, added)
    return t

def finish(t, dec, post, added):
    if dec: t.decoder = dec
    for a in added: (t.add_special_tokens if a.special else t.add_tokens)([a])
    if post: t.post_processor = post(t)

def unigram(norm, pre, dec, **kw):
    t = Tokenizer(models.Unigram())
    t.normalizer, t.pre_tokenizer = norm, pre
    t.train_from_iterator(TEXT * 3, trainers.UnigramTrainer(vocab_size=150, unk_token="<unk>", special_tokens=["<unk>"], show_progress=False))
    finish(t, dec, None, kw.get("added", ()))
    return t

bos = lambda t: processors.TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", t.token_to_id("<s>")), ("</s>", t.token_to_id("</s>"))])
sp = [AddedToken("<s>", special=True, normalized=False), AddedToken("</s>", special=True, normalized=False)]
flags = sp + [AddedToken("<l>", lstrip=True, normalized=False), AddedToken("<r>", rstrip=True, normalized=False), AddedToken("<lr>", lstrip=True, rstrip=True, special=True, normalized=False), AddedToken("the cat", single_word=True, normalized=False), AddedToken("NormedCafé", normalized=True), AddedToken("<s><s>", normalized=False)]
isolated = lambda r, b="isolated", inv=False: p.Split(Regex(r), b, inv)
byte = p.ByteLevel(add_prefix_space=False, use_regex=False)
llama3 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
o200k = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
meta = lambda s, split=True: p.Metaspace(replacement="▁", prepend_scheme=s, split=split)
metad = lambda s: d.Metaspace(replacement="▁", prepend_scheme=s)
llamadec = d.Sequence([d.Replace("▁", " "), d.ByteFallback(), d.Fuse(), d.Strip(" ", 1, 0)])

CASES = {
    "gpt2 with prefix space": bpe(pre=p.ByteLevel(add_prefix_space=True), dec=d.ByteLevel(), post=lambda t: processors.ByteLevel()),
    "gpt2 and added tokens with flags": bpe(norm=n.NFC(), pre=p.ByteLevel(add_prefix_space=False), dec=d.ByteLevel(), added=flags, post=bos),
    "llama3": bpe(pre=p.Sequence([isolated(llama3), byte]), dec=d.ByteLevel(), ignore_merges=True, added=sp, post=lambda t: processors.Sequence([processors.ByteLevel(), bos(t)])),
    "qwen2": bpe(norm=n.NFC(), pre=p.Sequence([isolated(llama3.replace(r"\p{N}{1,3}", r"\p{N}")), byte]), dec=d.ByteLevel()),
    "o200k": bpe(pre=p.Sequence([isolated(o200k), byte]), dec=d.ByteLevel()),
    "deepseek-like": bpe(pre=p.Sequence([isolated(r"[\r\n]"), isolated(r"\s?\p{L}+"), isolated(r"\s?\p{P}+"), p.Digits(True), byte]), dec=d.ByteLevel()),
    "starcoder": bpe(pre=p.Sequence([p.Digits(True), p.ByteLevel(add_prefix_space=False)]), dec=d.ByteLevel()),
    "digits in runs": bpe(pre=p.Sequence([p.Digits(False), byte]), dec=d.ByteLevel()),
    "llama": bpe(norm=n.Sequence([n.Prepend("▁"), n.Replace(" ", "▁")]), dec=llamadec, unk_token="<unk>", byte_fallback=True, fuse_unk=True, added=flags, post=bos),
    "llama without fallback": bpe(norm=n.Sequence([n.Prepend("▁"), n.Replace(" ", "▁")]), dec=llamadec, unk_token="<unk>", fuse_unk=True, vocab=120),
    "no fusing": bpe(norm=n.Replace(" ", "▁"), dec=d.Replace("▁", " "), unk_token="<unk>", vocab=120),
    "no unknown token": bpe(pre=meta("always"), dec=metad("always"), vocab=120),
    "metaspace always": bpe(pre=meta("always"), dec=metad("always"), unk_token="<unk>", byte_fallback=True, added=sp),
    "metaspace first": bpe(pre=meta("first", False), dec=metad("first"), unk_token="<unk>", byte_fallback=True, added=sp),
    "metaspace never": bpe(pre=meta("never"), dec=metad("never"), unk_token="<unk>", added=sp),
    "whitespace": bpe(norm=n.Sequence([n.NFKC(), n.Lowercase()]), pre=p.Whitespace(), unk_token="<unk>", added=[AddedToken("CAT", normalized=True)]),
    "whitespace split, stripped": bpe(norm=n.Sequence([n.NFD(), n.StripAccents(), n.Strip()]), pre=p.Sequence([p.WhitespaceSplit(), p.Punctuation("isolated")]), unk_token="<unk>"),
    "punctuation with previous": bpe(norm=n.NFKD(), pre=p.Punctuation("merged_with_previous"), dec=d.Fuse(), unk_token="<unk>"),
    "split removed": bpe(pre=p.Split(" ", "removed"), dec=d.Fuse(), unk_token="<unk>"),
    "split with previous": bpe(pre=isolated(r"\s", "merged_with_previous"), dec=d.Fuse(), unk_token="<unk>"),
    "split with next": bpe(pre=isolated(r"\s", "merged_with_next"), dec=d.Fuse(), unk_token="<unk>"),
    "split contiguous": bpe(pre=isolated(r"[aeiou ]", "contiguous"), dec=d.Fuse(), unk_token="<unk>"),
    "split inverted": bpe(pre=isolated(r"\p{L}+", "removed", True), dec=d.Fuse(), unk_token="<unk>"),
    "replace by pattern": bpe(norm=n.Sequence([n.Replace(Regex(r"\s+"), " "), n.Replace(Regex(r"(?<=\d)\d"), "#")]), pre=p.Split(" ", "merged_with_next"), dec=d.Fuse(), unk_token="<unk>"),
    "unigram": unigram(n.NFKC(), meta("always"), metad("always"), added=sp),
    "unigram in one piece": unigram(n.Replace(" ", "▁"), meta("never", False), metad("never")),
}
for name, t in CASES.items():
    print(json.dumps({"name": name, "file": json.loads(t.to_str())}, ensure_ascii=False))
    extra = [a.content for a in t.get_added_tokens_decoder().values()][:8]
    extra += [f" {a} " for a in extra] + [f"x{a}y" for a in extra] + ["  " + "  ".join(extra) + "  ", "NormedCafe\u0301"]
    for x in texts(extra):
        ids = t.encode(x, add_special_tokens=False).ids
        row = {"text": x, "ids": ids, "special": t.encode(x).ids, "decoded": t.decode(ids, skip_special_tokens=False), "skipped": t.decode(ids)}
        t.encode_special_tokens = True
        row["literal"] = t.encode(x, add_special_tokens=False).ids
        t.encode_special_tokens = False
        for k in ("special", "literal"):
            if row[k] == ids: del row[k]
        if row["decoded"] == x: del row["decoded"]
        if row["skipped"] == row.get("decoded", x): del row["skipped"]
        print(json.dumps(row, ensure_ascii=False))
