package cuda

import (
	"math"
	"math/rand/v2"
	"testing"
	"unsafe"

	"github.com/evalrun/evalrun/kernels"
	"github.com/evalrun/evalrun/kernels/format"
)

// nf4 is a random weight [n, k] with scales in two levels.
func nf4(t testing.TB, n, k int, round format.Type) kernels.Weight {
	t.Helper()
	rng := rand.New(rand.NewPCG(1, uint64(n*k)))
	values := make([]float32, n*k)
	for i := range values {
		values[i] = float32(rng.NormFloat64() / math.Sqrt(float64(k)))
	}
	q, err := format.Quantize(format.NF4, 64, n*k, round, func(dst []float32, from int) { copy(dst, values[from:]) })
	if err != nil {
		t.Fatal(err)
	}
	q.Double()
	return kernels.Weight{Name: "w", N: n, K: k, Quant: q}
}

// dequantised compares with package format, whole matrices and parts.
func dequantised(t *testing.T, d *Device) {
	for _, round := range []format.Type{format.F32, format.BF16, format.F16} {
		whole := nf4(t, 67, 192, round)
		for _, w := range []kernels.Weight{whole, whole.Rows(3, 50), whole.Rows(1, 2)} {
			p, err := d.Prepare(w, kernels.ForMatMul)
			if err != nil {
				t.Fatal(err)
			}
			n := w.N * w.K
			mem := d.scratch(n / 2)
			d.dequantise(mem.at, p.(*weight))
			got, want := make([]uint16, n), make([]float32, n)
			if err := d.driver.Download(unsafe.Pointer(&got[0]), mem.at, int64(2*n)); err != nil {
				t.Fatal(err)
			}
			w.Decode(want, 0)
			for i, v := range want {
				if got[i] != format.F32ToBF16(v) {
					t.Fatalf("%v [%d, %d]: value %d is %x, want %x", round, w.N, w.K, i, got[i], format.F32ToBF16(v))
				}
			}
		}
	}
}
