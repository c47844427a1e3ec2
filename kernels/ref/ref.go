// Package ref computes the operations of kernels.Device as their formulas
// read: one loop a sum, no tricks. It is the twin that every fast device is
// compared with, and the place to read what an operation means. New computes
// in float32 like any device, New64 in float64, to measure others against.
package ref

import (
	"fmt"
	"math"

	"github.com/evalrun/evalrun/kernels"
	"github.com/evalrun/evalrun/kernels/format"
)

// Device is the readable device, computing with F. Its methods are told by
// [kernels.TrainDevice], with shapes and formulas.
type Device[F float32 | float64] struct{}

// New returns the device in float32. It has no state of its own.
func New() *Device[float32] { return &Device[float32]{} }

// New64 returns the device in float64. Its buffers are kernels.Values[float64].
func New64() *Device[float64] { return &Device[float64]{} }

func (*Device[F]) Name() string { return "ref" }
func (*Device[F]) Close() error { return nil }

func (*Device[F]) Alloc(t format.Type, n int) (kernels.Buffer, error) {
	return kernels.AllocValues[F](t, n)
}

func (*Device[F]) Write(dst kernels.Buffer, src []float32) {
	for i := range host[F](dst, len(src), "dst") {
		dst.(kernels.Values[F])[i] = F(src[i])
	}
}

func (*Device[F]) Read(dst []float32, src kernels.Buffer) {
	for i, v := range host[F](src, len(dst), "src") {
		dst[i] = float32(v)
	}
}

func host[F float32 | float64](b kernels.Buffer, n int, what string) []F {
	return kernels.HostValues[F](b, n, what)
}

// matrix is a weight decoded as a whole.
type matrix[F float32 | float64] struct {
	n, k   int
	values []F
}

func (m *matrix[F]) Shape() (n, k int) { return m.n, m.k }
func (m *matrix[F]) Bytes() int64      { return 4 * int64(len(m.values)) }

func (m *matrix[F]) row(n int) []F { return m.values[n*m.k : (n+1)*m.k] }

func (*Device[F]) Prepare(w kernels.Weight, _ kernels.Use) (kernels.Prepared, error) {
	if err := kernels.CheckWeight(w); err != nil {
		return nil, err
	}
	m := &matrix[F]{w.N, w.K, make([]F, w.N*w.K)}
	row := make([]float32, w.K)
	for n := range w.N {
		w.Decode(row, n*w.K)
		for k, v := range row {
			m.values[n*w.K+k] = F(v)
		}
	}
	return m, nil
}

func (*Device[F]) Embed(dst kernels.Buffer, table kernels.Prepared, ids []int32) {
	m := table.(*matrix[F])
	out := host[F](dst, len(ids)*m.k, "dst")
	for t, id := range ids {
		if id < 0 || int(id) >= m.n {
			panic(fmt.Sprintf("BUG: id %d in a table of %d", id, m.n))
		}
		copy(out[t*m.k:], m.row(int(id)))
	}
}

// dot is the sum over i of a[i]·b[i], in the order of i.
func dot[F float32 | float64](a, b []F) (sum F) {
	for i := range a {
		sum = F(a[i]*b[i]) + sum
	}
	return sum
}

func (*Device[F]) MatMul(dst, x kernels.Buffer, rows int, w kernels.Prepared, e kernels.Epilogue) {
	m := w.(*matrix[F])
	in := host[F](x, rows*m.k, "x")
	out := host[F](dst, rows*m.n, "dst")
	for t := range rows {
		for n := range m.n {
			sum := dot(in[t*m.k:(t+1)*m.k], m.row(n))
			if e == kernels.Add {
				sum = out[t*m.n+n] + sum
			}
			out[t*m.n+n] = sum
		}
	}
}

func (*Device[F]) LoRA(dst, x kernels.Buffer, segments []kernels.Segment) {
	for _, s := range segments {
		a, b := s.A.(*matrix[F]), s.B.(*matrix[F])
		kernels.CheckSegments(segments, dst.Len()/b.n)
		in, out := host[F](x, (s.Row+s.N)*a.k, "x"), host[F](dst, (s.Row+s.N)*b.n, "dst")
		low := make([]F, a.n)
		for t := s.Row; t < s.Row+s.N; t++ {
			for r := range low {
				low[r] = dot(in[t*a.k:(t+1)*a.k], a.row(r))
			}
			for n := range b.n {
				out[t*b.n+n] += F(F(s.Scale) * dot(low, b.row(n)))
			}
		}
	}
}

func (*Device[F]) RowNorms(dst kernels.Buffer, w kernels.Prepared, l kernels.LowRank) {
	m := w.(*matrix[F])
	out := host[F](dst, m.n, "dst")
	for n := range m.n {
		row := append([]F(nil), m.row(n)...)
		if l.A != nil {
			a, b := l.A.(*matrix[F]), l.B.(*matrix[F])
			for k := range row {
				var sum F
				for r := range a.n {
					sum = F(b.row(n)[r]*a.row(r)[k]) + sum
				}
				row[k] += F(F(l.Scale) * sum)
			}
		}
		out[n] = sqrt(dot(row, row))
	}
}

func (*Device[F]) RMSNorm(dst, x, weight kernels.Buffer, rows int, eps float32) {
	c := weight.Len()
	w := host[F](weight, c, "weight")
	in, out := host[F](x, rows*c, "x"), host[F](dst, rows*c, "dst")
	for t := range rows {
		row := in[t*c : (t+1)*c]
		scale := 1 / sqrt(dot(row, row)/F(c)+F(eps))
		for i, v := range row {
			out[t*c+i] = F(v*scale) * w[i]
		}
	}
}

func (*Device[F]) LayerNorm(dst, x, weight, bias kernels.Buffer, rows int, eps float32) {
	c := weight.Len()
	w, b := host[F](weight, c, "weight"), host[F](bias, c, "bias")
	in, out := host[F](x, rows*c, "x"), host[F](dst, rows*c, "dst")
	for t := range rows {
		row := in[t*c : (t+1)*c]
		var sum, square F
		for _, v := range row {
			sum += v
		}
		mean := sum / F(c)
		for _, v := range row {
			square = F((v-mean)*(v-mean)) + square
		}
		scale := 1 / sqrt(square/F(c)+F(eps))
		for i, v := range row {
			out[t*c+i] = F(F((v-mean)*scale)*w[i]) + b[i]
		}
	}
}

func (*Device[F]) Rope(x kernels.Buffer, heads, dim int, cos, sin kernels.Buffer, half int, pos []int32, style kernels.RopeStyle) {
	all := host[F](x, len(pos)*heads*dim, "x")
	for t, p := range pos {
		c := host[F](cos, (int(p)+1)*half, "cos")[int(p)*half:]
		s := host[F](sin, (int(p)+1)*half, "sin")[int(p)*half:]
		for h := range heads {
			head := all[(t*heads+h)*dim:][:dim]
			for i := range half {
				ia, ib := i, i+half
				if style == kernels.RopePairs {
					ia, ib = 2*i, 2*i+1
				}
				a, b := head[ia], head[ib]
				head[ia] = F(a*c[i]) - F(b*s[i])
				head[ib] = F(b*c[i]) + F(a*s[i])
			}
		}
	}
}

func sqrt[F float32 | float64](x F) F { return F(math.Sqrt(float64(x))) }
func exp[F float32 | float64](x F) F  { return F(math.Exp(float64(x))) }
