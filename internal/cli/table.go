package cli

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"
	jtext "github.com/jedib0t/go-pretty/v6/text"
	"golang.org/x/term"

	"github.com/evalrun/evalrun/core"
	"github.com/evalrun/evalrun/core/run"
	"github.com/evalrun/evalrun/results"
)

// plainWidth is the width that a table keeps to where there is no terminal.
const plainWidth = 100

// shortening says what a table leaves out of its lines to fit; each step keeps
// the ones before it.
type shortening int

const (
	whole shortening = iota
	notesBelow
	noSecond // the other profile's score goes below too
	tight    // [.12,.34]
	noMetric
	shortNames // of models
	margins    // ±.11, the longer half of the interval
)

// printTable writes the table of a run: a line a task, a column a model, with
// interval and baseline, and the published GPT-4 score beside it. What would make
// the lines too wide stands below them.
func printTable(w io.Writer, s results.Scores, width int) {
	models := s.Models()
	var lines, below []string
	for how := whole; how <= margins; how++ {
		if lines, below = renderTable(s, models, how); widest(lines) <= width {
			break
		}
	}
	if len(below) > 0 { // what is said there may go over lines
		lines = append(append(lines, ""), below...)
	}
	fmt.Fprintln(w, strings.Join(lines, "\n"))
	fmt.Fprintln(w)
	published, otherPrompt := false, false
	above, counted := make([]int, len(models)), 0
	seen := map[string]bool{}
	for _, g := range s.Rows() {
		published = published || g[0].Published != nil
		otherPrompt = otherPrompt || g[0].Published != nil && g[0].Published.OtherPrompt
		if seen[g[0].Task] {
			continue // a task is counted by its first metric
		}
		seen[g[0].Task] = true
		has := false
		for i, m := range models {
			if l := find(g, m, s.Own()); l != nil && l.Baseline != nil {
				has = true
				if l.Score != nil && better(l, float64(*l.Score), float64(*l.Baseline)) {
					above[i]++
				}
			}
		}
		if has {
			counted++
		}
	}
	for i, m := range models {
		if counted > 1 {
			fmt.Fprintf(w, "%s: above the best constant answer on %d of %d tasks\n", m, above[i], counted)
		}
	}
	for _, m := range models {
		settled, saved, tasks := 0, 0, map[string]bool{}
		for _, g := range s.Rows() {
			if l := find(g, m, s.Own()); l != nil && !tasks[l.Task] {
				tasks[l.Task] = true
				settled, saved = settled+l.Settled, saved+l.TokensSaved
			}
		}
		if settled > 0 {
			fmt.Fprintf(w, "%s: %d answers ended early, when nothing could change what is read from them: at most %d tokens saved\n", m, settled, saved)
		}
	}
	if s.Own() == core.Bakeoff {
		fmt.Fprintln(w, "profile bakeoff: prompts, settings and scores of the published evaluator; prompts cut at 1,500 characters")
	}
	legend := "baseline: the best constant answer."
	if published {
		legend += "  * published in the LoRA Land report (arXiv 2405.00732), not measured here."
	}
	fmt.Fprintln(w, legend)
	if otherPrompt {
		fmt.Fprintln(w, "° other prompt: the published score was measured with the report's prompt, ours is in our own words.")
	}
}

// better tells whether a score beats another in the metric's own direction.
func better(l *results.Score, a, b float64) bool {
	if l.Better == "lower" {
		return a < b
	}
	return a > b
}

func tableWidth(w io.Writer) int {
	if f, ok := w.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		if width, _, err := term.GetSize(int(f.Fd())); err == nil && width > 20 {
			return width
		}
	}
	return plainWidth
}

func widest(lines []string) int {
	n := 0
	for _, line := range lines {
		n = max(n, jtext.StringWidth(line))
	}
	return n
}

