package report

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/evalrun/evalrun/results/reference"
	"github.com/evalrun/evalrun/results/study"
)

// The tables of the LoRA Land report, made from any study. With published they
// have the report's own figures beside them.

func bestSheet(s *study.Study, published bool) *sheet {
	t := &sheet{Key: "table3", Title: "Table 3: the best model of each task, before and after fine-tuning", RowKey: "task", RowHead: "task", Columns: []column{
		{"best_base", "best base", 3}, {"best_finetuned", "best fine-tuned", 3}, {"gpt4", rivalName(s), 3}, {"lift_over_base", "over base", 3}, {"lift_over_gpt4", "over " + rivalName(s), 3}}}
	was := map[string]reference.BestRow{}
	if published {
		for _, r := range reference.Table3() {
			was[r.Task] = r
		}
	}
	rows, mean := s.Best()
	for _, r := range append(rows, mean) {
		p, ok := was[r.Task]
		if !ok {
			nan := math.NaN()
			p = reference.BestRow{BestBase: nan, BestFinetuned: nan, GPT4: nan, OverBase: nan, OverGPT4: nan}
		}
		t.Rows = append(t.Rows, sheetRow{Label: r.Task, Total: r.Task == mean.Task, Cells: []figureCell{
			beside(r.Base, p.BestBase), beside(r.Tuned, p.BestFinetuned), beside(r.Rival, p.GPT4), beside(r.OverBase, p.OverBase), beside(r.OverRival, p.OverGPT4)}})
	}
	return t
}

func modelSheet(s *study.Study, published bool) *sheet {
	rival := rivalName(s)
	t := &sheet{Key: "table4", Title: fmt.Sprintf("Table 4: models, averaged over %s", plural(len(s.Tasks), "task")), RowKey: "base_model", RowHead: "model", Columns: []column{
		{"no_ft", "before", 3}, {"with_ft", "fine-tuned", 3}, {"avg_lift_ft", "lift", 3}, {"avg_lift_vs_gpt4", "vs " + rival, 3},
		{"ft_gt_no_ft", "tasks above base", 0}, {"ft_gt_gpt4", "above " + rival, 0}, {"ft_is_max", "best of all", 0}}}
	t.Note = "Best of all: no other model, fine-tuned or not, scores as much."
	was := map[string]reference.ModelRow{}
	if published {
		for _, r := range reference.Table4() {
			was[r.Model] = r
		}
	}
	rows, mean := s.ByModel()
	for _, r := range append(rows, mean) {
		p, ok := was[r.Model]
		if !ok {
			nan := math.NaN()
			p = reference.ModelRow{Before: nan, After: nan, Lift: nan, LiftVsGPT4: nan}
		}
		total := r.Model == mean.Model
		counted := func(c study.Count, was string) figureCell {
			cell := figureCell{V: float64(c.K), Of: c.N, IsCount: true, Published: math.NaN()}
			if c.N == 0 {
				cell.V = math.NaN()
			}
			var k int
			if _, err := fmt.Sscanf(was, "%d/", &k); err == nil {
				cell.Published = float64(k)
			}
			return cell
		}
		cells := []figureCell{beside(r.Before, p.Before), beside(r.After, p.After), beside(r.Lift, p.Lift), beside(r.VsRival, p.LiftVsGPT4),
			counted(r.AboveBase, p.AboveBase), counted(r.AboveRival, p.AboveGPT4), counted(r.Best, p.Best)}
		t.Rows = append(t.Rows, sheetRow{Label: r.Model, Total: total, Cells: cells})
	}
	return t
}

