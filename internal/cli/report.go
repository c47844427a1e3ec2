package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/evalrun/evalrun/core"
	"github.com/evalrun/evalrun/internal/nearest"
	"github.com/evalrun/evalrun/results"
	"github.com/evalrun/evalrun/results/predict"
	"github.com/evalrun/evalrun/results/report"
)

// latestRun is the run that a verb speaks of when none is named.
const latestRun = "latest"

func newReport() *cobra.Command {
	f := &reportFlags{}
	cmd := &cobra.Command{
		Use:   "report [RUN…]",
		Short: "write the report of runs: Markdown, one-file HTML, JUnit, CSV, SVG figures",
		Long: "Report makes report.md, report.html and junit.xml of a run again, from what is stored,\n" +
			"and prints its table. With --format it prints that one form, or writes it to --to FILE.\n" +
			"RUN is a folder, a run's id, or latest. Several runs are put into one table: a column a\n" +
			"model, what was fine-tuned beside its base model; all forms, tables and figures go to the\n" +
			"folder --to DIR (runs/report when it is not given).\n\n" +
			"With --reference it recomputes the LoRA Land report from its published tables and prints\n" +
			"each figure beside the published one: tables 3 to 6 and 11 to 13, the figures' numbers and\n" +
			"the claims of the text; --out DIR writes them as Markdown, HTML, JSON, CSV and SVG.",
		Example: "  evalrun report\n" +
			"  evalrun report latest --format html --to report.html\n" +
			"  evalrun glue_sst2 --backend echo --data embedded --quiet; evalrun report runs/2* --to both/\n" +
			"  evalrun report --reference --out lora-land",
		RunE: func(cmd *cobra.Command, args []string) error {
			if f.json {
				f.format = "json"
			}
			if !f.reference {
				return f.run(cmd.Context(), cmd.OutOrStdout(), args)
			}
			if len(args) > 0 {
				return &core.UserError{Where: "--reference " + args[0], Message: "the published tables are no run", Hint: "evalrun report " + args[0] + ", or evalrun report --reference alone"}
			}
			if !cmd.Flags().Changed("out") {
				f.out = ""
			}
			return f.runReference(cmd.OutOrStdout())
		},
		ValidArgsFunction: completeRuns(&f.out, 1000),
	}
	fl := cmd.Flags()
	fl.StringVar(&f.format, "format", "", "print one form: "+strings.Join(report.Formats(), ", "))
	fl.StringVar(&f.to, "to", "", "write to this file, whose ending tells the form where --format is not given; DIR/ takes all forms, tables and figures")
	fl.StringVar(&f.out, "out", "runs", "folder that holds the run folders; with --reference the folder to write to")
	fl.StringVar(&f.rival, "rival", "", "label of the model that fine-tuning has to beat (a GPT-4 among the models, else the published one)")
	fl.StringArrayVar(&f.tuned, "finetuned", nil, "TUNED=BASE: labels of a fine-tuned model without adapter and of its base model; repeatable")
	fl.StringVar(&f.complexity, "complexity", "", "file that evalrun complexity --csv wrote: heuristics of your tasks, for figure 8")
	fl.BoolVar(&f.reference, "reference", false, "the LoRA Land report recomputed from its published tables, instead of a run")
	fl.BoolVar(&f.json, "json", false, "the scores as one JSON object (the same as --format json)")
	return cmd
}

