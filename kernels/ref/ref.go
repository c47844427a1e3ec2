// Package ref computes the operations of kernels.Device as their formulas
// read: one loop a sum, float32 throughout, no tricks. It is the twin that
// every fast device is compared with, and the place to read what an operation
// means.
package ref

import (
	"fmt"
	"math"

	"github.com/evalrun/evalrun/kernels"
	"github.com/evalrun/evalrun/kernels/format"
)

// Device is the readable device.
type Device struct{}

// New returns the device. It has no state of its own.
func New() *Device { return &Device{} }

func (*Device) Name() string { return "ref" }
func (*Device) Close() error { return nil }

func (*Device) Alloc(t format.Type, n int) (kernels.Buffer, error) {
	return kernels.AllocFloats(t, n)
}

func (*Device) Write(dst kernels.Buffer, src []float32) {
	copy(kernels.Host(dst, len(src), "dst"), src)
}

func (*Device) Read(dst []float32, src kernels.Buffer) {
	copy(dst, kernels.Host(src, len(dst), "src"))
}

// matrix is a weight decoded as a whole.
type matrix struct {
	n, k   int
	values []float32
}

func (m *matrix) Shape() (n, k int) { return m.n, m.k }
func (m *matrix) Bytes() int64      { return 4 * int64(len(m.values)) }

func (*Device) Prepare(w kernels.Weight, _ kernels.Use) (kernels.Prepared, error) {
	if err := kernels.CheckWeight(w); err != nil {
		return nil, err
	}
	m := &matrix{w.N, w.K, make([]float32, w.N*w.K)}
	w.Type.Decode(m.values, w.Data)
	return m, nil
}

func (*Device) Embed(dst kernels.Buffer, table kernels.Prepared, ids []int32) {
	m := table.(*matrix)
	out := kernels.Host(dst, len(ids)*m.k, "dst")
	for t, id := range ids {
		if id < 0 || int(id) >= m.n {
			panic(fmt.Sprintf("BUG: id %d in a table of %d", id, m.n))
		}
		copy(out[t*m.k:], m.values[int(id)*m.k:(int(id)+1)*m.k])
	}
}

func (*Device) MatMul(dst, x kernels.Buffer, rows int, w kernels.Prepared, e kernels.Epilogue) {
	m := w.(*matrix)
	in := kernels.Host(x, rows*m.k, "x")
	out := kernels.Host(dst, rows*m.n, "dst")
	for t := range rows {
		for n := range m.n {
			var sum float32
			for k := range m.k {
				sum = float32(in[t*m.k+k]*m.values[n*m.k+k]) + sum
			}
			if e == kernels.Add {
				sum = out[t*m.n+n] + sum
			}
			out[t*m.n+n] = sum
		}
	}
}

func (*Device) RMSNorm(dst, x, weight kernels.Buffer, rows int, eps float32) {
	c := weight.Len()
	w := kernels.Host(weight, c, "weight")
	in, out := kernels.Host(x, rows*c, "x"), kernels.Host(dst, rows*c, "dst")
	for t := range rows {
		row := in[t*c : (t+1)*c]
		var sum float32
		for _, v := range row {
			sum = float32(v*v) + sum
		}
		scale := 1 / float32(math.Sqrt(float64(sum/float32(c)+eps)))
		for i, v := range row {
			out[t*c+i] = float32(v*scale) * w[i]
		}
	}
}

func (*Device) Rope(x kernels.Buffer, heads, dim int, cos, sin kernels.Buffer, half int, pos []int32, style kernels.RopeStyle) {
	all := kernels.Host(x, len(pos)*heads*dim, "x")
	for t, p := range pos {
		c := kernels.Host(cos, (int(p)+1)*half, "cos")[int(p)*half:]
		s := kernels.Host(sin, (int(p)+1)*half, "sin")[int(p)*half:]
		for h := range heads {
			head := all[(t*heads+h)*dim:][:dim]
			for i := range half {
				ia, ib := i, i+half
				if style == kernels.RopePairs {
					ia, ib = 2*i, 2*i+1
				}
				a, b := head[ia], head[ib]
				head[ia] = float32(a*c[i]) - float32(b*s[i])
				head[ib] = float32(b*c[i]) + float32(a*s[i])
			}
		}
	}
}

func (*Device) SwiGLU(dst, gate, up kernels.Buffer, n int) {
	out := kernels.Host(dst, n, "dst")
	g, u := kernels.Host(gate, n, "gate"), kernels.Host(up, n, "up")
	for i := range out {
		out[i] = g[i] / (1 + exp(-g[i])) * u[i]
	}
}

func (*Device) Gather(dst, x kernels.Buffer, rows []int32, cols int) {
	out := kernels.Host(dst, len(rows)*cols, "dst")
	for i, r := range rows {
		in := kernels.Host(x, (int(r)+1)*cols, "x")
		copy(out[i*cols:(i+1)*cols], in[int(r)*cols:])
	}
}

func exp(x float32) float32 { return float32(math.Exp(float64(x))) }
