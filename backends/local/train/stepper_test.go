package train

import (
	"errors"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/evalrun/evalrun/backends/local/arch"
	"github.com/evalrun/evalrun/backends/local/internal/fixture"
	"github.com/evalrun/evalrun/backends/local/lora"
	"github.com/evalrun/evalrun/backends/local/quant"
	"github.com/evalrun/evalrun/backends/local/weights"
	"github.com/evalrun/evalrun/kernels/cpu"
	"github.com/evalrun/evalrun/kernels/format"
)

// adapterFiles writes an adapter of rank 2 on q and v of the tiny model.
func adapterFiles(t *testing.T, dora bool) string {
	t.Helper()
	s, dir := fixture.Tiny, t.TempDir()
	rng := rand.New(rand.NewPCG(9, 9))
	random := func(name string, shape ...int) weights.Tensor {
		n := 1
		for _, d := range shape {
			n *= d
		}
		v := make([]float32, n)
		for i := range v {
			v[i] = float32(0.2 * rng.NormFloat64())
			if len(shape) == 1 {
				v[i] = 1 + v[i]
			}
		}
		return weights.Float32s("base_model.model."+name, v, shape...)
	}
	var all []weights.Tensor
	for _, layer := range []string{"0", "1"} {
		for i, out := range []int{s.Hidden, s.Hidden / s.Heads * s.KVHeads} {
			at := "model.layers." + layer + ".self_attn." + []string{"q_proj", "v_proj"}[i]
			all = append(all, random(at+".lora_A.weight", 2, s.Hidden), random(at+".lora_B.weight", out, 2))
			if dora {
				all = append(all, random(at+".lora_magnitude_vector", out))
			}
		}
	}
	text, err := settings(dora).JSON()
	if err == nil {
		err = lora.Write(dir, text, all)
	}
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

func settings(dora bool) lora.Settings {
	return lora.Settings{Base: "tiny", Rank: 2, Alpha: 4, Targets: []string{"v_proj", "q_proj"}, DoRA: dora}
}

// repeated are n micro-batches, the same four again and again, of shortest
// and fewer than spread more tokens: the first token is to be told at the end.
func repeated(n, shortest, spread, vocab int) []Example {
	rng := rand.New(rand.NewPCG(4, 4))
	var all []Example
	for i := range n {
		if i >= 4 {
			all = append(all, Example{IDs: all[i-4].IDs, Labels: all[i-4].Labels, Key: uint32(i)})
			continue
		}
		e := Example{Key: uint32(i)}
		for range shortest + rng.IntN(spread) {
			e.IDs = append(e.IDs, int32(rng.IntN(vocab)))
		}
		e.Labels = append(slices.Repeat([]int32{Ignored}, len(e.IDs)), e.IDs[0])
		e.IDs = append(e.IDs, e.IDs[0])
		all = append(all, e)
	}
	return all
}

// trained runs six windows of four examples and gives the values at the end.
func trained(t *testing.T, threads int, keep, dora bool, windows ...int) ([]weights.Tensor, []float64) {
	t.Helper()
	dev, err := cpu.New(cpu.Options{Threads: threads})
	if err != nil {
		t.Fatal(err)
	}
	defer dev.Close()
	c, f, err := arch.Open(fixture.Tiny.WriteHF(t, 1, format.F32))
	if err != nil {
		t.Fatal(err)
	}
	m, err := arch.Build(dev, c, f, 0, arch.Options{Quant: quant.NF4})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	a, err := lora.Open(adapterFiles(t, dora))
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	tuned, err := Adapt(dev, m, a, 0.05)
	if err != nil {
		t.Fatal(err)
	}
	r, err := Preset("paper")
	if err != nil {
		t.Fatal(err)
	}
	zero := 0.0
	r.LR, r.Steps, r.Warmup, r.Restart, r.Accumulate, r.Seed = 0.02, 24, &zero, 100, 4, 3
	all := repeated(24, 3, 9, 50)
	tokens, judged := Largest(all, r.Accumulate)
	s, err := NewStepper(tuned, &r, tokens, judged, keep)
	if err != nil {
		t.Fatal(err)
	}
	var losses []float64
	for at, w := 0, 0; at < len(all); w++ {
		n := r.Accumulate
		if w < len(windows) {
			n = windows[w]
		}
		l, norm, err := s.Window(at, all[at:at+n])
		if err != nil || !(norm > 0) {
			t.Fatalf("window at %d: norm %v, %v", at, norm, err)
		}
		losses = append(losses, l...)
		at += n
	}
	return tuned.Values(), losses
}

// Training learns, and gives the same bits with one thread and two, with
// activations held and computed again.
func TestTrainingSameBits(t *testing.T) {
	for _, dora := range []bool{false, true} {
		want, losses := trained(t, 1, true, dora)
		first, last := 0.0, 0.0
		for i := range 4 {
			first, last = first+losses[i]/4, last+losses[len(losses)-1-i]/4
		}
		if !(last < 0.8*first) {
			t.Errorf("DoRA %v: mean loss went from %v to %v", dora, first, last)
		}
		for _, o := range []struct {
			threads int
			keep    bool
		}{{2, true}, {1, false}, {2, false}} {
			got, _ := trained(t, o.threads, o.keep, dora)
			if !slices.EqualFunc(got, want, func(a, b weights.Tensor) bool { return a.Name == b.Name && slices.Equal(a.Data, b.Data) }) {
				t.Errorf("DoRA %v, %d threads, kept %v: other bits", dora, o.threads, o.keep)
			}
		}
	}
}

// A window that a checkpoint cuts is still divided by Accumulate.
func TestPartialWindow(t *testing.T) {
	whole, _ := trained(t, 1, true, false)
	cut, _ := trained(t, 1, true, false, 4, 4, 2, 2, 4, 4)
	if slices.EqualFunc(whole, cut, func(a, b weights.Tensor) bool { return slices.Equal(a.Data, b.Data) }) {
		t.Error("cutting a window changed nothing")
	}
}

// A loss that is no number stops training before anything is changed.
func TestWindowNotFinite(t *testing.T) {
	dev, err := cpu.New(cpu.Options{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer dev.Close()
	c, f, err := arch.Open(fixture.Tiny.WriteHF(t, 1, format.F32))
	if err != nil {
		t.Fatal(err)
	}
	m, err := arch.Build(dev, c, f, 0, arch.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	a, err := lora.Open(adapterFiles(t, false))
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	tuned, err := Adapt(dev, m, a, 0)
	if err != nil {
		t.Fatal(err)
	}
	r, err := Preset("modern")
	if err != nil {
		t.Fatal(err)
	}
	r.Accumulate = 1
	s, err := NewStepper(tuned, &r, 4, 3, true)
	if err != nil {
		t.Fatal(err)
	}
	p := tuned.Parameters()[0]
	before := make([]float32, p.N)
	dev.Read(before, p.Value)
	poisoned := slices.Clone(before)
	poisoned[0] = float32(math.NaN())
	dev.Write(p.Value, poisoned)
	if err := tuned.Refresh(); err != nil {
		t.Fatal(err)
	}
	_, _, err = s.Window(17, []Example{{IDs: []int32{1, 2, 3}, Labels: []int32{Ignored, 2, 3}}})
	var bad *NotFiniteError
	if !errors.As(err, &bad) || bad.Step != 17 || bad.Example != 0 {
		t.Errorf("error %v", err)
	}
	if s.Optimiser().Updates() != 0 {
		t.Error("an update was counted")
	}
}