// reportFlags are what report takes.
type reportFlags struct {
	format, to, out, rival string
	complexity             string
	tuned                  []string
	json, reference        bool
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

// run reports one run or several.
func (f *reportFlags) run(ctx context.Context, w io.Writer, args []string) error {
	if formatOf(f.out) != "" {
		return &core.UserError{Where: "--out " + f.out, Message: "is the folder that holds the runs, as everywhere", Hint: "--to " + f.out + " writes the report to that file"}
	}
	dir := ""
	if info, err := os.Stat(f.to); f.to != "" && f.format == "" && (strings.HasSuffix(f.to, "/") || err == nil && info.IsDir()) {
		dir = f.to
	}
	format := f.format
	if dir == "" {
		var err error
		if format, err = formatFor(f.format, f.to); err != nil {
			return err
		}
	}
	runs, err := f.open(ctx, args)
	if err != nil {
		return err
	}
	o, err := f.options(runs)
	if err != nil {
		return err
	}
	if format == "" && dir == "" && len(runs) == 1 {
		return reportInPlace(w, runs[0])
	}
	r := report.New(ctx, runs, o)
	if format == "" {
		if dir == "" {
			dir = filepath.Join(f.out, "report")
		}
		files, err := r.WriteAll(dir)
		if err != nil {
			return err
		}
		_, _ = w.Write(r.Summary())
		for _, file := range files[:2] {
			fmt.Fprintln(w, file)
		}
		fmt.Fprintf(w, "and %d further files in %s\n", len(files)-2, dir)
		return nil
	}
	b, err := r.Render(format)
	if err != nil {
		return err
	}
	return writeTo(w, f.to, b)
}

// open opens the named runs, the last one where none is named; one that is named
// twice counts once.
func (f *reportFlags) open(ctx context.Context, args []string) ([]report.Run, error) {
	if len(args) == 0 {
		args = []string{latestRun}
	}
	var runs []report.Run
	for _, name := range args {
		folder, scores, err := openScored(ctx, f.out, name)
		if err != nil {
			return nil, err
		}
		if !slices.ContainsFunc(runs, func(r report.Run) bool { return r.Folder.Path == folder.Path }) {
			runs = append(runs, report.Run{Folder: folder, Scores: scores})
		}
	}
	return runs, nil
}

// options checks the labels that the flags name.
func (f *reportFlags) options(runs []report.Run) (report.Options, error) {
	o := report.Options{Rival: f.rival, Tuned: map[string]string{}}
	labels := report.New(context.Background(), runs, o).Labels()
	known := func(where, label string) error {
		if slices.Contains(labels, label) {
			return nil
		}
		hint := "the models are " + strings.Join(labels, ", ")
		if near := nearest.Word(label, labels); near != "" {
			hint = "did you mean " + near + "?"
		}
		return &core.UserError{Where: where, Message: fmt.Sprintf("no model %q in these runs", label), Hint: hint}
	}
	if f.rival != "" {
		if err := known("--rival", f.rival); err != nil {
			return o, err
		}
	}
	if f.complexity != "" {
		var err error
		if o.Heuristics, err = readHeuristics(f.complexity); err != nil {
			return o, err
		}
	}
	for _, pair := range f.tuned {
		tuned, base, ok := strings.Cut(pair, "=")
		if !ok {
			return o, &core.UserError{Where: "--finetuned " + pair, Message: "not of the form TUNED=BASE", Hint: "for example --finetuned local:my-merged-model=local:mistral-7b"}
		}
		for _, label := range []string{tuned, base} {
			if err := known("--finetuned "+pair, label); err != nil {
				return o, err
			}
		}
		o.Tuned[tuned] = base
	}
	return o, nil
}

// readHeuristics reads what evalrun complexity --csv wrote.
func readHeuristics(path string) (map[string][]float64, error) {
	where := "--complexity " + path
	file, err := os.Open(path)
	if err != nil {
		return nil, &core.UserError{Where: where, Message: "reading the file", Err: err, Hint: "evalrun complexity TASKS --csv > FILE writes one"}
	}
	defer file.Close()
	rows, err := predict.ReadRows(file)
	if err != nil {
		return nil, &core.UserError{Where: where, Message: "no table of heuristics", Err: err, Hint: "evalrun complexity TASKS --csv > FILE writes one"}
	}
	out := map[string][]float64{}
	for _, r := range rows {
		out[r.Task] = r.Features
	}
	return out, nil
}

// reportInPlace makes the reports in a run's own folder again.
func reportInPlace(w io.Writer, r report.Run) error {
	if err := writeReports(r.Folder, r.Scores); err != nil {
		return err
	}
	printTable(w, r.Scores, tableWidth(w))
	for _, file := range []string{report.MarkdownFile, report.HTMLFile, report.JUnitFile} {
		fmt.Fprintln(w, filepath.Join(r.Folder.Path, file))
	}
	return nil
}

// runReference prints the recomputed LoRA Land report, or writes it to a file or
// a folder.
func (f *reportFlags) runReference(w io.Writer) error {
	if f.out != "" {
		files, err := report.WriteReference(f.out)
		if err != nil {
			return err
		}
		if f.format == "" && f.to == "" {
			for _, file := range files {
				fmt.Fprintln(w, file)
			}
			return nil
		}
	}
	format, err := formatFor(f.format, f.to)
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
	return writeTo(w, f.to, b)
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
	for _, err := range folder.Verdicts() { // samples of a newer format are refused, whatever the table says
		if err != nil {
			return nil, results.Scores{}, err
		}
		break
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
