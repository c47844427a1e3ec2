package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/evalrun/evalrun/core"
	"github.com/evalrun/evalrun/internal/nearest"
	"github.com/evalrun/evalrun/results"
	"github.com/evalrun/evalrun/results/reference"
	"github.com/evalrun/evalrun/tasks"
)

type validateFlags struct {
	evalFlags
	model             string
	priceIn, priceOut float64
	rows              int
	show, noRows      bool
	metrics           metricMaker
}

func newValidate() *cobra.Command {
	f := &validateFlags{}
	cmd := &cobra.Command{
		Use:   "validate [FILES or task names…]",
		Short: "find every mistake in task files and estimate the cost, before anything is spent",
		Long: "Validate loads the tasks (all embedded ones when none is named), compiles templates,\n" +
			"patterns and expressions, checks columns and labels against the rows, and estimates\n" +
			"prompts, tokens and cost. No model is asked. Tokens are those of cl100k_base; answers are\n" +
			"taken to be as long as the targets.",
		Example: "  evalrun validate\n" +
			"  evalrun validate wikisql --for gpt-4-0613 --rows 15878 --show",
		RunE: func(cmd *cobra.Command, args []string) error {
			f.onceIfSaid(cmd.Flags())
			return runValidate(cmd.Context(), cmd.OutOrStdout(), cmd.ErrOrStderr(), args, f)
		},
		ValidArgsFunction: completeTasks,
	}
	fl := cmd.Flags()
	f.registerRows(fl)
	fl.Lookup("data").Usage = "rows to check against: embedded, hub, or a folder DIR/<task>/<split>.jsonl (default: the task's own file, else embedded, else hub)"
	fl.IntVar(&f.repeat, "repeat", 1, "answers a row (default: the task's repeats, else 1)")
	fl.IntVar(&f.fewshot, "fewshot", -1, "worked examples before each prompt (default: the task's)")
	fl.StringVar(&f.model, "for", "", "estimate the cost for this model, such as gpt-4-0613")
	fl.Float64Var(&f.priceIn, "price-in", math.NaN(), "USD per million tokens of input, instead of the known price")
	fl.Float64Var(&f.priceOut, "price-out", math.NaN(), "USD per million tokens of output")
	fl.IntVar(&f.rows, "rows", 0, "estimate for this many rows a task (default: those of the data, or the limit)")
	defaultInWords(fl, "repeat", "fewshot", "price-in", "price-out", "rows")
	fl.BoolVar(&f.show, "show", false, "print the first prompt of each task as it would be sent")
	fl.BoolVar(&f.noRows, "no-rows", false, "check the files alone; no data is read")
	fl.BoolVar(&f.json, "json", false, "one JSON object with estimates and problems")
	return cmd
}

// A validated task is what is known of it before it is run.
type validated struct {
	Task string `json:"task"`
	Path string `json:"path"`
	OK   bool   `json:"ok"`
	Data string `json:"data,omitempty"`
	// Rows that would be asked, and where the number comes from: counted,
	// given (--rows), or limit (at most this many).
	Rows    int    `json:"rows"`
	RowsAre string `json:"rows_are,omitempty"`
	Prompts int    `json:"prompts"`
	// Tokens of one request, the mean of the rows that were read.
	TokensIn  float64 `json:"tokens_in"`
	TokensOut float64 `json:"tokens_out"`
	MaxTokens int     `json:"max_tokens"`
	// USD for all prompts: with answers as long as the targets, and with every
	// answer as long as it may be.
	CostUSD   float64 `json:"cost_usd"`
	AtMostUSD float64 `json:"cost_at_most_usd"`
	// First is row 0: its prompt or messages, and its target.
	First *firstPrompt `json:"first,omitempty"`
}

type firstPrompt struct {
	Row      string         `json:"row"`
	Prompt   string         `json:"prompt,omitempty"`
	Messages []core.Message `json:"messages,omitempty"`
	Targets  []string       `json:"targets"`
}

