// Package stats holds the statistics behind every number that evalrun prints:
// intervals of a score, paired tests between two runs, and corrections for
// many tests.
//
// Functions are pure. A question that has no answer (no values, a level that
// is no level) gives NaN, never a panic and never an invented number.
package stats

import (
	"math"
	"slices"

	"gonum.org/v1/gonum/stat/distuv"
)

// Interval bounds a value from below and above.
type Interval struct {
	Low, High float64
}

var noInterval = Interval{math.NaN(), math.NaN()}

// Wilson is the score interval for k successes in n trials (E. B. Wilson,
// 1927), without continuity correction: with p = k/n and z the normal quantile
// of the two-sided level,
//
//	(p + z²/2n ± z·√(p(1−p)/n + z²/4n²)) / (1 + z²/n).
//
// Unlike p ± z·s it never leaves [0, 1] and is not empty at k = 0 or k = n.
func Wilson(k, n int, level float64) Interval {
	if n <= 0 || k < 0 || k > n || !isLevel(level) {
		return noInterval
	}
	z := distuv.UnitNormal.Quantile(0.5 + level/2)
	p, nf := float64(k)/float64(n), float64(n)
	centre := (p + z*z/(2*nf)) / (1 + z*z/nf)
	half := z * math.Sqrt(p*(1-p)/nf+z*z/(4*nf*nf)) / (1 + z*z/nf)
	i := Interval{math.Max(0, centre-half), math.Min(1, centre+half)}
	if k == 0 { // exactly 0 by algebra; rounding may leave 1e-17
		i.Low = 0
	}
	if k == n {
		i.High = 1
	}
	return i
}

// MeanStderr is the mean and its standard error s/√n, s with n−1 in the
// denominator. The standard error of one value is NaN.
func MeanStderr(values []float64) (mean, stderr float64) {
	n := float64(len(values))
	if n == 0 {
		return math.NaN(), math.NaN()
	}
	mean = Mean(values)
	if n == 1 {
		return mean, math.NaN()
	}
	var squares float64
	for _, v := range values {
		squares += (v - mean) * (v - mean)
	}
	return mean, math.Sqrt(squares/(n-1)) / math.Sqrt(n)
}

// Mean is the arithmetic mean, NaN of no values.
func Mean(values []float64) float64 {
	var sum float64
	for _, v := range values {
		sum += v
	}
	return sum / float64(len(values))
}

// StudentT is the interval mean ± t·stderr with n−1 degrees of freedom. It is
// not clipped to the range of the values; see MeanInterval.
func StudentT(values []float64, level float64) Interval {
	mean, stderr := MeanStderr(values)
	if math.IsNaN(stderr) || !isLevel(level) {
		return noInterval
	}
	t := distuv.StudentsT{Mu: 0, Sigma: 1, Nu: float64(len(values) - 1)}.Quantile(0.5 + level/2)
	return Interval{mean - t*stderr, mean + t*stderr}
}

// StudentP is the two-sided p of a mean of 0 (one-sample t test, of differences
// the paired one). Values that are all alike give 0, or 1 where they are 0; one
// value alone gives NaN.
func StudentP(values []float64) float64 {
	mean, stderr := MeanStderr(values)
	return studentP(mean, stderr, len(values))
}

func studentP(mean, stderr float64, n int) float64 {
	switch {
	case math.IsNaN(stderr):
		return math.NaN()
	case mean == 0:
		return 1
	case stderr == 0:
		return 0
	}
	return 2 * distuv.StudentsT{Mu: 0, Sigma: 1, Nu: float64(n - 1)}.Survival(math.Abs(mean)/stderr)
}

// MeanInterval is StudentT clipped to [low, high], the range that a value can
// have. One value alone, or values that do not differ, tell nothing about the
// spread of bounded scores; then the interval rests on Wilson's with the
// values as fractions of the range, which is wider for fewer values. With an
// unbounded range such values give NaN.
func MeanInterval(values []float64, low, high, level float64) Interval {
	if len(values) == 0 || !isLevel(level) {
		return noInterval
	}
	mean, stderr := MeanStderr(values)
	width := high - low
	if math.IsNaN(mean) || math.IsInf(mean, 0) {
		return noInterval
	}
	if math.IsNaN(stderr) || stderr == 0 {
		if math.IsInf(width, 0) || width <= 0 {
			return noInterval
		}
		share := math.Min(1, math.Max(0, (mean-low)/width))
		i := wilsonShare(share, float64(len(values)), level)
		return Interval{low + width*i.Low, low + width*i.High}
	}
	i := StudentT(values, level)
	return Interval{math.Max(low, i.Low), math.Min(high, i.High)}
}

// wilsonShare is Wilson's formula for a share that need not be k/n.
func wilsonShare(p, n, level float64) Interval {
	z := distuv.UnitNormal.Quantile(0.5 + level/2)
	centre := (p + z*z/(2*n)) / (1 + z*z/n)
	half := z * math.Sqrt(p*(1-p)/n+z*z/(4*n*n)) / (1 + z*z/n)
	return Interval{math.Max(0, math.Min(p, centre-half)), math.Min(1, math.Max(p, centre+half))}
}

// Percentile is the q-th percentile, q from 0 to 100, by linear interpolation
// between the order statistics (numpy's default). values is not changed. A NaN
// among them gives NaN.
func Percentile(values []float64, q float64) float64 {
	sorted := slices.Clone(values)
	slices.Sort(sorted)
	return percentileSorted(sorted, q)
}

func percentileSorted(sorted []float64, q float64) float64 {
	n := len(sorted)
	if n == 0 || !(q >= 0 && q <= 100) || math.IsNaN(sorted[0]) { // NaN sorts to the front
		return math.NaN()
	}
	at := q / 100 * float64(n-1)
	i := int(at)
	if i+1 >= n {
		return sorted[n-1]
	}
	a, b, t := sorted[i], sorted[i+1], at-float64(i)
	if t >= 0.5 { // numpy interpolates from the nearer end
		return b - (b-a)*(1-t)
	}
	return a + (b-a)*t
}

func isLevel(level float64) bool { return level > 0 && level < 1 }
