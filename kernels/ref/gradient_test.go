package ref_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/evalrun/evalrun/kernels"
	"github.com/evalrun/evalrun/kernels/ref"
)

// Every gradient of ref against finite differences, in float64.

type vec = kernels.Values[float64]

var d64 = ref.New64()

// gradient is one operation: forward gives a new output of its operands, back
// the gradients of those operands that have one, given that of the output.
type gradient struct {
	name     string
	operands []vec
	forward  func(x []vec) vec
	back     func(x []vec, dy vec) []vec
}

// check compares with (L(x+h) - L(x-h))/2h, L being Σ c·y for a random c.
func (g gradient) check(t *testing.T, rng *rand.Rand) {
	t.Helper()
	c := random(rng, len(g.forward(g.operands)))
	loss := func() (sum float64) {
		for i, y := range g.forward(g.operands) {
			sum += c[i] * y
		}
		return sum
	}
	grads := g.back(g.operands, append(vec(nil), c...))
	for o, grad := range grads {
		if grad == nil {
			continue
		}
		x := g.operands[o]
		for i := range x {
			const h = 1e-5
			was := x[i]
			x[i] = was + h
			above := loss()
			x[i] = was - h
			below := loss()
			x[i] = was
			if want := (above - below) / (2 * h); math.Abs(grad[i]-want) > 1e-7*(1+math.Abs(want)) {
				t.Fatalf("%s: gradient of operand %d, value %d is %g, by differences %g", g.name, o, i, grad[i], want)
			}
		}
	}
}

func random(rng *rand.Rand, n int) vec {
	x := make(vec, n)
	for i := range x {
		x[i] = rng.NormFloat64()
	}
	return x
}

