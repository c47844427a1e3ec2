package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/evalrun/evalrun/core"
	"github.com/evalrun/evalrun/internal/nearest"
	"github.com/evalrun/evalrun/results/decide"
	"github.com/evalrun/evalrun/results/report"
)

// decideFlags are what decide takes.
type decideFlags struct {
	reportFlags
	assume     []string
	set        []string
	finetuned  string
	api        string
	prediction string
	task       string
	options    decide.Options
}

// The bounds of --draws: fewer say nothing, more take memory for nothing.
const fewestDraws, mostDraws = 100, 1_000_000

func newDecide() *cobra.Command {
	f := &decideFlags{}
	cmd := &cobra.Command{
		Use:   "decide [RUN…]",
		Short: "say whether fine-tuning pays: quality, cost, traffic, and how sure that is",
		Long: "Decide weighs a fine-tuned model against an API: the difference in score, paired on the\n" +
			"same rows; what training, serving and the API cost; from how many calls a day fine-tuning\n" +
			"pays. Scores come from runs (the model with an adapter, or the first one, against the one\n" +
			"that is a GPT-4, else the second; with one model against the published GPT-4), from\n" +
			"--prediction FILE (what evalrun predict --json printed), or from --task, one of the report.\n" +
			"Prices, speeds and traffic are assumptions with ranges; all are printed and can be set.",
		Example: "  evalrun decide --task glue_sst2 --set traffic.calls_per_day=20000\n" +
			"  evalrun predict glue_cola --data embedded --json | evalrun decide --prediction -\n" +
			"  evalrun boolq --backend echo --data embedded --against echo --quiet; evalrun decide runs/latest\n" +
			"  evalrun new decide && evalrun decide --task boolq --assume decide.yaml --json",
		RunE: func(cmd *cobra.Command, args []string) error {
			return f.decide(cmd.Context(), cmd.OutOrStdout(), args)
		},
		ValidArgsFunction: completeRuns(&f.out, 1000),
	}
	fl := cmd.Flags()
	fl.StringArrayVar(&f.assume, "assume", nil, "file of assumptions; a later one counts; repeatable")
	fl.StringArrayVar(&f.set, "set", nil, "key=value or key=low,likely,high: one assumption; repeatable")
	fl.StringVar(&f.finetuned, "finetuned", "", "label of the fine-tuned model, where the runs hold several")
	fl.StringVar(&f.api, "api", "", "label of the model that it would take the place of")
	fl.StringVar(&f.prediction, "prediction", "", "file with a prediction instead of runs; - is standard input")
	fl.StringVar(&f.task, "task", "", "without runs: a task of the LoRA Land report, as published; with --prediction: which one")
	fl.IntVar(&f.options.Draws, "draws", 20000, "draws from the ranges")
	fl.Uint64Var(&f.options.Seed, "seed", 0, "seed of the draws")
	fl.StringVar(&f.out, "out", "runs", "folder that holds the run folders")
	fl.BoolVar(&f.json, "json", false, "one JSON object on standard output")
	return cmd
}

func (f *decideFlags) decide(ctx context.Context, w io.Writer, args []string) error {
	if f.options.Draws < fewestDraws || f.options.Draws > mostDraws {
		return &core.UserError{Where: fmt.Sprintf("--draws %d", f.options.Draws), Message: fmt.Sprintf("must be from %d to %d", fewestDraws, mostDraws), Hint: "20000 know a probability to half a percent"}
	}
	a := decide.Default()
	q, err := f.quality(ctx, a, args)
	if err != nil {
		return err
	}
	for _, path := range f.assume {
		b, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			return &core.UserError{Where: "--assume " + path, Message: "no such file", Hint: "evalrun new decide writes one to start from"}
		}
		if err != nil {
			return &core.UserError{Where: "--assume " + path, Message: "reading the file", Err: err, Hint: "name a file that can be read"}
		}
		if err := a.Read(path, b); err != nil {
			return err
		}
	}
	for _, pair := range f.set {
		if err := a.SetText(pair); err != nil {
			return err
		}
	}
	d := decide.Decide(a, q, f.options)
	if f.json {
		enc := json.NewEncoder(w)
		enc.SetEscapeHTML(false)
		enc.SetIndent("", " ")
		return enc.Encode(d)
	}
	return d.Print(w)
}

