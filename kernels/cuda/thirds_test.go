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

// A GPU of capability 8.6 has 99 KiB of shared memory for a block: codes leave room
// for 16 rows, and a wide weight's one row takes the kernel of several.
func TestThirdsSide(t *testing.T) {
	wide := &weight{n: 4096, k: 14336, kind: kindCode4, round: kindBF16, wide: true, short: true, args: make([]uint64, weightArgs)}
	plain := &weight{n: 4096, k: 14336, kind: kindBF16, wide: true, args: make([]uint64, weightArgs)}
	for _, c := range []struct {
		shared, rows int
		w            *weight
		side         int
		oneRow       bool
	}{
		{227, 1, wide, 8, true}, {227, 9, wide, 16, true}, {227, 17, wide, 32, true}, {227, 33, wide, 64, true}, {227, 820, wide, 64, true},
		{99, 1, wide, 8, false}, {99, 16, wide, 16, false}, {99, 820, wide, 16, false}, {99, 820, plain, 64, true}, {163, 50, wide, 64, true},
	} {
		d := Over(&counter{shared: c.shared << 10, processors: 2}, nil)
		side := d.thirdsSide(c.rows, c.w)
		if side != c.side || d.suitsOneRow(c.w) != c.oneRow || thirdsShared(side, c.w) > c.shared<<10 {
			t.Errorf("%d rows in %d KiB: blocks of %d rows, want %d; one row %v", c.rows, c.shared, side, c.side, d.suitsOneRow(c.w))
		}
	}
}

