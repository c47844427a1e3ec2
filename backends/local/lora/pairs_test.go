package lora

import (
	"math"
	"math/rand/v2"
	"testing"
)

// Dot agrees with the matrices written out.
func TestPairDot(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	pair := func(rank int, scale float32) *Pair {
		p := &Pair{N: 7, K: 5, Rank: rank, Scale: scale, A: make([]float32, rank*5), B: make([]float32, 7*rank)}
		for i := range p.A {
			p.A[i] = rng.Float32() - 0.5
		}
		for i := range p.B {
			p.B[i] = rng.Float32() - 0.5
		}
		return p
	}
	whole := func(p *Pair) []float64 {
		out := make([]float64, p.N*p.K)
		for n := range p.N {
			for r := range p.Rank {
				for k := range p.K {
					out[n*p.K+k] += float64(p.Scale) * float64(p.B[n*p.Rank+r]) * float64(p.A[r*p.K+k])
				}
			}
		}
		return out
	}
	p, q := pair(3, 2), pair(2, 0.5)
	dot, square := 0.0, 0.0
	for i, x := range whole(p) {
		dot += x * whole(q)[i]
		square += x * x
	}
	if d := math.Abs(p.Dot(q) - dot); d > 1e-12 {
		t.Errorf("%g, want %g", p.Dot(q), dot)
	}
	if d := math.Abs(p.Norm() - math.Sqrt(square)); d > 1e-12 {
		t.Errorf("%g, want %g", p.Norm(), math.Sqrt(square))
	}
}
