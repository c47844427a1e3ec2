package study

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/evalrun/evalrun/core/stats"
	"github.com/evalrun/evalrun/results/reference"
)

// A Check is one claim of the report beside what its own tables give.
type Check struct {
	reference.Claim
	// Value is recomputed in the claim's unit, Text its form for reading.
	Value  float64
	Text   string
	Agrees bool
}

// value is a recomputed number, or names.
type value struct {
	v     float64
	names []string
}

// Checks recomputes every claim of the report's text, in its order, and then
// every cell of Table 4.
func Checks() []Check {
	s := newTables(Published())
	var out []Check
	for _, c := range reference.Claims() {
		out = append(out, s.check(c))
	}
	for _, r := range reference.Table4() {
		for _, cell := range []struct{ claim, claimed, relation, measure string }{
			{"average before fine-tuning", three(r.Before), "near", "mean " + r.Model + " before"},
			{"average after fine-tuning", three(r.After), "near", "mean " + r.Model + " after"},
			{"average lift", three(r.Lift), "near", "lift " + r.Model},
			{"average lead over GPT-4", three(r.LiftVsGPT4), "near", "lead " + r.Model},
			{"tasks above the base model", before(r.AboveBase), "equal", "above base " + r.Model},
			{"tasks above GPT-4", before(r.AboveGPT4), "equal", "above rival " + r.Model},
			{"tasks on which it is best, ties excluded", before(r.Best), "equal", "best " + r.Model},
		} {
			if cell.claimed == "" {
				continue
			}
			out = append(out, s.check(reference.Claim{Section: "table 4", Claim: r.Model + ": " + cell.claim, Claimed: cell.claimed, Relation: cell.relation, Measure: cell.measure}))
		}
	}
	return out
}

func three(v float64) string {
	if math.IsNaN(v) {
		return ""
	}
	return fmt.Sprintf("%.3f", v)
}

// before is k of "k/n".
func before(count string) string {
	k, _, _ := strings.Cut(count, "/")
	return k
}

func (s *tables) check(c reference.Claim) Check {
	words := strings.Fields(c.Measure)
	recompute := measures[words[0]]
	if recompute == nil {
		panic("BUG: no measure of the name " + words[0])
	}
	v := recompute(s, words[1:])
	k := Check{Claim: c, Value: v.v}
	if c.Relation == "names" {
		k.Value, k.Text = math.NaN(), strings.Join(v.names, ", ")
		k.Agrees = k.Text == c.Claimed
		return k
	}
	if c.Unit == "points" || c.Unit == "%" {
		k.Value *= 100
	}
	claimed, err := strconv.ParseFloat(c.Claimed, 64)
	if err != nil {
		panic("BUG: claimed is no number: " + c.Claimed)
	}
	digits := 0
	if _, fraction, ok := strings.Cut(c.Claimed, "."); ok {
		digits = len(fraction)
	}
	unit := math.Pow(10, -float64(digits))
	switch c.Relation {
	case "near":
		k.Agrees = math.Abs(k.Value-claimed) <= unit+1e-9
		digits++
	case "equal":
		k.Agrees = k.Value == claimed
	case "about":
		k.Agrees = math.Abs(k.Value-claimed) <= 0.05*math.Abs(claimed)
	case "at most":
		k.Agrees = k.Value <= claimed
		digits = max(1, digits)
	case "at least":
		k.Agrees = k.Value >= claimed
		digits = max(1, digits)
	case "above":
		k.Agrees = k.Value > claimed
		digits = max(2, digits)
	default:
		panic("BUG: no relation of the name " + c.Relation)
	}
	if k.Value == math.Trunc(k.Value) && c.Relation != "near" {
		digits = 0
	}
	k.Text = strconv.FormatFloat(k.Value, 'f', digits, 64)
	return k
}

// tables keeps what many claims look at.
type tables struct {
	*Study
	rows         []ModelRow
	all          ModelRow
	best         []BestRow
	regressions  []Regression
	correlations Correlations
}

