package cpu

import (
	"fmt"
	"math"

	"github.com/evalrun/evalrun/kernels"
)

// activationFloats is the part of an activation that is computed at a time.
const activationFloats = 256

// Activate and Gate go through one loop, x / (1 + exp(-z)) · up: SiLU has z = x,
// and since (1 + tanh u)/2 = 1/(1 + exp(-2u)), GELU's approximation has z = 2u.
func (d *Device) Activate(dst, x kernels.Buffer, n int, a kernels.Activation) {
	d.activate(kernels.Host(dst, n, "dst"), kernels.Host(x, n, "x"), nil, a)
}

func (d *Device) Gate(dst, gate, up kernels.Buffer, n int, a kernels.Activation) {
	d.activate(kernels.Host(dst, n, "dst"), kernels.Host(gate, n, "gate"), kernels.Host(up, n, "up"), a)
}

// ones stands in for up where there is none.
var ones = func() (x [activationFloats]float32) {
	for i := range x {
		x[i] = 1
	}
	return x
}()

func (d *Device) activate(dst, x, up []float32, a kernels.Activation) {
	const step = chunkFloats / 4
	d.pool.do((len(dst)+step-1)/step, len(dst) > 2*step, func(task, thread int) {
		end := min(len(dst), (task+1)*step)
		z := d.work[thread].take(activationFloats)
		for from := task * step; from < end; from += activationFloats {
			to := min(end, from+activationFloats)
			u := ones[:to-from]
			if up != nil {
				u = up[from:to]
			}
			d.path.activation(dst[from:to], x[from:to], u, z, a)
		}
	})
}

// activation is a(x) · up for at most activationFloats values; z has room for
// as many.
func (p *path) activation(dst, x, up, z []float32, a kernels.Activation) {
	switch a {
	case kernels.SiLU:
		p.gate(dst, x, x, up)
	case kernels.GELUTanh:
		for i, v := range x {
			z[i] = geluTwice * float32(v+float32(geluCube*float32(v*float32(v*v))))
		}
		p.gate(dst, x, z[:len(x)], up)
	case kernels.GELUErf:
		for i, v := range x {
			half := float32(v * 0.5)
			dst[i] = float32(half*float32(1+math.Erf(float64(v)*(1/math.Sqrt2)))) * up[i]
		}
	default:
		panic(fmt.Sprintf("BUG: activation %d", a))
	}
}

const (
	geluTwice = 1.5957691216057308 // 2·√(2/π)
	geluCube  = 0.044715
)

// gateGo is dst[i] = x[i] / (1 + exp(-z[i])) · up[i].
func gateGo(dst, x, z, up []float32) {
	x, z, up = x[:len(dst)], z[:len(dst)], up[:len(dst)]
	for i, v := range x {
		dst[i] = v / (1 + exp32(-z[i])) * up[i]
	}
}

func (d *Device) SoftCap(dst, x kernels.Buffer, n int, cap float32) {
	out, in := kernels.Host(dst, n, "dst"), kernels.Host(x, n, "x")
	const step = chunkFloats / 4
	d.pool.do((n+step-1)/step, n > 2*step, func(task, _ int) {
		from, to := task*step, min(n, (task+1)*step)
		softCap(out[from:to], in[from:to], cap)
	})
}

// softCap is dst[i] = cap · tanh(x[i] / cap).
func softCap(dst, x []float32, cap float32) {
	for i, v := range x {
		dst[i] = cap * tanh32(v/cap)
	}
}

// tanh32 is the hyperbolic tangent within 2 units in the last place: for small
// x the odd polynomial of Cephes' tanhf (Moshier), else 1 - 2/(e^2x + 1).
func tanh32(x float32) float32 {
	a := float32(math.Abs(float64(x)))
	if a < 0.625 {
		z := float32(x * x)
		p := float32(-5.70498872745e-3*z) + 2.06390887954e-2
		p = float32(p*z) - 5.37397155531e-2
		p = float32(p*z) + 1.33314422036e-1
		p = float32(p*z) - 3.33332819422e-1
		return float32(float32(p*z)*x) + x
	}
	t := 1 - 2/(exp32(2*a)+1)
	if x < 0 {
		return -t
	}
	return t
}