// problemJSON is a problem in --json.
type problemJSON struct {
	Where   string `json:"where"`
	Message string `json:"message"`
	Hint    string `json:"hint,omitempty"`
}

// validation is what --json prints.
type validation struct {
	For       string        `json:"for,omitempty"`
	Tasks     []validated   `json:"tasks"`
	Prompts   int           `json:"prompts"`
	TokensIn  float64       `json:"tokens_in"`
	TokensOut float64       `json:"tokens_out"`
	CostUSD   float64       `json:"cost_usd"`
	AtMostUSD float64       `json:"cost_at_most_usd"`
	Problems  []problemJSON `json:"problems"`
	Warnings  []problemJSON `json:"warnings"`

	problems, warnings tasks.Problems
}

func (v *validation) complain(problems tasks.Problems) {
	for _, p := range problems {
		if !slices.Contains(v.problems, p) {
			v.problems = append(v.problems, p)
		}
	}
}

// noPlace stands for the place of an error that names none.
const noPlace = "evalrun"

// problemsOf gives any error the form of complaints.
func problemsOf(err error) tasks.Problems {
	var ps tasks.Problems
	if errors.As(err, &ps) {
		return ps
	}
	if err == nil {
		return nil
	}
	p := tasks.Problem{File: noPlace, Message: oneLine(err.Error()), Hint: hintOf(err)}
	var user *core.UserError
	if errors.As(err, &user) && user.Where != "" {
		p.File = user.Where
		p.Message = oneLine(strings.TrimPrefix(err.Error(), user.Where+": "))
	}
	return tasks.Problems{p}
}

func runValidate(ctx context.Context, out, stderr io.Writer, args []string, f *validateFlags) error {
	price, err := pricesFor(f.model, f.priceIn, f.priceOut)
	if err != nil {
		return err
	}
	if f.repeat < 1 || f.rows < 0 {
		return &core.UserError{Message: "--repeat must be 1 or more and --rows not negative", Hint: "leave them out for one answer to each row"}
	}
	if err := f.checkProfile(); err != nil {
		return err
	}
	defer f.metrics.Close()
	if len(args) == 0 {
		args = tasks.Names()
	}
	v := &validation{For: f.model, Tasks: []validated{}}
	byName := map[string]string{}
	for _, a := range args {
		file := f.load(a, byName, v)
		if file == nil {
			continue
		}
		t, problems := f.task(ctx, file, price)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		problems.Sort()
		v.complain(problems)
		t.OK = len(problems) == 0
		v.add(t)
	}
	if f.json {
		return v.printJSON(out)
	}
	if err := v.print(out, stderr, f, price); err != nil {
		return err
	}
	if len(v.problems) > 0 {
		return v.problems
	}
	return nil
}

// load loads one task; nil when it cannot be, or has been already.
func (f *validateFlags) load(arg string, byName map[string]string, v *validation) *tasks.File {
	file, err := tasks.Load(arg, tasks.Options{Metrics: metricNames(), Set: f.set})
	if err != nil {
		v.complain(problemsOf(err))
		v.Tasks = append(v.Tasks, validated{Task: arg, Path: arg})
		return nil
	}
	name := file.Task.Name
	if before, ok := byName[name]; ok {
		if before != arg {
			v.complain(tasks.Problems{file.Problem("task", -1, fmt.Sprintf("the task name %s is also that of %s", name, before), "give one of them another name")})
			v.Tasks = append(v.Tasks, validated{Task: name, Path: arg})
		}
		return nil
	}
	byName[name] = arg
	if f.fewshot >= 0 || f.profile == string(core.Bakeoff) {
		file.Task.Fewshot.Count = max(f.fewshot, 0)
	}
	v.warnings = append(v.warnings, file.Warnings...)
	return file
}