func newTables(s *Study) *tables {
	t := &tables{Study: s, regressions: s.Regressions(), correlations: s.Correlate()}
	t.rows, t.all = s.ByModel()
	t.best, _ = s.Best()
	return t
}

// A measure recomputes one figure.
type measure func(s *tables, args []string) value

func number(v float64) value { return value{v: v} }

// measures are the recomputations that claims name. Each takes the words after
// its own. A model may be "average".
var measures = withServing(map[string]measure{
	"tuned_models": func(s *tables, _ []string) value { return number(float64(len(s.Tuned) * len(s.Tasks))) },
	"base_models":  func(s *tables, _ []string) value { return number(float64(len(s.Tuned))) },
	"tasks":        func(s *tables, _ []string) value { return number(float64(len(s.Tasks))) },

	// mean MODEL before|after
	"mean": func(s *tables, args []string) value {
		r := s.row(args[0])
		if args[1] == "before" {
			return number(r.Before)
		}
		return number(r.After)
	},
	// lift and lead: of a model, or min, max, mean, argmax over the models.
	"lift": func(s *tables, args []string) value {
		return s.over(args[0], func(r ModelRow) float64 { return r.Lift })
	},
	"lead": func(s *tables, args []string) value {
		return s.over(args[0], func(r ModelRow) float64 { return r.VsRival })
	},
	// best: the number of tasks that a model is best on, or argmax.
	"best": func(s *tables, args []string) value {
		return s.over(args[0], func(r ModelRow) float64 { return float64(r.Best.K) })
	},
	"above": func(s *tables, args []string) value {
		r := s.all
		if len(args) > 1 {
			r = s.row(args[1])
		}
		if args[0] == "base" {
			return number(float64(r.AboveBase.K))
		}
		return number(float64(r.AboveRival.K))
	},
	"top":    func(s *tables, args []string) value { return s.ranked(args, true) },
	"bottom": func(s *tables, args []string) value { return s.ranked(args, false) },

	"best_over_base": func(s *tables, args []string) value {
		return spread(args[0], s.best, func(r BestRow) float64 { return r.OverBase })
	},
	"best_tuned": func(s *tables, args []string) value {
		return spread(args[0], s.best, func(r BestRow) float64 { return r.Tuned })
	},
	"parameters": func(_ *tables, args []string) value {
		rows := reference.Table2()
		if i := slices.IndexFunc(rows, func(r reference.BaseModel) bool { return r.Model == args[0] }); i >= 0 {
			return number(rows[i].Billions)
		}
		return spread(args[0], rows, func(r reference.BaseModel) float64 { return r.Billions })
	},
	"warmup_steps":    func(*tables, []string) value { return number(0.03 * 40000) },
	"effective_batch": func(*tables, []string) value { return number(1 * 16) },
	"wikisql_tokens":  func(_ *tables, args []string) value { return number(wikisql(args[0] + "_len_mean")) },
	"wikisql_cost": func(*tables, []string) value { // 15,878 rows at $30 and $60 a million tokens
		return number(15878 * (wikisql("input_len_mean")*30 + wikisql("output_len_mean")*60) / 1e6)
	},

	"worse_gemma": func(s *tables, _ []string) value {
		worse, gemma := 0, 0
		for _, m := range s.Tuned {
			for t := range s.Tasks {
				if m.After[t] < m.Before[t] {
					worse++
					if strings.HasPrefix(m.Name, "gemma") {
						gemma++
					}
				}
			}
		}
		return number(float64(gemma) / float64(worse))
	},
	"models_above": func(s *tables, args []string) value {
		least := s.row(args[0]).Before
		return s.count(func(r ModelRow) bool { return r.After > least })
	},
	"large_below_rival": func(s *tables, _ []string) value {
		var names []string
		for _, m := range s.Tuned {
			if m.Billions > betweenSizes && s.row(m.Name).VsRival <= 0 {
				names = append(names, m.Name)
			}
		}
		slices.Sort(names)
		return value{names: names}
	},
	"tied": func(s *tables, _ []string) value {
		all := append(slices.Clone(s.Others), s.Tuned...)
		var names []string
		for t, task := range s.Tasks {
			finals := make([]float64, len(all))
			for i, m := range all {
				finals[i] = m.final(t)
			}
			top, first := best(finals)
			if slices.Contains(finals[first+1:], top) {
				names = append(names, task.Name)
			}
		}
		return value{names: names}
	},
	"perfect": func(s *tables, args []string) value {
		t, n := s.task(args[0]), 0
		for _, m := range append(slices.Clone(s.Others), s.Tuned...) {
			if m.final(t) == 1 {
				n++
			}
		}
		return number(float64(n))
	},
	"phi_above_gemma": func(s *tables, _ []string) value {
		phi := s.row("phi-2").After
		return s.count(func(r ModelRow) bool { return strings.HasPrefix(r.Model, "gemma") && r.After < phi })
	},
	"gemma_instruct_above_phi": func(s *tables, _ []string) value {
		phi := s.row("phi-2").Before
		return s.count(func(r ModelRow) bool {
			return strings.HasPrefix(r.Model, "gemma") && KindOf(r.Model) == Instruct && r.Before > phi
		})
	},
	"gap": func(s *tables, args []string) value { return number(s.row(args[0]).After - s.row(args[1]).After) },
	"large_above_small": func(s *tables, _ []string) value {
		n := 0
		for t := range s.Tasks {
			var large, small []float64
			for _, m := range s.Tuned {
				if m.Billions > betweenSizes {
					large = append(large, m.After[t])
				} else {
					small = append(small, m.After[t])
				}
			}
			if slices.Max(large) > slices.Max(small) {
				n++
			}
		}
		return number(float64(n))
	},
	"instruct_lead": func(s *tables, args []string) value {
		iBefore, iAfter := s.ByKind(Instruct)
		aBefore, aAfter := s.ByKind(Autocomplete)
		i, a := iAfter, aAfter
		if args[1] == "before" {
			i, a = iBefore, aBefore
		}
		if args[0] == "best" {
			return number(i.BestPerTask - a.BestPerTask)
		}
		return number(i.Average - a.Average)
	},
	"glue": func(s *tables, args []string) value {
		rows := slices.DeleteFunc(slices.Clone(s.best), func(r BestRow) bool { return !strings.HasPrefix(r.Task, "glue_") })
		if args[0] == "lead" {
			return number(meanOf(rows, func(r BestRow) float64 { return r.OverRival }))
		}
		return number(meanOf(rows, func(r BestRow) float64 { return r.Tuned }))
	},
	"rival_best": func(s *tables, _ []string) value {
		n := 0
		for _, r := range s.best {
			if r.Rival > r.Tuned {
				n++
			}
		}
		return number(float64(n))
	},
	"rival_wins": func(s *tables, args []string) value {
		var names []string
		for _, r := range s.best[:count(args[0])] {
			names = append(names, r.Task)
		}
		return value{names: names}
	},

	"rho": func(s *tables, args []string) value {
		rho, _ := s.correlations.at(args[0], args[1])
		return number(rho)
	},
	"signs": func(s *tables, args []string) value {
		lengths := []string{"output_len_p95", "output_len_mean", "output_len_std"}
		rows, sign := []string{BestBase, AvgBase, BestTuned, AvgTuned}, -1.0
		switch args[0] {
		case "output_lift":
			rows, sign = []string{MaxLift}, 1
		case "length_scores":
			lengths = append(lengths, "input_len_p95", "input_len_mean", "input_len_std")
		case "rouge_scores":
			lengths = []string{"io_rougeL_std"}
		}
		c, n := s.correlations, 0
		for _, row := range rows {
			for _, column := range lengths {
				if rho, _ := c.at(row, column); rho*sign > 0 {
					n++
				}
			}
		}
		return number(float64(n))
	},
	"significant": func(s *tables, args []string) value {
		c, n := s.correlations, 0
		for _, row := range c.Rows {
			if _, p := c.at(row, args[0]); p < 0.05 {
				n++
			}
		}
		return number(float64(n))
	},
	"rmse": func(s *tables, args []string) value {
		return spread(args[0], s.regressions, func(r Regression) float64 { return r.InSample })
	},
	"rmse_gain": func(s *tables, args []string) value {
		return spread(args[0], s.regressions, func(r Regression) float64 { return r.InSample - r.InSampleWithBase })
	},
	"rmse_useful": func(s *tables, _ []string) value {
		n := 0
		for _, r := range s.regressions {
			if r.LeaveOneOut < r.MeanLeaveOneOut {
				n++
			}
		}
		return number(float64(n))
	},
})

