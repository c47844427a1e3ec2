package cpu

import (
	"fmt"

	"github.com/evalrun/evalrun/kernels"
)

// weight is a prepared weight: panels for MatMul, the checkpoint's own rows
// for Embed and RowNorms. A quantised weight keeps its few bits: it has no
// panels, MatMul decodes them as it goes. Both give the same bits.
type weight struct {
	n, k   int
	panels []float32 // [ceil(n/16)][k][16], the last panel filled up with zeros
	source kernels.Weight
	values []float32 // in place of source for a weight that is trained
	use    kernels.Use
}

// decode writes values from, from+1, ... of the flattened weight to dst.
func (w *weight) decode(dst []float32, from int) {
	if w.values != nil {
		copy(dst, w.values[from:])
		return
	}
	w.source.Decode(dst, from)
}

func (w *weight) Shape() (n, k int) { return w.n, w.k }
func (w *weight) Bytes() int64      { return 4 * int64(len(w.panels)) }

// Prepare packs for MatMul what is not quantised. For Embed nothing is copied: rows are decoded from
// the checkpoint when they are wanted.
func (d *Device) Prepare(w kernels.Weight, use kernels.Use) (kernels.Prepared, error) {
	if err := kernels.CheckWeight(w); err != nil {
		return nil, err
	}
	p := &weight{n: w.N, k: w.K, source: w, use: use}
	if use&kernels.ForMatMul != 0 && w.Quant == nil {
		p.panels = make([]float32, (w.N+lanes-1)/lanes*lanes*w.K)
		d.pack(p.panels, p)
	}
	return p, nil
}

// pack writes the panels of w, one task a panel.
func (d *Device) pack(panels []float32, w *weight) {
	count, size := (w.n+lanes-1)/lanes, w.k*lanes
	d.pool.do(count, w.n*w.k > 1<<16, func(task, thread int) {
		w.decodePanel(panels[task*size:(task+1)*size], task, d.work[thread].take(w.k))
	})
}

// decodePanel writes panel p, [k][16]; line holds k values on the way. Lanes
// beyond the last output are zero.
func (w *weight) decodePanel(panel []float32, p int, line []float32) {
	outputs := min(lanes, w.n-p*lanes)
	if outputs < lanes {
		clear(panel)
	}
	for l := range outputs {
		w.decode(line, (p*lanes+l)*w.k)
		for k, v := range line {
			panel[k*lanes+l] = v
		}
	}
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
		w.decode(out[t*w.k:(t+1)*w.k], int(id)*w.k)
	}
}
