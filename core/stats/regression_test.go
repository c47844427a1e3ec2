package stats

import (
	"math"
	"math/rand/v2"
	"testing"
)

// randomDesign has n rows of k columns; deficient makes the last column the sum
// of the first two.
func randomDesign(rng *rand.Rand, n, k int, deficient bool) ([][]float64, []float64) {
	x, y := make([][]float64, n), make([]float64, n)
	for i := range x {
		x[i] = make([]float64, k)
		for j := range x[i] {
			x[i][j] = rng.NormFloat64()*float64(1+10*j) + float64(j)
		}
		if deficient {
			x[i][k-1] = x[i][0] + x[i][1]
		}
		y[i] = 0.3*x[i][0] + rng.NormFloat64()
	}
	return x, y
}

// The closed forms of leaving a row out against a fit of the others.
func TestLeaveOneOutAgainstRefits(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for trial := range 30 {
		n, k := 8+rng.IntN(30), 3+rng.IntN(3)
		x, y := randomDesign(rng, n, k, trial%2 == 1)
		z, _, _ := standardise(x, y)
		ols, ok := OLS(z, y) // z-scores of z-scores are themselves
		if !ok || ols.Deficient() != (trial%2 == 1) {
			t.Fatalf("OLS: %v, rank %d of %d columns", ok, ols.Rank, k+1)
		}
		fit, ok := Ridge(z, y, 0.7)
		if !ok {
			t.Fatal("no ridge")
		}
		for i := range n {
			kept, others := without(z, i), without(y, i)
			if want := slowLeastSquares(kept, others, z[i], 0); !near(ols.LeftOut[i], want, 1e-6) {
				t.Errorf("OLS of %d×%d leaving %d out: %v, refitted %v", n, k, i, ols.LeftOut[i], want)
			}
			if want := slowLeastSquares(kept, others, z[i], 0.7); !near(fit.LeftOut[i], want, 1e-6) {
				t.Errorf("ridge of %d×%d leaving %d out: %v, refitted %v", n, k, i, fit.LeftOut[i], want)
			}
			if got := fit.Predict(z[i]); !near(got, fit.Fitted[i], 1e-9) {
				t.Errorf("predicted %v, fitted %v", got, fit.Fitted[i])
			}
		}
	}
}

// slowLeastSquares predicts at from a fit by plain elimination of the normal
// equations, whose intercept is not penalised. Of a deficient design it takes a
// solution with a penalty that is all but nothing.
func slowLeastSquares(x [][]float64, y []float64, at []float64, lambda float64) float64 {
	if lambda == 0 {
		lambda = 1e-9
	}
	k := len(at) + 1
	m := make([][]float64, k)
	for j := range m {
		m[j] = make([]float64, k+1)
		if j > 0 {
			m[j][j] = lambda
		}
	}
	for i, row := range x {
		full := append([]float64{1}, row...)
		for j := range k {
			for l := range k {
				m[j][l] += full[j] * full[l]
			}
			m[j][k] += full[j] * y[i]
		}
	}
	for j := range k { // Gauss-Jordan with pivots
		p := j
		for r := j; r < k; r++ {
			if math.Abs(m[r][j]) > math.Abs(m[p][j]) {
				p = r
			}
		}
		m[j], m[p] = m[p], m[j]
		for r := range k {
			if r == j {
				continue
			}
			f := m[r][j] / m[j][j]
			for c := j; c <= k; c++ {
				m[r][c] -= f * m[j][c]
			}
		}
	}
	sum := 0.0
	for j, v := range append([]float64{1}, at...) {
		sum += m[j][k] / m[j][j] * v
	}
	return sum
}

// A row that alone varies in a column cannot be predicted from the others.
func TestLeverageOne(t *testing.T) {
	x := [][]float64{{0, 1}, {0, 2}, {0, 3}, {5, 4}}
	f, ok := OLS(x, []float64{1, 2, 3, 9})
	if !ok || !math.IsNaN(f.LeftOut[3]) || math.IsNaN(f.LeftOut[0]) || !math.IsNaN(f.LeaveOneOut) {
		t.Errorf("%v %+v", ok, f)
	}
}

func TestRegressionShapes(t *testing.T) {
	for name, x := range map[string][][]float64{"no rows": nil, "ragged": {{1}, {1, 2}}, "one row too few": {{1}}, "not finite": {{1}, {math.Inf(1)}}} {
		if _, ok := OLS(x, []float64{1, 2}); ok {
			t.Errorf("OLS of %s", name)
		}
		if _, ok := Ridge(x, []float64{1, 2}, 1); ok {
			t.Errorf("Ridge of %s", name)
		}
	}
	if _, ok := Ridge([][]float64{{1}, {2}}, []float64{1, 2}, 0); ok {
		t.Error("Ridge with lambda 0")
	}
	// y = 1 + 2x, an exact fit whose intercept is the mean of y.
	f, ok := OLS([][]float64{{1}, {2}, {3}}, []float64{3, 5, 7})
	if !ok || !near(f.Fitted[2], 7, 1e-12) || f.RMSE > 1e-12 || f.Rank != 2 || !near(f.Intercept, 5, 1e-12) || !near(f.Predict([]float64{10}), 21, 1e-12) {
		t.Errorf("%+v", f)
	}
	// Without columns both are the mean.
	for _, fit := range []func([][]float64, []float64) (Fit, bool){OLS, func(x [][]float64, y []float64) (Fit, bool) { return Ridge(x, y, 1) }} {
		f, ok := fit([][]float64{{}, {}, {}}, []float64{1, 2, 6})
		if !ok || !near(f.Predict(nil), 3, 1e-12) || !near(f.LeftOut[2], 1.5, 1e-12) {
			t.Errorf("%v %+v", ok, f)
		}
	}
}
