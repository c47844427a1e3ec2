package decide

import (
	"fmt"
	"io"
	"math"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"

	plaintext "github.com/evalrun/evalrun/core/text"
)

// Print writes the decision for a terminal: the sentence, why, the costs by
// traffic, and every assumption with where it comes from.
func (d *Decision) Print(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n\n", plaintext.Printable(d.Sentence))
	for _, l := range d.Why {
		fmt.Fprintf(&b, "- %s\n", plaintext.Printable(l))
	}
	b.WriteString("\n")
	t := plain()
	t.AppendHeader(table.Row{"USD a month", "median", "5 %", "95 %"})
	for _, r := range []struct {
		name string
		s    Spread
	}{{"API", d.API}, {"fine-tuned, all", d.Own}, {"  of it serving", d.Serving}, {"saved", d.Saved}} {
		t.AppendRow(table.Row{r.name, usd(r.s.Median), usd(r.s.Low), usd(r.s.High)})
	}
	t.SetColumnConfigs(right(2, 4))
	fmt.Fprintf(&b, "%s\n\n", t.Render())
	t = plain()
	t.AppendHeader(table.Row{"calls a day", "API a month", "fine-tuned a month", "probability cheaper"})
	for _, p := range d.Points {
		t.AppendRow(table.Row{whole(p.CallsPerDay), usd(p.API), usd(p.Own), chance(p.Cheaper)})
	}
	t.SetColumnConfigs(right(1, 4))
	fmt.Fprintf(&b, "%s\n\n", t.Render())
	if len(d.Swings) > 0 {
		t = plain()
		t.AppendHeader(table.Row{"what moves it most", "saved a month, at its low end", "at its high end"})
		for _, s := range d.Swings[:min(5, len(d.Swings))] {
			t.AppendRow(table.Row{s.Key, usd(s.AtLow), usd(s.AtHigh)})
		}
		t.SetColumnConfigs(right(2, 3))
		fmt.Fprintf(&b, "%s\n\n", t.Render())
	}
	b.WriteString("Assumptions (evalrun new decide writes them to a file; --assume FILE, --set key=value):\n")
	t = plain()
	t.AppendHeader(table.Row{"key", "value", "unit", "from", "why"})
	for _, a := range d.Assumptions {
		t.AppendRow(table.Row{a.Key, Range{a.Low, a.Likely, a.High}.String(), a.Unit, plaintext.Printable(a.From), a.Why})
	}
	fmt.Fprintf(&b, "%s\n", t.Render())
	_, err := io.WriteString(w, b.String())
	return err
}

func plain() table.Writer {
	t := table.NewWriter()
	style := table.StyleLight
	style.Options.DrawBorder, style.Options.SeparateColumns = false, false
	style.Format.Header = text.FormatDefault
	t.SetStyle(style)
	return t
}

func right(from, to int) []table.ColumnConfig {
	var out []table.ColumnConfig
	for i := from; i <= to; i++ {
		out = append(out, table.ColumnConfig{Number: i, Align: text.AlignRight, AlignHeader: text.AlignRight})
	}
	return out
}

// usd writes money as a manager reads it.
func usd(v float64) string {
	sign := ""
	if v < 0 {
		sign, v = "−", -v
	}
	switch {
	case math.IsNaN(v):
		return "–"
	case v < 0.005:
		return "$0"
	case v < 10:
		return fmt.Sprintf("%s$%.2f", sign, v)
	}
	return sign + "$" + whole(v)
}

// whole writes a number with commas, to three digits of what is uncertain.
func whole(v float64) string {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return "–"
	}
	if v > 1000 {
		scale := math.Pow(10, math.Floor(math.Log10(v))-2)
		v = math.Round(v/scale) * scale
	}
	digits := fmt.Sprintf("%.0f", v)
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}
