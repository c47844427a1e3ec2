package cuda

import (
	"fmt"

	"github.com/evalrun/evalrun/kernels"
	"github.com/evalrun/evalrun/kernels/format"
)

// rowThreads is the number of threads that share a row; the order of its sum
// depends on it.
const rowThreads = 256

// threadsFor is that number for a norm over rows of width c: four values a thread
// or, in wide rows, more.
func threadsFor(c int) int { return min(max((c+127)/128*32, 32), 512) }

func (d *Device) RMSNorm(dst, x, weight kernels.Buffer, rows int, eps float32) {
	if dst.Type() == format.F32 {
		d.rmsNorm(dst, 0, x, weight, rows, eps)
		return
	}
	c := weight.Len()
	d.launch("rmsNormBrain", rows, 1, threadsFor(c), 0, onBrain(dst, rows*c, "dst"), on(x, rows*c, "x"), on(weight, c, "weight"), num(c), real32(eps))
}

// rmsNorm writes what it gives as bfloat16 to half as well, where that is not 0.
func (d *Device) rmsNorm(dst kernels.Buffer, half uint64, x, weight kernels.Buffer, rows int, eps float32) {
	c := weight.Len()
	d.launch("rmsNorm", rows, 1, threadsFor(c), 0, on(dst, rows*c, "dst"), half, on(x, rows*c, "x"), on(weight, c, "weight"), num(c), real32(eps))
}

func (d *Device) RMSNormBoth(dst, half, x, weight kernels.Buffer, rows int, eps float32) {
	d.rmsNorm(dst, onBrain(half, rows*weight.Len(), "half"), x, weight, rows, eps)
}

func (d *Device) LayerNorm(dst, x, weight, bias kernels.Buffer, rows int, eps float32) {
	c := weight.Len()
	name, to := typed("layerNorm", dst)
	d.launch(name, rows, 1, threadsFor(c), 0, to(dst, rows*c, "dst"), on(x, rows*c, "x"), on(weight, c, "weight"), on(bias, c, "bias"), num(c), real32(eps))
}

func (d *Device) Rope(x kernels.Buffer, heads, dim int, cos, sin kernels.Buffer, half int, pos []int32, style kernels.RopeStyle) {
	d.rope(x, 0, heads, dim, cos, sin, half, pos, style, 1)
}

func (d *Device) RopeBack(dx kernels.Buffer, heads, dim int, cos, sin kernels.Buffer, half int, pos []int32, style kernels.RopeStyle) {
	d.rope(dx, 0, heads, dim, cos, sin, half, pos, style, -1)
}

func (d *Device) RopeBackBoth(dx, rounded kernels.Buffer, heads, dim int, cos, sin kernels.Buffer, pos []int32, style kernels.RopeStyle) {
	d.rope(dx, onBrain(rounded, len(pos)*heads*dim, "rounded"), heads, dim, cos, sin, dim/2, pos, style, -1)
}

// rope writes what it gives as bfloat16 to rounded as well, where that is not 0.
func (d *Device) rope(x kernels.Buffer, rounded uint64, heads, dim int, cos, sin kernels.Buffer, half int, pos []int32, style kernels.RopeStyle, sign int) {
	last := int32(-1)
	for _, p := range pos {
		last = max(last, p)
	}
	n := (int(last) + 1) * half
	d.each("rope", len(pos)*heads*half, on(x, len(pos)*heads*dim, "x"), rounded, on(cos, n, "cos"), on(sin, n, "sin"), d.table(pos),
		num(len(pos)), num(heads), num(dim), num(half), num(int(style)), num(sign))
}

func known(a kernels.Activation) uint64 {
	if a > kernels.GELUErf {
		panic(fmt.Sprintf("BUG: activation %d", a))
	}
	return num(int(a))
}

func (d *Device) Activate(dst, x kernels.Buffer, n int, a kernels.Activation) {
	name, at := typed("activate", dst)
	d.each(name, n, at(dst, n, "dst"), at(x, n, "x"), num(n), known(a))
}

func (d *Device) Gate(dst, gate, up kernels.Buffer, n int, a kernels.Activation) {
	name, at := typed("gate", dst)
	d.each(name, n, at(dst, n, "dst"), at(gate, n, "gate"), at(up, n, "up"), num(n), known(a))
}

func (d *Device) ActivateBack(dx, dy, x kernels.Buffer, n int, a kernels.Activation) {
	name, at := typed("activateBack", dx)
	d.each(name, n, at(dx, n, "dx"), at(dy, n, "dy"), at(x, n, "x"), num(n), known(a))
}

