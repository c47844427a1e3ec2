package cuda

import (
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"

	"github.com/evalrun/evalrun/kernels"
	"github.com/evalrun/evalrun/kernels/format"
	"github.com/evalrun/evalrun/kernels/kerneltest"
)

// blocksOf makes a weight of random bytes in a format of GGML's, with scales that are
// numbers and of both signs.
func blocksOf(t testing.TB, typ format.Type, n, k int) kernels.Weight {
	t.Helper()
	size, ok := typ.Bytes(int64(n * k))
	if !ok || k%typ.BlockSize() != 0 {
		t.Fatalf("[%d, %d] in %v", n, k, typ)
	}
	rng := rand.New(rand.NewPCG(uint64(n), uint64(k)))
	data := make([]byte, size)
	kerneltest.RandomBlocks(rng, typ, data, func() float32 { return float32(rng.NormFloat64()) / 100 })
	return kernels.Weight{Name: "w", Type: typ, N: n, K: k, Data: data}
}

// Shapes that fill no step, no warp, no tile and no group of outputs; the first number
// is of rows that are left out before, so that rows begin at any even address.
func blockShapes(typ format.Type) [][3]int {
	if typ.BlockSize() == 256 {
		return [][3]int{{0, 1, 256}, {1, 37, 1280}, {3, 4, 5120}}
	}
	return [][3]int{{0, 1, 32}, {1, 37, 1056}, {3, 4, 5152}}
}

// blocksOn holds weights in blocks to package format, value by value, and their
// products to those of the general kernel with the decoded values, to the bit.
func blocksOn(t *testing.T, d *Device, types []format.Type) {
	for _, typ := range types {
		for _, s := range blockShapes(typ) {
			w := blocksOf(t, typ, s[0]+s[1], s[2]).Rows(s[0], s[0]+s[1])
			values := make([]float32, w.N*w.K)
			w.Decode(values, 0)
			prepared, err := d.Prepare(w, kernels.ForMatMul)
			if err != nil {
				t.Fatal(err)
			}
			p := prepared.(*weight)
			if !p.isBlocks() {
				t.Fatalf("%v lies as kind %d", typ, p.kind)
			}
			got := make([]float32, len(values))
			at, hold := d.floats(p)
			d.Read(got, &buffer{mem: hold, at: at, n: len(got)})
			d.release(hold)
			for i, v := range got {
				if v != values[i] {
					t.Fatalf("%v %v: value %d is %g, want %g", typ, s, i, v, values[i])
				}
			}
			blockProducts(t, d, fmt.Sprint(typ, s), p, values)
			blockBrains(t, d, fmt.Sprint(typ, s), p, values)
		}
	}
}

func blockProducts(t *testing.T, d *Device, what string, p *weight, values []float32) {
	rng := rand.New(rand.NewPCG(4, 9))
	floats, _ := d.Alloc(format.F32, len(values))
	d.Write(floats, values)
	plain := &weight{n: p.n, k: p.k}
	plain.plain(on(floats, len(values), ""))
	for _, rows := range []int{1, 3, 8, 17, 70} {
		x := make([]float32, rows*p.k)
		for i := range x {
			x[i] = float32(rng.NormFloat64())
		}
		in, _ := d.Alloc(format.F32, len(x))
		d.Write(in, x)
		for _, e := range []kernels.Epilogue{kernels.Store, kernels.Add} {
			var got [2][]float32
			for i := range got {
				out, _ := d.Alloc(format.F32, rows*p.n+1)
				d.Fill(out, rows*p.n+1, 0.25)
				if i == 0 {
					d.multiply(on(out, rows*p.n, ""), on(in, len(x), ""), rows, p, e, 0.5)
				} else {
					d.launch("gemm_0", (p.n+tileSide-1)/tileSide, (rows+tileSide-1)/tileSide, 256, 0,
						append([]uint64{on(out, rows*p.n, ""), on(in, len(x), ""), num(rows), num(p.n), num(p.k), add(e), real32(0.5), 1}, plain.args...)...)
				}
				got[i] = make([]float32, rows*p.n+1)
				d.Read(got[i], out)
			}
			if !slices.Equal(got[0], got[1]) {
				t.Fatalf("%s, %d rows, epilogue %d: other bits", what, rows, e)
			}
		}
	}
	runtime.KeepAlive(floats)
}

// blockBrains holds the values as bfloat16, and transposed.
func blockBrains(t *testing.T, d *Device, what string, p *weight, values []float32) {
	n := len(values)
	to := d.scratch(n/2 + 1)
	defer d.release(to)
	read := func() []float32 {
		words, all := make([]float32, n/2), make([]float32, n)
		d.Read(words, &buffer{mem: to, at: to.at, n: n / 2})
		for i, w := range words {
			bits := math.Float32bits(w)
			all[2*i], all[2*i+1] = format.BF16ToF32(uint16(bits)), format.BF16ToF32(uint16(bits>>16))
		}
		return all
	}
	d.dequantise(to.at, p)
	same := read()
	d.turn(to.at, p)
	turned := read()
	for i, v := range values {
		want := format.BF16ToF32(format.F32ToBF16(v))
		if same[i] != want || turned[i%p.k*p.n+i/p.k] != want {
			t.Fatalf("%s: value %d is %g, transposed %g, want %g", what, i, same[i], turned[i%p.k*p.n+i/p.k], want)
		}
	}
}

// A weight in blocks takes what the file's bytes take, in a plan and on the device.
func TestBlocksLieAsInTheFile(t *testing.T) {
	for _, typ := range blockTypes {
		d := Over(newFake(1<<30), nil)
		w := blocksOf(t, typ, 1024, 2048)
		p, err := d.Prepare(w, kernels.ForMatMul)
		if err != nil {
			t.Fatal(err)
		}
		o := d.Outline()
		planned, err := o.Prepare(kernels.Weight{Name: "w", Type: typ, N: w.N, K: w.K}, kernels.ForMatMul)
		if err != nil {
			t.Fatal(err)
		}
		if want := sizeClass(int64(len(w.Data))); p.Bytes() != want || planned.Bytes() != want || d.Held() != o.Taken() {
			t.Errorf("%v: %d bytes in the file, %d on the device, %d in the plan; %d and %d in all", typ, len(w.Data), p.Bytes(), planned.Bytes(), d.Held(), o.Taken())
		}
	}
}
