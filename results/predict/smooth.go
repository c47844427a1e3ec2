package predict

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"gonum.org/v1/gonum/mat"
)

// The families of predictors. Each predicts a weighted sum of the known values,
// with weights that depend on the features alone: a linear smoother. So one set
// of weights serves every quantity, and says what an answer leans on.
const (
	meanFamily    = "mean"
	ridgeFamily   = "ridge"
	nearestFamily = "nearest"
	blendFamily   = "blend"
	gaussFamily   = "gp" // Gaussian process
)

// families in the order of the table of errors.
var families = []string{meanFamily, ridgeFamily, nearestFamily, gaussFamily, blendFamily}

// A smoother is a family with its settings.
type smoother struct {
	family, name string
	weights      func(*design, []float64) []float64
}

// smoothers are all that are tried, the plainest first: of equal errors the first
// is taken.
var smoothers = func() []smoother {
	out := []smoother{{meanFamily, "mean of the others", (*design).mean}}
	for _, lambda := range []float64{100, 30, 10, 3, 1} {
		out = append(out, smoother{ridgeFamily, fmt.Sprintf("ridge, lambda %g", lambda),
			func(d *design, q []float64) []float64 { return d.ridge(q, lambda) }})
	}
	for _, k := range []int{7, 5, 3} {
		out = append(out, smoother{nearestFamily, fmt.Sprintf("mean of the %d nearest", k),
			func(d *design, q []float64) []float64 { return d.nearest(q, k) }})
	}
	for _, length := range []float64{2, 1} {
		for _, noise := range []float64{1, 0.3} {
			out = append(out, smoother{gaussFamily, fmt.Sprintf("GP, length %g, noise %g", length, noise),
				func(d *design, q []float64) []float64 { return d.gauss(q, length, noise) }})
		}
	}
	out = append(out, smoother{blendFamily, "mean of ridge, nearest and GP", func(d *design, q []float64) []float64 {
		w := d.ridge(q, 10)
		for i, v := range d.nearest(q, 5) {
			w[i] += v
		}
		for i, v := range d.gauss(q, 2, 0.3) {
			w[i] = (w[i] + v) / 3
		}
		return w
	}})
	return out
}()

// A design is the features of the known tasks as z-scores.
type design struct {
	z                 [][]float64
	means, deviations []float64

	gram    *mat.SymDense // of the columns, made when asked for
	between *mat.SymDense // distances of the rows
	// factors of what is solved, by the smoother's settings, for several questions.
	ridges   map[float64]*mat.Cholesky
	gaussian map[[2]float64]*mat.Cholesky
}

// newDesign takes means and deviations (population) from the rows themselves. A
// column that does not vary counts for nothing.
func newDesign(rows [][]float64) *design {
	columns := len(rows[0])
	d := &design{means: make([]float64, columns), deviations: make([]float64, columns), ridges: map[float64]*mat.Cholesky{}, gaussian: map[[2]float64]*mat.Cholesky{}}
	n := float64(len(rows))
	for j := range columns {
		for _, r := range rows {
			d.means[j] += r[j] / n
		}
		for _, r := range rows {
			d.deviations[j] += (r[j] - d.means[j]) * (r[j] - d.means[j]) / n
		}
		d.deviations[j] = math.Sqrt(d.deviations[j])
	}
	for _, r := range rows {
		d.z = append(d.z, d.scale(r))
	}
	return d
}

// farthest is the z-score beyond which more makes no difference: one task with
// long tables would else outweigh all others, and one beyond all known ones would
// be answered by extrapolation.
const farthest = 3

func (d *design) scale(row []float64) []float64 {
	z := make([]float64, len(row))
	for j, v := range row {
		if d.deviations[j] > 1e-12*math.Abs(d.means[j]) {
			z[j] = clip((v-d.means[j])/d.deviations[j], -farthest, farthest)
		}
	}
	return z
}

