package cpu

import (
	"fmt"

	"github.com/evalrun/evalrun/kernels"
	"github.com/evalrun/evalrun/kernels/format"
)

// weight is a prepared weight: panels, which everything reads, the checkpoint's
// own rows no more. A large or quantised weight keeps its few bits: it has no
// panels, MatMul decodes them as it goes. Both give the same bits.
type weight struct {
	n, k   int
	panels []float32 // [ceil(n/16)][k][16], the last panel filled up with zeros
	source kernels.Weight
	values []float32 // in place of source for a weight that is trained
	lookup *lookup   // of a source in 4 bits
	use    kernels.Use
}

func (w *weight) Shape() (n, k int) { return w.n, w.k }
func (w *weight) Bytes() int64      { return 4 * int64(len(w.panels)) }

// Reads is the part of the checkpoint's bytes that products go on reading.
func (w *weight) Reads() int64 {
	if w.use&kernels.ForMatMul == 0 || w.panels != nil {
		return 0
	}
	values := int64(w.n) * int64(w.k)
	if q := w.source.Quant; q != nil {
		return q.Bytes(values)
	}
	bytes, _ := w.source.Type.Bytes(values)
	return bytes
}

// Prepare packs for MatMul what packs says. For Embed alone nothing is copied:
// rows are decoded from the checkpoint when they are wanted.
func (d *Device) Prepare(w kernels.Weight, use kernels.Use) (kernels.Prepared, error) {
	if err := kernels.CheckWeight(w); err != nil {
		return nil, err
	}
	p := &weight{n: w.N, k: w.K, source: w, use: use}
	if w.Quant != nil && w.Quant.Kind.FourBit() {
		p.lookup = newLookup(w.Quant.Map)
	}
	if use&kernels.ForMatMul != 0 && d.packs(w) {
		panels := make([]float32, (w.N+lanes-1)/lanes*lanes*w.K)
		d.pack(panels, p)
		p.panels, p.source.Data = panels, nil // the checkpoint's pages are not read again
	}
	return p, nil
}

// packs is the rule of Options.PackLimit. Float32 weights are packed whatever
// their size, unless nothing is: their own form is no smaller.
func (d *Device) packs(w kernels.Weight) bool {
	size := int64(w.N+lanes-1) / lanes * lanes * int64(w.K) * 4
	return w.Quant == nil && d.packLimit >= 0 && (size <= d.packLimit || w.Type == format.F32)
}

// pack writes the panels of w, one task a panel.
func (d *Device) pack(panels []float32, w *weight) {
	count, size := (w.n+lanes-1)/lanes, w.k*lanes
	d.pool.do(count, w.n*w.k > 1<<16, func(task, thread int) {
		lines := d.work[thread].take(lanes * lineFloats)
		for from := 0; from < w.k; from += lineFloats {
			w.decodePanel(d.path, panels[task*size+from*lanes:], piece{task, from, min(lineFloats, w.k-from)}, piece{}, lines)
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
		w.decode(d.path, out[t*w.k:(t+1)*w.k], int(id)*w.k)
	}
}
