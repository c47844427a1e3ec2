package cpu

import "github.com/evalrun/evalrun/kernels"

const (
	groupPanels = 4       // panels a task multiplies with: 64 outputs
	blockFloats = 1 << 16 // input values a task goes through: 256 KiB, a part of L2
	smallWork   = 1 << 17 // multiplications below which one thread is faster
)

// MatMul cuts the output into tasks of some rows by 64 columns. A task reads
// its panels once for all its rows while they lie in the cache.
func (d *Device) MatMul(dst, x kernels.Buffer, rows int, p kernels.Prepared, e kernels.Epilogue) {
	w := p.(*weight)
	d.multiply(kernels.Host(dst, rows*w.n, "dst"), kernels.Host(x, rows*w.k, "x"), rows, w, e, 1)
}

// multiply is MatMul with the product taken times scale before it is added.
func (d *Device) multiply(out, in []float32, rows int, w *weight, e kernels.Epilogue, scale float32) {
	if w.panels == nil {
		panic("BUG: weight was not prepared for MatMul")
	}
	n, k := w.n, w.k

	block := min(rows, max(24, blockFloats/k/24*24))
	blocks := (rows + block - 1) / max(block, 1)
	groups := (n + groupPanels*lanes - 1) / (groupPanels * lanes)
	d.pool.do(groups*blocks, rows*n*k >= smallWork, func(task, thread int) {
		row := task / groups * block
		col := task % groups * groupPanels * lanes
		r := min(block, rows-row)
		cols := min(groupPanels*lanes, n-col)
		panels := w.panels[col*k:]
		a := in[row*k:]
		if e == kernels.Store && cols%lanes == 0 {
			d.path.tile(out[row*n+col:], n, a, k, r, panels, k*lanes, k, cols/lanes)
			return
		}
		// The tile stores whole panels, and only stores: go through scratch.
		wide := (cols + lanes - 1) / lanes * lanes
		tmp := d.work[thread].take(r * wide)
		d.path.tile(tmp, wide, a, k, r, panels, k*lanes, k, wide/lanes)
		for i := range r {
			o, t := out[(row+i)*n+col:][:cols], tmp[i*wide:][:cols]
			if e == kernels.Store {
				copy(o, t)
				continue
			}
			if scale != 1 {
				for j, v := range t {
					t[j] = v * scale
				}
			}
			d.path.scaleAdd(o, t, 1)
		}
	})
}
