package kernelbench

import (
	"encoding/binary"
	"slices"

	"github.com/evalrun/evalrun/kernels"
	"github.com/evalrun/evalrun/kernels/format"
)

// formats are those that checkpoints come in.
var formats = []string{"F32", "BF16", "NF4", "INT8", "Q8_0", "Q4_K", "Q6_K"}

// weight makes a random weight [n, k] of a format; NF4 with scales in two levels,
// rounded to bfloat16, as QLoRA has it.
func (b *bench) weight(name string, n, k int) (kernels.Weight, error) {
	w := kernels.Weight{Name: name, N: n, K: k}
	values := func() []float32 {
		x := b.random(n * k)
		for i := range x {
			x[i] /= 16
		}
		return x
	}
	if name == "NF4" || name == "INT8" {
		kind, block, round := format.NF4, 64, format.BF16
		if name == "INT8" {
			kind, block, round = format.Int8, k, format.F32
		}
		x := values()
		q, err := format.Quantize(kind, block, len(x), round, func(dst []float32, from int) { copy(dst, x[from:]) })
		if err != nil {
			return w, err
		}
		if name == "NF4" {
			q.Double()
		}
		w.Quant = q
		return w, nil
	}
	t, err := format.Parse(name)
	if err != nil {
		return w, err
	}
	size, _ := t.Bytes(int64(n) * int64(k))
	w.Type, w.Data = t, make([]byte, size)
	if t.CanEncode() {
		t.Encode(w.Data, values())
		return w, nil
	}
	// Blocks that are only read: any bytes, with small scales in binary16.
	for i := 0; i+8 <= len(w.Data); i += 8 {
		binary.LittleEndian.PutUint64(w.Data[i:], b.rng.Uint64())
	}
	scales := map[format.Type][]int{format.Q4_K: {0, 2}, format.Q6_K: {208}}[t]
	for at := 0; at < len(w.Data); at += t.BlockBytes() {
		for _, s := range scales {
			binary.LittleEndian.PutUint16(w.Data[at+s:], format.F32ToF16(1e-4))
		}
	}
	return w, nil
}

// another is the same weight in memory of its own.
func another(w kernels.Weight) kernels.Weight {
	w.Data = slices.Clone(w.Data)
	if w.Quant != nil {
		q := *w.Quant
		q.Codes = slices.Clone(q.Codes)
		w.Quant = &q
	}
	return w
}

// beyondCaches is what a set of weights takes at least so that no cache keeps one
// until its next turn.
const beyondCaches = 160 << 20

// prepared gives a weight as often as takes so many bytes, and the bytes that a
// product reads of one.
func (b *bench) prepared(w kernels.Weight, use kernels.Use, atLeast int64) (ps []kernels.Prepared, traffic float64, err error) {
	for total := int64(0); total == 0 || total < atLeast; {
		p, err := b.dev.Prepare(another(w), use)
		if err != nil {
			return nil, 0, err
		}
		each := p.Bytes() + kernels.Reads(p)
		if each == 0 {
			each = int64(len(w.Data))
			if w.Quant != nil {
				each = w.Quant.Bytes(int64(w.N) * int64(w.K))
			}
		}
		ps, traffic, total = append(ps, p), float64(each), total+each
	}
	return ps, traffic, nil
}
