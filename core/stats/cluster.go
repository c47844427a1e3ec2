package stats

import (
	"math"

	"gonum.org/v1/gonum/stat/distuv"
)

// ClusteredStderr is the mean of values that come in clusters, with the standard
// error that allows for any dependence within a cluster:
//
//	√( G/(G−1) · Σ_g (Σ_{i in g} (x_i − mean))² ) / n
//
// over G clusters (Liang and Zeger's sandwich for a mean; CR1 in econometrics).
// Clusters of one value each give MeanStderr. clusters[i] names the cluster of
// values[i] by any number. The standard error of one cluster is NaN.
func ClusteredStderr(values []float64, clusters []int) (mean, stderr float64, groups int) {
	if len(values) == 0 || len(values) != len(clusters) {
		return math.NaN(), math.NaN(), 0
	}
	mean = Mean(values)
	residuals := make([]float64, len(values))
	for i, v := range values {
		residuals[i] = v - mean
	}
	sums, _ := clusterSums(residuals, clusters)
	if groups = len(sums); groups == 1 {
		return mean, math.NaN(), 1
	}
	var squares float64
	for _, s := range sums {
		squares += s * s
	}
	g := float64(groups)
	return mean, math.Sqrt(squares*g/(g-1)) / float64(len(values)), groups
}

// ClusteredStudentT is mean ± t·ClusteredStderr with G−1 degrees of freedom.
func ClusteredStudentT(values []float64, clusters []int, level float64) Interval {
	mean, stderr, groups := ClusteredStderr(values, clusters)
	if math.IsNaN(stderr) || !isLevel(level) {
		return noInterval
	}
	t := distuv.StudentsT{Mu: 0, Sigma: 1, Nu: float64(groups - 1)}.Quantile(0.5 + level/2)
	return Interval{mean - t*stderr, mean + t*stderr}
}

// ClusteredStudentP is StudentP with ClusteredStderr and G−1 degrees of freedom.
func ClusteredStudentP(values []float64, clusters []int) float64 {
	mean, stderr, groups := ClusteredStderr(values, clusters)
	return studentP(mean, stderr, groups)
}

// ClusteredInterval is ClusteredStudentT clipped to [low, high]. Where the
// clusters show no spread, it is MeanInterval of one value a cluster.
func ClusteredInterval(values []float64, clusters []int, low, high, level float64) Interval {
	mean, stderr, groups := ClusteredStderr(values, clusters)
	if math.IsNaN(mean) || math.IsInf(mean, 0) || !isLevel(level) {
		return noInterval
	}
	if math.IsNaN(stderr) || stderr == 0 {
		one := make([]float64, groups)
		for i := range one {
			one[i] = mean
		}
		return MeanInterval(one, low, high, level)
	}
	i := ClusteredStudentT(values, clusters, level)
	return Interval{math.Max(low, i.Low), math.Min(high, i.High)}
}

// clusterSums adds up the values of each cluster, in order of appearance.
func clusterSums(values []float64, clusters []int) (sums, sizes []float64) {
	at := map[int]int{}
	for i, c := range clusters {
		k, ok := at[c]
		if !ok {
			k = len(sums)
			at[c] = k
			sums, sizes = append(sums, 0), append(sizes, 0)
		}
		sums[k] += values[i]
		sizes[k]++
	}
	return sums, sizes
}
