// Package study computes the tables and figures of a fine-tuning study, such
// as the LoRA Land report, from scores of models on tasks: who won before and
// after fine-tuning, by how much, how quality hangs together with the
// complexity of tasks, and which numeric claims of the report follow from its
// own tables.
//
// A [Study] comes from the published tables ([Published]) or from runs
// (package report); every function works on both. Scores are as the tables
// have them: 0 to 1, higher is better. NaN stands for what was not measured;
// what rests on it is NaN or left out, never guessed.
package study

import (
	"cmp"
	"math"
	"slices"
	"strings"

	"github.com/evalrun/evalrun/core/stats"
	"github.com/evalrun/evalrun/results/reference"
)

// A Study holds the scores.
type Study struct {
	Tasks []Task
	// Tuned are models that were fine-tuned, Others those that were not.
	Tuned  []Model
	Others []Model
	// Rival is the index in Others of the model that fine-tuning has to beat
	// (GPT-4 in the report), −1 without one.
	Rival int
}

// A Task is a row of the score tables.
type Task struct {
	Name, Category, Metric string
	// Heuristics are the fourteen of reference.HeuristicNames, nil where they
	// are not known.
	Heuristics []float64
}

// A Model is a column.
type Model struct {
	Name string
	// Before holds a score for each task; of Others it is the only one.
	Before, After []float64
	// Kind says how the base model was made.
	Kind Kind
	// Billions of parameters; 0 is unknown.
	Billions float64
}

// Kind of a base model.
type Kind string

// The kinds of Figure 7.
const (
	Autocomplete Kind = "auto-complete"
	Instruct     Kind = "instruction-tuned"
)

// KindOf reads a model's kind off its name: the marks by which instruction-
// tuned models are published.
func KindOf(name string) Kind {
	for _, part := range strings.FieldsFunc(strings.ToLower(name), func(r rune) bool { return strings.ContainsRune("-_/: .", r) }) {
		switch part {
		case "instruct", "chat", "it", "zephyr", "sft", "dpo", "hermes":
			return Instruct
		}
	}
	return Autocomplete
}

// Published is the study of the report's Tables 11, 12 and 13.
func Published() *Study {
	s := &Study{}
	heuristics := map[string][]float64{}
	for _, m := range reference.Table13() {
		heuristics[m.Task] = m.Heuristics
	}
	tasks := reference.Tasks()
	models := map[string]reference.BaseModel{}
	for _, m := range reference.Table2() {
		models[m.Model] = m
	}
	for _, t := range tasks {
		s.Tasks = append(s.Tasks, Task{t.Task, t.Category, t.Metric, heuristics[t.Task]})
	}
	for _, name := range reference.Models() {
		m := Model{Name: name, Kind: Kind(models[name].Kind), Billions: models[name].Billions}
		for _, t := range tasks {
			m.Before = append(m.Before, t.Base[name])
			m.After = append(m.After, t.Finetuned[name])
		}
		if name == reference.GPT4 || name == reference.GPT35 {
			m.After = nil
			s.Others = append(s.Others, m)
			continue
		}
		s.Tuned = append(s.Tuned, m)
	}
	s.Rival = slices.IndexFunc(s.Others, func(m Model) bool { return m.Name == reference.GPT4 })
	return s
}

// rival gives the rival's score on a task, NaN without one.
func (s *Study) rival(task int) float64 {
	if s.Rival < 0 {
		return math.NaN()
	}
	return s.Others[s.Rival].Before[task]
}

// before and after give the scores of all tuned models on a task.
func (s *Study) before(task int) []float64 {
	out := make([]float64, len(s.Tuned))
	for i, m := range s.Tuned {
		out[i] = m.Before[task]
	}
	return out
}

func (s *Study) after(task int) []float64 {
	out := make([]float64, len(s.Tuned))
	for i, m := range s.Tuned {
		out[i] = m.After[task]
	}
	return out
}

// best is the greatest of those measured, NaN of none; index is the first
// that has it.
func best(values []float64) (v float64, index int) {
	v, index = math.NaN(), -1
	for i, x := range values {
		if !math.IsNaN(x) && !(x <= v) {
			v, index = x, i
		}
	}
	return v, index
}

