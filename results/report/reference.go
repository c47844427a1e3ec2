package report

import (
	"errors"
	"fmt"
	"html/template"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/evalrun/evalrun/core"
	"github.com/evalrun/evalrun/core/record"
	"github.com/evalrun/evalrun/results"
	"github.com/evalrun/evalrun/results/reference"
	"github.com/evalrun/evalrun/results/study"
)

// A studyPage is the LoRA Land report recomputed from its own tables.
type studyPage struct {
	Title, Source string
	Lead          []string
	Sheets        []*sheet
	Figures       []drawn
	Claims        []study.Check
	ClaimsNote    string

	study        *study.Study
	correlations study.Correlations
}

// referencePage recomputes everything that the published tables allow.
func referencePage() *studyPage {
	s := study.Published()
	table13 := complexitySheet(s, true)
	p := &studyPage{Title: "LoRA Land, recomputed", study: s, correlations: s.Correlate(), Figures: figures(s, nil), Claims: study.Checks(),
		Source: "Published figures: LoRA Land: 310 Fine-tuned LLMs that Rival GPT-4, a technical report (arXiv 2405.00732), Tables 2 to 4 and 6 to 13. Nothing here was measured by evalrun. " +
			"A figure stands before the published one and their difference; ≠ marks what is more than a unit of the last digit apart."}
	p.Sheets = []*sheet{bestSheet(s, true), modelSheet(s, true), exampleSheet(table13), regressionSheet(s, true), categorySheet(s),
		scoreSheet(s, 11), scoreSheet(s, 12), liftSheet(s, true), table13}
	figure8 := correlationSheet(p.correlations)
	p.Sheets = slices.Insert(p.Sheets, 4, figure8)

	_, best := s.Best()
	rows, all := s.ByModel()
	top := rows[len(rows)-1]
	prose, proseNo, cells, cellsNo := 0, 0, 0, 0
	for _, c := range p.Claims {
		n, no := &prose, &proseNo
		if c.Section == "table 4" {
			n, no = &cells, &cellsNo
		}
		*n++
		if !c.Agrees {
			*no++
		}
	}
	p.ClaimsNote = fmt.Sprintf("%d of the %d numeric claims of the text that can be recomputed from the tables, and %d of %d cells of Table 4, do not agree with them. "+
		"Averages and differences may be one unit of their last digit off; counts and names must be equal.", proseNo, prose, cellsNo, cells)
	p.Lead = []string{
		fmt.Sprintf("%d base models fine-tuned on %d tasks (%d models), beside GPT-4 and GPT-3.5: everything that the report's published tables give, computed again from its score tables (11 and 12) and its complexity table (13).", len(s.Tuned), len(s.Tasks), len(s.Tuned)*len(s.Tasks)),
		fmt.Sprintf("Fine-tuning lifts the average base model from %.3f to %.3f, GPT-4 has %.3f. The best fine-tuned model, %s, has %.3f; choosing the best for each task gives %.3f.", all.Before, all.After, best.Rival, top.Model, top.After, best.Tuned),
		fmt.Sprintf("%d of %d fine-tuned models are above their base model and %d above GPT-4 (the report says 301 and 224).", all.AboveBase.K, all.AboveBase.N, all.AboveRival.K),
		"How sure: the tables hold one score a model and task, mostly of 1,000 rows, so that a difference on one task under about 0.04 may be chance; no answer is published.",
		unseen(s.Regressions()),
		p.ClaimsNote,
	}
	return p
}

// unseen says what the regressions of Table 6 are worth on a task that they were
// not fitted to.
func unseen(rows []study.Regression) string {
	low, high, meanLow, meanHigh, worse := math.Inf(1), 0.0, math.Inf(1), 0.0, 0
	for _, r := range rows {
		low, high = min(low, r.LeaveOneOut), max(high, r.LeaveOneOut)
		meanLow, meanHigh = min(meanLow, r.MeanLeaveOneOut), max(meanHigh, r.MeanLeaveOneOut)
		if r.LeaveOneOut > r.MeanLeaveOneOut {
			worse++
		}
	}
	return fmt.Sprintf("The regressions of Table 6 are right about the tasks that they were fitted to (to 0.09 to 0.17). On an unseen task they err by %.2f to %.2f, the plain mean of the other tasks by %.2f to %.2f: %d of %d regressions are worse than the mean.",
		low, high, meanLow, meanHigh, worse, len(rows))
}

