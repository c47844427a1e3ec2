package report

import (
	"context"
	"fmt"
	"math"

	"github.com/evalrun/evalrun/core/record"
	"github.com/evalrun/evalrun/results"
)

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

type qualityRow struct {
	Task, Model                                string
	N                                          int
	API, Failed, Truncated, Cut, Empty, Cached int
	Withheld, Dropped, NonFinite               int
	Asked                                      int
	Items                                      int // as Asked, of verdicts
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

func (p *page) qualityRows(s results.Scores) {
	seen := map[[2]string]int{}
	for _, l := range s.Tasks {
		k := [2]string{l.Task, l.Model}
		i, ok := seen[k]
		if !ok {
			i = len(p.Quality)
			seen[k] = i
			p.Quality = append(p.Quality, qualityRow{Task: l.Task, Model: l.Model, N: l.N, API: l.APIErrors, Truncated: l.Truncated, Cut: l.Cut, Empty: l.Empty,
				Withheld: l.Withheld, Cached: l.Cached, NonFinite: l.NonFinite, Failed: l.ExtractionFailed, Asked: l.Answered() + l.APIErrors, Items: l.Items() + l.APIErrors, Unfinished: l.Unfinished})
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
