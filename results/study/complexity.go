package study

import (
	"math"
	"slices"

	"github.com/evalrun/evalrun/core/stats"
	"github.com/evalrun/evalrun/results/reference"
)

// The quality measurements of Table 5 and Figure 8, in the figure's order.
const (
	RivalScore = "gpt4_score"
	MaxLift    = "max_gpt4_lift"
	AvgLift    = "avg_base_model_lift"
	BestBase   = "best_base_model_score"
	AvgBase    = "avg_base_model_score"
	BestTuned  = "best_finetuned_score"
	AvgTuned   = "avg_finetuned_score"
)

// Qualities lists the seven quality measurements.
func Qualities() []string {
	return []string{RivalScore, MaxLift, AvgLift, BestBase, AvgBase, BestTuned, AvgTuned}
}

// Quality gives one measurement for each task.
func (s *Study) Quality(name string) []float64 {
	out := make([]float64, len(s.Tasks))
	for i := range s.Tasks {
		before, after := s.before(i), s.after(i)
		bestBefore, _ := best(before)
		bestAfter, _ := best(after)
		switch name {
		case RivalScore:
			out[i] = s.rival(i)
		case MaxLift:
			out[i] = bestAfter - s.rival(i)
		case AvgLift:
			out[i] = stats.Mean(after) - stats.Mean(before)
		case BestBase:
			out[i] = bestBefore
		case AvgBase:
			out[i] = stats.Mean(before)
		case BestTuned:
			out[i] = bestAfter
		case AvgTuned:
			out[i] = stats.Mean(after)
		default:
			out[i] = math.NaN()
		}
	}
	return out
}

// A Regression is one row of Table 6: a quality measurement as a linear
// function of the z-scored heuristics, without and with the average base-model
// score as a further column. All errors are root mean squares over the tasks.
type Regression struct {
	Quality string
	N       int
	// InSample is the error on the tasks that the model was fitted to, the only
	// one that the report gives; with 14 columns for 31 tasks it flatters.
	// LeaveOneOut is the error on a task that the model has not seen. They are
	// NaN where least squares has no unique solution.
	InSample, LeaveOneOut                 float64
	InSampleWithBase, LeaveOneOutWithBase float64
	// Mean and MeanLeaveOneOut are the errors of the plainest predictor, the
	// mean of the other tasks.
	Mean, MeanLeaveOneOut float64
}

// Regressions gives Table 6. Tasks without all heuristics or without the measured
// score are left out; the second model is NaN for the average base score
// itself, which would explain itself.
func (s *Study) Regressions() []Regression {
	base := s.Quality(AvgBase)
	var out []Regression
	for _, name := range []string{RivalScore, MaxLift, AvgBase, BestBase, AvgLift, AvgTuned, BestTuned} {
		nan := math.NaN()
		r := Regression{Quality: name, InSample: nan, LeaveOneOut: nan, InSampleWithBase: nan, LeaveOneOutWithBase: nan, Mean: nan, MeanLeaveOneOut: nan}
		var x, with [][]float64
		var y []float64
		for i, q := range s.Quality(name) {
			h := s.Tasks[i].Heuristics
			if h == nil || math.IsNaN(q) || math.IsNaN(base[i]) || slices.ContainsFunc(h, math.IsNaN) {
				continue
			}
			x, y = append(x, h), append(y, q)
			with = append(with, append(slices.Clone(h), base[i]))
		}
		r.N = len(y)
		if r.N > 1 {
			mean, n := stats.Mean(y), float64(len(y))
			var squares float64
			for _, v := range y {
				squares += (v - mean) * (v - mean)
			}
			r.Mean = math.Sqrt(squares / n)
			r.MeanLeaveOneOut = r.Mean * n / (n - 1) // (y − mean of the others) = (y − mean)·n/(n−1)
		}
		if f, ok := stats.OLS(x, y); ok && f.Rank == len(x[0])+1 && f.Rank < r.N {
			r.InSample, r.LeaveOneOut = f.RMSE, f.LeaveOneOut
		}
		if name != AvgBase {
			if f, ok := stats.OLS(with, y); ok && f.Rank == len(with[0])+1 && f.Rank < r.N {
				r.InSampleWithBase, r.LeaveOneOutWithBase = f.RMSE, f.LeaveOneOut
			}
		}
		out = append(out, r)
	}
	return out
}

// Correlations is Figure 8: Spearman's rank correlation of each quality
// measurement with each measurement and heuristic.
type Correlations struct {
	Rows, Columns []string
	// Rho and P (two-sided) are [row][column]; NaN where fewer than three tasks
	// have both, or a column does not vary.
	Rho, P [][]float64
	// N is the number of tasks behind a cell of the heuristics.
	N int
}

// Correlate gives Figure 8.
func (s *Study) Correlate() Correlations {
	c := Correlations{Rows: Qualities(), Columns: append(Qualities(), reference.HeuristicNames()...)}
	columns := make([][]float64, len(c.Columns))
	for j, name := range c.Columns {
		if j < len(c.Rows) {
			columns[j] = s.Quality(name)
			continue
		}
		columns[j] = make([]float64, len(s.Tasks))
		for i, t := range s.Tasks {
			columns[j][i] = math.NaN()
			if k := j - len(c.Rows); k < len(t.Heuristics) {
				columns[j][i] = t.Heuristics[k]
			}
		}
	}
	for _, t := range s.Tasks {
		if t.Heuristics != nil {
			c.N++
		}
	}
	for i := range c.Rows {
		rho, p := make([]float64, len(columns)), make([]float64, len(columns))
		for j := range columns {
			rho[j], p[j] = spearman(columns[i], columns[j])
		}
		c.Rho, c.P = append(c.Rho, rho), append(c.P, p)
	}
	return c
}

// spearman correlates what both columns have. Differences and means of
// three-digit scores are rounded first: ties of the table are ties.
func spearman(x, y []float64) (rho, p float64) {
	var a, b []float64
	for i := range x {
		if !math.IsNaN(x[i]) && !math.IsNaN(y[i]) {
			a, b = append(a, round(x[i])), append(b, round(y[i]))
		}
	}
	if len(a) < 3 {
		return math.NaN(), math.NaN()
	}
	r := stats.Correlate(a, b)
	return r.Spearman, r.SpearmanP
}
