package compare

import (
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"

	"github.com/evalrun/evalrun/core"
	plaintext "github.com/evalrun/evalrun/core/text"
)

// Print writes the comparison for a terminal: warnings first, then the macro
// rows, then the tasks with regressions on top. Lines of the other profile
// stand only where they say something else than the main ones.
func (r *Result) Print(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "A  %s\nB  %s\n", r.A.title(), r.B.title())
	for _, warning := range r.Warnings {
		fmt.Fprintf(&b, "WARNING  %s\n", plaintext.Printable(warning))
	}
	for _, m := range r.OnlyA {
		fmt.Fprintf(&b, "only in A  %s\n", m)
	}
	for _, m := range r.OnlyB {
		fmt.Fprintf(&b, "only in B  %s\n", m)
	}
	b.WriteString("\n")
	b.WriteString(r.Summary("A", "B"))
	b.WriteString("\n\n")
	var macro, lines []Line
	for _, l := range r.Macro {
		if l.Profile == r.Profile() {
			macro = append(macro, l)
		}
	}
	for _, l := range r.Lines {
		if l.Profile == r.Profile() || !r.repeated(l) {
			lines = append(lines, l)
		}
	}
	if len(macro) > 0 && len(lines) > 1 {
		render(&b, macro, true)
		b.WriteString("\n")
	}
	render(&b, lines, false)
	fmt.Fprintf(&b, "\n%s\n", r.Method)
	_, err := io.WriteString(w, b.String())
	return err
}

func (n Name) title() string {
	s := plaintext.Printable(n.Model) + "  (run " + plaintext.Printable(n.Run)
	if n.Tag != "" {
		s += ", " + plaintext.Printable(n.Tag)
	}
	return s + ")"
}

// String is task: n samples (first names).
func (m Missing) String() string {
	more := ""
	if m.N > len(m.Samples) {
		more = ", …"
	}
	return fmt.Sprintf("%s: %d samples (%s%s)", plaintext.Printable(m.Task), m.N, plaintext.Printable(strings.Join(m.Samples, ", ")), more)
}

func (r *Result) has(p core.Profile) bool {
	for _, l := range r.Lines {
		if l.Profile == p {
			return true
		}
	}
	return false
}

// repeated tells whether a line reads the same as that of the main profile.
func (r *Result) repeated(l Line) bool {
	for _, s := range r.Lines {
		if s.Profile == r.Profile() && s.Task == l.Task && s.Metric == l.Metric {
			return s.N == l.N && number(float64(s.A)) == number(float64(l.A)) && number(float64(s.B)) == number(float64(l.B))
		}
	}
	return false
}

// Profile is the one that summaries speak of: that of the runs, or strict where
// theirs differ, and what there is where nothing was judged by it.
func (r *Result) Profile() core.Profile {
	if r.has(r.own) || len(r.Lines) == 0 {
		return r.own
	}
	return r.Lines[0].Profile
}

// Counts says on how many tasks B is surely better or worse than A, each task
// counted once with its first metric.
func (r *Result) Counts() (better, worse, total int) {
	profile := r.Profile()
	for _, l := range r.Lines {
		if l.Profile != profile || !l.first {
			continue
		}
		total++
		switch l.Verdict {
		case SurelyBetter:
			better++
		case SurelyWorse:
			worse++
		}
	}
	return better, worse, total
}

// Summary is the comparison in a sentence, with these names for A and B.
func (r *Result) Summary(a, b string) string {
	better, worse, total := r.Counts()
	word := "tasks"
	if total == 1 {
		word = "task"
	}
	s := fmt.Sprintf("Of %d %s, %s is better than %s on %d and worse on %d beyond chance; on %d no difference is shown.",
		total, word, b, a, better, worse, total-better-worse)
	for _, m := range r.Macro {
		if m.Profile == r.Profile() && m.Category == "" {
			s += fmt.Sprintf(" Mean difference %s [%s, %s].", signed(float64(m.Difference)), signed(float64(m.Interval[0])), signed(float64(m.Interval[1])))
			break
		}
	}
	return s
}

func render(w io.Writer, lines []Line, macro bool) {
	t := table.NewWriter()
	style := table.StyleLight
	style.Options.DrawBorder = false
	style.Options.SeparateColumns = false
	style.Format.Header = text.FormatDefault
	t.SetStyle(style)
	head := table.Row{"task", "metric", "n"}
	if macro {
		head = table.Row{"mean over", "", "tasks"}
	}
	t.AppendHeader(append(head, "A", "B", "B − A [95 %]", "p (Holm)", "rows +/−", ""))
	var configs []table.ColumnConfig
	for i := 3; i <= 8; i++ {
		configs = append(configs, table.ColumnConfig{Number: i, Align: text.AlignRight, AlignHeader: text.AlignRight})
	}
	t.SetColumnConfigs(configs)
	for _, l := range lines {
		name, metric := plaintext.Printable(l.Task), plaintext.Printable(l.Metric)
		if macro {
			if name = plaintext.Printable(l.Category); name == "" {
				name = "all tasks"
			}
		}
		if l.Direction == "lower" {
			metric += " ↓"
		}
		if l.Profile != core.Strict {
			metric += " (" + string(l.Profile) + ")"
		}
		note := string(l.Verdict)
		if l.Unjudged > 0 {
			note += fmt.Sprintf(", %d without verdict", l.Unjudged)
		}
		rows := strconv.Itoa(l.N)
		if l.Clusters > 0 {
			rows += fmt.Sprintf(" in %d", l.Clusters)
		}
		t.AppendRow(table.Row{name, metric, rows, number(float64(l.A)), number(float64(l.B)),
			signed(float64(l.Difference)) + " [" + signed(float64(l.Interval[0])) + ", " + signed(float64(l.Interval[1])) + "]",
			PText(float64(l.Adjusted)), fmt.Sprintf("%d/%d", l.Better, l.Worse), note})
	}
	fmt.Fprintln(w, t.Render())
}

func number(v float64) string {
	if math.IsNaN(v) {
		return "–"
	}
	return fmt.Sprintf("%.3f", v)
}

func signed(v float64) string {
	if math.IsNaN(v) {
		return "–"
	}
	if s := fmt.Sprintf("%+.3f", v); s != "-0.000" {
		return s
	}
	return "+0.000"
}

// PText writes a p value as far as it means something.
func PText(p float64) string {
	switch {
	case math.IsNaN(p):
		return "–"
	case p < 0.001:
		return "<0.001"
	}
	return fmt.Sprintf("%.3f", p)
}

// First gives each task's line of its first metric, in the profile that
// summaries speak of.
func (r *Result) First() []Line {
	var out []Line
	for _, l := range r.Lines {
		if l.Profile == r.Profile() && l.first {
			out = append(out, l)
		}
	}
	return out
}
