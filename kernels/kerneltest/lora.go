package kerneltest

import (
	"fmt"

	"github.com/evalrun/evalrun/kernels"
	"github.com/evalrun/evalrun/kernels/format"
)

// adapter is a random low-rank change of a weight [n, k], of rank r.
type adapter struct {
	a, b  kernels.Weight
	scale float32
}

func (b bench) adapter(n, k, r int) adapter {
	return adapter{b.weight(format.F32, r, k), b.weight(format.F32, n, r), float32(1 + b.rand.IntN(3))}
}

func (a adapter) on(b bench, dev kernels.Device) kernels.LowRank {
	return kernels.LowRank{A: prepare(b, dev, a.a, kernels.ForMatMul), B: prepare(b, dev, a.b, kernels.ForMatMul), Scale: a.scale}
}

// lora mixes adapters of many ranks, rows without one and one in two places.
func lora(b bench) {
	for _, s := range [][2]int{{1, 1}, {16, 16}, {31, 67}, {48, 96}, {130, 33}} {
		n, k := s[0], s[1]
		one, big, odd := b.adapter(n, k, 1), b.adapter(n, k, 64), b.adapter(n, k, 7)
		const rows = 40
		x, start := b.normal(rows*k), b.normal(rows*n)
		b.both(fmt.Sprintf("[%d, %d]", n, k), rows*n, 2e-5, start, func(dev kernels.Device, dst kernels.Buffer) {
			first := one.on(b, dev)
			dev.LoRA(dst, on(b, dev, x), []kernels.Segment{
				{Row: 0, N: 1, LowRank: first}, {Row: 1, N: 13, LowRank: big.on(b, dev)}, {Row: 20, N: 0, LowRank: first},
				{Row: 21, N: 9, LowRank: odd.on(b, dev)}, {Row: 39, N: 1, LowRank: first},
			})
		})
	}
}

func rowNorms(b bench) {
	for _, typ := range []format.Type{format.F32, format.Q8_0} {
		for _, s := range [][3]int{{1, 32, 1}, {17, 64, 8}, {70, 96, 3}} {
			w, l := b.weight(typ, s[0], s[1]), b.adapter(s[0], s[1], s[2])
			b.both(fmt.Sprint(typ, s), s[0], 1e-5, nil, func(dev kernels.Device, dst kernels.Buffer) {
				dev.RowNorms(dst, prepare(b, dev, w, kernels.ForMatMul), l.on(b, dev))
			})
			b.both(fmt.Sprint(typ, s, " alone"), s[0], 1e-5, nil, func(dev kernels.Device, dst kernels.Buffer) {
				dev.RowNorms(dst, prepare(b, dev, w, kernels.ForMatMul), kernels.LowRank{})
			})
		}
	}
}
