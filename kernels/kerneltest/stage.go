package kerneltest

import (
	"math"
	"slices"

	"github.com/evalrun/evalrun/kernels"
	"github.com/evalrun/evalrun/kernels/format"
)

// stage brings images to the device beside operations: what is made of them gives
// the bits of weights that were prepared, while images come and go, and the memory of
// one that was dropped is what the next one takes.
func stage(b bench) {
	const n, k, rank, rows, rounds = 40, 48, 5, 3, 6
	type parts struct {
		a, b kernels.Weight
		bias []float32
	}
	var all []parts
	for range rounds {
		all = append(all, parts{b.weight(format.BF16, rank, k), b.weight(format.F32, n, rank), b.normal(n)})
	}
	x := on(b, b.dev, b.normal(rows*k))
	y := on(b, b.dev, make([]float32, rows*n))
	use := func(low kernels.LowRank, bias kernels.Buffer) []float32 {
		b.dev.Write(y, make([]float32, rows*n))
		b.dev.LoRA(y, x, []kernels.Segment{{Row: 0, N: rows, LowRank: low}})
		b.dev.AddBias(y, bias, rows)
		got := make([]float32, rows*n)
		b.dev.Read(got, y)
		return got
	}
	prepare := func(w kernels.Weight) kernels.Prepared {
		p, err := b.dev.Prepare(w, kernels.ForMatMul)
		if err != nil {
			b.Fatal(err)
		}
		return p
	}
	must := func(err error) {
		if err != nil {
			b.Fatal(err)
		}
	}
	const at = 2 * kernels.ImageAlign // B, behind A; the bias after it
	const end = at + 4*kernels.ImageAlign
	pin, unpin := func(n int64) []byte { return make([]byte, n) }, func([]byte) {}
	if s, ok := b.dev.(kernels.Stager); ok {
		pin, unpin = s.Pin, s.Unpin
	}
	for round, p := range all {
		image := pin(end + 4*n)
		copy(image, p.a.Data)
		copy(image[at:], p.b.Data)
		format.F32.Encode(image[end:], p.bias)
		s, err := kernels.Stage(b.dev, image)
		must(err)
		want := use(kernels.LowRank{A: prepare(p.a), B: prepare(p.b), Scale: 0.3}, on(b, b.dev, p.bias)) // beside the copy
		if round%2 == 0 {
			for !s.Done() {
			}
		}
		s.Join()
		w := kernels.Weight{Name: "A", Type: format.BF16, N: rank, K: k}
		low := kernels.LowRank{Scale: 0.3}
		low.A, err = s.Weight(0, w, kernels.ForMatMul)
		must(err)
		low.B, err = s.Weight(at, kernels.Weight{Name: "B", Type: format.F32, N: n, K: rank}, kernels.ForMatMul)
		must(err)
		bias, err := s.Vector(end, n)
		must(err)
		got := use(low, bias)
		if !slices.EqualFunc(got, want, func(x, y float32) bool { return math.Float32bits(x) == math.Float32bits(y) }) {
			b.Errorf("image %d: %v, prepared %v", round, got[:4], want[:4])
		}
		for !s.Done() {
		}
		s.Drop()
		unpin(image)
	}
}
