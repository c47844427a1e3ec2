package kerneltest

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/evalrun/evalrun/kernels"
	"github.com/evalrun/evalrun/kernels/format"
	"github.com/evalrun/evalrun/kernels/ref"
)

// Rounded holds a device's kernels.RoundedProducts, and the operations that take
// buffers of BF16, to what they stand for, bit by bit.
func Rounded(t *testing.T, dev kernels.TrainDevice) {
	half := dev.(kernels.RoundedProducts)
	for _, c := range []struct {
		name string
		test func(roundedBench)
	}{{"Products", roundedProducts}, {"Norms", roundedNorms}, {"Rope", roundedRope}, {"Activations", roundedActivations}, {"Moves", roundedMoves}, {"Attention", roundedAttention}} {
		t.Run(c.name, func(t *testing.T) {
			c.test(roundedBench{trainBench{bench{t, dev, ref.New64(), rand.New(rand.NewPCG(9, uint64(len(c.name))))}}, dev, half})
		})
	}
}

type roundedBench struct {
	trainBench
	train kernels.TrainDevice
	half  kernels.RoundedProducts
}

// brain is a buffer of BF16 with the values, at an offset of so many others.
func (b roundedBench) brain(values []float32, offset int) kernels.Buffer {
	whole, err := b.dev.Alloc(format.BF16, len(values)+offset)
	if err != nil {
		b.Fatal(err)
	}
	part := whole.Slice(offset, offset+len(values))
	b.dev.Write(part, values)
	return part
}

func (b roundedBench) read(x kernels.Buffer) []float32 {
	values := make([]float32, x.Len())
	b.dev.Read(values, x)
	return values
}

func roundOf(values []float32) []float32 {
	values = append([]float32(nil), values...)
	format.RoundTo(values, format.BF16)
	return values
}

func roundedProducts(b roundedBench) {
	for _, s := range [][3]int{{1, 128, 128}, {3, 192, 320}, {130, 320, 192}} {
		m, n, k := s[0], s[1], s[2]
		layout := quantised("NF4", format.NF4, format.BF16, true)
		ws := []kernels.Prepared{prepare(b, b.dev, layout.make(b.bench, n, k), kernels.ForMatMul),
			prepare(b, b.dev, layout.make(b.bench, 128, k), kernels.ForMatMul), prepare(b, b.dev, plain(format.BF16).make(b.bench, n, k), kernels.ForMatMul)}
		for _, back := range []bool{false, true} {
			in, out := k, n
			if back {
				in, out = n, k
			}
			values, more := b.normal(m*in), b.normal(m*out)
			x := on(b, b.dev, values)
			// The operations: round, multiply, round, and what is to be added.
			want := func(w kernels.Prepared, add []float32) []float32 {
				wide, deep := w.Shape()
				if back {
					wide = deep
				}
				r, y := on(b, b.dev, roundOf(values)), on(b, b.dev, make([]float32, m*wide))
				if back {
					b.train.MatMulBack(y, r, m, w, kernels.Store)
				} else {
					b.dev.MatMul(y, r, m, w, kernels.Store)
				}
				b.dev.Round(y, y, m*wide, format.BF16)
				if add != nil {
					sum := on(b, b.dev, add)
					b.dev.Add(sum, y, m*wide)
					y = sum
				}
				return b.read(y)
			}
			if !b.half.Rounds(ws[0]) {
				b.Fatalf("%v: products are not rounded", s)
			}
			for name, x := range map[string]kernels.Buffer{"F32": x, "BF16": b.brain(values, 0)} {
				what := fmt.Sprintf("%v back %v x %s", s, back, name)
				run := func(dst, plus kernels.Buffer, w kernels.Prepared) {
					if back {
						b.half.MatMulBacksRounded(dst, plus, []kernels.Buffer{x}, m, []kernels.Prepared{w})
					} else {
						b.half.MatMulsRounded([]kernels.Buffer{dst}, plus, x, m, []kernels.Prepared{w})
					}
				}
				dst, whole := output(b, b.dev, m*out, nil)
				run(dst, nil, ws[0])
				same(b, what, result(b, b.dev, whole), want(ws[0], nil))
				short := b.brain(make([]float32, m*out), 0)
				run(short, nil, ws[2])
				same(b, what+" to BF16", b.read(short), want(ws[2], nil))
				dst, whole = output(b, b.dev, m*out, more)
				run(dst, dst, ws[0])
				same(b, what+" added", result(b, b.dev, whole), want(ws[0], more))
				dst, whole = output(b, b.dev, m*out, nil)
				run(dst, on(b, b.dev, more), ws[2])
				same(b, what+" added elsewhere", result(b, b.dev, whole), want(ws[2], more))
				if back {
					if kept, ok := b.dev.(kernels.Keeper); ok {
						for _, w := range ws {
							if err := kept.Keep(w, true); err != nil {
								b.Fatal(err)
							}
						}
					}
					b.roundedChain(what, m, k, ws, 2, false)
					b.roundedChain(what, m, k, ws, 3, true)
					if m < 10 {
						b.roundedChain(what, m, k, ws, 5, true)
					}
					continue
				}
				var dsts []kernels.Buffer
				for _, w := range ws {
					wide, _ := w.Shape()
					dsts = append(dsts, on(b, b.dev, make([]float32, m*wide)))
				}
				dsts[1] = b.brain(b.read(dsts[1]), 0)
				b.half.MatMulsRounded(dsts, nil, x, m, ws)
				for i, w := range ws {
					same(b, fmt.Sprint(what, " product ", i), b.read(dsts[i]), want(w, nil))
				}
			}
		}
	}
	if b.half.Rounds(prepare(b, b.dev, b.weight(format.F32, 128, 67), kernels.ForMatMul)) {
		b.Log("rows of 67 values are rounded too")
	}
}

