package cuda

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/evalrun/evalrun/kernels"
	"github.com/evalrun/evalrun/kernels/format"
)

// flashTwin is attention as flash.cu computes it, in float64 but for what is
// rounded to bfloat16: q, k, v, dy, P as it is multiplied, and dS.
type flashTwin struct {
	s             kernels.AttentionShape
	y, lse        []float64
	dq, dk, dv    []float64
	q, k, v, grad []float32
}

func brainOf(x float64) float64 {
	return float64(format.BF16ToF32(format.F32ToBF16(float32(x))))
}

func (f *flashTwin) score(t, u, h int) (score, bend float64) {
	d, kh := f.s.Dim, h/(f.s.Heads/f.s.KVHeads)
	for i := range d {
		score += brainOf(float64(f.q[(t*f.s.Heads+h)*d+i])) * brainOf(float64(f.k[(u*f.s.KVHeads+kh)*d+i]))
	}
	score *= float64(f.s.Scale)
	if c := float64(f.s.SoftCap); c > 0 {
		th := math.Tanh(score / c)
		return c * th, 1 - th*th
	}
	return score, 1
}

func (f *flashTwin) run(r kernels.Run, keys int) {
	d, heads, group := f.s.Dim, f.s.Heads, f.s.Heads/f.s.KVHeads
	for h := range heads {
		for t := range r.N {
			row := (r.Row+t)*heads + h
			first := 0
			if f.s.Window > 0 {
				first = max(0, t-f.s.Window+1)
			}
			// Tiles of keys, each with the largest score so far taken off.
			top, total, out := math.Inf(-1), 0.0, make([]float64, d)
			for base := first / keys * keys; base <= t; base += keys {
				next := top
				for u := max(base, first); u <= min(t, base+keys-1); u++ {
					s, _ := f.score(r.Row+t, r.Row+u, h)
					next = max(next, s)
				}
				old := math.Exp(top - next)
				total *= old
				for i := range out {
					out[i] *= old
				}
				for u := max(base, first); u <= min(t, base+keys-1); u++ {
					s, _ := f.score(r.Row+t, r.Row+u, h)
					p := math.Exp(s - next)
					total += p
					for i := range out {
						out[i] += brainOf(p) * brainOf(float64(f.v[((r.Row+u)*f.s.KVHeads+h/group)*d+i]))
					}
				}
				top = next
			}
			f.lse[row] = top + math.Log(total)
			dot := 0.0
			for i := range out {
				f.y[row*d+i] = out[i] / total
				dot += out[i] / total * float64(f.grad[row*d+i])
			}
			for u := first; u <= t; u++ {
				key := ((r.Row+u)*f.s.KVHeads + h/group) * d
				s, bend := f.score(r.Row+t, r.Row+u, h)
				p, dp := math.Exp(s-f.lse[row]), 0.0
				for i := range d {
					dp += brainOf(float64(f.grad[row*d+i])) * brainOf(float64(f.v[key+i]))
				}
				ds := float64(f.s.Scale) * brainOf(p*(dp-dot)*bend)
				for i := range d {
					f.dq[row*d+i] += ds * brainOf(float64(f.k[key+i]))
					f.dk[key+i] += ds * brainOf(float64(f.q[row*d+i]))
					f.dv[key+i] += brainOf(p) * brainOf(float64(f.grad[row*d+i]))
				}
			}
		}
	}
}

// flashOn compares attention on the matrix units with its twin: heads of sizes
// that fill their tiles and do not, grouped and not, windows, soft caps, runs of
// all lengths with rows between that belong to none. A rounding that falls the
// other way is one step of bfloat16 of one of many terms.
func flashOn(t *testing.T, dev *Device) {
	dev.brain = true
	all := flashTiles
	defer func() { flashTiles = all }()
	t.Run("most", func(t *testing.T) { flashTilesOn(t, dev) })
	// As where there is less shared memory: without the first of two tiles of a size.
	flashTiles = slices.DeleteFunc(slices.Clone(all), func(f flashTile) bool { return f.name == "128" })
	t.Run("less", func(t *testing.T) { flashTilesOn(t, dev) })
}

