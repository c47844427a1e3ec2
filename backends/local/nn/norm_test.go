package nn

import (
	"slices"
	"testing"

	"github.com/evalrun/evalrun/kernels"
	"github.com/evalrun/evalrun/kernels/format"
	"github.com/evalrun/evalrun/kernels/ref"
)

// An adapter may change a norm's bias and leave its weight, as PEFT's bias "all"
// does with the LayerNorms of Phi.
func TestNormBiasAlone(t *testing.T) {
	dev := ref.New()
	buffer := func(values ...float32) kernels.Buffer {
		b, err := dev.Alloc(format.F32, len(values))
		if err != nil {
			t.Fatal(err)
		}
		dev.Write(b, values)
		return b
	}
	x, y := buffer(1, -2, 3, 0.5, 4, 1, 0, 2), buffer(make([]float32, 8)...)
	n := Norm{Weight: buffer(1, 2, 0.5, 1), Bias: buffer(0, 1, 0, 0), Eps: 1e-5, Module: 1}
	other := n
	other.Bias = buffer(3, 0, -1, 2)
	run := func(n *Norm, uses []Use) []float32 {
		n.Forward(dev, y, x, 2, uses)
		out := make([]float32, 8)
		dev.Read(out, y)
		return out
	}
	plain, changed := run(&n, nil), run(&other, nil)
	adapter := &Adapter{Parts: []*Part{nil, {Bias: other.Bias}}}
	want := slices.Concat(plain[:4], changed[4:])
	if got := run(&n, []Use{{Row: 1, N: 1, Adapter: adapter}}); !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}