// betweenSizes parts the report's "2B" models from its "7B" ones, in billions
// of parameters.
const betweenSizes = 5

// wikisql is a heuristic of that task.
func wikisql(heuristic string) float64 {
	rows := reference.Table13()
	m := rows[slices.IndexFunc(rows, func(m reference.Measured) bool { return m.Task == "wikisql" })]
	return m.Heuristics[slices.Index(reference.HeuristicNames(), heuristic)]
}

func count(word string) int {
	n, err := strconv.Atoi(word)
	if err != nil {
		panic("BUG: not a number: " + word)
	}
	return n
}

// row finds a model's row of Table 4, or its last, "average".
func (s *tables) row(model string) ModelRow {
	rows := append(slices.Clone(s.rows), s.all)
	i := slices.IndexFunc(rows, func(r ModelRow) bool { return r.Model == model })
	if i < 0 {
		panic("BUG: no model " + model)
	}
	return rows[i]
}

func (s *tables) task(name string) int {
	return slices.IndexFunc(s.Tasks, func(t Task) bool { return t.Name == name })
}

// count counts tuned models.
func (s *tables) count(yes func(ModelRow) bool) value {
	n := 0
	for _, r := range s.rows {
		if r.Tuned && yes(r) {
			n++
		}
	}
	return number(float64(n))
}

