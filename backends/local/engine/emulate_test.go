//go:build emulate && amd64

package engine

import (
	"testing"

	"github.com/evalrun/evalrun/backends/local/internal/fixture"
	"github.com/evalrun/evalrun/kernels/cuda"
	"github.com/evalrun/evalrun/kernels/cuda/emulate"
	"github.com/evalrun/evalrun/kernels/format"
)

// More adapters than room through the GPU's own code: blocks of the heap, copies in the
// second stream, graphs whose adapters have moved.
func TestEmulatedTiers(t *testing.T) {
	machine := emulate.New()
	dev := cuda.Over(machine, nil)
	c := churn{shape: fixture.Shape{Hidden: 32, Layers: 2, Heads: 2, KVHeads: 1, MLP: 48, Vocab: 67, Context: 64},
		adapters: 5, room: 2, sequences: 10, prompt: 4, answer: 4}
	c.run(t, dev, c.shape.WriteHF(t, 1, format.F32))
	counts, why := dev.Steps()
	t.Logf("steps as graphs: %+v, %v; %d copies, %d pieces pinned", counts, why, machine.Copies, machine.Pinned)
	if counts.Graphs == 0 || machine.Copies == 0 {
		t.Error("no graph, or no copy in the second stream")
	}
	if err := dev.Close(); err != nil || machine.Pinned != 0 {
		t.Errorf("%v, %d pieces stay pinned", err, machine.Pinned)
	}
}

// GGUF's formats on the GPU's kernels give the CPU's answers.
func TestEmulatedBlocks(t *testing.T) {
	dev := cuda.Over(emulate.New(), nil)
	defer dev.Close()
	blocksAsOnCPU(t, dev)
}
