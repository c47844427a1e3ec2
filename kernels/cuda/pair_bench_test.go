//go:build cuda

package cuda

import (
	"fmt"
	"testing"

	"github.com/evalrun/evalrun/kernels"
	"github.com/evalrun/evalrun/kernels/format"
)

// BenchmarkPair is what training a pair of rank 8 beside q and v of Mistral-7B takes,
// each beside the time that its wide operands take at the memory's bandwidth if each
// is read or written once. Buffers are taken in turn, so that no cache holds them.
func BenchmarkPair(b *testing.B) {
	d := openGPU(b)
	defer d.Close()
	const k, rank, copies = 4096, 8, 8
	buf := func(n int) kernels.Buffer {
		x, err := d.Alloc(format.F32, n)
		if err != nil {
			b.Fatal(err)
		}
		d.Fill(x, n, 0.01)
		return x
	}
	for _, rows := range []int{820, 3280} {
		var wides, others []kernels.Buffer
		for range copies {
			wides, others = append(wides, buf(rows*k)), append(others, buf(rows*k))
		}
		low, grad := buf(rows*rank), buf(rank*k)
		next := 0
		run := func(name string, bytes int, f func(x, y kernels.Buffer)) {
			b.Run(fmt.Sprintf("%d/%s", rows, name), func(b *testing.B) {
				t := measure(d, func() { f(wides[next%copies], others[next%copies]); next++ })
				b.ReportMetric(float64(t.Nanoseconds())/1000, "µs")
				b.ReportMetric(100*float64(bytes)/t.Seconds()/peakBytes, "%ofceiling")
			})
		}
		wide := 4 * rows * k
		p := func(n int) kernels.LowRank {
			a, err := d.PrepareTrained(buf(rank*k), rank, k, kernels.ForMatMul)
			if err != nil {
				b.Fatal(err)
			}
			w, err := d.PrepareTrained(buf(rank*n), n, rank, kernels.ForMatMul)
			if err != nil {
				b.Fatal(err)
			}
			return kernels.LowRank{A: a, B: w, Scale: 2}
		}
		drop := kernels.Dropping{P: 0.05, Seed: 3}
		for t := range rows {
			drop.Rows = append(drop.Rows, uint64(t))
		}
		for _, n := range []int{4096, 1024} {
			pair, gradB := p(n), grad.Slice(0, n*rank)
			out := 4 * rows * n
			run(fmt.Sprint("Forward of ", n), wide+2*out, func(x, y kernels.Buffer) {
				d.PairsForward(x, rows, []kernels.TrainedPair{{LowRank: pair, Dropping: drop, Y: y, Low: low}})
			})
			run(fmt.Sprint("Back of ", n), 3*wide+out, func(x, y kernels.Buffer) {
				d.PairsBack(wides[(next+1)%copies], x, rows, []kernels.TrainedPair{{LowRank: pair, Dropping: drop, Y: y, Low: low, GradA: grad, GradB: gradB}})
			})
			run(fmt.Sprint("Back of ", n, " without dx"), wide+out, func(x, y kernels.Buffer) {
				d.PairsBack(nil, x, rows, []kernels.TrainedPair{{LowRank: pair, Dropping: drop, Y: y, Low: low, GradA: grad, GradB: gradB}})
			})
		}
		q, v := p(k), p(1024)
		low2, grad2, gradQ, gradV := buf(rows*rank), buf(rank*k), buf(k*rank), buf(1024*rank)
		both := func(y kernels.Buffer) []kernels.TrainedPair {
			return []kernels.TrainedPair{{LowRank: q, Dropping: drop, Y: y, Low: low, GradA: grad, GradB: gradQ},
				{LowRank: v, Dropping: drop, Y: wides[(next+2)%copies], Low: low2, GradA: grad2, GradB: gradV}}
		}
		run("Forward of q and v", wide+2*(wide+wide/4), func(x, y kernels.Buffer) { d.PairsForward(x, rows, both(y)) })
		run("Back of q and v", 3*wide+wide+wide/4, func(x, y kernels.Buffer) { d.PairsBack(wides[(next+1)%copies], x, rows, both(y)) })
		run("Dropout", 2*wide, func(x, y kernels.Buffer) { d.Dropout(y, x, k, drop, kernels.Store) })
		run("GradA", wide, func(x, _ kernels.Buffer) { d.WeightGrad(grad, low, x, rows, rank, k) })
		run("GradB", wide, func(x, _ kernels.Buffer) { d.WeightGrad(grad, x, low, rows, k, rank) })
		run("GradB of 1024", wide/4, func(x, _ kernels.Buffer) { d.WeightGrad(grad.Slice(0, 1024*rank), x, low, rows, 1024, rank) })
	}
}
