package cuda

import (
	"math"
	"math/rand/v2"
	"testing"
	"unsafe"

	"github.com/evalrun/evalrun/kernels"
	"github.com/evalrun/evalrun/kernels/format"
	"github.com/evalrun/evalrun/kernels/kerneltest"
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

// eachTile holds products that round, and values of bfloat16 between them, to what they
// stand for, with copies by threads, as Hopper and as others do it, and with each width of
// tiles.
func eachTile(t *testing.T, open func(testing.TB) *Device) {
	all := brainTiles
	defer func() { brainTiles = all }()
	for i := range len(all) + len(brainKernels) {
		name := ""
		if i < len(all) {
			brainTiles, name = all[i:i+1], all[i].name
		} else {
			name = brainKernels[i-len(all)].name
		}
		t.Run(name, func(t *testing.T) {
			d := open(t)
			defer d.Close()
			if err := d.Brain(); err != nil {
				t.Skip(err)
			}
			if i >= len(all) {
				d.copies, d.product = true, brainKernels[i-len(all)]
			}
			kerneltest.Rounded(t, d)
		})
	}
}

// tilesAgree holds products with several weights [n, k], stored as float32, added and
// stored as bfloat16, to those of copies by threads.
func tilesAgree(t *testing.T, d *Device, m int, ns []int, k int) {
	rng := rand.New(rand.NewPCG(6, uint64(m)))
	buf := func(typ format.Type, n int) kernels.Buffer {
		b, err := d.Alloc(typ, n)
		if err != nil {
			t.Fatal(err)
		}
		values := make([]float32, n)
		for i := range values {
			values[i] = rng.Float32() - 0.5
		}
		d.Write(b, values)
		return b
	}
	x := buf(format.BF16, m*k)
	var weights, plus []kernels.Buffer
	for _, n := range ns {
		weights, plus = append(weights, buf(format.BF16, n*k)), append(plus, buf(format.F32, m*n))
	}
	run := func() (all [][]float32) {
		var ps []product
		var outs []kernels.Buffer
		for i, n := range ns {
			typ := []format.Type{format.F32, format.F32, format.BF16}[i%3]
			out := buf(typ, m*n)
			to := target{n: n, how: howRound}
			switch {
			case typ == format.BF16:
				to.dst, to.how = onBrain(out, m*n, "out"), howBrain
			case i%3 == 1:
				to.dst, to.plus = on(out, m*n, "out"), on(plus[i], m*n, "plus")
			default:
				to.dst = on(out, m*n, "out")
			}
			outs, ps = append(outs, out), append(ps, product{onBrain(weights[i], n*k, "weight"), to})
		}
		d.gemmBrain(onBrain(x, m*k, "x"), m, k, ps...)
		for i, n := range ns {
			got := make([]float32, m*n)
			d.Read(got, outs[i])
			all = append(all, got)
		}
		return all
	}
	d.copies = true
	want := run()
	d.copies = false
	all := brainTiles
	defer func() { brainTiles = all }()
	for i, tile := range all {
		brainTiles = all[i : i+1]
		for j, got := range run() {
			for e, v := range got {
				if v != want[j][e] {
					t.Fatalf("%s, %d rows: value %d of product %d is %g, want %g", tile.name, m, e, j, v, want[j][e])
				}
			}
		}
	}
}

// The tiles of Mistral-7B's products, for windows of one and of four examples of 820
// tokens on 132 processors.
func TestBrainTiles(t *testing.T) {
	d := Over(newFake(1<<30), nil)
	for _, c := range []struct {
		rows, half int
		n          []int
		cols       int
	}{{820, 1, []int{4096}, 208}, {820, 1, []int{4096, 1024, 1024}, 176}, {820, 1, []int{14336, 14336}, 240}, {820, 1, []int{14336}, 240},
		{896, 0, []int{4096}, 232}, {3280, 0, []int{4096}, 208}, {3280, 0, []int{14336}, 240}} {
		var ps []product
		for _, n := range c.n {
			ps = append(ps, product{target: target{n: n}})
		}
		if tile, _ := d.brainTile((c.rows+brainRows-1)/brainRows, c.half, ps); brainTiles[tile].cols != c.cols {
			t.Errorf("%d rows, outputs %v: tiles of %d columns, want %d", c.rows, c.n, brainTiles[tile].cols, c.cols)
		}
	}
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
