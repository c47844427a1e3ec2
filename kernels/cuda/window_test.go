//go:build cuda || (emulate && amd64)

package cuda

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/evalrun/evalrun/backends/local/nn"
	"github.com/evalrun/evalrun/kernels"
	"github.com/evalrun/evalrun/kernels/cuda/driver"
	"github.com/evalrun/evalrun/kernels/format"
)

// modelShape is a Llama's.
type modelShape struct{ layers, hidden, inner, heads, kvHeads, dim, vocab int }

var mistral7B = modelShape{32, 4096, 14336, 32, 8, 128, 32000}

// window is a window of QLoRA as the trainer computes it: random NF4 weights of a
// shape, pairs of rank 8 with dropout beside q and v, examples of so many tokens
// with their last 16 judged.
type window struct {
	pass  *nn.Pass
	batch nn.Packed
	all   []kernels.AdamParameter
}

// randomBrains are n values of bfloat16 between 1/128 and 1/32, of either sign: zeros would
// be multiplied for less power, and so faster.
func randomBrains(n int) []byte {
	rng := rand.New(rand.NewPCG(7, 7))
	data := make([]byte, 2*n)
	const some = 2 * 65521 // repeated at places that no width divides
	for i := 0; i < min(some, len(data)); i += 2 {
		binary.LittleEndian.PutUint16(data[i:], uint16(rng.Uint32())&0x80ff|0x3c00)
	}
	for i := some; i < len(data); i += some {
		copy(data[i:], data[:some])
	}
	return data
}

// hostWeights are random ones, which the layers share.
var hostWeights = map[[2]int]kernels.Weight{}

func newWindow(t testing.TB, d *Device, s modelShape, examples, tokens int, keep bool) *window {
	t.Helper()
	return newWindowOn(t, d, d, s, examples, tokens, keep)
}

// newWindowOn computes the pass on dev, which is d or hides what d can do beside.
func newWindowOn(t testing.TB, d *Device, dev kernels.TrainDevice, s modelShape, examples, tokens int, keep bool) *window {
	t.Helper()
	must := func(err error) {
		if err != nil {
			t.Helper()
			t.Fatal(err)
		}
	}
	w := &window{}
	rng := rand.New(rand.NewPCG(8, 8))
	alloc := func(n int, value float32) kernels.Buffer {
		b, err := d.Alloc(format.F32, n)
		must(err)
		d.Fill(b, n, value)
		return b
	}
	linear := func(n, k int) nn.Linear {
		at := [2]int{n, k}
		if _, ok := hostWeights[at]; !ok {
			hostWeights[at] = nf4(t, n, k, format.BF16)
		}
		p, err := d.Prepare(hostWeights[at], kernels.ForMatMul)
		must(err)
		return nn.Linear{Weight: p}
	}
	norm := func() nn.Norm { return nn.Norm{Weight: alloc(s.hidden, 1), Eps: 1e-5} }
	freqs := make([]float32, s.dim/2)
	for i := range freqs {
		freqs[i] = 1 / float32(i+1)
	}
	rope, err := nn.NewRope(d, nn.Angles{Freqs: freqs}, tokens)
	must(err)
	table, err := d.Prepare(kernels.Weight{Name: "embed", Type: format.BF16, N: s.vocab, K: s.hidden, Data: randomBrains(s.vocab * s.hidden)}, kernels.ForEmbed)
	must(err)
	dec := &nn.Decoder{Embed: nn.Embedding{Table: table}, Norm: norm(), Hidden: s.hidden, Vocab: s.vocab, Blocks: make([]nn.Block, s.layers)}
	head, err := d.Prepare(kernels.Weight{Name: "head", Type: format.BF16, N: s.vocab, K: s.hidden, Data: randomBrains(s.vocab * s.hidden)}, kernels.ForMatMul)
	must(err)
	dec.Head.Weight = head
	trained := nn.Trained{Linears: map[*nn.Linear]*nn.TrainedLinear{}, Norms: map[*nn.Norm]*nn.TrainedNorm{}}
	wide, narrow := s.heads*s.dim, s.kvHeads*s.dim
	for i := range dec.Blocks {
		b := &dec.Blocks[i]
		b.AttentionNorm, b.MLPNorm = norm(), norm()
		b.Attention = nn.Attention{Q: linear(wide, s.hidden), K: linear(narrow, s.hidden), V: linear(narrow, s.hidden), O: linear(s.hidden, wide),
			Heads: s.heads, KVHeads: s.kvHeads, Dim: s.dim, Rope: rope, Options: kernels.AttentionOptions{Scale: 0.088}}
		b.MLP = nn.MLP{Gate: linear(s.inner, s.hidden), Up: linear(s.inner, s.hidden), Down: linear(s.hidden, s.inner), Width: s.inner}
		for j, l := range []*nn.Linear{&b.Attention.Q, &b.Attention.V} {
			n, k := l.Weight.Shape()
			const rank = 8
			parameter := func(n, k int) (kernels.Prepared, kernels.Buffer) {
				p := kernels.AdamParameter{P: alloc(n*k, 0.01), G: alloc(n*k, 0), M: alloc(n*k, 0), V: alloc(n*k, 0), N: n * k}
				made, err := d.PrepareTrained(p.P, n, k, kernels.ForMatMul)
				must(err)
				w.all = append(w.all, p)
				return made, p.G
			}
			tl := &nn.TrainedLinear{Dropout: 0.05, Stream: uint32(2*i + j)}
			tl.Pair.Scale = 2
			tl.Pair.A, tl.GradA = parameter(rank, k)
			tl.Pair.B, tl.GradB = parameter(n, rank)
			trained.Linears[l] = tl
		}
	}
	for e := range examples {
		w.batch.Runs = append(w.batch.Runs, kernels.Run{Row: e * tokens, N: tokens})
		for p := range tokens {
			w.batch.IDs = append(w.batch.IDs, int32(rng.IntN(s.vocab)))
			w.batch.Pos = append(w.batch.Pos, int32(p))
			w.batch.Keys = append(w.batch.Keys, uint64(e)<<32|uint64(p))
			if p >= tokens-16 {
				w.batch.LossRows = append(w.batch.LossRows, int32(e*tokens+p))
				w.batch.Labels = append(w.batch.Labels, int32(rng.IntN(s.vocab)))
				w.batch.Weights = append(w.batch.Weights, 1/float32(16*examples))
			}
		}
	}
	judged := len(w.batch.LossRows)
	w.pass, err = nn.NewPass(dev, dec, trained, nn.PassOptions{Rows: examples * tokens, LossRows: judged, LogitRows: judged, Keep: keep, BF16: true})
	must(err)
	return w
}

