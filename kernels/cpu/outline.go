package cpu

import (
	"github.com/evalrun/evalrun/kernels"
)

// outline counts what a Device of the same options takes: the panels of
// weights, and for each operation the memory that its threads work in. The
// formulas repeat what the operations ask for; a test holds them together.
type outline struct {
	kernels.Shapes
	of        *Device
	work      int // values, of each thread
	low, tall int
	runs      cache // the shape alone
}

var (
	_ kernels.Outline     = (*outline)(nil)
	_ kernels.Outliner    = (*Device)(nil)
	_ kernels.TrainDevice = (*Device)(nil)
)

// Outline is the device for plans of memory.
func (d *Device) Outline() kernels.Outline { return &outline{of: d} }

// Reserve takes the memory of all threads at once.
func (d *Device) Reserve(o kernels.Outline) error {
	x := o.(*outline)
	for i := range d.work {
		d.work[i].take(x.work)
	}
	d.low.take(x.low)
	d.tall.take(x.tall)
	if x.runs.pages > 0 {
		made, err := d.AllocKV(x.runs.pages, x.runs.heads, x.runs.dim)
		if err != nil {
			return err
		}
		d.runs = made.(*cache)
	}
	return nil
}

// Scratch is the memory of the device's own operations, in bytes.
func (d *Device) Scratch() int64 {
	n := cap(d.low.floats) + cap(d.tall.floats)
	for i := range d.work {
		n += cap(d.work[i].floats)
	}
	bytes := 4 * int64(n)
	if d.runs != nil {
		bytes += d.runs.Bytes()
	}
	return bytes
}

func (o *outline) scratch() int64 {
	bytes := 4 * int64(o.work*o.of.Threads()+o.low+o.tall)
	if o.runs.pages > 0 {
		bytes += kernels.KVBytes(o.runs.pages, o.runs.heads, o.runs.dim)
	}
	return bytes
}

func (o *outline) Name() string { return "cpu" }

// Taken is what was given out, and the memory of the operations.
func (o *outline) Taken() int64 { return o.Shapes.Taken() + o.scratch() }

// takes notes that a task works in so many values.
func (o *outline) takes(values int) { o.work = max(o.work, values) }

// shaped is a weight of which there is only the shape.
type shaped struct {
	kernels.Shaped
	packed bool
	block  int // of the format's values
}

func padded(n int) int { return (n + lanes - 1) / lanes * lanes }

func (o *outline) Prepare(w kernels.Weight, use kernels.Use) (kernels.Prepared, error) {
	s := &shaped{Shaped: kernels.Shaped{N: w.N, K: w.K}, block: 1}
	if w.Quant == nil {
		s.block = w.Type.BlockSize()
	}
	if use&kernels.ForMatMul == 0 {
		return s, nil
	}
	if s.packed = o.of.packs(w); s.packed {
		s.Held = 4 * int64(padded(w.N)) * int64(w.K)
		o.takes(lanes * lineFloats)
	} else {
		s.Read = (&weight{n: w.N, k: w.K, source: w, use: use}).Reads()
	}
	o.Give(s.Held)
	return s, nil
}

func (o *outline) PrepareTrained(_ kernels.Buffer, n, k int, use kernels.Use) (kernels.Prepared, error) {
	s := &shaped{Shaped: kernels.Shaped{N: n, K: k}, packed: use&kernels.ForMatMul != 0, block: 1}
	if s.packed {
		s.Held = 4 * int64(padded(n)) * int64(k)
		o.takes(lanes * lineFloats)
	}
	o.Give(s.Held)
	return s, nil
}

func (o *outline) MatMul(_, _ kernels.Buffer, rows int, p kernels.Prepared, e kernels.Epilogue) {
	o.multiply(rows, p.(*shaped), e)
}

func (o *outline) multiply(rows int, w *shaped, e kernels.Epilogue) {
	const width = groupPanels * lanes
	through := 0 // columns of the widest group of panels that is not stored directly
	switch last := w.N % width; {
	case e != kernels.Store:
		through = min(padded(w.N), width)
	case last%lanes != 0:
		through = padded(last)
	}
	if w.packed {
		o.takes(min(rows, blockRows) * through)
		return
	}
	o.takes(lanes*lineFloats + width*lineFloats + rows*through)
}

