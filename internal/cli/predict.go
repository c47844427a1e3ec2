package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
	"github.com/spf13/cobra"

	"github.com/evalrun/evalrun/core"
	"github.com/evalrun/evalrun/core/dataset"
	"github.com/evalrun/evalrun/core/record"
	"github.com/evalrun/evalrun/internal/nearest"
	"github.com/evalrun/evalrun/results"
	"github.com/evalrun/evalrun/results/predict"
	"github.com/evalrun/evalrun/results/reference"
	"github.com/evalrun/evalrun/tasks"
)

type predictFlags struct {
	measureFlags
	features      string
	base          string
	with          []string
	trainExamples int
	baseScore     float64
}

func newPredict() *cobra.Command {
	f := &predictFlags{}
	cmd := &cobra.Command{
		Use:   "predict FILES or task names…",
		Short: "say before training what fine-tuning will give on a task",
		Long: "Predict measures a task as evalrun complexity does and compares it with the tasks of the\n" +
			"report, of which it is known what fine-tuning gave: the score to expect, the lift over the\n" +
			"base model and over GPT-4, each with an interval from tasks left out, and the tasks that the\n" +
			"answer leans on. The task asked about is never learnt from. No model is asked.\n\n" +
			"Features depend on the words of the prompt. Those of evalrun's own prompts are used, or for\n" +
			"a task with one of the report's prompts those of Table 13; the two are never mixed.",
		Example: "  evalrun predict glue_cola --data embedded\n" +
			"  evalrun predict drop --data embedded --base mistral-7b --json",
		RunE: func(cmd *cobra.Command, args []string) error {
			return runPredict(cmd.Context(), cmd.OutOrStdout(), args, f)
		},
		ValidArgsFunction: completeTasks,
	}
	fl := cmd.Flags()
	f.register(fl)
	fl.StringVar(&f.base, "base", "", "the base model of the report whose scores are predicted, such as mistral-7b (default: the mean of its ten)")
	fl.StringVar(&f.features, "features", "auto", "learn from features of our prompts (own) or of the report's (published); auto looks at the task's prompt")
	fl.StringArrayVar(&f.with, "with", nil, "learn from this run too, which has columns with and without an adapter; repeatable")
	fl.IntVar(&f.trainExamples, "train-examples", 0, "training rows that there will be (default: those of the report, else those that are there)")
	fl.Float64Var(&f.baseScore, "base-score", -1, "score of the base model on this task, where you have measured it: one feature more")
	defaultInWords(fl, "train-examples", "base-score")
	fl.StringVar(&f.out, "out", "runs", "folder that holds the run folders")
	fl.BoolVar(&f.json, "json", false, "one JSON object on standard output")
	_ = cmd.RegisterFlagCompletionFunc("with", completeRuns(&f.out, 9))
	return cmd
}

func runPredict(ctx context.Context, w io.Writer, args []string, f *predictFlags) error {
	if f.trainExamples < 0 {
		return &core.UserError{Where: fmt.Sprintf("--train-examples %d", f.trainExamples), Message: "must be 1 or more", Hint: "leave it out for the number that is known"}
	}
	if f.baseScore > 1 || f.baseScore < 0 && f.baseScore != -1 {
		return &core.UserError{Where: fmt.Sprintf("--base-score %g", f.baseScore), Message: "is a score from 0 to 1", Hint: "evaluate the base model on the task to have it"}
	}
	files, err := f.load(args)
	if err != nil {
		return err
	}
	if f.baseScore >= 0 && len(files) > 1 {
		return &core.UserError{Where: "--base-score", Message: fmt.Sprintf("one score for %d tasks", len(files)), Hint: "name one task"}
	}
	prompts, err := promptHashes()
	if err != nil {
		return err
	}
	answers := []*predict.Answer{}
	for i, m := range f.measureAll(ctx, files) {
		if m.err != nil {
			return m.err
		}
		a, err := f.answer(ctx, files[i], &m, prompts)
		if err != nil {
			return err
		}
		answers = append(answers, a)
	}
	if f.json {
		enc := json.NewEncoder(w)
		enc.SetEscapeHTML(false)
		return enc.Encode(map[string]any{"predictions": answers})
	}
	for i, a := range answers {
		if i > 0 {
			fmt.Fprintln(w)
		}
		printAnswer(w, a)
	}
	return nil
}

