package kerneltest

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/evalrun/evalrun/kernels"
	"github.com/evalrun/evalrun/kernels/format"
)

// SameBits checks the device's promise: results do not depend on the number of
// threads, on the neighbours in a batch or on how a prompt is cut. open gives
// a device of so many threads; SameBits closes it.
func SameBits(t *testing.T, open func(threads int) kernels.Device) {
	one, two := open(1), open(2)
	defer one.Close()
	defer two.Close()
	b := bench{t, one, two, rand.New(rand.NewPCG(3, 4))}
	t.Run("MatMul", func(t *testing.T) { b.T = t; matmulBits(b, two) })
	t.Run("RowWise", func(t *testing.T) { b.T = t; rowWiseBits(b, two) })
	t.Run("LoRA", func(t *testing.T) { b.T = t; loraBits(b, two) })
	t.Run("Attention", func(t *testing.T) { b.T = t; attentionBits(b, two) })
}

func product(b bench, dev kernels.Device, w kernels.Weight, x []float32, rows int) []float32 {
	b.Helper()
	dst, whole := output(b, dev, rows*w.N, nil)
	dev.MatMul(dst, on(b, dev, x), rows, prepare(b, dev, w, kernels.ForMatMul), kernels.Store)
	return result(b, dev, whole)
}

func matmulBits(b bench, two kernels.Device) {
	for _, s := range [][3]int{{7, 48, 64}, {41, 130, 256}, {100, 515, 96}, {70, 96, 384}} {
		m, n, k := s[0], s[1], s[2]
		for _, l := range layouts {
			k := (k + l.rows - 1) / l.rows * l.rows
			w, x := l.make(b, n, k), b.normal(m*k)
			all := product(b, b.dev, w, x, m)
			same(b, fmt.Sprintf("%s %v, 2 threads", l.name, s), product(b, two, w, x, m), all)
			for _, rows := range []int{1, 2, 3, 4, 5, 6, 7} {
				from := b.rand.IntN(m - rows + 1)
				part := product(b, two, w, x[from*k:(from+rows)*k], rows)
				same(b, fmt.Sprintf("%s %v, rows %d+%d", l.name, s, from, rows), part, all[from*n:(from+rows)*n])
			}
		}
	}
}

// OneOrder checks a device whose sums have one order whatever the format of a
// weight: codes give the bits that their values in float32 give.
func OneOrder(t *testing.T, dev kernels.Device) {
	b := bench{t, dev, dev, rand.New(rand.NewPCG(3, 4))}
	for _, s := range [][3]int{{7, 48, 64}, {41, 130, 256}, {100, 515, 96}} {
		m, n, k := s[0], s[1], s[2]
		for _, l := range layouts {
			k := (k + l.rows - 1) / l.rows * l.rows
			w, x := l.make(b, n, k), b.normal(m*k)
			if w.Quant == nil {
				continue
			}
			plain := kernels.Weight{Name: "w", Type: format.F32, N: n, K: k, Data: make([]byte, 4*n*k)}
			values := make([]float32, n*k)
			w.Decode(values, 0)
			format.F32.Encode(plain.Data, values)
			same(b, fmt.Sprint(l.name, " ", s, " against F32"), product(b, dev, w, x, m), product(b, dev, plain, x, m))
		}
	}
}

