package kerneltest

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/evalrun/evalrun/kernels"
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
	t.Run("Attention", func(t *testing.T) { b.T = t; attentionBits(b, two) })
}

func product(b bench, dev kernels.Device, w kernels.Weight, x []float32, rows int) []float32 {
	b.Helper()
	dst, whole := output(b, dev, rows*w.N, nil)
	dev.MatMul(dst, on(b, dev, x), rows, prepare(b, dev, w, kernels.ForMatMul), kernels.Store)
	return result(b, dev, whole)
}

func matmulBits(b bench, two kernels.Device) {
	for _, s := range [][3]int{{7, 48, 64}, {41, 130, 256}, {100, 515, 96}} {
		m, n, k := s[0], s[1], s[2]
		for _, typ := range weightTypes {
			w, x := b.weight(typ, n, k), b.normal(m*k)
			all := product(b, b.dev, w, x, m)
			same(b, fmt.Sprintf("%v %v, 2 threads", typ, s), product(b, two, w, x, m), all)
			for _, rows := range []int{1, 2, 3, 4, 5, 6, 7} {
				from := b.rand.IntN(m - rows + 1)
				part := product(b, two, w, x[from*k:(from+rows)*k], rows)
				same(b, fmt.Sprintf("%v %v, rows %d+%d", typ, s, from, rows), part, all[from*n:(from+rows)*n])
			}
		}
	}
}

func rowWiseBits(b bench, two kernels.Device) {
	const rows, c = 90, 259
	x, w, up := b.normal(rows*c), b.normal(c), b.normal(rows*c)
	run := func(dev kernels.Device, from, to int) (norm, glu []float32) {
		n := (to - from) * c
		dst, whole := output(b, dev, n, nil)
		dev.RMSNorm(dst, on(b, dev, x[from*c:to*c]), on(b, dev, w), to-from, 1e-5)
		norm = result(b, dev, whole)
		dst, whole = output(b, dev, n, nil)
		dev.SwiGLU(dst, on(b, dev, x[from*c:to*c]), on(b, dev, up[from*c:to*c]), n)
		return norm, result(b, dev, whole)
	}
	norm, glu := run(b.dev, 0, rows)
	norm2, glu2 := run(two, 0, rows)
	same(b, "RMSNorm, 2 threads", norm2, norm)
	same(b, "SwiGLU, 2 threads", glu2, glu)
	for from := 0; from < rows; from += 17 {
		n, g := run(two, from, from+1)
		same(b, "RMSNorm of one row", n, norm[from*c:(from+1)*c])
		same(b, "SwiGLU of one row", g, glu[from*c:(from+1)*c])
	}
	gate := on(b, b.dev, []float32{1, -2, 3, -4, 5, -6, 7, -8, 9})
	dst, whole := output(b, b.dev, 9, nil)
	b.dev.SwiGLU(dst, gate, gate, 9)
	want := result(b, b.dev, whole)
	for i := range want { // a value's place in a vector does not matter
		dst, whole := output(b, b.dev, 1, nil)
		b.dev.SwiGLU(dst, gate.Slice(i, i+1), gate.Slice(i, i+1), 1)
		same(b, "SwiGLU of one value", result(b, b.dev, whole), want[i:i+1])
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