// promptHashes are those of the tasks that come with the program.
func promptHashes() (map[string]string, error) {
	out := map[string]string{}
	for _, name := range tasks.Names() {
		file, err := tasks.Load(name, tasks.Options{})
		if err != nil {
			return nil, err
		}
		out[name] = results.SHA256([]byte(file.Task.Prompt))
	}
	return out, nil
}

// answer predicts one task.
func (f *predictFlags) answer(ctx context.Context, file *tasks.File, m *measured, prompts map[string]string) (*predict.Answer, error) {
	t := file.Task
	if m.Heuristics.Rows < 2 {
		return nil, &core.UserError{Where: file.Where("dataset"), Message: fmt.Sprintf("%d row of %s tells nothing of a task", m.Heuristics.Rows, m.Source), Hint: "give more rows with --data or --limit; a few hundred are enough"}
	}
	known := t.Name
	if t.Paper.Task != "" {
		known = t.Paper.Task
	}
	published, _, _ := reference.PromptHash(known)
	set := f.features
	switch {
	case set == "auto" && m.prompt == published:
		set = predict.Published
	case set == "auto":
		set = predict.Own
	case set != predict.Own && set != predict.Published:
		return nil, &core.UserError{Where: "--features " + set, Message: "there are no such features", Hint: "one of: auto, own, published"}
	}
	s, ok := predict.NewSet(set, f.base, prompts)
	if !ok {
		hint := "its models: " + strings.Join(reference.Models()[:10], ", ")
		if near := nearest.Word(f.base, reference.Models()); near != "" {
			hint = "did you mean " + near + "?"
		}
		return nil, &core.UserError{Where: "--base " + f.base, Message: "the report did not fine-tune this model", Hint: hint}
	}
	if set == predict.Published && m.prompt != published {
		s.Notes = append(s.Notes, "the features learnt from are of the report's prompts, and "+t.Name+" has another: the answer compares what differs")
	}
	for _, name := range f.with {
		if set == predict.Published {
			return nil, &core.UserError{Where: "--with " + name, Message: "runs are not asked with the report's prompts, whose features are learnt from", Hint: "leave --with out, or say --features own"}
		}
		if err := f.addRun(s, name); err != nil {
			return nil, err
		}
	}
	trainExamples, err := f.examples(ctx, file, known, m)
	if err != nil {
		return nil, err
	}
	q := predict.Question{Task: known, Features: predict.Features(&m.Heuristics, trainExamples), Base: math.NaN()}
	if f.baseScore >= 0 {
		q.Base = f.baseScore
	}
	a, err := s.Predict(q)
	if err != nil {
		return nil, &core.UserError{Where: file.Where("task"), Message: err.Error(), Hint: "evalrun complexity shows what is measured"}
	}
	a.Task = t.Name
	if m.Part == "evaluation" {
		a.Notes = append(a.Notes, "the features are of evaluation rows: "+m.Source)
	}
	return a, nil
}

func (f *predictFlags) addRun(s *predict.Set, name string) error {
	folder, err := results.Open(f.out, name)
	if err != nil {
		return err
	}
	points, notes, err := predict.FromRun(folder)
	if err != nil {
		return err
	}
	s.Notes = append(s.Notes, notes...)
	if len(points) == 0 {
		return &core.UserError{Where: "--with " + name, Message: "the run has no task with a fine-tuned model's score", Hint: "evaluate with --model BASE --adapter DIR: a column with an adapter is a fine-tuned model"}
	}
	for _, p := range points {
		s.Add(p)
	}
	return nil
}

// examples is the number of training rows: given, the report's, or counted.
func (f *predictFlags) examples(ctx context.Context, file *tasks.File, known string, m *measured) (float64, error) {
	if f.trainExamples > 0 {
		return float64(f.trainExamples), nil
	}
	if n := predict.TrainExamples(known); !math.IsNaN(n) {
		return n, nil
	}
	if m.Part != "train" {
		return math.NaN(), nil
	}
	all := rowFlags{data: f.data, limit: "all", part: dataset.Training}
	set, err := all.rows(ctx, file)
	if err != nil {
		return 0, err
	}
	n, err := set.count(ctx)
	return float64(n), err
}

// quantityWords name the predicted quantities for a reader.
var quantityWords = map[string]string{
	predict.TunedScore: "score after fine-tuning", predict.BaseScore: "score of the base model", predict.BaseLift: "lift over the base model",
	predict.RivalScore: "score of GPT-4", predict.RivalLift: "lift over GPT-4", predict.BestScore: "best of ten base models, tuned", predict.BestLift: "its lift over GPT-4",
}

