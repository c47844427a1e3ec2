package kerneltest

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/evalrun/evalrun/kernels"
	"github.com/evalrun/evalrun/kernels/format"
	"github.com/evalrun/evalrun/kernels/ref"
)

// RunTrain compares the operations of training with ref in float64 on random
// shapes. Ref itself is held to finite differences by its own tests; see
// Gradients.
func RunTrain(t *testing.T, dev kernels.TrainDevice) {
	for _, c := range []struct {
		name string
		test func(trainBench)
	}{
		{"MatMulBack", matmulBack}, {"WeightGrad", weightGrad}, {"Trained", trained}, {"ColumnDots", columnDots},
		{"NormBack", normBack}, {"RopeBack", ropeBack}, {"ActivationBack", activationBack}, {"Moves", moves},
		{"AttentionTrain", attentionTrain}, {"CrossEntropy", crossEntropy}, {"Adam", adam}, {"AdamAll", adamAll}, {"SumSquares", sumSquares}, {"Dropout", dropout}, {"Pairs", pairs}, {"PairsTogether", pairsTogether},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.test(trainBench{bench{t, dev, ref.New64(), rand.New(rand.NewPCG(8, uint64(len(c.name))))}})
		})
	}
}

type trainBench struct{ bench }

// both compares what f leaves in a buffer of n values that begins as start.
func (b trainBench) both(what string, n int, tolerance float64, start []float32, f func(dev kernels.TrainDevice, dst kernels.Buffer)) {
	b.Helper()
	b.bench.both(what, n, tolerance, start, func(dev kernels.Device, dst kernels.Buffer) { f(dev.(kernels.TrainDevice), dst) })
}

var epilogues = []kernels.Epilogue{kernels.Store, kernels.Add}

func matmulBack(b trainBench) {
	for _, l := range layouts {
		for _, s := range [][3]int{{1, 1, 32}, {3, 17, 64}, {7, 70, 96}, {100, 33, 160}, {2, 1100, 48}} {
			m, n, k := s[0], s[1], (s[2]+l.rows-1)/l.rows*l.rows
			if l.rows == 1 {
				k -= s[0] % 5 // rows of any length
			}
			w, dy, start := l.make(b.bench, n, k), b.normal(m*n), b.normal(m*k)
			for _, e := range epilogues {
				b.both(fmt.Sprintf("%s [%d, %d] x [%d, %d], epilogue %d", l.name, m, n, n, k, e), m*k, 1e-4, start, func(dev kernels.TrainDevice, dst kernels.Buffer) {
					dev.MatMulBack(dst, on(b, dev, dy), m, prepare(b, dev, w, kernels.ForMatMul), e)
				})
			}
		}
	}
}

func weightGrad(b trainBench) {
	for _, s := range [][3]int{{1, 1, 1}, {5, 8, 67}, {7, 100, 16}, {513, 49, 33}, {1200, 8, 530}, {64, 130, 600}} {
		m, n, k := s[0], s[1], s[2]
		dy, x, start := b.normal(m*n), b.normal(m*k), b.normal(n*k)
		b.both(fmt.Sprint(s), n*k, 1e-4, start, func(dev kernels.TrainDevice, dst kernels.Buffer) {
			dev.WeightGrad(dst, on(b, dev, dy), on(b, dev, x), m, n, k)
		})
	}
}

