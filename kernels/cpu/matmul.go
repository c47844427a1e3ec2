package cpu

import "github.com/evalrun/evalrun/kernels"

const (
	groupPanels = 4       // panels a task multiplies with: 64 outputs
	blockRows   = 96      // rows that go through panels together
	partValues  = 512     // of K, at a time: panels and rows take 320 KiB, a part of L2
	smallWork   = 1 << 17 // multiplications below which one thread is faster
)

// MatMul cuts the output into tasks of some rows by 64 columns. A task goes
// through K in parts, so that what all its rows multiply with lies in the cache;
// a sum goes on from part to part.
func (d *Device) MatMul(dst, x kernels.Buffer, rows int, p kernels.Prepared, e kernels.Epilogue) {
	w := p.(*weight)
	d.multiply(kernels.Host(dst, rows*w.n, "dst"), kernels.Host(x, rows*w.k, "x"), rows, w, e, 1)
}

// multiply is MatMul with the product taken times scale before it is added.
func (d *Device) multiply(out, in []float32, rows int, w *weight, e kernels.Epilogue, scale float32) {
	if w.use&kernels.ForMatMul == 0 {
		panic("BUG: weight was not prepared for MatMul")
	}
	if w.panels == nil {
		d.multiplyDecoded(out, in, rows, w, e, scale)
		return
	}
	n, k := w.n, w.k
	const width = groupPanels * lanes
	groups, blocks := (n+width-1)/width, (rows+blockRows-1)/blockRows
	part := partValues
	if rows < 6 { // nothing is read twice
		part = k
	}
	d.pool.do(groups*blocks, rows*n*k >= smallWork, func(task, thread int) {
		row, col := task/groups*blockRows, task%groups*width
		r, cols := min(blockRows, rows-row), min(width, n-col)
		wide := (cols + lanes - 1) / lanes * lanes
		// The tile stores whole panels, and only stores: else go through scratch.
		sums, stride := out[row*n+col:], n
		direct := e == kernels.Store && cols == wide
		if !direct {
			sums, stride = d.work[thread].take(r*wide), wide
		}
		for from := 0; from < k; from += part {
			d.path.tile(sums, stride, in[row*k+from:], k, r, w.panels[col*k+from*lanes:], k*lanes, min(part, k-from), wide/lanes, from > 0)
		}
		if !direct {
			for i := range r {
				d.finish(out[(row+i)*n+col:][:cols], sums[i*wide:][:cols], e, scale)
			}
		}
	})
}

// multiplyDecoded multiplies with panels that are decoded for the task, a part
// of K at a time: they stay in the nearest caches, and sums go on from part to
// part.
func (d *Device) multiplyDecoded(out, in []float32, rows int, w *weight, e kernels.Epilogue, scale float32) {
	n, k := w.n, w.k
	const width = groupPanels * lanes
	d.pool.do((n+width-1)/width, rows*n*k >= smallWork/4, func(task, thread int) {
		col := task * width
		cols := min(width, n-col)
		wide := (cols + lanes - 1) / lanes * lanes
		const part = lanes * lineFloats
		direct, through := e == kernels.Store && cols == wide, rows*wide
		if direct {
			through = 0
		}
		mem := d.work[thread].take(part + width*lineFloats + through)
		lines, panels, sums, stride := mem[:part], mem[part:part+width*lineFloats], mem[part+width*lineFloats:], wide
		if direct {
			sums, stride = out[col:], n
		}
		for from := 0; from < k; from += lineFloats {
			count := min(lineFloats, k-from)
			for p := range wide / lanes {
				is := piece{col/lanes + p, from, count}
				next := piece{is.panel + 1, from, count}
				if p == wide/lanes-1 {
					next = piece{col / lanes, from + count, min(lineFloats, k-from-count)}
				}
				w.decodePanel(d.path, panels[p*count*lanes:], is, next, lines)
			}
			for row := 0; row < rows; row += blockRows {
				d.path.tile(sums[row*stride:], stride, in[row*k+from:], k, min(blockRows, rows-row), panels, count*lanes, count, wide/lanes, from > 0)
			}
		}
		if !direct {
			for i := range rows {
				d.finish(out[i*n+col:][:cols], sums[i*wide:][:cols], e, scale)
			}
		}
	})
}

// finish stores sums, or adds them times scale.
func (d *Device) finish(out, sums []float32, e kernels.Epilogue, scale float32) {
	if e == kernels.Store {
		copy(out, sums)
		return
	}
	if scale != 1 {
		for j, v := range sums {
			sums[j] = v * scale
		}
	}
	d.path.scaleAdd(out, sums, 1)
}