// renderTable gives the lines of the table, and what its columns had no place
// for, to stand below them.
func renderTable(s results.Scores, models []string, how shortening) (lines, below []string) {
	t := table.NewWriter()
	style := table.StyleLight
	style.Options.DrawBorder = false
	style.Options.SeparateColumns = false
	style.Format.Header = jtext.FormatDefault
	style.Format.Footer = jtext.FormatDefault
	style.Box.PaddingLeft = ""
	style.Box.PaddingRight = "  "
	t.SetStyle(style)
	header := table.Row{"task"}
	if how < noMetric {
		header = append(header, "metric")
	}
	header = append(header, "n")
	for i, m := range models {
		name := m
		if how >= shortNames && len(models) > 1 && len([]rune(m)) > 12 {
			name = fmt.Sprintf("model %d", i+1)
			below = append(below, name+": "+m)
		}
		if how < margins {
			name += " [95 %]"
		}
		header = append(header, name)
	}
	if how >= margins {
		below = append(below, "±: 95 %")
	}
	first := len(header) - len(models)
	groups := s.Rows()
	published := slices.ContainsFunc(groups, func(g []results.Score) bool { return g[0].Published != nil })
	last := first + len(models) + 1 // the baseline's column
	header = append(header, "baseline")
	if published {
		header = append(header, "GPT-4*")
		last++
	}
	if how < notesBelow && slices.ContainsFunc(groups, func(g []results.Score) bool { return len(warnings(g, models, s.Own())) > 0 }) {
		header = append(header, "notes")
	}
	t.AppendHeader(header)
	var configs []table.ColumnConfig
	for i := first; i <= last; i++ { // n, the models, baseline and GPT-4
		configs = append(configs, table.ColumnConfig{Number: i, Align: jtext.AlignRight, AlignHeader: jtext.AlignRight})
	}
	t.SetColumnConfigs(configs)
	var unreached []string
	metrics := map[string]int{}
	for _, g := range groups {
		metrics[g[0].Task]++
	}
	for _, g := range groups {
		row := table.Row{g[0].Task}
		if how >= noMetric && (metrics[g[0].Task] > 1 || g[0].Better == "lower") { // one could not tell its lines apart
			row[0] = g[0].Task + ", " + metricName(g[0])
		}
		if how < noMetric {
			row = append(row, metricName(g[0]))
		}
		row = append(row, rowsOf(g))
		base, notes := "–", warnings(g, models, s.Own())
		for _, m := range models {
			own, second := find(g, m, run.Profiles(s.Own())[0]), find(g, m, run.Profiles(s.Own())[1])
			row = append(row, cell(own, second, how))
			if how >= noSecond {
				if other := otherwise(own, second); other != "" {
					if len(models) > 1 {
						other = m + ": " + other
					}
					notes = append(notes, other)
				}
			}
			if own != nil && own.Baseline != nil {
				base = fmt.Sprintf("%.3f", float64(*own.Baseline))
			}
		}
		gpt := "–"
		if p := g[0].Published; p != nil {
			gpt = fmt.Sprintf("%.3f", p.GPT4)
			if p.OtherPrompt {
				gpt += "°"
			}
		}
		row = append(row, base)
		if published {
			row = append(row, gpt)
		}
		divider := ", "
		if len(models) > 1 {
			divider = "; " // commas stand within what is said of a model
		}
		switch about := g[0].Task; {
		case how < notesBelow:
			row = append(row, strings.Join(notes, divider))
		case len(notes) == 0:
		case !slices.ContainsFunc(g, func(l results.Score) bool { return !unbegun(l) }):
			if !slices.Contains(unreached, about) {
				unreached = append(unreached, about)
			}
		default:
			if metrics[about] > 1 {
				about += ", " + g[0].Metric
			}
			below = append(below, about+": "+strings.Join(notes, divider))
		}
		t.AppendRow(row)
	}
	if len(unreached) > 0 {
		below = append(below, fmt.Sprintf("not reached: %d of %d tasks", len(unreached), len(metrics)))
	}
	lines = strings.Split(t.Render(), "\n")
	for i := range lines {
		lines[i] = strings.TrimRight(lines[i], " ")
	}
	return lines, below
}

// unbegun tells whether no answer to a task has come, nor an error.
func unbegun(l results.Score) bool { return l.Unfinished && l.N == 0 && l.APIErrors == 0 }

// rowsOf is the number of rows judged: of the model that has most.
func rowsOf(g []results.Score) int {
	n := 0
	for _, l := range g {
		n = max(n, l.N)
	}
	return n
}

func metricName(s results.Score) string {
	if s.Better == "lower" {
		return s.Metric + " ↓"
	}
	return s.Metric
}

func find(g []results.Score, model string, p core.Profile) *results.Score {
	for i := range g {
		if g[i].Model == model && g[i].Profile == p {
			return &g[i]
		}
	}
	return nil
}

