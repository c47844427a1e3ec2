package report

import (
	"fmt"
	"slices"
	"strings"

	"github.com/evalrun/evalrun/core"
	"github.com/evalrun/evalrun/core/text"
)

// markdown is report.md; figures is the folder of the drawings as seen from the
// file, empty where there are none.
func (p *page) markdown(figures string) []byte {
	var b strings.Builder
	p.opening(&b)
	if figures != "" {
		writeFigures(&b, p.Figures, figures)
	}
	b.WriteString("## Scores\n\n")
	head := []string{"task", "metric", "n"}
	for _, l := range p.Labels {
		head = append(head, l+" [95 %]")
	}
	t := newTable(append(head, "baseline", "GPT-4*", "best fine-tuned*", "notes")...)
	for _, r := range p.Tasks {
		cells := []string{r.Task, r.metricName(), fmt.Sprint(r.N)}
		for _, c := range r.Cells {
			text := c.Text
			if c.Other.OK {
				text += fmt.Sprintf(" (%s %s)", c.Other.Profile, c.Other)
			}
			cells = append(cells, text)
		}
		t.row(append(cells, r.Baseline.String(), r.published(r.GPT4), r.published(r.Best), strings.Join(r.Flags, ", "))...)
	}
	t.write(&b)
	b.WriteString("\n")
	for _, n := range p.footnotes() {
		fmt.Fprintf(&b, "%s\n\n", md(n))
	}

	if len(p.Categories) > 0 {
		b.WriteString("## Means\n\n")
		head := append([]string{"category", "tasks"}, p.Labels...)
		t := newTable(append(head, "baseline", "GPT-4*", "best fine-tuned*")...)
		for _, c := range p.Categories {
			cells := []string{c.Name, fmt.Sprint(c.Tasks)}
			for _, v := range c.Means {
				cells = append(cells, v.String())
			}
			t.row(append(cells, c.Baseline.String(), c.GPT4.String(), c.Best.String())...)
		}
		t.write(&b)
		b.WriteString("\n")
	}

	for _, t := range p.Sheets {
		t.markdown(&b)
	}
	if !p.Detailed() {
		b.WriteString("## Row by row\n\n")
		for _, pair := range p.Paired {
			fmt.Fprintf(&b, "- %s\n", md(pair.Words))
		}
		b.WriteString("\n")
	}
	for _, pair := range p.Paired {
		if !p.Detailed() {
			break
		}
		fmt.Fprintf(&b, "## Row by row: A = %s, B = %s\n\n%s\n\n", md(pair.A), md(pair.B), md(pair.Words))
		t := newTable("", "A", "B", "B − A [95 %]", "p (Holm)", "B is")
		for _, l := range pair.Lines {
			t.row(l.Name, l.A, l.B, l.Difference, l.P, l.Verdict)
		}
		t.write(&b)
		b.WriteString("\n")
	}
	if p.PairedNote != "" {
		fmt.Fprintf(&b, "%s\n\n", md(p.PairedNote))
	}

	b.WriteString("## Quality\n\n")
	t = newTable("task", "model", "scored", "API errors", "no answer found", "prompts truncated", "answers cut", "empty", "withheld", "dropped", "non-finite", "from cache")
	for _, q := range p.Quality {
		name := q.Task
		if q.Unfinished {
			name += " (unfinished)"
		}
		t.row(name, q.Model, fmt.Sprint(q.N), q.Share(q.API), q.NotFound(), q.Share(q.Truncated), q.Share(q.Cut), q.Share(q.Empty), q.Share(q.Withheld), fmt.Sprint(q.Dropped), fmt.Sprint(q.NonFinite), fmt.Sprint(q.Cached))
	}
	t.write(&b)
	b.WriteString("\n")

	b.WriteString("## Data\n\n")
	t = newTable("task", "rows from", "n", "SHA-256 of the rows", "SHA-256 of the task file")
	for _, d := range p.Data {
		t.row(d.Task, d.Source, fmt.Sprint(d.N), d.Hash, d.Spec)
	}
	t.write(&b)
	if len(p.Warnings) > 0 {
		b.WriteString("\n## Warnings\n\n")
		for _, w := range p.Warnings {
			fmt.Fprintf(&b, "- %s\n", md(w))
		}
	}
	if len(p.Runs) > 0 {
		b.WriteString("\n## Runs\n\n")
		t = newTable("run", "tag", "started", "models", "tasks", "cost", "wall time", "evalrun")
		for _, r := range p.Runs {
			t.row(r.ID, r.Tag, r.Date, r.Models, r.Tasks, r.Cost, r.Time, r.Version)
		}
		t.write(&b)
		b.WriteString("\n## Again\n\n```sh\n")
		for _, r := range p.Runs {
			b.WriteString(fenced(r.Command) + "\n")
		}
		b.WriteString("```\n")
		return []byte(b.String())
	}
	b.WriteString("\n## Run\n\n")
	t = newTable("", "")
	for _, f := range p.Facts {
		t.row(f[0], f[1])
	}
	for _, m := range p.Models {
		if m.Hash != "" {
			t.row("weights of "+m.Label, m.Hash)
		}
		if m.Device != "" {
			t.row("device of "+m.Label, m.Device)
		}
	}
	t.write(&b)
	fmt.Fprintf(&b, "\n## Again\n\n```sh\n%s\n```\n", fenced(p.Command))
	return []byte(b.String())
}

