package cpu

import (
	"fmt"
	"math"

	"github.com/evalrun/evalrun/kernels"
)

func (d *Device) RMSNormBack(dx, dweight, dy, x, weight kernels.Buffer, rows int, eps float32, e kernels.Epilogue) {
	d.normBack(dx, dweight, nil, dy, x, weight, rows, eps, e, false)
}

func (d *Device) LayerNormBack(dx, dweight, dbias, dy, x, weight kernels.Buffer, rows int, eps float32, e kernels.Epilogue) {
	d.normBack(dx, dweight, dbias, dy, x, weight, rows, eps, e, true)
}

// normBack takes the gradients of the weights first, from whole columns of dy,
// and then goes through the rows, which may overwrite dy.
func (d *Device) normBack(dx, dweight, dbias, dy, x, weight kernels.Buffer, rows int, eps float32, e kernels.Epilogue, centred bool) {
	c := weight.Len()
	w, in := kernels.Host(weight, c, "weight"), kernels.Host(x, rows*c, "x")
	out, g := kernels.Host(dx, rows*c, "dx"), kernels.Host(dy, rows*c, "dy")
	// The mean and the factor of each row.
	stats := d.low.take(2 * rows)
	means, scales := stats[:rows], stats[rows:]
	d.rows(rows, c, func(t, thread int) {
		row := in[t*c : (t+1)*c]
		hat := d.work[thread].take(c)
		mean := float32(0)
		if centred {
			mean = sum(row) / float32(c)
		}
		for i, v := range row {
			hat[i] = v - mean
		}
		means[t], scales[t] = mean, 1/float32(math.Sqrt(float64(d.path.sumSquares(hat)/float32(c)+eps)))
	})
	if dbias != nil {
		d.ColumnDots(dbias, dy, nil, rows)
	}
	if dweight != nil {
		d.normWeightGrad(kernels.Host(dweight, c, "dweight"), g, in, means, scales)
	}
	d.rows(rows, c, func(t, thread int) {
		row, up := in[t*c:(t+1)*c], g[t*c:(t+1)*c]
		mean, s := means[t], scales[t]
		mem := d.work[thread].take(3 * c)
		hat, gw, dots := mem[:c], mem[c:2*c], mem[2*c:]
		for i, v := range row {
			hat[i] = float32((v - mean) * s)
			gw[i] = up[i] * w[i]
			dots[i] = gw[i] * hat[i]
		}
		gDot, gMean := sum(dots)/float32(c), float32(0)
		if centred {
			gMean = sum(gw) / float32(c)
		}
		for i, v := range gw {
			hat[i] = float32(s * (float32(v-gMean) - float32(hat[i]*gDot)))
		}
		if e == kernels.Store {
			copy(out[t*c:(t+1)*c], hat)
		} else {
			d.path.scaleAdd(out[t*c:(t+1)*c], hat, 1)
		}
	})
}

// normWeightGrad adds Σ_t dy·x̂, columns shared out among the threads.
func (d *Device) normWeightGrad(out, g, in, means, scales []float32) {
	c, rows := len(out), len(means)
	const width = 256
	d.pool.do((c+width-1)/width, rows*c > smallWork/4, func(task, thread int) {
		col := task * width
		cols := min(width, c-col)
		sum := d.work[thread].take(cols)
		for from := 0; from < rows; from += kernels.ChunkRows {
			clear(sum)
			for t := from; t < min(rows, from+kernels.ChunkRows); t++ {
				x, y := in[t*c+col:][:cols], g[t*c+col:][:cols]
				for i, v := range x {
					hat := float32((v - means[t]) * scales[t])
					sum[i] = float32(y[i]*hat) + sum[i]
				}
			}
			d.path.scaleAdd(out[col:col+cols], sum, 1)
		}
	})
}

// rows runs f for rows 0 to rows-1 of width c.
func (d *Device) rows(rows, c int, f func(t, thread int)) {
	step := max(1, chunkFloats/max(c, 1))
	d.pool.do((rows+step-1)/step, rows*c > 2*chunkFloats, func(task, thread int) {
		for t := task * step; t < min(rows, (task+1)*step); t++ {
			f(t, thread)
		}
	})
}

func (d *Device) RopeBack(dx kernels.Buffer, heads, dim int, cos, sin kernels.Buffer, half int, pos []int32, style kernels.RopeStyle) {
	d.rotate(dx, heads, dim, cos, sin, half, pos, style, true)
}