// trained: a weight that changes is multiplied with as it is after Refresh, in
// both directions, and looked up.
func trained(b trainBench) {
	const m, n, k = 5, 21, 37
	first, second, x, dy := b.normal(n*k), b.normal(n*k), b.normal(m*k), b.normal(m*n)
	use := func(dev kernels.TrainDevice, op func(p kernels.Prepared)) {
		values := on(b, dev, first)
		p, err := dev.PrepareTrained(values, n, k, kernels.ForMatMul|kernels.ForEmbed)
		if err != nil {
			b.Fatal(err)
		}
		dev.Write(values, second)
		dev.Refresh(p)
		op(p)
	}
	b.both("MatMul", m*n, 1e-4, nil, func(dev kernels.TrainDevice, dst kernels.Buffer) {
		use(dev, func(p kernels.Prepared) { dev.MatMul(dst, on(b, dev, x), m, p, kernels.Store) })
	})
	b.both("MatMulBack", m*k, 1e-4, nil, func(dev kernels.TrainDevice, dst kernels.Buffer) {
		use(dev, func(p kernels.Prepared) { dev.MatMulBack(dst, on(b, dev, dy), m, p, kernels.Store) })
	})
	b.both("Embed", 2*k, 0, nil, func(dev kernels.TrainDevice, dst kernels.Buffer) {
		use(dev, func(p kernels.Prepared) { dev.Embed(dst, p, []int32{20, 3}) })
	})
	b.both("RowNorms", n, 1e-5, nil, func(dev kernels.TrainDevice, dst kernels.Buffer) {
		use(dev, func(p kernels.Prepared) { dev.RowNorms(dst, p, kernels.LowRank{}) })
	})
	if _, err := b.dev.(kernels.TrainDevice).PrepareTrained(on(b, b.dev, first), n+1, k, kernels.ForMatMul); err == nil {
		b.Error("a weight larger than its buffer was prepared")
	}
}

func columnDots(b trainBench) {
	for _, s := range [][2]int{{1, 1}, {40, 67}, {1100, 300}} {
		rows, c := s[0], s[1]
		x, y, start := b.normal(rows*c), b.normal(rows*c), b.normal(c)
		b.both(fmt.Sprint(s), c, 1e-4, start, func(dev kernels.TrainDevice, dst kernels.Buffer) {
			dev.ColumnDots(dst, on(b, dev, x), on(b, dev, y), rows)
		})
		b.both(fmt.Sprint(s, " alone"), c, 1e-4, start, func(dev kernels.TrainDevice, dst kernels.Buffer) {
			dev.ColumnDots(dst, on(b, dev, x), nil, rows)
		})
	}
}

func normBack(b trainBench) {
	for _, s := range [][2]int{{1, 2}, {3, 7}, {40, 67}, {1030, 48}, {9, 1001}} {
		rows, c := s[0], s[1]
		x, w, dy, start := b.normal(rows*c), b.normal(c), b.normal(rows*c), b.normal(rows*c)
		for i := range x {
			x[i] += 0.5
		}
		for _, layer := range []bool{false, true} {
			for _, e := range epilogues {
				run := func(dev kernels.TrainDevice, dx, dw, db, dy kernels.Buffer) {
					if layer {
						dev.LayerNormBack(dx, dw, db, dy, on(b, dev, x), on(b, dev, w), rows, 1e-3, e)
					} else {
						dev.RMSNormBack(dx, dw, dy, on(b, dev, x), on(b, dev, w), rows, 1e-3, e)
					}
				}
				what := fmt.Sprintf("%v, layer %v, epilogue %d", s, layer, e)
				b.both(what+", dx", rows*c, 1e-4, start, func(dev kernels.TrainDevice, dst kernels.Buffer) { run(dev, dst, nil, nil, on(b, dev, dy)) })
				b.both(what+", dweight", c, 1e-4, start[:c], func(dev kernels.TrainDevice, dst kernels.Buffer) {
					g := on(b, dev, dy)
					if e == kernels.Store {
						run(dev, g, dst, nil, g) // dx in place of dy
						return
					}
					run(dev, on(b, dev, start), dst, nil, g)
				})
				if layer {
					b.both(what+", dbias", c, 1e-4, start[:c], func(dev kernels.TrainDevice, dst kernels.Buffer) {
						run(dev, on(b, dev, start), nil, dst, on(b, dev, dy))
					})
				}
			}
		}
	}
}

func ropeBack(b trainBench) {
	for _, style := range []kernels.RopeStyle{kernels.RopeHalves, kernels.RopePairs} {
		pos := []int32{0, 3, 19, 2}
		const heads, dim, half = 3, 10, 4
		x, cos, sin := b.normal(len(pos)*heads*dim), b.normal(20*half), b.normal(20*half)
		b.both(fmt.Sprint(style), len(x), 1e-5, x, func(dev kernels.TrainDevice, dst kernels.Buffer) {
			dev.RopeBack(dst, heads, dim, on(b, dev, cos), on(b, dev, sin), half, pos, style)
		})
	}
}

