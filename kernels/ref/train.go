package ref

import (
	"fmt"
	"math"

	"github.com/evalrun/evalrun/kernels"
)

func (*Device[F]) PrepareTrained(values kernels.Buffer, n, k int, _ kernels.Use) (kernels.Prepared, error) {
	if n <= 0 || k <= 0 || values.Len() < n*k {
		return nil, fmt.Errorf("trained weight [%d, %d] in %d values", n, k, values.Len())
	}
	return &matrix[F]{n, k, host[F](values, n*k, "values")}, nil
}

// Refresh has nothing to do: the matrix is the buffer.
func (*Device[F]) Refresh(kernels.Prepared) {}

// put stores a value or adds it.
func put[F float32 | float64](at *F, v F, e kernels.Epilogue) {
	if e == kernels.Add {
		v = *at + v
	}
	*at = v
}

func (*Device[F]) MatMulBack(dx, dy kernels.Buffer, rows int, w kernels.Prepared, e kernels.Epilogue) {
	m := w.(*matrix[F])
	out, in := host[F](dx, rows*m.k, "dx"), host[F](dy, rows*m.n, "dy")
	for t := range rows {
		for k := range m.k {
			var sum F
			for n := range m.n {
				sum = F(in[t*m.n+n]*m.values[n*m.k+k]) + sum
			}
			put(&out[t*m.k+k], sum, e)
		}
	}
}

func (*Device[F]) WeightGrad(dw, dy, x kernels.Buffer, rows, n, k int) {
	out, g, in := host[F](dw, n*k, "dw"), host[F](dy, rows*n, "dy"), host[F](x, rows*k, "x")
	for i := range n {
		for j := range k {
			var sum F
			for t := range rows {
				sum = F(g[t*n+i]*in[t*k+j]) + sum
			}
			out[i*k+j] += sum
		}
	}
}

func (*Device[F]) ColumnDots(dst, a, b kernels.Buffer, rows int) {
	c := dst.Len()
	out, x := host[F](dst, c, "dst"), host[F](a, rows*c, "a")
	for i := range c {
		var sum F
		for t := range rows {
			y := F(1)
			if b != nil {
				y = host[F](b, rows*c, "b")[t*c+i]
			}
			sum = F(x[t*c+i]*y) + sum
		}
		out[i] += sum
	}
}

func (d *Device[F]) RMSNormBack(dx, dweight, dy, x, weight kernels.Buffer, rows int, eps float32, e kernels.Epilogue) {
	normBack[F](dx, dweight, nil, dy, x, weight, rows, eps, e, false)
}

func (d *Device[F]) LayerNormBack(dx, dweight, dbias, dy, x, weight kernels.Buffer, rows int, eps float32, e kernels.Epilogue) {
	normBack[F](dx, dweight, dbias, dy, x, weight, rows, eps, e, true)
}

// normBack is the gradient of both norms; only LayerNorm takes off the mean.
func normBack[F float32 | float64](dx, dweight, dbias, dy, x, weight kernels.Buffer, rows int, eps float32, e kernels.Epilogue, centred bool) {
	c := weight.Len()
	w, in := host[F](weight, c, "weight"), host[F](x, rows*c, "x")
	out, g := host[F](dx, rows*c, "dx"), host[F](dy, rows*c, "dy")
	sumW, sumB := make([]F, c), make([]F, c)
	for t := range rows {
		row, up := in[t*c:(t+1)*c], g[t*c:(t+1)*c]
		var mean, square, gMean, gDot F
		if centred {
			for _, v := range row {
				mean += v / F(c)
			}
		}
		for _, v := range row {
			square += F((v-mean)*(v-mean)) / F(c)
		}
		s := 1 / sqrt(square+F(eps))
		for i, v := range row {
			hat := (v - mean) * s
			gMean += up[i] * w[i] / F(c)
			gDot += up[i] * w[i] * hat / F(c)
			sumW[i] += up[i] * hat
			sumB[i] += up[i]
		}
		if !centred {
			gMean = 0
		}
		for i, v := range row {
			put(&out[t*c+i], s*(up[i]*w[i]-gMean-(v-mean)*s*gDot), e)
		}
	}
	for _, p := range []struct {
		at  kernels.Buffer
		sum []F
	}{{dweight, sumW}, {dbias, sumB}} {
		if p.at != nil {
			for i, v := range p.sum {
				host[F](p.at, c, "gradient")[i] += v
			}
		}
	}
}

func (d *Device[F]) RopeBack(dx kernels.Buffer, heads, dim int, cos, sin kernels.Buffer, half int, pos []int32, style kernels.RopeStyle) {
	back := make(kernels.Values[F], sin.Len())
	for i, v := range host[F](sin, sin.Len(), "sin") {
		back[i] = -v
	}
	d.Rope(dx, heads, dim, cos, back, half, pos, style)
}

// slope is the derivative of an activation.
func slope(x float64, a kernels.Activation) float64 {
	switch a {
	case kernels.SiLU:
		s := 1 / (1 + math.Exp(-x))
		return s * (1 + x*(1-s))
	case kernels.GELUTanh:
		c := math.Sqrt(2 / math.Pi)
		t := math.Tanh(c * (x + 0.044715*x*x*x))
		return (1+t)/2 + x/2*(1-t*t)*c*(1+3*0.044715*x*x)
	case kernels.GELUErf:
		return (1+math.Erf(x/math.Sqrt2))/2 + x*math.Exp(-x*x/2)/math.Sqrt(2*math.Pi)
	}
	panic(fmt.Sprintf("BUG: activation %d", a))
}