// rowWiseBits: a row has the same bits alone and among others.
func rowWiseBits(b bench, two kernels.Device) {
	const rows, c = 90, 259
	x, w, bias, up := b.normal(rows*c), b.normal(c), b.normal(c), b.normal(rows*c)
	ops := map[string]func(dev kernels.Device, dst, x, up kernels.Buffer, rows int){
		"RMSNorm": func(dev kernels.Device, dst, x, _ kernels.Buffer, rows int) {
			dev.RMSNorm(dst, x, on(b, dev, w), rows, 1e-5)
		},
		"LayerNorm": func(dev kernels.Device, dst, x, _ kernels.Buffer, rows int) {
			dev.LayerNorm(dst, x, on(b, dev, w), on(b, dev, bias), rows, 1e-5)
		},
		"SoftCap": func(dev kernels.Device, dst, x, _ kernels.Buffer, rows int) { dev.SoftCap(dst, x, rows*c, 0.9) },
	}
	for a, name := range activationNames {
		ops[name] = func(dev kernels.Device, dst, x, up kernels.Buffer, rows int) { dev.Gate(dst, x, up, rows*c, a) }
	}
	for name, op := range ops {
		run := func(dev kernels.Device, from, to int) []float32 {
			dst, whole := output(b, dev, (to-from)*c, nil)
			op(dev, dst, on(b, dev, x[from*c:to*c]), on(b, dev, up[from*c:to*c]), to-from)
			return result(b, dev, whole)
		}
		all := run(b.dev, 0, rows)
		same(b, name+", 2 threads", run(two, 0, rows), all)
		for from := 0; from < rows; from += 17 {
			same(b, name+" of one row", run(two, from, from+1), all[from*c:(from+1)*c])
		}
	}
	for a, name := range activationNames { // a value's place in a vector does not matter
		gate := on(b, b.dev, []float32{1, -2, 3, -4, 5, -6, 7, -8, 9})
		dst, whole := output(b, b.dev, 9, nil)
		b.dev.Gate(dst, gate, gate, 9, a)
		want := result(b, b.dev, whole)
		for i := range want {
			dst, whole := output(b, b.dev, 1, nil)
			b.dev.Gate(dst, gate.Slice(i, i+1), gate.Slice(i, i+1), 1, a)
			same(b, name+" of one value", result(b, b.dev, whole), want[i:i+1])
		}
	}
}

// loraBits: a row's adapter gives the same bits in a segment of one row and of
// many, beside whatever other adapters.
func loraBits(b bench, two kernels.Device) {
	const rows, n, k = 43, 70, 96
	first, other := b.adapter(n, k, 8), b.adapter(n, k, 33)
	x, start := b.normal(rows*k), b.normal(rows*n)
	run := func(dev kernels.Device, cut ...int) []float32 {
		dst, whole := output(b, dev, rows*n, start)
		l, o := first.on(b, dev), other.on(b, dev)
		var segments []kernels.Segment
		from := 0
		for i, to := range cut {
			segments = append(segments, kernels.Segment{Row: from, N: to - from, LowRank: []kernels.LowRank{l, o}[i%2]})
			from = to
		}
		dev.LoRA(dst, on(b, dev, x), segments)
		return result(b, dev, whole)
	}
	all := run(b.dev, rows)
	same(b, "LoRA, 2 threads", run(two, rows), all)
	for _, to := range []int{1, 2, 7, 30} {
		part := run(two, to, to+5)
		same(b, fmt.Sprintf("LoRA of %d rows", to), part[:to*n], all[:to*n])
		same(b, "rows without an adapter", part[(to+5)*n:], start[(to+5)*n:])
	}
}

// attentionBits runs the same sequences whole, alone, token by token and in
// random pieces.
func attentionBits(b bench, two kernels.Device) {
	for _, s := range attentionShapes {
		seqs, pages := b.sequences(s, []int{5, 64, 101, 70})
		want := attend(b, b.dev, s, seqs, pages, wholeBatch(seqs))
		plans := map[string][][]piece{"2 threads": wholeBatch(seqs)}
		var alone, tokens, random [][]piece
		for i, q := range seqs {
			alone = append(alone, []piece{{i, 0, q.n}})
		}
		for t := range 101 {
			var batch []piece
			for i, q := range seqs {
				if t < q.n {
					batch = append(batch, piece{i, t, t + 1})
				}
			}
			tokens = append(tokens, batch)
		}
		at := make([]int, len(seqs))
		for left := true; left; {
			left = false
			var batch []piece
			for i, q := range seqs {
				n := min(q.n-at[i], b.rand.IntN(40))
				if n > 0 {
					batch = append(batch, piece{i, at[i], at[i] + n})
				}
				at[i] += n
				left = left || at[i] < q.n
			}
			random = append(random, batch)
		}
		plans["alone"], plans["token by token"], plans["random pieces"] = alone, tokens, random
		for name, batches := range plans {
			got := attend(b, two, s, seqs, pages, batches)
			for i := range got {
				same(b, fmt.Sprintf("%+v, %s, sequence %d", s, name, i), got[i], want[i])
			}
		}
	}
}