func activationBack(b trainBench) {
	for _, n := range []int{1, 7, 67, 300, 20001} {
		x, up, dy := b.normal(n), b.normal(n), b.normal(n)
		for i := range x {
			x[i] *= [...]float32{1, 0.01, 4, 10}[i%4]
		}
		x[0] = [...]float32{-500, 500, 0, 88.5, -88.5}[n%5]
		for a, name := range activationNames {
			what := fmt.Sprintf("%s of %d", name, n)
			b.both(what, n, 3e-6, x, func(dev kernels.TrainDevice, dst kernels.Buffer) { dev.ActivateBack(dst, on(b, dev, dy), dst, n, a) })
			b.both(what+", dgate", n, 1e-5, x, func(dev kernels.TrainDevice, dst kernels.Buffer) {
				u := on(b, dev, up)
				dev.GateBack(dst, u, on(b, dev, dy), dst, u, n, a)
			})
			b.both(what+", dup", n, 1e-5, dy, func(dev kernels.TrainDevice, dst kernels.Buffer) {
				g := on(b, dev, x)
				dev.GateBack(g, dst, dst, g, on(b, dev, up), n, a)
			})
		}
		b.both(fmt.Sprintf("SoftCap of %d", n), n, 3e-6, x, func(dev kernels.TrainDevice, dst kernels.Buffer) {
			dev.SoftCapBack(dst, on(b, dev, dy), dst, n, 5)
		})
	}
}

func moves(b trainBench) {
	x, start := b.normal(4*300), b.normal(7*300)
	b.both("Scatter", len(start), 1e-6, start, func(dev kernels.TrainDevice, dst kernels.Buffer) {
		dev.Scatter(dst, on(b, dev, x), []int32{6, 0, 3, 6}, 300)
	})
	b.both("PutColumns", 3*20, 0, start[:60], func(dev kernels.TrainDevice, dst kernels.Buffer) {
		dev.PutColumns(dst, on(b, dev, x[:21]), 3, 20, 11, 7)
	})
	b.both("Divide", 300, 1e-6, x[:300], func(dev kernels.TrainDevice, dst kernels.Buffer) { dev.Divide(dst, dst, on(b, dev, start[:300]), 300) })
	b.both("Fill", 9, 0, x[:9], func(dev kernels.TrainDevice, dst kernels.Buffer) { dev.Fill(dst, 8, -1.5) })
}

// packed is a random packed batch for a layer of shape s.
type packed struct {
	kernels.AttentionShape
	rows         int
	runs         []kernels.Run
	q, k, v, dy  []float32
	wide, narrow int
}

func (b trainBench) packed(s shape, lengths ...int) packed {
	p := packed{AttentionShape: kernels.AttentionShape{Heads: s.heads, KVHeads: s.kvHeads, Dim: s.dim, AttentionOptions: s.options()}}
	for _, n := range lengths {
		p.runs = append(p.runs, kernels.Run{Row: p.rows, N: n})
		p.rows += n
	}
	p.wide, p.narrow = p.rows*s.heads*s.dim, p.rows*s.kvHeads*s.dim
	p.q, p.k, p.v, p.dy = b.normal(p.wide), b.normal(p.narrow), b.normal(p.narrow), b.normal(p.wide)
	return p
}

// forward gives y and lse on a device.
func (p packed) forward(b trainBench, dev kernels.TrainDevice) (y, lse kernels.Buffer) {
	y, lse = on(b, dev, make([]float32, p.wide)), on(b, dev, make([]float32, p.rows*p.Heads))
	dev.AttentionTrain(y, lse, on(b, dev, p.q), on(b, dev, p.k), on(b, dev, p.v), p.runs, p.AttentionShape)
	return y, lse
}

func (p packed) back(b trainBench, dev kernels.TrainDevice, which int, dst kernels.Buffer) {
	y, lse := p.forward(b, dev)
	grads := []kernels.Buffer{on(b, dev, make([]float32, p.wide)), on(b, dev, make([]float32, p.narrow)), on(b, dev, make([]float32, p.narrow))}
	grads[which] = dst
	dev.AttentionBack(grads[0], grads[1], grads[2], on(b, dev, p.dy), y, lse, on(b, dev, p.q), on(b, dev, p.k), on(b, dev, p.v), p.runs, p.AttentionShape)
}