// task checks one task against its rows and estimates it.
func (f *validateFlags) task(ctx context.Context, file *tasks.File, price *pricing) (validated, tasks.Problems) {
	t := file.Task
	out := validated{Task: t.Name, Path: t.Path, MaxTokens: t.Generation.MaxTokens}
	problems := append(checkMetrics(ctx, &f.metrics, file), checkPaper(file)...)
	if f.noRows {
		return out, problems
	}
	if err := f.rowsOf(ctx, file, price, &out); err != nil {
		problems = append(problems, fromRows(file, err)...)
	}
	return out, problems
}

// rowsOf reads the task's rows as a run would. The embedded ones stand in for
// those of the hub, which may have to be fetched first.
func (f *validateFlags) rowsOf(ctx context.Context, file *tasks.File, price *pricing, out *validated) error {
	e := &evaluation{flags: &f.evalFlags, models: []modelSpec{{Demo: true}}}
	defer e.metrics.Close()
	job, set, err := e.job(ctx, file, modelSpec{}, price.info)
	if err != nil {
		return err
	}
	out.Data, out.MaxTokens = set.Source, job.Generation().MaxTokens
	count := estimator{f: f, set: set, price: price}
	if err := count.read(ctx, job, out); err != nil {
		return err
	}
	if p := count.unlabelled(ctx, file); p != nil {
		return tasks.Problems{*p}
	}
	return nil
}

// fromRows gives a complaint about rows, which may speak of a data file or of
// the hub, its place in the task file.
func fromRows(file *tasks.File, err error) tasks.Problems {
	problems := slices.Clone(problemsOf(err))
	where := file.Where("dataset")
	for i, p := range problems {
		if p.Line == 0 && !strings.HasPrefix(p.File, "--") && !strings.HasPrefix(p.File, file.Task.Path) {
			problems[i] = tasks.Problem{File: where, Message: p.File + ": " + p.Message, Hint: p.Hint}
			if p.File == noPlace {
				problems[i].Message = p.Message
			}
		}
	}
	return problems
}

// checkMetrics makes each metric in both profiles, which looks at its
// parameters. One that cannot be made is taken out, so that the rest of the task
// can be looked at, too.
func checkMetrics(ctx context.Context, maker *metricMaker, file *tasks.File) (problems tasks.Problems) {
	all := file.Task.Metrics
	file.Task.Metrics = nil
	for i, m := range all {
		good := true
		for _, p := range []core.Profile{core.Strict, core.Bakeoff} {
			if _, err := maker.metric(ctx, m, p); err != nil {
				problems = append(problems, file.Problem(fmt.Sprintf("metrics.%d", i), -1, oneLine(err.Error()), cmp.Or(hintOf(err), "docs/metrics.md tells each metric's parameters")))
				good = false
				break
			}
		}
		if good {
			file.Task.Metrics = append(file.Task.Metrics, m)
		}
	}
	return problems
}

// checkPaper holds the paper's facts against the published tables.
func checkPaper(file *tasks.File) (problems tasks.Problems) {
	p := file.Task.Paper
	if p.Task == "" {
		return nil
	}
	if _, ok := reference.Lookup(p.Task); !ok {
		var names []string
		for _, t := range reference.Tasks() {
			names = append(names, t.Task)
		}
		hint := "leave paper: out for a task that the report does not have"
		if near := nearest.Word(p.Task, names); near != "" {
			hint = fmt.Sprintf("did you mean %q?", near)
		}
		return tasks.Problems{file.Problem("paper.task", -1, fmt.Sprintf("the report has no task %q", p.Task), hint)}
	}
	if p.Prompt == "published" {
		want, n, ok := reference.PromptHash(p.Task)
		if ok && results.SHA256([]byte(file.Task.Prompt)) != want {
			problems = append(problems, file.Problem("paper.prompt", -1,
				fmt.Sprintf("the prompt is not the published one: it has %d characters and another hash; the published one has %d", utf8.RuneCountInString(file.Task.Prompt), n),
				"write prompt: own; evalrun import lora-bakeoff DIR takes over the published wording"))
		}
	}
	return problems
}

