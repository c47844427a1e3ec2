package ref

import (
	"fmt"
	"math"

	"github.com/evalrun/evalrun/kernels"
	"github.com/evalrun/evalrun/kernels/format"
)

// activate is a of x. The function is taken in float64 and rounded once.
func activate(x float64, a kernels.Activation) float64 {
	switch a {
	case kernels.SiLU:
		return x / (1 + math.Exp(-x))
	case kernels.GELUTanh:
		return x / 2 * (1 + math.Tanh(math.Sqrt(2/math.Pi)*(x+0.044715*x*x*x)))
	case kernels.GELUErf:
		return x / 2 * (1 + math.Erf(x/math.Sqrt2))
	}
	panic(fmt.Sprintf("BUG: activation %d", a))
}

func (*Device[F]) Activate(dst, x kernels.Buffer, n int, a kernels.Activation) {
	out, in := host[F](dst, n, "dst"), host[F](x, n, "x")
	for i, v := range in {
		out[i] = F(activate(float64(v), a))
	}
}

func (*Device[F]) Gate(dst, gate, up kernels.Buffer, n int, a kernels.Activation) {
	out := host[F](dst, n, "dst")
	g, u := host[F](gate, n, "gate"), host[F](up, n, "up")
	for i := range out {
		out[i] = F(activate(float64(g[i]), a)) * u[i]
	}
}

func (*Device[F]) Add(dst, x kernels.Buffer, n int) {
	out, in := host[F](dst, n, "dst"), host[F](x, n, "x")
	for i, v := range in {
		out[i] += v
	}
}

func (*Device[F]) AddBias(dst, bias kernels.Buffer, rows int) {
	c := bias.Len()
	out, b := host[F](dst, rows*c, "dst"), host[F](bias, c, "bias")
	for i := range out {
		out[i] += b[i%c]
	}
}

func (*Device[F]) Scale(dst, x kernels.Buffer, n int, by float32) {
	out, in := host[F](dst, n, "dst"), host[F](x, n, "x")
	for i, v := range in {
		out[i] = v * F(by)
	}
}

func (*Device[F]) ScaleColumns(dst, scale kernels.Buffer, rows int) {
	c := scale.Len()
	out, s := host[F](dst, rows*c, "dst"), host[F](scale, c, "scale")
	for i := range out {
		out[i] *= s[i%c]
	}
}

func (*Device[F]) SoftCap(dst, x kernels.Buffer, n int, cap float32) {
	out, in := host[F](dst, n, "dst"), host[F](x, n, "x")
	for i, v := range in {
		out[i] = softCap(v, cap)
	}
}

func softCap[F float32 | float64](x F, cap float32) F {
	return F(float64(cap) * math.Tanh(float64(x)/float64(cap)))
}

func (*Device[F]) Round(dst, x kernels.Buffer, n int, t format.Type) {
	out, in := host[F](dst, n, "dst"), host[F](x, n, "x")
	for i, v := range in {
		one := [1]float32{float32(v)}
		format.RoundTo(one[:], t)
		out[i] = F(one[0])
	}
}

func (*Device[F]) Gather(dst, x kernels.Buffer, rows []int32, cols int) {
	out := host[F](dst, len(rows)*cols, "dst")
	for i, r := range rows {
		in := host[F](x, (int(r)+1)*cols, "x")
		copy(out[i*cols:(i+1)*cols], in[int(r)*cols:])
	}
}

func (*Device[F]) Columns(dst, x kernels.Buffer, rows, width, from, n int) {
	out, in := host[F](dst, rows*n, "dst"), host[F](x, rows*width, "x")
	for t := range rows {
		copy(out[t*n:(t+1)*n], in[t*width+from:(t+1)*width])
	}
}
