package report

import (
	"bytes"
	_ "embed"
	"fmt"
	"html/template"
	"math"

	"github.com/evalrun/evalrun/core/text"
	"github.com/evalrun/evalrun/results/report/figure"
)

//go:embed page.html
var pageHTML string

//go:embed parts.html
var partsHTML string

//go:embed study.html
var studyHTML string

//go:embed page.css
var pageCSS string

// The template escapes by context, so that no text of a run can become markup.
var pageTemplate = template.Must(template.Must(parts.Clone()).New("report").Parse(pageHTML))

// studyTemplate is the page of the recomputed LoRA Land report.
var studyTemplate = template.Must(template.Must(parts.Clone()).New("study").Parse(studyHTML))

// parts are what both pages are made of.
var parts = template.Must(template.New("parts").Funcs(template.FuncMap{
	"count": count, "of": ofText, "bar": barOf, "css": func() template.CSS { return template.CSS(pageCSS + figure.CSS) },
}).Parse(partsHTML))

func (p *page) html() ([]byte, error) {
	return execute(pageTemplate, p)
}

func execute(t *template.Template, data any) ([]byte, error) {
	var b bytes.Buffer
	if err := t.Execute(&b, data); err != nil {
		return nil, err
	}
	// The template escapes markup; control characters and broken UTF-8 it lets
	// through.
	return bytes.Map(func(r rune) rune {
		if text.Controls(r) && r != '\n' {
			return '\uFFFD'
		}
		return r
	}, b.Bytes()), nil
}

// Footnotes, MetricName and Share are for the template.
func (p *page) Footnotes() []string { return p.footnotes() }

// MetricName marks metrics that are better lower.
func (r taskRow) MetricName() string { return r.metricName() }

// Share is a count with its share of what was asked.
func (q qualityRow) Share(n int) string { return share(n, q.Asked) }

// NotFound is how many verdicts found no answer, with their share.
func (q qualityRow) NotFound() string { return share(q.Failed, q.Items) }

// Clean tells whether a row has nothing to report.
func (q qualityRow) Clean() bool {
	return q.API+q.Failed+q.Truncated+q.Cut+q.Empty+q.Withheld+q.Dropped+q.NonFinite == 0 && !q.Unfinished
}

// Single tells whether one model ran.
func (p *page) Single() bool { return len(p.Labels) == 1 }

// Title names the run, or says how many there are.
func (p *page) Title() string {
	switch {
	case len(p.Runs) > 0:
		return fmt.Sprintf("%s: %s on %s", plural(len(p.Runs), "run"), plural(len(p.Labels), "model"), plural(len(p.firstRows()), "task"))
	case p.Tag != "":
		return fmt.Sprintf("Run %s (%s)", p.Run, p.Tag)
	}
	return "Run " + p.Run
}

// Crowded tells whether there are more models than one can look at at a time;
// then the first figure opens the page and the bars of every task are folded.
func (p *page) Crowded() bool { return len(p.Labels) > 6 }

// Opening is the figure of the first screen, nil for none; Further are the
// others.
func (p *page) Opening() *drawn {
	if len(p.Figures) == 0 || !p.Crowded() {
		return nil
	}
	return &p.Figures[0]
}

// Further are the figures that do not open the page.
func (p *page) Further() []drawn {
	if p.Opening() != nil {
		return p.Figures[1:]
	}
	return p.Figures
}

// bar is a score drawn: all positions in percent of the width.
type bar struct {
	Score, Low, High, Baseline, GPT4          float64
	HasScore, HasInterval, HasBaseline, HasG4 bool
	Title                                     string
}

func barOf(t taskRow, c cell) bar {
	at := func(v float64) float64 {
		x := 100 * v / t.Scale
		if math.IsNaN(x) {
			return 0
		}
		return math.Round(100*min(100, max(0, x))) / 100
	}
	b := bar{Title: fmt.Sprintf("%s, %s: %s", t.Task, c.Label, c.Text)}
	if c.Score.OK {
		b.HasScore, b.Score = true, at(c.Score.V)
	}
	if c.Score.OK && c.Low.OK && c.High.OK {
		b.HasInterval, b.Low, b.High = true, at(c.Low.V), at(c.High.V)
	}
	if t.Baseline.OK {
		b.HasBaseline, b.Baseline = true, at(t.Baseline.V)
		b.Title += ", baseline " + t.Baseline.String()
	}
	if t.GPT4.OK {
		b.HasG4, b.GPT4 = true, at(t.GPT4.V)
		b.Title += ", GPT-4 as published " + t.GPT4.String()
	}
	return b
}

// Width of the interval.
func (b bar) Width() float64 { return math.Round(100*(b.High-b.Low)) / 100 }
