package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/evalrun/evalrun/core"
	"github.com/evalrun/evalrun/results"
	"github.com/evalrun/evalrun/results/report"
)

// latestRun is the run that a verb speaks of when none is named.
const latestRun = "latest"

func newReport() *cobra.Command {
	var format, to, out string
	var asJSON, reference bool
	cmd := &cobra.Command{
		Use:   "report [RUN]",
		Short: "write the report of a run: Markdown, one-file HTML, JUnit, CSV",
		Long: "Report makes report.md, report.html and junit.xml of a run again, from what is stored,\n" +
			"and prints its table. With --format it prints that one form, or writes it to --to FILE.\n" +
			"RUN is a folder, a run's id, or latest.\n\n" +
			"With --reference it recomputes the LoRA Land report from its published tables and prints\n" +
			"each figure beside the published one: tables 3 to 6 and 11 to 13, the figures' numbers and\n" +
			"the claims of the text; --out DIR writes them as Markdown, HTML, JSON, CSV and SVG.",
		Example: "  evalrun report\n" +
			"  evalrun report latest --format html --to report.html\n" +
			"  evalrun report --reference --out lora-land",
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if asJSON {
				format = "json"
			}
			if reference {
				if len(args) > 0 {
					return &core.UserError{Where: "--reference " + args[0], Message: "the published tables are no run", Hint: "evalrun report " + args[0] + ", or evalrun report --reference alone"}
				}
				dir := ""
				if cmd.Flags().Changed("out") {
					dir = out
				}
				return runReference(cmd.OutOrStdout(), format, to, dir)
			}
			return runReport(cmd.Context(), cmd.OutOrStdout(), out, runName(args), format, to)
		},
		ValidArgsFunction: completeRuns(&out, 1),
	}
	fl := cmd.Flags()
	fl.StringVar(&format, "format", "", "print one form: "+strings.Join(report.Formats(), ", "))
	fl.StringVar(&to, "to", "", "write to this file; its ending tells the form where --format is not given")
	fl.StringVar(&out, "out", "runs", "folder that holds the run folders; with --reference the folder to write to")
	fl.BoolVar(&reference, "reference", false, "the LoRA Land report recomputed from its published tables, instead of a run")
	fl.BoolVar(&asJSON, "json", false, "the scores as one JSON object (the same as --format json)")
	return cmd
}

// runName is the run that the arguments name.
func runName(args []string) string {
	if len(args) == 0 {
		return latestRun
	}
	return args[0]
}

// completeRuns offers the stored runs for up to most arguments.
func completeRuns(out *string, most int) func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return func(_ *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
		if len(args) >= most {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		runs, err := results.List(*out)
		if err != nil {
			return nil, cobra.ShellCompDirectiveDefault
		}
		names := []string{latestRun}
		for _, r := range runs {
			names = append(names, r.Manifest.ID)
		}
		var found []string
		for _, n := range names {
			if strings.HasPrefix(n, word) {
				found = append(found, n)
			}
		}
		return found, cobra.ShellCompDirectiveDefault
	}
}

// formatOf tells the form from the ending of a file's name.
func formatOf(path string) string {
	switch strings.ToLower(filepath.Ext(path)) {
	case ".md", ".markdown":
		return "md"
	case ".html", ".htm":
		return "html"
	case ".csv":
		return "csv"
	case ".xml":
		return "junit"
	case ".json":
		return "json"
	}
	return ""
}

func runReport(ctx context.Context, w io.Writer, root, name, format, to string) error {
	if formatOf(root) != "" {
		return &core.UserError{Where: "--out " + root, Message: "is the folder that holds the runs, as everywhere", Hint: "--to " + root + " writes the report to that file"}
	}
	format, err := formatFor(format, to)
	if err != nil {
		return err
	}
	folder, scores, err := openScored(ctx, root, name)
	if err != nil {
		return err
	}
	if format == "" {
		if err := writeReports(folder, scores); err != nil {
			return err
		}
		printTable(w, scores)
		for _, file := range []string{report.MarkdownFile, report.HTMLFile, report.JUnitFile} {
			fmt.Fprintln(w, filepath.Join(folder.Path, file))
		}
		return nil
	}
	b, err := report.Render(ctx, format, folder, scores)
	if err != nil {
		return err
	}
	return writeTo(w, to, b)
}

// runReference prints the recomputed LoRA Land report, or writes it to a file or
// a folder.
func runReference(w io.Writer, format, to, dir string) error {
	if dir != "" {
		files, err := report.WriteReference(dir)
		if err != nil {
			return err
		}
		if format == "" && to == "" {
			for _, f := range files {
				fmt.Fprintln(w, f)
			}
			return nil
		}
	}
	format, err := formatFor(format, to)
	if err != nil {
		return err
	}
	if format == "" {
		format = "md"
	}
	b, err := report.Reference(format)
	if err != nil {
		return err
	}
	return writeTo(w, to, b)
}

// formatFor is the form that is asked for: by name, or by the ending of the file
// that it goes to; empty where neither is given.
func formatFor(format, to string) (string, error) {
	if to != "" && format == "" {
		if format = formatOf(to); format == "" {
			return "", &core.UserError{Where: "--to " + to, Message: "the ending tells no form", Hint: "add --format, one of: " + strings.Join(report.Formats(), ", ")}
		}
	}
	return format, nil
}

// writeTo writes a report to a file, or prints it where none is named.
func writeTo(w io.Writer, to string, b []byte) error {
	if to != "" {
		if err := results.WriteFile(to, b); err != nil {
			return &core.UserError{Where: "--to " + to, Message: "writing the report", Err: err, Hint: "name a file in a folder that is there"}
		}
		return nil
	}
	_, err := w.Write(b)
	return err
}

// openScored opens a run with its table. The table of a run that has not ended
// is made from what is stored: its scores.json, if there is one, may be of an
// earlier part of it.
func openScored(ctx context.Context, root, name string) (*results.Folder, results.Scores, error) {
	folder, err := results.Open(root, name)
	if err != nil {
		return nil, results.Scores{}, err
	}
	scores, scoresErr := folder.Scores()
	if scoresErr == nil && folder.Manifest.Finished != nil {
		return folder, scores, nil
	}
	if scoresErr != nil && !errors.Is(scoresErr, fs.ErrNotExist) {
		return nil, scores, scoresErr
	}
	s, err := newStored(ctx, folder, nil, false)
	if err != nil {
		if scoresErr == nil { // without the task files the last table must do
			return folder, scores, nil
		}
		return nil, scores, err
	}
	defer s.metrics.Close()
	if changed := s.changed(); len(changed) > 0 {
		fmt.Fprintf(os.Stderr, "the task files of %s are not the ones of the run; the stored scores are shown (evalrun rescore judges again)\n", strings.Join(changed, ", "))
	}
	now, err := s.sum(ctx)
	if scoresErr == nil {
		now.Outcome = scores.Outcome
	}
	return folder, now, err
}

// writeReports puts the reports of a run into its folder.
func writeReports(f *results.Folder, s results.Scores) error { return report.Write(f, s) }
