package cpu

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/evalrun/evalrun/kernels"
	"github.com/evalrun/evalrun/kernels/format"
	"github.com/evalrun/evalrun/kernels/ref"
)

// The pair is the generator itself, twice, and dropout has ref's bits at every
// width, stored and added.
func TestDropoutTwin(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for range 1000 {
		row, stream, group, key := rng.Uint64(), rng.Uint32(), rng.Uint32(), rng.Uint64()
		one := kernels.Philox([4]uint32{uint32(row), uint32(row >> 32), stream, group}, key)
		two := kernels.Philox([4]uint32{uint32(row), uint32(row >> 32), stream, group + 1}, key)
		if got := philoxPair(row, stream, group, key); !slices.Equal(got[:4], one[:]) || !slices.Equal(got[4:], two[:]) {
			t.Fatalf("pair %v, want %v and %v", got, one, two)
		}
	}
	slow := ref.New()
	fast, err := New(Options{Threads: 2})
	if err != nil {
		t.Fatal(err)
	}
	defer fast.Close()
	for cols := 1; cols < 40; cols++ {
		const rows = 7
		o := kernels.Dropping{P: float32(rng.IntN(10)) / 10, Seed: rng.Uint64(), Stream: rng.Uint32()}
		values, old := make([]float32, rows*cols), make([]float32, rows*cols)
		for i := range values {
			values[i], old[i] = rng.Float32()-0.5, rng.Float32()-0.5
		}
		for range rows {
			o.Rows = append(o.Rows, rng.Uint64())
		}
		for _, e := range []kernels.Epilogue{kernels.Store, kernels.Add} {
			var got [2][]float32
			for i, dev := range []kernels.TrainDevice{slow, fast} {
				x, err := dev.Alloc(format.F32, len(values))
				if err != nil {
					t.Fatal(err)
				}
				dst, err := dev.Alloc(format.F32, len(values))
				if err != nil {
					t.Fatal(err)
				}
				dev.Write(x, values)
				dev.Write(dst, old)
				dev.Dropout(dst, x, cols, o, e)
				got[i] = make([]float32, len(values))
				dev.Read(got[i], dst)
			}
			if !slices.Equal(got[0], got[1]) {
				t.Fatalf("%d columns, p %g, %v: another result than ref's", cols, o.P, e)
			}
		}
	}
}

func BenchmarkDropout(b *testing.B) {
	d, err := New(Options{Threads: 1})
	if err != nil {
		b.Fatal(err)
	}
	defer d.Close()
	const rows, cols = 256, 768
	o := kernels.Dropping{P: 0.05, Seed: 1, Stream: 2, Rows: make([]uint64, rows)}
	x, err := d.Alloc(format.F32, rows*cols)
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		d.Dropout(x, x, cols, o, kernels.Store)
	}
	b.ReportMetric(b.Elapsed().Seconds()*1e9/float64(b.N)/(rows*cols), "ns/value")
}
