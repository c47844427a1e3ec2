package cpu

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/evalrun/evalrun/kernels"
	"github.com/evalrun/evalrun/kernels/format"
)

// Benchmarks tell their rate and its share of what the machine gives: float32
// multiply-adds with data in registers, or bytes read from memory.

var ceilings sync.Map // by path and threads

func ceiling(b *testing.B, d *Device) Ceiling {
	b.Helper()
	key := fmt.Sprint(d.Path(), d.Threads())
	if c, ok := ceilings.Load(key); ok {
		return c.(Ceiling)
	}
	c := d.Measure(100 * time.Millisecond)
	ceilings.Store(key, c)
	return c
}

func report(b *testing.B, rate, top float64, unit string) {
	b.ReportMetric(rate/1e9, unit)
	b.ReportMetric(100*rate/top, "%ceiling")
}

func uniform(n int) kernels.Floats {
	rng := rand.New(rand.NewPCG(1, 1))
	x := make(kernels.Floats, n)
	for i := range x {
		x[i] = rng.Float32() - 0.5
	}
	return x
}

// benchWeights are one matrix in several formats.
func benchWeights(b *testing.B, n, k int) []kernels.Weight {
	b.Helper()
	x := uniform(n * k)
	data := make([]byte, 4*n*k)
	format.F32.Encode(data, x)
	weights := []kernels.Weight{{Name: "w", Type: format.F32, N: n, K: k, Data: data}}
	for _, kind := range []format.QuantKind{format.NF4, format.Int8} {
		block := 64
		if kind == format.Int8 {
			block = k
		}
		q, err := format.Quantize(kind, block, n*k, format.F32, func(dst []float32, from int) { copy(dst, x[from:]) })
		if err != nil {
			b.Fatal(err)
		}
		weights = append(weights, kernels.Weight{Name: "w", N: n, K: k, Quant: q})
	}
	return weights
}

// BenchmarkMatMul: one row is bound by memory, many by arithmetic.
func BenchmarkMatMul(b *testing.B) {
	const n, k = 2048, 2048
	for _, threads := range []int{1, 2} {
		d := open(b, threads, "")
		defer d.Close()
		for _, w := range benchWeights(b, n, k) {
			p, err := d.Prepare(w, kernels.ForMatMul)
			if err != nil {
				b.Fatal(err)
			}
			for _, rows := range []int{1, 8, 256} {
				x, y := uniform(rows*k), make(kernels.Floats, rows*n)
				b.Run(fmt.Sprintf("%s/%d rows/%d", w.FormatName(), rows, threads), func(b *testing.B) {
					top := ceiling(b, d)
					for b.Loop() {
						d.MatMul(y, x, rows, p, kernels.Store)
					}
					each := float64(b.N) / b.Elapsed().Seconds()
					if rows == 1 {
						report(b, each*float64(p.(*weight).traffic()), top.Read, "GB/s")
						return
					}
					report(b, each*2*float64(rows)*n*k, top.FLOPS, "GFLOP/s")
				})
			}
		}
	}
}

// BenchmarkGradients: the products of a training step, 512 tokens.
func BenchmarkGradients(b *testing.B) {
	const rows, n, k, heads, dim = 512, 2048, 768, 12, 64
	d := open(b, 2, "")
	defer d.Close()
	dy, x, dw := uniform(rows*n), uniform(rows*k), make(kernels.Floats, n*k)
	s := kernels.AttentionShape{Heads: heads, KVHeads: heads, Dim: dim, AttentionOptions: kernels.AttentionOptions{Scale: 0.125}}
	runs := []kernels.Run{{N: rows}}
	q, kk, v, y, lse := uniform(rows*heads*dim), uniform(rows*heads*dim), uniform(rows*heads*dim), uniform(rows*heads*dim), uniform(rows*heads)
	dq, dk, dv := uniform(rows*heads*dim), uniform(rows*heads*dim), uniform(rows*heads*dim)
	weights := benchWeights(b, n, k)
	half := float64(rows*rows) / 2 * heads * dim // pairs that see each other
	for _, c := range []struct {
		name string
		flop float64
		run  func()
	}{
		{"MatMulBack F32", 2 * rows * n * k, nil}, {"MatMulBack " + weights[1].FormatName(), 2 * rows * n * k, nil},
		{"WeightGrad", 2 * rows * n * k, func() { d.WeightGrad(dw, dy, x, rows, n, k) }},
		{"WeightGrad rank 8", 2 * rows * 8 * k, func() { d.WeightGrad(dw, dy, x, rows, 8, k) }},
		{"AttentionTrain", 4 * half, func() { d.AttentionTrain(y, lse, q, kk, v, runs, s) }},
		{"AttentionBack", 10 * half, func() { d.AttentionBack(dq, dk, dv, y, y, lse, q, kk, v, runs, s) }},
	} {
		if c.run == nil {
			w := weights[0]
			if c.name != "MatMulBack F32" {
				w = weights[1]
			}
			p, err := d.Prepare(w, kernels.ForMatMul)
			if err != nil {
				b.Fatal(err)
			}
			c.run = func() { d.MatMulBack(x, dy, rows, p, kernels.Store) }
		}
		b.Run(c.name, func(b *testing.B) {
			top := ceiling(b, d)
			for b.Loop() {
				c.run()
			}
			report(b, c.flop*float64(b.N)/b.Elapsed().Seconds(), top.FLOPS, "GFLOP/s")
		})
	}
}