// correlationSheet is Figure 8 in figures, measures downward as it is drawn.
func correlationSheet(c study.Correlations) *sheet {
	t := &sheet{Key: "figure8", Title: "Figure 8: Spearman's rank correlation of quality and complexity", RowKey: "measure", RowHead: "measure",
		Note: "Beside each value what the published picture shows, to two digits."}
	_, _, was := reference.Figure8()
	for _, name := range c.Rows {
		t.Columns = append(t.Columns, column{name, heading(name), 2})
	}
	for j, name := range c.Columns {
		row := sheetRow{Label: heading(name)}
		for i := range c.Rows {
			row.Cells = append(row.Cells, beside(c.Rho[i][j], was[i][j]))
		}
		t.Rows = append(t.Rows, row)
	}
	return t
}

// Reference renders the recomputed LoRA Land report: md, html, csv (Table 4 is
// the one table that a spreadsheet gets; [WriteReference] writes all) or json.
func Reference(format string) ([]byte, error) {
	p := referencePage()
	switch format {
	case "md":
		return p.markdown(""), nil
	case "html":
		return execute(studyTemplate, p)
	case "json":
		return p.json()
	}
	return nil, &core.UserError{Where: "--format " + format, Message: "the reference has no such form", Hint: "one of: md, html, json; --out DIR writes these, a CSV file a table and the figures"}
}

// WriteReference writes the recomputed report into a folder: report.md,
// report.html, report.json, a CSV file a table, an SVG file a figure. It gives
// the names of the files.
func WriteReference(dir string) ([]string, error) {
	p := referencePage()
	html, err := execute(studyTemplate, p)
	if err != nil {
		return nil, err
	}
	asJSON, err := p.json()
	if err != nil {
		return nil, err
	}
	files := []file{{MarkdownFile, p.markdown("figures/")}, {HTMLFile, html}, {"report.json", asJSON}}
	for _, t := range p.Sheets {
		b, err := t.csv()
		if err != nil {
			return nil, err
		}
		files = append(files, file{t.Key + ".csv", b})
	}
	claims, err := p.claimsSheet()
	if err != nil {
		return nil, err
	}
	files = append(files, file{"claims.csv", claims})
	for _, f := range p.Figures {
		files = append(files, file{filepath.Join("figures", f.Name+".svg"), f.SVG.File()})
	}
	return writeAll(dir, files)
}

// A file is a name below a folder and its content.
type file struct {
	name string
	b    []byte
}

// writeAll writes files below a folder that is made where it is not there.
func writeAll(dir string, files []file) ([]string, error) {
	var names []string
	for _, f := range files {
		path := filepath.Join(dir, f.name)
		err := os.MkdirAll(filepath.Dir(path), 0o755)
		if err == nil {
			err = results.WriteFile(path, f.b)
		}
		if err != nil {
			return nil, writeError(path, err)
		}
		names = append(names, path)
	}
	return names, nil
}

// writeError says what helps where a file of a report cannot be written.
func writeError(path string, err error) error {
	var inner *fs.PathError
	if errors.As(err, &inner) {
		err = inner.Err
	}
	hint := "name a folder that can be written"
	if results.DiskFull(err) {
		hint = "free space on the disk; evalrun report writes the report of a run again"
	}
	return &core.UserError{Where: path, Message: "writing the report", Err: err, Hint: hint}
}

// markdown is the page as text; figures is the folder of the drawings as seen
// from the file, empty where there are none.
func (p *studyPage) markdown(figures string) []byte {
	var b strings.Builder
	fmt.Fprintf(&b, "# %s\n\n", md(p.Title))
	for _, l := range p.Lead {
		fmt.Fprintf(&b, "%s\n\n", md(l))
	}
	if figures != "" {
		writeFigures(&b, p.Figures, figures)
	}
	for _, t := range p.Sheets {
		t.markdown(&b)
	}
	p.figureData(&b)
	if len(p.Claims) > 0 {
		fmt.Fprintf(&b, "## Claims of the report's text\n\n%s\n\n", md(p.ClaimsNote))
		lines := [][]string{{"section", "claim", "claimed", "recomputed", "agrees", "note"}}
		for _, c := range p.Claims {
			agrees := "yes"
			if !c.Agrees {
				agrees = "no ≠"
			}
			unit := ""
			if c.Unit != "" {
				unit = " " + c.Unit
			}
			lines = append(lines, []string{md(c.Section), md(c.Claim.Claim), md(c.Claimed) + unit, md(c.Text) + unit, agrees, md(c.Note)})
		}
		aligned(&b, lines, map[int]bool{0: true, 1: true, 4: true, 5: true})
	}
	fmt.Fprintf(&b, "%s\n", md(p.Source))
	return []byte(b.String())
}

