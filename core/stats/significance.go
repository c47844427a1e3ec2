package stats

import (
	"math"
	"slices"

	"gonum.org/v1/gonum/mathext"
	"gonum.org/v1/gonum/stat/distuv"
)

// McNemarResult compares two runs on the same items by the items on which they
// disagree.
type McNemarResult struct {
	// ExactP is the two-sided binomial p, the one to report.
	ExactP float64
	// CorrectedStatistic and PlainStatistic are the χ² forms with and without
	// continuity correction, with their p; NaN when no item disagrees.
	CorrectedStatistic, CorrectedP float64
	PlainStatistic, PlainP         float64
}

// McNemar tests whether two runs differ, given b items right only in the first
// and c items right only in the second (Q. McNemar, 1947):
//
//	exact      2·P(X ≤ min(b, c)), X ~ Binomial(b+c, ½), at most 1
//	corrected  (|b−c| − 1)² / (b+c)
//	plain      (b−c)² / (b+c)
func McNemar(b, c int) McNemarResult {
	nan := math.NaN()
	r := McNemarResult{nan, nan, nan, nan, nan}
	if b < 0 || c < 0 {
		return r
	}
	if b+c == 0 {
		r.ExactP = 1
		return r
	}
	n, k := float64(b+c), float64(min(b, c))
	// P(X ≤ k) of a binomial is the regularised incomplete beta I_{1−p}(n−k, k+1).
	r.ExactP = math.Min(1, 2*mathext.RegIncBeta(n-k, k+1, 0.5))
	gap := math.Abs(float64(b - c))
	r.CorrectedStatistic = (gap - 1) * (gap - 1) / n
	r.PlainStatistic = gap * gap / n
	r.CorrectedP, r.PlainP = chiSquare1(r.CorrectedStatistic), chiSquare1(r.PlainStatistic)
	return r
}

// chiSquare1 is P(χ² ≥ x) with one degree of freedom: erfc(√(x/2)).
func chiSquare1(x float64) float64 { return math.Erfc(math.Sqrt(x / 2)) }

// Holm adjusts p values of a family of tests (S. Holm, 1979): sorted upward,
// the i-th of m is multiplied by m−i (i from 0), made monotone and cut at 1.
// The result has the order of p. A NaN stays NaN and does not count.
func Holm(p []float64) []float64 {
	adjusted := slices.Clone(p)
	var order []int
	for i, v := range p {
		if !math.IsNaN(v) {
			order = append(order, i)
		}
	}
	slices.SortStableFunc(order, func(i, j int) int {
		switch {
		case p[i] < p[j]:
			return -1
		case p[i] > p[j]:
			return 1
		}
		return 0
	})
	running := 0.0
	for rank, i := range order {
		running = math.Max(running, math.Min(1, p[i]*float64(len(order)-rank)))
		adjusted[i] = running
	}
	return adjusted
}

// PassAtK is the unbiased estimate that at least one of k answers passes, given
// that c of n did (M. Chen et al., "Evaluating Large Language Models Trained on
// Code", 2021): 1 − C(n−c, k)/C(n, k), as a product to stay in range. It is NaN
// for arguments that make no sense (c > n, k < 1, k > n).
func PassAtK(n, c, k int) float64 {
	if n < 1 || c < 0 || c > n || k < 1 || k > n {
		return math.NaN()
	}
	if n-c < k {
		return 1
	}
	// C(n−c, k)/C(n, k) is symmetric in c and k: the shorter product will do.
	c, k = max(c, k), min(c, k)
	fail := 1.0
	for i := n - k + 1; i <= n; i++ {
		fail *= 1 - float64(c)/float64(i)
	}
	return 1 - fail
}

// Correlation of two columns.
type Correlation struct {
	Spearman, SpearmanP float64
	Pearson, PearsonP   float64
	// RanksX are the ranks of x from 1, ties sharing their mean.
	RanksX []float64
}

// Correlate computes both coefficients with two-sided p from Student's t with
// n−2 degrees of freedom. A constant column gives NaN, and so do fewer than
// two pairs and a value that is NaN. Of two pairs Pearson's p is 1 (the
// coefficient can only be ±1) and Spearman's NaN, as scipy has them.
func Correlate(x, y []float64) Correlation {
	if len(x) != len(y) {
		nan := math.NaN()
		return Correlation{nan, nan, nan, nan, nil}
	}
	rx, ry := Ranks(x), Ranks(y)
	c := Correlation{Spearman: rankCorrelation(rx, ry), Pearson: pearson(x, y), RanksX: rx}
	if math.IsNaN(Mean(x) + Mean(y)) { // NaN has no rank
		c.Spearman = math.NaN()
	}
	c.SpearmanP, c.PearsonP = correlationP(c.Spearman, len(x)), correlationP(c.Pearson, len(x))
	if len(x) == 2 && !math.IsNaN(c.Pearson) {
		c.PearsonP = 1
	}
	return c
}

// Ranks numbers values from 1 upward; equal values share the mean of their
// places.
func Ranks(values []float64) []float64 {
	order := make([]int, len(values))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(i, j int) int {
		switch {
		case values[i] < values[j]:
			return -1
		case values[i] > values[j]:
			return 1
		}
		return 0
	})
	ranks := make([]float64, len(values))
	for i := 0; i < len(order); {
		j := i
		for j < len(order) && values[order[j]] == values[order[i]] {
			j++
		}
		j = max(j, i+1) // NaN equals nothing, itself included
		for _, at := range order[i:j] {
			ranks[at] = float64(i+1+j) / 2
		}
		i = j
	}
	return ranks
}

// pearson is Σ (x−x̄)/‖x−x̄‖ · (y−ȳ)/‖y−ȳ‖, which cannot overflow.
func pearson(x, y []float64) float64 {
	mx, my := Mean(x), Mean(y)
	var xx, yy float64
	for i := range x {
		dx, dy := x[i]-mx, y[i]-my
		xx += dx * dx
		yy += dy * dy
	}
	if xx == 0 || yy == 0 {
		return math.NaN()
	}
	nx, ny := math.Sqrt(xx), math.Sqrt(yy)
	var r float64
	for i := range x {
		r += (x[i] - mx) / nx * ((y[i] - my) / ny)
	}
	return math.Max(-1, math.Min(1, r))
}

// rankCorrelation is Pearson's coefficient of ranks as numpy.corrcoef rounds it,
// covariance over one deviation, then over the other: sums of ranks are exact, so
// that a perfect order gives the same 1, or its neighbour, as scipy does. Of
// three pairs the p of one is 0 and of the other 1e-8.
func rankCorrelation(x, y []float64) float64 {
	mx, my := Mean(x), Mean(y)
	var xx, yy, xy float64
	for i := range x {
		dx, dy := x[i]-mx, y[i]-my
		xx += dx * dx
		yy += dy * dy
		xy += dx * dy
	}
	if xx == 0 || yy == 0 {
		return math.NaN()
	}
	n := float64(len(x) - 1)
	r := xy / n / math.Sqrt(xx/n) / math.Sqrt(yy/n)
	return math.Max(-1, math.Min(1, r))
}

func correlationP(r float64, n int) float64 {
	if n < 3 || math.IsNaN(r) {
		return math.NaN()
	}
	if math.Abs(r) == 1 {
		return 0
	}
	nu := float64(n - 2)
	t := math.Abs(r) * math.Sqrt(nu/((1-r)*(1+r)))
	return 2 * distuv.StudentsT{Mu: 0, Sigma: 1, Nu: nu}.Survival(t)
}