func (o *outline) Activate(_, _ kernels.Buffer, _ int, _ kernels.Activation) {
	o.takes(activationFloats)
}

func (o *outline) Gate(_, _, _ kernels.Buffer, _ int, _ kernels.Activation) {
	o.takes(activationFloats)
}

func (o *outline) ActivateBack(_, _, _ kernels.Buffer, _ int, _ kernels.Activation) {
	o.takes(4 * activationFloats)
}

func (o *outline) GateBack(_, _, _, _, _ kernels.Buffer, _ int, _ kernels.Activation) {
	o.takes(4 * activationFloats)
}

func (o *outline) LoRA(_, _ kernels.Buffer, segments []kernels.Segment) {
	for _, s := range segments {
		a, b := s.A.(*shaped), s.B.(*shaped)
		o.low = max(o.low, s.N*a.N)
		o.multiply(s.N, a, kernels.Store)
		o.multiply(s.N, b, kernels.Add)
	}
}

func (o *outline) RowNorms(_ kernels.Buffer, p kernels.Prepared, l kernels.LowRank) {
	_, k := p.Shape()
	rank := 0
	if l.A != nil {
		rank, _ = l.A.Shape()
		o.tall = max(o.tall, rank*k)
	}
	o.takes(2*k + rank)
}

func (o *outline) MatMulBack(_, _ kernels.Buffer, _ int, p kernels.Prepared, _ kernels.Epilogue) {
	w := p.(*shaped)
	wide := padded(min(max(groupPanels*lanes, w.block), w.K))
	o.takes(wide*min(w.N, kernels.ChunkRows) + wide + backRows*wide)
}

func (o *outline) WeightGrad(_, _, _ kernels.Buffer, rows, n, k int) {
	count := min(rows, kernels.ChunkRows)
	o.tall = max(o.tall, padded(k)*count)
	o.takes(min(gradRows, n)*count + min(gradRows, n)*min(gradCols, padded(k)))
}

func (o *outline) ColumnDots(dst, _, _ kernels.Buffer, _ int) { o.takes(min(256, dst.Len())) }

func (o *outline) RMSNormBack(_, _, _, _, weight kernels.Buffer, rows int, _ float32, _ kernels.Epilogue) {
	o.normBack(weight.Len(), rows)
}

func (o *outline) LayerNormBack(_, _, _, _, _, weight kernels.Buffer, rows int, _ float32, _ kernels.Epilogue) {
	o.normBack(weight.Len(), rows)
}

func (o *outline) normBack(width, rows int) {
	o.low = max(o.low, 2*rows)
	o.takes(3 * width)
}

func (o *outline) RopeBack(_ kernels.Buffer, _, _ int, _, _ kernels.Buffer, half int, _ []int32, _ kernels.RopeStyle) {
	o.takes(half)
}

func (o *outline) AttentionTrain(_, _, _, _, _ kernels.Buffer, runs []kernels.Run, s kernels.AttentionShape) {
	pages, longest := 0, 0
	for _, r := range runs {
		pages += (r.N + page - 1) / page
		longest = max(longest, r.N)
	}
	if pages == 0 {
		return
	}
	rows := min(longest, queryTokens) * s.Heads / s.KVHeads
	o.takes(rows * (s.Dim + page + 2*padded(s.Dim) + 3))
	if kernels.KVBytes(pages, s.KVHeads, s.Dim) > kernels.KVBytes(o.runs.pages, o.runs.heads, o.runs.dim) {
		o.runs = cache{pages: pages, heads: s.KVHeads, dim: s.Dim}
	}
}

func (o *outline) AttentionBack(_, _, _, _, _, _, _, _, _ kernels.Buffer, runs []kernels.Run, s kernels.AttentionShape) {
	for _, r := range runs {
		_, total := new(backMemory).parts(r.N, s.Dim)
		o.takes(total)
	}
}

func (o *outline) CrossEntropy(_, _, _ kernels.Buffer, vocab int, _ []int32, _ []float32) {
	o.takes(vocab)
}