// cell is a score with its interval, and the other profile's where it
// differs.
func cell(own, second *results.Score, how shortening) string {
	if own == nil {
		own = second
	}
	if own == nil {
		return "–"
	}
	if own.Score == nil && own.Unfinished && own.APIErrors == 0 {
		return "–"
	}
	if own.Skipped != "" && own.APIErrors == 0 {
		return "skipped"
	}
	if own.Score == nil {
		return "no answer"
	}
	s := fmt.Sprintf("%.3f", float64(*own.Score))
	if len(own.Interval) == 2 {
		low, high := float64(own.Interval[0]), float64(own.Interval[1])
		if how >= margins {
			s += " ±" + noZero(max(high-float64(*own.Score), float64(*own.Score)-low))
		} else if how >= tight {
			s += fmt.Sprintf(" [%s,%s]", noZero(low), noZero(high))
		} else {
			s += fmt.Sprintf(" [%.2f, %.2f]", low, high)
		}
	}
	if other := otherwise(own, second); other != "" && how < noSecond {
		s += " (" + other + ")"
	}
	return s
}

// noZero writes two decimals without a leading zero.
func noZero(v float64) string {
	t := fmt.Sprintf("%.2f", v)
	return strings.Replace(strings.TrimPrefix(t, "0"), "-0.", "-.", 1)
}

// otherwise is the other profile's score where it differs.
func otherwise(own, second *results.Score) string {
	if own == nil || second == nil || second == own || own.Score == nil || second.Score == nil {
		return ""
	}
	if other := fmt.Sprintf("%.3f", float64(*second.Score)); other != fmt.Sprintf("%.3f", float64(*own.Score)) {
		return string(second.Profile) + " " + other
	}
	return ""
}

// tooFew is the number of rows under which a score says almost nothing.
const tooFew = 10

// warnings are the flags of a task's scores; where the models differ in them,
// each with its model.
func warnings(g []results.Score, models []string, shown core.Profile) []string {
	var all, named []string
	same := true
	for i, m := range models {
		var own []results.Score
		for _, l := range g {
			if l.Model == m {
				own = append(own, l)
			}
		}
		f := flags(own, shown)
		if i == 0 {
			all = f
		}
		same = same && slices.Equal(f, all)
		if len(f) > 0 {
			named = append(named, m+": "+strings.Join(f, ", "))
		}
	}
	if same {
		return all
	}
	return []string{strings.Join(named, "; ")}
}

// flags are the short warnings beside a task's scores.
func flags(g []results.Score, shown core.Profile) []string {
	var out []string
	add := func(f string) {
		for _, o := range out {
			if o == f {
				return
			}
		}
		out = append(out, f)
	}
	for _, l := range g {
		share := func(n, of int) string { return fmt.Sprintf("%.0f %%", 100*float64(n)/float64(max(of, 1))) }
		pct := func(n int) string { return share(n, l.Answered()) }
		if l.Skipped != "" {
			if l.APIErrors > 0 {
				add(fmt.Sprintf("%d API errors", l.APIErrors))
			}
			switch {
			case l.Unfinished && l.N == 0:
				add("unfinished")
			case l.APIErrors == 0 || l.N > 0:
				add("skipped: " + l.Skipped)
			}
			continue
		}
		if l.Profile != shown && len(g) > 1 {
			continue
		}
		if l.N > 0 && l.N < tooFew {
			add(fmt.Sprintf("too few rows (%d)", l.N))
		}
		if l.APIErrors > 0 {
			add(fmt.Sprintf("%d API errors", l.APIErrors))
		}
		if l.ExtractionFailed > 0 {
			add(share(l.ExtractionFailed, l.Items()) + " no answer found")
		}
		if l.Truncated > 0 {
			add(pct(l.Truncated) + " prompts truncated")
		}
		if l.Cut > 0 {
			add(pct(l.Cut) + " cut")
		}
		if l.Empty > 0 {
			add(pct(l.Empty) + " empty")
		}
		if l.Withheld > 0 {
			add(pct(l.Withheld) + " withheld by the service")
		}
		if l.NonFinite > 0 {
			add(fmt.Sprintf("%d non-finite left out", l.NonFinite))
		}
		for _, n := range l.Notes {
			add(n)
		}
		for _, w := range l.Warnings {
			add(pct(w.Samples) + " " + w.Text)
		}
		if l.Unfinished {
			add("unfinished")
		}
	}
	return out
}