// quality finds the scores, and notes in a what the runs tell of traffic and
// prices.
func (f *decideFlags) quality(ctx context.Context, a decide.Assumptions, args []string) (decide.Quality, error) {
	switch {
	case f.prediction != "" && len(args) > 0:
		return decide.Quality{}, &core.UserError{Where: "--prediction and " + args[0], Message: "scores come from runs or from a prediction, not both", Hint: "leave one out"}
	case f.prediction != "":
		var b []byte
		var err error
		if f.prediction == "-" {
			b, err = io.ReadAll(os.Stdin)
		} else {
			b, err = os.ReadFile(f.prediction)
		}
		if err != nil {
			return decide.Quality{}, &core.UserError{Where: "--prediction " + f.prediction, Message: "reading the prediction", Err: err, Hint: "give a file that evalrun predict --json wrote"}
		}
		return decide.FromPrediction(b, "--prediction "+f.prediction, f.task)
	case f.task != "" && len(args) == 0:
		return decide.FromReport(f.task)
	case f.task != "":
		return decide.Quality{}, &core.UserError{Where: "--task " + f.task, Message: "is for published scores or a prediction; runs have their own tasks", Hint: "leave it out"}
	}
	runs, err := f.open(ctx, args)
	if err != nil {
		return decide.Quality{}, err
	}
	columns := report.New(ctx, runs, report.Options{}).Columns(report.Options{})
	tuned, api, err := f.roles(columns)
	if err != nil {
		return decide.Quality{}, err
	}
	takeMeasured(a, tuned, api)
	adapters := 0
	for _, c := range columns {
		if c.Tuned {
			adapters++
		}
	}
	remarks := func(q decide.Quality) decide.Quality {
		if adapters > 1 && f.finetuned == "" {
			q.Source += fmt.Sprintf("; it is the best of %d fine-tuned models on these very rows, so that a little less is to be expected of it", adapters)
		}
		if slices.ContainsFunc(runs, func(r report.Run) bool { return r.Scores.Demonstration || r.Folder.Manifest.Demonstration }) {
			q.Source += "; this is a demonstration: the embedded model or rows were used, and the scores say nothing of a real model"
		}
		return q
	}
	if api != nil {
		q, err := decide.FromRuns(ctx, tuned.Label, api.Label, tuned.Sides, api.Sides)
		return remarks(q), err
	}
	q, ok := decide.FromPublishedGPT4(tuned.Label, tuned.Lines)
	if !ok {
		return q, &core.UserError{Where: tuned.Label, Message: "nothing to weigh it against: the runs hold no other model, and no GPT-4 score is published for their tasks", Hint: "name a second run, or evaluate with --against openai:gpt-4-0613"}
	}
	return remarks(q), nil
}

// roles picks the fine-tuned model and the one that it would take the place of;
// that is nil where the published GPT-4 has to stand in.
func (f *decideFlags) roles(columns []report.Column) (tuned, api *report.Column, err error) {
	var labels []string
	for _, c := range columns {
		labels = append(labels, c.Label)
	}
	pick := func(flag, label string) (*report.Column, error) {
		if i := slices.Index(labels, label); i >= 0 {
			return &columns[i], nil
		}
		hint := "the models are " + strings.Join(labels, ", ")
		if near := nearest.Word(label, labels); near != "" {
			hint = "did you mean " + near + "?"
		}
		return nil, &core.UserError{Where: flag + " " + label, Message: "no such model in these runs", Hint: hint}
	}
	if f.finetuned != "" {
		if tuned, err = pick("--finetuned", f.finetuned); err != nil {
			return nil, nil, err
		}
	}
	if f.api != "" {
		if api, err = pick("--api", f.api); err != nil {
			return nil, nil, err
		}
	}
	for i := range columns { // the best with an adapter
		if c := &columns[i]; f.finetuned == "" && c.Tuned && c != api && (tuned == nil || c.Mean > tuned.Mean) {
			tuned = c
		}
	}
	for i := range columns {
		if c := &columns[i]; tuned == nil && c != api && !c.Rival {
			tuned = c
		}
	}
	for i := range columns {
		if c := &columns[i]; api == nil && c.Rival && c != tuned {
			api = c
		}
	}
	if tuned == nil {
		return nil, nil, &core.UserError{Where: strings.Join(labels, ", "), Message: "no model that could be the fine-tuned one", Hint: "--finetuned LABEL names it"}
	}
	var others []*report.Column // no GPT-4: the one that is neither tuned nor its base
	for i := range columns {
		if c := &columns[i]; c != tuned && !c.Tuned && c.Label != tuned.Base {
			others = append(others, c)
		}
	}
	if api == nil && len(others) == 1 {
		api = others[0]
	}
	if api == tuned {
		return nil, nil, &core.UserError{Where: tuned.Label, Message: "cannot take the place of itself", Hint: "name two models by --finetuned and --api"}
	}
	return tuned, api, nil
}

// takeMeasured sets what the runs tell: the length of a call, and the API's prices.
func takeMeasured(a decide.Assumptions, tuned, api *report.Column) {
	from := func(c *report.Column) string { return "measured, " + c.Label }
	for _, c := range []*report.Column{tuned, api} { // the API's own counts are what it bills
		if c == nil {
			continue
		}
		in, out, n := 0, 0, 0
		seen := map[string]bool{}
		for _, l := range c.Lines {
			if seen[l.Task] {
				continue // counts are of the task, on each of its lines
			}
			seen[l.Task] = true
			in, out, n = in+l.PromptTokens, out+l.CompletionTokens, n+l.Answered()
		}
		if n > 0 && in > 0 {
			_ = a.Set("traffic.input_tokens", decide.Known(float64(in)/float64(n)), from(c))
			_ = a.Set("traffic.output_tokens", decide.Known(float64(out)/float64(n)), from(c))
		}
	}
	if api != nil && api.Model.PriceKnow {
		_ = a.Set("api.usd_per_million_input", decide.Known(api.Model.PriceIn), from(api))
		_ = a.Set("api.usd_per_million_output", decide.Known(api.Model.PriceOut), from(api))
	}
}

// newDecideFile is evalrun new decide.
func newDecideFile() *cobra.Command {
	return &cobra.Command{
		Use:   "decide [FILE]",
		Short: "write decide.yaml, a commented file of what evalrun decide assumes",
		Long: "New decide writes every assumption of evalrun decide with its default, its unit and where\n" +
			"it comes from, to be changed and given to evalrun decide --assume. Nothing is overwritten.",
		Example: "  evalrun new decide\n  evalrun new decide mine.yaml && evalrun decide --task boolq --assume mine.yaml",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			path := "decide.yaml"
			if len(args) > 0 {
				path = args[0]
			}
			if err := writeNew(path, decide.Default().YAML()); err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s\nnext: evalrun decide runs/latest --assume %s\n", path, path)
			return nil
		},
	}
}
