package engine

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/evalrun/evalrun/backends/local/internal/fixture"
	"github.com/evalrun/evalrun/kernels/cpu"
	"github.com/evalrun/evalrun/kernels/format"
)

// small is the shape of a demonstration model: 4 million weights.
var small = fixture.Shape{Hidden: 256, Layers: 4, Heads: 4, KVHeads: 4, MLP: 768, Vocab: 2048, Context: 1024, Tied: true}

// evaluation is what tasks ask for: prompts of 250 tokens in a few groups that
// share their first 150, and answers of 15.
func evaluation(n int) []Request {
	rng := rand.New(rand.NewPCG(4, 4))
	ids := func(n int) []int32 {
		x := make([]int32, n)
		for i := range x {
			x[i] = int32(rng.IntN(small.Vocab))
		}
		return x
	}
	var all []Request
	var common []int32
	for i := range n {
		if i%50 == 0 {
			common = ids(150)
		}
		all = append(all, Request{ID: fmt.Sprint(i), Kind: Generate, Tokens: slices.Concat(common, ids(100)), MaxTokens: 15, IgnoreEOS: true})
	}
	return all
}

// BenchmarkEvaluation runs 200 prompts; tokens/s counts prompt tokens whether
// they were computed or found.
func BenchmarkEvaluation(b *testing.B) {
	dir := small.WriteHF(b, 1, format.F32)
	for _, path := range cpu.Paths() {
		for _, sharing := range []bool{true, false} {
			b.Run(fmt.Sprintf("%s/sharing=%v", path, sharing), func(b *testing.B) {
				b.Setenv(cpu.PathVariable, path)
				requests := evaluation(200)
				for b.Loop() {
					b.StopTimer()
					e := load(b, dir, Options{NoSharing: !sharing})
					b.StartTimer()
					ask(b, e, requests...)
				}
				s := b.Elapsed().Seconds() / float64(b.N)
				b.ReportMetric(200*250/s, "prompt-tokens/s")
				b.ReportMetric(200/s, "answers/s")
			})
		}
	}
}

// BenchmarkPrefill computes prompts without sharing, and one token of each.
func BenchmarkPrefill(b *testing.B) {
	dir := small.WriteHF(b, 1, format.F32)
	for _, path := range cpu.Paths() {
		b.Run(path, func(b *testing.B) {
			b.Setenv(cpu.PathVariable, path)
			requests := evaluation(40)
			for i := range requests {
				requests[i].MaxTokens = 1
			}
			e := load(b, dir, Options{NoSharing: true})
			for b.Loop() {
				ask(b, e, requests...)
			}
			b.ReportMetric(40*250*float64(b.N)/b.Elapsed().Seconds(), "prompt-tokens/s")
		})
	}
}

// BenchmarkDecode generates long answers side by side.
func BenchmarkDecode(b *testing.B) {
	dir := small.WriteHF(b, 1, format.F32)
	for _, path := range cpu.Paths() {
		for _, streams := range []int{1, 16, 64} {
			b.Run(fmt.Sprintf("%s/%d", path, streams), func(b *testing.B) {
				b.Setenv(cpu.PathVariable, path)
				requests := evaluation(streams)
				for i := range requests {
					requests[i].Tokens, requests[i].MaxTokens = requests[i].Tokens[:8], 64
				}
				e := load(b, dir, Options{})
				for b.Loop() {
					ask(b, e, requests...)
				}
				b.ReportMetric(float64(streams)*64*float64(b.N)/b.Elapsed().Seconds(), "tokens/s")
			})
		}
	}
}
