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

	"github.com/evalrun/evalrun/core"
	"github.com/evalrun/evalrun/results"
)

// The names of the files in a run folder.
const (
	MarkdownFile = "report.md"
	HTMLFile     = "report.html"
	JUnitFile    = "junit.xml"
)

// Formats lists what Render knows.
func Formats() []string { return []string{"md", "html", "csv", "junit", "json"} }

// Write puts report.md, report.html and junit.xml into the run folder, each in
// one step. It reads the samples when the run has several models.
func Write(f *results.Folder, s results.Scores) error {
	p := newPage(context.Background(), f, s)
	html, err := p.html()
	if err != nil {
		return fmt.Errorf("write the report of run %s: %w", f.Manifest.ID, err)
	}
	junit, err := junitXML(f.Manifest, s)
	if err != nil {
		return fmt.Errorf("write the report of run %s: %w", f.Manifest.ID, err)
	}
	for _, file := range []struct {
		name string
		b    []byte
	}{{MarkdownFile, p.markdown()}, {HTMLFile, html}, {JUnitFile, junit}} {
		if err := results.WriteFile(filepath.Join(f.Path, file.name), file.b); err != nil {
			return fmt.Errorf("write the report of run %s: %w", f.Manifest.ID, err)
		}
	}
	return nil
}

// Render gives one format of the report: md, html, csv, junit or json.
func Render(ctx context.Context, format string, f *results.Folder, s results.Scores) ([]byte, error) {
	switch format {
	case "md":
		return newPage(ctx, f, s).markdown(), nil
	case "html":
		return newPage(ctx, f, s).html()
	case "csv":
		return csvTable(s)
	case "junit":
		return junitXML(f.Manifest, s)
	case "json":
		b, err := json.MarshalIndent(s, "", "  ")
		return append(b, '\n'), err
	}
	return nil, &core.UserError{Where: "--format " + format, Message: "unknown format", Hint: "one of: md, html, csv, junit, json"}
}
