package lora

import (
	"fmt"
	"math"
	"slices"
)

// A Pair is what an adapter adds to one linear module: Scale·B·A.
type Pair struct {
	Path       string
	N, K, Rank int
	A, B       []float32 // [Rank, K], [N, Rank]
	Scale      float32
	Magnitude  []float32 // DoRA's, or nil
}

// Pairs decodes the adapter's low-rank pairs, sorted by module; others counts
// the values of all other tensors. No base is needed, nor held against it.
func (a *Adapter) Pairs() (pairs []Pair, others int, err error) {
	byPath := map[string]*Pair{}
	for _, name := range a.file.Names() {
		path, what := split(name)
		t, err := a.file.Tensor(name)
		if err != nil {
			return nil, 0, err
		}
		if what != "lora_A.weight" && what != "lora_B.weight" && what != "lora_magnitude_vector" || len(t.Shape) == 0 {
			others += t.Len()
			continue
		}
		values, err := finite(t)
		if err != nil {
			return nil, 0, err
		}
		p := byPath[path]
		if p == nil {
			p = &Pair{Path: path, Scale: a.Config.scale(path)}
			byPath[path] = p
		}
		switch what {
		case "lora_A.weight":
			p.A, p.Rank, p.K = values, t.Shape[0], t.Len()/t.Shape[0]
		case "lora_B.weight":
			p.B, p.N = values, t.Shape[0]
		default:
			p.Magnitude = values
		}
	}
	for _, p := range byPath {
		if p.A == nil || p.B == nil || len(p.B) != p.N*p.Rank {
			return nil, 0, fmt.Errorf("adapter %s: %s has no matching pair of lora_A and lora_B", a.Path, p.Path)
		}
		pairs = append(pairs, *p)
	}
	slices.SortFunc(pairs, func(x, y Pair) int {
		if x.Path < y.Path {
			return -1
		}
		return 1
	})
	return pairs, others, nil
}

// Dot is the inner product of two pairs' matrices, ⟨s·B·A, t·D·C⟩ over all
// entries, without forming them: s·t·Σ (Bᵀ·D) ∘ (A·Cᵀ).
func (p *Pair) Dot(q *Pair) float64 {
	sum := 0.0
	for i := range p.Rank {
		for j := range q.Rank {
			left, right := 0.0, 0.0
			for n := range p.N {
				left += float64(p.B[n*p.Rank+i]) * float64(q.B[n*q.Rank+j])
			}
			for k := range p.K {
				right += float64(p.A[i*p.K+k]) * float64(q.A[j*q.K+k])
			}
			sum += left * right
		}
	}
	return sum * float64(p.Scale) * float64(q.Scale)
}

// Norm is the Frobenius norm of the pair's matrix.
func (p *Pair) Norm() float64 { return math.Sqrt(max(0, p.Dot(p))) }
