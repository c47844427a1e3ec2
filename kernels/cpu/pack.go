package cpu

import (
	"fmt"

	"github.com/evalrun/evalrun/kernels"
)

// weight is a prepared weight: panels for MatMul, the checkpoint's own rows
// for Embed.
type weight struct {
	n, k   int
	panels []float32 // [ceil(n/16)][k][16], the last panel filled up with zeros
	table  kernels.Weight
	row    int64 // bytes of a row of table
}

func (w *weight) Shape() (n, k int) { return w.n, w.k }
func (w *weight) Bytes() int64      { return 4 * int64(len(w.panels)) }

// Prepare packs for MatMul. For Embed nothing is copied: rows are decoded from
// the checkpoint when they are wanted.
func (d *Device) Prepare(w kernels.Weight, use kernels.Use) (kernels.Prepared, error) {
	if err := kernels.CheckWeight(w); err != nil {
		return nil, err
	}
	p := &weight{n: w.N, k: w.K}
	if use&kernels.ForEmbed != 0 {
		p.table = w
		p.row, _ = w.Type.Bytes(int64(w.K))
	}
	if use&kernels.ForMatMul != 0 {
		p.panels = make([]float32, (w.N+lanes-1)/lanes*lanes*w.K)
		d.pack(p.panels, w)
	}
	return p, nil
}

// pack writes the panels of w, one task a panel.
func (d *Device) pack(panels []float32, w kernels.Weight) {
	bytes, _ := w.Type.Bytes(int64(w.K))
	count := (w.N + lanes - 1) / lanes
	d.pool.do(count, w.N*w.K > 1<<16, func(task, thread int) {
		row := d.work[thread].take(w.K)
		panel := panels[task*w.K*lanes:][:w.K*lanes]
		for l := range min(lanes, w.N-task*lanes) {
			at := int64(task*lanes+l) * bytes
			w.Type.Decode(row, w.Data[at:at+bytes])
			for k, v := range row {
				panel[k*lanes+l] = v
			}
		}
	})
}

func (d *Device) Embed(dst kernels.Buffer, table kernels.Prepared, ids []int32) {
	w := table.(*weight)
	if w.row == 0 {
		panic("BUG: weight was not prepared for Embed")
	}
	out := kernels.Host(dst, len(ids)*w.k, "dst")
	for t, id := range ids {
		if id < 0 || int(id) >= w.n {
			panic(fmt.Sprintf("BUG: id %d in a table of %d", id, w.n))
		}
		w.table.Type.Decode(out[t*w.k:(t+1)*w.k], w.table.Data[int64(id)*w.row:])
	}
}
