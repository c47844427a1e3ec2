package kernelbench

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/evalrun/evalrun/kernels"
	"github.com/evalrun/evalrun/kernels/cpu"
	"github.com/evalrun/evalrun/kernels/ref"
)

// Every operation gives a figure on every device, and a share follows from its
// numbers.
func TestRun(t *testing.T) {
	fast, err := cpu.New(cpu.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer fast.Close()
	for _, dev := range []kernels.Device{fast, ref.New()} {
		top := Ceiling{Read: 1e10, Copy: 2e10, FLOPS: 1e11, Matrix: 1e13}
		seen := 0
		figures, err := Run(dev, top, Options{Width: 256, Rows: 3, Context: 40, Budget: time.Microsecond, Each: func(Figure) { seen++ }})
		if err != nil {
			t.Fatal(err)
		}
		names := map[string]bool{}
		for _, f := range figures {
			names[f.Operation] = true
			amount := f.Bytes
			if f.Bound == Arithmetic {
				amount = f.FLOP
			}
			if !(f.Seconds > 0) || math.Abs(f.Share-amount/f.Seconds/f.Ceiling) > 1e-9*f.Share || f.Shape == "" {
				t.Errorf("%s: %+v", dev.Name(), f)
			}
		}
		for _, want := range []string{"MatMul NF4", "MatMul Q4_K", "RMSNorm", "Attention, decoding", "LoRA, a row each", "MatMulBack NF4", "AttentionBack", "Adam"} {
			if !names[want] {
				t.Errorf("%s: no figure of %s", dev.Name(), want)
			}
		}
		if seen != len(figures) {
			t.Errorf("%d figures, %d told as they came", len(figures), seen)
		}
	}
}

// What bounds an operation is what takes longer at the ceiling.
func TestBound(t *testing.T) {
	b := &bench{dev: ref.New(), top: Ceiling{Read: 10, Copy: 20, FLOPS: 100, Matrix: 1000}, o: Options{Budget: time.Microsecond}}
	for _, c := range []struct {
		w       work
		bound   string
		ceiling float64
	}{
		{work{read: 100, flop: 900}, Memory, 10},
		{work{read: 100, flop: 1100}, Arithmetic, 100},
		{work{read: 100, flop: 1100, matrix: true}, Memory, 10},
		{work{read: 100, written: 100, flop: 900}, Memory, 20},
		{work{read: 100, written: 100, flop: 1100}, Arithmetic, 100},
	} {
		b.figures = nil
		b.add("x", "", c.w, func() { time.Sleep(10 * time.Microsecond) })
		if f := b.figures[0]; f.Bound != c.bound || f.Ceiling != c.ceiling {
			t.Errorf("%+v is bound by %s at %g, want %s at %g", c.w, f.Bound, f.Ceiling, c.bound, c.ceiling)
		}
	}
}

func TestOptions(t *testing.T) {
	for _, o := range []Options{{Width: 100}, {Width: 1 << 20}, {Rows: -1}, {Context: -5}, {Budget: -1}} {
		if _, err := Run(ref.New(), Ceiling{}, o); err == nil || !strings.Contains(err.Error(), "width") {
			t.Errorf("%+v: error %v", o, err)
		}
	}
	top, err := CeilingOf(ref.New(), time.Millisecond)
	if err != nil || !(top.Read > 1e8) || !(top.FLOPS > 1e8) || top.Matrix != 0 {
		t.Errorf("ceiling %+v, %v", top, err)
	}
}
