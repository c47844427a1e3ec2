package run

import (
	"math"

	"github.com/evalrun/evalrun/core"
	"github.com/evalrun/evalrun/core/stats"
)

// addCluster notes which rows belong together.
func (t *Tally) addCluster(index int, name string) {
	if t.named == nil {
		t.named, t.clusters = map[string]int{}, map[int]int{}
	}
	id, ok := t.named[name]
	if !ok {
		id = -1 - len(t.named) // rows without a cluster stand for themselves, by index
		t.named[name] = id
	}
	t.clusters[index] = id
}

// widen replaces the interval of a mean where its values are not independent:
// answers to one row, and rows of one cluster. row gives the index of a score's
// row. An aggregate that is no mean of values keeps its own.
func (t *Tally) widen(info core.MetricInfo, scores []core.Score, row func(int) int, a *core.Aggregate) {
	if t.repeats == 1 && t.clusters == nil || a.Method != "wilson" && a.Method != "student-t" {
		return
	}
	var values []float64
	var clusters []int
	shared := false
	seen := map[int]bool{}
	for i, s := range scores {
		if s.Skipped != "" || s.Dropped || math.IsNaN(s.Value) || math.IsInf(s.Value, 0) {
			continue
		}
		c := row(i)
		if id, ok := t.clusters[c]; ok {
			c = id
		}
		shared = shared || seen[c]
		seen[c] = true
		values, clusters = append(values, s.Value), append(clusters, c)
	}
	if !shared || len(values) != a.N {
		return
	}
	i := stats.ClusteredInterval(values, clusters, info.Low, info.High, 0.95)
	a.Low95, a.High95, a.Method = i.Low, i.High, "clustered student-t"
}
