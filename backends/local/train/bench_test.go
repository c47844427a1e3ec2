package train

import (
	"errors"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/evalrun/evalrun/backends/local/arch"
	"github.com/evalrun/evalrun/backends/local/internal/fixture"
	"github.com/evalrun/evalrun/backends/local/quant"
	"github.com/evalrun/evalrun/kernels/cpu"
	"github.com/evalrun/evalrun/kernels/format"
)

// BenchmarkWindow trains on windows of equal examples with 4 judged labels
// each, by the preset paper. needed-GFLOP/s are those of the linear weights,
// forward and back, and of the attention; the ceiling is measured beside them.
func BenchmarkWindow(b *testing.B) {
	for _, c := range []struct {
		name           string
		shape          fixture.Shape
		examples, size int
	}{
		{"4M/16x72", fixture.Shape{Hidden: 256, Layers: 6, Heads: 4, KVHeads: 2, MLP: 512, Vocab: 2048, Context: 2048, Tied: true}, 16, 72},
		{"4M/4x512", fixture.Shape{Hidden: 256, Layers: 6, Heads: 4, KVHeads: 2, MLP: 512, Vocab: 2048, Context: 2048, Tied: true}, 4, 512},
		{"134M/2x512", fixture.Shape{Hidden: 768, Layers: 12, Heads: 12, KVHeads: 12, MLP: 2048, Vocab: 32000, Context: 2048}, 2, 512},
	} {
		for _, compute := range []string{"f32", "bf16"} {
			b.Run(c.name+"/"+compute, func(b *testing.B) {
				dev, err := cpu.New(cpu.Options{})
				if err != nil {
					b.Fatal(err)
				}
				conf, f, err := arch.Open(c.shape.WriteHF(b, 1, format.BF16))
				if err != nil {
					b.Fatal(err)
				}
				m, err := arch.Build(dev, conf, f, 0, arch.Options{Quant: quant.NF4})
				if err != nil {
					b.Fatal(err)
				}
				defer func() {
					if err := errors.Join(dev.Close(), m.Close()); err != nil {
						b.Error(err)
					}
				}()
				r, err := Preset("paper")
				if err != nil {
					b.Fatal(err)
				}
				r.Compute, r.Accumulate = compute, c.examples
				t, err := Fresh(dev, m, &r)
				if err != nil {
					b.Fatal(err)
				}
				s, err := NewStepper(t, &r, c.examples*c.size, c.examples*4, true)
				if err != nil {
					b.Fatal(err)
				}
				rng := rand.New(rand.NewPCG(1, 2))
				window := make([]Example, c.examples)
				for i := range window {
					for at := range c.size {
						id := int32(rng.IntN(c.shape.Vocab))
						window[i].IDs, window[i].Labels = append(window[i].IDs, id), append(window[i].Labels, id)
						if at < c.size-4 {
							window[i].Labels[at] = Ignored
						}
					}
				}
				step := 0
				for b.Loop() {
					if _, _, err := s.Window(step, window); err != nil {
						b.Fatal(err)
					}
					step += c.examples
				}
				h := c.shape
				q, kv := h.Hidden, h.KVHeads*h.Hidden/h.Heads
				weights := h.Layers * (h.Hidden*(2*q+2*kv) + 3*h.Hidden*h.MLP)
				flops := 4*float64(weights) + 7*float64(c.size*q*h.Layers)
				rate := float64(c.examples*c.size*b.N) / b.Elapsed().Seconds()
				b.ReportMetric(rate, "tokens/s")
				b.ReportMetric(rate*flops/1e9, "needed-GFLOP/s")
				b.ReportMetric(dev.Measure(50*time.Millisecond).FLOPS/1e9, "ceiling-GFLOP/s")
			})
		}
	}
}