// over gives a model's figure, or the min, max, mean or argmax over the tuned
// models.
func (s *tables) over(which string, f func(ModelRow) float64) value {
	all := append(slices.Clone(s.rows), s.all)
	if i := slices.IndexFunc(all, func(r ModelRow) bool { return r.Model == which }); i >= 0 {
		return number(f(all[i]))
	}
	rows := slices.DeleteFunc(slices.Clone(s.rows), func(r ModelRow) bool { return !r.Tuned })
	if which == "argmax" {
		top := slices.MaxFunc(rows, func(a, b ModelRow) int { return int(math.Copysign(1, f(a)-f(b))) })
		return value{names: []string{top.Model}}
	}
	return spread(which, rows, f)
}

// spread is the min, max or mean over rows; NaN does not count.
func spread[T any](which string, rows []T, f func(T) float64) value {
	var values []float64
	for _, r := range rows {
		if v := f(r); !math.IsNaN(v) {
			values = append(values, v)
		}
	}
	switch which {
	case "min":
		return number(slices.Min(values))
	case "max":
		return number(slices.Max(values))
	case "mean":
		return number(stats.Mean(values))
	}
	panic("BUG: no " + which + " over models")
}

// ranked names the first or last models: all of them before fine-tuning, the
// tuned ones after.
func (s *tables) ranked(args []string, top bool) value {
	rows := slices.Clone(s.rows)
	score := func(r ModelRow) float64 {
		if args[0] == "before" {
			return r.Before
		}
		return r.After
	}
	rows = slices.DeleteFunc(rows, func(r ModelRow) bool { return math.IsNaN(score(r)) })
	slices.SortStableFunc(rows, func(a, b ModelRow) int {
		d := score(a) - score(b)
		if top {
			d = -d
		}
		return int(math.Copysign(1, d))
	})
	var names []string
	for _, r := range rows[:count(args[1])] {
		names = append(names, r.Model)
	}
	return value{names: names}
}

// at finds a cell.
func (c Correlations) at(row, column string) (rho, p float64) {
	i, j := slices.Index(c.Rows, row), slices.Index(c.Columns, column)
	return c.Rho[i][j], c.P[i][j]
}
