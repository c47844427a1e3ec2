package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/evalrun/evalrun/backends"
	"github.com/evalrun/evalrun/backends/budget"
	"github.com/evalrun/evalrun/core"
	"github.com/evalrun/evalrun/core/record"
	"github.com/evalrun/evalrun/core/run"
	"github.com/evalrun/evalrun/metrics"
	"github.com/evalrun/evalrun/plugins"
	"github.com/evalrun/evalrun/results"
	"github.com/evalrun/evalrun/results/report"
	"github.com/evalrun/evalrun/tasks"
)

// evalFlags are the flags of an evaluation; other verbs take some of them.
type evalFlags struct {
	backend, model, revision, baseURL, device string
	adapters, options, against                []string
	data, limit                               string
	seed                                      uint64
	repeat, fewshot                           int
	set                                       []string
	concurrency                               int
	maxCost, tag, out, cache                  string
	minScore                                  float64
	maxErrors                                 float64
	json, quiet, fresh                        bool
	rpm, tpm                                  float64
}

func (f *evalFlags) registerModel(fl *pflag.FlagSet) {
	fl.StringVar(&f.backend, "backend", "local", "what answers: local, openai, echo, replay, or evalrun-backend-NAME on PATH")
	fl.StringVar(&f.model, "model", "", "folder, file, hub id or service model name (default for local: the embedded demonstration model)")
	fl.StringVar(&f.revision, "revision", "", "revision of a model on the hub")
	fl.StringArrayVar(&f.adapters, "adapter", nil, "adapter folder, DIR[=name]; repeatable, a column each")
	fl.StringVar(&f.baseURL, "base-url", "", "base URL of an OpenAI-compatible service")
	fl.StringVar(&f.device, "device", "", "device that computes (default: the best one found)")
	fl.StringArrayVar(&f.options, "opt", nil, "a backend's own setting, key=value; repeatable")
}

func (f *evalFlags) registerRows(fl *pflag.FlagSet) {
	fl.StringVar(&f.data, "data", "", "rows: embedded, hub, or a folder DIR/<task>/<split>.jsonl (default: embedded with the demonstration model, else the task's own)")
	fl.StringVar(&f.data, "data-root", "", "the same as --data DIR")
	fl.Lookup("data-root").Hidden = true
	fl.StringVar(&f.limit, "limit", "", "rows: N (the first), A-B, random:N or all (default: the task's limit, else 1000)")
	fl.Uint64Var(&f.seed, "seed", 0, "seed of random row selection, few-shot choice and sampling")
	fl.StringArrayVar(&f.set, "set", nil, "override a key of the task files, key=value; repeatable")
}

func (f *evalFlags) register(fl *pflag.FlagSet) {
	f.registerModel(fl)
	f.registerRows(fl)
	fl.StringArrayVar(&f.against, "against", nil, "evaluate the same rows with BACKEND:MODEL, local:DIR+ADAPTER or a stored run too; repeatable")
	fl.IntVar(&f.repeat, "repeat", 1, "answers a row")
	fl.IntVar(&f.fewshot, "fewshot", -1, "worked examples before each prompt (default: the task's)")
	fl.IntVar(&f.concurrency, "concurrency", 0, "requests in flight (default: what keeps the backend busy)")
	fl.StringVar(&f.maxCost, "max-cost", "", "spending cap such as 5usd: stops cleanly with exit code 3")
	fl.Float64Var(&f.rpm, "rpm", 0, "most requests a minute")
	fl.Float64Var(&f.tpm, "tpm", 0, "most tokens a minute")
	fl.StringVar(&f.cache, "cache", "auto", "response cache: auto (services that cost), on, off")
	fl.Float64Var(&f.minScore, "min-score", 0, "exit code 4 when a task's first metric is below this")
	fl.Float64Var(&f.maxErrors, "max-errors", 0.01, "share of API errors above which the exit code is 2")
	fl.StringVar(&f.tag, "tag", "", "a word to find the run by")
	fl.StringVar(&f.out, "out", "runs", "folder that holds the run folders")
	fl.BoolVar(&f.fresh, "new", false, "start a new run even if the same command was left unfinished")
	fl.BoolVar(&f.json, "json", false, "one JSON object on standard output at the end")
	fl.BoolVar(&f.quiet, "quiet", false, "no progress and no table")
}