// step is the window's passes, the norm of the gradients and Adam's update.
func (w *window) step(d *Device) {
	w.pass.Backward(&w.batch)
	grads := make([]kernels.Buffer, len(w.all))
	for i, p := range w.all {
		grads[i] = p.G
	}
	d.SumSquares(grads...)
	d.AdamAll(w.all, kernels.AdamOptions{LR: 1e-4, Beta1: 0.9, Beta2: 0.999, Eps: 1e-8, Step: 1, GradScale: 1})
}

// oneByOne hides a device's kernels.RoundedProducts.
type oneByOne struct {
	kernels.TrainDevice
	kernels.PairTrainer
}

// windowsAgree holds windows whose values between products lie as bfloat16, with all that
// is fused there, to those of the operations one by one: the same losses and gradients
// to the bit, with activations kept and computed again.
func windowsAgree(t *testing.T, d *Device) {
	for _, s := range []modelShape{{2, 128, 192, 2, 2, 64, 128}, {2, 128, 192, 2, 1, 64, 128}} {
		var want []float32
		for _, keep := range []bool{true, false} {
			for _, dev := range []kernels.TrainDevice{oneByOne{d, d}, d} {
				w := newWindowOn(t, d, dev, s, 2, 20, keep)
				got := w.pass.Backward(&w.batch)
				for _, x := range w.all {
					part := make([]float32, x.G.Len())
					d.Read(part, x.G)
					got = append(got, part...)
				}
				if want == nil {
					want = got
					if slices.Max(got[len(w.batch.LossRows):]) == 0 {
						t.Fatal("there are no gradients")
					}
				}
				for i, v := range got {
					if v != want[i] {
						t.Fatalf("%+v, keep %v: value %d of losses and gradients is %g, want %g", s, keep, i, v, want[i])
					}
				}
			}
		}
	}
}

// profiled is a Driver that waits after each kernel and adds up their times.
type profiled struct {
	driver.Driver
	names map[uintptr]string
	spent map[string]time.Duration
	count map[string]int
}

func (p *profiled) Launch(f uintptr, gridX, gridY, threads, shared int, args []uint64) error {
	began := time.Now()
	err := p.Driver.Launch(f, gridX, gridY, threads, shared, args)
	if e := p.Driver.Sync(); err == nil {
		err = e
	}
	p.spent[p.names[f]] += time.Since(began)
	p.count[p.names[f]]++
	return err
}

// profile gives where the time of f goes, by kernel; each takes some microseconds
// more than among others.
func profile(d *Device, f func()) string {
	p := &profiled{Driver: d.driver, names: map[uintptr]string{}, spent: map[string]time.Duration{}, count: map[string]int{}}
	for name, at := range d.found {
		p.names[at] = name
	}
	d.Sync()
	d.driver = p
	f()
	d.driver = p.Driver
	var b strings.Builder
	for _, name := range slices.SortedFunc(maps.Keys(p.spent), func(a, b string) int { return cmp.Compare(p.spent[b], p.spent[a]) }) {
		fmt.Fprintf(&b, "\n%10.3f ms %5d %s", float64(p.spent[name].Microseconds())/1000, p.count[name], name)
	}
	return b.String()
}
