//go:build emulate && amd64

package train

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"unsafe"

	"github.com/evalrun/evalrun/backends/local/weights"
	"github.com/evalrun/evalrun/kernels"
	"github.com/evalrun/evalrun/kernels/cuda"
	"github.com/evalrun/evalrun/kernels/cuda/emulate"
)

// counted is the emulated GPU with a count of what the host asks of it.
type counted struct {
	*emulate.Machine
	names                              map[uintptr]string
	launches                           map[string]int
	started, uploads, downloads, waits int
}

func newCounted() *counted {
	return &counted{Machine: emulate.New(), names: map[uintptr]string{}, launches: map[string]int{}}
}

func (c *counted) Function(name string) (uintptr, error) {
	f, err := c.Machine.Function(name)
	c.names[f] = name
	return f, err
}

func (c *counted) Launch(f uintptr, gridX, gridY, threads, shared int, args []uint64) error {
	c.launches[c.names[f]]++
	c.started++
	return c.Machine.Launch(f, gridX, gridY, threads, shared, args)
}

func (c *counted) Upload(dst uint64, src unsafe.Pointer, bytes int64) error {
	c.uploads++
	return c.Machine.Upload(dst, src, bytes)
}

func (c *counted) Download(dst unsafe.Pointer, src uint64, bytes int64) error {
	c.downloads++
	return c.Machine.Download(dst, src, bytes)
}

func (c *counted) Sync() error {
	c.waits++
	return c.Machine.Sync()
}

// trainOn trains four windows and gives the adapter's values and every loss and norm.
func trainOn(t *testing.T, dev kernels.TrainDevice, compute string, dora bool, each func(window int)) ([]weights.Tensor, []float64) {
	t.Helper()
	return trainDecoded(t, dev, compute, dora, false, each)
}

func trainDecoded(t *testing.T, dev kernels.TrainDevice, compute string, dora, decoded bool, each func(window int)) ([]weights.Tensor, []float64) {
	t.Helper()
	tuned, r := tunedOn(t, dev, dora)
	if r.Compute = compute; compute == "bf16" {
		r.LR = 0.001 // large steps make much of small differences
	}
	all := repeated(16, 8, 30, 130)
	tokens, judged := Largest(all, r.Accumulate)
	s, err := NewStepper(tuned, r, tokens, judged, true)
	if err != nil {
		t.Fatal(err)
	}
	if decoded {
		if err := s.Decode(); err != nil {
			t.Fatal(err)
		}
	}
	var told []float64
	for at := 0; at < len(all); at += r.Accumulate {
		l, norm, err := s.Window(at, all[at:at+r.Accumulate])
		if err != nil {
			t.Fatal(err)
		}
		told = append(append(told, l...), norm)
		if each != nil {
			each(at / r.Accumulate)
		}
	}
	return tuned.Values(), told
}

func sameBits(a, b []weights.Tensor) bool {
	return slices.EqualFunc(a, b, func(a, b weights.Tensor) bool { return a.Name == b.Name && bytes.Equal(a.Data, b.Data) })
}

// A training on the emulated GPU is the CPU's: every loss and norm of the first
// window within 1e-5 of it, of later ones within 1e-4 (Adam's first updates have
// the size of the rate whatever a gradient's, also of one that is all rounding),
// the adapter within 1e-3 of its largest value. Twice it gives the same bits.
func TestEmulatedTraining(t *testing.T) {
	for _, dora := range []bool{false, true} {
		want, wantTold := trainOn(t, openCPU(t), "fp32", dora, nil)
		var first []weights.Tensor
		for round := range 2 {
			dev := cuda.Over(emulate.New(), nil)
			got, told := trainOn(t, dev, "fp32", dora, nil)
			for i := range told {
				limit := 1e-4
				if i < 5 {
					limit = 1e-5
				}
				if math.Abs(told[i]-wantTold[i]) > limit*math.Max(1, math.Abs(wantTold[i])) {
					t.Errorf("DoRA %v: loss or norm %d is %.8g, on the CPU %.8g", dora, i, told[i], wantTold[i])
				}
			}
			if d := apart(want, got); d > 1e-3 {
				t.Errorf("DoRA %v: the adapter is %.2g from the CPU's", dora, d)
			} else {
				t.Logf("DoRA %v: adapter %.2g from the CPU's", dora, d)
			}
			if round == 0 {
				first = got
			} else if !sameBits(first, got) {
				t.Errorf("DoRA %v: the second training gives other bits", dora)
			}
			dev.Close()
		}
	}
}