func TestGradients(t *testing.T) {
	rng := rand.New(rand.NewPCG(9, 9))
	r := func(n int) vec { return random(rng, n) }
	var all []gradient

	const rows, n, k = 4, 5, 7
	weight := func(x vec, n, k int) kernels.Prepared {
		p, err := d64.PrepareTrained(x, n, k, kernels.ForMatMul)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	all = append(all, gradient{"MatMul", []vec{r(rows * k), r(n * k)},
		func(x []vec) vec {
			y := make(vec, rows*n)
			d64.MatMul(y, x[0], rows, weight(x[1], n, k), kernels.Store)
			return y
		},
		func(x []vec, dy vec) []vec {
			dx, dw := make(vec, rows*k), make(vec, n*k)
			d64.MatMulBack(dx, dy, rows, weight(x[1], n, k), kernels.Store)
			d64.WeightGrad(dw, dy, x[0], rows, n, k)
			return []vec{dx, dw}
		}})

	all = append(all, gradient{"AddBias", []vec{r(rows * n), r(n)},
		func(x []vec) vec {
			y := append(vec(nil), x[0]...)
			d64.AddBias(y, x[1], rows)
			return y
		},
		func(x []vec, dy vec) []vec {
			db := make(vec, n)
			d64.ColumnDots(db, dy, nil, rows)
			return []vec{dy, db}
		}},
		gradient{"ScaleColumns", []vec{r(rows * n), r(n)},
			func(x []vec) vec {
				y := append(vec(nil), x[0]...)
				d64.ScaleColumns(y, x[1], rows)
				return y
			},
			func(x []vec, dy vec) []vec {
				ds := make(vec, n)
				d64.ColumnDots(ds, dy, x[0], rows)
				return []vec{nil, ds}
			}})

	all = append(all, gradient{"RMSNorm", []vec{r(rows * k), r(k)},
		func(x []vec) vec {
			y := make(vec, rows*k)
			d64.RMSNorm(y, x[0], x[1], rows, 0.1)
			return y
		},
		func(x []vec, dy vec) []vec {
			dx, dw := make(vec, rows*k), make(vec, k)
			d64.RMSNormBack(dx, dw, dy, x[0], x[1], rows, 0.1, kernels.Store)
			return []vec{dx, dw}
		}},
		gradient{"LayerNorm", []vec{r(rows * k), r(k), r(k)},
			func(x []vec) vec {
				y := make(vec, rows*k)
				d64.LayerNorm(y, x[0], x[1], x[2], rows, 0.1)
				return y
			},
			func(x []vec, dy vec) []vec {
				dx, dw, db := make(vec, rows*k), make(vec, k), make(vec, k)
				d64.LayerNormBack(dx, dw, db, dy, x[0], x[1], rows, 0.1, kernels.Store)
				return []vec{dx, dw, db}
			}})

	for _, style := range []kernels.RopeStyle{kernels.RopeHalves, kernels.RopePairs} {
		cos, sin, pos := r(10*2), r(10*2), []int32{0, 9, 4}
		all = append(all, gradient{fmt.Sprint("Rope ", style), []vec{r(3 * 2 * 6)},
			func(x []vec) vec {
				y := append(vec(nil), x[0]...)
				d64.Rope(y, 2, 6, cos, sin, 2, pos, style)
				return y
			},
			func(x []vec, dy vec) []vec {
				d64.RopeBack(dy, 2, 6, cos, sin, 2, pos, style)
				return []vec{dy}
			}})
	}

	for _, a := range []kernels.Activation{kernels.SiLU, kernels.GELUTanh, kernels.GELUErf} {
		all = append(all, gradient{fmt.Sprint("Activate ", a), []vec{r(20)},
			func(x []vec) vec {
				y := make(vec, 20)
				d64.Activate(y, x[0], 20, a)
				return y
			},
			func(x []vec, dy vec) []vec {
				d64.ActivateBack(dy, dy, x[0], 20, a)
				return []vec{dy}
			}},
			gradient{fmt.Sprint("Gate ", a), []vec{r(20), r(20)},
				func(x []vec) vec {
					y := make(vec, 20)
					d64.Gate(y, x[0], x[1], 20, a)
					return y
				},
				func(x []vec, dy vec) []vec {
					dgate, dup := make(vec, 20), make(vec, 20)
					d64.GateBack(dgate, dup, dy, x[0], x[1], 20, a)
					return []vec{dgate, dup}
				}})
	}
	all = append(all, gradient{"SoftCap", []vec{r(20)},
		func(x []vec) vec {
			y := make(vec, 20)
			d64.SoftCap(y, x[0], 20, 0.7)
			return y
		},
		func(x []vec, dy vec) []vec {
			d64.SoftCapBack(dy, dy, x[0], 20, 0.7)
			return []vec{dy}
		}})

	ids := []int32{2, 0, 2, 1}
	all = append(all, gradient{"Embed", []vec{r(3 * k)},
		func(x []vec) vec {
			y := make(vec, len(ids)*k)
			d64.Embed(y, weight(x[0], 3, k), ids)
			return y
		},
		func(x []vec, dy vec) []vec {
			dx := make(vec, 3*k)
			d64.Scatter(dx, dy, ids, k)
			return []vec{dx}
		}},
		gradient{"Columns", []vec{r(3 * 9)},
			func(x []vec) vec {
				y := make(vec, 3*4)
				d64.Columns(y, x[0], 3, 9, 2, 4)
				return y
			},
			func(x []vec, dy vec) []vec {
				dx := make(vec, 3*9)
				d64.PutColumns(dx, dy, 3, 9, 2, 4)
				return []vec{dx}
			}})

	drop := kernels.Dropping{P: 0.4, Seed: 3, Stream: 1, Rows: []uint64{5, 6, 7}}
	all = append(all, gradient{"Dropout", []vec{r(3 * 9)},
		func(x []vec) vec {
			y := make(vec, 3*9)
			d64.Dropout(y, x[0], 9, drop, kernels.Store)
			return y
		},
		func(x []vec, dy vec) []vec {
			dx := make(vec, 3*9)
			d64.Dropout(dx, dy, 9, drop, kernels.Add)
			return []vec{dx}
		}})

	labels, weights := []int32{4, 0, 2}, []float32{0.5, -1, 0.25}
	all = append(all, gradient{"CrossEntropy", []vec{r(3 * 6)},
		func(x []vec) vec {
			y := make(vec, 3)
			d64.CrossEntropy(y, nil, x[0], 6, labels, nil)
			for i, w := range weights {
				y[i] *= float64(w)
			}
			return y
		},
		func(x []vec, dy vec) []vec {
			scaled := make([]float32, 3)
			for i := range dy {
				dy[i] = float64(float32(dy[i])) // weights are float32
				scaled[i] = weights[i]
			}
			dx := make(vec, 3*6)
			d64.CrossEntropy(make(vec, 3), dx, x[0], 6, labels, scaled)
			for i := range dx {
				dx[i] *= dy[i/6]
			}
			return []vec{dx}
		}})

	for _, o := range []kernels.AttentionOptions{{Scale: 0.5}, {Scale: 0.5, Window: 3}, {Scale: 0.7, SoftCap: 0.8}, {Scale: 0.7, SoftCap: 0.8, Window: 33}} {
		s := kernels.AttentionShape{Heads: 4, KVHeads: 2, Dim: 3, AttentionOptions: o}
		runs := []kernels.Run{{Row: 0, N: 1}, {Row: 1, N: 6}, {Row: 8, N: 35}} // row 7 is nobody's
		const rows = 43
		all = append(all, gradient{fmt.Sprintf("Attention %+v", o), []vec{r(rows * 12), r(rows * 6), r(rows * 6)},
			func(x []vec) vec {
				y := make(vec, rows*12)
				d64.AttentionTrain(y, make(vec, rows*4), x[0], x[1], x[2], runs, s)
				return y
			},
			func(x []vec, dy vec) []vec {
				y, lse := make(vec, rows*12), make(vec, rows*4)
				d64.AttentionTrain(y, lse, x[0], x[1], x[2], runs, s)
				dq, dk, dv := make(vec, rows*12), make(vec, rows*6), make(vec, rows*6)
				d64.AttentionBack(dq, dk, dv, dy, y, lse, x[0], x[1], x[2], runs, s)
				return []vec{dq, dk, dv}
			}})
	}
	for _, g := range all {
		t.Run(g.name, func(t *testing.T) { g.check(t, rng) })
	}
}

// The low-rank change of a weight, as training composes it of other operations.
func TestLowRankGradient(t *testing.T) {
	rng := rand.New(rand.NewPCG(9, 10))
	const rows, n, k, rank, scale = 5, 6, 7, 3, 0.5
	prepare := func(x vec, n, k int) kernels.Prepared {
		p, err := d64.PrepareTrained(x, n, k, kernels.ForMatMul)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	g := gradient{"LoRA", []vec{random(rng, rows*k), random(rng, rank*k), random(rng, n*rank)},
		func(x []vec) vec {
			y := make(vec, rows*n)
			d64.LoRA(y, x[0], []kernels.Segment{{N: rows, LowRank: kernels.LowRank{A: prepare(x[1], rank, k), B: prepare(x[2], n, rank), Scale: scale}}})
			return y
		},
		func(x []vec, dy vec) []vec {
			a, b := prepare(x[1], rank, k), prepare(x[2], n, rank)
			low, dlow := make(vec, rows*rank), make(vec, rows*rank)
			d64.MatMul(low, x[0], rows, a, kernels.Store)
			d64.Scale(dy, dy, rows*n, scale)
			dx, da, db := make(vec, rows*k), make(vec, rank*k), make(vec, n*rank)
			d64.WeightGrad(db, dy, low, rows, n, rank)
			d64.MatMulBack(dlow, dy, rows, b, kernels.Store)
			d64.WeightGrad(da, dlow, x[0], rows, rank, k)
			d64.MatMulBack(dx, dlow, rows, a, kernels.Store)
			return []vec{dx, da, db}
		}}
	g.check(t, rng)
}

// Philox is the published generator: known answers of its authors' test.
func TestPhilox(t *testing.T) {
	for _, c := range []struct {
		counter [4]uint32
		key     uint64
		want    [4]uint32
	}{
		{[4]uint32{}, 0, [4]uint32{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
		{[4]uint32{^uint32(0), ^uint32(0), ^uint32(0), ^uint32(0)}, ^uint64(0), [4]uint32{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
		{[4]uint32{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, 0x299f31d0a4093822, [4]uint32{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
	} {
		if got := kernels.Philox(c.counter, c.key); got != c.want {
			t.Errorf("%x, key %x: %x, want %x", c.counter, c.key, got, c.want)
		}
	}
}
