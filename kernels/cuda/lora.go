package cuda

import (
	"math"

	"github.com/evalrun/evalrun/kernels"
)

// narrow is the most that the small side of an adapter's matrices has for the
// kernels of src/lora.cu to multiply it.
const narrow = 64

// takes is the number of rows that a block of src/lora.cu takes.
const takes = 8

// plain says that the values lie as floating point, one after another.
func (w *weight) plainValues() bool { return w.kind <= kindBF16 }

// LoRA is two kernels for all segments, shrink and expand. The bits of a row are
// those that it has in a segment of its own.
func (d *Device) LoRA(dst, x kernels.Buffer, segments []kernels.Segment) {
	if len(segments) == 0 {
		return
	}
	first := segments[0]
	_, k := first.A.Shape()
	n, _ := first.B.Shape()
	kernels.CheckSegments(segments, dst.Len()/n)
	plan := loraPlan{}
	for _, s := range segments {
		a, b := s.A.(*weight), s.B.(*weight)
		if !a.plainValues() || !b.plainValues() {
			d.loraEach(dst, x, segments)
			return
		}
		plan.add(s.Row, s.N, a, b, s.Scale)
	}
	if len(plan.blocks) == 0 {
		return
	}
	low := d.scratch(plan.values)
	blocks, adapters, count := d.table(plan.blocks), d.table(plan.adapters), len(plan.blocks)/4
	d.launch("loraShrink", count, (plan.rank+7)/8, 256, 0, low.at, on(x, plan.rows*k, "x"), num(k), blocks, adapters)
	d.launch("loraExpand", count, (n+255)/256, 256, 0, on(dst, plan.rows*n, "dst"), low.at, num(n), blocks, adapters)
	d.release(low)
}

// loraEach multiplies one segment after another.
func (d *Device) loraEach(dst, x kernels.Buffer, segments []kernels.Segment) {
	for _, s := range segments {
		a, b := s.A.(*weight), s.B.(*weight)
		if s.N == 0 {
			continue
		}
		in := on(x, (s.Row+s.N)*a.k, "x") + 4*uint64(s.Row*a.k)
		out := on(dst, (s.Row+s.N)*b.n, "dst") + 4*uint64(s.Row*b.n)
		low := d.scratch(s.N * a.n)
		d.multiply(low.at, in, s.N, a, kernels.Store, 1)
		d.multiply(out, low.at, s.N, b, kernels.Add, s.Scale)
		d.release(low)
	}
}

// loraPlan collects the tables of src/lora.cu.
type loraPlan struct {
	blocks, adapters   []int32
	values, rank, rows int // of low, the largest, the last
}

func (p *loraPlan) add(row, n int, a, b *weight, scale float32) {
	adapter := len(p.adapters) / 12
	if n == 0 {
		return
	}
	for i := 0; i < n; i += takes {
		p.blocks = append(p.blocks, int32(adapter), int32(row+i), int32(min(takes, n-i)), int32(i))
	}
	word := func(x uint64) (low, high int32) { return int32(uint32(x)), int32(uint32(x >> 32)) }
	four := func(w *weight, at uint64) int32 { // four values may be read at once
		size := uint64(16)
		if w.kind != kindF32 {
			size = 8
		}
		if at%size == 0 && w.k%4 == 0 {
			return 1
		}
		return 0
	}
	a0, a1 := word(a.args[0])
	var b0, b1, kindB, fourB int32
	if b != nil {
		b0, b1 = word(b.args[0])
		kindB, fourB = int32(b.kind), four(b, b.args[0])
	}
	p.adapters = append(p.adapters, a0, a1, b0, b1, int32(a.kind), kindB, four(a, a.args[0]), fourB,
		int32(a.n), int32(p.values), int32(math.Float32bits(scale)), 0)
	p.values += n * a.n
	p.rank, p.rows = max(p.rank, a.n), row+n
}

// shrink is MatMul with a weight of few outputs.
func (d *Device) shrink(dst, x uint64, rows int, w *weight) {
	plan := loraPlan{}
	plan.add(0, rows, w, nil, 1)
	d.launch("loraShrink", len(plan.blocks)/4, (w.n+7)/8, 256, 0, dst, x, num(w.k), d.table(plan.blocks), d.table(plan.adapters))
}
