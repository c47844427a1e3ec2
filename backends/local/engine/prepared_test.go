package engine

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/evalrun/evalrun/backends/local/internal/fixture"
	"github.com/evalrun/evalrun/kernels"
	"github.com/evalrun/evalrun/kernels/cpu"
)

// decoding measures a model in NF4 with adapters, as the check for a GPU does
// at the shape of a large one (gpu_test.go).
type decoding struct {
	shape     fixture.Shape
	adapters  int
	prompt    int
	from, to  int // tokens of an answer: the time of those between is measured
	sequences []int
}

// reachedRate is the time of a step with so many sequences.
type reachedRate struct {
	sequences, adapters int
	step                time.Duration
}

// run loads the model with adapters and measures steps. The first answer has to be
// the same alone and beside others.
func (c decoding) run(t *testing.T, dev kernels.Device, dir string, kv int64) (rates []reachedRate) {
	t.Helper()
	dim := c.shape.Hidden / c.shape.Heads
	o := Options{Device: dev, Tokenizer: bytewise{}, KVBytes: kv}
	for i := range c.adapters {
		path := fixture.WriteAdapter(t, uint64(i), 8, map[string][2]int{"q_proj": {c.shape.Hidden, c.shape.Hidden}, "v_proj": {c.shape.KVHeads * dim, c.shape.Hidden}}, c.shape.Layers, nil)
		o.Adapters = append(o.Adapters, AdapterPath{fmt.Sprint("a", i), path})
	}
	e := load(t, dir, o)
	rng := rand.New(rand.NewPCG(8, 8))
	prompts := make([][]int32, slices.Max(c.sequences))
	for i := range prompts {
		for range c.prompt {
			prompts[i] = append(prompts[i], int32(3+rng.IntN(c.shape.Vocab-3)))
		}
	}
	var alone []int32
	for _, adapters := range []int{0, c.adapters} {
		alone = nil
		for _, n := range c.sequences {
			if adapters > 0 && n > 1 && n < adapters {
				continue
			}
			answers := func(tokens int) (time.Duration, []int32) {
				var all []Request
				for i := range n {
					r := Request{ID: fmt.Sprint(i), Kind: Generate, Tokens: prompts[i], MaxTokens: tokens, IgnoreEOS: true}
					if adapters > 0 {
						r.Adapter = fmt.Sprint("a", i%adapters)
					}
					all = append(all, r)
				}
				start := time.Now()
				got := ask(t, e, all...)
				return time.Since(start), got["0"].Tokens
			}
			answers(c.from) // prompts are read once and shared from then on
			short, _ := answers(c.from)
			long, tokens := answers(c.to)
			if alone == nil {
				alone = tokens
			}
			if !slices.Equal(tokens, alone) || len(tokens) != c.to {
				t.Fatalf("%d sequences, %d adapters: the first answer is %v, alone %v", n, adapters, tokens, alone)
			}
			rates = append(rates, reachedRate{n, adapters, (long - short) / time.Duration(c.to-c.from)})
		}
	}
	return rates
}

func TestMeasuredDecoding(t *testing.T) {
	c := decoding{shape: fixture.Shape{Hidden: 128, Layers: 2, Heads: 4, KVHeads: 2, MLP: 192, Vocab: 131, Context: 128},
		adapters: 3, prompt: 20, from: 2, to: 40, sequences: []int{1, 2, 6}}
	dir := t.TempDir()
	c.shape.WriteNF4(t, dir, 1)
	dev, err := cpu.New(cpu.Options{Threads: 2})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dev.Close() })
	rates := c.run(t, dev, dir, 0)
	if len(rates) != 5 { // two sequences are too few for three adapters
		t.Fatalf("%d rates: %v", len(rates), rates)
	}
}
