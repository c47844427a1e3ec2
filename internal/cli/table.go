package cli

import (
	"fmt"
	"io"
	"math"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"
	jtext "github.com/jedib0t/go-pretty/v6/text"

	"github.com/evalrun/evalrun/core"
	"github.com/evalrun/evalrun/results"
)

// printTable writes the table of a run: a line a task, a column a model, with
// interval and baseline, and the published GPT-4 score beside it.
func printTable(w io.Writer, s results.Scores) {
	models := modelsOf(s)
	t := table.NewWriter()
	t.SetOutputMirror(w)
	style := table.StyleLight
	style.Options.DrawBorder = false
	style.Options.SeparateColumns = false
	style.Format.Header = jtext.FormatDefault
	style.Format.Footer = jtext.FormatDefault
	t.SetStyle(style)
	header := table.Row{"task", "metric", "n"}
	for _, m := range models {
		header = append(header, m+" [95 %]")
	}
	header = append(header, "baseline", "GPT-4*", "notes")
	t.AppendHeader(header)
	var configs []table.ColumnConfig
	for i := 3; i <= 3+len(models)+2; i++ {
		configs = append(configs, table.ColumnConfig{Number: i, Align: jtext.AlignRight, AlignHeader: jtext.AlignRight})
	}
	t.SetColumnConfigs(configs)
	otherPrompt := false
	above, counted := make([]int, len(models)), 0
	for _, g := range group(s) {
		first := g[0]
		row := table.Row{first.Task, metricName(first), first.N}
		base, hasBase := math.NaN(), false
		for i, m := range models {
			line := find(g, m, core.Strict)
			row = append(row, cell(line, find(g, m, core.Bakeoff)))
			if line != nil && line.Baseline != nil {
				base, hasBase = float64(*line.Baseline), true
				if line.Score != nil && float64(*line.Score) > base {
					above[i]++
				}
			}
		}
		if hasBase {
			counted++
			row = append(row, fmt.Sprintf("%.3f", base))
		} else {
			row = append(row, "–")
		}
		gpt := "–"
		if p := first.Published; p != nil {
			gpt = fmt.Sprintf("%.3f", p.GPT4)
			if p.OtherPrompt {
				otherPrompt = true
				gpt += "°"
			}
		}
		row = append(row, gpt, strings.Join(flags(g), ", "))
		t.AppendRow(row)
	}
	t.Render()
	fmt.Fprintln(w)
	for i, m := range models {
		if counted > 1 {
			fmt.Fprintf(w, "%s: above the best constant answer on %d of %d tasks\n", m, above[i], counted)
		}
	}
	fmt.Fprintln(w, "baseline: the best constant answer.  * published in the LoRA Land report (arXiv 2405.00732), not measured here.")
	if otherPrompt {
		fmt.Fprintln(w, "° other prompt: the published score was measured with the report's prompt, ours is in our own words.")
	}
}

func metricName(s results.Score) string {
	if s.Better == "lower" {
		return s.Metric + " ↓"
	}
	return s.Metric
}

// modelsOf lists the columns in order of appearance.
func modelsOf(s results.Scores) []string {
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

// group gathers the lines of one task and metric, in order of appearance.
func group(s results.Scores) [][]results.Score {
	index := map[string]int{}
	var out [][]results.Score
	for _, l := range s.Tasks {
		k := l.Task + "\x00" + l.Metric
		i, ok := index[k]
		if !ok {
			i = len(out)
			index[k] = i
			out = append(out, nil)
		}
		out[i] = append(out[i], l)
	}
	return out
}

func find(g []results.Score, model string, p core.Profile) *results.Score {
	for i := range g {
		if g[i].Model == model && g[i].Profile == p {
			return &g[i]
		}
	}
	return nil
}

// cell is a score with its interval, and the published evaluator's where it
// differs.
func cell(strict, bakeoff *results.Score) string {
	if strict == nil {
		strict = bakeoff
	}
	if strict == nil {
		return "–"
	}
	if strict.Skipped != "" {
		return "skipped"
	}
	if strict.Score == nil {
		return "no answer"
	}
	s := fmt.Sprintf("%.3f", float64(*strict.Score))
	if len(strict.Interval) == 2 && !math.IsNaN(float64(strict.Interval[0])) {
		s += fmt.Sprintf(" [%.2f, %.2f]", float64(strict.Interval[0]), float64(strict.Interval[1]))
	}
	if bakeoff != nil && bakeoff != strict && bakeoff.Score != nil && fmt.Sprintf("%.3f", float64(*bakeoff.Score)) != fmt.Sprintf("%.3f", float64(*strict.Score)) {
		s += fmt.Sprintf(" (bakeoff %.3f)", float64(*bakeoff.Score))
	}
	return s
}

// tooFew is the number of rows under which a score says almost nothing.
const tooFew = 10

// flags are the short warnings beside a task's scores.
func flags(g []results.Score) []string {
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
		asked := l.N + l.Dropped
		pct := func(n int) string { return fmt.Sprintf("%.0f %%", 100*float64(n)/float64(max(asked, 1))) }
		if l.Skipped != "" {
			add("skipped: " + l.Skipped)
			continue
		}
		if l.Profile == core.Bakeoff && len(g) > 1 {
			continue
		}
		if l.N > 0 && l.N < tooFew {
			add(fmt.Sprintf("too few rows (%d)", l.N))
		}
		if l.APIErrors > 0 {
			add(fmt.Sprintf("%d API errors", l.APIErrors))
		}
		if l.ExtractionFailed > 0 {
			add(pct(l.ExtractionFailed) + " no answer found")
		}
		if l.Truncated > 0 {
			add(pct(l.Truncated) + " prompts truncated")
		}
		if l.Cut > 0 {
			add(pct(l.Cut) + " cut")
		}
		if l.NonFinite > 0 {
			add(fmt.Sprintf("%d non-finite left out", l.NonFinite))
		}
		if l.Unfinished {
			add("unfinished")
		}
	}
	return out
}
