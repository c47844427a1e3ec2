package predict

import (
	"math"
	"slices"

	"github.com/evalrun/evalrun/core/stats"
)

// A trial holds the weights of every smoother for every question that choosing
// one asks: they depend on the features alone, and serve all quantities.
type trial struct {
	n int
	// asked[s] weighs all points for the question; without[i][s] all but i for
	// point i; pair[i][j][s] all but i and j for point j.
	asked   [][]float64
	without [][][]float64
	pair    [][][][]float64
}

func newTrial(rows [][]float64, question []float64) *trial {
	n := len(rows)
	t := &trial{n: n, asked: weigh(newDesign(rows), question), without: make([][][]float64, n), pair: make([][][][]float64, n)}
	for i := range n {
		t.without[i] = weigh(newDesign(leave(rows, i)), rows[i])
		t.pair[i] = make([][][]float64, n)
	}
	for i := range n {
		for j := range i {
			d := newDesign(leave(leave(rows, i), j)) // without both, it serves both
			t.pair[i][j], t.pair[j][i] = weigh(d, rows[j]), weigh(d, rows[i])
		}
	}
	return t
}

// weigh asks every smoother.
func weigh(d *design, question []float64) [][]float64 {
	z := d.scale(question)
	out := make([][]float64, len(smoothers))
	for s := range smoothers {
		out[s] = smoothers[s].weights(d, z)
	}
	return out
}

func leave[T any](list []T, i int) []T {
	return append(slices.Clone(list[:i]), list[i+1:]...)
}

func dot(w, y []float64) float64 {
	var sum float64
	for i := range w {
		sum += w[i] * y[i]
	}
	return sum
}

// quantity predicts one quantity with the known values y.
//
// The choice is the smoother with the least error over all points, each predicted
// from the others. Its own error would flatter it, so the procedure is tried: for
// each point, the choice is made among the others alone, and then predicts it.
func (t *trial) quantity(name string, y []float64) Quantity {
	low, high := limits(name)
	q := Quantity{Name: name, N: t.n, Families: map[string]float64{}}
	// Errors of each smoother on each point, for the last choice.
	all := make([]float64, len(smoothers))
	for i := range t.n {
		others := leave(y, i)
		for s := range smoothers {
			e := y[i] - dot(t.without[i][s], others)
			all[s] += e * e
		}
	}
	chosen := least(all, "")
	// The same for each point left out.
	residuals := map[string][]float64{}
	for i := range t.n {
		inner := make([]float64, len(smoothers))
		for j := range t.n {
			if j == i {
				continue
			}
			others := leave(leave(y, max(i, j)), min(i, j))
			for s := range smoothers {
				e := y[j] - dot(t.pair[i][j][s], others)
				inner[s] += e * e
			}
		}
		others := leave(y, i)
		for _, family := range append([]string{""}, families...) {
			p := clip(dot(t.without[i][least(inner, family)], others), low, high)
			residuals[family] = append(residuals[family], y[i]-p)
		}
	}
	for _, family := range families {
		q.Families[family] = rootMeanSquare(residuals[family])
	}
	q.Mean, q.LeaveOneOut = q.Families[meanFamily], rootMeanSquare(residuals[""])
	errors := residuals[""]
	if q.LeaveOneOut >= q.Mean {
		q.MeanIsBest, chosen, errors = true, 0, residuals[meanFamily]
		q.LeaveOneOut = q.Mean
	}
	q.Predictor, q.weights = smoothers[chosen].name, t.asked[chosen]
	q.Expected = clip(dot(q.weights, y), low, high)
	margin := conformal(errors, Level)
	q.Interval = [2]float64{max(low, q.Expected-margin), min(high, q.Expected+margin)}
	return q
}

// least is the first smoother of a family (of any, if empty) with the least error.
func least(errors []float64, family string) int {
	best := -1
	for s := range smoothers {
		if (family == "" || smoothers[s].family == family) && (best < 0 || errors[s] < errors[best]) {
			best = s
		}
	}
	return best
}

// conformal is the margin that holds a further point with probability level or
// more, if it is of the same kind as those whose residuals are given: the
// ⌈(n+1)·level⌉-th smallest (V. Vovk and others; the jackknife form), the greatest
// where there are too few.
func conformal(residuals []float64, level float64) float64 {
	sizes := make([]float64, len(residuals))
	for i, r := range residuals {
		sizes[i] = math.Abs(r)
	}
	slices.Sort(sizes)
	k := int(math.Ceil(float64(len(sizes)+1)*level)) - 1
	return sizes[min(k, len(sizes)-1)]
}

func rootMeanSquare(v []float64) float64 {
	squares := make([]float64, len(v))
	for i := range v {
		squares[i] = v[i] * v[i]
	}
	return math.Sqrt(stats.Mean(squares))
}

func clip(v, low, high float64) float64 { return math.Max(low, math.Min(high, v)) }
