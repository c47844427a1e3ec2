package cpu

import (
	"math"

	"github.com/evalrun/evalrun/kernels"
)

// chunkFloats is the part of an element-wise operation that one task does.
const chunkFloats = 1 << 13

func (d *Device) RMSNorm(dst, x, weight kernels.Buffer, rows int, eps float32) {
	c := weight.Len()
	w := kernels.Host(weight, c, "weight")
	in, out := kernels.Host(x, rows*c, "x"), kernels.Host(dst, rows*c, "dst")
	step := max(1, chunkFloats/c)
	d.pool.do((rows+step-1)/step, rows*c > 2*chunkFloats, func(task, _ int) {
		for t := task * step; t < min(rows, (task+1)*step); t++ {
			row := in[t*c : (t+1)*c]
			scale := 1 / float32(math.Sqrt(float64(d.path.sumSquares(row)/float32(c)+eps)))
			o := out[t*c:][:len(row)]
			for i, v := range row {
				o[i] = float32(v*scale) * w[i]
			}
		}
	})
}

func (d *Device) LayerNorm(dst, x, weight, bias kernels.Buffer, rows int, eps float32) {
	c := weight.Len()
	w, b := kernels.Host(weight, c, "weight"), kernels.Host(bias, c, "bias")
	in, out := kernels.Host(x, rows*c, "x"), kernels.Host(dst, rows*c, "dst")
	step := max(1, chunkFloats/c)
	d.pool.do((rows+step-1)/step, rows*c > 2*chunkFloats, func(task, _ int) {
		for t := task * step; t < min(rows, (task+1)*step); t++ {
			row, o := in[t*c:(t+1)*c], out[t*c:(t+1)*c]
			mean := sum(row) / float32(c)
			for i, v := range row {
				o[i] = v - mean
			}
			scale := 1 / float32(math.Sqrt(float64(d.path.sumSquares(o)/float32(c)+eps)))
			for i, v := range o {
				o[i] = float32(float32(v*scale)*w[i]) + b[i]
			}
		}
	})
}

// sum adds in the eight lanes of sumSquaresGo.
func sum(x []float32) float32 {
	var s [8]float32
	for ; len(x) >= 8; x = x[8:] {
		v := (*[8]float32)(x)
		s[0] += v[0]
		s[1] += v[1]
		s[2] += v[2]
		s[3] += v[3]
		s[4] += v[4]
		s[5] += v[5]
		s[6] += v[6]
		s[7] += v[7]
	}
	for i, v := range x {
		s[i] += v
	}
	return sum8(&s)
}

// sumSquaresGo adds in eight lanes, value i to lane i%8, and then the lanes
// pairwise: (0+4, 1+5, 2+6, 3+7), (0+2, 1+3), 0+1.
func sumSquaresGo(x []float32) float32 {
	var s [8]float32
	for ; len(x) >= 8; x = x[8:] {
		v := (*[8]float32)(x)
		s[0] = float32(v[0]*v[0]) + s[0]
		s[1] = float32(v[1]*v[1]) + s[1]
		s[2] = float32(v[2]*v[2]) + s[2]
		s[3] = float32(v[3]*v[3]) + s[3]
		s[4] = float32(v[4]*v[4]) + s[4]
		s[5] = float32(v[5]*v[5]) + s[5]
		s[6] = float32(v[6]*v[6]) + s[6]
		s[7] = float32(v[7]*v[7]) + s[7]
	}
	for i, v := range x {
		s[i] = float32(v*v) + s[i]
	}
	return sum8(&s)
}

func sum8(s *[8]float32) float32 {
	return ((s[0] + s[4]) + (s[2] + s[6])) + ((s[1] + s[5]) + (s[3] + s[7]))
}

func (d *Device) Rope(x kernels.Buffer, heads, dim int, cos, sin kernels.Buffer, half int, pos []int32, style kernels.RopeStyle) {
	d.rotate(x, heads, dim, cos, sin, half, pos, style, false)
}

// rotate turns by the angles of the table, or back.
func (d *Device) rotate(x kernels.Buffer, heads, dim int, cos, sin kernels.Buffer, half int, pos []int32, style kernels.RopeStyle, back bool) {
	width := heads * dim
	all := kernels.Host(x, len(pos)*width, "x")
	cs, sn := kernels.Host(cos, cos.Len(), "cos"), kernels.Host(sin, sin.Len(), "sin")
	step := max(1, chunkFloats/width)
	d.pool.do((len(pos)+step-1)/step, len(all) > 2*chunkFloats, func(task, thread int) {
		for t := task * step; t < min(len(pos), (task+1)*step); t++ {
			p := int(pos[t])
			c, s := cs[p*half:][:half], sn[p*half:][:half]
			if back {
				turned := d.work[thread].take(half)
				for i, v := range s {
					turned[i] = -v
				}
				s = turned
			}
			for h := range heads {
				head := all[t*width+h*dim:][:dim]
				if style == kernels.RopePairs {
					for i, ci := range c {
						a, b, si := head[2*i], head[2*i+1], s[i]
						head[2*i] = float32(a*ci) - float32(b*si)
						head[2*i+1] = float32(b*ci) + float32(a*si)
					}
					continue
				}
				lo, hi := head[:half], head[half:][:half]
				for i, ci := range c {
					a, b, si := lo[i], hi[i], s[i]
					lo[i] = float32(a*ci) - float32(b*si)
					hi[i] = float32(b*ci) + float32(a*si)
				}
			}
		}
	})
}
