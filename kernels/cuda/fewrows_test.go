package cuda

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/evalrun/evalrun/kernels"
	"github.com/evalrun/evalrun/kernels/format"
)

// manyRows compares the kernels of rows of 4-bit codes with the general one, to
// the bit: numbers of rows and outputs that fill no tile, matrices that begin
// within a block, widths that leave classes without a piece.
func manyRows(t *testing.T, d *Device) {
	rng := rand.New(rand.NewPCG(4, 9))
	for _, s := range []struct {
		n, k, from int
		round      format.Type
	}{{1, 32, 0, format.F32}, {70, 96, 2, format.F16}, {33, 1056, 0, format.F16}, {64, 4096, 1, format.F32}, {35, 2208, 0, format.F32}} {
		w := nf4(t, s.n, s.k, s.round).Rows(s.from, s.n)
		prepared, err := d.Prepare(w, kernels.ForMatMul)
		if err != nil {
			t.Fatal(err)
		}
		p := prepared.(*weight)
		if !p.wide {
			t.Fatalf("%+v does not take the way that is tested", s)
		}
		for _, rows := range []int{1, 5, 8, 9, 16, 31, 33, 64, 65, 130} {
			x := make([]float32, rows*s.k)
			for i := range x {
				x[i] = float32(rng.NormFloat64())
			}
			in, _ := d.Alloc(format.F32, len(x))
			d.Write(in, x)
			for _, e := range []kernels.Epilogue{kernels.Store, kernels.Add} {
				var got [2][]float32
				for i := range got {
					out, _ := d.Alloc(format.F32, rows*w.N+1)
					d.Fill(out, rows*w.N+1, 0.25)
					if i == 0 {
						d.fewRows(on(out, rows*w.N, ""), on(in, len(x), ""), rows, p, e, 0.5)
					} else {
						d.launch(p.kernel("gemm"), (w.N+tileSide-1)/tileSide, (rows+tileSide-1)/tileSide, 256, 0,
							append([]uint64{on(out, rows*w.N, ""), on(in, len(x), ""), num(rows), num(w.N), num(w.K), add(e), real32(0.5), 1}, p.args...)...)
					}
					got[i] = make([]float32, rows*w.N+1)
					d.Read(got[i], out)
				}
				if !slices.Equal(got[0], got[1]) {
					t.Fatal(fmt.Sprintf("%+v, %d rows, epilogue %d: other bits", s, rows, e))
				}
			}
		}
	}
}
