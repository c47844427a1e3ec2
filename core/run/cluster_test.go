package run

import (
	"math"
	"strconv"
	"testing"

	"github.com/evalrun/evalrun/core"
	"github.com/evalrun/evalrun/core/record"
	"github.com/evalrun/evalrun/core/stats"
)

// meanMetric is a right-or-wrong metric whose aggregate is a mean.
type meanMetric struct{ core.Metric }

func (meanMetric) Info() core.MetricInfo {
	return core.MetricInfo{Name: "m", Low: 0, High: 1, Binary: true, HigherIsBetter: true}
}

func (meanMetric) Aggregate(scores []core.Score) core.Aggregate {
	var values []float64
	wins := 0
	for _, s := range scores {
		values = append(values, s.Value)
		wins += int(s.Value)
	}
	i := stats.Wilson(wins, len(values), 0.95)
	return core.Aggregate{Score: stats.Mean(values), N: len(values), Low95: i.Low, High95: i.High, Method: "wilson"}
}

// Answers to one row, and rows of one cluster, are no independent evidence.
func TestClusteredInterval(t *testing.T) {
	sum := func(repeats int, cluster func(row int) string) core.Aggregate {
		tally := NewTally(&core.Task{Name: "t"}, "x", []Judge{{Metric: meanMetric{}, Profile: core.Strict}}, repeats)
		for row := range 120 / repeats {
			for repeat := range repeats {
				v := record.Float(row / 6 % 2)
				if repeats == 1 {
					v = record.Float(row / 6 % 3 / 2)
				}
				tally.Add(&record.Record{Task: "t", Model: "x", Sample: strconv.Itoa(row), Index: row, Repeat: repeat, Cluster: cluster(row), Targets: []string{"a"},
					Response: "r", Scores: []record.Score{{Metric: "m", Profile: core.Strict, Value: v}}})
			}
		}
		return tally.Sum(nil).Results[0].Aggregate
	}
	none := func(int) string { return "" }
	alone := sum(1, none)
	if alone.Method != "wilson" {
		t.Errorf("rows that stand alone: %+v", alone)
	}
	if a := sum(1, strconv.Itoa); a != alone {
		t.Errorf("a cluster for each row: %+v, want %+v", a, alone)
	}
	// Rows 0-5 share a cluster and a value, 6-11 the next: 20 facts, not 120.
	a := sum(1, func(row int) string { return strconv.Itoa(row / 6) })
	if a.Method != "clustered student-t" || a.Score != alone.Score {
		t.Fatalf("%+v", a)
	}
	if ratio := (a.High95 - a.Low95) / (alone.High95 - alone.Low95); math.Abs(ratio-math.Sqrt(6)) > 0.4 {
		t.Errorf("the interval of 20 clusters of 6 is %.2f times that of 120 rows, want about √6", ratio)
	}
	if r := sum(2, none); r.Method != "clustered student-t" || r.N != 120 {
		t.Errorf("two answers a row: %+v", r)
	}
}
