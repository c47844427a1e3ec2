package train

import (
	"context"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/evalrun/evalrun/backends/local/arch"
	"github.com/evalrun/evalrun/backends/local/internal/fixture"
	"github.com/evalrun/evalrun/backends/local/weights"
	"github.com/evalrun/evalrun/kernels"
	"github.com/evalrun/evalrun/kernels/cpu"
)

// measured is a short training of a model in NF4, as the check for a GPU runs
// it at the shape of a large model (gpu_test.go); here it is small, on the CPU, so
// that the check itself is known to work.
type measured struct {
	shape              fixture.Shape
	tokens, accumulate int
	windows            int
	compute            string
}

// reached is what it gave.
type reached struct {
	plan   *Plan
	rate   float64 // tokens a second, of the last window
	losses []float64
	values []weights.Tensor
}

func (c measured) run(t *testing.T, dev kernels.TrainDevice, dir string) reached {
	t.Helper()
	config, f, err := arch.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	r, err := Preset("paper")
	if err != nil {
		t.Fatal(err)
	}
	zero := 0.0
	r.Steps, r.Accumulate, r.Warmup, r.Restart, r.Compute, r.Seed = c.windows*c.accumulate, c.accumulate, &zero, 1000, c.compute, 1
	r.UpdateAtCheckpoint, r.CheckpointEvery, r.EvalRows = false, 1<<20, 0
	rng := rand.New(rand.NewPCG(6, 6))
	j := &Job{Dir: t.TempDir(), Recipe: &r, Keep: true}
	for i := range r.Steps {
		e := Example{Key: uint32(i)}
		for range c.tokens {
			e.IDs = append(e.IDs, int32(3+rng.IntN(c.shape.Vocab-3)))
		}
		e.Labels = slices.Repeat([]int32{Ignored}, c.tokens)
		for at := c.tokens - 8; at < c.tokens; at++ {
			e.Labels[at] = e.IDs[at]
		}
		j.Examples = append(j.Examples, e)
	}
	j.Extent = j.Measure()
	var got reached
	got.plan, err = PlanOf(func() kernels.Outline { return kernels.OutlineOf(dev) }, config, f, arch.Options{}, &r, j.Extent, 0)
	if err != nil {
		t.Fatal(err)
	}
	j.Outline, j.Decoded = got.plan.Outline, got.plan.Decode
	m, err := arch.Build(dev, config, f, j.Extent.Longest, arch.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if j.Tuned, err = Fresh(dev, m, &r); err != nil {
		t.Fatal(err)
	}
	last := 0.0
	j.Tell = func(n News) {
		got.losses = append(got.losses, n.Loss)
		got.rate, last = float64(n.Tokens)/(n.Seconds-last), n.Seconds
	}
	res, err := j.Run(context.Background())
	if err != nil || !res.Finished {
		t.Fatalf("finished %v, %v", res.Finished, err)
	}
	for i, l := range got.losses {
		if math.IsNaN(l) || l <= 0 || l > 100 {
			t.Fatalf("loss of window %d is %g", i, l)
		}
	}
	if len(got.losses) != c.windows {
		t.Fatalf("%d windows, want %d", len(got.losses), c.windows)
	}
	got.values = j.Tuned.Values()
	return got
}

func sameValues(a, b []weights.Tensor) bool {
	return slices.EqualFunc(a, b, func(a, b weights.Tensor) bool { return a.Name == b.Name && slices.Equal(a.Data, b.Data) })
}

func TestMeasuredTraining(t *testing.T) {
	c := measured{shape: fixture.Shape{Hidden: 128, Layers: 2, Heads: 4, KVHeads: 2, MLP: 192, Vocab: 131, Context: 64}, tokens: 30, accumulate: 2, windows: 2, compute: "bf16"}
	dir := t.TempDir()
	c.shape.WriteNF4(t, dir, 1)
	var twice [2]reached
	for i := range twice {
		dev, err := cpu.New(cpu.Options{Threads: 2})
		if err != nil {
			t.Fatal(err)
		}
		twice[i] = c.run(t, dev, dir)
		dev.Close()
	}
	if !sameValues(twice[0].values, twice[1].values) || len(twice[0].values) != 2*2*2 {
		t.Errorf("two trainings of the same gave other values, of %d tensors", len(twice[0].values))
	}
	if twice[0].rate <= 0 || twice[0].plan.Total() <= 0 {
		t.Errorf("rate %g, plan %d", twice[0].rate, twice[0].plan.Total())
	}
}
