package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"runtime"
	"sync"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/evalrun/evalrun/core"
	"github.com/evalrun/evalrun/core/complexity"
	"github.com/evalrun/evalrun/core/dataset"
	"github.com/evalrun/evalrun/core/prompt"
	"github.com/evalrun/evalrun/core/record"
	"github.com/evalrun/evalrun/core/run"
	"github.com/evalrun/evalrun/results"
	"github.com/evalrun/evalrun/results/predict"
	"github.com/evalrun/evalrun/tasks"
)

// measureFlags say which rows of a task are measured.
type measureFlags struct {
	evalFlags
	part string
}

func (f *measureFlags) register(fl *pflag.FlagSet) {
	f.fewshot = -1
	fl.StringVar(&f.data, "data", "", "rows: embedded, hub, or a folder DIR/<task>/<split>.jsonl (default: the task's own)")
	fl.StringVar(&f.data, "data-root", "", "the same as --data DIR")
	fl.Lookup("data-root").Hidden = true
	fl.StringVar(&f.part, "part", "auto", "which rows: train, evaluation, or auto (train where there are any)")
	fl.StringVar(&f.limit, "limit", "", "rows: N (the first), A-B, random:N or all (default: the task's limit, else 1000)")
	fl.Uint64Var(&f.seed, "seed", 0, "seed of random row selection")
	fl.StringArrayVar(&f.set, "set", nil, "override a key of the task files, key=value; repeatable")
}

func newComplexity() *cobra.Command {
	f := &measureFlags{}
	var asCSV bool
	cmd := &cobra.Command{
		Use:   "complexity FILES or task names…",
		Short: "measure how complex tasks are: lengths, overlap, compressibility; no model is asked",
		Long: "Complexity fills the prompt of each row and measures the heuristics of the report's Table 13:\n" +
			"tokens (cl100k_base) of the prompt, of the target and of both; ROUGE-L between prompt and\n" +
			"target; and the size of prompt and target together under zlib at level 6, over their bytes.\n" +
			"They depend on the prompt's words: figures for one prompt say little of another.",
		Example: "  evalrun complexity glue_cola gsm8k --data embedded\n" +
			"  evalrun complexity drop --data embedded --json",
		RunE: func(cmd *cobra.Command, args []string) error {
			return runComplexity(cmd.Context(), cmd.OutOrStdout(), args, f, asCSV)
		},
		ValidArgsFunction: completeTasks,
	}
	fl := cmd.Flags()
	f.register(fl)
	fl.BoolVar(&f.json, "json", false, "one JSON object, with every heuristic")
	fl.BoolVar(&asCSV, "csv", false, "the columns of Table 13 as CSV")
	cmd.MarkFlagsMutuallyExclusive("json", "csv")
	return cmd
}

// A measured task is its heuristics, and of which rows they are.
type measured struct {
	Task   string `json:"task"`
	Path   string `json:"path"`
	Source string `json:"source"`
	// Part is train or evaluation.
	Part       string                `json:"part"`
	Heuristics complexity.Heuristics `json:"heuristics"`

	prompt string // hash of the template
	err    error
}

func runComplexity(ctx context.Context, w io.Writer, args []string, f *measureFlags, asCSV bool) error {
	files, err := f.load(args)
	if err != nil {
		return err
	}
	all := f.measureAll(ctx, files)
	good := []measured{}
	for _, m := range all {
		if m.err == nil {
			good = append(good, m)
		}
	}
	switch {
	case f.json:
		enc := json.NewEncoder(w)
		enc.SetEscapeHTML(false)
		err = enc.Encode(map[string]any{"tasks": good})
	case asCSV:
		var rows []predict.Row
		for _, m := range good {
			rows = append(rows, predict.Row{Task: m.Task, Rows: m.Heuristics.Rows, Part: m.Part, Prompt: m.prompt,
				Features: predict.Features(&m.Heuristics, predict.TrainExamples(m.Task))})
		}
		err = predict.WriteRows(w, rows)
	default:
		printComplexity(w, good)
	}
	said := map[string]bool{}
	for _, m := range all { // what can be measured is; what cannot fails the command
		if m.err != nil && !said[m.err.Error()] {
			said[m.err.Error()] = true
			err = errors.Join(err, m.err)
		}
	}
	return err
}

