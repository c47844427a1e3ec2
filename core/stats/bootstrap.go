package stats

import (
	"math"
	"math/bits"
	"math/rand/v2"
	"slices"
)

// MaxResamples is the number of replicates that a caller should allow: all are
// kept, eight bytes each.
const MaxResamples = 10_000_000

// BootstrapMean is the percentile interval of the mean: resamples draws of
// len(values) values with replacement, from the seed alone.
func BootstrapMean(values []float64, resamples int, seed uint64, level float64) Interval {
	if len(values) == 0 || resamples <= 0 || !isLevel(level) {
		return noInterval
	}
	means := resampledMeans(values, resamples, seed)
	slices.Sort(means)
	return Interval{percentileSorted(means, 50-50*level), percentileSorted(means, 50+50*level)}
}

// resampledMeans draws replicates of the mean. A random word serves two draws:
// each half, as a fraction of 2³², is scaled to the number of values, which
// prefers some values by less than n/2³² of their share.
func resampledMeans(values []float64, resamples int, seed uint64) []float64 {
	rng := bootstrapSource(seed)
	means := make([]float64, resamples)
	n := uint64(len(values))
	for r := range means {
		var even, odd float64 // two sums, so that additions overlap
		for range n / 2 {
			word := rng.Uint64()
			i, j := (word>>32)*n>>32, (word&0xffffffff)*n>>32
			even += values[i]
			odd += values[j]
		}
		if n%2 == 1 {
			even += values[(rng.Uint64()>>32)*n>>32]
		}
		means[r] = (even + odd) / float64(n)
	}
	return means
}

// resampledRatios draws replicates of Σ sums / Σ sizes, a cluster at a time.
func resampledRatios(sums, sizes []float64, resamples int, seed uint64) []float64 {
	rng := bootstrapSource(seed)
	means := make([]float64, resamples)
	n := uint64(len(sums))
	for r := range means {
		var sum, size float64
		for range n {
			i, _ := bits.Mul64(rng.Uint64(), n)
			sum += sums[i]
			size += sizes[i]
		}
		means[r] = sum / size
	}
	return means
}

func bootstrapSource(seed uint64) *rand.PCG { return rand.NewPCG(seed, 0x9e3779b97f4a7c15) }

// Paired is the outcome of a paired bootstrap of b against a.
type Paired struct {
	// MeanDifference is mean(b) − mean(a) of the samples themselves.
	MeanDifference float64
	// Std is the standard deviation of the replicates (population form).
	Std float64
	// Replicates are the mean differences of the resamples, in drawing order.
	Replicates []float64
	// Percentile95 holds the 2.5th and 97.5th percentile of the replicates.
	Percentile95 Interval
	// ShareAtOrBelow0 is the share of replicates in which b is not better,
	// ShareAtOrAbove0 that in which it is not worse.
	ShareAtOrBelow0, ShareAtOrAbove0 float64
}

// PairedBootstrap resamples the pairs (a[i], b[i]) from a seed. A replicate
// that is 0 but for rounding counts as 0.
func PairedBootstrap(a, b []float64, resamples int, seed uint64) Paired {
	d, ok := differences(a, b)
	if !ok || resamples <= 0 {
		return paired(Mean(d), nil, 0)
	}
	return paired(Mean(d), resampledMeans(d, resamples, seed), rounding(d))
}

// PairedBootstrapClustered resamples whole clusters of pairs: clusters[i] names
// the cluster of pair i. Pairs of a cluster (questions on one passage, turns of
// one conversation) are not independent, and drawing them one by one would make
// the interval too narrow. The replicate is the mean over all drawn pairs.
func PairedBootstrapClustered(a, b []float64, clusters []int, resamples int, seed uint64) Paired {
	d, ok := differences(a, b)
	if !ok || len(clusters) != len(d) || resamples <= 0 {
		return paired(math.NaN(), nil, 0)
	}
	sums, sizes := clusterSums(d, clusters)
	return paired(Mean(d), resampledRatios(sums, sizes, resamples, seed), rounding(d))
}

// PairedBootstrapIndices resamples the pairs with the given draws: indices[r]
// lists the pairs of replicate r. The replicates are numpy's means to the bit,
// and so are the signs of those that are 0 but for rounding. An index out of
// range makes its replicate NaN.
func PairedBootstrapIndices(a, b []float64, indices [][]int) Paired {
	d, ok := differences(a, b)
	if !ok {
		return paired(math.NaN(), nil, 0)
	}
	replicates := make([]float64, len(indices))
	var drawn []float64
	for r, draw := range indices {
		drawn = drawn[:0]
		for _, i := range draw {
			if i < 0 || i >= len(d) {
				drawn = append(drawn, math.NaN())
				continue
			}
			drawn = append(drawn, d[i])
		}
		replicates[r] = pairwiseSum(drawn) / float64(len(draw))
	}
	return paired(Mean(d), replicates, 0)
}

// pairwiseSum adds in numpy's order: halves recursively, below 128 values eight
// sums side by side.
func pairwiseSum(v []float64) float64 {
	n := len(v)
	switch {
	case n < 8:
		var sum float64
		for _, x := range v {
			sum += x
		}
		return sum
	case n <= 128:
		r := [8]float64(v[:8])
		whole := n - n%8
		for i := 8; i < whole; i += 8 {
			for j := range r {
				r[j] += v[i+j]
			}
		}
		sum := ((r[0] + r[1]) + (r[2] + r[3])) + ((r[4] + r[5]) + (r[6] + r[7]))
		for _, x := range v[whole:] {
			sum += x
		}
		return sum
	}
	half := n / 2
	half -= half % 8
	return pairwiseSum(v[:half]) + pairwiseSum(v[half:])
}

func differences(a, b []float64) ([]float64, bool) {
	if len(a) != len(b) || len(a) == 0 {
		return nil, false
	}
	d := make([]float64, len(a))
	for i := range a {
		d[i] = b[i] - a[i]
	}
	return d, true
}

// rounding bounds what sums of d may be off from 0 where they are 0.
func rounding(d []float64) float64 {
	var largest float64
	for _, v := range d {
		largest = max(largest, math.Abs(v))
	}
	return largest * float64(len(d)) * 0x1p-52
}

// paired sums replicates up; those within zero of 0 count as 0.
func paired(difference float64, replicates []float64, zero float64) Paired {
	nan := math.NaN()
	p := Paired{MeanDifference: difference, Std: nan, Replicates: replicates,
		Percentile95: noInterval, ShareAtOrBelow0: nan, ShareAtOrAbove0: nan}
	if len(replicates) == 0 {
		return p
	}
	mean, squares, below, above := Mean(replicates), 0.0, 0, 0
	for _, r := range replicates {
		squares += (r - mean) * (r - mean)
		if r <= zero {
			below++
		}
		if r >= -zero {
			above++
		}
	}
	n := float64(len(replicates))
	p.Std, p.ShareAtOrBelow0, p.ShareAtOrAbove0 = math.Sqrt(squares/n), float64(below)/n, float64(above)/n
	sorted := slices.Clone(replicates)
	slices.Sort(sorted)
	p.Percentile95 = Interval{percentileSorted(sorted, 2.5), percentileSorted(sorted, 97.5)}
	return p
}
