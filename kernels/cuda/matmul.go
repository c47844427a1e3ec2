package cuda

import (
	"fmt"

	"github.com/evalrun/evalrun/kernels"
)

// gemvRows is the number of rows up to which the weight is read once for 8 rows
// instead of in tiles of 64.
const gemvRows = 32

const tileSide = 64

func (d *Device) MatMul(dst, x kernels.Buffer, rows int, p kernels.Prepared, e kernels.Epilogue) {
	w := p.(*weight)
	if d.brain && !w.exact(w.k) {
		d.multiplyBrain(targetOf(on(dst, rows*w.n, "dst"), e), x, rows, w)
		return
	}
	d.multiply(on(dst, rows*w.n, "dst"), on(x, rows*w.k, "x"), rows, w, e, 1)
}

// multiply is MatMul with the product taken times scale before it is added.
func (d *Device) multiply(dst, x uint64, rows int, w *weight, e kernels.Epilogue, scale float32) {
	if w.isBlocks() {
		d.multiplyBlocks(dst, x, rows, w, e, scale)
		return
	}
	wide := uint64(0)
	if w.wide {
		wide = 1
	}
	if rows > 0 && w.suitsThirds() {
		d.thirds(dst, x, rows, w, e, scale)
		return
	}
	if rows > gemvRows && w.n <= narrow && w.plainValues() && e == kernels.Store && scale == 1 {
		d.shrink(dst, x, rows, w)
		return
	}
	if rows > gemvRows {
		d.launch(w.kernel("gemm"), (w.n+tileSide-1)/tileSide, (rows+tileSide-1)/tileSide, 256, 0,
			append([]uint64{dst, x, num(rows), num(w.n), num(w.k), add(e), real32(scale), wide}, w.args...)...)
		return
	}
	for rows > 0 {
		name, take, outputs := "gemv8", 8, 8
		switch {
		case rows == 1:
			name, take, outputs = "gemv1", 1, 16
		case rows == 2:
			name, take, outputs = "gemv2", 2, 16
		case rows <= 4:
			name, take, outputs = "gemv4", 4, 16
		}
		take = min(take, rows)
		d.launch(w.kernel(name), (w.n+outputs-1)/outputs, 1, 256, 0,
			append([]uint64{dst, x, num(take), num(w.n), num(w.k), add(e), real32(scale), wide}, w.args...)...)
		dst, x, rows = dst+4*uint64(take*w.n), x+4*uint64(take*w.k), rows-take
	}
}

func (d *Device) Embed(dst kernels.Buffer, table kernels.Prepared, ids []int32) {
	w := table.(*weight)
	for _, id := range ids {
		if id < 0 || int(id) >= w.n {
			panic(fmt.Sprintf("BUG: id %d in a table of %d", id, w.n))
		}
	}
	n := len(ids) * w.k
	if w.isBlocks() {
		d.blockValues(on(dst, n, "dst"), w, ids)
		return
	}
	d.each(w.kernel("embed"), n, append([]uint64{on(dst, n, "dst"), d.table(ids), num(n), num(w.k)}, w.args...)...)
}

// floats is a weight's values as float32, decoded where they are not.
func (d *Device) floats(w *weight) (at uint64, hold *block) {
	if w.kind == kindF32 {
		return w.args[0], nil
	}
	hold = d.scratch(w.n * w.k)
	if w.isBlocks() {
		d.blockValues(hold.at, w, nil)
		return hold.at, hold
	}
	d.each(w.kernel("decode"), w.n*w.k, append([]uint64{hold.at, 0, num(w.n * w.k)}, w.args...)...)
	return hold.at, hold
}

func (d *Device) RowNorms(dst kernels.Buffer, p kernels.Prepared, l kernels.LowRank) {
	w := p.(*weight)
	if w.isBlocks() {
		var hold *block
		w, hold = d.plain(w)
		defer d.release(hold)
	}
	var a, b uint64
	rank := 0
	if l.A != nil {
		rank = l.A.(*weight).n
		var holdA, holdB *block
		a, holdA = d.floats(l.A.(*weight))
		b, holdB = d.floats(l.B.(*weight))
		defer d.release(holdA)
		defer d.release(holdB)
	}
	d.launch(w.kernel("rowNorms"), w.n, 1, 256, 0, append([]uint64{on(dst, w.n, "dst"), num(w.k), a, b, num(rank), real32(l.Scale)}, w.args...)...)
}

func (d *Device) MatMulBack(dx, dy kernels.Buffer, rows int, p kernels.Prepared, e kernels.Epilogue) {
	w := p.(*weight)
	if d.brain && !w.exact(w.n) {
		d.multiplyBackBrain(targetOf(on(dx, rows*w.k, "dx"), e), dy, rows, w)
		return
	}
	if w.isBlocks() {
		var hold *block
		w, hold = d.plain(w)
		defer d.release(hold)
	}
	if w.k <= narrow && w.kind == kindF32 {
		d.launch("narrowBack", (rows+7)/8, (w.k+7)/8, 256, 0, on(dx, rows*w.k, "dx"), on(dy, rows*w.n, "dy"), w.args[0], num(rows), num(w.n), num(w.k), add(e))
		return
	}
	wide := uint64(0)
	if w.wide {
		wide = 1
	}
	d.launch(w.kernel("gemmBack"), (w.k+tileSide-1)/tileSide, (rows+tileSide-1)/tileSide, 256, 0,
		append([]uint64{on(dx, rows*w.k, "dx"), on(dy, rows*w.n, "dy"), num(rows), num(w.n), num(w.k), add(e), wide}, w.args...)...)
}

func (d *Device) WeightGrad(dw, dy, x kernels.Buffer, rows, n, k int) {
	if min(n, k) <= narrow {
		d.narrowGrad(on(dw, n*k, "dw"), on(dy, rows*n, "dy"), on(x, rows*k, "x"), rows, n, k)
		return
	}
	d.launch("weightGrad", (k+tileSide-1)/tileSide, (n+tileSide-1)/tileSide, 256, 0,
		on(dw, n*k, "dw"), on(dy, rows*n, "dy"), on(x, rows*k, "x"), num(rows), num(n), num(k))
}
