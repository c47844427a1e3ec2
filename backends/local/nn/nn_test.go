package nn

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/evalrun/evalrun/kernels"
	"github.com/evalrun/evalrun/kernels/cpu"
	"github.com/evalrun/evalrun/kernels/format"
	"github.com/evalrun/evalrun/kernels/ref"
)

// decoder makes a random decoder of two blocks.
func decoder(t *testing.T, dev kernels.Device) *Decoder {
	rng := rand.New(rand.NewPCG(1, 1))
	weight := func(n, k int, use kernels.Use) kernels.Prepared {
		values := make([]float32, n*k)
		for i := range values {
			values[i] = float32(rng.NormFloat64() / math.Sqrt(float64(k)) * 1.5)
		}
		data := make([]byte, 4*n*k)
		format.F32.Encode(data, values)
		p, err := dev.Prepare(kernels.Weight{Name: "w", Type: format.F32, N: n, K: k, Data: data}, use)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	linear := func(n, k int) Linear { return Linear{Weight: weight(n, k, kernels.ForMatMul)} }
	norm := func() Norm {
		b, err := dev.Alloc(format.F32, 24)
		if err != nil {
			t.Fatal(err)
		}
		values := make([]float32, 24)
		for i := range values {
			values[i] = float32(1 + 0.1*rng.NormFloat64())
		}
		dev.Write(b, values)
		return Norm{Weight: b, Eps: 1e-5}
	}
	rope, err := NewRope(dev, Angles{Freqs: []float32{1, 0.3, 0.1}}, 64)
	if err != nil {
		t.Fatal(err)
	}
	d := &Decoder{Hidden: 24, Vocab: 50, Embed: Embedding{Table: weight(50, 24, kernels.ForEmbed)}}
	for range 2 {
		d.Blocks = append(d.Blocks, Block{
			AttentionNorm: norm(),
			Attention: Attention{Q: linear(24, 24), K: linear(12, 24), V: linear(12, 24), O: linear(24, 24), Heads: 4, KVHeads: 2, Dim: 6,
				Rope: rope, Options: kernels.AttentionOptions{Scale: 0.4}},
			MLPNorm: norm(),
			MLP:     MLP{Gate: linear(40, 24), Up: linear(40, 24), Down: linear(24, 40), Width: 40},
		})
	}
	d.Norm, d.Head = norm(), linear(50, 24)
	return d
}

// The state of a row has the same bits whichever rows are wanted, and none
// wanted is fine.
func TestWantedRows(t *testing.T) {
	fast, err := cpu.New(cpu.Options{Threads: 2})
	if err != nil {
		t.Fatal(err)
	}
	defer fast.Close()
	for _, dev := range []kernels.Device{ref.New(), fast} {
		d := decoder(t, dev)
		w, err := d.NewWorkspace(dev, 40, 4)
		if err != nil {
			t.Fatal(err)
		}
		run := func(want ...int32) [][]float32 {
			caches, err := d.NewCaches(dev, 2)
			if err != nil {
				t.Fatal(err)
			}
			b := &Batch{Spans: []kernels.Span{{N: 40, Pages: []int32{1, 0}}}, Want: want}
			for i := range 40 {
				b.IDs, b.Pos = append(b.IDs, int32(i*7%50)), append(b.Pos, int32(i))
			}
			state := d.Forward(dev, w, b, caches)
			rows := make([][]float32, len(want))
			for i := range want {
				rows[i] = make([]float32, d.Vocab)
				d.Logits(dev, w, state, i, 1, rows[i])
			}
			return rows
		}
		all := make([]int32, 40)
		for i := range all {
			all[i] = int32(i)
		}
		whole := run(all...)
		for _, want := range [][]int32{{39}, {0, 5, 38}, {}} {
			for i, row := range run(want...) {
				for v, x := range row {
					if math.Float32bits(x) != math.Float32bits(whole[want[i]][v]) {
						t.Fatalf("%s: row %d wanted among %v has other bits", dev.Name(), want[i], want)
					}
				}
			}
		}
	}
}

// The table's angles are position times frequency.
func TestRopeTable(t *testing.T) {
	r, err := NewRope(ref.New(), Angles{Freqs: []float32{1, 0.25}, Style: kernels.RopePairs}, 5)
	if err != nil {
		t.Fatal(err)
	}
	for p := range 5 {
		for i, f := range []float64{1, 0.25} {
			s, c := math.Sincos(float64(p) * f)
			got := fmt.Sprintf("%.6f %.6f", r.Sin.(kernels.Floats)[p*2+i], r.Cos.(kernels.Floats)[p*2+i])
			if want := fmt.Sprintf("%.6f %.6f", s, c); got != want {
				t.Errorf("position %d, pair %d: %s, want %s", p, i, got, want)
			}
		}
	}
	if _, err := NewRope(ref.New(), Angles{Freqs: make([]float32, 1<<19)}, 1<<24); err == nil {
		t.Error("a table of terabytes was made")
	}
}