// A window packed is its examples one at a time, within 1e-5 of each gradient's
// largest value.
func TestEmulatedPacking(t *testing.T) {
	dev := cuda.Over(emulate.New(), nil)
	defer dev.Close()
	all := repeated(16, 8, 30, 130)[:4]
	gradients := func(size int) ([]weights.Tensor, []float32) {
		tuned, r := tunedOn(t, dev, false)
		tokens, judged := Largest(all, size)
		s, err := NewStepper(tuned, r, tokens, judged, true)
		if err != nil {
			t.Fatal(err)
		}
		// B at zero leaves A without a gradient.
		for _, p := range tuned.params {
			if strings.Contains(p.Name, "lora_B") {
				dev.Fill(p.Value, p.N, 0.01)
			}
		}
		var losses []float32
		for at := 0; at < len(all); at += size {
			losses = append(losses, s.pass.Backward(pack(tuned.model, all[at:at+size], 3, func(*Example, int) float64 { return 0.25 }))...)
		}
		return tuned.Gradients(), losses
	}
	packed, together := gradients(4)
	single, alone := gradients(1)
	if d := apart(single, packed); d > 1e-5 {
		t.Errorf("gradients of a packed window are %.2g from those one at a time", d)
	}
	for i := range alone {
		if math.Abs(float64(alone[i]-together[i])) > 1e-5 {
			t.Errorf("loss %d is %v packed, %v alone", i, together[i], alone[i])
		}
	}
}

// A training that is killed and goes on ends with the bits of one that was not.
func TestEmulatedResume(t *testing.T) {
	open := func(dir string) *Job {
		j := jobOn(t, cuda.Over(emulate.New(), nil), "paper", dir)
		j.Recipe.Steps, j.Recipe.EvalEvery = 44, 20
		return j
	}
	whole := open(t.TempDir())
	if res, err := whole.Run(context.Background()); err != nil || !res.Finished {
		t.Fatalf("%+v, %v", res, err)
	}
	dir := t.TempDir()
	killed := open(dir)
	windows := 0
	killed.Tell = func(News) {
		if windows++; windows == 8 {
			panic("killed")
		}
	}
	if _, err := killed.runKilled(context.Background()); err == nil {
		t.Fatal("the training was not killed")
	}
	last := open(dir)
	if res, err := last.Run(context.Background()); err != nil || res.Resumed == 0 {
		t.Fatalf("%+v, %v", res, err)
	}
	if !bytes.Equal(outcome(t, last), outcome(t, whole)) {
		t.Error("resumed, it ends in other bits")
	}
}

// What a window asks of the GPU: the host waits for it twice, for the losses and
// for the norm.
func TestEmulatedTraffic(t *testing.T) {
	for _, compute := range []string{"fp32", "bf16"} {
		drv := newCounted()
		dev := cuda.Over(drv, nil)
		var before counted
		trainOn(t, dev, compute, false, func(window int) {
			if window == 2 {
				before = counted{started: drv.started, uploads: drv.uploads, downloads: drv.downloads, waits: drv.waits}
				clear(drv.launches)
			}
			if window != 3 {
				return
			}
			var list []string
			for name, n := range drv.launches {
				list = append(list, fmt.Sprintf("%4d %s", n, name))
			}
			slices.Sort(list)
			slices.Reverse(list)
			t.Logf("%s: a window of 2 layers: %d kernels, %d uploads, %d downloads, %d waits\n%s", compute, drv.started-before.started, drv.uploads-before.uploads,
				drv.downloads-before.downloads, drv.waits-before.waits, strings.Join(list, "\n"))
			if n := drv.downloads - before.downloads + drv.waits - before.waits; n > 2 {
				t.Errorf("the host waits %d times a window", n)
			}
		})
		dev.Close()
	}
}

// brainOn is the emulated GPU with products and attention of bfloat16 values.
func brainOn(t *testing.T) *cuda.Device {
	dev := cuda.Over(emulate.New(), nil)
	if err := dev.Brain(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dev.Close() })
	return dev
}

// composed hides a device's fusions but that of pairs, whose sums have other orders.
type composed struct {
	kernels.TrainDevice
	kernels.PairTrainer
}

// In bfloat16 a training stays near the CPU's in the same numerics: losses within
// 3 % of it. Fused products and weights kept decoded change no bit.
func TestEmulatedBrain(t *testing.T) {
	_, want := trainOn(t, openCPU(t), "bf16", false, nil)
	plain, told := trainOn(t, brainOn(t), "bf16", false, nil)
	worst := 0.0
	for i := range want {
		if math.Abs(told[i]-want[i]) > 0.03*want[i] {
			t.Errorf("loss or norm %d is %v, on the CPU %v", i, told[i], want[i])
		}
		worst = math.Max(worst, math.Abs(told[i]/want[i]-1))
	}
	t.Logf("losses and norms are within %.2g of the CPU's", worst)
	parts := brainOn(t)
	if apart, _ := trainOn(t, composed{parts, parts}, "bf16", false, nil); !sameBits(plain, apart) {
		t.Error("fused products give other bits")
	}
	dev := brainOn(t)
	held := dev.Held()
	kept, _ := trainDecoded(t, dev, "bf16", false, true, nil)
	if !sameBits(plain, kept) {
		t.Error("weights kept decoded give other bits")
	}
	if dev.Held() == held {
		t.Error("no weights were kept")
	}
}