// roundedChain is the gradient of what went into several layers.
func (b roundedBench) roundedChain(what string, m, k int, ws []kernels.Prepared, count int, add bool) {
	dst, sum := on(b, b.dev, b.normal(m*k)), on(b, b.dev, make([]float32, m*k))
	start := b.normal(m * k)
	plus := on(b, b.dev, start)
	if add {
		b.dev.Add(sum, plus, m*k)
	} else {
		plus = nil
	}
	var dys []kernels.Buffer
	var all []kernels.Prepared
	for i := range count {
		w := ws[i%len(ws)]
		n, _ := w.Shape()
		dy := b.normal(m * n)
		dys, all = append(dys, []kernels.Buffer{on(b, b.dev, dy), b.brain(dy, 0)}[i%2]), append(all, w)
		y := on(b, b.dev, make([]float32, m*k))
		b.train.MatMulBack(y, on(b, b.dev, roundOf(dy)), m, w, kernels.Store)
		b.dev.Round(y, y, m*k, format.BF16)
		if i == 0 && !add {
			sum = y
		} else {
			b.dev.Add(sum, y, m*k)
		}
	}
	b.half.MatMulBacksRounded(dst, plus, dys, m, all)
	same(b, fmt.Sprintf("%s: chain of %d, added %v", what, count, add), b.read(dst), b.read(sum))
}

