package sample

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// Whatever the logits and the way to sample, a walk along the mask spells one of
// the answers.
func TestChoices(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 4))
	for range 500 {
		const vocab, end = 12, 11
		answers := make([][]int32, 1+rng.IntN(6))
		for i := range answers {
			answers[i] = make([]int32, 1+rng.IntN(4))
			for k := range answers[i] {
				answers[i][k] = int32(rng.IntN(4))
			}
		}
		at := NewChoices(answers)
		s := New(Params{Temperature: float64(rng.IntN(2)), Seed: uint64(rng.Int64()), TopP: 0.9}, 1, nil)
		var got []int32
		for !at.Done() {
			logits := make([]float32, vocab)
			for i := range logits {
				logits[i] = float32(rng.NormFloat64() * 3)
				if rng.IntN(5) == 0 {
					logits[i] = float32(math.NaN())
				} else if rng.IntN(5) == 0 {
					logits[i] = float32(math.Inf(-1))
				}
			}
			at.Mask(logits, map[int32]bool{end: true})
			id := s.Next(logits, len(got))
			if id == end {
				if !at.Ends() {
					t.Fatalf("%v: ended within an answer, at %v", answers, got)
				}
				break
			}
			if at = at.Step(id); at == nil {
				t.Fatalf("%v: %v is followed by %d", answers, got, id)
			}
			got = append(got, id)
		}
		if !slices.ContainsFunc(answers, func(a []int32) bool { return slices.Equal(a, got) }) {
			t.Fatalf("%v: %v", answers, got)
		}
	}
	if c := NewChoices([][]int32{{1, 2, 3}, {}, {4}}); c.Depth != 3 || c.Ends() || c.Step(9) != nil {
		t.Errorf("%+v", c)
	}
}

// The most likely answer is chosen, the short one only where the end is more
// likely than its continuation.
func TestChoicesPrefix(t *testing.T) {
	one, ten := []int32{1}, []int32{1, 0}
	for _, end := range []bool{true, false} {
		at := NewChoices([][]int32{one, ten}).Step(1)
		logits := []float32{1, 9, 9, 0}
		if end {
			logits[3] = 2
		}
		at.Mask(logits, map[int32]bool{3: true})
		if id := New(Params{}, 0, nil).Next(logits, 1); (id == 3) != end {
			t.Errorf("end %v: token %d", end, id)
		}
	}
}
