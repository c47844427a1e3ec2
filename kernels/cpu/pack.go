package cpu

import (
	"fmt"

	"github.com/evalrun/evalrun/kernels"
)

// weight is a prepared weight: panels for MatMul, the checkpoint's own rows
// for Embed and RowNorms.
type weight struct {
	n, k   int
	panels []float32 // [ceil(n/16)][k][16], the last panel filled up with zeros
	source kernels.Weight
	use    kernels.Use
}

func (w *weight) Shape() (n, k int) { return w.n, w.k }
func (w *weight) Bytes() int64      { return 4 * int64(len(w.panels)) }

// Prepare packs for MatMul. For Embed nothing is copied: rows are decoded from
// the checkpoint when they are wanted.
func (d *Device) Prepare(w kernels.Weight, use kernels.Use) (kernels.Prepared, error) {
	if err := kernels.CheckWeight(w); err != nil {
		return nil, err
	}
	p := &weight{n: w.N, k: w.K, source: w, use: use}
	if use&kernels.ForMatMul != 0 {
		p.panels = make([]float32, (w.N+lanes-1)/lanes*lanes*w.K)
		d.pack(p.panels, w)
	}
	return p, nil
}

// pack writes the panels of w, one task a panel.
func (d *Device) pack(panels []float32, w kernels.Weight) {
	count := (w.N + lanes - 1) / lanes
	d.pool.do(count, w.N*w.K > 1<<16, func(task, thread int) {
		row := d.work[thread].take(w.K)
		panel := panels[task*w.K*lanes:][:w.K*lanes]
		for l := range min(lanes, w.N-task*lanes) {
			w.Decode(row, (task*lanes+l)*w.K)
			for k, v := range row {
				panel[k*lanes+l] = v
			}
		}
	})
}

func (d *Device) Embed(dst kernels.Buffer, table kernels.Prepared, ids []int32) {
	w := table.(*weight)
	if w.use&kernels.ForEmbed == 0 {
		panic("BUG: weight was not prepared for Embed")
	}
	out := kernels.Host(dst, len(ids)*w.k, "dst")
	for t, id := range ids {
		if id < 0 || int(id) >= w.n {
			panic(fmt.Sprintf("BUG: id %d in a table of %d", id, w.n))
		}
		w.source.Decode(out[t*w.k:(t+1)*w.k], int(id)*w.k)
	}
}
