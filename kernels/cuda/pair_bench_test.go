//go:build cuda

package cuda

import (
	"fmt"
	"testing"

	"github.com/evalrun/evalrun/kernels"
	"github.com/evalrun/evalrun/kernels/format"
)

// BenchmarkPair is what training a pair of rank 8 beside a matrix of Mistral-7B
// takes, operation by operation, each beside the memory's bandwidth. Buffers are
// taken in turn, so that no cache holds them.
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
		run("GradA", wide, func(x, _ kernels.Buffer) { d.WeightGrad(grad, low, x, rows, rank, k) })
		run("GradB", wide, func(x, _ kernels.Buffer) { d.WeightGrad(grad, x, low, rows, k, rank) })
		run("GradB of 1024", wide/4, func(x, _ kernels.Buffer) { d.WeightGrad(grad.Slice(0, 1024*rank), x, low, rows, 1024, rank) })
	}
}
