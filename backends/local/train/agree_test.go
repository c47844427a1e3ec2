package train

import (
	"math"
	"testing"

	"github.com/evalrun/evalrun/backends/local/arch"
	"github.com/evalrun/evalrun/backends/local/internal/fixture"
	"github.com/evalrun/evalrun/backends/local/quant"
	"github.com/evalrun/evalrun/backends/local/weights"
	"github.com/evalrun/evalrun/kernels"
	"github.com/evalrun/evalrun/kernels/cpu"
	"github.com/evalrun/evalrun/kernels/format"
)

// gpuShape has widths that the matrix units' products take.
var gpuShape = fixture.Shape{Hidden: 256, Layers: 2, Heads: 4, KVHeads: 2, MLP: 320, Vocab: 131, Context: 512}

// tunedOn is gpuShape in NF4 with a fresh adapter.
func tunedOn(t *testing.T, dev kernels.TrainDevice, dora bool) (*Tuned, *Recipe) {
	t.Helper()
	c, f, err := arch.Open(gpuShape.WriteHF(t, 1, format.F32))
	if err != nil {
		t.Fatal(err)
	}
	m, err := arch.Build(dev, c, f, 0, arch.Options{Quant: quant.NF4})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	r, err := Preset("paper")
	if err != nil {
		t.Fatal(err)
	}
	zero := 0.0
	r.Rank, r.LR, r.Steps, r.Warmup, r.Restart, r.Accumulate, r.Seed, r.DoRA = 4, 0.01, 24, &zero, 100, 4, 3, dora
	tuned, err := Fresh(dev, m, &r)
	if err != nil {
		t.Fatal(err)
	}
	return tuned, &r
}

func openCPU(t *testing.T) kernels.TrainDevice {
	t.Helper()
	dev, err := cpu.New(cpu.Options{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dev.Close() })
	return dev
}

// apart is the largest difference of two lists of values, as a share of the
// largest value of each tensor.
func apart(a, b []weights.Tensor) (worst float64) {
	for i := range a {
		x, _ := a[i].Floats()
		y, _ := b[i].Floats()
		most, off := 0.0, 0.0
		for j := range x {
			most, off = max(most, math.Abs(float64(x[j]))), max(off, math.Abs(float64(x[j]-y[j])))
		}
		worst = max(worst, off/most)
	}
	return worst
}

// A curve is what 60 updates of four examples tell on the way, and the adapter
// that they leave: NF4 base, dropout, lengths from 8 to 128 tokens.
type curve struct {
	losses, norms []float64
	values        []weights.Tensor
}

func curveOn(t *testing.T, dev kernels.TrainDevice, compute string) (c curve) {
	t.Helper()
	tuned, r := tunedOn(t, dev, false)
	r.Compute, r.LR, r.Steps, r.Dropout = compute, 3e-4, 240, 0.05
	all := repeated(r.Steps, 8, 120, gpuShape.Vocab)
	tokens, judged := Largest(all, r.Accumulate)
	s, err := NewStepper(tuned, r, tokens, judged, true)
	if err != nil {
		t.Fatal(err)
	}
	for at := 0; at < len(all); at += r.Accumulate {
		losses, norm, err := s.Window(at, all[at:at+r.Accumulate])
		if err != nil {
			t.Fatal(err)
		}
		c.losses, c.norms = append(c.losses, losses...), append(c.norms, norm)
	}
	c.values = tuned.Values()
	return c
}

// bars say how far two curves may be apart: any loss, their mean difference, any
// norm as a share, and values as a share of their tensor's largest.
type bars struct{ loss, mean, norm, values float64 }

// agree compares every loss, every norm and all values, and tells how far they are apart.
func agree(t *testing.T, what string, want, got curve, b bars) {
	t.Helper()
	var is bars
	for i := range want.losses {
		d := math.Abs(got.losses[i] - want.losses[i])
		if !(d <= b.loss) {
			t.Errorf("%s: loss %d is %.6g, want %.6g", what, i, got.losses[i], want.losses[i])
		}
		is.loss, is.mean = math.Max(is.loss, d), is.mean+d/float64(len(want.losses))
	}
	for i := range want.norms {
		d := math.Abs(got.norms[i]/want.norms[i] - 1)
		if !(d <= b.norm) {
			t.Errorf("%s: norm %d is %.6g, want %.6g", what, i, got.norms[i], want.norms[i])
		}
		is.norm = math.Max(is.norm, d)
	}
	is.values = apart(want.values, got.values)
	t.Logf("%s: losses from %.4f to %.4f, %.2g apart at most and %.2g in the mean; norms %.2g, adapter %.2g", what, want.losses[0], want.losses[len(want.losses)-1], is.loss, is.mean, is.norm, is.values)
	if !(is.mean <= b.mean) || !(is.values <= b.values) {
		t.Errorf("%s: apart %+v, at most %+v", what, is, b)
	}
}

// Bars of one training on two devices, three times or more what two instruction
// sets of the CPU, which sum in other orders, were measured apart. In float32:
// 1.4e-5, 2.8e-6, 6.9e-6 and 2.5e-5; the adapter's is that of the emulated GPU, which
// was 1.2e-4 from the CPU after four large steps (TestEmulatedTraining). In bfloat16, where a last bit of a sum may
// round the other way and the next layer goes on with it: 0.067, 0.015, 0.023 and 0.059.
var (
	exactly = bars{loss: 1e-4, mean: 2e-5, norm: 1e-4, values: 1e-3}
	roughly = bars{loss: 0.2, mean: 0.045, norm: 0.1, values: 0.2}
)
