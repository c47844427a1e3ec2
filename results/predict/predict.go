// Package predict says before any training what fine-tuning a small model will
// give on a task: from the complexity of the task, and from what fine-tuning gave
// on the tasks of the report (and on one's own).
//
// Thirty tasks say little, so that every answer carries its honest error: that on
// tasks left out, of a procedure that was chosen without them. Where the choice
// among predictors, tried in this way, is no better than the plain mean of the
// other tasks, the mean is the answer, and is said to be.
package predict

import (
	"cmp"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/evalrun/evalrun/core/record"
	"github.com/evalrun/evalrun/results/reference"
)

// The quantities that are predicted.
const (
	TunedScore = "tuned"               // the score after fine-tuning
	BestScore  = "best_tuned"          // the best score that any base model reached
	BaseScore  = "base"                // the score before
	BaseLift   = "lift_over_base"      // tuned − base
	RivalScore = "gpt4"                // GPT-4's score
	RivalLift  = "lift_over_gpt4"      // tuned − GPT-4
	BestLift   = "best_lift_over_gpt4" // best − GPT-4
)

// Quantities lists them in the order of the answer.
func Quantities() []string {
	return []string{TunedScore, BaseScore, BaseLift, RivalScore, RivalLift, BestScore, BestLift}
}

// value of a quantity at a point.
func (p *Point) value(quantity string) float64 {
	switch quantity {
	case TunedScore:
		return p.Tuned
	case BestScore:
		return p.Best
	case BaseScore:
		return p.Base
	case BaseLift:
		return p.Tuned - p.Base
	case RivalScore:
		return p.Rival
	case RivalLift:
		return p.Tuned - p.Rival
	case BestLift:
		return p.Best - p.Rival
	}
	return math.NaN()
}

// limits of a quantity: scores lie in [0, 1].
func limits(quantity string) (low, high float64) {
	switch quantity {
	case BaseLift, RivalLift, BestLift:
		return -1, 1
	}
	return 0, 1
}

// Level of the intervals.
const Level = 0.9

// An Answer is what is expected of a task.
type Answer struct {
	Task string `json:"task"`
	// Set says whose prompts the features are of, Model whose scores.
	Set   string `json:"features"`
	Model string `json:"base_model,omitempty"`
	// BaseScore was measured, and learnt from; NaN is not known.
	BaseScore record.Float `json:"base_score"`
	// N is the number of tasks learnt from, the asked one never among them.
	N          int        `json:"tasks"`
	Own        int        `json:"own_tasks"`
	Level      float64    `json:"level"`
	Quantities []Quantity `json:"quantities"`
	// Neighbours are the nearest tasks, nearest first.
	Neighbours []Neighbour `json:"neighbours"`
	Notes      []string    `json:"notes,omitempty"`
}

// A Quantity is one expected number.
type Quantity struct {
	Name     string     `json:"quantity"`
	Expected float64    `json:"expected"`
	Interval [2]float64 `json:"interval"`
	// Predictor that gave it, and N tasks with this quantity.
	Predictor string `json:"predictor"`
	N         int    `json:"tasks"`
	// LeaveOneOut is the root mean square error on tasks left out: of choosing
	// among all predictors without the task, then predicting it. Mean is that of
	// the mean of the others, and Families that of choosing within one family.
	LeaveOneOut float64            `json:"rmse_leave_one_out"`
	Mean        float64            `json:"rmse_leave_one_out_mean"`
	Families    map[string]float64 `json:"rmse_leave_one_out_families"`
	// MeanIsBest: no choice beats the mean, and Expected is the mean.
	MeanIsBest bool `json:"mean_is_best"`
	// Known is what was measured of the asked task, where the set has it; it was
	// not used. NaN is none.
	Known record.Float `json:"known"`

	weights []float64 // of the set's points
}

// A Neighbour is a task near the asked one.
type Neighbour struct {
	Task   string `json:"task"`
	Origin string `json:"origin"`
	// Distance is the root mean square difference of the z-scored features.
	Distance float64 `json:"distance"`
	// Weight is the task's share in the expected score after fine-tuning; a
	// regression may give negative ones.
	Weight float64      `json:"weight"`
	Base   record.Float `json:"base"`
	Tuned  record.Float `json:"tuned"`
	Best   record.Float `json:"best_tuned"`
	Rival  record.Float `json:"gpt4"`
}

// MarshalJSON writes a point's scores.
func (p Point) MarshalJSON() ([]byte, error) {
	return json.Marshal(Neighbour{Task: p.Task, Origin: p.Origin, Base: record.Float(p.Base), Tuned: record.Float(p.Tuned), Best: record.Float(p.Best), Rival: record.Float(p.Rival)})
}

// leastTasks is the number of tasks below which nothing is learnt.
const leastTasks = 8

// shownNeighbours are listed in an answer.
const shownNeighbours = 5

// A Question is a task that nobody has trained for.
type Question struct {
	Task string
	// Features are those of [Features].
	Features []float64
	// Base is the score of the base model, where it was measured, else NaN. It is
	// one feature more, and is not predicted.
	Base float64
}

