package stats

import (
	"math"

	"gonum.org/v1/gonum/mat"
)

// A Fit is a linear model of standardised columns: y ≈ Intercept +
// Σ Coefficients[j]·z[j], z a column minus its mean over its population
// standard deviation. A constant column stands for 0 everywhere.
type Fit struct {
	Intercept    float64
	Coefficients []float64
	// Rank of the design matrix, its column of ones included (OLS only).
	Rank   int
	Fitted []float64
	// RMSE is that of the fitted values; LeaveOneOut that of each row as
	// predicted by a model of the others, with the z-scores of all rows. It is
	// NaN where OLS has no unique solution. LeaveOneOutRescaled takes the
	// z-scores from the kept rows alone (Ridge only).
	RMSE, LeaveOneOut, LeaveOneOutRescaled float64
}

// OLS fits by least squares; of several solutions it takes the one with the
// least norm, as LAPACK's gelsd and numpy's lstsq do. x holds a row for each of
// y. It reports false for no rows, rows of different lengths, or a solver that
// does not converge.
func OLS(x [][]float64, y []float64) (Fit, bool) {
	z, ok := standardise(x, y)
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
	rank := 0
	for _, v := range values {
		if v > cut {
			rank++
		}
	}
	var u, v mat.Dense
	svd.UTo(&u)
	svd.VTo(&v)
	w := make([]float64, columns)
	for k := range rank {
		var dot float64
		for i := range rows {
			dot += u.At(i, k) * y[i]
		}
		for j := range columns {
			w[j] += v.At(j, k) * dot / values[k]
		}
	}
	f := Fit{Intercept: w[0], Coefficients: w[1:], Rank: rank, LeaveOneOutRescaled: math.NaN()}
	f.fit(z, y)
	f.LeaveOneOut = math.NaN()
	if rank == columns {
		var squares float64
		for i := range rows {
			var leverage float64 // the diagonal of the hat matrix
			for k := range rank {
				leverage += u.At(i, k) * u.At(i, k)
			}
			e := (y[i] - f.Fitted[i]) / (1 - leverage)
			squares += e * e
		}
		f.LeaveOneOut = math.Sqrt(squares / float64(rows))
	}
	return f, true
}

// Ridge minimises Σ(y − ŷ)² + lambda·Σ Coefficients²; the intercept is not
// penalised. lambda must be above 0. It reports false as OLS does.
func Ridge(x [][]float64, y []float64, lambda float64) (Fit, bool) {
	z, ok := standardise(x, y)
	if !ok || !(lambda > 0) {
		return Fit{}, false
	}
	f, ok := ridge(z, y, lambda)
	if !ok {
		return Fit{}, false
	}
	f.fit(z, y)
	f.LeaveOneOut, f.LeaveOneOutRescaled = math.NaN(), math.NaN()
	if len(y) < 2 {
		return f, true
	}
	var same, rescaled float64
	for out := range y {
		others := without(y, out)
		model, ok := ridge(without(z, out), others, lambda)
		if !ok {
			return Fit{}, false
		}
		e := y[out] - model.predict(z[out])
		same += e * e

		kept := without(x, out)
		means, deviations := scales(kept)
		model, ok = ridge(scaled(kept, means, deviations), others, lambda)
		if !ok {
			return Fit{}, false
		}
		e = y[out] - model.predict(scaled([][]float64{x[out]}, means, deviations)[0])
		rescaled += e * e
	}
	n := float64(len(y))
	f.LeaveOneOut, f.LeaveOneOutRescaled = math.Sqrt(same/n), math.Sqrt(rescaled/n)
	return f, true
}

// ridge solves the normal equations of the centred columns.
func ridge(z [][]float64, y []float64, lambda float64) (Fit, bool) {
	columns := len(z[0])
	means := make([]float64, columns)
	for _, row := range z {
		for j, v := range row {
			means[j] += v / float64(len(z))
		}
	}
	yMean := Mean(y)
	gram := mat.NewSymDense(max(columns, 1), nil)
	right := mat.NewVecDense(max(columns, 1), nil)
	for i, row := range z {
		for j := range columns {
			right.SetVec(j, right.AtVec(j)+(row[j]-means[j])*(y[i]-yMean))
			for k := j; k < columns; k++ {
				gram.SetSym(j, k, gram.At(j, k)+(row[j]-means[j])*(row[k]-means[k]))
			}
		}
	}
	f := Fit{Intercept: yMean, Coefficients: make([]float64, columns)}
	if columns == 0 {
		return f, true
	}
	for j := range columns {
		gram.SetSym(j, j, gram.At(j, j)+lambda)
	}
	var factor mat.Cholesky
	var w mat.VecDense
	if !factor.Factorize(gram) || factor.SolveVecTo(&w, right) != nil {
		return Fit{}, false
	}
	for j := range columns {
		f.Coefficients[j] = w.AtVec(j)
		f.Intercept -= w.AtVec(j) * means[j]
	}
	return f, true
}

func (f *Fit) predict(z []float64) float64 {
	sum := f.Intercept
	for j, v := range z {
		sum += f.Coefficients[j] * v
	}
	return sum
}

// fit fills in the fitted values and their error.
func (f *Fit) fit(z [][]float64, y []float64) {
	var squares float64
	f.Fitted = make([]float64, len(y))
	for i, row := range z {
		f.Fitted[i] = f.predict(row)
		squares += (y[i] - f.Fitted[i]) * (y[i] - f.Fitted[i])
	}
	f.RMSE = math.Sqrt(squares / float64(len(y)))
}

// standardise checks the shapes and gives the z-scores of the columns.
func standardise(x [][]float64, y []float64) ([][]float64, bool) {
	if len(x) != len(y) || len(x) == 0 {
		return nil, false
	}
	for _, row := range x {
		if len(row) != len(x[0]) {
			return nil, false
		}
	}
	means, deviations := scales(x)
	return scaled(x, means, deviations), true
}

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