// thirdsOn holds the products on the matrix units: every value near the exact one,
// a row of the same bits alone and among others, several weights and gates of the bits of
// products alone, and nothing written behind the outputs. The shapes fill no tile, no
// piece and no gulp, and begin within a matrix.
func thirdsOn(t *testing.T, d *Device) {
	rng := rand.New(rand.NewPCG(6, 1))
	normal := func(n int) []float32 {
		v := make([]float32, n)
		for i := range v {
			v[i] = float32(rng.NormFloat64() * math.Exp2(float64(rng.IntN(9)-4)))
		}
		return v
	}
	type shape struct {
		n, k, block, from int
		kind              format.QuantKind
		plain, double     bool
		half              bool // values are binary16
	}
	shapes := []shape{
		{n: 70, k: 96, plain: true}, {n: 131, k: 544, from: 2, plain: true}, {n: 140, k: 2304, plain: true},
		{n: 66, k: 192, block: 64, kind: format.NF4, double: true}, {n: 100, k: 704, block: 64, from: 3, kind: format.NF4},
		{n: 150, k: 1152, block: 64, from: 5, kind: format.NF4, double: true}, {n: 65, k: 4864, block: 128, kind: format.FP4, double: true},
		{n: 131, k: 544, from: 2, plain: true, half: true}, {n: 150, k: 1152, block: 64, from: 5, kind: format.NF4, double: true, half: true},
		{n: 66, k: 192, block: 64, kind: format.NF4, half: true},
	}
	if d.driver.Processors() > 2 { // enough outputs for warps that share none
		shapes = append(shapes, shape{n: 7000, k: 384, plain: true}, shape{n: 7000, k: 384, block: 64, kind: format.NF4, double: true})
	}
	for _, s := range shapes {
		what := fmt.Sprintf("%+v", s)
		values := normal(s.n * s.k)
		weightOf := func() kernels.Weight {
			w, round := kernels.Weight{Name: "w", N: s.n, K: s.k}, format.BF16
			if s.half {
				round = format.F16
			}
			if s.plain {
				w.Type, w.Data = round, make([]byte, 2*len(values))
				round.Encode(w.Data, values)
				return w.Rows(s.from, s.n)
			}
			q, err := format.Quantize(s.kind, s.block, len(values), round, func(dst []float32, from int) { copy(dst, values[from:]) })
			if err != nil {
				t.Fatal(err)
			}
			if s.double {
				q.Double()
			}
			w.Quant = q
			return w.Rows(s.from, s.n)
		}
		w := weightOf()
		p, err := d.Prepare(w, kernels.ForMatMul)
		if err != nil {
			t.Fatal(err)
		}
		if !p.(*weight).suitsThirds() {
			t.Fatalf("%s does not take the way that is tested", what)
		}
		exact := make([]float32, w.N*w.K)
		w.Decode(exact, 0)
		const most = 41
		x := normal(most * s.k)
		in, _ := d.Alloc(format.F32, len(x)+1)
		d.Write(in.Slice(1, len(x)+1), x) // at no multiple of 16 bytes
		run := func(from, rows int, e kernels.Epilogue) []float32 {
			out, _ := d.Alloc(format.F32, rows*w.N+1)
			d.Fill(out, rows*w.N+1, 0.25)
			d.MatMul(out, in.Slice(1+from*s.k, 1+(from+rows)*s.k), rows, p, e)
			got := make([]float32, rows*w.N+1)
			d.Read(got, out)
			if got[rows*w.N] != 0.25 {
				t.Fatalf("%s, %d rows: wrote behind the outputs", what, rows)
			}
			return got[:rows*w.N]
		}
		all := run(0, most, kernels.Store)
		for m := range most {
			for n := range w.N {
				sum, size := 0.0, 0.0
				for k := range w.K {
					v := float64(x[m*w.K+k]) * float64(exact[n*w.K+k])
					sum, size = sum+v, size+math.Abs(v)
				}
				// A piece of 256 values, were all its roundings of one sign, may err by 2^-16 of
				// its terms' sizes; that they are not leaves less than an eighth.
				if diff := math.Abs(float64(all[m*w.N+n]) - sum); diff > size*0x1p-19 {
					t.Fatalf("%s: row %d, output %d is %g, %g away from %g (terms of %g)", what, m, n, all[m*w.N+n], diff, sum, size)
				}
			}
		}
		for _, rows := range []int{1, 3, 8, 9, 17, 33} {
			from := rng.IntN(most - rows + 1)
			if got := run(from, rows, kernels.Store); !slices.Equal(got, all[from*w.N:(from+rows)*w.N]) {
				t.Fatalf("%s: %d rows have other bits than among %d", what, rows, most)
			}
			for i, v := range run(from, rows, kernels.Add) {
				if v != 0.25+all[from*w.N+i] {
					t.Fatalf("%s, %d rows: value %d is %g, not %g more than 0.25", what, rows, i, v, all[from*w.N+i])
				}
			}
			// Two weights at once, one of them a part of the other, and a gate.
			less := w.Rows(0, w.N-3)
			q, err := d.Prepare(less, kernels.ForMatMul)
			if err != nil {
				t.Fatal(err)
			}
			if !q.(*weight).suitsThirds() {
				continue
			}
			a, _ := d.Alloc(format.F32, rows*w.N)
			b, _ := d.Alloc(format.F32, rows*less.N)
			c, _ := d.Alloc(format.F32, rows*w.N)
			input := in.Slice(1+from*s.k, 1+(from+rows)*s.k)
			if !d.MatMuls([]kernels.Buffer{a, b}, input, rows, []kernels.Prepared{p, q}) {
				t.Fatalf("%s: two weights were not taken together", what)
			}
			gotA, gotB, gotC, want := make([]float32, rows*w.N), make([]float32, rows*less.N), make([]float32, rows*w.N), make([]float32, rows*w.N)
			d.Read(gotA, a)
			d.Read(gotB, b)
			for m := range rows {
				if !slices.Equal(gotA[m*w.N:(m+1)*w.N], all[(from+m)*w.N:(from+m+1)*w.N]) || !slices.Equal(gotB[m*less.N:(m+1)*less.N], all[(from+m)*w.N:(from+m)*w.N+less.N]) {
					t.Fatalf("%s, %d rows: two weights at once give other bits", what, rows)
				}
			}
			kernels.MatMulGate(d, c, a, input, rows, p, p, kernels.SiLU)
			d.Read(gotC, c)
			d.Write(a, all[from*w.N:(from+rows)*w.N])
			d.Gate(c, a, a, rows*w.N, kernels.SiLU)
			d.Read(want, c)
			if !slices.Equal(gotC, want) {
				t.Fatalf("%s, %d rows: a gate gives other bits", what, rows)
			}
		}
	}
}
