package train

import (
	"math"
	"strings"
	"testing"

	"github.com/evalrun/evalrun/kernels"
	"github.com/evalrun/evalrun/kernels/cpu"
)

func optimiser(t *testing.T, change func(*Recipe), values ...float32) (*Optimiser, *Parameter) {
	t.Helper()
	dev, err := cpu.New(cpu.Options{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = dev.Close() })
	p, err := NewParameter(dev, "w", kernels.Floats(values), len(values))
	if err != nil {
		t.Fatal(err)
	}
	r, err := Preset("paper")
	if err != nil {
		t.Fatal(err)
	}
	change(&r)
	o, err := NewOptimiser(dev, &r, []*Parameter{p})
	if err != nil {
		t.Fatal(err)
	}
	return o, p
}

func TestOptimiserStep(t *testing.T) {
	o, p := optimiser(t, func(r *Recipe) { r.Clip = 0.5 }, 1, 2)
	copy(p.Grad.(kernels.Floats), []float32{3, -4})
	norm, err := o.Step(0.1)
	if err != nil || norm != 5 {
		t.Fatalf("norm %v, %v", norm, err)
	}
	// The first step of Adam is the rate, away from the gradient's sign; its
	// mean tells that the gradient was scaled to a norm of 0.5.
	for i, want := range []float32{0.9, 2.1} {
		if got := p.Value.(kernels.Floats)[i]; math.Abs(float64(got-want)) > 1e-6 {
			t.Errorf("value %d became %v, want %v", i, got, want)
		}
	}
	if m := p.M.(kernels.Floats); math.Abs(float64(m[0])-0.03) > 1e-7 || math.Abs(float64(m[1])+0.04) > 1e-7 {
		t.Errorf("means %v of clipped gradients, want 0.03 and -0.04", m)
	}
	if g := p.Grad.(kernels.Floats); g[0] != 0 || g[1] != 0 {
		t.Errorf("gradients %v were not cleared", g)
	}
	if o.Updates() != 1 {
		t.Errorf("%d updates", o.Updates())
	}
}

func TestOptimiserNotFinite(t *testing.T) {
	o, p := optimiser(t, func(*Recipe) {}, 1)
	p.Grad.(kernels.Floats)[0] = float32(math.NaN())
	if _, err := o.Step(0.1); err == nil || !strings.Contains(err.Error(), "gradient of w") {
		t.Errorf("error %v", err)
	}
	if v := p.Value.(kernels.Floats)[0]; v != 1 || o.Updates() != 0 {
		t.Errorf("value %v after %d updates: something was changed", v, o.Updates())
	}
}

func TestNewOptimiserRefuses(t *testing.T) {
	for want, change := range map[string]func(*Recipe){
		"adam, adamw, paged-adam": func(r *Recipe) { r.Optimiser = "sgd" },
		"clipping":                func(r *Recipe) { r.Clip = math.NaN() },
		"weight decay":            func(r *Recipe) { r.WeightDecay = -1 },
	} {
		r, _ := Preset("modern")
		change(&r)
		if _, err := NewOptimiser(nil, &r, nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q", err, want)
		}
	}
}