// A BestRow is one row of Table 3.
type BestRow struct {
	Task, Metric        string
	BestBase, BestTuned string // models
	Base, Tuned, Rival  float64
	OverBase, OverRival float64
}

// Best gives Table 3 and Figure 5: the best models of each task, what lost
// most to the rival first, and the mean over the tasks.
func (s *Study) Best() (rows []BestRow, mean BestRow) {
	for i, t := range s.Tasks {
		r := BestRow{Task: t.Name, Metric: t.Metric, Rival: s.rival(i)}
		var b, a int
		r.Base, b = best(s.before(i))
		r.Tuned, a = best(s.after(i))
		if b >= 0 {
			r.BestBase = s.Tuned[b].Name
		}
		if a >= 0 {
			r.BestTuned = s.Tuned[a].Name
		}
		r.OverBase, r.OverRival = r.Tuned-r.Base, r.Tuned-r.Rival
		rows = append(rows, r)
	}
	slices.SortStableFunc(rows, func(a, b BestRow) int { // NaN first, by the rule of cmp
		return cmp.Or(cmp.Compare(round(a.OverRival), round(b.OverRival)), cmp.Compare(a.Task, b.Task))
	})
	of := func(f func(BestRow) float64) float64 { return meanOf(rows, f) }
	return rows, BestRow{Task: "average", Base: of(func(r BestRow) float64 { return r.Base }), Tuned: of(func(r BestRow) float64 { return r.Tuned }),
		Rival: of(func(r BestRow) float64 { return r.Rival }), OverBase: of(func(r BestRow) float64 { return r.OverBase }),
		OverRival: of(func(r BestRow) float64 { return r.OverRival })}
}

// round takes differences of published three-digit scores to nine digits, so
// that equal ones are equal.
func round(v float64) float64 { return math.Round(v*1e9) / 1e9 }

func meanOf[T any](rows []T, f func(T) float64) float64 {
	values := make([]float64, len(rows))
	for i, r := range rows {
		values[i] = f(r)
	}
	return stats.Mean(values)
}

// A ModelRow is one row of Table 4; figures that a model cannot have are NaN
// or 0 of 0.
type ModelRow struct {
	Model                 string
	Tuned                 bool
	Before, After         float64
	Lift, VsRival         float64
	AboveBase, AboveRival Count
	// Best counts the tasks that the model (fine-tuned, where it was) is best
	// on, ties excluded; EqualBest those that it shares.
	Best, EqualBest Count
}

// A Count is K of N.
type Count struct {
	K int `json:"k"`
	N int `json:"n"`
}

func (c *Count) add(yes bool) {
	c.N++
	if yes {
		c.K++
	}
}

// compare counts whether a is above b, where both were measured.
func (c *Count) compare(a, b float64) {
	if !math.IsNaN(a) && !math.IsNaN(b) {
		c.add(a > b)
	}
}

// ByModel gives Table 4 and Figures 1 and 6: a row a model, the worst after
// fine-tuning first, and the mean over the fine-tuned ones with counts summed.
func (s *Study) ByModel() (rows []ModelRow, mean ModelRow) {
	rivalMean := math.NaN()
	if s.Rival >= 0 {
		rivalMean = stats.Mean(s.Others[s.Rival].Before)
	}
	for _, m := range append(slices.Clone(s.Others), s.Tuned...) {
		r := ModelRow{Model: m.Name, Before: stats.Mean(m.Before), After: math.NaN(), Lift: math.NaN(), VsRival: math.NaN()}
		if m.After != nil {
			r.Tuned, r.After = true, stats.Mean(m.After)
			r.Lift, r.VsRival = r.After-r.Before, r.After-rivalMean
		}
		for i := range s.Tasks {
			if m.After != nil {
				r.AboveBase.compare(m.After[i], m.Before[i])
				r.AboveRival.compare(m.After[i], s.rival(i))
			}
			alone, shared := s.tops(i, m.Name)
			r.Best.add(alone)
			r.EqualBest.add(shared)
		}
		rows = append(rows, r)
	}
	key := func(r ModelRow) float64 {
		if r.Tuned {
			return r.After
		}
		return r.Before
	}
	slices.SortStableFunc(rows, func(a, b ModelRow) int { return cmp.Compare(key(a), key(b)) })
	var tuned []ModelRow
	mean.Model, mean.Tuned = "average", true
	for _, r := range rows {
		if r.Tuned {
			tuned = append(tuned, r)
			mean.AboveBase = Count{mean.AboveBase.K + r.AboveBase.K, mean.AboveBase.N + r.AboveBase.N}
			mean.AboveRival = Count{mean.AboveRival.K + r.AboveRival.K, mean.AboveRival.N + r.AboveRival.N}
		}
	}
	of := func(f func(ModelRow) float64) float64 { return meanOf(tuned, f) }
	mean.Before, mean.After = of(func(r ModelRow) float64 { return r.Before }), of(func(r ModelRow) float64 { return r.After })
	mean.Lift, mean.VsRival = of(func(r ModelRow) float64 { return r.Lift }), of(func(r ModelRow) float64 { return r.VsRival })
	return rows, mean
}

