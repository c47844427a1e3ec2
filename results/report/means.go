package report

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"sort"
	"strings"

	"github.com/evalrun/evalrun/results"
)

type modelRow struct {
	Label, What, Device, Hash string
	Tasks                     int
	Mean                      value
	Low, High                 float64
	AboveBaseline, Baselines  int
	AboveGPT4, GPT4s          int
	Prompt, Completion        int
	CostUSD, Seconds          float64
	Answers, Cached           int
	PriceUnknown              bool
	Notes                     []string
}

// Interval of the mean, empty without one.
func (m modelRow) Interval() string {
	if !m.Mean.OK {
		return ""
	}
	return fmt.Sprintf("[%.3f, %.3f]", m.Low, m.High)
}

// Cost in words.
func (m modelRow) Cost() string {
	if m.PriceUnknown {
		return "price unknown"
	}
	return usd(m.CostUSD)
}

// Time is how long an answer took in the mean, waiting for others in its batch
// included: their sum says nothing, since many are in flight at once.
func (m modelRow) Time() string {
	if m.Answers == 0 {
		return "–"
	}
	mean := m.Seconds / float64(m.Answers)
	if mean < 1 {
		return fmt.Sprintf("%.0f ms", mean*1000)
	}
	return seconds(mean)
}

type categoryRow struct {
	Name     string
	Tasks    int
	Means    []value // by model
	Baseline value
	GPT4     value
	Best     value
}

// firstRows are the rows that count in means: each task once, with its first
// metric.
func (p *page) firstRows() []taskRow {
	var out []taskRow
	seen := map[string]bool{}
	for _, t := range p.Tasks {
		if !seen[t.Task] {
			seen[t.Task] = true
			out = append(out, t)
		}
	}
	return out
}

// sharedRows are those of firstRows on which every model has a score.
func (p *page) sharedRows() []taskRow {
	var out []taskRow
	for _, t := range p.firstRows() {
		if !slices.ContainsFunc(t.Cells, func(c cell) bool { return !c.Score.OK }) {
			out = append(out, t)
		}
	}
	return out
}

// ranking orders the columns by their mean over the tasks that all have, and
// where there are none over their own; the best first.
func (p *page) ranking() []int {
	shared := p.sharedRows()
	mean := func(i int) float64 {
		if len(shared) == 0 {
			return p.Models[i].Mean.V
		}
		return meanOf(shared, func(t taskRow) value { return t.Cells[i].Score }).V
	}
	order := make([]int, len(p.columns))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(mean(b), mean(a)) })
	return order
}

// Ranked are the models as a table of several shows them: the best first.
func (p *page) Ranked() []modelRow {
	if len(p.Models) < 3 {
		return p.Models
	}
	var out []modelRow
	for _, i := range p.ranking() {
		out = append(out, p.Models[i])
	}
	return out
}

func (p *page) modelRows(s results.Scores) {
	first := p.firstRows()
	for i, column := range p.columns {
		label, model, c := column.Label, column.Model, column.Config
		row := modelRow{Label: label}
		row.What = strings.TrimSpace(c.Backend + " " + firstOf(model.Model, c.Model))
		if len(column.adapters) > 1 {
			row.What += fmt.Sprintf(", %d adapters", len(column.adapters))
		} else if c.Adapter != "" {
			row.What += ", adapter " + c.Adapter
		}
		if r := firstOf(model.Revision, c.Revision); r != "" {
			row.What += ", revision " + r
		}
		row.Device, row.Hash, row.Notes = model.Device, model.Hash, model.Notes
		row.PriceUnknown = !model.PriceKnow && model.PriceIn == 0 && model.PriceOut == 0 && c.Backend != "local" && c.Backend != "echo" && c.Backend != "replay" && c.Backend != ""
		var variance, lows, highs float64
		bounded := 0
		for _, t := range first {
			cell := t.Cells[i]
			if !cell.Score.OK {
				continue
			}
			row.Tasks++
			row.Mean = value{row.Mean.V + cell.Score.V, true}
			if cell.Low.OK && cell.High.OK {
				half := (cell.High.V - cell.Low.V) / 2 / z95
				variance += half * half
				lows, highs, bounded = lows+cell.Low.V, highs+cell.High.V, bounded+1
			}
			if t.Baseline.OK {
				row.Baselines++
				if better(cell.Score.V, t.Baseline.V, t.Lower) {
					row.AboveBaseline++
				}
			}
			if t.GPT4.OK {
				row.GPT4s++
				if better(cell.Score.V, t.GPT4.V, t.Lower) {
					row.AboveGPT4++
				}
			}
		}
		if row.Mean.OK {
			k := float64(row.Tasks)
			row.Mean.V /= k
			half := z95 * math.Sqrt(variance) / k
			row.Low, row.High = row.Mean.V-half, row.Mean.V+half
			if bounded == row.Tasks { // no wider than if all tasks erred the same way
				row.Low, row.High = max(row.Low, lows/k), min(row.High, highs/k)
			}
			if bounded == 1 && row.Tasks == 1 { // no mean at all: the task's own
				row.Low, row.High = lows, highs
			}
		}
		counted := map[string]bool{}
		for _, l := range s.Tasks { // counts are of the task, on each of its lines
			if l.Model != label || counted[l.Task] {
				continue
			}
			counted[l.Task] = true
			row.Prompt += l.PromptTokens
			row.Completion += l.CompletionTokens
			row.CostUSD += l.CostUSD
			row.Seconds += l.Seconds
			row.Answers += l.Answered()
			row.Cached += l.Cached
		}
		p.Models = append(p.Models, row)
	}
}

// z95 is the normal 97.5 % quantile.
const z95 = 1.959963984540054

// categoryRows are means over the tasks that every model has a score on.
func (p *page) categoryRows() {
	rows := map[string][]taskRow{}
	var names []string
	all := p.sharedRows()
	for _, t := range all {
		name := firstOf(t.Category, "other")
		if rows[name] == nil {
			names = append(names, name)
		}
		rows[name] = append(rows[name], t)
	}
	if len(all) < 2 {
		return
	}
	sort.Strings(names)
	if len(names) > 1 {
		for _, n := range names {
			p.Categories = append(p.Categories, p.meanRow(n, rows[n]))
		}
	}
	p.Categories = append(p.Categories, p.meanRow("all tasks", all))
}

func (p *page) meanRow(name string, rows []taskRow) categoryRow {
	c := categoryRow{Name: name, Tasks: len(rows)}
	for i := range p.Labels {
		c.Means = append(c.Means, meanOf(rows, func(t taskRow) value { return t.Cells[i].Score }))
	}
	c.Baseline = meanOf(rows, func(t taskRow) value { return t.Baseline })
	c.GPT4 = meanOf(rows, func(t taskRow) value { return t.GPT4 })
	c.Best = meanOf(rows, func(t taskRow) value { return t.Best })
	return c
}

// meanOf is absent where one of the rows has no value: a mean over other tasks
// would be read beside the rest as if it were over the same.
func meanOf(rows []taskRow, of func(taskRow) value) value {
	var sum float64
	for _, t := range rows {
		v := of(t)
		if !v.OK {
			return value{}
		}
		sum += v.V
	}
	return value{sum / float64(len(rows)), len(rows) > 0}
}