func printAnswer(w io.Writer, a *predict.Answer) {
	model := "the mean of the report's ten base models"
	if a.Model != "" {
		model = a.Model
	}
	prompts := "evalrun's own prompts"
	if a.Set == predict.Published {
		prompts = "the report's prompts (Table 13)"
	}
	from := fmt.Sprintf("%d tasks of the report", a.N-a.Own)
	if a.Own > 0 {
		from += fmt.Sprintf(" and %d of your runs", a.Own)
	}
	fmt.Fprintf(w, "%s: what LoRA fine-tuning of %s will give.\nLearnt from %s, with features of %s; %s itself is not among them.\n\n", a.Task, model, from, prompts, a.Task)
	if !math.IsNaN(float64(a.BaseScore)) {
		fmt.Fprintf(w, "The base model scores %.3f, as you say.\n\n", a.BaseScore)
	}
	t := plainTable(table.Row{"", "expected", fmt.Sprintf("%.0f %% interval", 100*a.Level), "known", "predictor"}, 2, 4)
	means := 0
	for _, q := range a.Quantities {
		predictor := q.Predictor
		if q.MeanIsBest {
			predictor = "mean of the others: nothing better"
			means++
		}
		number := func(v float64) string { return fmt.Sprintf("%.3f", v) }
		if strings.Contains(q.Name, "lift") {
			number = func(v float64) string { return fmt.Sprintf("%+.3f", v) }
		}
		known := ""
		if v := float64(q.Known); !math.IsNaN(v) {
			known = number(v)
		}
		t.AppendRow(table.Row{quantityWords[q.Name], number(q.Expected), number(q.Interval[0]) + " to " + number(q.Interval[1]), known, predictor})
	}
	fmt.Fprintln(w, t.Render())
	if means == len(a.Quantities) {
		fmt.Fprintln(w, "No predictor beats the plain mean: the features tell nothing here.")
	}

	fmt.Fprint(w, "\nThe nearest tasks, and how much each counts in the score after fine-tuning:\n")
	t = plainTable(table.Row{"task", "distance", "weight", "base", "tuned", "GPT-4", "from"}, 2, 6)
	for _, n := range a.Neighbours {
		t.AppendRow(table.Row{n.Task, fmt.Sprintf("%.2f", n.Distance), fmt.Sprintf("%+.2f", n.Weight), shown(n.Base), shown(n.Tuned), shown(n.Rival), n.Origin})
	}
	fmt.Fprintln(w, t.Render())

	fmt.Fprint(w, "\nErrors (root mean square) on tasks left out; settings, and the choice of all, are made without the task:\n")
	t = plainTable(table.Row{"", "mean", "ridge", "nearest", "GP", "blend", "of all", "less than mean"}, 2, 8)
	for _, q := range a.Quantities {
		row := table.Row{quantityWords[q.Name]}
		for _, family := range []string{"mean", "ridge", "nearest", "gp", "blend"} {
			row = append(row, fmt.Sprintf("%.3f", q.Families[family]))
		}
		gain := fmt.Sprintf("%.0f %%", 100*(1-q.LeaveOneOut/q.Mean))
		if q.MeanIsBest {
			gain = "–"
		}
		t.AppendRow(append(row, fmt.Sprintf("%.3f", q.LeaveOneOut), gain))
	}
	fmt.Fprintln(w, t.Render())
	fmt.Fprintln(w, "GP: Gaussian process; nearest: mean of the nearest 3, 5 or 7. Intervals hold the error of that share of\nthe tasks left out.")
	for _, note := range a.Notes {
		fmt.Fprintf(w, "note: %s\n", note)
	}
}

func shown(v record.Float) string {
	if math.IsNaN(float64(v)) {
		return "–"
	}
	return fmt.Sprintf("%.3f", float64(v))
}

// plainTable begins a table without borders; the columns from right to the last
// are numbers.
func plainTable(header table.Row, first, last int) table.Writer {
	t := table.NewWriter()
	style := table.StyleLight
	style.Options.DrawBorder = false
	style.Options.SeparateColumns = false
	style.Format.Header = text.FormatDefault
	t.SetStyle(style)
	t.AppendHeader(header)
	var configs []table.ColumnConfig
	for i := first; i <= last; i++ {
		configs = append(configs, table.ColumnConfig{Number: i, Align: text.AlignRight, AlignHeader: text.AlignRight})
	}
	t.SetColumnConfigs(configs)
	return t
}
