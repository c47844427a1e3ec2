package cpu

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/evalrun/evalrun/kernels"
	"github.com/evalrun/evalrun/kernels/format"
)

// The outline counts what operations take, to the byte.
func TestOutlineCounts(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 11))
	for round := range 300 {
		d, err := New(Options{Threads: 1, PackLimit: []int64{-1, 1 << 12, 0}[r.IntN(3)]})
		if err != nil {
			t.Fatal(err)
		}
		n, k, rows, rank := 1+r.IntN(200), 1+r.IntN(300), 1+r.IntN(700), 1+r.IntN(20)
		w := kernels.Weight{Name: "w", Type: format.BF16, N: n, K: k, Data: make([]byte, 2*n*k)}
		switch r.IntN(4) {
		case 0:
			w.Type, w.Data = format.F32, make([]byte, 4*n*k)
		case 1:
			k = 256 * (1 + r.IntN(2))
			bytes, _ := format.Q4_K.Bytes(int64(n * k))
			w = kernels.Weight{Name: "w", Type: format.Q4_K, N: n, K: k, Data: make([]byte, bytes)}
		case 2:
			q, err := format.Quantize(format.NF4, 64, n*k, format.F32, func(dst []float32, _ int) { clear(dst) })
			if err != nil {
				t.Fatal(err)
			}
			q.Double()
			w = kernels.Weight{Name: "w", N: n, K: k, Quant: q}
		}
		rank, dim := min(rank, n), 2*(1+r.IntN(40))
		s := kernels.AttentionShape{KVHeads: 1 + r.IntN(3), Dim: dim}
		s.Heads = s.KVHeads * (1 + r.IntN(4))
		var runs []kernels.Run
		tokens := 0
		for range 1 + r.IntN(4) {
			run := kernels.Run{Row: tokens, N: r.IntN(90)}
			runs, tokens = append(runs, run), tokens+run.N
		}
		run := func(dev kernels.TrainDevice, op int) string {
			alloc := func(n int) kernels.Buffer {
				b, err := dev.Alloc(format.F32, n)
				if err != nil {
					t.Fatal(err)
				}
				return b
			}
			weight := func() kernels.Prepared {
				p, err := dev.Prepare(w, kernels.ForMatMul)
				if err != nil {
					t.Fatal(err)
				}
				return p
			}
			pair := func() (l kernels.LowRank) {
				l.A, _ = dev.PrepareTrained(alloc(rank*k), rank, k, kernels.ForMatMul)
				l.B, _ = dev.PrepareTrained(alloc(n*rank), n, rank, kernels.ForMatMul)
				return l
			}
			x, y := alloc(rows*k), alloc(rows*n)
			switch op {
			case 0:
				dev.MatMul(y, x, rows, weight(), kernels.Store)
				return "MatMul"
			case 1:
				dev.MatMul(y, x, rows, weight(), kernels.Add)
				return "MatMul, added"
			case 2:
				dev.LoRA(y, x, []kernels.Segment{{N: rows, LowRank: pair()}})
				return "LoRA"
			case 3:
				dev.RowNorms(alloc(n), weight(), pair())
				return "RowNorms"
			case 4:
				dev.MatMulBack(x, y, rows, weight(), kernels.Add)
				return "MatMulBack"
			case 5:
				dev.WeightGrad(alloc(n*k), y, x, rows, n, k)
				return "WeightGrad"
			case 6:
				dev.ColumnDots(alloc(n), y, nil, rows)
				return "ColumnDots"
			case 7:
				dev.LayerNormBack(x, alloc(k), alloc(k), x, alloc(rows*k), alloc(k), rows, 1e-5, kernels.Store)
				return "LayerNormBack"
			case 8:
				dev.RMSNormBack(x, nil, x, alloc(rows*k), alloc(k), rows, 1e-5, kernels.Add)
				return "RMSNormBack"
			case 9:
				dev.RopeBack(alloc(rows*dim), 1, dim, alloc(dim/2), alloc(dim/2), dim/2, make([]int32, rows), kernels.RopeHalves)
				return "RopeBack"
			case 10:
				dev.CrossEntropy(alloc(rows), x, x, k, make([]int32, rows), make([]float32, rows))
				return "CrossEntropy"
			case 12:
				dev.Gate(x, x, alloc(rows*k), rows*k, kernels.GELUTanh)
				return "Gate"
			case 13:
				dev.ActivateBack(x, x, alloc(rows*k), rows*k, kernels.SiLU)
				return "ActivateBack"
			case 11:
				wide, narrow := tokens*s.Heads*dim, tokens*s.KVHeads*dim
				dev.AttentionTrain(alloc(wide), alloc(tokens*s.Heads), alloc(wide), alloc(narrow), alloc(narrow), runs, s)
				return "AttentionTrain"
			default:
				wide, narrow := tokens*s.Heads*dim, tokens*s.KVHeads*dim
				dev.AttentionBack(alloc(wide), alloc(narrow), alloc(narrow), alloc(wide), alloc(wide), alloc(tokens*s.Heads), alloc(wide), alloc(narrow), alloc(narrow), runs, s)
				return "AttentionBack"
			}
		}
		op := round % 15
		o := d.Outline().(*outline)
		name := run(d, op)
		run(o, op)
		if got, want := d.Scratch(), o.scratch(); got != want {
			t.Errorf("%s: %d bytes were taken, %d counted (%s)", name, got, want, fmt.Sprint(w.FormatName(), n, k, rows, rank, s, runs))
		}
		// What is reserved is enough, and never grows.
		again, _ := New(Options{Threads: 1, PackLimit: d.packLimit})
		if err := again.Reserve(o); err != nil {
			t.Fatal(err)
		}
		reserved := again.Scratch()
		if run(again, op); again.Scratch() != reserved || reserved != o.scratch() {
			t.Errorf("%s: %d bytes reserved, then %d; %d counted", name, reserved, again.Scratch(), o.scratch())
		}
		again.Close()
		d.Close()
	}
}
