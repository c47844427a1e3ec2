package report

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/evalrun/evalrun/results/predict"
	"github.com/evalrun/evalrun/results/reference"
	"github.com/evalrun/evalrun/results/study"
)

// fewestForRegressions is the number of tasks from which Table 6 is shown: one
// more than the columns of its larger regression.
const fewestForRegressions = 17

// study draws the figures and tables of the LoRA Land report from the page's
// own scores: on the tasks that every model has, scores that are better higher.
func (p *page) study(o Options) {
	heuristics, source := p.heuristics(o)
	s, bounds := p.studyOf(o, heuristics)
	if len(s.Tasks) == 0 || len(s.Tuned) == 0 && len(s.Others) < 2 {
		return
	}
	p.Figures = figures(s, bounds)
	if len(s.Tuned) == 0 {
		return
	}
	p.Sheets = append(p.Sheets, bestSheet(s, false), modelSheet(s, false))
	known := 0
	for _, t := range s.Tasks {
		if t.Heuristics != nil && !slices.ContainsFunc(t.Heuristics, math.IsNaN) {
			known++
		}
	}
	if known >= fewestForRegressions {
		t := regressionSheet(s, false)
		t.Note += " " + source
		p.Sheets = append(p.Sheets, t)
	}
	for i, f := range p.Figures {
		if f.Name == "figure8" {
			p.Figures[i].Caption += " " + source
		}
	}
}

// heuristics gives each task's complexity heuristics and says in a sentence
// where they come from: given ones, the published ones, or those of evalrun's
// own prompts, never two kinds together.
func (p *page) heuristics(o Options) (map[string][]float64, string) {
	if o.Heuristics != nil {
		return o.Heuristics, "The heuristics are those given."
	}
	out := map[string][]float64{}
	if !p.Other {
		for _, m := range reference.Table13() {
			out[m.Task] = m.Heuristics
		}
		return out, "The heuristics are the published ones, of the report's own prompts."
	}
	for _, r := range predict.OwnRows() {
		out[r.Task] = r.Features
	}
	return out, "The heuristics are those of evalrun's own prompts."
}

// published is the name of the GPT-4 whose scores come from the LoRA Land
// report.
const published = "gpt-4 (published)"

// studyOf puts the columns into their roles: base models with what was tuned
// from them, and others.
func (p *page) studyOf(o Options, heuristics map[string][]float64) (*study.Study, intervals) {
	s := &study.Study{Rival: -1}
	var rows []taskRow
	for _, t := range p.sharedRows() {
		if t.Lower {
			continue
		}
		rows = append(rows, t)
		s.Tasks = append(s.Tasks, study.Task{Name: t.Task, Category: firstOf(t.Category, "other"), Metric: t.Metric, Heuristics: heuristics[t.Task]})
	}
	scores := func(i int) []float64 {
		out := make([]float64, len(rows))
		for k, t := range rows {
			out[k] = t.Cells[i].Score.V
		}
		return out
	}
	missing := make([]float64, len(rows))
	for k := range missing {
		missing[k] = math.NaN()
	}
	where := map[string][2]int{} // a model's columns before and after, −1 for none
	tunedOf := map[int]int{}     // column -> how many were tuned from it
	base := make([]int, len(p.columns))
	for i := range p.columns {
		base[i] = baseOf(p.columns, i, o)
		if base[i] >= 0 {
			tunedOf[base[i]]++
		}
	}
	for i, c := range p.columns {
		tuned := c.Config.Adapter != "" || o.Tuned[c.Label] != ""
		switch {
		case tuned:
			m := study.Model{Name: c.Label, Before: missing, After: scores(i), Kind: study.KindOf(c.Label)}
			if b := base[i]; b >= 0 {
				m.Before = scores(b)
				if tunedOf[b] == 1 {
					m.Name = p.columns[b].Label
				}
			}
			where[m.Name] = [2]int{base[i], i}
			s.Tuned = append(s.Tuned, m)
		case tunedOf[i] == 0:
			s.Others = append(s.Others, study.Model{Name: c.Label, Before: scores(i), Kind: study.KindOf(c.Label)})
			where[c.Label] = [2]int{i, -1}
		}
	}
	s.Rival = slices.IndexFunc(s.Others, func(m study.Model) bool {
		return m.Name == o.Rival || o.Rival == "" && namesRival(m.Name)
	})
	if s.Rival < 0 && len(s.Tuned) > 0 && len(rows) > 0 && !slices.ContainsFunc(rows, func(t taskRow) bool { return !t.GPT4.OK }) {
		gpt4 := study.Model{Name: published, Kind: study.Instruct}
		for _, t := range rows {
			gpt4.Before = append(gpt4.Before, t.GPT4.V)
		}
		s.Rival = len(s.Others)
		s.Others = append(s.Others, gpt4)
	}
	return s, func(model string, tuned bool) (float64, float64) {
		columns, known := where[model]
		at := columns[0]
		if tuned {
			at = columns[1]
		}
		if !known || at < 0 || !p.Models[at].Mean.OK || p.Models[at].Tasks != len(rows) {
			return math.NaN(), math.NaN()
		}
		return p.Models[at].Low, p.Models[at].High
	}
}

// baseOf finds the column of the model that a column was tuned from, −1 for
// none.
func baseOf(columns []*tableColumn, i int, o Options) int {
	c := columns[i]
	if label := o.Tuned[c.Label]; label != "" {
		return slices.IndexFunc(columns, func(b *tableColumn) bool { return b.Label == label })
	}
	if c.Config.Adapter == "" {
		return -1
	}
	return slices.IndexFunc(columns, func(b *tableColumn) bool {
		return b.Config.Adapter == "" && b.Config.Backend == c.Config.Backend && b.Config.Model == c.Config.Model && b.Config.Revision == c.Config.Revision && b.Config.BaseURL == c.Config.BaseURL
	})
}

// leadTuned says on the first screen what fine-tuning gave.
func (p *page) leadTuned(add func(string, ...any)) {
	i := slices.IndexFunc(p.Sheets, func(s *sheet) bool { return s.Key == "table4" })
	if i < 0 {
		return
	}
	rows := p.Sheets[i].Rows
	mean := rows[len(rows)-1].Cells
	if len(mean) < 7 || math.IsNaN(mean[1].V) {
		return
	}
	text := fmt.Sprintf("Fine-tuning: %.3f on average", mean[1].V)
	if !math.IsNaN(mean[0].V) {
		text += fmt.Sprintf(", from %.3f before; above the base model in %s cases", mean[0].V, mean[4].text(0))
	}
	if !math.IsNaN(mean[5].V) {
		text += fmt.Sprintf(", above %s in %s", strings.TrimPrefix(p.Sheets[i].Columns[5].Head, "above "), mean[5].text(0))
	}
	add("%s.", text)
}
