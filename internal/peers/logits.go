package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"os"

	"github.com/evalrun/evalrun/backends/local/weights"
)

// logitShare bounds the largest difference of two logits, as a share of the
// largest of all: float32 sums in another order, through all layers.
const logitShare = 1e-5

// texts are what both sides are asked about an adapter of any base.
var texts = []string{
	"Is this film reviewer pleased or displeased? Write 1 for pleased, 0 for displeased.\n### Review: a warm and funny film.\n### Label:",
	"The quick brown fox jumps over the lazy dog; 12 times, on 3 May 2024, for 4.50 euros.",
	"def add(a, b):\n    return a + b\n\nprint(add(2, 40))\n",
	"Größe, naïve, 東京, 🙂: texts are not always English.",
}

// logits compares the logits of base and adapter in evalrun and in PEFT.
func (p *peers) logits() error {
	if err := p.needPEFT(); err != nil {
		return err
	}
	if p.adapter == "" {
		return fmt.Errorf("which adapter? name its folder with -adapter, and its base with -model")
	}
	folder, err := p.base()
	if err != nil {
		return err
	}
	return p.sameLogits(folder, p.adapter, "logits of "+p.adapter)
}

// sameLogits compares the logits of an adapter on the texts.
func (p *peers) sameLogits(folder, adapter, what string) error {
	ids, err := p.tokenized(folder)
	if err != nil {
		return err
	}
	ours, theirs := p.at("ours.safetensors"), p.at("peft.safetensors")
	if _, err := p.evalrun(nil, "debug", "logits", "--in", ids, "--model", folder, "--adapter", adapter, "--exact", "--out", ours); err != nil {
		return err
	}
	if _, err := reference[any](p, "logits", map[string]any{"model": folder, "adapter": adapter, "lines": ids, "out": theirs}); err != nil {
		return err
	}
	worst, largest, n, same, err := apart(ours, theirs)
	if err != nil {
		return err
	}
	p.check(worst <= logitShare*largest, what, "%d logits: largest difference %.2g of %.3g (bound %.2g); %d of %d highest tokens equal", n, worst, largest, logitShare*largest, same[0], same[1])
	return nil
}

// tokenized writes a file of the texts' ids, a JSON line each.
func (p *peers) tokenized(model string) (string, error) {
	var in bytes.Buffer
	for _, t := range texts {
		if err := json.NewEncoder(&in).Encode(map[string]string{"text": t}); err != nil {
			return "", err
		}
	}
	ids, err := p.evalrun(in.Bytes(), "debug", "tokenize", "--model", model)
	if err != nil {
		return "", err
	}
	return p.at("ids.jsonl"), os.WriteFile(p.at("ids.jsonl"), ids, 0o600)
}

// apart compares two files of logits [T, V]: the largest difference, the
// largest logit, how many there are, and of how many rows the highest is the same.
func apart(a, b string) (worst, largest float64, n int, same [2]int, err error) {
	x, err := weights.Open(a)
	if err != nil {
		return
	}
	defer x.Close()
	y, err := weights.Open(b)
	if err != nil {
		return
	}
	defer y.Close()
	for _, name := range y.Names() {
		t, err := y.Tensor(name)
		if err != nil {
			return 0, 0, 0, same, err
		}
		u, err := x.Tensor(name)
		if err != nil {
			return 0, 0, 0, same, err
		}
		want, err := t.Floats()
		if err != nil {
			return 0, 0, 0, same, err
		}
		got, err := u.Floats()
		if err != nil {
			return 0, 0, 0, same, err
		}
		if len(got) != len(want) {
			return 0, 0, 0, same, fmt.Errorf("%s: %d values, and %d", name, len(got), len(want))
		}
		for row := 0; row < len(want); row += t.Shape[1] {
			w, g := want[row:row+t.Shape[1]], got[row:row+t.Shape[1]]
			for i := range w {
				d := math.Abs(float64(w[i]) - float64(g[i]))
				if d != d {
					d = math.Inf(1)
				}
				worst, largest = math.Max(worst, d), math.Max(largest, math.Abs(float64(w[i])))
			}
			if same[1]++; highest(w) == highest(g) {
				same[0]++
			}
		}
		n += len(want)
	}
	if n == 0 {
		err = fmt.Errorf("%s holds no logits", b)
	}
	return
}

func highest(x []float32) int {
	at := 0
	for i, v := range x {
		if v > x[at] {
			at = i
		}
	}
	return at
}
