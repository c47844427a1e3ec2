package nn

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/evalrun/evalrun/kernels"
	"github.com/evalrun/evalrun/kernels/cpu"
	"github.com/evalrun/evalrun/kernels/format"
	"github.com/evalrun/evalrun/kernels/ref"
)

// A tuning is a decoder with pairs beside its matrices and all norms trained.
type tuning struct {
	dev     kernels.TrainDevice
	d       *Decoder
	t       Trained
	names   []string
	values  []kernels.Buffer
	grads   []kernels.Buffer
	refresh func()
}

// tune adds pairs of rank 3 to the matrices of both blocks; every second one
// has DoRA's magnitude. Everything is random, B too.
func tune(t *testing.T, dev kernels.TrainDevice, change shape, dropout float32) *tuning {
	t.Helper()
	d := decoder(t, dev)
	rng := rand.New(rand.NewPCG(2, 2))
	x := &tuning{dev: dev, d: d, t: Trained{Linears: map[*Linear]*TrainedLinear{}, Norms: map[*Norm]*TrainedNorm{}}}
	alloc := func(n int) kernels.Buffer {
		b, err := dev.Alloc(format.F32, n)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	add := func(name string, value kernels.Buffer) kernels.Buffer {
		g := alloc(value.Len())
		x.names, x.values, x.grads = append(x.names, name), append(x.values, value), append(x.grads, g)
		return g
	}
	random := func(n int, around, by float64) kernels.Buffer {
		b, v := alloc(n), make([]float32, n)
		for i := range v {
			v[i] = float32(around + by*rng.NormFloat64())
		}
		dev.Write(b, v)
		return b
	}
	change(d, func(n int) Norm { return Norm{Weight: random(n, 1, 0.1), Eps: 1e-5} })
	var derive []func()
	pair := func(name string, l *Linear, dora bool) {
		n, k := l.Weight.Shape()
		tl := &TrainedLinear{Dropout: dropout, Stream: uint32(len(x.names))}
		prepared := func(what string, n, k int) (kernels.Prepared, kernels.Buffer) {
			v := random(n*k, 0, 0.3)
			w, err := dev.PrepareTrained(v, n, k, kernels.ForMatMul)
			if err != nil {
				t.Fatal(err)
			}
			derive = append(derive, func() { dev.Refresh(w) })
			return w, add(name+what, v)
		}
		tl.Pair.A, tl.GradA = prepared(".A", 3, k)
		tl.Pair.B, tl.GradB = prepared(".B", n, 3)
		tl.Pair.Scale = 0.7
		if dora {
			tl.Magnitude = random(n, 1, 0.1)
			tl.GradMagnitude = add(name+".m", tl.Magnitude)
			tl.Norms, tl.Columns = alloc(n), alloc(n)
			// The norm takes no part in the gradient, so it stays as it is.
			dev.RowNorms(tl.Norms, l.Weight, tl.Pair)
			derive = append(derive, func() { dev.Divide(tl.Columns, tl.Magnitude, tl.Norms, n) })
		}
		x.t.Linears[l] = tl
	}
	for i := range d.Blocks {
		b := &d.Blocks[i]
		for j, l := range b.linears() {
			if l.Weight != nil {
				pair(string(rune('a'+i))+string(rune('0'+j)), l, j%2 == 1)
			}
		}
		for j, n := range []*Norm{&b.AttentionNorm, &b.Attention.QNorm, &b.Attention.KNorm, &b.PostAttention, &b.MLPNorm, &b.PostMLP} {
			if n.Weight != nil {
				x.t.Norms[n] = &TrainedNorm{GradWeight: add(string(rune('a'+i))+".norm"+string(rune('0'+j)), n.Weight)}
			}
		}
	}
	x.t.Norms[&d.Norm] = &TrainedNorm{GradWeight: add("norm", d.Norm.Weight)}
	x.refresh = func() {
		for _, f := range derive {
			f()
		}
	}
	x.refresh()
	return x
}

// packed is three examples of 5, 1 and 9 tokens.
func packed() *Packed {
	b := &Packed{Seed: 7}
	for i, n := range []int{5, 1, 9} {
		row := len(b.IDs)
		b.Runs = append(b.Runs, kernels.Run{Row: row, N: n})
		for t := range n {
			b.IDs, b.Pos = append(b.IDs, int32((13*i+7*t)%50)), append(b.Pos, int32(t))
			b.Keys = append(b.Keys, uint64(i)<<32|uint64(t))
			if t%2 == 0 {
				b.LossRows, b.Labels = append(b.LossRows, int32(row+t)), append(b.Labels, int32((5*i+3*t)%50))
				b.Weights = append(b.Weights, float32(0.1*float64(i+1)))
			}
		}
	}
	return b
}

func (x *tuning) pass(t *testing.T, o PassOptions) *Pass {
	t.Helper()
	o.Rows, o.LossRows = 20, 12
	if o.LogitRows == 0 {
		o.LogitRows = 3
	}
	p, err := NewPass(x.dev, x.d, x.t, o)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// backward gives the gradients, all in one.
func (x *tuning) backward(t *testing.T, o PassOptions, batches ...*Packed) []float32 {
	t.Helper()
	p := x.pass(t, o)
	var all []float32
	for _, g := range x.grads {
		x.dev.Fill(g, g.Len(), 0)
	}
	for _, b := range batches {
		p.Backward(b)
	}
	for _, g := range x.grads {
		v := make([]float32, g.Len())
		x.dev.Read(v, g)
		all = append(all, v...)
	}
	return all
}

// A shape changes a plain decoder; norm makes a norm of n values.
type shape func(d *Decoder, norm func(n int) Norm)

// The decoders whose gradients are checked, by what is special about them.
var shapes = map[string]shape{
	"plain":    func(*Decoder, func(int) Norm) {},
	"parallel": func(d *Decoder, _ func(int) Norm) { each(d, func(b *Block) { b.Parallel = true; b.MLPNorm = Norm{} }) },
	"post-norms, caps, window": func(d *Decoder, norm func(int) Norm) {
		d.LogitCap, d.EmbedScale = 3, 2
		each(d, func(b *Block) {
			b.PostAttention, b.PostMLP = norm(24), norm(24)
			b.Attention.Options.SoftCap, b.Attention.Options.Window = 2, 4
		})
	},
	"head norms": func(d *Decoder, norm func(int) Norm) {
		each(d, func(b *Block) { b.Attention.QNorm, b.Attention.KNorm = norm(6), norm(6) })
	},
	"no gate": func(d *Decoder, _ func(int) Norm) {
		each(d, func(b *Block) { b.MLP.Gate = Linear{}; b.MLP.Act = kernels.GELUTanh })
	},
}

func each(d *Decoder, f func(b *Block)) {
	for i := range d.Blocks {
		f(&d.Blocks[i])
	}
}

// Gradients are those of finite differences, in float64, with dropout and
// without.
func TestPassFiniteDifferences(t *testing.T) {
	for name, change := range shapes {
		for _, dropout := range []float32{0, 0.3} {
			x := tune(t, ref.New64(), change, dropout)
			got, b := x.backward(t, PassOptions{Keep: true}, packed()), packed()
			p := x.pass(t, PassOptions{Keep: true})
			loss := func() (sum float64) {
				x.refresh()
				for i, l := range p.Loss(b) {
					sum += float64(b.Weights[i]) * float64(l)
				}
				return sum
			}
			rng := rand.New(rand.NewPCG(3, 3))
			at := 0
			for i, v := range x.values {
				n := v.Len()
				was, moved := make([]float32, n), make([]float32, n)
				x.dev.Read(was, v)
				// Along a random direction, so that a wrong entry shows.
				const h = 1.0 / 256
				var sides [2]float64
				dir := make([]float64, n)
				want := 0.0
				for j := range dir {
					dir[j] = float64(1 - 2*rng.IntN(2))
					want += dir[j] * float64(got[at+j])
				}
				for s, sign := range []float64{1, -1} {
					for j := range moved {
						moved[j] = float32(float64(was[j]) + sign*h*dir[j])
					}
					x.dev.Write(v, moved)
					sides[s] = loss()
				}
				x.dev.Write(v, was)
				if slope := (sides[0] - sides[1]) / (2 * h); math.Abs(slope-want) > 0.02*math.Abs(want)+3e-3 {
					t.Errorf("%s, dropout %v: %s: slope %.6f, gradient %.6f", name, dropout, x.names[i], slope, want)
				}
				at += n
			}
		}
	}
}

// Holding activations or computing them again, one thread or two: the same
// bits. Logits at a time and packing: the same within rounding.
func TestPassSameBits(t *testing.T) {
	for name, change := range shapes {
		var first []float32
		for _, threads := range []int{1, 2} {
			dev, err := cpu.New(cpu.Options{Threads: threads})
			if err != nil {
				t.Fatal(err)
			}
			x := tune(t, dev, change, 0.3)
			for _, o := range []PassOptions{{Keep: true}, {}} {
				got := x.backward(t, o, packed())
				if first == nil {
					first = got
				}
				if !slices.EqualFunc(got, first, func(a, b float32) bool { return math.Float32bits(a) == math.Float32bits(b) }) {
					t.Errorf("%s: %d threads, kept %v: other bits", name, threads, o.Keep)
				}
			}
			near := func(what string, got []float32) {
				for i, g := range got {
					if d := math.Abs(float64(g - first[i])); d > 1e-5*math.Max(1, math.Abs(float64(first[i]))) {
						t.Errorf("%s: %s: gradient %d is %v, want %v", name, what, i, g, first[i])
						return
					}
				}
			}
			near("all logits at once", x.backward(t, PassOptions{LogitRows: 12}, packed()))
			near("one example at a time", x.backward(t, PassOptions{}, split(packed())...))
			if err := dev.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// split unpacks examples.
func split(b *Packed) []*Packed {
	var out []*Packed
	for _, r := range b.Runs {
		one := &Packed{IDs: b.IDs[r.Row : r.Row+r.N], Pos: b.Pos[r.Row : r.Row+r.N], Keys: b.Keys[r.Row : r.Row+r.N], Seed: b.Seed, Runs: []kernels.Run{{N: r.N}}}
		for i, row := range b.LossRows {
			if int(row) >= r.Row && int(row) < r.Row+r.N {
				one.LossRows, one.Labels, one.Weights = append(one.LossRows, row-int32(r.Row)), append(one.Labels, b.Labels[i]), append(one.Weights, b.Weights[i])
			}
		}
		out = append(out, one)
	}
	return out
}

// Nothing is computed below the lowest trained block.
func TestPassLowest(t *testing.T) {
	x := tune(t, ref.New(), shapes["plain"], 0)
	p := x.pass(t, PassOptions{})
	if p.first != 0 {
		t.Errorf("lowest block %d, want 0", p.first)
	}
	for _, l := range x.d.Blocks[0].linears() {
		delete(x.t.Linears, l)
	}
	for _, n := range []*Norm{&x.d.Blocks[0].AttentionNorm, &x.d.Blocks[0].MLPNorm} {
		delete(x.t.Norms, n)
	}
	if p = x.pass(t, PassOptions{}); p.first != 1 {
		t.Errorf("lowest block %d, want 1", p.first)
	}
	x.t.GradEmbed, x.t.Pad = x.grads[0], -1
	if p = x.pass(t, PassOptions{}); p.first != -1 {
		t.Errorf("lowest block %d, want the embedding", p.first)
	}
}

// The embedding of the token that fills up has no gradient, whatever stands there;
// those of the others are what they are without one.
func TestPassPad(t *testing.T) {
	rows := func(pad int32) [][]float32 {
		x := tune(t, ref.New(), shapes["plain"], 0)
		grad, err := x.dev.Alloc(format.F32, x.d.Vocab*x.d.Hidden)
		if err != nil {
			t.Fatal(err)
		}
		x.t.GradEmbed, x.t.Pad, x.grads = grad, pad, []kernels.Buffer{grad}
		all := x.backward(t, PassOptions{}, packed())
		return slices.Collect(slices.Chunk(all, x.d.Hidden))
	}
	pad := packed().IDs[1]
	want, got := rows(-1), rows(pad)
	if slices.Equal(want[pad], make([]float32, len(want[pad]))) {
		t.Fatal("the token of the test has no gradient anyway")
	}
	clear(want[pad])
	for id := range want {
		if !slices.Equal(got[id], want[id]) {
			t.Errorf("token %d: other gradients with token %d as pad", id, pad)
		}
	}
}
