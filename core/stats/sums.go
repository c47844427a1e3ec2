package stats

import (
	"math/rand/v2"
	"slices"
)

// BootstrapSums bounds a number that is made of sums over rows and is no mean
// of them, as corpus BLEU is: rows are drawn with replacement, their columns
// summed, and combine makes the number of the sums. rows holds columns values
// a row. NaN bounds where there are no rows.
func BootstrapSums(rows [][]float64, columns, resamples int, seed uint64, level float64, combine func(sums []float64) float64) Interval {
	if len(rows) == 0 || resamples <= 0 || !isLevel(level) {
		return noInterval
	}
	r := rand.New(bootstrapSource(seed))
	drawn := make([]float64, resamples)
	sums := make([]float64, columns)
	for b := range drawn {
		clear(sums)
		for range rows {
			for c, v := range rows[r.IntN(len(rows))] {
				sums[c] += v
			}
		}
		drawn[b] = combine(sums)
	}
	slices.Sort(drawn)
	return Interval{percentileSorted(drawn, 50-50*level), percentileSorted(drawn, 50+50*level)}
}
