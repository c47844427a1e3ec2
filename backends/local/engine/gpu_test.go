//go:build cuda

package engine

import (
	"os"
	"testing"

	"github.com/evalrun/evalrun/backends/local/internal/fixture"
	"github.com/evalrun/evalrun/kernels/cuda"
)

// Decoding of Mistral-7B's shape through the engine: tokens a second by
// sequences, and 50 sequences with 25 adapters beside the base model alone.
// EVALRUN_GPU_MODEL names the folder where the model is, or is written to.
func TestGPUDecoding(t *testing.T) {
	dev, dir := gpuModel(t)
	c := decoding{shape: fixture.Mistral7B, adapters: 25, prompt: 200, from: 4, to: 68, sequences: []int{1, 8, 50}}
	base := 0.0
	for _, r := range c.run(t, dev, dir, 8<<30) {
		s := r.step.Seconds()
		t.Logf("%2d sequences, %2d adapters: %6.2f ms a step, %.0f tokens/s", r.sequences, r.adapters, 1000*s, float64(r.sequences)/s)
		switch {
		case r.sequences == 50 && r.adapters == 0:
			base = s
		case r.sequences == 50:
			t.Logf("with 25 adapters %.3f times the base model's (wanted: 1.15)", s/base)
		case r.sequences == 1 && r.adapters == 0 && 1/s < 300:
			t.Logf("fewer than the 300 tokens/s wanted")
		}
	}
	counts, why := dev.Steps()
	t.Logf("steps as graphs: %+v, %v", counts, why)
	if counts.Graphs == 0 {
		t.Errorf("no step became a graph: %v", why)
	}
}

// 50 sequences with 25 adapters, of which 10 have room: the bits of all resident, what
// was copied, and the time of a batch beside all resident.
func TestGPUTiers(t *testing.T) {
	dev, dir := gpuModel(t)
	c := churn{shape: fixture.Mistral7B, adapters: 25, room: 10, sequences: 50, prompt: 200, answer: 64, kv: 8 << 30}
	c.run(t, dev, dir)
	counts, why := dev.Steps()
	t.Logf("steps as graphs: %+v, %v", counts, why)
}

// GGUF's formats on the GPU give the CPU's answers.
func TestGPUBlocks(t *testing.T) {
	dev, err := cuda.Open(0, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer dev.Close()
	blocksAsOnCPU(t, dev)
}

// gpuModel opens the GPU, and writes the model where it is not.
func gpuModel(t *testing.T) (*cuda.Device, string) {
	dir := os.Getenv("EVALRUN_GPU_MODEL")
	if dir == "" {
		dir = t.TempDir()
	}
	if _, err := os.Stat(dir + "/model.safetensors"); err != nil {
		if err := os.MkdirAll(dir, 0o777); err != nil {
			t.Fatal(err)
		}
		fixture.Mistral7B.WriteNF4(t, dir, 1)
	}
	dev, err := cuda.Open(0, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dev.Close() })
	return dev, dir
}
