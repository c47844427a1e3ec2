package stats

import (
	"math"
	"slices"

	"gonum.org/v1/gonum/mat"
)

// A Fit is a linear model of standardised columns: y ≈ Intercept +
// Σ Coefficients[j]·z[j], z a column minus its mean over its population
// standard deviation. A constant column stands for 0 everywhere.
type Fit struct {
	Intercept    float64
	Coefficients []float64
	// Rank of the design matrix, its column of ones included (OLS only). Below
	// 1 + len(Coefficients) the coefficients are one choice of many; the fitted
	// values are not.
	Rank   int
	Fitted []float64
	// LeftOut is the prediction of each row by a model of the others, with the
	// z-scores of all rows. It is NaN for a row that alone holds a direction of
	// the design (leverage 1): the others say nothing of it.
	LeftOut []float64
	// RMSE is that of Fitted, LeaveOneOut that of LeftOut (NaN where one of them
	// is). LeaveOneOutRescaled takes the z-scores from the kept rows alone
	// (Ridge only).
	RMSE, LeaveOneOut, LeaveOneOutRescaled float64

	means, deviations []float64
}

// Predict gives the model's value for a row of raw columns.
func (f *Fit) Predict(row []float64) float64 {
	return f.predict(scaled([][]float64{row}, f.means, f.deviations)[0])
}

// Deficient tells whether the columns of an OLS depend on each other (or there
// are too few rows), so that the coefficients have no meaning one by one.
func (f *Fit) Deficient() bool { return f.Rank < 1+len(f.Coefficients) }

// OLS fits by least squares; of several solutions it takes the one with the
// least norm, as LAPACK's gelsd and numpy's lstsq do. x holds a row for each of
// y. It reports false for no rows, rows of different lengths, values that are
// not finite, or a solver that does not converge.
//
// Leaving a row out needs no second fit: its error is e/(1−h), h the diagonal
// of the hat matrix (D. M. Allen, 1974), as long as h < 1.
func OLS(x [][]float64, y []float64) (Fit, bool) {
	z, f, ok := standardise(x, y)
	if !ok {
		return Fit{}, false
	}
	rows, columns := len(y), len(x[0])+1
	design := mat.NewDense(rows, columns, nil)
	for i, row := range z {
		design.Set(i, 0, 1)
		for j, v := range row {
			design.Set(i, j+1, v)
		}
	}
	var svd mat.SVD
	if !svd.Factorize(design, mat.SVDThin) {
		return Fit{}, false
	}
	values := svd.Values(nil)
	cut := values[0] * 0x1p-52 * float64(max(rows, columns))
	for _, v := range values {
		if v > cut {
			f.Rank++
		}
	}
	var u, v mat.Dense
	svd.UTo(&u)
	svd.VTo(&v)
	w := make([]float64, columns)
	for k := range f.Rank {
		var dot float64
		for i := range rows {
			dot += u.At(i, k) * y[i]
		}
		for j := range columns {
			w[j] += v.At(j, k) * dot / values[k]
		}
	}
	f.Intercept, f.Coefficients, f.LeaveOneOutRescaled = w[0], w[1:], math.NaN()
	leverage := make([]float64, rows)
	for i := range rows {
		for k := range f.Rank {
			leverage[i] += u.At(i, k) * u.At(i, k)
		}
	}
	f.fit(z, y, leverage)
	return f, true
}

// Ridge minimises Σ(y − ŷ)² + lambda·Σ Coefficients²; the intercept is not
// penalised. lambda must be above 0. It reports false as OLS does.
//
// With Z = U·S·Vᵀ the centred z-scores, the coefficients are
// V·S/(S²+λ)·Uᵀ·y and the leverages 1/n + Σ_k u²·s²/(s²+λ): the errors of
// leaving one out are closed forms, but for LeaveOneOutRescaled.
func Ridge(x [][]float64, y []float64, lambda float64) (Fit, bool) {
	f, ok := ridge(x, y, lambda)
	if !ok {
		return Fit{}, false
	}
	f.LeaveOneOutRescaled = math.NaN()
	if len(y) < 2 {
		return f, true
	}
	var squares float64
	for out := range y {
		model, ok := ridge(without(x, out), without(y, out), lambda)
		if !ok {
			return Fit{}, false
		}
		e := y[out] - model.Predict(x[out])
		squares += e * e
	}
	f.LeaveOneOutRescaled = math.Sqrt(squares / float64(len(y)))
	return f, true
}