// slope gives a(x) and a'(x) of up to activationFloats values. SiLU and GELU's
// approximation are x·s with s = 1/(1 + exp(-z)), see Activate: the derivative
// is s + x·s·(1-s)·z'.
func (p *path) slope(m *slopes, x []float32, a kernels.Activation) {
	y, slope := m.y[:len(x)], m.slope[:len(x)]
	switch a {
	case kernels.SiLU:
		p.slopes(y, slope, x, x, ones[:len(x)])
	case kernels.GELUTanh:
		z, dz := m.z, m.dz
		for i, v := range x {
			square := float32(v * v)
			z[i] = geluTwice * float32(v+float32(geluCube*float32(v*square)))
			dz[i] = geluTwice * (1 + float32(3*geluCube*square))
		}
		p.slopes(y, slope, x, z[:len(x)], dz[:len(x)])
	case kernels.GELUErf:
		for i, v := range x {
			x := float64(v)
			half := (1 + math.Erf(x*(1/math.Sqrt2))) / 2
			y[i] = float32(x * half)
			slope[i] = float32(half + x*math.Exp(-x*x/2)*(1/2.5066282746310002)) // √(2π)
		}
	default:
		panic(fmt.Sprintf("BUG: activation %d", a))
	}
}

// slopesGo: s = 1 / (1 + exp(-z[i])), y[i] = x[i]·s, slope[i] = s +
// y[i]·(1-s)·dz[i].
func slopesGo(y, slope, x, z, dz []float32) {
	for i, v := range x {
		s := 1 / (1 + exp32(-z[i]))
		w := v * s
		y[i] = w
		slope[i] = s + float32(float32(w*(1-s))*dz[i])
	}
}

func (d *Device) ActivateBack(dx, dy, x kernels.Buffer, n int, a kernels.Activation) {
	out, g, in := kernels.Host(dx, n, "dx"), kernels.Host(dy, n, "dy"), kernels.Host(x, n, "x")
	d.eachPart(n, func(from, to int, m *slopes) {
		d.path.slope(m, in[from:to], a)
		for i, v := range g[from:to] {
			out[from+i] = v * m.slope[i]
		}
	})
}

func (d *Device) GateBack(dgate, dup, dy, gate, up kernels.Buffer, n int, a kernels.Activation) {
	outG, outU := kernels.Host(dgate, n, "dgate"), kernels.Host(dup, n, "dup")
	g, x, u := kernels.Host(dy, n, "dy"), kernels.Host(gate, n, "gate"), kernels.Host(up, n, "up")
	d.eachPart(n, func(from, to int, m *slopes) {
		d.path.slope(m, x[from:to], a)
		g, u, outG, outU := g[from:to], u[from:to], outG[from:to], outU[from:to]
		for i, v := range g {
			w := u[i]
			outG[i] = float32(v*w) * m.slope[i]
			outU[i] = v * m.y[i]
		}
	})
}

func (d *Device) SoftCapBack(dx, dy, x kernels.Buffer, n int, cap float32) {
	out, g, in := kernels.Host(dx, n, "dx"), kernels.Host(dy, n, "dy"), kernels.Host(x, n, "x")
	d.each(n, func(from, to int) {
		for i := from; i < to; i++ {
			t := tanh32(in[i] / cap)
			out[i] = g[i] * (1 - float32(t*t))
		}
	})
}

// slopes is the memory of a part of an activation's derivative. It is a
// thread's, since what a path's function is given would go to the heap.
type slopes struct{ y, slope, z, dz []float32 }

// eachPart runs f over parts of at most activationFloats values.
func (d *Device) eachPart(n int, f func(from, to int, m *slopes)) {
	d.pool.do((n+chunkFloats-1)/chunkFloats, n > 2*chunkFloats, func(task, thread int) {
		mem := d.work[thread].take(4 * activationFloats)
		cut := func(i int) []float32 { return mem[i*activationFloats : (i+1)*activationFloats] }
		m := &slopes{cut(0), cut(1), cut(2), cut(3)}
		to := min(n, (task+1)*chunkFloats)
		for from := task * chunkFloats; from < to; from += activationFloats {
			f(from, min(to, from+activationFloats), m)
		}
	})
}

func (d *Device) Scatter(dst, x kernels.Buffer, rows []int32, cols int) {
	out, in := kernels.Host(dst, dst.Len(), "dst"), kernels.Host(x, len(rows)*cols, "x")
	const width = 256 // columns of a thread: two rows may go to one place
	d.pool.do((cols+width-1)/width, len(rows)*cols > 2*chunkFloats, func(task, _ int) {
		col := task * width
		n := min(width, cols-col)
		for i, r := range rows {
			d.path.scaleAdd(out[int(r)*cols+col:][:n], in[i*cols+col:][:n], 1)
		}
	})
}

func (d *Device) PutColumns(dst, x kernels.Buffer, rows, width, from, n int) {
	out, in := kernels.Host(dst, rows*width, "dst"), kernels.Host(x, rows*n, "x")
	for t := range rows {
		copy(out[t*width+from:][:n], in[t*n:(t+1)*n])
	}
}

func (d *Device) Divide(dst, x, y kernels.Buffer, n int) {
	out, a, b := kernels.Host(dst, n, "dst"), kernels.Host(x, n, "x"), kernels.Host(y, n, "y")
	d.each(n, func(from, to int) {
		for i := from; i < to; i++ {
			out[i] = a[i] / b[i]
		}
	})
}

func (d *Device) Fill(dst kernels.Buffer, n int, value float32) {
	out := kernels.Host(dst, n, "dst")
	for i := range out {
		out[i] = value
	}
}
