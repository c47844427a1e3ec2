"""Writes sizes.txt: the size of Python's zlib.compress for made texts.

    python sizes.py > sizes.txt

One line a text: seed, kind, length, size. text() is written out again in
deflate_test.go. Made with zlib 1.2.13.
"""
import zlib

MASK = (1 << 64) - 1
WORDS = b"the of and to a in is that it was for on are as with his they I at be this have from or one had by word but not what all were we when your can said there use an each which she do how their if will up other about out many then them these so some her would make like him into time has look two more write go see number no way could people my than first water been call who oil its now find long down day did get come made may part".split()
KINDS = ["noise", "letters", "words", "copies", "same", "bits", "rows", "mixed"]


class Random:
    def __init__(self, seed):
        self.x = seed & MASK

    def below(self, n):
        self.x = (self.x * 6364136223846793005 + 1442695040888963407) & MASK
        return (self.x >> 33) % n


def text(seed, kind, length):
    r = Random(seed)
    out = bytearray()
    while len(out) < length:
        k = KINDS[r.below(7)] if kind == "mixed" else kind
        end = min(length, len(out) + 1 + r.below(2000)) if kind == "mixed" else length
        fill(r, out, k, end)
        del out[length:]
    return bytes(out)


def fill(r, out, kind, end):
    while len(out) < end:
        if kind == "noise":
            out.append(r.below(256))
        elif kind == "letters":
            out.append(97 + min(r.below(20), r.below(20)))
        elif kind == "words":
            out += WORDS[min(r.below(len(WORDS)), r.below(len(WORDS)))]
            out += b" " if r.below(12) else b".\n"
        elif kind == "copies":
            if len(out) < 4 or r.below(3) == 0:
                out.append(r.below(256))
            else:
                far = 40000 if r.below(4) == 0 else 300
                back = 1 + r.below(min(len(out), far))
                for _ in range(3 + r.below(8 if r.below(5) else 300)):
                    out.append(out[-back])
        elif kind == "same":
            out.append(120)
        elif kind == "bits":
            out.append(48 + r.below(2))
        elif kind == "rows":
            out += b'{"id": %d, "label": %d, "text": "%s"}\n' % (r.below(100000), r.below(3), WORDS[r.below(len(WORDS))])


def cases():
    for i in range(800):  # what a row of a task is like
        yield i, KINDS[i % 8], Random(i).below(900)
    for i in range(96):
        yield i, KINDS[i % 8], Random(i).below(30000)
    for i in range(48):  # several blocks, and a window that slides
        yield i, KINDS[i % 8], 30000 + Random(i).below(170000)
    for kind in ("copies", "words"):  # around the places where the window slides
        for n in [65272, 65274, 65275, 65279, 65300, 65534, 65535, 65536, 65537, 65800, 98041, 98043, 98303, 98305]:
            yield n, kind, n


if __name__ == "__main__":
    for seed, kind, length in cases():
        print(seed, kind, length, len(zlib.compress(text(seed, kind, length))))
