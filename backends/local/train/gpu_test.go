//go:build cuda

package train

import (
	"math"
	"os"
	"testing"

	"github.com/evalrun/evalrun/backends/local/internal/fixture"
	"github.com/evalrun/evalrun/kernels/cuda"
)

// mistral writes the shape of Mistral-7B in NF4 once, to the folder that
// EVALRUN_GPU_MODEL names, where another test may find it.
func mistral(t *testing.T) string {
	t.Helper()
	dir := os.Getenv("EVALRUN_GPU_MODEL")
	if dir == "" {
		dir = t.TempDir()
	} else if _, err := os.Stat(dir + "/model.safetensors"); err == nil {
		return dir
	} else if err := os.MkdirAll(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	fixture.Mistral7B.WriteNF4(t, dir, 1)
	return dir
}

// openGPU opens the GPU, for products of bfloat16 if brain; nil where it has none.
func openGPU(t *testing.T, brain bool) *cuda.Device {
	t.Helper()
	dev, err := cuda.Open(0, nil)
	if err != nil {
		t.Fatal(err)
	}
	if !brain {
		return dev
	}
	if err := dev.Brain(); err != nil {
		t.Log(err)
		dev.Close()
		return nil
	}
	return dev
}

// A training of Mistral-7B's shape on the GPU: tokens a second, memory within 5 %
// of the plan, the same bits twice; float32 beside bfloat16.
func TestGPUTraining(t *testing.T) {
	dir := mistral(t)
	for _, c := range []struct {
		brain, twice bool
		measured
	}{
		{true, true, measured{fixture.Mistral7B, 820, 4, 4, "bf16"}},
		{false, false, measured{fixture.Mistral7B, 820, 1, 2, "fp32"}},
	} {
		var first reached
		for round := 0; round == 0 || c.twice && round == 1; round++ {
			dev := openGPU(t, c.brain)
			if dev == nil {
				break
			}
			before, _ := dev.Memory()
			got := c.run(t, dev, dir)
			after, total := dev.Memory()
			taken, plan := before-after, got.plan.Total()
			t.Logf("%s: %.0f tokens/s in the last window of %d, losses %.4f; memory taken %d MiB, held %d MiB, planned %d MiB (%+.1f %%), of %d MiB",
				dev.Description(), got.rate, c.tokens*c.accumulate, got.losses, taken>>20, dev.Held()>>20, plan>>20, 100*float64(taken-plan)/float64(plan), total>>20)
			if math.Abs(float64(taken-plan)) > 0.05*float64(plan) {
				t.Errorf("%s: %d MiB were taken, %d MiB planned", dev.Name(), taken>>20, plan>>20)
			}
			if round == 0 {
				first = got
			} else if !sameValues(first.values, got.values) {
				t.Errorf("%s: the second training gave other values", dev.Name())
			}
			dev.Close()
		}
	}
}

// One training on the GPU and on the CPU: every loss and norm of 60 updates, and
// the adapter; in float32, and in bfloat16 against the CPU's same numerics.
func TestGPUAgrees(t *testing.T) {
	for _, c := range []struct {
		compute string
		brain   bool
		bars
	}{{"f32", false, exactly}, {"bf16", true, roughly}} {
		dev := openGPU(t, c.brain)
		if dev == nil {
			continue
		}
		got := curveOn(t, dev, c.compute)
		if again := curveOn(t, dev, c.compute); !sameValues(got.values, again.values) {
			t.Errorf("%s: the second training gave other values", dev.Name())
		}
		agree(t, dev.Description(), curveOn(t, openCPU(t), c.compute), got, c.bars)
		dev.Close()
	}
}
