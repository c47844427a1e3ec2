package cuda

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/evalrun/evalrun/kernels"
	"github.com/evalrun/evalrun/kernels/format"
)

// oneRows holds the product of one row with 4-bit codes to the general kernel,
// bit by bit: shapes that fill no step, no warp and no block of outputs, parts of
// a matrix, every rounding, scales in one level and two.
func oneRows(t *testing.T, d *Device) {
	rng := rand.New(rand.NewPCG(3, 9))
	taken := 0
	for _, s := range []struct {
		n, k, block, from int
		kind              format.QuantKind
		round             format.Type
		double            bool
	}{
		{1, 32, 32, 0, format.NF4, format.F16, true}, {5, 96, 64, 0, format.NF4, format.F32, true},
		{70, 1024, 64, 3, format.NF4, format.F32, true}, {33, 1056, 64, 2, format.NF4, format.F16, false},
		{203, 2144, 128, 0, format.FP4, format.F16, false}, {130, 3104, 32, 1, format.NF4, format.F32, true},
		{7, 4128, 4096, 0, format.NF4, format.F32, false}, {67, 192, 64, 5, format.FP4, format.F16, true},
		{600, 64, 64, 7, format.NF4, format.F32, true}, {3, 14336, 64, 0, format.NF4, format.F16, true},
	} {
		values := make([]float32, s.n*s.k)
		for i := range values {
			values[i] = float32(rng.NormFloat64())
		}
		q, err := format.Quantize(s.kind, s.block, len(values), s.round, func(dst []float32, from int) { copy(dst, values[from:]) })
		if err != nil {
			t.Fatal(err)
		}
		if s.double {
			q.Double()
		}
		w := kernels.Weight{Name: "w", N: s.n, K: s.k, Quant: q}.Rows(s.from, s.n)
		prepared, err := d.Prepare(w, kernels.ForMatMul)
		if err != nil {
			t.Fatal(err)
		}
		p := prepared.(*weight)
		x := make([]float32, s.k)
		for i := range x {
			x[i] = float32(rng.NormFloat64())
		}
		in, _ := d.Alloc(format.F32, s.k)
		d.Write(in, x)
		for _, e := range []kernels.Epilogue{kernels.Store, kernels.Add} {
			var got [2][]float32
			for i, short := range []bool{true, false} {
				p.short = short
				out, _ := d.Alloc(format.F32, w.N+1)
				d.Fill(out, w.N+1, 0.25)
				at := on(out, w.N+1, "out")
				if short && d.oneRow(at, on(in, s.k, "in"), p, e, 1) {
					taken++
				} else {
					d.multiply(at, on(in, s.k, "in"), 1, p, e, 1)
				}
				got[i] = make([]float32, w.N+1)
				d.Read(got[i], out)
			}
			for i, v := range got[0] {
				if math.Float32bits(v) != math.Float32bits(got[1][i]) {
					t.Fatalf("%s: value %d is %g, the general kernel has %g", fmt.Sprintf("%+v, epilogue %d", s, e), i, v, got[1][i])
				}
			}
			if got[0][w.N] != 0.25 {
				t.Fatalf("%+v: wrote behind the outputs", s)
			}
		}
	}
	if taken < 16 {
		t.Errorf("the kernel of one row took part %d times of 20", taken)
	}
}
