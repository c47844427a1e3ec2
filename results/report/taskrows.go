package report

import (
	"fmt"
	"math"
	"strings"

	"github.com/evalrun/evalrun/core"
	"github.com/evalrun/evalrun/results"
)

// tooFew is the number of rows under which a score says almost nothing.
const tooFew = 10

type taskRow struct {
	Task, Metric, Category string
	Lower                  bool
	N                      int
	Cells                  []cell // by model
	Baseline               value
	Constant               string
	GPT4, Best, BestBase   value
	Other                  bool
	Flags                  []string
	Scale                  float64 // right end of the bars
	Threshold              *float64
}

type cell struct {
	Label     string
	Score     value
	Low, High value
	Other     otherScore
	Text      string
	Winner    bool
}

// otherScore is what the other profile gives the same answers, where it differs.
type otherScore struct {
	Profile core.Profile
	value
}

func (p *page) taskRows(s results.Scores) {
	for _, lines := range s.Rows() {
		p.Tasks = append(p.Tasks, p.taskRow(lines))
	}
}

// linesOf gives a model's lines of one task and metric: that of its run's own
// profile, and the other's; nil where there is none.
func linesOf(lines []results.Score, model string) (own, other *results.Score) {
	for i := range lines {
		switch {
		case lines[i].Model != model:
		case own == nil:
			own = &lines[i]
		case other == nil && lines[i].Profile != own.Profile:
			other = &lines[i]
		}
	}
	return own, other
}

func (p *page) taskRow(lines []results.Score) taskRow {
	first := lines[0]
	row := taskRow{Task: first.Task, Metric: first.Metric, Category: first.Category, Lower: first.Better == "lower", Flags: flags(lines), Scale: 1}
	for _, label := range p.Labels {
		c := cell{Label: label, Text: "not run"}
		if l, other := linesOf(lines, label); l != nil {
			c = cellOf(label, l, other)
			row.N = max(row.N, l.N)
			if b := some(l.Baseline); b.OK {
				row.Baseline, row.Constant = b, shorten(l.Constant, 60)
			}
			if l.Threshold != nil {
				row.Threshold = l.Threshold
			}
		}
		row.Cells = append(row.Cells, c)
	}
	if pub := first.Published; pub != nil {
		row.GPT4, row.Best, row.BestBase = value{pub.GPT4, true}, value{pub.BestFinetuned, true}, value{pub.BestBase, true}
		row.Other = pub.OtherPrompt
		p.Published = true
		p.Other = p.Other || pub.OtherPrompt
	}
	for _, v := range append([]value{row.Baseline, row.GPT4, row.Best}, highs(row.Cells)...) {
		if v.OK && !math.IsInf(v.V, 0) {
			row.Scale = max(row.Scale, v.V)
		}
	}
	if best := winner(row); best >= 0 {
		row.Cells[best].Winner = true
	}
	return row
}

func highs(cells []cell) []value {
	var out []value
	for _, c := range cells {
		out = append(out, c.Score, c.High)
	}
	return out
}

func cellOf(label string, l, other *results.Score) cell {
	c := cell{Label: label, Score: some(l.Score)}
	if len(l.Interval) == 2 {
		c.Low, c.High = some(&l.Interval[0]), some(&l.Interval[1])
	}
	switch {
	case l.Skipped != "":
		c.Text, c.Score = "skipped: "+l.Skipped, value{}
	case !c.Score.OK:
		c.Text = "no answer"
	default:
		c.Text = c.Score.String()
		if c.Low.OK && c.High.OK {
			c.Text += fmt.Sprintf(" [%.2f, %.2f]", c.Low.V, c.High.V)
		}
	}
	if other != nil && c.Score.OK {
		if o := some(other.Score); o.OK && o.String() != c.Score.String() {
			c.Other = otherScore{other.Profile, o}
		}
	}
	return c
}

// winner is the best cell of several, −1 where there is none or a tie.
func winner(row taskRow) int {
	best, tied, scored := -1, false, 0
	for i, c := range row.Cells {
		if !c.Score.OK {
			continue
		}
		scored++
		switch {
		case best < 0:
			best = i
		case c.Score.V == row.Cells[best].Score.V:
			tied = true
		case (c.Score.V > row.Cells[best].Score.V) != row.Lower:
			best, tied = i, false
		}
	}
	if tied || scored < 2 {
		return -1
	}
	return best
}

// flags are the short warnings beside a task. Of several models a warning
// names those that it is about, unless it is about all.
func flags(lines []results.Score) []string {
	var order, models []string
	about := map[string][]string{}
	for _, l := range lines {
		if own, _ := linesOf(lines, l.Model); l.Profile != own.Profile {
			continue
		}
		models = append(models, l.Model)
		for _, f := range lineFlags(l) {
			if about[f] == nil {
				order = append(order, f)
			}
			about[f] = append(about[f], l.Model)
		}
	}
	out := make([]string, 0, len(order))
	for _, f := range order {
		if len(about[f]) < len(models) {
			f = strings.Join(about[f], ", ") + ": " + f
		}
		out = append(out, f)
	}
	return out
}

func lineFlags(l results.Score) []string {
	if l.Skipped != "" {
		return []string{"skipped: " + l.Skipped}
	}
	var out []string
	add := func(n int, text string) {
		if n > 0 {
			out = append(out, text)
		}
	}
	asked := max(1, l.Answered())
	if l.N < tooFew {
		add(l.N, fmt.Sprintf("too few rows (%d)", l.N))
	}
	add(l.APIErrors, fmt.Sprintf("%d API errors", l.APIErrors))
	add(l.ExtractionFailed, percent(l.ExtractionFailed, max(1, l.Items()))+" no answer found")
	add(l.Truncated, percent(l.Truncated, asked)+" prompts truncated")
	for _, w := range l.Warnings {
		add(w.Samples, percent(w.Samples, asked)+" "+w.Text)
	}
	add(l.Cut, percent(l.Cut, asked)+" answers cut")
	add(l.Empty, percent(l.Empty, asked)+" empty")
	add(l.Withheld, percent(l.Withheld, asked)+" withheld by the service")
	add(l.Dropped, fmt.Sprintf("%d dropped", l.Dropped))
	add(l.NonFinite, fmt.Sprintf("%d non-finite left out", l.NonFinite))
	if l.Unfinished {
		out = append(out, "unfinished")
	}
	return append(out, l.Notes...)
}