func (*Device[F]) ActivateBack(dx, dy, x kernels.Buffer, n int, a kernels.Activation) {
	out, g, in := host[F](dx, n, "dx"), host[F](dy, n, "dy"), host[F](x, n, "x")
	for i := range out {
		out[i] = g[i] * F(slope(float64(in[i]), a))
	}
}

func (*Device[F]) GateBack(dgate, dup, dy, gate, up kernels.Buffer, n int, a kernels.Activation) {
	outG, outU := host[F](dgate, n, "dgate"), host[F](dup, n, "dup")
	d, g, u := host[F](dy, n, "dy"), host[F](gate, n, "gate"), host[F](up, n, "up")
	for i := range d {
		y, x, v := d[i], float64(g[i]), u[i]
		outG[i] = y * v * F(slope(x, a))
		outU[i] = y * F(activate(x, a))
	}
}

func (*Device[F]) SoftCapBack(dx, dy, x kernels.Buffer, n int, cap float32) {
	out, g, in := host[F](dx, n, "dx"), host[F](dy, n, "dy"), host[F](x, n, "x")
	for i := range out {
		t := F(math.Tanh(float64(in[i]) / float64(cap)))
		out[i] = g[i] * (1 - t*t)
	}
}

func (*Device[F]) Scatter(dst, x kernels.Buffer, rows []int32, cols int) {
	in := host[F](x, len(rows)*cols, "x")
	for i, r := range rows {
		out := host[F](dst, (int(r)+1)*cols, "dst")[int(r)*cols:]
		for j := range cols {
			out[j] += in[i*cols+j]
		}
	}
}

func (*Device[F]) PutColumns(dst, x kernels.Buffer, rows, width, from, n int) {
	out, in := host[F](dst, rows*width, "dst"), host[F](x, rows*n, "x")
	for t := range rows {
		copy(out[t*width+from:][:n], in[t*n:(t+1)*n])
	}
}

func (*Device[F]) Divide(dst, x, y kernels.Buffer, n int) {
	out, a, b := host[F](dst, n, "dst"), host[F](x, n, "x"), host[F](y, n, "y")
	for i := range out {
		out[i] = a[i] / b[i]
	}
}

func (*Device[F]) Fill(dst kernels.Buffer, n int, value float32) {
	for i := range host[F](dst, n, "dst") {
		dst.(kernels.Values[F])[i] = F(value)
	}
}

func (*Device[F]) CrossEntropy(loss, dlogits, logits kernels.Buffer, vocab int, labels []int32, weights []float32) {
	out, in := host[F](loss, len(labels), "loss"), host[F](logits, len(labels)*vocab, "logits")
	for t, label := range labels {
		row := in[t*vocab : (t+1)*vocab]
		top, sum := F(math.Inf(-1)), 0.0 // a vocabulary is too long for a plain sum in float32
		for _, v := range row {
			top = max(top, v)
		}
		for _, v := range row {
			sum += math.Exp(float64(v - top))
		}
		out[t] = top + F(math.Log(sum)) - row[label]
		if dlogits == nil {
			continue
		}
		grad := host[F](dlogits, len(labels)*vocab, "dlogits")[t*vocab:]
		for j, v := range row {
			p := exp(v-top) / F(sum)
			if j == int(label) {
				p--
			}
			grad[j] = F(weights[t]) * p
		}
	}
}

func (*Device[F]) Adam(p, g, m, v kernels.Buffer, n int, o kernels.AdamOptions) {
	ps, gs, ms, vs := host[F](p, n, "p"), host[F](g, n, "g"), host[F](m, n, "m"), host[F](v, n, "v")
	c1 := 1 - math.Pow(o.Beta1, float64(o.Step))
	c2 := math.Sqrt(1 - math.Pow(o.Beta2, float64(o.Step)))
	for i := range ps {
		grad := gs[i] * F(o.GradScale)
		switch {
		case o.Decay == kernels.DecayInGradient:
			grad += F(o.WeightDecay) * ps[i]
		case o.Decay == kernels.DecayBefore:
			ps[i] *= F(1 - o.LR*o.WeightDecay)
		}
		ms[i] = F(ms[i]*F(o.Beta1)) + F(F(1-o.Beta1)*grad)
		vs[i] = F(vs[i]*F(o.Beta2)) + F(F(F(1-o.Beta2)*grad)*grad)
		ps[i] -= F(F(o.LR*c2/c1) * (ms[i] / (sqrt(vs[i]) + F(o.Eps*c2))))
		if o.Decay == kernels.DecayAfter {
			ps[i] *= F(1 - o.LR*o.WeightDecay)
		}
	}
}

func (*Device[F]) SumSquares(xs ...kernels.Buffer) []float64 {
	sums := make([]float64, len(xs))
	for i, x := range xs {
		for _, v := range host[F](x, x.Len(), "x") {
			sums[i] += float64(v) * float64(v)
		}
	}
	return sums
}

func (*Device[F]) Dropout(dst, x kernels.Buffer, cols int, d kernels.Dropping, e kernels.Epilogue) {
	out, in := host[F](dst, len(d.Rows)*cols, "dst"), host[F](x, len(d.Rows)*cols, "x")
	for t := range d.Rows {
		for i := range cols {
			var v F
			if d.Keep(t, i/4)[i%4] {
				v = in[t*cols+i] * F(1/(1-d.P))
			}
			put(&out[t*cols+i], v, e)
		}
	}
}