func regressionSheet(s *study.Study, published bool) *sheet {
	t := &sheet{Key: "table6", Title: "Table 6: how well complexity heuristics predict quality (root mean squared errors)", RowKey: "quality_metric", RowHead: "quality", Columns: []column{
		{"rmse_heuristics_only", "heuristics", 4}, {"rmse_with_avg_base_score", "with base score", 4},
		{"rmse_leave_one_out_heuristics_only", "unseen task", 4}, {"rmse_leave_one_out_with_avg_base_score", "unseen, with base", 4},
		{"rmse_mean_leave_one_out", "unseen, by the mean", 4}, {"rmse_mean", "the mean, in-sample", 4}}}
	n := 0
	was := map[string]reference.RMSERow{}
	if published {
		for _, r := range reference.Table6() {
			was[r.Quality] = r
		}
	}
	worse, rows := 0, s.Regressions()
	for _, r := range rows {
		p, ok := was[r.Quality]
		if !ok {
			p = reference.RMSERow{Heuristics: math.NaN(), WithBase: math.NaN()}
		}
		n = max(n, r.N)
		if r.LeaveOneOut > r.MeanLeaveOneOut {
			worse++
		}
		t.Rows = append(t.Rows, sheetRow{Label: r.Quality, Cells: []figureCell{beside(r.InSample, p.Heuristics), beside(r.InSampleWithBase, p.WithBase),
			numberCell(r.LeaveOneOut), numberCell(r.LeaveOneOutWithBase), numberCell(r.MeanLeaveOneOut), numberCell(r.Mean)}})
	}
	t.Note = fmt.Sprintf("Least squares with intercept on the 14 z-scored heuristics, without and with the average base score, over %s. The first two columns are errors on the tasks that the model was fitted to. "+
		"\"Unseen\" leaves each task out and predicts it from the others: there %d of %d regressions are worse than the plain mean of the other tasks.", plural(n, "task"), worse, len(rows))
	return t
}

func scoreSheet(s *study.Study, number int) *sheet {
	t := &sheet{Key: fmt.Sprintf("table%d", number), RowKey: "task", RowHead: "task"}
	after := number == 12
	t.Title, t.Note = "Table 11: scores before fine-tuning", ""
	if after {
		t.Title = "Table 12: scores after fine-tuning"
	}
	add := func(m study.Model, scores []float64) {
		t.Columns = append(t.Columns, column{m.Name, m.Name, 3})
		for i := range s.Tasks {
			if len(t.Rows) <= i {
				t.Rows = append(t.Rows, sheetRow{Label: s.Tasks[i].Name})
			}
			t.Rows[i].Cells = append(t.Rows[i].Cells, numberCell(scores[i]))
		}
	}
	for _, m := range s.Tuned {
		if after {
			add(m, m.After)
		} else {
			add(m, m.Before)
		}
	}
	for _, m := range s.Others {
		add(m, m.Before)
	}
	return t
}

// liftSheet is the part of Table 12 in parentheses.
func liftSheet(s *study.Study, published bool) *sheet {
	t := &sheet{Key: "table12_lifts", Title: "Table 12, lifts: what fine-tuning gave over the base model", RowKey: "task", RowHead: "task"}
	was := map[string]map[string]float64{}
	if published {
		was = reference.Lifts()
	}
	for _, m := range s.Tuned {
		t.Columns = append(t.Columns, column{m.Name, m.Name, 3})
	}
	for i, task := range s.Tasks {
		row := sheetRow{Label: task.Name}
		for _, m := range s.Tuned {
			p, ok := was[task.Name][m.Name]
			if !ok {
				p = math.NaN()
			}
			row.Cells = append(row.Cells, beside(m.After[i]-m.Before[i], p))
		}
		t.Rows = append(t.Rows, row)
	}
	return t
}