func (d *Device) GateBack(dgate, dup, dy, gate, up kernels.Buffer, n int, a kernels.Activation) {
	name, at := typed("gateBack", dgate)
	d.each(name, n, at(dgate, n, "dgate"), at(dup, n, "dup"), at(dy, n, "dy"), at(gate, n, "gate"), at(up, n, "up"), num(n), known(a))
}

func (d *Device) Add(dst, x kernels.Buffer, n int) {
	d.each("add", n, on(dst, n, "dst"), on(x, n, "x"), num(n))
}

func (d *Device) AddBias(dst, bias kernels.Buffer, rows int) {
	n := rows * bias.Len()
	d.each("addBias", n, on(dst, n, "dst"), on(bias, bias.Len(), "bias"), num(n), num(bias.Len()))
}

func (d *Device) Scale(dst, x kernels.Buffer, n int, by float32) {
	d.each("scale", n, on(dst, n, "dst"), on(x, n, "x"), num(n), real32(by))
}

func (d *Device) ScaleColumns(dst, scale kernels.Buffer, rows int) {
	n := rows * scale.Len()
	d.each("scaleColumns", n, on(dst, n, "dst"), on(scale, scale.Len(), "scale"), num(n), num(scale.Len()))
}

func (d *Device) SoftCap(dst, x kernels.Buffer, n int, cap float32) {
	d.each("softCap", n, on(dst, n, "dst"), on(x, n, "x"), num(n), real32(cap))
}

func (d *Device) SoftCapBack(dx, dy, x kernels.Buffer, n int, cap float32) {
	d.each("softCapBack", n, on(dx, n, "dx"), on(dy, n, "dy"), on(x, n, "x"), num(n), real32(cap))
}

func (d *Device) Round(dst, x kernels.Buffer, n int, t format.Type) {
	kind, ok := map[format.Type]int{format.F32: kindF32, format.F16: kindF16, format.BF16: kindBF16}[t]
	if !ok {
		panic(fmt.Sprintf("BUG: values rounded to %v", t))
	}
	if dst.Type() == format.BF16 && t == format.BF16 {
		d.each("toBrain", (n+7)/8, onBrain(dst, n, "dst"), on(x, n, "x"), num(n))
		return
	}
	d.each("roundTo", n, on(dst, n, "dst"), on(x, n, "x"), num(n), num(kind))
}

func (d *Device) Divide(dst, x, y kernels.Buffer, n int) {
	d.each("divide", n, on(dst, n, "dst"), on(x, n, "x"), on(y, n, "y"), num(n))
}

func (d *Device) Fill(dst kernels.Buffer, n int, value float32) {
	name, at := typed("fill", dst)
	d.each(name, n, at(dst, n, "dst"), num(n), real32(value))
}

// checkRows panics unless the rows exist in a buffer of rows of width cols.
func checkRows(rows []int32, b kernels.Buffer, cols int, what string) {
	for _, r := range rows {
		if r < 0 || (int(r)+1)*cols > b.Len() {
			panic(fmt.Sprintf("BUG: row %d of %s of %d values", r, what, b.Len()))
		}
	}
}

func (d *Device) Gather(dst, x kernels.Buffer, rows []int32, cols int) {
	checkRows(rows, x, cols, "x")
	n := len(rows) * cols
	name, at := typed("gather", dst)
	d.each(name, n, at(dst, n, "dst"), at(x, 0, "x"), d.table(rows), num(n), num(cols))
}

func (d *Device) Scatter(dst, x kernels.Buffer, rows []int32, cols int) {
	checkRows(rows, dst, cols, "dst")
	name, at := typed("scatter", dst)
	d.each(name, cols, at(dst, 0, "dst"), at(x, len(rows)*cols, "x"), d.table(rows), num(len(rows)), num(cols))
}

func (d *Device) Columns(dst, x kernels.Buffer, rows, width, from, n int) {
	d.each("columns", rows*n, on(dst, rows*n, "dst"), on(x, rows*width, "x"), num(rows*n), num(width), num(from), num(n))
}

func (d *Device) PutColumns(dst, x kernels.Buffer, rows, width, from, n int) {
	d.each("putColumns", rows*n, on(dst, rows*width, "dst"), on(x, rows*n, "x"), num(rows*n), num(width), num(from), num(n))
}
