package report

import (
	"fmt"
	"math"
	"slices"

	"github.com/evalrun/evalrun/results/report/figure"
	"github.com/evalrun/evalrun/results/study"
)

// A drawn figure of the LoRA Land report, under its number there.
type drawn struct {
	Name, Title, Caption string // Name is that of its file, without ending
	SVG                  *figure.SVG
}

// intervals gives the 95 % interval of a model's mean, before or after
// fine-tuning; NaN without one.
type intervals func(model string, tuned bool) (low, high float64)

// fewestForCorrelations is the number of tasks under which a rank correlation
// says nothing: of 8 it has to be above 0.7 to be significant.
const fewestForCorrelations = 8

func noIntervals(string, bool) (float64, float64) { return math.NaN(), math.NaN() }

// figures draws what the study has the figures for.
func figures(s *study.Study, bounds intervals) []drawn {
	var out []drawn
	if bounds == nil {
		bounds = noIntervals
	}
	if len(s.Tuned) > 0 || len(s.Others) > 1 {
		out = append(out, averages(s, bounds))
	}
	if len(s.Tuned) > 0 {
		out = append(out, lifts(s))
	}
	if len(s.Tuned)+len(s.Others) > 1 && len(s.Tasks) > 1 {
		out = append(out, firsts(s))
	}
	if before, _ := s.ByKind(study.Instruct); before.Models > 0 {
		if other, _ := s.ByKind(study.Autocomplete); other.Models > 0 {
			out = append(out, kinds(s))
		}
	}
	if c := s.Correlate(); c.N >= fewestForCorrelations && len(s.Tuned) > 0 {
		out = append(out, correlations(c))
	}
	if len(s.Tuned)+len(s.Others) > 1 && len(s.Tasks) > 1 {
		out = append(out, everything(s))
	}
	return out
}

func averages(s *study.Study, bounds intervals) drawn {
	c := figure.Bars{Title: "Average score of each model", Low: 0, High: 1, Series: []string{"before fine-tuning", "after fine-tuning", "not fine-tuned"}}
	if len(s.Tuned) == 0 {
		c.Series = nil
	}
	rows, _ := s.ByModel()
	slices.Reverse(rows)
	for _, r := range rows {
		g := figure.Group{Label: r.Model}
		if r.Tuned {
			for i, v := range []float64{r.Before, r.After} {
				low, high := bounds(r.Model, i == 1)
				g.Bars = append(g.Bars, figure.Bar{Series: i, Value: v, Low: low, High: high})
			}
		} else {
			low, high := bounds(r.Model, false)
			g.Bars = append(g.Bars, figure.Bar{Series: 2, Value: r.Before, Low: low, High: high})
		}
		c.Groups = append(c.Groups, g)
		if s.Rival >= 0 && r.Model == s.Others[s.Rival].Name && !math.IsNaN(r.Before) {
			c.Marks = append(c.Marks, figure.Mark{Label: r.Model, Value: r.Before})
		}
	}
	return drawn{"figure1", "Figure 1: average over tasks", fmt.Sprintf("Mean score over %s, the best on top.", plural(len(s.Tasks), "task")), c.Draw()}
}

func lifts(s *study.Study) drawn {
	rival := rivalName(s)
	c := figure.Bars{Title: "Lift of the best fine-tuned model of each task", Format: "%+.3f", Series: []string{"over the best base model", "over " + rival}}
	rows, mean := s.Best()
	above, n := 0, 0
	for _, r := range append(rows, mean) {
		g := figure.Group{Label: r.Task, Strong: r.Task == mean.Task, Bars: []figure.Bar{plain(1, r.OverBase)}}
		if s.Rival >= 0 {
			g.Bars = append(g.Bars, plain(2, r.OverRival))
		}
		c.Groups = append(c.Groups, g)
	}
	for _, r := range rows {
		if !math.IsNaN(r.OverRival) {
			n++
			if r.OverRival > 0 {
				above++
			}
		}
	}
	c.Series = append([]string{""}, c.Series...) // series 1 and 2
	caption := "What fine-tuning gains on each task, in score."
	if s.Rival < 0 {
		c.Series = c.Series[:2]
	} else {
		caption = fmt.Sprintf("What the best fine-tuned model gains on each task over the best base model and over %s; above %s on %d of %d.", rival, rival, above, n)
	}
	return drawn{"figure5", "Figure 5: lift of fine-tuning by task", caption, c.Draw()}
}

// plain is a bar without interval.
func plain(series int, v float64) figure.Bar {
	return figure.Bar{Series: series, Value: v, Low: math.NaN(), High: math.NaN()}
}

func firsts(s *study.Study) drawn {
	rows, _ := s.ByModel()
	slices.SortStableFunc(rows, func(a, b study.ModelRow) int { return b.Best.K - a.Best.K })
	c := figure.Bars{Title: "Number of tasks on which a model is best", Format: "%.0f", High: 1}
	alone := 0
	for _, r := range rows {
		series := 1
		if !r.Tuned {
			series = 2
		}
		alone += r.Best.K
		c.Groups = append(c.Groups, figure.Group{Label: r.Model, Bars: []figure.Bar{plain(series, float64(r.Best.K))}})
	}
	return drawn{"figure6", "Figure 6: first places", fmt.Sprintf("Tasks on which a model alone has the best score, fine-tuned where it was; ties (%d of %d tasks) are left out.", len(s.Tasks)-alone, len(s.Tasks)), c.Draw()}
}

func kinds(s *study.Study) drawn {
	c := figure.Bars{Title: "Auto-complete and instruction-tuned base models", High: 1, Series: []string{"before fine-tuning", "after fine-tuning"}}
	for _, kind := range []study.Kind{study.Autocomplete, study.Instruct} {
		before, after := s.ByKind(kind)
		c.Groups = append(c.Groups,
			figure.Group{Label: "average " + string(kind), Bars: []figure.Bar{plain(0, before.Average), plain(1, after.Average)}},
			figure.Group{Label: "best " + string(kind), Bars: []figure.Bar{plain(0, before.BestPerTask), plain(1, after.BestPerTask)}})
	}
	return drawn{"figure7", "Figure 7: kinds of base model", "Average of the kind's models, and the best of the kind on each task, averaged over tasks.", c.Draw()}
}

func correlations(c study.Correlations) drawn {
	g := figure.Grid{Title: "Rank correlations of quality and complexity"}
	for _, name := range c.Rows {
		g.Columns = append(g.Columns, heading(name))
	}
	for j, name := range c.Columns {
		g.Rows = append(g.Rows, heading(name))
		row := make([]float64, len(c.Rows))
		for i := range c.Rows {
			row[i] = c.Rho[i][j]
		}
		g.Values = append(g.Values, row)
	}
	return drawn{"figure8", "Figure 8: quality and complexity", fmt.Sprintf("Spearman's rank correlation over %s.", plural(c.N, "task")), g.Draw()}
}

func everything(s *study.Study) drawn {
	c := figure.Lines{Title: "Every model on every task", High: 1}
	for _, t := range s.Tasks {
		c.Rows = append(c.Rows, t.Name)
	}
	for _, m := range s.Tuned {
		c.Lines = append(c.Lines, figure.Line{Name: m.Name, Values: m.After})
	}
	for i, m := range s.Others {
		c.Lines = append(c.Lines, figure.Line{Name: m.Name, Values: m.Before, Strong: i == s.Rival})
	}
	what := "Scores of every model, fine-tuned where it was."
	return drawn{"figure11", "Figure 11: every model on every task", what, c.Draw()}
}
