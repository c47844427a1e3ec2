package kerneltest

import (
	"fmt"
	"math"

	"github.com/evalrun/evalrun/kernels"
	"github.com/evalrun/evalrun/kernels/format"
)

func rmsNorm(b bench) {
	for _, c := range []int{1, 2, 7, 16, 48, 67, 256, 1001} {
		for _, rows := range []int{1, 3, 40} {
			x, w := b.normal(rows*c), b.normal(c)
			b.both(fmt.Sprintf("[%d, %d]", rows, c), rows*c, 1e-5, x, func(dev kernels.Device, dst kernels.Buffer) {
				if rows == 3 { // in place
					dev.RMSNorm(dst, dst, on(b, dev, w), rows, 1e-5)
					return
				}
				dev.RMSNorm(dst, on(b, dev, x), on(b, dev, w), rows, 1e-5)
			})
		}
	}
}

func layerNorm(b bench) {
	for _, c := range []int{2, 7, 16, 48, 67, 256, 1001} {
		for _, rows := range []int{1, 3, 40} {
			x, w, bias := b.normal(rows*c), b.normal(c), b.normal(c)
			for i := range x {
				x[i] += 3
			}
			b.both(fmt.Sprintf("[%d, %d]", rows, c), rows*c, 2e-5, x, func(dev kernels.Device, dst kernels.Buffer) {
				in := dst // in place
				if rows == 3 {
					in = on(b, dev, x)
				}
				dev.LayerNorm(dst, in, on(b, dev, w), on(b, dev, bias), rows, 1e-5)
			})
		}
	}
}

func rope(b bench) {
	for _, c := range []struct{ heads, dim, half int }{{1, 2, 1}, {3, 16, 8}, {2, 16, 3}, {5, 10, 5}} {
		pos := []int32{0, 3, 19, 2}
		x := b.normal(len(pos) * c.heads * c.dim)
		cos, sin := b.normal(20*c.half), b.normal(20*c.half)
		for _, style := range []kernels.RopeStyle{kernels.RopeHalves, kernels.RopePairs} {
			b.both(fmt.Sprint(c, style), len(x), 1e-6, x, func(dev kernels.Device, dst kernels.Buffer) {
				dev.Rope(dst, c.heads, c.dim, on(b, dev, cos), on(b, dev, sin), c.half, pos, style)
			})
		}
	}
}

var activationNames = map[kernels.Activation]string{kernels.SiLU: "SiLU", kernels.GELUTanh: "GELUTanh", kernels.GELUErf: "GELUErf"}

// activations have an absolute tolerance far below the 1.4e-3 by which a wrong
// GELU moves the logits of a small model: the two GELUs differ by 4.7e-4 at
// most.
func activations(b bench) {
	for a, name := range activationNames {
		for _, n := range []int{1, 2, 7, 8, 9, 15, 16, 17, 31, 33, 67, 300, 4099, 20000} {
			x, up := b.normal(n), b.normal(n)
			for i := range x {
				x[i] *= [...]float32{1, 0.01, 4, 10}[i%4]
			}
			x[0] = [...]float32{-500, 500, 0, 88.5, -88.5}[n%5]
			what := fmt.Sprintf("%s of %d", name, n)
			b.both(what, n, 2e-6, x, func(dev kernels.Device, dst kernels.Buffer) { dev.Activate(dst, dst, n, a) })
			b.both(what+", gated", n, 2e-6, nil, func(dev kernels.Device, dst kernels.Buffer) {
				dev.Gate(dst, on(b, dev, x), on(b, dev, up), n, a)
			})
		}
		// A value that is no number stays one and spoils no neighbour.
		gate, up := b.normal(19), b.normal(19)
		gate[3], up[11] = float32(math.NaN()), float32(math.Inf(1))
		dst, whole := output(b, b.dev, 19, nil)
		b.dev.Gate(dst, on(b, b.dev, gate), on(b, b.dev, up), 19, a)
		for i, v := range result(b, b.dev, whole) {
			if odd := math.IsNaN(float64(v)) || math.IsInf(float64(v), 0); odd != (i == 3 || i == 11) {
				b.Fatalf("%s: value %d is %g", name, i, v)
			}
		}
	}
}

func elementwise(b bench) {
	for _, n := range []int{1, 7, 8, 33, 1001, 20011} {
		x, y := b.normal(n), b.normal(n)
		what := fmt.Sprint(n)
		b.both("Add of "+what, n, 1e-6, y, func(dev kernels.Device, dst kernels.Buffer) { dev.Add(dst, on(b, dev, x), n) })
		b.both("Scale of "+what, n, 1e-6, x, func(dev kernels.Device, dst kernels.Buffer) { dev.Scale(dst, dst, n, 0.37) })
		for i := range x {
			x[i] *= [...]float32{0.01, 1, 30, 1000}[i%4]
		}
		for _, cap := range []float32{0.5, 30, 50} {
			b.both(fmt.Sprintf("SoftCap %g of %s", cap, what), n, 2e-6, x, func(dev kernels.Device, dst kernels.Buffer) {
				dev.SoftCap(dst, dst, n, cap)
			})
		}
	}
	for _, c := range []int{1, 5, 64, 333} {
		const rows = 50
		x, v := b.normal(rows*c), b.normal(c)
		b.both(fmt.Sprintf("AddBias of %d", c), rows*c, 1e-6, x, func(dev kernels.Device, dst kernels.Buffer) {
			dev.AddBias(dst, on(b, dev, v), rows)
		})
		b.both(fmt.Sprintf("ScaleColumns by %d", c), rows*c, 1e-6, x, func(dev kernels.Device, dst kernels.Buffer) {
			dev.ScaleColumns(dst, on(b, dev, v), rows)
		})
	}
}

func columns(b bench) {
	const rows, width = 5, 23
	x := b.normal(rows * width)
	for _, c := range [][2]int{{0, 23}, {0, 1}, {7, 9}, {22, 1}} {
		b.both(fmt.Sprint(c), rows*c[1], 0, nil, func(dev kernels.Device, dst kernels.Buffer) {
			dev.Columns(dst, on(b, dev, x), rows, width, c[0], c[1])
		})
	}
}

func round(b bench) {
	x := append(b.normal(1000), 0, 1+0x1p-8, 1+0x1.8p-7, 1+0x1p-11, 65519, 1e-7, -3e38)
	for _, typ := range []format.Type{format.F32, format.BF16, format.F16} {
		b.both(typ.Name(), len(x), 0, x, func(dev kernels.Device, dst kernels.Buffer) { dev.Round(dst, dst, len(x), typ) })
	}
}

func gather(b bench) {
	x := b.normal(7 * 5)
	rows := []int32{6, 0, 3, 3}
	b.both("rows", 4*5, 0, nil, func(dev kernels.Device, dst kernels.Buffer) {
		dev.Gather(dst, on(b, dev, x), rows, 5)
	})
}
