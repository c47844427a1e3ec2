package train

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"unsafe"

	"github.com/evalrun/evalrun/backends/local/arch"
	"github.com/evalrun/evalrun/backends/local/internal/fixture"
	"github.com/evalrun/evalrun/backends/local/quant"
	"github.com/evalrun/evalrun/kernels"
	"github.com/evalrun/evalrun/kernels/cpu"
	"github.com/evalrun/evalrun/kernels/cuda"
	"github.com/evalrun/evalrun/kernels/format"
)

// planCase is a training whose memory is planned and then looked at.
type planCase struct {
	quant  quant.Policy
	stored format.Type
	preset string
	dora   bool
	keep   bool
}

func (c planCase) String() string {
	return fmt.Sprintf("%s %s %s dora=%v keep=%v", c.stored, c.quant, c.preset, c.dora, c.keep)
}

func planCases() []planCase {
	return []planCase{
		{quant.NF4, format.BF16, "paper", false, true},
		{quant.NF4, format.F32, "modern", true, false},
		{quant.Int8, format.F16, "modern", false, true},
		{quant.None, format.F32, "paper", true, true},
		{quant.None, format.BF16, "modern", false, false},
	}
}

var planShape = fixture.Shape{Hidden: 128, Layers: 3, Heads: 4, KVHeads: 2, MLP: 320, Vocab: 1000, Context: 4096}

// planned plans a training on examples of up to length tokens on dev, loads the model and trains to the end. It
// gives the plan and the model.
func planned(t *testing.T, dev kernels.TrainDevice, c planCase, length int) (*Plan, *arch.Model) {
	t.Helper()
	config, file, err := arch.Open(planShape.WriteHF(t, 1, c.stored))
	if err != nil {
		t.Fatal(err)
	}
	r, err := Preset(c.preset)
	if err != nil {
		t.Fatal(err)
	}
	r.Steps, r.Accumulate, r.DoRA, r.CheckpointEvery = 24, 4, c.dora, 16
	o := arch.Options{Quant: c.quant, DType: format.BF16}
	rng := rand.New(rand.NewPCG(5, 6))
	j := &Job{Dir: t.TempDir(), Recipe: &r, Keep: c.keep}
	for i := range 30 {
		e := Example{Key: uint32(i)}
		for range 20 + rng.IntN(length) {
			e.IDs = append(e.IDs, int32(rng.IntN(planShape.Vocab)))
		}
		e.Labels = slices.Repeat([]int32{Ignored}, len(e.IDs))
		for n := range 1 + rng.IntN(9) {
			e.Labels[len(e.IDs)-1-n] = e.IDs[len(e.IDs)-1-n]
		}
		j.Examples = append(j.Examples, e)
	}
	j.Extent = j.Measure()
	limit := int64(0)
	if !c.keep {
		limit = 1
	}
	p, err := PlanOf(func() kernels.Outline { return kernels.OutlineOf(dev) }, config, file, o, &r, j.Extent, limit)
	if err != nil {
		t.Fatal(err)
	}
	if p.Recompute == c.keep {
		t.Errorf("%v: recompute %v", c, p.Recompute)
	}
	if _, can := dev.(kernels.Keeper); p.Decode != (can && c.keep) {
		t.Errorf("%v, %s: weights are decoded: %v", c, dev.Name(), p.Decode)
	}
	j.Outline, j.Decoded = p.Outline, p.Decode
	m, err := arch.Build(dev, config, file, j.Extent.Longest, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	if j.Tuned, err = Fresh(dev, m, &r); err != nil {
		t.Fatal(err)
	}
	if _, err := j.Run(context.Background()); err != nil {
		t.Fatalf("%v: %v", c, err)
	}
	return p, m
}

// given counts what a device gives out.
type given struct {
	*cpu.Device
	bytes int64
}

func (g *given) Alloc(t format.Type, n int) (kernels.Buffer, error) {
	g.bytes += 4 * int64(n)
	return g.Device.Alloc(t, n)
}

func (g *given) Prepare(w kernels.Weight, use kernels.Use) (kernels.Prepared, error) {
	return g.prepared(g.Device.Prepare(w, use))
}

func (g *given) PrepareTrained(b kernels.Buffer, n, k int, use kernels.Use) (kernels.Prepared, error) {
	return g.prepared(g.Device.PrepareTrained(b, n, k, use))
}

func (g *given) prepared(p kernels.Prepared, err error) (kernels.Prepared, error) {
	if err == nil {
		g.bytes += p.Bytes()
	}
	return p, err
}

// On the CPU the plan is what is taken, to the byte.
func TestPlanOnCPU(t *testing.T) {
	for _, c := range planCases() {
		dev, err := cpu.New(cpu.Options{Threads: 2, PackLimit: 64 << 10})
		if err != nil {
			t.Fatal(err)
		}
		g := &given{Device: dev}
		p, m := planned(t, g, c, 100)
		got := g.bytes + m.Held() + dev.Scratch()
		if want := p.Total() - p.Table - p.Checkpoint; got != want {
			t.Errorf("%v: %d bytes were taken, %d planned: %+v", c, got, want, p)
		}
		dev.Close()
	}
}

// gpuMemory is a GPU of memory alone, which notes the most that was held.
type gpuMemory struct {
	next, held, peak int64
	sizes            map[uint64]int64
}

func (*gpuMemory) Name() string                                       { return "memory" }
func (*gpuMemory) Processors() int                                    { return 132 }
func (*gpuMemory) Shared() int                                        { return 227 << 10 }
func (g *gpuMemory) Memory() (free, total int64)                      { return 80<<30 - g.held, 80 << 30 }
func (*gpuMemory) Upload(uint64, unsafe.Pointer, int64) error         { return nil }
func (*gpuMemory) Download(unsafe.Pointer, uint64, int64) error       { return nil }
func (*gpuMemory) Clear(uint64, int64) error                          { return nil }
func (*gpuMemory) Function(string) (uintptr, error)                   { return 1, nil }
func (*gpuMemory) Launch(uintptr, int, int, int, int, []uint64) error { return nil }
func (*gpuMemory) Sync() error                                        { return nil }
func (*gpuMemory) Close() error                                       { return nil }

func (g *gpuMemory) Alloc(bytes int64) (uint64, error) {
	g.next += 1 << 40
	g.sizes[uint64(g.next)] = bytes
	g.held += bytes
	g.peak = max(g.peak, g.held)
	return uint64(g.next), nil
}

func (g *gpuMemory) Free(at uint64) {
	g.held -= g.sizes[at]
	delete(g.sizes, at)
}

// On a GPU the plan is what the driver is asked for.
func TestPlanOnGPU(t *testing.T) {
	for _, brain := range []bool{false, true} {
		for _, c := range planCases() {
			g := &gpuMemory{sizes: map[uint64]int64{}}
			dev := cuda.Over(g, nil)
			if brain {
				if err := dev.Brain(); err != nil {
					t.Fatal(err)
				}
			}
			p, _ := planned(t, dev, c, 3000)
			if apart := float64(g.peak-p.Total()) / float64(p.Total()); apart > 0.05 || apart < -0.05 {
				t.Errorf("%v, %s: %d bytes at the peak, %d planned: %+v", c, dev.Name(), g.peak, p.Total(), p)
			} else {
				t.Logf("%v, %s: %d bytes at the peak, %d planned", c, dev.Name(), g.peak, p.Total())
			}
			if p.Table != 0 {
				t.Errorf("%v: a table of %d bytes in the host's memory is in the GPU's plan", c, p.Table)
			}
			dev.Close()
		}
	}
}
