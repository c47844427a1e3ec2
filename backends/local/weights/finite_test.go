package weights

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/evalrun/evalrun/kernels/format"
)

// The quick look finds what decoding finds.
func TestNotFinite(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 3))
	for _, typ := range []format.Type{format.F32, format.F16, format.BF16, format.F64, format.Q8_0} {
		for n := 32; n < 200; n += 32 {
			values := make([]float32, n)
			for i := range values {
				values[i] = float32(rng.NormFloat64() * math.Pow(10, float64(rng.IntN(8)-4)))
			}
			x := Tensor{Type: typ, Shape: []int{n}}
			size, _ := typ.Bytes(int64(n))
			x.Data = make([]byte, size)
			typ.Encode(x.Data, values)
			if at := NotFinite(x); at != -1 {
				t.Fatalf("%v: value %d of numbers is found", typ, at)
			}
			if typ == format.Q8_0 {
				continue
			}
			for _, bad := range []float64{math.NaN(), math.Inf(1), math.Inf(-1)} {
				at := rng.IntN(n)
				changed := append([]float32(nil), values...)
				changed[at] = float32(bad)
				typ.Encode(x.Data, changed)
				if got := NotFinite(x); got != at {
					t.Errorf("%v: %g at %d of %d is found at %d", typ, bad, at, n, got)
				}
			}
		}
	}
}