// writeFigures refers to the drawings in a folder.
func writeFigures(b *strings.Builder, list []drawn, folder string) {
	for _, f := range list {
		fmt.Fprintf(b, "![%s](%s%s.svg)\n\n%s: %s\n\n", md(f.Title), folder, f.Name, md(f.Title), md(f.Caption))
	}
}

// summary is the first screen as text for a terminal.
func (p *page) summary() []byte {
	var b strings.Builder
	for _, l := range p.Lead {
		fmt.Fprintf(&b, "%s\n\n", text.Printable(l))
	}
	lines := [][]string{{"model", "mean [95 %]", "tasks", "above baseline", "above GPT-4*", "cost", "time an answer"}}
	for _, m := range p.Ranked() {
		lines = append(lines, []string{text.Printable(m.Label), strings.TrimSpace(m.Mean.String() + " " + m.Interval()), fmt.Sprint(m.Tasks), ofText(m.AboveBaseline, m.Baselines), ofText(m.AboveGPT4, m.GPT4s), m.Cost(), m.Time()})
	}
	aligned(&b, lines, map[int]bool{0: true})
	return []byte(b.String())
}

// opening is the first screen of report.md.
func (p *page) opening(b *strings.Builder) {
	fmt.Fprintf(b, "# %s\n\n", md(p.Title()))
	for _, l := range p.Lead {
		fmt.Fprintf(b, "%s\n\n", md(l))
	}

	if len(p.Models) > 0 {
		b.WriteString("## Models\n\n")
		t := newTable("model", "what", "mean [95 %]", "tasks", "above baseline", "above GPT-4*", "tokens in / out", "cost", "time an answer")
		for _, m := range p.Ranked() {
			t.row(m.Label, m.What, strings.TrimSpace(m.Mean.String()+" "+m.Interval()), fmt.Sprint(m.Tasks), ofText(m.AboveBaseline, m.Baselines), ofText(m.AboveGPT4, m.GPT4s),
				count(m.Prompt)+" / "+count(m.Completion), m.Cost(), m.Time())
		}
		t.write(b)
		b.WriteString("\n")
		for _, m := range p.Models {
			for _, n := range m.Notes {
				fmt.Fprintf(b, "- %s: %s\n", md(m.Label), md(n))
			}
		}
		b.WriteString("\n")
	}

}

func ofText(k, n int) string {
	if n == 0 {
		return "–"
	}
	return fmt.Sprintf("%d of %d", k, n)
}

func (r taskRow) metricName() string {
	if r.Lower {
		return r.Metric + " ↓"
	}
	return r.Metric
}

func (r taskRow) published(v value) string {
	if v.OK && r.Other {
		return v.String() + "°"
	}
	return v.String()
}

func share(n, of int) string {
	if n == 0 {
		return "0"
	}
	return fmt.Sprintf("%d (%s)", n, percent(n, of))
}

// footnotes explain the signs of the score table.
func (p *page) footnotes() []string {
	out := []string{"baseline: the best constant answer. Intervals are at 95 %, for the rows of this run as a sample of their data set."}
	if p.Published {
		out = append(out, "* published in the LoRA Land report (arXiv 2405.00732), not measured here.")
	}
	if p.Other {
		out = append(out, "° other prompt: the published score was measured with the report's prompt, ours with our own words.")
	}
	for _, o := range []struct {
		profile core.Profile
		says    string
	}{
		{core.Bakeoff, "bakeoff: the score as the published evaluator computes it, where it differs."},
		{core.Strict, "strict: the score that the task asks for, of the same answers, where it differs."},
	} {
		if slices.ContainsFunc(p.Tasks, func(t taskRow) bool {
			return slices.ContainsFunc(t.Cells, func(c cell) bool { return c.Other.OK && c.Other.Profile == o.profile })
		}) {
			out = append(out, o.says)
		}
	}
	return out
}

// table is a Markdown table.
type table struct{ lines []string }

func newTable(head ...string) *table {
	t := &table{}
	t.row(head...)
	t.lines = append(t.lines, "|"+strings.Repeat("---|", len(head)))
	return t
}

func (t *table) row(cells ...string) {
	var b strings.Builder
	b.WriteString("|")
	for _, c := range cells {
		b.WriteString(" " + md(c) + " |")
	}
	t.lines = append(t.lines, b.String())
}

func (t *table) write(b *strings.Builder) {
	for _, l := range t.lines {
		b.WriteString(l + "\n")
	}
}

// md makes a text harmless in Markdown: on one line, no markup, no table bar,
// no HTML. Signs that can mean nothing where they stand stay as they are, so
// that the file reads well as plain text too.
func md(s string) string {
	var b strings.Builder
	s = strings.ToValidUTF8(s, "\uFFFD")
	for i, r := range s {
		switch {
		case r == '\n' || r == '\r' || r == '\t':
			b.WriteByte(' ')
		case r == '<':
			b.WriteString("&lt;")
		case r == '>':
			b.WriteString("&gt;")
		case r == '&':
			b.WriteString("&amp;")
		case strings.ContainsRune("\\`*|~", r),
			r == '#' && i == 0,
			r == '_' && !(i > 0 && isWord(s[i-1]) && i+1 < len(s) && isWord(s[i+1])),
			r == ']' && i+1 < len(s) && strings.IndexByte("([:", s[i+1]) >= 0:
			b.WriteByte('\\')
			b.WriteRune(r)
		case text.Controls(r):
			b.WriteRune('\uFFFD')
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

func isWord(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
}

// fenced keeps a command within its fence and on its line.
func fenced(s string) string { return strings.ReplaceAll(text.Printable(s), "```", "` ` `") }
