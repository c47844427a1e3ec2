package main

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/evalrun/evalrun/backends/local/demo"
	"github.com/evalrun/evalrun/backends/local/weights"
)

// Bars of a run in bfloat16, whose products are of values with 8 bits: each
// operand is off by up to 2^-9 of itself, and where logits are near each other
// another one may be the highest. So the logits of a position are judged as a
// direction and as the distribution that they make, in the mean of all
// positions: a mistake moves most of them, rounding moves them all a little.
//
// Measurements on the golden models say where bars belong.
//
//	rounding both operands of every linear layer, the rest in float32:
//	KL up to 4.5e-4 nats, 1 - cosine up to 1.2e-4, losses up to 0.011 off,
//	gradients 6.7 % of their largest entry, 1 - cosine 2.7e-3
//	rounding the weights alone (-dtype bf16 on the CPU):
//	KL up to 5.3e-4, 1 - cosine up to 1.3e-4, losses 0.011, gradients 10 %
//	transformers' own bfloat16, residual stream and norms too:
//	KL up to 1.6e-3, 1 - cosine up to 4.4e-4, losses 0.006
//	one wrong reading in float32 (window one off, no softcap, base of RoPE 1.5
//	times too big): KL from 2.1e-3 (phi, a third of whose head turns: 5e-4);
//	NF4 codes of weights that were rounded before: from 4.4e-3
//
// So what rounds products alone stays near half of the first bars, and is held
// to be closer than transformers in the same type.
const (
	barKL       = 1e-3   // nats, mean
	barCosine   = 0.9997 // mean
	barLoss     = 0.02
	barGradient = 0.15  // of the tensor's largest entry
	barDown     = 0.995 // cosine of a gradient
)

// rounds says that the device or the type under test is bfloat16.
func (e *env) rounds() bool { return strings.HasSuffix(e.device, "bf16") || e.dtype == "bf16" }

// loosely is a float32 tolerance, or the bar in its place where the run rounds.
func (e *env) loosely(tolerance, bar float64) float64 {
	if e.rounds() {
		return bar
	}
	return tolerance
}

// A likeness adds up how like rows of logits are.
type likeness struct {
	rows, highest  int // and those whose highest logit is the same one
	kl, cosine     float64
	worstKL, worst float64 // difference
}

// add compares the distributions softmax(want) and softmax(got) by
// KL(want || got) in nats, and the logits by the cosine of their angle.
func (l *likeness) add(want, got []float32) {
	a, b := logSoftmax(want), logSoftmax(got)
	var kl, dot, aa, bb float64
	for i := range want {
		if p := math.Exp(a[i]); p > 0 {
			kl += p * (a[i] - b[i])
		}
		x, y := float64(want[i]), float64(got[i])
		dot, aa, bb = dot+x*y, aa+x*x, bb+y*y
	}
	l.rows++
	l.kl += kl
	l.worstKL = math.Max(l.worstKL, kl) // NaN stays
	l.cosine += dot / math.Sqrt(aa*bb)
	l.worst = math.Max(l.worst, furthest(want, got))
	if slices.Index(want, slices.Max(want)) == slices.Index(got, slices.Max(got)) {
		l.highest++
	}
}

func logSoftmax(x []float32) []float64 {
	top, sum := float64(slices.Max(x)), 0.0
	out := make([]float64, len(x))
	for i, v := range x {
		out[i] = float64(v) - top
		sum += math.Exp(out[i])
	}
	for i := range out {
		out[i] -= math.Log(sum)
	}
	return out
}

// judge is the check of all rows: two bars, and the highest logits as a report.
func (l *likeness) judge(e *env, check string) {
	n := float64(l.rows)
	kl, cosine := l.kl/n, l.cosine/n
	t := e.tally(check, fmt.Sprintf("mean KL %.1e of %.0e, cosine %.6f of %v; worst KL %.1e, logit %.2g; highest equal %d of %d", kl, barKL, cosine, barCosine, l.worstKL, l.worst, l.highest, l.rows))
	t.rows, t.worst = l.rows-2, kl
	t.row(kl <= barKL, "mean KL divergence %.3g nats, at most %g", kl, barKL)
	t.row(cosine >= barCosine, "mean cosine %.6f, at least %v", cosine, barCosine)
}

// demonstration holds the device to the CPU's float32 on the model that the
// program carries: the goldens' models are too small for the products of
// bfloat16 values, and for much else that only larger shapes start.
func (e *env) demonstration() error {
	model, err := demo.File()
	if err != nil {
		return err
	}
	type text struct {
		Text string `json:"text"`
	}
	review := "The film is a charming and often moving story of love and loss, told without haste. "
	lines, err := ask(e, []text{
		{"Is the sentiment of this review positive or negative?\n" + review + "\nAnswer:"},
		{"Question: Natalia sold 48 clips in April and half as many in May. How many clips did she sell altogether?\nAnswer:"},
		{strings.Repeat(review+"Premise: a man is playing a guitar on stage. Hypothesis: a man is sleeping. ", 8)},
	}, "tokenize", "--model", model)
	if err != nil {
		return err
	}
	prompts, err := decoded[idsLine](lines)
	if err != nil {
		return err
	}
	tmp, err := os.MkdirTemp("", "goldens-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	want := filepath.Join(tmp, "cpu.safetensors")
	if _, err := ask(e, prompts, "logits", "--model", model, "--device", "cpu", "--exact", "--out", want); err != nil {
		return err
	}
	tensors, err := weights.Open(want)
	if err != nil {
		return err
	}
	name := func(prompt string) string { return "logits." + prompt }
	// Logits reach 30 here: 1e-5 of the largest.
	err = e.logitsOf("demonstration model, against CPU", model, prompts, tensors, name, nil, 3e-4)
	return errors.Join(err, tensors.Close())
}
