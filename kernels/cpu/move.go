package cpu

import (
	"github.com/evalrun/evalrun/kernels"
	"github.com/evalrun/evalrun/kernels/format"
)

// each runs f over the values 0 to n-1 in parts, each by one thread.
func (d *Device) each(n int, f func(from, to int)) {
	d.pool.do((n+chunkFloats-1)/chunkFloats, n > 2*chunkFloats, func(task, _ int) {
		f(task*chunkFloats, min(n, (task+1)*chunkFloats))
	})
}

func (d *Device) Add(dst, x kernels.Buffer, n int) {
	out, in := kernels.Host(dst, n, "dst"), kernels.Host(x, n, "x")
	d.each(n, func(from, to int) { d.path.scaleAdd(out[from:to], in[from:to], 1) })
}

func (d *Device) AddBias(dst, bias kernels.Buffer, rows int) {
	c := bias.Len()
	out, b := kernels.Host(dst, rows*c, "dst"), kernels.Host(bias, c, "bias")
	d.eachRow(rows, c, func(t int) { d.path.scaleAdd(out[t*c:(t+1)*c], b, 1) })
}

func (d *Device) Scale(dst, x kernels.Buffer, n int, by float32) {
	out, in := kernels.Host(dst, n, "dst"), kernels.Host(x, n, "x")
	d.each(n, func(from, to int) {
		o := out[from:to]
		for i, v := range in[from:to] {
			o[i] = v * by
		}
	})
}

func (d *Device) ScaleColumns(dst, scale kernels.Buffer, rows int) {
	c := scale.Len()
	out, s := kernels.Host(dst, rows*c, "dst"), kernels.Host(scale, c, "scale")
	d.eachRow(rows, c, func(t int) {
		row := out[t*c : (t+1)*c]
		for i, v := range s {
			row[i] *= v
		}
	})
}

func (d *Device) Round(dst, x kernels.Buffer, n int, t format.Type) {
	out, in := kernels.Host(dst, n, "dst"), kernels.Host(x, n, "x")
	d.each(n, func(from, to int) {
		copy(out[from:to], in[from:to])
		d.path.round(out[from:to], t)
	})
}

func (d *Device) Gather(dst, x kernels.Buffer, rows []int32, cols int) {
	out, in := kernels.Host(dst, len(rows)*cols, "dst"), kernels.Host(x, x.Len(), "x")
	for i, r := range rows {
		copy(out[i*cols:(i+1)*cols], in[int(r)*cols:(int(r)+1)*cols])
	}
}

func (d *Device) Columns(dst, x kernels.Buffer, rows, width, from, n int) {
	out, in := kernels.Host(dst, rows*n, "dst"), kernels.Host(x, rows*width, "x")
	for t := range rows {
		copy(out[t*n:(t+1)*n], in[t*width+from:][:n])
	}
}

// eachRow runs f for rows 0 to rows-1 of width c.
func (d *Device) eachRow(rows, c int, f func(t int)) {
	step := max(1, chunkFloats/max(c, 1))
	d.pool.do((rows+step-1)/step, rows*c > 2*chunkFloats, func(task, _ int) {
		for t := task * step; t < min(rows, (task+1)*step); t++ {
			f(t)
		}
	})
}

func scaleAddGo(acc, x []float32, scale float32) {
	x = x[:len(acc)]
	for i, v := range x {
		acc[i] = float32(acc[i]*scale) + v
	}
}