// Predict answers. A point of the asked task is not learnt from, and shown beside
// the answer. The error names features that are not finite, or a set too small to
// learn from.
func (s *Set) Predict(asked Question) (*Answer, error) {
	if want := len(reference.HeuristicNames()); len(asked.Features) != want {
		return nil, fmt.Errorf("%s has %d features, not %d", asked.Task, len(asked.Features), want)
	}
	points, known := s.take(asked.Task)
	a := &Answer{Task: asked.Task, Set: s.Features, Model: s.Model, Level: Level, BaseScore: record.Float(asked.Base), Notes: slices.Clone(s.Notes)}
	if !math.IsNaN(asked.Base) {
		points = withBase(points)
		asked.Features = append(slices.Clone(asked.Features), asked.Base)
	}
	points = append(points, Point{Task: asked.Task, Origin: "asked", Features: asked.Features})
	a.Notes = append(a.Notes, complete(points)...)
	q := points[len(points)-1].Features
	points = points[:len(points)-1]
	for j, v := range q {
		if !finite(v) {
			return nil, fmt.Errorf("%s of %s is %v", featureName(j), asked.Task, v)
		}
	}
	points = slices.DeleteFunc(points, func(p Point) bool {
		whole := !slices.ContainsFunc(p.Features, func(v float64) bool { return !finite(v) })
		if !whole {
			a.Notes = append(a.Notes, p.Task+" ("+p.Origin+") is left out: one of its features is not known")
		}
		return !whole
	})
	if len(points) < leastTasks {
		return nil, fmt.Errorf("%d tasks are too few to learn from", len(points))
	}
	a.N = len(points)
	for _, p := range points {
		if p.Origin != "report" {
			a.Own++
		}
	}
	if beyond := outside(points, q); len(beyond) > 0 {
		a.Notes = append(a.Notes, "beyond all known tasks: "+strings.Join(beyond, ", "))
	}
	trials := map[string]*trial{} // by which points have the quantity
	for _, name := range Quantities() {
		if name == BaseScore && !math.IsNaN(asked.Base) {
			continue
		}
		var at []int
		var y []float64
		for i := range points {
			if v := points[i].value(name); !math.IsNaN(v) {
				at, y = append(at, i), append(y, v)
			}
		}
		if len(at) < leastTasks {
			continue
		}
		key := fmt.Sprint(at)
		if trials[key] == nil {
			rows := make([][]float64, len(at))
			for i, k := range at {
				rows[i] = points[k].Features
			}
			trials[key] = newTrial(rows, q)
		}
		quantity := trials[key].quantity(name, y)
		quantity.Known = record.Float(math.NaN())
		if known != nil {
			quantity.Known = record.Float(known.value(name))
		}
		w := make([]float64, len(points))
		for i, k := range at {
			w[k] = quantity.weights[i]
		}
		quantity.weights = w
		a.Quantities = append(a.Quantities, quantity)
	}
	a.Neighbours = neighbours(points, q, a.Quantities)
	return a, nil
}

// Quantity of the answer by name.
func (a *Answer) Quantity(name string) (Quantity, bool) {
	i := slices.IndexFunc(a.Quantities, func(q Quantity) bool { return q.Name == name })
	if i < 0 {
		return Quantity{}, false
	}
	return a.Quantities[i], true
}

// withBase takes the base model's score as a feature.
func withBase(points []Point) []Point {
	out := slices.Clone(points)
	for i, p := range out {
		out[i].Features = append(slices.Clone(p.Features), p.Base)
	}
	return out
}

// featureName names the j-th feature.
func featureName(j int) string {
	if names := reference.HeuristicNames(); j < len(names) {
		return names[j]
	}
	return "base_score"
}

func finite(v float64) bool { return !math.IsNaN(v) && !math.IsInf(v, 0) }

// outside names the features that lie outside the range of the known tasks.
func outside(points []Point, q []float64) (names []string) {
	for j := range q {
		low, high := math.Inf(1), math.Inf(-1)
		for _, p := range points {
			low, high = min(low, p.Features[j]), max(high, p.Features[j])
		}
		if q[j] < low || q[j] > high {
			names = append(names, featureName(j))
		}
	}
	return names
}

func neighbours(points []Point, q []float64, quantities []Quantity) []Neighbour {
	rows := make([][]float64, len(points))
	for i := range points {
		rows[i] = points[i].Features
	}
	d := newDesign(rows)
	z := d.scale(q)
	var out []Neighbour
	for i, p := range points {
		n := Neighbour{Task: p.Task, Origin: p.Origin, Distance: distance(d.z[i], z),
			Base: record.Float(p.Base), Tuned: record.Float(p.Tuned), Best: record.Float(p.Best), Rival: record.Float(p.Rival)}
		if len(quantities) > 0 && quantities[0].Name == TunedScore {
			n.Weight = quantities[0].weights[i]
		}
		out = append(out, n)
	}
	slices.SortStableFunc(out, func(a, b Neighbour) int { return cmp.Compare(a.Distance, b.Distance) })
	return out[:min(shownNeighbours, len(out))]
}
