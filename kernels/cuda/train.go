package cuda

import (
	"fmt"
	"unsafe"

	"github.com/evalrun/evalrun/kernels"
)

func (d *Device) ColumnDots(dst, a, b kernels.Buffer, rows int) {
	c := dst.Len()
	var second uint64
	if b != nil {
		second = on(b, rows*c, "b")
	}
	d.each("columnDots", c, on(dst, c, "dst"), on(a, rows*c, "a"), second, num(rows), num(c))
}

func (d *Device) RMSNormBack(dx, dweight, dy, x, weight kernels.Buffer, rows int, eps float32, e kernels.Epilogue) {
	d.normBack(dx, 0, dweight, nil, dy, x, weight, rows, eps, e, 0)
}

func (d *Device) RMSNormBackBoth(dx, half, dweight, dy, x, weight kernels.Buffer, rows int, eps float32, e kernels.Epilogue) {
	d.normBack(dx, onBrain(half, rows*weight.Len(), "half"), dweight, nil, dy, x, weight, rows, eps, e, 0)
}

func (d *Device) LayerNormBack(dx, dweight, dbias, dy, x, weight kernels.Buffer, rows int, eps float32, e kernels.Epilogue) {
	d.normBack(dx, 0, dweight, dbias, dy, x, weight, rows, eps, e, 1)
}

// normBack is one kernel, where the norm's own values are trained three: what each
// row needs, their gradients, and last the rows', which may take the place of dy and go
// as bfloat16 to half as well, where that is not 0.
func (d *Device) normBack(dx kernels.Buffer, half uint64, dweight, dbias, dy, x, weight kernels.Buffer, rows int, eps float32, e kernels.Epilogue, centred uint64) {
	c := weight.Len()
	g, in := on(dy, rows*c, "dy"), on(x, rows*c, "x")
	row := func(dx, half, stats uint64) {
		d.launch("normBack", rows, 1, threadsFor(c), 0, dx, half, stats, g, in, on(weight, c, "weight"), num(c), real32(eps), centred, add(e))
	}
	var dw, db uint64
	if dweight != nil {
		dw = on(dweight, c, "dweight")
	}
	if dbias != nil {
		db = on(dbias, c, "dbias")
	}
	if dw != 0 || db != 0 {
		stats := d.scratch(2 * rows)
		row(0, 0, stats.at)
		d.each("normWeights", c, dw, db, stats.at, g, in, num(rows), num(c))
		d.release(stats)
	}
	row(on(dx, rows*c, "dx"), half, 0)
}

// AttentionTrain goes through the pages of Attention, for the same bits; after
// Brain it goes through the matrix units.
func (d *Device) AttentionTrain(dst, lse, q, k, v kernels.Buffer, runs []kernels.Run, s kernels.AttentionShape) {
	rows := q.Len() / (s.Heads * s.Dim)
	kernels.CheckRuns(runs, rows)
	if d.RoundsAttention(s) {
		d.flash(dst, lse, q, k, v, runs, s, rows)
		return
	}
	spans, pages := kernels.Pages(runs)
	if pages == 0 {
		return
	}
	if c := &d.train; c.pages < pages || c.heads != s.KVHeads || c.dim != s.Dim {
		for _, b := range []*block{c.k, c.v} {
			if b != nil {
				d.heap.drop(b)
			}
		}
		*c = cache{}
		fresh, err := d.newCache(pages, s.KVHeads, s.Dim)
		if err != nil {
			d.fault("memory of attention", err)
		}
		d.train = *fresh
	}
	d.StoreKV(&d.train, k, v, spans)
	d.attention(on(dst, q.Len(), "dst"), on(lse, rows*s.Heads, "lse"), on(q, q.Len(), "q"), q.Len(), &d.train, spans, s.Heads, s.AttentionOptions)
}

func (d *Device) AttentionBack(dq, dk, dv, dy, y, lse, q, k, v kernels.Buffer, runs []kernels.Run, s kernels.AttentionShape) {
	rows := q.Len() / (s.Heads * s.Dim)
	kernels.CheckRuns(runs, rows)
	if d.RoundsAttention(s) {
		d.flashBack(dq, dk, dv, dy, y, lse, q, k, v, runs, s, rows)
		return
	}
	wide, narrow := rows*s.Heads*s.Dim, rows*s.KVHeads*s.Dim
	// Tiles of all sizes give the same bits; the largest is the fastest.
	side := 32
	shared := func() int { return 4 * (4*side*(s.Dim+1) + 2*side*(side+1)) }
	for side > 8 && shared() > d.driver.Shared() {
		side /= 2
	}
	var tiles []int32
	for _, r := range runs {
		for own := 0; own < r.N; own += side {
			tiles = append(tiles, int32(r.Row), int32(r.N), int32(own), 0)
		}
	}
	dots := d.scratch(rows * s.Heads)
	d.launch("attentionDots", (rows*s.Heads+7)/8, 1, 256, 0, dots.at, on(dy, wide, "dy"), on(y, wide, "y"), num(rows*s.Heads), num(s.Dim))
	common := []uint64{on(dy, wide, "dy"), on(lse, rows*s.Heads, "lse"), dots.at, on(q, wide, "q"), on(k, narrow, "k"), on(v, narrow, "v"), d.table(tiles),
		num(s.Heads), num(s.KVHeads), num(s.Dim), real32(s.Scale), num(s.Window), real32(s.SoftCap)}
	defer d.release(dots)
	d.launch(fmt.Sprintf("attentionBackQ_%d", side), len(tiles)/4, s.Heads, 256, shared(), append([]uint64{on(dq, wide, "dq")}, common...)...)
	d.launch(fmt.Sprintf("attentionBackKV_%d", side), len(tiles)/4, s.KVHeads, 256, shared(), append([]uint64{on(dk, narrow, "dk"), on(dv, narrow, "dv")}, common...)...)
}

func (d *Device) CrossEntropy(loss, dlogits, logits kernels.Buffer, vocab int, labels []int32, weights []float32) {
	n := len(labels) * vocab
	var grad, w uint64
	if dlogits != nil {
		grad = on(dlogits, n, "dlogits")
		w = d.table(unsafe.Slice((*int32)(unsafe.Pointer(unsafe.SliceData(weights))), len(labels)))
	}
	d.launch("crossEntropy", len(labels), 1, rowThreads, 0, on(loss, len(labels), "loss"), grad, on(logits, n, "logits"), num(vocab), d.table(labels), w)
}

func (d *Device) Dropout(dst, x kernels.Buffer, cols int, o kernels.Dropping, e kernels.Epilogue) {
	rows := len(o.Rows)
	d.each("dropout", rows*((cols+3)/4), append([]uint64{on(dst, rows*cols, "dst"), on(x, rows*cols, "x"), num(rows), num(cols), add(e)}, d.dropping(o)...)...)
}
