// Package report writes a run for people and for other programs: report.md,
// report.html, junit.xml and CSV, all from the manifest, the table of scores
// and, where several models ran, the stored samples.
//
// The first screen says to a person who did not see the run what was compared,
// on what, who won, how sure that is and what it cost. Published figures are
// never mixed with measured ones: each stands in a column that says so.
//
// Names, notes and data are other people's texts. Every form escapes them:
// none of them can become markup, a script or a second row.
package report

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"sync"

	"github.com/evalrun/evalrun/core"
	"github.com/evalrun/evalrun/core/stats"
	"github.com/evalrun/evalrun/results"
	"github.com/evalrun/evalrun/results/compare"
)

// The names of the files in a run folder.
const (
	MarkdownFile = "report.md"
	HTMLFile     = "report.html"
	JUnitFile    = "junit.xml"
)

// Formats lists what Render knows.
func Formats() []string { return []string{"md", "html", "csv", "junit", "json"} }

// Options of a report.
type Options struct {
	// Rival is the label of the model that fine-tuning has to beat; empty is a
	// GPT-4 among the columns, else the published GPT-4 where every task has it.
	Rival string
	// Tuned names the base model's label of a fine-tuned model's label, where
	// an adapter does not tell it.
	Tuned map[string]string
	// Heuristics are the fourteen complexity heuristics (the order of
	// reference.HeuristicNames) of tasks by name. Without them those of the LoRA
	// Land report's tasks are used: the published ones where every task was asked
	// with the published prompt, else those of evalrun's own prompts.
	Heuristics map[string][]float64
}

// A Report is what is said of one run or several. It is made when a form first
// needs it.
type Report struct {
	runs   []Run
	scores results.Scores
	page   func() *page
}

// New prepares the report of one run or several.
func New(ctx context.Context, runs []Run, o Options) *Report {
	_, s := merge(runs)
	return &Report{runs: runs, scores: s, page: sync.OnceValue(func() *page { return newPage(ctx, runs, o) })}
}

// A Column is one model of a report.
type Column struct {
	Label string
	// Tuned says that an adapter answered, or that Options say so.
	Tuned bool
	// Base is the label of the model that it was tuned from, empty for none.
	Base string
	// Rival says that fine-tuning is measured against it.
	Rival bool
	// Sides are where its samples are, Lines its lines of the table.
	Sides []compare.Side
	Lines []results.Score
	Model results.Model
	Mean  float64 // of its first metrics; NaN without a score
}

// Columns gives the models with their roles.
func (r *Report) Columns(o Options) []Column {
	columns, s := merge(r.runs)
	var out []Column
	for i, c := range columns {
		k := Column{Label: c.Label, Tuned: c.Config.Adapter != "" || o.Tuned[c.Label] != "", Model: c.Model}
		if k.Rival = o.Rival == c.Label; o.Rival == "" {
			k.Rival = namesRival(c.Label)
		}
		if b := baseOf(columns, i, o); b >= 0 {
			k.Base = columns[b].Label
		}
		for _, p := range c.Parts {
			k.Sides = append(k.Sides, compare.Side{Folder: r.runs[p.run].Folder, Model: p.label})
		}
		seen := map[string]bool{}
		var scores []float64
		for _, l := range s.Tasks {
			if l.Model != c.Label {
				continue
			}
			k.Lines = append(k.Lines, l)
			if v := some(l.Score); v.OK && !seen[l.Task] {
				seen[l.Task] = true
				scores = append(scores, v.V)
			}
		}
		k.Mean = stats.Mean(scores)
		out = append(out, k)
	}
	return out
}

// Labels names the columns.
func (r *Report) Labels() []string { return r.scores.Models() }

// Write puts report.md, report.html and junit.xml into the run folder, each in
// one step. It reads the samples when the run has several models.
func Write(f *results.Folder, s results.Scores) error {
	files, err := New(context.Background(), []Run{{f, s}}, Options{}).forms("md", "html", "junit")
	if err == nil {
		_, err = writeAll(f.Path, files)
	}
	if err != nil {
		return fmt.Errorf("write the report of run %s: %w", f.Manifest.ID, err)
	}
	return nil
}

// WriteAll puts the report into a folder in every form, with a CSV file a table
// and an SVG file a figure. It gives the names of the files.
func (r *Report) WriteAll(dir string) ([]string, error) {
	files, err := r.forms("html", "junit", "csv", "json")
	if err != nil {
		return nil, err
	}
	p := r.page()
	files = append([]file{{MarkdownFile, p.markdown("figures/")}}, files...)
	for _, t := range p.Sheets {
		b, err := t.csv()
		if err != nil {
			return nil, err
		}
		files = append(files, file{t.Key + ".csv", b})
	}
	for _, f := range p.Figures {
		files = append(files, file{filepath.Join("figures", f.Name+".svg"), f.SVG.File()})
	}
	return writeAll(dir, files)
}

// forms renders some forms under the names of their files.
func (r *Report) forms(formats ...string) ([]file, error) {
	names := map[string]string{"md": MarkdownFile, "html": HTMLFile, "junit": JUnitFile, "csv": "scores.csv", "json": "report.json"}
	var out []file
	for _, f := range formats {
		b, err := r.Render(f)
		if err != nil {
			return nil, err
		}
		out = append(out, file{names[f], b})
	}
	return out, nil
}

// Summary is the first screen as text: the sentences and the table of models.
func (r *Report) Summary() []byte { return r.page().summary() }

// Render gives one format: md, html, csv, junit or json. The JSON of one run is
// its scores.json, of several their table and what was made of it.
func (r *Report) Render(format string) ([]byte, error) {
	switch format {
	case "md":
		return r.page().markdown(""), nil
	case "html":
		return r.page().html()
	case "csv":
		return csvTable(r.scores)
	case "junit":
		return junitXML(manifestOf(r.runs), r.scores)
	case "json":
		if len(r.runs) == 1 {
			return indented(r.runs[0].Scores)
		}
		return r.json()
	}
	return nil, &core.UserError{Where: "--format " + format, Message: "unknown format", Hint: "one of: md, html, csv, junit, json"}
}

func (r *Report) json() ([]byte, error) {
	p := r.page()
	out := map[string]any{"tasks": r.scores.Tasks, "seconds": r.scores.Seconds, "cost_usd": r.scores.CostUSD, "outcome": r.scores.Outcome, "lead": p.Lead, "warnings": p.Warnings}
	var paths []string
	for _, run := range r.runs {
		paths = append(paths, run.Folder.Path)
	}
	out["runs"] = paths
	for _, t := range p.Sheets {
		out[t.Key] = t.json()
	}
	return indented(out)
}

func indented(v any) ([]byte, error) {
	b, err := json.MarshalIndent(v, "", "  ")
	return append(b, '\n'), err
}