// final is what a model scores in the end: fine-tuned, where it was.
func (m Model) final(task int) float64 {
	if m.After != nil {
		return m.After[task]
	}
	return m.Before[task]
}

// tops tells whether a model is best on a task, alone or with others.
func (s *Study) tops(task int, name string) (alone, shared bool) {
	all := append(slices.Clone(s.Others), s.Tuned...)
	finals := make([]float64, len(all))
	for i, m := range all {
		finals[i] = m.final(task)
	}
	top, _ := best(finals)
	n, mine := 0, false
	for i, v := range finals {
		if v == top {
			n++
			mine = mine || all[i].Name == name
		}
	}
	return mine && n == 1, mine && n > 1
}

// KindMeans is one group of Figure 7 at one time.
type KindMeans struct {
	Models int
	// Average is the mean over the group's models and the tasks; Best the best
	// single model's mean, BestModel its name; BestPerTask the mean over tasks
	// of the group's best score on each.
	Average, Best, BestPerTask float64
	BestModel                  string
}

// ByKind gives Figure 7: a kind's models before and after fine-tuning.
func (s *Study) ByKind(kind Kind) (before, after KindMeans) {
	return s.group(func(m Model) bool { return m.Kind == kind })
}

// group sums models up.
func (s *Study) group(in func(Model) bool) (before, after KindMeans) {
	var list []Model
	for _, m := range s.Tuned {
		if in(m) {
			list = append(list, m)
		}
	}
	means := func(scores func(Model) []float64) KindMeans {
		k := KindMeans{Models: len(list), Average: math.NaN(), Best: math.NaN(), BestPerTask: math.NaN()}
		if len(list) == 0 {
			return k
		}
		byModel := make([]float64, len(list))
		for i, m := range list {
			byModel[i] = stats.Mean(scores(m))
		}
		at := 0
		k.Average = stats.Mean(byModel)
		if k.Best, at = best(byModel); at >= 0 {
			k.BestModel = list[at].Name
		}
		tops := make([]float64, len(s.Tasks))
		for t := range s.Tasks {
			column := make([]float64, len(list))
			for i, m := range list {
				column[i] = scores(m)[t]
			}
			tops[t], _ = best(column)
		}
		k.BestPerTask = stats.Mean(tops)
		return k
	}
	return means(func(m Model) []float64 { return m.Before }), means(func(m Model) []float64 { return m.After })
}

// Only is the study of the tasks that satisfy in.
func (s *Study) Only(in func(Task) bool) *Study {
	part := &Study{Rival: s.Rival}
	var keep []int
	for i, t := range s.Tasks {
		if in(t) {
			keep = append(keep, i)
			part.Tasks = append(part.Tasks, t)
		}
	}
	pick := func(scores []float64) []float64 {
		if scores == nil {
			return nil
		}
		out := make([]float64, len(keep))
		for i, k := range keep {
			out[i] = scores[k]
		}
		return out
	}
	of := func(models []Model) []Model {
		var out []Model
		for _, m := range models {
			m.Before, m.After = pick(m.Before), pick(m.After)
			out = append(out, m)
		}
		return out
	}
	part.Tuned, part.Others = of(s.Tuned), of(s.Others)
	return part
}