func ridge(x [][]float64, y []float64, lambda float64) (Fit, bool) {
	z, f, ok := standardise(x, y)
	if !ok || !(lambda > 0) || math.IsInf(lambda, 1) {
		return Fit{}, false
	}
	rows, columns := len(y), len(x[0])
	f.Intercept, f.Coefficients = Mean(y), make([]float64, columns)
	leverage := make([]float64, rows)
	for i := range leverage {
		leverage[i] = 1 / float64(rows)
	}
	if columns > 0 {
		design := mat.NewDense(rows, columns, nil)
		for i, row := range z { // z-scores have the mean 0
			design.SetRow(i, row)
		}
		var svd mat.SVD
		if !svd.Factorize(design, mat.SVDThin) {
			return Fit{}, false
		}
		var u, v mat.Dense
		svd.UTo(&u)
		svd.VTo(&v)
		for k, s := range svd.Values(nil) {
			var dot float64
			for i := range rows {
				dot += u.At(i, k) * (y[i] - f.Intercept)
				leverage[i] += u.At(i, k) * u.At(i, k) * s * s / (s*s + lambda)
			}
			for j := range columns {
				f.Coefficients[j] += v.At(j, k) * dot * s / (s*s + lambda)
			}
		}
	}
	f.fit(z, y, leverage)
	return f, true
}

func (f *Fit) predict(z []float64) float64 {
	sum := f.Intercept
	for j, v := range z {
		sum += f.Coefficients[j] * v
	}
	return sum
}

// fit fills in the fitted values, those of rows left out, and their errors.
func (f *Fit) fit(z [][]float64, y, leverage []float64) {
	var squares, left float64
	f.Fitted, f.LeftOut = make([]float64, len(y)), make([]float64, len(y))
	for i, row := range z {
		f.Fitted[i] = f.predict(row)
		e := y[i] - f.Fitted[i]
		squares += e * e
		if f.LeftOut[i] = math.NaN(); leverage[i] < 1-1e-10 {
			f.LeftOut[i] = y[i] - e/(1-leverage[i])
		}
		left += (y[i] - f.LeftOut[i]) * (y[i] - f.LeftOut[i])
	}
	f.RMSE, f.LeaveOneOut = math.Sqrt(squares/float64(len(y))), math.Sqrt(left/float64(len(y)))
}

// standardise checks the shapes and gives the z-scores of the columns, and a fit
// that knows their scales.
func standardise(x [][]float64, y []float64) ([][]float64, Fit, bool) {
	if len(x) != len(y) || len(x) == 0 {
		return nil, Fit{}, false
	}
	for i, row := range x {
		if len(row) != len(x[0]) || !finite(y[i]) || slices.ContainsFunc(row, func(v float64) bool { return !finite(v) }) {
			return nil, Fit{}, false
		}
	}
	var f Fit
	f.means, f.deviations = scales(x)
	return scaled(x, f.means, f.deviations), f, true
}

func finite(v float64) bool { return !math.IsNaN(v) && !math.IsInf(v, 0) }

// scales gives mean and population standard deviation of each column.
func scales(x [][]float64) (means, deviations []float64) {
	columns := len(x[0])
	means, deviations = make([]float64, columns), make([]float64, columns)
	column := make([]float64, len(x))
	for j := range columns {
		constant := true
		for i, row := range x {
			column[i] = row[j]
			constant = constant && row[j] == x[0][j]
		}
		means[j] = Mean(column)
		if constant { // rounding of the mean must not make noise of it
			continue
		}
		for _, v := range column {
			deviations[j] += (v - means[j]) * (v - means[j])
		}
		deviations[j] = math.Sqrt(deviations[j] / float64(len(x)))
	}
	return means, deviations
}

func scaled(x [][]float64, means, deviations []float64) [][]float64 {
	z := make([][]float64, len(x))
	for i, row := range x {
		z[i] = make([]float64, len(row))
		for j, v := range row {
			if deviations[j] > 0 {
				z[i][j] = (v - means[j]) / deviations[j]
			}
		}
	}
	return z
}

func without[T any](all []T, i int) []T {
	rest := make([]T, 0, len(all)-1)
	return append(append(rest, all[:i]...), all[i+1:]...)
}
