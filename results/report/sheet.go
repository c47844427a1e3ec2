package report

import (
	"encoding/csv"
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"
)

// A sheet is one table of a study: figures of ours, and where there are any the
// published ones beside them.
type sheet struct {
	Key, Title, Note string // Key is that of the JSON object
	RowKey, RowHead  string
	Columns          []column
	Rows             []sheetRow
}

type column struct {
	Key, Head string
	Digits    int
}

type sheetRow struct {
	Label string
	Total bool // sums up the others
	Cells []figureCell
}

// A figureCell is a number, with the published one beside it. NaN is absent; of
// counts Of is the number counted among.
type figureCell struct {
	V, Published float64
	Of           int
	IsCount      bool
}

func numberCell(v float64) figureCell { return figureCell{V: v, Published: math.NaN()} }

func beside(v, published float64) figureCell { return figureCell{V: v, Published: published} }

// differs tells whether a cell and its published figure are more than a unit of
// the last published digit apart; counts have to be equal.
func (c figureCell) differs(digits int) bool {
	if math.IsNaN(c.Published) || math.IsNaN(c.V) {
		return false
	}
	if c.IsCount {
		return c.V != c.Published
	}
	return math.Abs(c.V-c.Published) > math.Pow(10, -float64(min(3, digits)))+1e-9
}

// text is the figure alone.
func (c figureCell) text(digits int) string {
	switch {
	case math.IsNaN(c.V):
		return "–"
	case c.IsCount:
		return fmt.Sprintf("%.0f/%d", c.V, c.Of)
	}
	text := strconv.FormatFloat(c.V, 'f', digits, 64)
	if strings.Trim(text, "-0.") == "" {
		return strings.TrimPrefix(text, "-")
	}
	return text
}

// besideText is the published figure with the difference, "=" without a
// difference, empty without a published one.
func (c figureCell) besideText(digits int) string {
	switch {
	case math.IsNaN(c.Published):
		return ""
	case c.IsCount && c.V == c.Published:
		return "="
	case c.IsCount:
		return fmt.Sprintf("%.0f, %+.0f", c.Published, c.V-c.Published)
	case math.IsNaN(c.V):
		return strconv.FormatFloat(c.Published, 'f', min(3, digits), 64)
	}
	difference := signed(c.V-c.Published, max(4, digits))
	if difference == "0" {
		return "="
	}
	return strconv.FormatFloat(c.Published, 'f', min(3, digits), 64) + ", " + difference
}

// signed writes a difference; what is 0 to its digits has no sign.
func signed(v float64, digits int) string {
	s := strconv.FormatFloat(v, 'f', digits, 64)
	if strings.Trim(s, "-0.") == "" {
		return "0"
	}
	if v > 0 {
		return "+" + s
	}
	return s
}

// differences says in a sentence how far a sheet is from what was published.
func (s *sheet) differences() string {
	n, differ, worst, where := 0, 0, 0.0, ""
	for _, r := range s.Rows {
		for j, c := range r.Cells {
			if math.IsNaN(c.Published) || math.IsNaN(c.V) {
				continue
			}
			n++
			if !c.differs(s.Columns[j].Digits) {
				continue
			}
			differ++
			if d := math.Abs(c.V - c.Published); !c.IsCount && d > worst {
				worst, where = d, fmt.Sprintf("; the largest difference is %.4f (%s, %s)", d, r.Label, s.Columns[j].Head)
			}
		}
	}
	switch {
	case n == 0:
		return ""
	case differ == 0:
		return fmt.Sprintf("All %d figures agree with the published ones to a unit of their last digit.", n)
	}
	return fmt.Sprintf("%d of %d figures differ from the published ones by more than a unit of their last digit (≠)%s.", differ, n, where)
}