func newEval() *cobra.Command {
	f := &evalFlags{}
	cmd := &cobra.Command{
		Use:   "eval [FILES or task names…]",
		Short: "evaluate models on tasks (the same as evalrun without a verb)",
		Example: "  evalrun eval glue_sst2 gsm8k --limit 8\n" +
			"  evalrun eval boolq --backend echo --data embedded",
		RunE: func(cmd *cobra.Command, args []string) error { return runEval(cmd, args, f) },
	}
	f.register(cmd.Flags())
	return cmd
}

// An evaluation is everything settled before the first request.
type evaluation struct {
	flags  *evalFlags
	files  []*tasks.File
	models []modelSpec
	cap    float64
	spent  float64 // of the cap, by earlier columns and earlier parts of the run
	out    io.Writer
	err    *os.File
}

func (f *evalFlags) load(args []string) ([]*tasks.File, error) {
	if len(args) == 0 {
		return nil, &core.UserError{Message: "no task is named", Hint: "name task files or embedded tasks: evalrun glue_sst2 gsm8k; evalrun ls tasks lists them"}
	}
	o := tasks.Options{Metrics: metrics.Names(), Set: f.set}
	var problems tasks.Problems
	var files []*tasks.File
	byName := map[string]string{}
	for _, a := range args {
		file, err := tasks.Load(a, o)
		var ps tasks.Problems
		if errors.As(err, &ps) {
			problems = append(problems, ps...)
			continue
		}
		if err != nil {
			return nil, err
		}
		if before, ok := byName[file.Task.Name]; ok {
			if before == a {
				continue
			}
			return nil, &core.UserError{Where: file.Where("task"), Message: fmt.Sprintf("the task name %s is also that of %s", file.Task.Name, before), Hint: "give one of them another name"}
		}
		byName[file.Task.Name] = a
		if f.fewshot >= 0 {
			file.Task.Fewshot.Count = f.fewshot
		}
		if f.seed != 0 && file.Task.Generation.Seed == 0 {
			file.Task.Generation.Seed = f.seed
		}
		files = append(files, file)
	}
	if len(problems) > 0 {
		return nil, problems
	}
	return files, nil
}

func runEval(cmd *cobra.Command, args []string, f *evalFlags) error {
	e := &evaluation{flags: f, out: cmd.OutOrStdout(), err: os.Stderr}
	var err error
	if f.maxCost != "" {
		if e.cap, err = budget.ParseUSD(f.maxCost); err != nil {
			return err
		}
	}
	if f.repeat < 1 {
		return &core.UserError{Where: fmt.Sprintf("--repeat %d", f.repeat), Message: "must be 1 or more", Hint: "leave it out for one answer a row"}
	}
	if !contains([]string{"auto", "on", "off"}, f.cache) {
		return &core.UserError{Where: "--cache " + f.cache, Message: "unknown setting", Hint: "one of: auto, on, off"}
	}
	if e.files, err = f.load(args); err != nil {
		return err
	}
	host := newHost(f.quiet)
	defer host.Close()
	known := backendNames(host)
	if err := knownBackend(f.backend, known); err != nil {
		return err
	}
	if e.models, err = f.mainModels(); err != nil {
		return err
	}
	for _, a := range f.against {
		m, err := f.againstSpec(a, known)
		if err != nil {
			return err
		}
		e.models = append(e.models, m)
	}
	unique(e.models)
	for i := range e.models {
		if err := localModel(cmd.Context(), &e.models[i]); err != nil {
			return err
		}
	}
	if err := e.preflight(cmd.Context()); err != nil {
		return err
	}
	return e.run(cmd.Context(), host)
}