func attentionTrain(b trainBench) {
	for _, s := range attentionShapes {
		p := b.packed(s, 1, 0, 31, 70, 32)
		what := fmt.Sprintf("%+v", s)
		b.both(what, p.wide, 1e-5, nil, func(dev kernels.TrainDevice, dst kernels.Buffer) {
			dev.AttentionTrain(dst, on(b, dev, make([]float32, p.rows*p.Heads)), on(b, dev, p.q), on(b, dev, p.k), on(b, dev, p.v), p.runs, p.AttentionShape)
		})
		b.both(what+", lse", p.rows*p.Heads, 1e-5, nil, func(dev kernels.TrainDevice, dst kernels.Buffer) {
			_, lse := p.forward(b, dev)
			dev.Scale(dst, lse, p.rows*p.Heads, 1)
		})
		for which, name := range []string{"dq", "dk", "dv"} {
			n := p.narrow
			if which == 0 {
				n = p.wide
			}
			b.both(what+", "+name, n, 3e-5, nil, func(dev kernels.TrainDevice, dst kernels.Buffer) { p.back(b, dev, which, dst) })
		}
		// The bits are those of pages.
		seq := sequence{p.q[p.wide/p.rows*p.runs[3].Row:], p.k[p.narrow/p.rows*p.runs[3].Row:], p.v[p.narrow/p.rows*p.runs[3].Row:], p.runs[3].N, []int32{2, 0, 1}}
		y, _ := p.forward(b, b.dev.(kernels.TrainDevice))
		all := make([]float32, p.wide)
		b.dev.Read(all, y)
		from := p.wide / p.rows * p.runs[3].Row
		want := attend(b.bench, b.dev, s, []sequence{seq}, 3, [][]piece{{{0, 0, seq.n}}})[0]
		same(b, what+", packed and in pages", all[from:from+len(want)], want)
	}
}

func crossEntropy(b trainBench) {
	for _, vocab := range []int{1, 2, 67, 1001, 32003} {
		const rows = 5
		logits := b.normal(rows * vocab)
		for i := range logits {
			logits[i] *= 8
		}
		labels, weights := make([]int32, rows), b.normal(rows)
		for i := range labels {
			labels[i] = int32(b.rand.IntN(vocab))
		}
		b.both(fmt.Sprintf("loss of %d", vocab), rows, 2e-6, nil, func(dev kernels.TrainDevice, dst kernels.Buffer) {
			dev.CrossEntropy(dst, nil, on(b, dev, logits), vocab, labels, nil)
		})
		b.both(fmt.Sprintf("dlogits of %d", vocab), rows*vocab, 2e-6, logits, func(dev kernels.TrainDevice, dst kernels.Buffer) {
			dev.CrossEntropy(on(b, dev, make([]float32, rows)), dst, dst, vocab, labels, weights)
		})
	}
}

func adam(b trainBench) {
	for _, decay := range []kernels.Decay{kernels.DecayBefore, kernels.DecayAfter, kernels.DecayInGradient} {
		for _, n := range []int{1, 67, 20001} {
			p, m, v := b.normal(n), make([]float32, n), make([]float32, n)
			var grads [][]float32
			for range 5 {
				grads = append(grads, b.normal(n))
			}
			for which := range 3 {
				b.both(fmt.Sprintf("%d values, decay %d, buffer %d", n, decay, which), n, 2e-6, [][]float32{p, m, v}[which], func(dev kernels.TrainDevice, dst kernels.Buffer) {
					buffers := []kernels.Buffer{on(b, dev, p), on(b, dev, m), on(b, dev, v)}
					buffers[which] = dst
					for i, g := range grads {
						dev.Adam(buffers[0], on(b, dev, g), buffers[1], buffers[2], n, kernels.AdamOptions{
							LR: 0.01, Beta1: 0.9, Beta2: 0.999, Eps: 1e-8, WeightDecay: 0.1, Decay: decay, Step: i + 1, GradScale: 0.5})
					}
				})
			}
		}
	}
}