// distance is the root mean square of the differences of z-scores.
func distance(a, b []float64) float64 {
	var sum float64
	for j := range a {
		sum += (a[j] - b[j]) * (a[j] - b[j])
	}
	return math.Sqrt(sum / float64(len(a)))
}

// mean weighs all alike.
func (d *design) mean([]float64) []float64 {
	w := make([]float64, len(d.z))
	for i := range w {
		w[i] = 1 / float64(len(w))
	}
	return w
}

// nearest weighs the k nearest alike.
func (d *design) nearest(q []float64, k int) []float64 {
	order := make([]int, len(d.z))
	far := make([]float64, len(d.z))
	for i, z := range d.z {
		order[i], far[i] = i, distance(z, q)
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(far[a], far[b]) })
	k = min(k, len(order))
	w := make([]float64, len(order))
	for _, i := range order[:k] {
		w[i] = 1 / float64(k)
	}
	return w
}

// ridge: ŷ = ȳ + q'(Z'Z + λI)⁻¹Z'(y − ȳ), and Z'1 = 0.
func (d *design) ridge(q []float64, lambda float64) []float64 {
	k := len(q)
	if d.gram == nil {
		d.gram = mat.NewSymDense(k, nil)
		for i := range k {
			for j := i; j < k; j++ {
				var sum float64
				for _, z := range d.z {
					sum += z[i] * z[j]
				}
				d.gram.SetSym(i, j, sum)
			}
		}
	}
	if d.ridges[lambda] == nil {
		penalised := mat.NewSymDense(k, nil)
		penalised.CopySym(d.gram)
		for i := range k {
			penalised.SetSym(i, i, penalised.At(i, i)+lambda)
		}
		d.ridges[lambda] = factor(penalised)
	}
	solved := solve(d.ridges[lambda], q)
	w := d.mean(q)
	for i, z := range d.z {
		for j, v := range z {
			w[i] += v * solved[j]
		}
	}
	return w
}

// gauss is the posterior mean of a Gaussian process around ȳ with the kernel
// exp(−r²/2l²), r the distance, and noise in units of the process's variance:
// ŷ = ȳ + k'(K + noise·I)⁻¹(y − ȳ).
func (d *design) gauss(q []float64, length, noise float64) []float64 {
	n := len(d.z)
	kernel := func(r float64) float64 { return math.Exp(-r * r / (2 * length * length)) }
	if d.between == nil {
		d.between = mat.NewSymDense(n, nil)
		for i := range n {
			for j := i + 1; j < n; j++ {
				d.between.SetSym(i, j, distance(d.z[i], d.z[j]))
			}
		}
	}
	key := [2]float64{length, noise}
	if d.gaussian[key] == nil {
		cov := mat.NewSymDense(n, nil)
		for i := range n {
			cov.SetSym(i, i, 1+noise)
			for j := i + 1; j < n; j++ {
				cov.SetSym(i, j, kernel(d.between.At(i, j)))
			}
		}
		d.gaussian[key] = factor(cov)
	}
	near := make([]float64, n)
	for i := range n {
		near[i] = kernel(distance(d.z[i], q))
	}
	w := solve(d.gaussian[key], near)
	var sum float64
	for _, v := range w {
		sum += v
	}
	for i := range w {
		w[i] += (1 - sum) / float64(n)
	}
	return w
}

func factor(a *mat.SymDense) *mat.Cholesky {
	var f mat.Cholesky
	if !f.Factorize(a) {
		panic("BUG: a penalised matrix is not positive definite") // features are checked to be finite
	}
	return &f
}

// solve gives A⁻¹b.
func solve(f *mat.Cholesky, b []float64) []float64 {
	var x mat.VecDense
	if err := f.SolveVecTo(&x, mat.NewVecDense(len(b), slices.Clone(b))); err != nil {
		panic("BUG: " + err.Error())
	}
	return x.RawVector().Data
}