func (v *validation) add(t validated) {
	v.Tasks = append(v.Tasks, t)
	v.Prompts += t.Prompts
	v.TokensIn += float64(t.Prompts) * t.TokensIn
	v.TokensOut += float64(t.Prompts) * t.TokensOut
	v.CostUSD += t.CostUSD
	v.AtMostUSD += t.AtMostUSD
}

func (v *validation) printJSON(w io.Writer) error {
	v.Problems, v.Warnings = problemsJSON(v.problems), problemsJSON(v.warnings)
	return printChecked(w, v, v.problems)
}

func problemsJSON(ps tasks.Problems) []problemJSON {
	out := make([]problemJSON, len(ps))
	for i, p := range ps {
		out[i] = problemJSON{Where: p.Where(), Message: p.Message, Hint: p.Hint}
	}
	return out
}

// printChecked prints v as JSON. Problems, which v tells, are the exit code's
// matter only.
func printChecked(w io.Writer, v any, problems tasks.Problems) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return err
	}
	if len(problems) > 0 {
		return &exitError{code: ExitUsage}
	}
	return nil
}

func (v *validation) print(w, stderr io.Writer, f *validateFlags, price *pricing) error {
	if f.show {
		for _, t := range v.Tasks {
			t.show(w)
		}
	}
	header := []string{"task", "data", "rows", "tokens in", "out"}
	if price.Prices.Known {
		header = append(header, "cost")
	}
	var rows [][]string
	good, limited := 0, false
	for _, t := range v.Tasks {
		if !t.OK {
			continue
		}
		good++
		row := []string{t.Task, t.Data, fmt.Sprint(t.Rows), fmt.Sprintf("%.0f", t.TokensIn), fmt.Sprintf("%.0f", t.TokensOut)}
		if t.RowsAre == "limit" {
			row[2], limited = "≤ "+row[2], true
		}
		if price.Prices.Known {
			row = append(row, dollars(t.CostUSD))
		}
		rows = append(rows, row)
	}
	if !f.noRows && len(rows) > 0 {
		if err := printList(w, header, rows, false); err != nil {
			return err
		}
		fmt.Fprintf(w, "\nabout %d prompts, %s tokens in, %s out", v.Prompts, short(v.TokensIn), short(v.TokensOut))
		if price.Prices.Known {
			fmt.Fprintf(w, "; %s: about %s, at most %s", cmp.Or(price.Model, "these prices"), dollars(v.CostUSD), dollars(v.AtMostUSD))
		}
		fmt.Fprintln(w)
		if limited {
			fmt.Fprintln(w, "tokens are those of the embedded rows, the number of rows is the limit; --data hub or DIR reads the real ones, --rows N counts with N")
		}
	}
	for _, p := range v.warnings {
		fmt.Fprintf(stderr, "%s: warning: %s\n", p.Where(), p.Message)
		if p.Hint != "" {
			fmt.Fprintf(stderr, "  %s\n", p.Hint)
		}
	}
	if len(v.problems) == 0 {
		fmt.Fprintf(w, "%d of %d tasks are fine\n", good, len(v.Tasks))
	}
	return nil
}

// show prints the first prompt as it would be sent.
func (t *validated) show(w io.Writer) {
	if t.First == nil {
		return
	}
	fmt.Fprintf(w, "--- %s, row %s of %s\n", t.Task, t.First.Row, t.Data)
	if t.First.Messages == nil {
		fmt.Fprintln(w, t.First.Prompt)
	}
	for _, m := range t.First.Messages {
		fmt.Fprintf(w, "[%s]\n%s\n", m.Role, m.Content)
	}
	fmt.Fprintf(w, "--- target: %s\n\n", strings.Join(t.First.Targets, " | "))
}

func dollars(usd float64) string {
	if usd > 0 && usd < 0.0001 {
		return "< $0.0001"
	}
	if usd > 0 && usd < 0.01 {
		return fmt.Sprintf("$%.4f", usd)
	}
	return fmt.Sprintf("$%.2f", usd)
}