// adamAll: many at once have the bits of one after another, and no gradients after it.
func adamAll(b trainBench) {
	dev := b.dev.(kernels.TrainDevice)
	o := kernels.AdamOptions{LR: 0.01, Beta1: 0.9, Beta2: 0.999, Eps: 1e-8, WeightDecay: 0.1, Step: 3, GradScale: 0.5}
	var apart, all []kernels.AdamParameter
	for _, n := range []int{5, 4096, 0, 4097, 1, 12000} {
		values := [][]float32{b.normal(n), b.normal(n), b.normal(n), make([]float32, n)}
		load := func() kernels.AdamParameter {
			return kernels.AdamParameter{P: on(b, dev, values[0]), G: on(b, dev, values[1]), M: on(b, dev, values[2]), V: on(b, dev, values[3]), N: n}
		}
		apart, all = append(apart, load()), append(all, load())
	}
	for _, p := range apart {
		dev.Adam(p.P, p.G, p.M, p.V, p.N, o)
		dev.Fill(p.G, p.N, 0)
	}
	kernels.AdamAll(dev, all, o)
	read := func(x kernels.Buffer) []float32 {
		out := make([]float32, x.Len())
		dev.Read(out, x)
		return out
	}
	for i, p := range apart {
		for j, x := range []kernels.Buffer{p.P, p.G, p.M, p.V} {
			same(b, fmt.Sprintf("buffer %d of %d values", j, p.N), read([]kernels.Buffer{all[i].P, all[i].G, all[i].M, all[i].V}[j]), read(x))
		}
	}
}

func sumSquares(b trainBench) {
	var mine, theirs []kernels.Buffer
	sizes := []int{1, 4096, 0, 4097, 50000, 9000}
	for _, n := range sizes {
		x := b.normal(n)
		if n == 9000 {
			x[8999] = float32(math.Inf(1))
		}
		mine, theirs = append(mine, on(b, b.dev, x)), append(theirs, on(b, b.ref, x))
	}
	got, want := b.dev.(kernels.TrainDevice).SumSquares(mine...), b.ref.(kernels.TrainDevice).SumSquares(theirs...)
	for i := range sizes[:5] {
		if !(math.Abs(got[i]-want[i]) <= 1e-6*want[i]) {
			b.Fatalf("%d values: %g, want %g", sizes[i], got[i], want[i])
		}
	}
	if !math.IsInf(got[5], 1) {
		b.Fatalf("an infinite value has the sum %g", got[5])
	}
}

func dropout(b trainBench) {
	for _, cols := range []int{1, 3, 8, 301} {
		const rows = 40
		x, start := b.normal(rows*cols), b.normal(rows*cols)
		d := kernels.Dropping{P: 0.3, Seed: 77, Stream: 5}
		for t := range rows {
			d.Rows = append(d.Rows, uint64(t)<<32|uint64(t*t))
		}
		for _, e := range epilogues {
			b.both(fmt.Sprintf("%d columns, epilogue %d", cols, e), rows*cols, 1e-6, start, func(dev kernels.TrainDevice, dst kernels.Buffer) {
				dev.Dropout(dst, on(b, dev, x), cols, d, e)
			})
		}
	}
	// About P of the values go, others with another stream, none with P 0.
	const n = 30000
	ones := make([]float32, n)
	for i := range ones {
		ones[i] = 1
	}
	drop := func(d kernels.Dropping) (kept []float32) {
		dst, whole := output(b, b.dev, n, nil)
		b.dev.(kernels.TrainDevice).Dropout(dst, on(b, b.dev, ones), n, d, kernels.Store)
		return result(b, b.dev, whole)
	}
	one := kernels.Dropping{P: 0.05, Seed: 1, Rows: []uint64{9}}
	first := drop(one)
	var zeros, differ int
	one.Stream = 1
	second := drop(one)
	for i, v := range first {
		if v == 0 {
			zeros++
		}
		if (v == 0) != (second[i] == 0) {
			differ++
		}
	}
	if share := float64(zeros) / n; math.Abs(share-0.05) > 0.006 || math.Abs(float64(differ)/n-2*0.05*0.95) > 0.01 {
		b.Fatalf("%g of the values are dropped, %d change with the stream", share, differ)
	}
	one.P = 0
	same(b, "P 0", drop(one), ones)
}