func roundedNorms(b roundedBench) {
	for _, s := range [][2]int{{1, 1}, {3, 67}, {5, 128}, {2, 2052}} {
		rows, c := s[0], s[1]
		for offset := range 2 {
			x, w, bias := on(b, b.dev, b.normal(rows*c)), on(b, b.dev, b.normal(c)), on(b, b.dev, b.normal(c))
			want, dst := on(b, b.dev, make([]float32, rows*c)), b.brain(make([]float32, rows*c), offset)
			b.dev.RMSNorm(want, x, w, rows, 1e-5)
			b.dev.RMSNorm(dst, x, w, rows, 1e-5)
			same(b, fmt.Sprint(s, " RMSNorm"), b.read(dst), roundOf(b.read(want)))
			both := on(b, b.dev, make([]float32, rows*c))
			b.half.RMSNormBoth(both, dst, x, w, rows, 1e-5)
			same(b, fmt.Sprint(s, " RMSNormBoth"), b.read(both), b.read(want))
			same(b, fmt.Sprint(s, " RMSNormBoth, half"), b.read(dst), roundOf(b.read(want)))
			dy, start := b.normal(rows*c), b.normal(rows*c)
			for _, e := range epilogues {
				for _, trained := range []bool{false, true} {
					one, two := on(b, b.dev, start), on(b, b.dev, start)
					var dw1, dw2 kernels.Buffer
					if trained {
						dw1, dw2 = on(b, b.dev, make([]float32, c)), on(b, b.dev, make([]float32, c))
					}
					b.train.RMSNormBack(one, dw1, on(b, b.dev, dy), x, w, rows, 1e-5, e)
					b.half.RMSNormBackBoth(two, dst, dw2, on(b, b.dev, dy), x, w, rows, 1e-5, e)
					same(b, fmt.Sprint(s, " RMSNormBackBoth"), b.read(two), b.read(one))
					same(b, fmt.Sprint(s, " RMSNormBackBoth, half"), b.read(dst), roundOf(b.read(one)))
					if trained {
						same(b, fmt.Sprint(s, " RMSNormBackBoth, weight"), b.read(dw2), b.read(dw1))
					}
				}
			}
			b.dev.LayerNorm(want, x, w, bias, rows, 1e-5)
			b.dev.LayerNorm(dst, x, w, bias, rows, 1e-5)
			same(b, fmt.Sprint(s, " LayerNorm"), b.read(dst), roundOf(b.read(want)))
		}
	}
}

func roundedRope(b roundedBench) {
	for _, dim := range []int{6, 16, 32} {
		for _, style := range []kernels.RopeStyle{kernels.RopeHalves, kernels.RopePairs} {
			const heads = 3
			pos := []int32{0, 5, 2, 2}
			n := len(pos) * heads * dim
			values := b.normal(n)
			cos, sin := on(b, b.dev, b.normal(6*dim/2)), on(b, b.dev, b.normal(6*dim/2))
			want, got, half := on(b, b.dev, values), on(b, b.dev, values), b.brain(make([]float32, n), dim%4)
			b.train.RopeBack(want, heads, dim, cos, sin, dim/2, pos, style)
			b.half.RopeBackBoth(got, half, heads, dim, cos, sin, pos, style)
			same(b, fmt.Sprint(dim, style, " RopeBackBoth"), b.read(got), b.read(want))
			same(b, fmt.Sprint(dim, style, " RopeBackBoth, half"), b.read(half), roundOf(b.read(want)))
		}
	}
}

func roundedActivations(b roundedBench) {
	for _, n := range []int{1, 7, 8, 67, 4099} {
		for offset := range 2 {
			dy, gate, up := roundOf(b.normal(n)), roundOf(b.normal(n)), roundOf(b.normal(n))
			for _, a := range []kernels.Activation{kernels.SiLU, kernels.GELUTanh, kernels.GELUErf} {
				what := fmt.Sprintf("%d values, activation %d, offset %d", n, a, offset)
				g, u, y := on(b, b.dev, gate), on(b, b.dev, up), on(b, b.dev, dy)
				bg, bu, by := b.brain(gate, offset), b.brain(up, offset), b.brain(dy, offset)
				to, btoo := on(b, b.dev, dy), b.brain(dy, 0)
				b.dev.Gate(to, g, u, n, a)
				b.dev.Gate(btoo, bg, bu, n, a)
				same(b, what+": Gate", b.read(btoo), roundOf(b.read(to)))
				b.dev.Activate(to, g, n, a)
				b.dev.Activate(btoo, bg, n, a)
				same(b, what+": Activate", b.read(btoo), roundOf(b.read(to)))
				b.train.ActivateBack(to, y, g, n, a)
				b.train.ActivateBack(btoo, by, bg, n, a)
				same(b, what+": ActivateBack", b.read(btoo), roundOf(b.read(to)))
				b.train.GateBack(g, y, y, g, u, n, a) // in place, as a pass has it
				b.train.GateBack(bg, by, by, bg, bu, n, a)
				same(b, what+": dgate", b.read(bg), roundOf(b.read(g)))
				same(b, what+": dup", b.read(by), roundOf(b.read(y)))
			}
		}
	}
}

