package complexity

import (
	"maps"
	"math"
	"slices"

	"github.com/evalrun/evalrun/core/record"
	"github.com/evalrun/evalrun/core/stats"
)

// A Summary describes how a quantity is spread over rows. Both standard
// deviations are given: with n (population) and n−1 (sample) in the denominator.
// P95 is the 95th percentile by linear interpolation.
type Summary struct {
	Mean          record.Float `json:"mean"`
	StdPopulation record.Float `json:"std_population"`
	StdSample     record.Float `json:"std_sample"`
	P95           record.Float `json:"p95"`
	Min           record.Float `json:"min"`
	Max           record.Float `json:"max"`
}

// exactValues is the number of different values up to which the percentile is
// exact; beyond it values are rounded to 16 binary places, which moves it by less
// than a hundred-thousandth.
const exactValues = 1 << 16

// spread gathers values: mean and squares by B. P. Welford's recurrence, and how
// often each value occurred. Lengths have few different values and ratios many.
type spread struct {
	n             int
	mean, squares float64
	low, high     float64
	counts        map[float64]int
	rounded       bool
}

func (s *spread) add(v float64) {
	if s.n == 0 {
		s.low, s.high, s.counts = v, v, map[float64]int{}
	}
	s.n++
	d := v - s.mean
	s.mean += d / float64(s.n)
	s.squares += d * (v - s.mean)
	s.low, s.high = min(s.low, v), max(s.high, v)
	if s.rounded {
		v = rounded(v)
	}
	s.counts[v]++
	if len(s.counts) > exactValues && !s.rounded {
		s.rounded = true
		coarse := map[float64]int{}
		for v, n := range s.counts {
			coarse[rounded(v)] += n
		}
		s.counts = coarse
	}
}

// rounded keeps 16 binary places of v.
func rounded(v float64) float64 {
	fraction, exponent := math.Frexp(v)
	return math.Ldexp(math.Round(fraction*(1<<16)), exponent-16)
}

func (s *spread) summary() Summary {
	if s.n == 0 {
		nan := record.Float(math.NaN())
		return Summary{nan, nan, nan, nan, nan, nan}
	}
	n := float64(s.n)
	f := func(v float64) record.Float { return record.Float(v) }
	return Summary{Mean: f(s.mean), StdPopulation: f(math.Sqrt(s.squares / n)), StdSample: f(math.Sqrt(s.squares / (n - 1))),
		P95: f(s.percentile(95)), Min: f(s.low), Max: f(s.high)}
}

// percentile interpolates between the two order statistics around its place, as
// stats.Percentile does.
func (s *spread) percentile(q float64) float64 {
	at := q / 100 * float64(s.n-1)
	values := slices.Sorted(maps.Keys(s.counts))
	nth := func(k int) float64 { // from 0
		for _, v := range values {
			if k -= s.counts[v]; k < 0 {
				return v
			}
		}
		return values[len(values)-1]
	}
	below := int(at)
	return stats.Percentile([]float64{nth(below), nth(below + 1)}, 100*(at-float64(below)))
}