// figureData are the figures' numbers that no table has.
func (p *studyPage) figureData(b *strings.Builder) {
	var lines [][]string
	for _, kind := range []study.Kind{study.Autocomplete, study.Instruct} {
		before, after := p.study.ByKind(kind)
		if before.Models == 0 {
			return
		}
		if lines == nil {
			lines = [][]string{{"kind of base model", "models", "average before", "average after", "best of each task before", "best of each task after", "best model before", "best model after"}}
		}
		f := func(v float64) string { return fmt.Sprintf("%.3f", v) }
		lines = append(lines, []string{string(kind), fmt.Sprint(before.Models), f(before.Average), f(after.Average), f(before.BestPerTask), f(after.BestPerTask),
			fmt.Sprintf("%.3f (%s)", before.Best, md(before.BestModel)), fmt.Sprintf("%.3f (%s)", after.Best, md(after.BestModel))})
	}
	fmt.Fprintf(b, "## Figure 7: kinds of base model\n\n")
	aligned(b, lines, map[int]bool{0: true})
}

// json is everything, unrounded.
func (p *studyPage) json() ([]byte, error) {
	out := map[string]any{"source": p.Source}
	for _, t := range p.Sheets {
		out[t.Key] = t.json()
	}
	claims := []map[string]any{}
	for _, c := range p.Claims {
		row := map[string]any{"section": c.Section, "claim": c.Claim.Claim, "claimed": c.Claimed, "unit": c.Unit, "relation": c.Relation, "recomputed": finite(c.Value), "agrees": c.Agrees, "note": c.Note}
		if math.IsNaN(c.Value) {
			row["recomputed"] = c.Text
		}
		claims = append(claims, row)
	}
	out["claims"] = claims
	rho := make([][]record.Float, len(p.correlations.Rho))
	pValues := make([][]record.Float, len(rho))
	for i := range rho {
		for j := range p.correlations.Rho[i] {
			rho[i] = append(rho[i], record.Float(p.correlations.Rho[i][j]))
			pValues[i] = append(pValues[i], record.Float(p.correlations.P[i][j]))
		}
	}
	_, _, was := reference.Figure8()
	out["figure8"] = map[string]any{"rows": p.correlations.Rows, "columns": p.correlations.Columns, "spearman": rho, "p": pValues, "published": was}
	kinds := []map[string]any{}
	for _, kind := range []study.Kind{study.Autocomplete, study.Instruct} {
		before, after := p.study.ByKind(kind)
		kinds = append(kinds, map[string]any{"kind": kind, "models": before.Models, "average_before": finite(before.Average), "average_after": finite(after.Average),
			"best_per_task_before": finite(before.BestPerTask), "best_per_task_after": finite(after.BestPerTask),
			"best_model_before": before.BestModel, "best_model_before_score": finite(before.Best), "best_model_after": after.BestModel, "best_model_after_score": finite(after.Best)})
	}
	out["figure7"] = kinds
	return indented(out)
}

// claimsSheet is the claims as CSV.
func (p *studyPage) claimsSheet() ([]byte, error) {
	lines := [][]string{{"section", "claim", "claimed", "recomputed", "unit", "relation", "agrees", "note"}}
	for _, c := range p.Claims {
		text := c.Text
		if !math.IsNaN(c.Value) {
			text = float(c.Value)
		}
		lines = append(lines, []string{c.Section, c.Claim.Claim, c.Claimed, text, c.Unit, c.Relation, fmt.Sprint(c.Agrees), c.Note})
	}
	return csvLines(lines)
}

// What the template asks of a sheet and a figure.

// Differences is the sentence about the published figures.
func (s *sheet) Differences() string { return s.differences() }

// Short is the sheet's name in a list.
func (s *sheet) Short() string {
	short, _, _ := strings.Cut(s.Title, ":")
	return short
}

// htmlRow and htmlCell are a row as it is shown.
type htmlRow struct {
	Label string
	Total bool
	Cells []htmlCell
}

type htmlCell struct {
	Text, Beside string
	Differs      bool
}

// HTMLRows are the rows with their cells as texts.
func (s *sheet) HTMLRows() []htmlRow {
	var out []htmlRow
	for _, r := range s.Rows {
		row := htmlRow{Label: r.Label, Total: r.Total}
		for j, c := range r.Cells {
			d := s.Columns[j].Digits
			row.Cells = append(row.Cells, htmlCell{c.text(d), c.besideText(d), c.differs(d)})
		}
		out = append(out, row)
	}
	return out
}

// Inline is the drawing within the page; package figure has escaped its texts.
func (d drawn) Inline() template.HTML { return template.HTML(d.SVG.Inline()) }