// preflight reads the first row of every task, so that a column or a label that
// is not there is told before anything is spent or made.
func (e *evaluation) preflight(ctx context.Context) error {
	var problems tasks.Problems
	for _, file := range e.files {
		set, err := e.rowFlags().rows(ctx, file)
		if err != nil {
			return err
		}
		for _, err = range set.Rows(ctx) {
			break
		}
		var ps tasks.Problems
		if errors.As(err, &ps) {
			problems = append(problems, ps...)
		} else if err != nil {
			return err
		}
	}
	if len(problems) > 0 {
		return problems
	}
	return nil
}

// interrupts turns the first interrupt into drain and the second into stop.
func interrupts(ctx context.Context, note io.Writer) (context.Context, <-chan struct{}, func()) {
	ctx, cancel := context.WithCancel(ctx)
	drain := make(chan struct{})
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	done := make(chan struct{})
	go func() {
		for n := 0; ; n++ {
			select {
			case <-signals:
				if n == 0 {
					fmt.Fprintln(note, "\nfinishing what is in flight and saving; interrupt again to stop now")
					close(drain)
					continue
				}
				cancel()
				return
			case <-done:
				return
			}
		}
	}()
	return ctx, drain, func() {
		signal.Stop(signals)
		close(done)
		cancel()
	}
}

func (e *evaluation) manifest() results.Manifest {
	f := e.flags
	m := results.Manifest{Created: time.Now().UTC(), Tag: f.tag, Machine: results.ThisMachine(), Versions: versions()}
	c := results.Config{Data: f.data, Limit: f.limit, Seed: f.seed, Repeat: f.repeat, Fewshot: f.fewshot, Set: f.set,
		Profiles: []string{string(core.Strict), string(core.Bakeoff)}}
	for _, file := range e.files {
		c.Tasks = append(c.Tasks, results.TaskConfig{Name: file.Task.Name, Path: file.Task.Path, SpecSHA256: results.SHA256(file.Task.Source)})
	}
	for _, spec := range e.models {
		c.Models = append(c.Models, spec.config())
		m.Demonstration = m.Demonstration || spec.Demo
	}
	m.Config, m.ConfigHash = c, c.Hash()
	return m
}

// Version of the program, as tables and manifests carry it.
func versions() results.Version {
	v := results.Version{Evalrun: "dev"}
	if info, ok := debug.ReadBuildInfo(); ok {
		v.Go = info.GoVersion
		if info.Main.Version != "" && info.Main.Version != "(devel)" {
			v.Evalrun = info.Main.Version
		}
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" && len(s.Value) >= 12 {
				v.Evalrun = "dev-" + s.Value[:12]
			}
		}
	}
	return v
}

// run finds or makes the run folder and fills it.
func (e *evaluation) run(ctx context.Context, host *plugins.Host) error {
	m := e.manifest()
	var folder *results.Folder
	var err error
	if !e.flags.fresh {
		if folder, err = results.Unfinished(e.flags.out, m.ConfigHash); err != nil {
			return err
		}
	}
	resumed := folder != nil
	if folder == nil {
		if folder, err = results.Create(e.flags.out, m); err != nil {
			return err
		}
	}
	return e.fill(ctx, host, folder, resumed)
}

