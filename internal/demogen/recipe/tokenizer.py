"""Train the byte-level BPE tokenizer: tokenizer.py train.jsonl tokenizer.json"""
import random
import sys

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

from common import CONFIG, read_jsonl

rows = read_jsonl(sys.argv[1])
random.Random(1).shuffle(rows)
tok = Tokenizer(models.BPE())
# Digits stand alone while merges are learnt, so that no merge holds one; the
# stored tokenizer then needs GPT-2's own splitting only.
tok.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.ByteLevel(add_prefix_space=False), pre_tokenizers.Digits(individual_digits=True)])
trainer = trainers.BpeTrainer(vocab_size=CONFIG["vocab_size"], special_tokens=["<s>", "</s>", "<pad>"],
                              initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False)
seen, texts = {}, []
for r in rows:
    # A task's instruction counts a few times, not once a row.
    n = seen[r["task"]] = seen.get(r["task"], 0) + 1
    texts.append((r["prompt"] if n <= 40 else r["prompt"][-400:].split("\n", 1)[-1]) + r["completion"])
    if len(texts) >= 120000:
        break
tok.train_from_iterator(texts, trainer)
tok.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
tok.decoder = decoders.ByteLevel()
tok.post_processor = processors.TemplateProcessing(single="<s> $A", pair="<s> $A $B", special_tokens=[("<s>", 0)])
tok.save(sys.argv[2])
print("vocabulary", tok.get_vocab_size())