func flashTilesOn(t *testing.T, dev *Device) {
	for _, c := range []struct {
		dim, heads, kvHeads, window int
		softCap                     float32
		runs                        []kernels.Run
	}{
		{64, 2, 1, 0, 0, []kernels.Run{{Row: 0, N: 1}, {Row: 1, N: 64}, {Row: 67, N: 131}}},
		{32, 3, 3, 5, 0, []kernels.Run{{Row: 2, N: 70}}},
		{80, 2, 2, 70, 20, []kernels.Run{{Row: 0, N: 150}}},
		{128, 4, 2, 0, 0, []kernels.Run{{Row: 0, N: 33}, {Row: 33, N: 66}}},
		{256, 2, 1, 40, 0, []kernels.Run{{Row: 1, N: 75}}},
		{200, 1, 1, 0, 30, []kernels.Run{{Row: 0, N: 65}}},
		{3, 2, 1, 0, 0, []kernels.Run{{Row: 0, N: 67}}},
		{64, 6, 1, 9, 0, []kernels.Run{{Row: 0, N: 130}, {Row: 130, N: 40}}},
		{40, 3, 1, 0, 0, []kernels.Run{{Row: 0, N: 200}}},
		{128, 8, 1, 33, 0, []kernels.Run{{Row: 0, N: 140}}},
	} {
		rng := rand.New(rand.NewPCG(7, uint64(c.dim)))
		rows := 0
		for _, r := range c.runs {
			rows = max(rows, r.Row+r.N)
		}
		rows += 2
		s := kernels.AttentionShape{Heads: c.heads, KVHeads: c.kvHeads, Dim: c.dim,
			AttentionOptions: kernels.AttentionOptions{Scale: float32(1 / math.Sqrt(float64(c.dim))), Window: c.window, SoftCap: c.softCap}}
		wide, narrow := rows*c.heads*c.dim, rows*c.kvHeads*c.dim
		random := func(n int) []float32 {
			x := make([]float32, n)
			for i := range x {
				x[i] = float32(rng.NormFloat64())
			}
			return x
		}
		f := flashTwin{s: s, q: random(wide), k: random(narrow), v: random(narrow), grad: random(wide)}
		f.y, f.lse, f.dq, f.dk, f.dv = make([]float64, wide), make([]float64, rows*c.heads), make([]float64, wide), make([]float64, narrow), make([]float64, narrow)
		keys := flashTileOf(c.dim, dev.driver.Shared()).keys
		for _, r := range c.runs {
			f.run(r, keys)
		}
		on := func(x []float32) kernels.Buffer {
			b, err := dev.Alloc(format.F32, len(x))
			if err != nil {
				t.Fatal(err)
			}
			dev.Write(b, x)
			return b
		}
		zeros := func(n int) kernels.Buffer { return on(make([]float32, n)) }
		q, k, v, dy := on(f.q), on(f.k), on(f.v), on(f.grad)
		y, lse, dq, dk, dv := zeros(wide), zeros(rows*c.heads), zeros(wide), zeros(narrow), zeros(narrow)
		pass := func(runs []kernels.Run) [][]float32 {
			dev.AttentionTrain(y, lse, q, k, v, runs, s)
			dev.AttentionBack(dq, dk, dv, dy, y, lse, q, k, v, runs, s)
			var all [][]float32
			for _, b := range []kernels.Buffer{y, lse, dq, dk, dv} {
				x := make([]float32, b.Len())
				dev.Read(x, b)
				all = append(all, x)
			}
			return all
		}
		// A run alone has the bits that it has among others, the others keep theirs.
		together := pass(c.runs)
		if len(c.runs) > 1 {
			for _, b := range []kernels.Buffer{y, lse, dq, dk, dv} {
				dev.Fill(b, b.Len(), 0)
			}
			for _, r := range c.runs {
				pass([]kernels.Run{r})
			}
			for i, x := range pass(nil) {
				if !slices.Equal(x, together[i]) {
					t.Errorf("%v: result %d of runs alone has other bits", fmt.Sprint(c), i)
				}
			}
		}
		check := func(what string, x []float32, want []float64, limit float64) {
			t.Helper()
			most, off, at := 0.0, 0.0, 0
			for i, w := range want {
				most = max(most, math.Abs(w))
				if d := math.Abs(float64(x[i]) - w); !(d <= off) {
					off, at = d, i
				}
			}
			if !(off <= limit*most) {
				t.Errorf("%v: %s: value %d is %g, want %g, the largest %g", fmt.Sprint(c), what, at, x[at], want[at], most)
			}
		}
		check("y", together[0], f.y, 1e-3)
		check("lse", together[1], f.lse, 1e-5)
		check("dq", together[2], f.dq, 1e-3)
		check("dk", together[3], f.dk, 1e-3)
		check("dv", together[4], f.dv, 1e-3)
	}
}