func roundedMoves(b roundedBench) {
	for _, n := range []int{1, 8, 67, 1025} {
		for offset := range 3 {
			values := b.normal(n)
			written, rounded := b.brain(values, offset), b.brain(make([]float32, n), offset)
			same(b, fmt.Sprint(n, " values written"), b.read(written), roundOf(values))
			b.dev.Round(rounded, on(b, b.dev, values), n, format.BF16)
			twice, filled := b.brain(make([]float32, 2*n), offset), b.brain(values, offset)
			b.dev.Gather(twice, written, []int32{0, 0}, n)
			same(b, fmt.Sprint(n, " values gathered"), b.read(twice), append(roundOf(values), roundOf(values)...))
			b.train.Fill(filled, n, 0.3)
			third := roundOf([]float32{0.3})[0]
			same(b, fmt.Sprint(n, " values filled"), b.read(filled), slices.Repeat([]float32{third}, n))
			b.train.Scatter(twice, filled, []int32{1}, n)
			sums := append(roundOf(values), roundOf(values)...)
			for i := range n {
				sums[n+i] += third
			}
			same(b, fmt.Sprint(n, " values scattered"), b.read(twice), roundOf(sums))
			same(b, fmt.Sprint(n, " values rounded"), b.read(rounded), roundOf(values))
			if written.Type() != format.BF16 || written.Slice(0, 1).Type() != format.BF16 {
				b.Fatalf("a buffer of BF16 is of %v", written.Type())
			}
		}
	}
}

// roundedAttention compares attention in buffers of BF16 with that in others whose
// values are rounded, for heads of sizes that are multiples of 8 and are not.
func roundedAttention(b roundedBench) {
	for _, dim := range []int{5, 24, 64, 80, 128, 256} {
		const heads, kvHeads, rows = 4, 2, 70
		s := kernels.AttentionShape{Heads: heads, KVHeads: kvHeads, Dim: dim, AttentionOptions: kernels.AttentionOptions{Scale: 0.2}}
		if !b.half.RoundsAttention(s) {
			b.Logf("attention of %d values a head takes no buffers of BF16", dim)
			continue
		}
		for offset := range 2 {
			what := fmt.Sprintf("%d values a head, offset %d", dim, offset)
			runs := []kernels.Run{{Row: 0, N: 3}, {Row: 3, N: 67}}
			wide, narrow := rows*heads*dim, rows*kvHeads*dim
			q, k, v := on(b, b.dev, b.normal(wide)), on(b, b.dev, b.normal(narrow)), on(b, b.dev, b.normal(narrow))
			zeros := func(n int) kernels.Buffer { return on(b, b.dev, make([]float32, n)) }
			lse, lse2, y, short := zeros(rows*heads), zeros(rows*heads), zeros(wide), b.brain(make([]float32, wide), offset)
			b.train.AttentionTrain(y, lse, q, k, v, runs, s)
			b.train.AttentionTrain(short, lse2, q, k, v, runs, s)
			same(b, what+": y", b.read(short), roundOf(b.read(y)))
			same(b, what+": lse", b.read(lse2), b.read(lse))
			dy := roundOf(b.normal(wide))
			var want, got []kernels.Buffer
			for _, n := range []int{wide, narrow, narrow} {
				want, got = append(want, zeros(n)), append(got, zeros(n))
			}
			b.train.AttentionBack(want[0], want[1], want[2], on(b, b.dev, dy), on(b, b.dev, b.read(short)), lse, q, k, v, runs, s)
			b.train.AttentionBack(got[0], got[1], got[2], b.brain(dy, offset), short, lse, q, k, v, runs, s)
			for i, name := range []string{"dq", "dk", "dv"} {
				same(b, what+": "+name, b.read(got[i]), b.read(want[i]))
			}
		}
	}
}