// SameBitsTrain checks that the operations of training give the same bits with
// one thread and with two, and a run of tokens the same alone and among others.
func SameBitsTrain(t *testing.T, open func(threads int) kernels.TrainDevice) {
	one, two := open(1), open(2)
	defer one.Close()
	defer two.Close()
	b := trainBench{bench{t, one, two, rand.New(rand.NewPCG(5, 6))}}
	const rows, n, k = 1100, 130, 200
	dy, x, back := b.normal(rows*n), b.normal(rows*k), b.normal(rows*k)
	w, norm := quantised("NF4", format.NF4, format.F32, true).make(b.bench, n, k), b.normal(k)
	p := b.packed(shape{4, 2, 20, 40, 3}, 300, 7, 90)
	logits := b.normal(50 * 3001)
	ops := map[string]func(dev kernels.TrainDevice) []float32{
		"MatMulBack": func(dev kernels.TrainDevice) []float32 {
			dst, whole := output(t, dev, rows*k, nil)
			dev.MatMulBack(dst, on(t, dev, dy), rows, prepare(t, dev, w, kernels.ForMatMul), kernels.Store)
			return result(t, dev, whole)
		},
		"WeightGrad": func(dev kernels.TrainDevice) []float32 {
			dst, whole := output(t, dev, n*k, nil)
			dev.WeightGrad(dst, on(t, dev, dy), on(t, dev, x), rows, n, k)
			return result(t, dev, whole)
		},
		"LayerNormBack": func(dev kernels.TrainDevice) []float32 {
			dst, whole := output(t, dev, k, nil)
			dx, wholeX := output(t, dev, rows*k, nil)
			dev.LayerNormBack(dx, dst, nil, on(t, dev, back), on(t, dev, x), on(t, dev, norm), rows, 1e-5, kernels.Store)
			return append(result(t, dev, whole), result(t, dev, wholeX)...)
		},
		"AttentionBack": func(dev kernels.TrainDevice) (all []float32) {
			for which, size := range []int{p.wide, p.narrow, p.narrow} {
				dst, whole := output(t, dev, size, nil)
				p.back(b, dev, which, dst)
				all = append(all, result(t, dev, whole)...)
			}
			return all
		},
		"CrossEntropy": func(dev kernels.TrainDevice) []float32 {
			dst, whole := output(t, dev, len(logits), logits)
			loss := on(t, dev, make([]float32, 50))
			dev.CrossEntropy(loss, dst, dst, 3001, make([]int32, 50), make([]float32, 50))
			return result(t, dev, whole)
		},
		"SumSquares": func(dev kernels.TrainDevice) []float32 {
			s := dev.SumSquares(on(t, dev, dy))[0]
			return []float32{float32(s), float32(s - float64(float32(s)))}
		},
	}
	for name, op := range ops {
		t.Run(name, func(t *testing.T) { same(t, "2 threads", op(two), op(one)) })
	}
	t.Run("Pair", func(t *testing.T) { trainBench{bench{t, one, two, rand.New(rand.NewPCG(7, 7))}}.pairAlone() })
	t.Run("Run", func(t *testing.T) {
		alone := p
		alone.rows, alone.runs = 7, []kernels.Run{{Row: 0, N: 7}}
		alone.wide, alone.narrow = p.wide/p.rows*7, p.narrow/p.rows*7
		from := p.runs[1].Row
		cut := func(x []float32, width int) []float32 { return x[from*width : (from+7)*width] }
		wide, narrow := p.wide/p.rows, p.narrow/p.rows
		alone.q, alone.k, alone.v, alone.dy = cut(p.q, wide), cut(p.k, narrow), cut(p.v, narrow), cut(p.dy, wide)
		for which, width := range []int{wide, narrow, narrow} {
			dst, whole := output(t, one, p.rows*width, nil)
			p.back(b, one, which, dst)
			dst2, whole2 := output(t, one, 7*width, nil)
			alone.back(b, one, which, dst2)
			same(t, fmt.Sprintf("gradient %d of a run alone", which), result(t, one, whole2), cut(result(t, one, whole), width))
		}
	})
}
