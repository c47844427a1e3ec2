package cuda

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/evalrun/evalrun/kernels"
	"github.com/evalrun/evalrun/kernels/format"
)

// narrowOn compares the kernels of adapters with those of any product: the same
// bits, but for gradients, whose sums have an order of their own.
func narrowOn(t *testing.T, d *Device) {
	rng := rand.New(rand.NewPCG(3, 3))
	random := func(n int) []float32 {
		x := make([]float32, n)
		for i := range x {
			x[i] = float32(rng.NormFloat64())
		}
		return x
	}
	buf := func(x []float32) kernels.Buffer {
		b, err := d.Alloc(format.F32, len(x))
		if err != nil {
			t.Fatal(err)
		}
		d.Write(b, x)
		return b
	}
	read := func(b kernels.Buffer) []float32 {
		x := make([]float32, b.Len())
		d.Read(x, b)
		return x
	}
	weightOf := func(typ format.Type, n, k int) *weight {
		bytes, _ := typ.Bytes(int64(n) * int64(k))
		data := make([]byte, bytes)
		typ.Encode(data, random(n*k))
		p, err := d.Prepare(kernels.Weight{Name: "w", Type: typ, N: n, K: k, Data: data}, kernels.ForMatMul)
		if err != nil {
			t.Fatal(err)
		}
		return p.(*weight)
	}
	check := func(what string, got, want []float32) {
		t.Helper()
		if i := slices.IndexFunc(got, func(x float32) bool { return x != x }); i >= 0 {
			t.Fatalf("%s: value %d is no number", what, i)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: other bits", what)
		}
	}
	near := func(what string, got, want []float32, tolerance float64) {
		t.Helper()
		for i := range want {
			if d := math.Abs(float64(got[i]) - float64(want[i])); !(d <= tolerance) {
				t.Fatalf("%s: value %d is %g, want %g", what, i, got[i], want[i])
			}
		}
	}
	const rows = 50
	for _, s := range [][2]int{{300, 2100}, {64, 96}, {37, 61}} {
		n, k := s[0], s[1]
		var segments []kernels.Segment
		at := 0
		for i, typ := range []format.Type{format.F32, format.BF16, format.F16, format.F32, format.F32} {
			rank, count := []int{8, 16, 1, 70, 3}[i], []int{1, 19, 2, 9, 0}[i]
			segments = append(segments, kernels.Segment{Row: at, N: count, LowRank: kernels.LowRank{
				A: weightOf(typ, rank, k), B: weightOf(typ, n, rank), Scale: float32(i) + 0.5}})
			at += count + i%2*3
		}
		x, start := buf(random(rows*k)), random(rows*n)
		one, all := buf(start), buf(start)
		d.loraEach(one, x, segments)
		d.LoRA(all, x, segments)
		check(fmt.Sprint(s, " LoRA"), read(all), read(one))
	}
	for _, s := range [][3]int{{1100, 96, 8}, {70, 2100, 8}, {513, 40, 1}, {33, 515, 13}, {1030, 64, 64}, {300, 20, 8}} {
		m, wide, r := s[0], s[1], s[2]
		x, dy := buf(random(m*wide)), buf(random(m*r))
		w := weightOf(format.F32, r, wide)
		low, want := buf(make([]float32, m*r)), buf(make([]float32, m*r))
		d.shrink(on(low, m*r, ""), on(x, m*wide, ""), m, w)
		d.launch(w.kernel("gemm"), (w.n+tileSide-1)/tileSide, (m+tileSide-1)/tileSide, 256, 0,
			append([]uint64{on(want, m*r, ""), on(x, m*wide, ""), num(m), num(w.n), num(w.k), 0, real32(1), 0}, w.args...)...)
		check(fmt.Sprint(s, " shrink"), read(low), read(want))

		for _, e := range []kernels.Epilogue{kernels.Store, kernels.Add} {
			b, start := weightOf(format.F32, wide, r), random(m*r)
			got, want := buf(start), buf(start)
			d.MatMulBack(got, x, m, b, e)
			d.launch(b.kernel("gemmBack"), (b.k+tileSide-1)/tileSide, (m+tileSide-1)/tileSide, 256, 0,
				append([]uint64{on(want, m*r, ""), on(x, m*wide, ""), num(m), num(b.n), num(b.k), add(e), 0}, b.args...)...)
			check(fmt.Sprint(s, " back"), read(got), read(want))
		}
		for _, turned := range []bool{false, true} {
			a, b, n, k := x, dy, wide, r
			if turned {
				a, b, n, k = dy, x, r, wide
			}
			start := random(n * k)
			got, want := buf(start), buf(start)
			d.WeightGrad(got, a, b, m, n, k)
			d.launch("weightGrad", (k+tileSide-1)/tileSide, (n+tileSide-1)/tileSide, 256, 0,
				on(want, n*k, ""), on(a, m*n, ""), on(b, m*k, ""), num(m), num(n), num(k))
			// Of sums of m products of normal values, in float32.
			near(fmt.Sprint(s, " gradient, turned ", turned), read(got), read(want), 2e-6*float64(m))
		}
	}
}
