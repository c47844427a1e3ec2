package cpu

import (
	"fmt"

	"github.com/evalrun/evalrun/kernels"
)

func (d *Device) PrepareTrained(values kernels.Buffer, n, k int, use kernels.Use) (kernels.Prepared, error) {
	if n <= 0 || k <= 0 || values.Len() < n*k {
		return nil, fmt.Errorf("trained weight [%d, %d] in %d values", n, k, values.Len())
	}
	w := &weight{n: n, k: k, values: kernels.Host(values, n*k, "values"), use: use}
	if use&kernels.ForMatMul != 0 {
		w.panels = make([]float32, (n+lanes-1)/lanes*lanes*k)
	}
	d.Refresh(w)
	return w, nil
}

func (d *Device) Refresh(p kernels.Prepared) {
	w := p.(*weight)
	if w.values == nil {
		panic("BUG: refreshed a weight that is not trained")
	}
	if w.panels != nil {
		d.pack(w.panels, w)
	}
}

// backRows is the number of rows that go through a strip of MatMulBack together.
const backRows = 96

// MatMulBack gives each thread strips of the columns of dx. The rows of the
// weight are decoded into panels of 16 columns, a chunk of rows at a time, and
// dy multiplied with them as MatMul does.
func (d *Device) MatMulBack(dx, dy kernels.Buffer, rows int, p kernels.Prepared, e kernels.Epilogue) {
	w := p.(*weight)
	n, k := w.n, w.k
	out, in := kernels.Host(dx, rows*k, "dx"), kernels.Host(dy, rows*n, "dy")
	width := groupPanels * lanes
	if w.values == nil && w.source.Quant == nil {
		width = max(width, w.source.Type.BlockSize())
	}
	d.pool.do((k+width-1)/width, rows*n*k >= smallWork, func(task, thread int) {
		col := task * width
		cols := min(width, k-col)
		wide := (cols + lanes - 1) / lanes * lanes
		chunk := min(n, kernels.ChunkRows)
		mem := d.work[thread].take(wide*chunk + wide + backRows*wide)
		panels, line, tmp := mem[:wide*chunk], mem[wide*chunk:wide*chunk+wide], mem[wide*chunk+wide:]
		clear(line)
		for from := 0; from < n; from += chunk {
			count := min(chunk, n-from)
			for i := range count {
				w.decode(d.path, line[:cols], (from+i)*k+col)
				for p := 0; p < wide; p += lanes {
					*(*[lanes]float32)(panels[p*count+i*lanes:]) = [lanes]float32(line[p:])
				}
			}
			store := e == kernels.Store && from == 0
			for row := 0; row < rows; row += backRows {
				r := min(backRows, rows-row)
				if store && cols == wide {
					d.path.tile(out[row*k+col:], k, in[row*n+from:], n, r, panels, count*lanes, count, wide/lanes, false)
					continue
				}
				d.path.tile(tmp, wide, in[row*n+from:], n, r, panels, count*lanes, count, wide/lanes, false)
				for i := range r {
					o, t := out[(row+i)*k+col:][:cols], tmp[i*wide:][:cols]
					if store {
						copy(o, t)
					} else {
						d.path.scaleAdd(o, t, 1)
					}
				}
			}
		}
	})
}

// Tiles of WeightGrad: outputs of a task.
const (
	gradRows = 48
	gradCols = 512
)

// WeightGrad multiplies the transposed dy with panels of x, a chunk of rows at
// a time.
func (d *Device) WeightGrad(dw, dy, x kernels.Buffer, rows, n, k int) {
	out, g, in := kernels.Host(dw, n*k, "dw"), kernels.Host(dy, rows*n, "dy"), kernels.Host(x, rows*k, "x")
	padded := (k + lanes - 1) / lanes * lanes
	for from := 0; from < rows; from += kernels.ChunkRows {
		count := min(kernels.ChunkRows, rows-from)
		panels := d.tall.take(padded * count)
		d.pool.do(padded/lanes, padded*count > smallWork/4, func(p, _ int) {
			packColumns(panels[p*lanes*count:][:lanes*count], in[from*k+p*lanes:], k, count, min(lanes, k-p*lanes))
		})
		down, across := (n+gradRows-1)/gradRows, (padded+gradCols-1)/gradCols
		d.pool.do(down*across, count*n*k > smallWork, func(task, thread int) {
			row, col := task/across*gradRows, task%across*gradCols
			r, wide := min(gradRows, n-row), min(gradCols, padded-col)
			mem := d.work[thread].take(r*count + r*wide)
			turned, tmp := mem[:r*count], mem[r*count:]
			transpose(turned, count, g[from*n+row:], n, count, r)
			d.path.tile(tmp, wide, turned, count, r, panels[col*count:], count*lanes, count, wide/lanes, false)
			cols := min(wide, k-col)
			for i := range r {
				d.path.scaleAdd(out[(row+i)*k+col:][:cols], tmp[i*wide:][:cols], 1)
			}
		})
	}
}

// packColumns writes count rows of x, stride values apart, as a panel
// [count][16] of their first cols values.
func packColumns(panel, x []float32, stride, count, cols int) {
	if cols < lanes {
		clear(panel)
	}
	for t := range count {
		copy(panel[t*lanes:t*lanes+cols], x[t*stride:][:cols])
	}
}

// transpose writes the first cols columns of count rows of x as rows of dst.
func transpose(dst []float32, ldd int, x []float32, ldx, count, cols int) {
	for t := range count {
		for i, v := range x[t*ldx:][:cols] {
			dst[i*ldd+t] = v
		}
	}
}

func (d *Device) ColumnDots(dst, a, b kernels.Buffer, rows int) {
	c := dst.Len()
	out, x := kernels.Host(dst, c, "dst"), kernels.Host(a, rows*c, "a")
	var y []float32
	if b != nil {
		y = kernels.Host(b, rows*c, "b")
	}
	const width = 256
	d.pool.do((c+width-1)/width, rows*c > smallWork/4, func(task, thread int) {
		col := task * width
		cols := min(width, c-col)
		sum := d.work[thread].take(cols)
		for from := 0; from < rows; from += kernels.ChunkRows {
			clear(sum)
			for t := from; t < min(rows, from+kernels.ChunkRows); t++ {
				row := x[t*c+col:][:cols]
				if y == nil {
					d.path.scaleAdd(sum, row, 1)
					continue
				}
				for i, v := range y[t*c+col:][:cols] {
					sum[i] = float32(row[i]*v) + sum[i]
				}
			}
			d.path.scaleAdd(out[col:col+cols], sum, 1)
		}
	})
}