// fill asks what the run still lacks, model after model, and writes its table.
func (e *evaluation) fill(ctx context.Context, host *plugins.Host, folder *results.Folder, resumed bool) error {
	start := time.Now()
	ctx, drain, stop := interrupts(ctx, e.err)
	defer stop()
	writer, err := folder.Writer()
	if err != nil {
		return err
	}
	closed := false
	defer func() {
		if !closed {
			writer.Close()
		}
	}()
	if resumed && !e.flags.quiet {
		fmt.Fprintf(e.err, "going on with %s\n", folder.Path)
	}
	if resumed && e.cap > 0 {
		if err := folder.Stored(func(rec *record.Record) bool { e.spent += rec.CostUSD; return true }); err != nil {
			return err
		}
	}
	scores := results.Scores{Run: folder.Path, Demonstration: folder.Manifest.Demonstration, Outcome: "finished"}
	var notes []string
	var last *run.Report
	failures, asked := 0, 0
	for _, spec := range e.models {
		answered, info, err := e.model(ctx, host, folder, writer, spec, drain)
		if answered != nil {
			last = answered
			for i, t := range answered.Tallies {
				sum := t.Sum(metrics.Baseline)
				sum.Unfinished = answered.Outcome != run.Finished || err != nil
				scores.Add(sum, e.files[i].Task)
				failures += sum.Counts.APIErrors
				asked += sum.Counts.Samples
			}
		}
		if info != nil {
			for _, n := range info.Notes {
				if !contains(notes, n) {
					notes = append(notes, n)
				}
			}
		}
		if err != nil {
			closed = true
			if cerr := writer.Close(); cerr != nil {
				err = errors.Join(err, cerr)
			}
			fmt.Fprintf(e.err, "what was answered is saved in %s; the same command goes on there\n", folder.Path)
			return err
		}
		if answered.Outcome != run.Finished {
			break
		}
	}
	closed = true
	if err := writer.Close(); err != nil {
		return err
	}
	folder.Manifest.Seconds += time.Since(start).Seconds()
	scores.Seconds = folder.Manifest.Seconds
	switch last.Outcome {
	case run.Drained:
		scores.Outcome = "interrupted"
	case run.BudgetReached:
		scores.Outcome = "budget"
	case run.GaveUp:
		scores.Outcome = "gave_up"
	}
	tooMany := asked > 0 && float64(failures) > e.flags.maxErrors*float64(asked)
	if last.Outcome == run.Finished && failures == 0 {
		err = folder.Finish(time.Now())
	} else {
		err = folder.SaveManifest()
	}
	if err != nil {
		return err
	}
	if err := folder.SaveScores(scores); err != nil {
		return err
	}
	if err := report.Write(folder, scores); err != nil {
		return err
	}
	e.print(folder, scores, notes)
	return e.verdict(scores, last, failures, asked, tooMany)
}

func (e *evaluation) print(folder *results.Folder, scores results.Scores, notes []string) {
	if e.flags.json {
		enc := json.NewEncoder(e.out)
		enc.SetEscapeHTML(false)
		_ = enc.Encode(scores)
		return
	}
	if e.flags.quiet {
		return
	}
	fmt.Fprintln(e.out)
	printTable(e.out, scores)
	for _, n := range notes {
		fmt.Fprintln(e.out, n)
	}
	cost := ""
	if scores.CostUSD > 0 {
		cost = fmt.Sprintf(", $%.4f", scores.CostUSD)
	}
	fmt.Fprintf(e.out, "%s  %s%s\n", folder.Path, time.Duration(scores.Seconds*float64(time.Second)).Round(100*time.Millisecond), cost)
}

// verdict turns what happened into the exit code.
func (e *evaluation) verdict(scores results.Scores, last *run.Report, failures, asked int, tooMany bool) error {
	switch {
	case last.Outcome == run.Drained:
		return &exitError{code: ExitInterrupted}
	case last.Outcome == run.BudgetReached:
		return &exitError{code: ExitBudget, err: &core.UserError{
			Message: fmt.Sprintf("the budget of $%g is reached after $%.4f", e.cap, scores.CostUSD),
			Hint:    "the same command with a higher --max-cost goes on where this one stopped"}}
	case last.Outcome == run.GaveUp:
		return &exitError{code: ExitInfra, err: causeError(last.Cause)}
	case tooMany:
		return &exitError{code: ExitInfra, err: &core.UserError{
			Message: fmt.Sprintf("%d of %d requests got no answer (the last: %s)", failures, asked, causeText(last.Cause)),
			Hint:    "the same command asks for the missing ones again; --max-errors sets how many are tolerated"}}
	}
	for _, l := range scores.Tasks {
		if l.Profile != core.Strict || l.Score == nil {
			continue
		}
		least, name := 0.0, ""
		if l.Threshold != nil {
			least, name = *l.Threshold, "its threshold"
		}
		if e.flags.minScore != 0 {
			least, name = e.flags.minScore, "--min-score"
		}
		if name != "" && (l.Better == "higher" && float64(*l.Score) < least || l.Better == "lower" && float64(*l.Score) > least) {
			return &exitError{code: ExitThreshold, err: &core.UserError{
				Message: fmt.Sprintf("%s scores %.3f on %s, below %s of %g", l.Model, float64(*l.Score), l.Task, name, least),
				Hint:    "evalrun view latest --wrong --task " + l.Task + " shows what went wrong"}}
		}
	}
	return nil
}

