package ref_test

import (
	"math"
	"testing"

	"github.com/evalrun/evalrun/kernels"
	"github.com/evalrun/evalrun/kernels/format"
	"github.com/evalrun/evalrun/kernels/kerneltest"
	"github.com/evalrun/evalrun/kernels/ref"
)

func TestContract(t *testing.T) {
	kerneltest.Run(t, ref.New())
	kerneltest.RunTrain(t, ref.New())
}

func TestSameBits(t *testing.T) {
	kerneltest.SameBits(t, func(int) kernels.Device { return ref.New() })
	kerneltest.OneOrder(t, ref.New())
}

// ref itself is held to values computed by hand.
func TestByHand(t *testing.T) {
	d := ref.New()
	data := make([]byte, 4*6)
	format.F32.Encode(data, []float32{1, 2, 3, 4, 5, 6})
	w, err := d.Prepare(kernels.Weight{Name: "w", Type: format.F32, N: 2, K: 3, Data: data}, kernels.ForMatMul)
	if err != nil {
		t.Fatal(err)
	}
	dst := kernels.Floats{100, 100}
	d.MatMul(dst, kernels.Floats{1, -1, 2}, 1, w, kernels.Add)
	want(t, "MatMul", dst, 105, 111)

	d.RMSNorm(dst, kernels.Floats{3, 4}, kernels.Floats{1, 10}, 1, 0)
	want(t, "RMSNorm", dst, 3/math.Sqrt(12.5), 40/math.Sqrt(12.5))

	d.Gate(dst, kernels.Floats{0, 1}, kernels.Floats{5, 3}, 2, kernels.SiLU)
	want(t, "Gate", dst, 0, 3/(1+math.Exp(-1)))

	d.LayerNorm(dst, kernels.Floats{3, 5}, kernels.Floats{2, 10}, kernels.Floats{1, 0}, 1, 0)
	want(t, "LayerNorm", dst, -1, 10)

	gelu := kernels.Floats{1, 1}
	d.Activate(gelu, gelu, 1, kernels.GELUTanh)
	d.Activate(gelu[1:], gelu[1:], 1, kernels.GELUErf)
	want(t, "GELU", gelu, 0.841192, 0.841345)

	x := kernels.Floats{1, 2, 3, 4}
	d.Rope(x, 1, 4, kernels.Floats{0, 0.6}, kernels.Floats{1, 0.8}, 2, []int32{0}, kernels.RopeHalves)
	want(t, "Rope halves", x, -3, 2*0.6-4*0.8, 1, 4*0.6+2*0.8)
	x = kernels.Floats{1, 2, 3, 4}
	d.Rope(x, 1, 4, kernels.Floats{0, 0.6}, kernels.Floats{1, 0.8}, 2, []int32{0}, kernels.RopePairs)
	want(t, "Rope pairs", x, -2, 1, 3*0.6-4*0.8, 4*0.6+3*0.8)

	kv, err := d.AllocKV(1, 1, 1)
	if err != nil {
		t.Fatal(err)
	}
	spans := []kernels.Span{{N: 2, Pages: []int32{0}}}
	d.StoreKV(kv, kernels.Floats{0, math.Ln2}, kernels.Floats{1, 4}, spans)
	d.Attention(dst, kernels.Floats{1, 1}, kv, spans, 1, kernels.AttentionOptions{Scale: 1})
	want(t, "Attention", dst, 1, 3) // weights 1/3 and 2/3
}

func want(t *testing.T, what string, got kernels.Floats, values ...float64) {
	t.Helper()
	for i, v := range values {
		if math.Abs(float64(got[i])-v) > 1e-5 {
			t.Errorf("%s: value %d is %g, want %g", what, i, got[i], v)
		}
	}
}
