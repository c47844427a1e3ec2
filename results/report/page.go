package report

import (
	"context"
	"fmt"
	"math"
	"sort"
	"strings"
	"time"

	"github.com/evalrun/evalrun/core"
	"github.com/evalrun/evalrun/core/record"
	"github.com/evalrun/evalrun/results"
	"github.com/evalrun/evalrun/results/compare"
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
	Command    string
	Labels     []string
	Published  bool
	Other      bool // some published score was measured with another prompt
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
	Bakeoff   value // where it differs
	Text      string
	Winner    bool
}

type pairedBlock struct {
	A, B  string
	Lines []pairedLine
	Words string
}

type pairedLine struct {
	Name, A, B, Difference, P, Verdict string
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
func newPage(ctx context.Context, f *results.Folder, s results.Scores) *page {
	m := f.Manifest
	p := &page{Run: m.ID, Tag: m.Tag, Date: m.Created.UTC().Format("2006-01-02 15:04 UTC"), Demo: m.Demonstration || s.Demonstration, Labels: labels(s)}
	if s.Outcome != "" && s.Outcome != "finished" {
		p.Outcome = map[string]string{"interrupted": "interrupted", "budget": "stopped at its spending cap", "gave_up": "given up after failures"}[s.Outcome]
		if p.Outcome == "" {
			p.Outcome = s.Outcome
		}
	}
	p.taskRows(s)
	p.modelRows(m, s)
	p.categoryRows(s)
	p.qualityRows(s)
	p.paired(ctx, f)
	p.dataRows(m)
	p.facts(m, s)
	p.Command = command(m)
	p.lead(m, s)
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

func lineOf(lines []results.Score, model string, profile core.Profile) *results.Score {
	for i := range lines {
		if lines[i].Model == model && lines[i].Profile == profile {
			return &lines[i]
		}
	}
	return nil
}

// main gives a model's line: the strict one where there is one.
func mainLine(lines []results.Score, model string) *results.Score {
	if l := lineOf(lines, model, core.Strict); l != nil {
		return l
	}
	return lineOf(lines, model, core.Bakeoff)
}

func (p *page) taskRow(lines []results.Score) taskRow {
	first := lines[0]
	row := taskRow{Task: first.Task, Metric: first.Metric, Category: first.Category, Lower: first.Better == "lower", Flags: flags(lines), Scale: 1}
	for _, label := range p.Labels {
		c := cell{Label: label, Text: "not run"}
		if l := mainLine(lines, label); l != nil {
			c = cellOf(label, l, lineOf(lines, label, core.Bakeoff))
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

func cellOf(label string, l, bakeoff *results.Score) cell {
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
	if bakeoff != nil && bakeoff != l && c.Score.OK {
		if b := some(bakeoff.Score); b.OK && b.String() != c.Score.String() {
			c.Bakeoff = b
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
		if l.Profile == core.Bakeoff && lineOf(lines, l.Model, core.Strict) != nil {
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

func (p *page) modelRows(m results.Manifest, s results.Scores) {
	configs := map[string]results.ModelConfig{}
	for _, c := range m.Config.Models {
		configs[c.Label] = c
	}
	first := p.firstRows()
	for i, label := range p.Labels {
		row := modelRow{Label: label}
		model, c := m.Models[label], configs[label]
		row.What = strings.TrimSpace(c.Backend + " " + firstOf(model.Model, c.Model))
		if c.Adapter != "" {
			row.What += ", adapter " + c.Adapter
		}
		if r := firstOf(model.Revision, c.Revision); r != "" {
			row.What += ", revision " + r
		}
		row.Device, row.Hash, row.Notes = model.Device, model.Hash, model.Notes
		row.PriceUnknown = !model.PriceKnow && model.PriceIn == 0 && model.PriceOut == 0 && c.Backend != "local" && c.Backend != "echo" && c.Backend != "replay" && c.Backend != ""
		var variance float64
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
func (p *page) categoryRows(results.Scores) {
	rows := map[string][]taskRow{}
	var names []string
	var all []taskRow
	for _, t := range p.firstRows() {
		complete := true
		for _, c := range t.Cells {
			complete = complete && c.Score.OK
		}
		if !complete {
			continue
		}
		name := firstOf(t.Category, "other")
		if rows[name] == nil {
			names = append(names, name)
		}
		rows[name] = append(rows[name], t)
		all = append(all, t)
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

// paired compares the first model with each other one on the stored samples.
func (p *page) paired(ctx context.Context, f *results.Folder) {
	if len(p.Labels) < 2 {
		return
	}
	for _, other := range p.Labels[1:] {
		r, err := compare.Compare(ctx, compare.Side{Folder: f, Model: p.Labels[0]}, compare.Side{Folder: f, Model: other}, compare.Options{})
		if err != nil {
			p.PairedNote = fmt.Sprintf("%s and %s could not be compared in pairs: %v", p.Labels[0], other, err)
			continue
		}
		b := pairedBlock{A: p.Labels[0], B: other, Words: r.Summary(p.Labels[0], other)}
		p.PairedNote = r.Method
		profile := r.Profile()
		if len(r.Lines) > 1 {
			for _, l := range r.Macro {
				if l.Profile == profile {
					b.Lines = append(b.Lines, pairedOf(firstOf(l.Category, "all tasks")+" ("+plural(l.N, "task")+")", l))
				}
			}
		}
		for _, l := range r.Lines {
			if l.Profile == profile {
				b.Lines = append(b.Lines, pairedOf(fmt.Sprintf("%s, %s (n %d)", l.Task, l.Metric, l.N), l))
			}
		}
		p.Paired = append(p.Paired, b)
	}
}

func pairedOf(name string, l compare.Line) pairedLine {
	return pairedLine{Name: name, A: fmt.Sprintf("%.3f", float64(l.A)), B: fmt.Sprintf("%.3f", float64(l.B)),
		Difference: fmt.Sprintf("%+.3f [%+.3f, %+.3f]", float64(l.Difference), float64(l.Interval[0]), float64(l.Interval[1])),
		P:          compare.PText(float64(l.Adjusted)), Verdict: string(l.Verdict)}
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

// shorten cuts a text to n characters.
func shorten(s string, n int) string {
	if r := []rune(s); len(r) > n {
		return string(r[:n]) + "…"
	}
	return s
}

func clip(s string, n int) string {
	if len(s) > n {
		return s[:n]
	}
	return s
}

func usd(v float64) string {
	switch {
	case v == 0:
		return "$0"
	case v < 0.01:
		return fmt.Sprintf("$%.5f", v)
	case v < 10:
		return fmt.Sprintf("$%.3f", v)
	}
	return fmt.Sprintf("$%.2f", v)
}

func seconds(s float64) string {
	d := time.Duration(s * float64(time.Second))
	switch {
	case s < 0 || s > 1e9 || math.IsNaN(s):
		return "–"
	case s < 10:
		return fmt.Sprintf("%.1f s", s)
	case s < 120:
		return fmt.Sprintf("%.0f s", s)
	}
	return d.Round(time.Second).String()
}

func count(n int) string {
	switch {
	case n >= 10_000_000:
		return fmt.Sprintf("%.0f M", float64(n)/1e6)
	case n >= 1_000_000:
		return fmt.Sprintf("%.1f M", float64(n)/1e6)
	case n >= 10_000:
		return fmt.Sprintf("%.0f k", float64(n)/1e3)
	}
	return fmt.Sprint(n)
}

func plural(n int, word string) string {
	if n == 1 {
		return "1 " + word
	}
	return fmt.Sprintf("%d %ss", n, word)
}
