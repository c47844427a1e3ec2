package cpu

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/evalrun/evalrun/kernels"
	"github.com/evalrun/evalrun/kernels/format"
	"github.com/evalrun/evalrun/kernels/kerneltest"
)

func open(t testing.TB, threads int, path string) *Device {
	t.Helper()
	d, err := New(Options{Threads: threads, Path: path})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestContract(t *testing.T) {
	for _, p := range Paths() {
		for _, threads := range []int{1, 2} {
			t.Run(fmt.Sprintf("%s/%d", p, threads), func(t *testing.T) {
				d := open(t, threads, p)
				defer d.Close()
				kerneltest.Run(t, d)
				if threads == 2 {
					kerneltest.RunTrain(t, d)
				}
			})
		}
	}
}

func TestSameBits(t *testing.T) {
	for _, p := range Paths() {
		t.Run(p, func(t *testing.T) {
			kerneltest.SameBits(t, func(threads int) kernels.Device { return open(t, threads, p) })
			kerneltest.SameBitsTrain(t, func(threads int) kernels.TrainDevice { return open(t, threads, p) })
			d := open(t, 2, p)
			defer d.Close()
			kerneltest.OneOrder(t, d)
		})
	}
}

// A weight that is packed and one that is not have the same bits.
func TestUnpacked(t *testing.T) {
	unpacked, err := New(Options{Threads: 2, PackLimit: -1})
	if err != nil {
		t.Fatal(err)
	}
	defer unpacked.Close()
	kerneltest.Run(t, unpacked)
	kerneltest.SameBits(t, func(threads int) kernels.Device {
		limit := int64(-1)
		if threads == 1 {
			limit = 1 << 40
		}
		d, err := New(Options{Threads: threads, PackLimit: limit})
		if err != nil {
			t.Fatal(err)
		}
		return d
	})
}

// Of large weights only float32 is packed.
func TestPackLimit(t *testing.T) {
	for _, c := range []struct {
		typ           format.Type
		limit         int64
		packed, reads int64
	}{
		{format.BF16, 0, 4 * 48 * 64, 0}, {format.BF16, 1000, 0, 2 * 40 * 64}, {format.F32, 1000, 4 * 48 * 64, 0}, {format.F32, -1, 0, 4 * 40 * 64}, {format.Q8_0, -1, 0, 34 * 80},
	} {
		d, err := New(Options{Threads: 1, PackLimit: c.limit})
		if err != nil {
			t.Fatal(err)
		}
		size, _ := c.typ.Bytes(40 * 64)
		p, err := d.Prepare(kernels.Weight{Type: c.typ, N: 40, K: 64, Data: make([]byte, size)}, kernels.ForMatMul)
		if err != nil {
			t.Fatal(err)
		}
		if p.Bytes() != c.packed || kernels.Reads(p) != c.reads {
			t.Errorf("%v, limit %d: %d bytes packed, %d read, want %d and %d", c.typ, c.limit, p.Bytes(), kernels.Reads(p), c.packed, c.reads)
		}
		d.Close()
	}
}

// The assembly paths agree to the bit: a run may go on on a machine that has
// only one of them.
func TestAssemblyPathsAgree(t *testing.T) {
	paths := Paths()
	if len(paths) < 3 {
		t.Skipf("this machine has only %v", paths)
	}
	rng := rand.New(rand.NewPCG(1, 5))
	for _, s := range [][3]int{{1, 64, 33}, {7, 130, 96}, {31, 48, 257}} {
		m, n, k := s[0], s[1], s[2]
		x, raw := make(kernels.Floats, m*k), make([]float32, n*k)
		for i := range x {
			x[i] = float32(rng.NormFloat64())
		}
		for i := range raw {
			raw[i] = float32(rng.NormFloat64())
		}
		data := make([]byte, 4*n*k)
		format.F32.Encode(data, raw)
		var first kernels.Floats
		for _, p := range paths[:2] {
			d := open(t, 1, p)
			defer d.Close()
			w, err := d.Prepare(kernels.Weight{Type: format.F32, N: n, K: k, Data: data}, kernels.ForMatMul)
			if err != nil {
				t.Fatal(err)
			}
			dst := make(kernels.Floats, m*n)
			d.MatMul(dst, x, m, w, kernels.Store)
			for i := range first {
				if dst[i] != first[i] {
					t.Fatalf("%v: %s has %g, %s %g", s, p, dst[i], paths[0], first[i])
				}
			}
			first = dst
		}
	}
}

func TestExp(t *testing.T) {
	for x := float32(-87.3); x < 88.3; x += 0.01037 {
		want := math.Exp(float64(x))
		if got := float64(exp32(x)); math.Abs(got-want) > 2.5e-7*want {
			t.Fatalf("exp(%g) = %g, want %g", x, got, want)
		}
	}
	if exp32(0) != 1 {
		t.Errorf("exp(0) = %v", exp32(0))
	}
	if got := exp32(float32(math.NaN())); got == got {
		t.Errorf("exp(NaN) = %v", got)
	}
}

func TestChoosePath(t *testing.T) {
	if _, err := New(Options{Path: "mmx"}); err == nil {
		t.Error("an unknown path was accepted")
	}
	if _, err := New(Options{Threads: -1}); err == nil {
		t.Error("a negative number of threads was accepted")
	}
	t.Setenv(PathVariable, "go")
	d := open(t, 1, "")
	defer d.Close()
	if d.Path() != "go" {
		t.Errorf("path %q although the environment says go", d.Path())
	}
}

func ExampleNew() {
	d, err := New(Options{Threads: 1, Path: "go"})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer d.Close()
	x := kernels.Floats{3, 4}
	d.RMSNorm(x, x, kernels.Floats{1, 1}, 1, 0)
	fmt.Printf("%s %.3f\n", d.Path(), []float32(x))
	// Output: go [0.849 1.131]
}
