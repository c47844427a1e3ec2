package cpu

import "github.com/evalrun/evalrun/kernels"

const (
	groupPanels = 4       // panels a task multiplies with: 64 outputs
	blockFloats = 1 << 16 // input values a task goes through: 256 KiB, a part of L2
	panelFloats = 1 << 17 // values of decoded panels that a task keeps: 512 KiB, a part of L2
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
	if w.use&kernels.ForMatMul == 0 {
		panic("BUG: weight was not prepared for MatMul")
	}
	n, k := w.n, w.k
	block := min(rows, max(24, blockFloats/k/24*24))
	blocks := (rows + block - 1) / max(block, 1)
	width := groupPanels * lanes
	if w.panels == nil {
		// Panels are decoded for the task: once for all rows, few enough to stay
		// in the cache.
		blocks, width = min(rows, 1), lanes*max(1, min(groupPanels, panelFloats/(k*lanes)))
	}
	groups := (n + width - 1) / width
	d.pool.do(groups*blocks, rows*n*k >= smallWork || w.panels == nil && n*k >= smallWork/8, func(task, thread int) {
		col := task % groups * width
		cols := min(width, n-col)
		wide := (cols + lanes - 1) / lanes * lanes
		work := &d.work[thread]
		if w.panels != nil {
			row := task / groups * block
			r := min(block, rows-row)
			d.strip(out, in[row*k:], row, r, w, w.panels[col*k:], col, cols, work.take(r*wide), e, scale)
			return
		}
		const size = lanes * lineFloats
		mem := work.take(wide*k + size + block*wide)
		panels, lines, tmp := mem[:wide*k], mem[wide*k:wide*k+size], mem[wide*k+size:]
		for p := range wide / lanes {
			w.decodePanel(d.path, panels[p*lanes*k:(p+1)*lanes*k], col/lanes+p, lines)
		}
		for row := 0; row < rows; row += block {
			d.strip(out, in[row*k:], row, min(block, rows-row), w, panels, col, cols, tmp, e, scale)
		}
	})
}

// strip multiplies r rows of a, which go to rows from row of out, with cols
// columns from col, whose panels lie at the start of panels.
func (d *Device) strip(out, a []float32, row, r int, w *weight, panels []float32, col, cols int, tmp []float32, e kernels.Epilogue, scale float32) {
	n, k := w.n, w.k
	if e == kernels.Store && cols%lanes == 0 {
		d.path.tile(out[row*n+col:], n, a, k, r, panels, k*lanes, k, cols/lanes)
		return
	}
	// The tile stores whole panels, and only stores: go through scratch.
	wide := (cols + lanes - 1) / lanes * lanes
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
}
