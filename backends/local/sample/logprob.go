package sample

import (
	"cmp"
	"math"
	"slices"
)

// Argmax is the id of the largest logit, the lowest of equals. NaN is never
// chosen unless all are.
func Argmax(logits []float32) int32 {
	best, top := 0, float32(math.Inf(-1))
	for id, x := range logits {
		if x > top {
			best, top = id, x
		}
	}
	return int32(best)
}

// LogSum is log(sum(exp(logits))), so that a token's log-probability is its
// logit less that. It is summed in float64 in the order of ids.
func LogSum(logits []float32) float64 {
	top := float64(logits[Argmax(logits)])
	if math.IsInf(top, 0) {
		return top
	}
	var sum float64
	for _, x := range logits {
		sum += math.Exp(float64(x) - top)
	}
	return top + math.Log(sum)
}

// Alternative is a token and its log-probability.
type Alternative struct {
	ID      int32
	LogProb float64
}

// Top gives the n most likely tokens, the most likely first.
func Top(logits []float32, n int) []Alternative {
	if n <= 0 {
		return nil
	}
	sum := LogSum(logits)
	worse := func(a, b Alternative) int {
		return cmp.Or(cmp.Compare(b.LogProb, a.LogProb), cmp.Compare(a.ID, b.ID))
	}
	var best []Alternative
	for id, x := range logits {
		a := Alternative{int32(id), float64(x) - sum}
		if len(best) == n && worse(a, best[n-1]) > 0 {
			continue
		}
		at, _ := slices.BinarySearchFunc(best, a, worse)
		best = slices.Insert(best, at, a)
		best = best[:min(n, len(best))]
	}
	return best
}
