package report

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"
	"sort"
	"strings"

	"github.com/evalrun/evalrun/core"
	"github.com/evalrun/evalrun/core/record"
	"github.com/evalrun/evalrun/results"
)

// tooFew is the number of rows under which a score says almost nothing.
const tooFew = 10

// A page is what all forms of the report say, in the order in which they say
// it.
type page struct {
	Run     string
	Tag     string
	Date    string
	Outcome string // empty when the run finished
	Demo    bool

	Lead       []string // the first screen in sentences
	Models     []modelRow
	Categories []categoryRow
	Tasks      []taskRow
	Paired     []pairedBlock
	PairedNote string
	Quality    []qualityRow
	Data       []dataRow
	Facts      [][2]string
	Runs       []runRow // of several
	Command    string   // of one
	Labels     []string
	Published  bool
	Other      bool     // some published score was measured with another prompt
	Warnings   []string // what makes columns hard to compare
	Figures    []drawn
	Sheets     []*sheet

	columns []*tableColumn
}

// runRow is one of several runs.
type runRow struct {
	ID, Tag, Date, Models, Tasks, Cost, Time, Version, Command string
}

// value is a number that may be absent.
type value struct {
	V  float64
	OK bool
}

func some(f *record.Float) value {
	if f == nil || math.IsNaN(float64(*f)) {
		return value{}
	}
	return value{float64(*f), true}
}

func (v value) String() string {
	if !v.OK {
		return "–"
	}
	return fmt.Sprintf("%.3f", v.V)
}

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

type qualityRow struct {
	Task, Model                                string
	N                                          int
	API, Failed, Truncated, Cut, Empty, Cached int
	Dropped, NonFinite                         int
	Asked                                      int
	Unfinished                                 bool
}

type dataRow struct {
	Task, Source, Spec, Hash string
	N                        int
}

// newPage gathers everything. Several models are compared in pairs from the
// stored samples.
func newPage(ctx context.Context, runs []Run, o Options) *page {
	m := manifestOf(runs)
	columns, s := merge(runs)
	p := &page{Run: m.ID, Tag: m.Tag, Date: m.Created.UTC().Format("2006-01-02 15:04 UTC"), Demo: m.Demonstration || s.Demonstration, columns: columns}
	for _, c := range columns {
		p.Labels = append(p.Labels, c.Label)
	}
	if s.Outcome != "finished" {
		p.Outcome = map[string]string{"interrupted": "interrupted", "budget": "stopped at its spending cap", "gave_up": "given up after failures"}[s.Outcome]
		if p.Outcome == "" {
			p.Outcome = s.Outcome
		}
	}
	p.taskRows(s)
	p.modelRows(s)
	p.categoryRows()
	p.qualityRows(s)
	p.paired(ctx, runs)
	p.study(o)
	p.dataRows(m)
	if len(runs) == 1 {
		p.facts(m, s)
		p.Command = command(m)
	} else {
		p.runRows(runs)
	}
	p.lead(m, s, len(runs))
	return p
}

func labels(s results.Scores) []string {
	var out []string
	seen := map[string]bool{}
	for _, l := range s.Tasks {
		if !seen[l.Model] {
			seen[l.Model] = true
			out = append(out, l.Model)
		}
	}
	return out
}

type lineKey struct {
	task, metric string
}

// taskRows groups the lines of a task and metric over models and profiles.
func (p *page) taskRows(s results.Scores) {
	index := map[lineKey]int{}
	byRow := [][]results.Score{}
	for _, l := range s.Tasks {
		k := lineKey{l.Task, l.Metric}
		i, ok := index[k]
		if !ok {
			i = len(byRow)
			index[k] = i
			byRow = append(byRow, nil)
		}
		byRow[i] = append(byRow[i], l)
	}
	for _, lines := range byRow {
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
	asked := max(1, l.N+l.Dropped+l.NonFinite)
	if l.N < tooFew {
		add(l.N, fmt.Sprintf("too few rows (%d)", l.N))
	}
	add(l.APIErrors, fmt.Sprintf("%d API errors", l.APIErrors))
	add(l.ExtractionFailed, percent(l.ExtractionFailed, asked)+" no answer found")
	add(l.Truncated, percent(l.Truncated, asked)+" prompts truncated")
	for _, w := range l.Warnings {
		add(w.Samples, percent(w.Samples, asked)+" "+w.Text)
	}
	add(l.Cut, percent(l.Cut, asked)+" answers cut")
	add(l.Empty, percent(l.Empty, asked)+" empty")
	add(l.Dropped, fmt.Sprintf("%d dropped", l.Dropped))
	add(l.NonFinite, fmt.Sprintf("%d non-finite left out", l.NonFinite))
	if l.Unfinished {
		out = append(out, "unfinished")
	}
	return append(out, l.Notes...)
}

func percent(n, of int) string {
	if of <= 0 {
		return "–"
	}
	share := 100 * float64(n) / float64(of)
	if n > 0 && share < 1 {
		return "<1 %"
	}
	return fmt.Sprintf("%.0f %%", share)
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
			row.Answers += l.N + l.Dropped + l.NonFinite
			row.Cached += l.Cached
		}
		p.Models = append(p.Models, row)
	}
}

// z95 is the normal 97.5 % quantile.
const z95 = 1.959963984540054

func better(a, b float64, lower bool) bool {
	if lower {
		return a < b
	}
	return a > b
}

func firstOf(list ...string) string {
	for _, s := range list {
		if s != "" {
			return s
		}
	}
	return ""
}

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

func (p *page) qualityRows(s results.Scores) {
	seen := map[[2]string]int{}
	for _, l := range s.Tasks {
		k := [2]string{l.Task, l.Model}
		i, ok := seen[k]
		if !ok {
			i = len(p.Quality)
			seen[k] = i
			p.Quality = append(p.Quality, qualityRow{Task: l.Task, Model: l.Model, N: l.N, API: l.APIErrors, Truncated: l.Truncated, Cut: l.Cut, Empty: l.Empty,
				Cached: l.Cached, NonFinite: l.NonFinite, Failed: l.ExtractionFailed, Asked: l.N + l.Dropped + l.NonFinite + l.APIErrors, Unfinished: l.Unfinished})
		}
		p.Quality[i].Dropped = max(p.Quality[i].Dropped, l.Dropped)
	}
}

func (p *page) dataRows(m results.Manifest) {
	for _, t := range m.Config.Tasks {
		r := m.Rows[t.Name]
		p.Data = append(p.Data, dataRow{Task: t.Name, Source: firstOf(r.Source, "not read yet"), N: p.rowsOf(t.Name, r.N), Spec: clip(t.SpecSHA256, 12), Hash: clip(r.SHA256, 12)})
	}
}

// rowsOf is the number of rows as read, or as scored where it was not counted.
func (p *page) rowsOf(task string, n int) int {
	if n > 0 {
		return n
	}
	for _, t := range p.Tasks {
		if t.Task == task {
			return t.N
		}
	}
	return 0
}