// markdown writes the sheet as an aligned table, which is also what a terminal
// shows.
func (s *sheet) markdown(b *strings.Builder) {
	fmt.Fprintf(b, "## %s\n\n", md(s.Title))
	for _, text := range []string{s.Note, s.differences()} {
		if text != "" {
			fmt.Fprintf(b, "%s\n\n", md(text))
		}
	}
	lines := [][]string{{s.RowHead}}
	for _, c := range s.Columns {
		lines[0] = append(lines[0], md(c.Head))
	}
	for _, r := range s.Rows {
		line := []string{md(r.Label)}
		for j, c := range r.Cells {
			text := c.text(s.Columns[j].Digits)
			if beside := c.besideText(s.Columns[j].Digits); beside == "=" {
				text += " (=)"
			} else if beside != "" {
				text += " (" + beside + ")"
			}
			if c.differs(s.Columns[j].Digits) {
				text += " ≠"
			}
			line = append(line, text)
		}
		lines = append(lines, line)
	}
	aligned(b, lines, map[int]bool{0: true})
}

// aligned writes rows as a Markdown table, the first as its head; columns in
// left are words, the others figures.
func aligned(b *strings.Builder, lines [][]string, left map[int]bool) {
	widths := make([]int, len(lines[0]))
	for _, l := range lines {
		for j, c := range l {
			widths[j] = max(widths[j], utf8.RuneCountInString(c), 3)
		}
	}
	for i, l := range lines {
		b.WriteString("|")
		for j, c := range l {
			space := strings.Repeat(" ", widths[j]-utf8.RuneCountInString(c))
			if left[j] {
				b.WriteString(" " + c + space + " |")
			} else {
				b.WriteString(" " + space + c + " |")
			}
		}
		b.WriteString("\n")
		if i == 0 {
			b.WriteString("|")
			for j := range l {
				dashes := strings.Repeat("-", widths[j]+1)
				if left[j] {
					b.WriteString(":" + dashes + "|")
				} else {
					b.WriteString(dashes + ":|")
				}
			}
			b.WriteString("\n")
		}
	}
	b.WriteString("\n")
}

// json is the sheet as a list of objects: the row's name, the figures unrounded,
// and under "published" and "difference" what the report has. Absent figures are
// null.
func (s *sheet) json() []map[string]any {
	out := []map[string]any{}
	for _, r := range s.Rows {
		row := map[string]any{s.RowKey: r.Label}
		published, difference := map[string]any{}, map[string]any{}
		for j, c := range r.Cells {
			key := s.Columns[j].Key
			row[key] = finite(c.V)
			if !math.IsNaN(c.Published) {
				published[key] = c.Published
				difference[key] = finite(c.V - c.Published)
			}
		}
		if len(published) > 0 {
			row["published"], row["difference"] = published, difference
		}
		out = append(out, row)
	}
	return out
}

// finite is a number as JSON has it.
func finite(v float64) any {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return nil
	}
	return v
}

// csv is the sheet with a column for each published one after its own.
func (s *sheet) csv() ([]byte, error) {
	head := []string{s.RowKey}
	has := make([]bool, len(s.Columns))
	for j, c := range s.Columns {
		for _, r := range s.Rows {
			has[j] = has[j] || !math.IsNaN(r.Cells[j].Published)
		}
		head = append(head, c.Key)
		if has[j] {
			head = append(head, "published_"+c.Key)
		}
	}
	lines := [][]string{head}
	text := func(v float64) string {
		if math.IsNaN(v) {
			return ""
		}
		return float(v)
	}
	for _, r := range s.Rows {
		line := []string{r.Label}
		for j, c := range r.Cells {
			line = append(line, text(c.V))
			if has[j] {
				line = append(line, text(c.Published))
			}
		}
		lines = append(lines, line)
	}
	return csvLines(lines)
}

func csvLines(lines [][]string) ([]byte, error) {
	var b strings.Builder
	w := csv.NewWriter(&b)
	if err := w.WriteAll(lines); err != nil {
		return nil, fmt.Errorf("csv: %w", err)
	}
	return []byte(b.String()), nil
}
