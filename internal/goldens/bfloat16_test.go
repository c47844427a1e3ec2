package main

import (
	"math"
	"math/rand/v2"
	"strings"
	"testing"
)

// made are logits of a random head [vocab, width] for so many positions, with
// the products' operands passed through round.
func made(positions int, round func([]float32) []float32) [][]float32 {
	const vocab, width = 272, 64
	r := rand.New(rand.NewPCG(1, 2))
	normal := func(n int, scale float64) []float32 {
		x := make([]float32, n)
		for i := range x {
			x[i] = float32(scale * r.NormFloat64())
		}
		return round(x)
	}
	head := normal(vocab*width, 2/math.Sqrt(width)) // logits of deviation 2, as the goldens have
	rows := make([][]float32, positions)
	for p := range rows {
		x := normal(width, 1)
		rows[p] = make([]float32, vocab)
		for i := range vocab {
			var sum float32
			for k, v := range x {
				sum += v * head[i*width+k]
			}
			rows[p][i] = sum
		}
	}
	return rows
}

// brain rounds to bfloat16, to nearest, ties to even.
func brain(x []float32) []float32 {
	out := make([]float32, len(x))
	for i, v := range x {
		b := math.Float32bits(v)
		out[i] = math.Float32frombits((b + 0x7fff + b>>16&1) &^ 0xffff)
	}
	return out
}

// The bars pass what bfloat16 rounds, and nothing that is coarser or wrong.
func TestBars(t *testing.T) {
	exact := func(x []float32) []float32 { return x }
	const n = 60
	want := made(n, exact)
	changed := func(f func(row []float32)) [][]float32 {
		rows := made(n, exact)
		for _, r := range rows {
			f(r)
		}
		return rows
	}
	for _, c := range []struct {
		name string
		got  [][]float32
		bad  string // what the check says
	}{
		{"the same", want, ""},
		{"bfloat16", made(n, brain), ""},
		{"another scale", changed(func(r []float32) {
			for i := range r {
				r[i] *= 1.1
			}
		}), "mean KL"},
		{"a shift changes no distribution", changed(func(r []float32) {
			for i := range r {
				r[i] += 0.5
			}
		}), "mean cosine"},
		{"one logit of each row", changed(func(r []float32) { r[3] += 8 }), "mean KL"},
		{"no number", changed(func(r []float32) { r[5] = float32(math.NaN()) }), "mean KL"},
		{"four bits, as float8", made(n, func(x []float32) []float32 {
			out := make([]float32, len(x))
			for i, v := range x {
				f, e := math.Frexp(float64(v))
				out[i] = float32(math.Ldexp(math.Round(f*16)/16, e))
			}
			return out
		}), "mean KL"},
	} {
		e := &env{verbose: 3, device: "cuda-bf16"}
		var l likeness
		for i := range want {
			l.add(want[i], c.got[i])
		}
		l.judge(e, c.name)
		got := e.tallies[0]
		if said := strings.Join(got.examples, "; "); (c.bad == "") != (got.mismatches == 0) || !strings.Contains(said, c.bad) || got.rows != n {
			t.Errorf("%s: %d rows, %d mismatches, %q; %s", c.name, got.rows, got.mismatches, said, got.tolerance)
		}
	}
}

// KL(want || got) in nats of two distributions worked out by hand, whatever
// constant is added to the logits.
func TestLikeness(t *testing.T) {
	log := func(p ...float64) []float32 {
		x := make([]float32, len(p))
		for i, v := range p {
			x[i] = float32(math.Log(v) + 7)
		}
		return x
	}
	var l likeness
	l.add(log(0.5, 0.25, 0.25), log(0.25, 0.5, 0.25))
	if want := 0.25 * math.Ln2; math.Abs(l.kl-want) > 1e-6 {
		t.Errorf("KL %g, want %g", l.kl, want)
	}
	if l.highest != 0 || l.rows != 1 {
		t.Errorf("%d of %d highest are equal", l.highest, l.rows)
	}
	l = likeness{}
	l.add([]float32{3, 4, 0}, []float32{4, 3, 0})
	if math.Abs(l.cosine-0.96) > 1e-12 || l.worst != 1 {
		t.Errorf("cosine %g, want 0.96; difference %g", l.cosine, l.worst)
	}
}

// What is only reported fails nothing, and what is judged does.
func TestReported(t *testing.T) {
	e := &env{device: "cuda-bf16"}
	e.tally("tokens", "equal").reported = true
	e.tallies[0].row(false, "another token")
	if code := e.finish(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	e.tallies[0].reported = false
	if code := e.finish(); code != 1 {
		t.Errorf("exit code %d of a mismatch", code)
	}
}