// measureAll measures the files' rows, as many at once as there are processors.
func (f *measureFlags) measureAll(ctx context.Context, files []*tasks.File) []measured {
	all := make([]measured, len(files))
	next := make(chan int)
	var wg sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), len(files)) {
		wg.Go(func() {
			for i := range next {
				all[i], all[i].err = f.measure(ctx, files[i])
			}
		})
	}
	for i := range files {
		next <- i
	}
	close(next)
	wg.Wait()
	return all
}

// measure reads a task's rows once.
func (f *measureFlags) measure(ctx context.Context, file *tasks.File) (measured, error) {
	m := measured{Task: file.Task.Name, Path: file.Task.Path, prompt: results.SHA256([]byte(file.Task.Prompt))}
	set, err := f.rowSet(ctx, file, &m)
	if err != nil {
		return m, err
	}
	m.Source = set.Source
	job := run.Job{Task: file.Task}
	var meter complexity.Meter
	for row, err := range set.Rows(ctx) {
		if err != nil {
			return m, err
		}
		sample, err := job.Sample(0, row)
		var missing *prompt.MissingError
		switch {
		case errors.As(err, &missing):
			return m, &core.UserError{Where: file.Where("prompt"), Message: fmt.Sprintf("row %s of %s: %v", row.ID, set.Source, missing), Hint: "leave such rows out with filter:"}
		case err != nil:
			return m, err
		}
		target := ""
		if len(sample.Targets) > 0 {
			target = sample.Targets[0]
		}
		meter.Add(sample.Prompt, target)
	}
	m.Heuristics = meter.Heuristics()
	return m, nil
}

// rowSet opens the rows that --part names.
func (f *measureFlags) rowSet(ctx context.Context, file *tasks.File, m *measured) (*rowSet, error) {
	rows := rowFlags{data: f.data, limit: f.limit, seed: f.seed, demo: true}
	switch f.part {
	case "auto", "train", "evaluation":
	default:
		return nil, &core.UserError{Where: "--part " + f.part, Message: "there is no such part", Hint: "one of: auto, train, evaluation"}
	}
	if f.part != "evaluation" {
		rows.part, m.Part = dataset.Training, "train"
		set, err := rows.rows(ctx, file)
		var user *core.UserError
		if err == nil && set.Embedded && f.part == "train" {
			return nil, &core.UserError{Where: "--part train", Message: "the embedded rows of " + file.Task.Name + " are for evaluation", Hint: "leave --part out, or give --data DIR or --data hub"}
		}
		if err == nil && !set.Embedded || f.part == "train" || !errors.As(err, &user) && err != nil {
			return set, err
		}
	}
	rows.part, m.Part = dataset.Evaluation, "evaluation"
	return rows.rows(ctx, file)
}

func printComplexity(w io.Writer, all []measured) {
	t := plainTable(table.Row{"task", "rows", "prompt", "target", "both", "ROUGE-L", "zlib"}, 2, 7)
	spread := func(mean, std record.Float, digits int) string {
		if math.IsNaN(float64(std)) { // of one row
			return fmt.Sprintf("%.*f", digits, mean)
		}
		return fmt.Sprintf("%.*f±%.*f", digits, mean, digits, std)
	}
	whole := func(s complexity.Summary) string {
		return fmt.Sprintf("%s (%.0f)", spread(s.Mean, s.StdSample, 1), s.P95)
	}
	share := func(s complexity.Summary) string { return spread(s.Mean, s.StdSample, 3) }
	parts := map[string]int{}
	for _, m := range all {
		h := &m.Heuristics
		name := m.Task
		if m.Part == "evaluation" {
			name += "*"
		}
		t.AppendRow(table.Row{name, h.Rows, whole(h.Input.Tokens), whole(h.Output.Tokens), whole(h.Example.Tokens), share(h.Rouge.F), share(h.Compressibility)})
		parts[m.Part]++
	}
	if len(all) == 0 {
		return
	}
	fmt.Fprintln(w, t.Render())
	fmt.Fprint(w, "\nMean ± standard deviation over rows (95th percentile). Lengths are tokens of cl100k_base: of the\n"+
		"filled prompt, the target, and both. ROUGE-L is F between prompt and target. zlib is the size of both\n"+
		"after compression over their bytes.\n")
	if parts["evaluation"] > 0 {
		fmt.Fprintln(w, "* evaluation rows; the others are training rows.")
	}
}