// complexitySheet is Table 13: quality recomputed, heuristics as they are.
func complexitySheet(s *study.Study, published bool) *sheet {
	t := &sheet{Key: "table13", Title: "Table 13: quality and complexity of the tasks", RowKey: "task", RowHead: "task"}
	for _, name := range reference.QualityNames() {
		t.Columns = append(t.Columns, column{name, heading(name), 3})
	}
	for _, name := range reference.HeuristicNames() {
		digits := 2
		switch {
		case strings.HasPrefix(name, "io_") || strings.HasPrefix(name, "compress"):
			digits = 3
		case name == "train_examples":
			digits = 0
		}
		t.Columns = append(t.Columns, column{name, heading(name), digits})
	}
	was := map[string]reference.Measured{}
	if published {
		t.Note = "The six measures of quality are recomputed from Tables 11 and 12; the heuristics are as published."
		for _, m := range reference.Table13() {
			was[m.Task] = m
		}
	}
	qualities := make([][]float64, len(reference.QualityNames()))
	for j, name := range reference.QualityNames() {
		qualities[j] = s.Quality(name)
	}
	for i, task := range s.Tasks {
		row := sheetRow{Label: task.Name}
		for j := range qualities {
			p := math.NaN()
			if m, ok := was[task.Name]; ok {
				p = m.Quality[j]
			}
			row.Cells = append(row.Cells, beside(qualities[j][i], p))
		}
		for j := range reference.HeuristicNames() {
			v := math.NaN()
			if j < len(task.Heuristics) {
				v = task.Heuristics[j]
			}
			row.Cells = append(row.Cells, numberCell(v))
		}
		t.Rows = append(t.Rows, row)
	}
	slices.SortStableFunc(t.Rows, func(a, b sheetRow) int { return strings.Compare(a.Label, b.Label) })
	return t
}

// exampleSheet is Table 5: Table 13 turned, for the report's three tasks.
func exampleSheet(table13 *sheet) *sheet {
	t := &sheet{Key: "table5", Title: "Table 5: quality and complexity of three tasks", RowKey: "measure", RowHead: "measure"}
	for j, c := range table13.Columns {
		row := sheetRow{Label: c.Head}
		for _, r := range table13.Rows {
			if slices.Contains([]string{"arc_combined", "bc5cdr", "boolq"}, r.Label) {
				if j == 0 {
					t.Columns = append(t.Columns, column{r.Label, r.Label, 2})
				}
				row.Cells = append(row.Cells, r.Cells[j])
			}
		}
		t.Rows = append(t.Rows, row)
	}
	return t
}

// categorySheet is ours: means by category of task.
func categorySheet(s *study.Study) *sheet {
	t := &sheet{Key: "by_category", Title: "By category", RowKey: "category", RowHead: "category", Columns: []column{
		{"tasks", "tasks", 0}, {"avg_base", "average base", 3}, {"avg_finetuned", "average fine-tuned", 3}, {"best_base", "best base", 3}, {"best_finetuned", "best fine-tuned", 3}, {"gpt4", rivalName(s), 3}, {"ft_gt_gpt4", "above " + rivalName(s), 0}}}
	var names []string
	for _, task := range s.Tasks {
		if !slices.Contains(names, task.Category) {
			names = append(names, task.Category)
		}
	}
	for _, name := range names {
		part := s.Only(func(task study.Task) bool { return task.Category == name })
		_, best := part.Best()
		_, all := part.ByModel()
		cells := []figureCell{numberCell(float64(len(part.Tasks))), numberCell(all.Before), numberCell(all.After), numberCell(best.Base), numberCell(best.Tuned), numberCell(best.Rival),
			{V: float64(all.AboveRival.K), Of: all.AboveRival.N, IsCount: true, Published: math.NaN()}}
		t.Rows = append(t.Rows, sheetRow{Label: firstOf(name, "other"), Cells: cells})
	}
	return t
}

func rivalName(s *study.Study) string {
	if s.Rival < 0 {
		return "rival"
	}
	return s.Others[s.Rival].Name
}

// heading is a measurement's name for reading.
func heading(name string) string {
	for _, r := range [][2]string{{"gpt4", "GPT-4"}, {"avg_", "average "}, {"finetuned", "fine-tuned"}, {"io_rougeL", "I/O ROUGE-L"}, {"_len_", " length "}, {"_std", " std"}, {"_mean", " mean"}, {"train_examples", "training examples"}, {"_", " "}} {
		name = strings.ReplaceAll(name, r[0], r[1])
	}
	return name
}