func causeError(c *core.Error) error {
	if c == nil {
		return errors.New("nothing but failures")
	}
	return c
}

func causeText(c *core.Error) string {
	if c == nil {
		return "unknown"
	}
	return c.Error()
}

// model runs all tasks under one model.
func (e *evaluation) model(ctx context.Context, host *plugins.Host, folder *results.Folder, writer *results.Writer, spec modelSpec, drain <-chan struct{}) (*run.Report, *core.Info, error) {
	backend, err := open(ctx, host, spec, openOptions{rpm: e.flags.rpm, tpm: e.flags.tpm, cache: e.flags.cache, cap: e.cap, spent: e.spent})
	if err != nil {
		return nil, nil, err
	}
	defer func() {
		if backend.budget != nil {
			e.spent = backend.budget.Spent().USD
		}
		backend.Close()
	}()
	info := &backend.info
	var jobs []*run.Job
	for _, file := range e.files {
		job, set, err := e.job(ctx, file, spec, *info)
		if err != nil {
			return nil, info, err
		}
		if folder.Manifest.Rows == nil {
			folder.Manifest.Rows = map[string]results.Rows{}
		}
		folder.Manifest.Rows[file.Task.Name] = results.Rows{Source: set.Source, N: max(job.Total, 0)}
		folder.Manifest.Demonstration = folder.Manifest.Demonstration || set.Embedded
		jobs = append(jobs, job)
	}
	if folder.Manifest.Models == nil {
		folder.Manifest.Models = map[string]results.Model{}
	}
	folder.Manifest.Models[spec.Label] = modelOf(*info)
	if err := folder.SaveManifest(); err != nil {
		return nil, info, err
	}
	inFlight := e.flags.concurrency
	if inFlight <= 0 {
		inFlight = info.InFlight
	}
	runner, err := run.New(run.Options{Model: spec.Label, Backend: backend, Jobs: jobs, Sink: writer, InFlight: inFlight, Drain: drain,
		Stored: func(yield func(*record.Record) bool) error { return folder.Stored(yield) }})
	if err != nil {
		return nil, info, err
	}
	w := newWatcher(e.err, e.flags.quiet, e.cap)
	w.watch(runner.Snapshot)
	defer w.finish()
	done, err := runner.Run(ctx)
	return done, info, err
}

func modelOf(i core.Info) results.Model {
	m := results.Model{Backend: i.Name, Version: i.Version, Model: i.Model, Revision: i.Revision, Hash: i.ModelHash, Device: i.Device,
		Context: i.ContextLength, Notes: i.Notes}
	for _, a := range i.Adapters {
		if m.Adapters == nil {
			m.Adapters = map[string]string{}
		}
		m.Adapters[a.Name] = a.Hash
	}
	if i.Prices != nil {
		m.PriceIn, m.PriceOut, m.PriceKnow = i.Prices.Input, i.Prices.Output, i.Prices.Known
	}
	return m
}

func backendNames(host *plugins.Host) []string {
	var names []string
	for _, e := range backends.Builtin() {
		names = append(names, e.Name)
	}
	for _, p := range host.List() {
		if p.Kind == "backend" && !contains(names, p.Name) {
			names = append(names, p.Name)
		}
	}
	return names
}
