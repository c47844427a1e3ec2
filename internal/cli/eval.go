package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/evalrun/evalrun/backends"
	"github.com/evalrun/evalrun/backends/budget"
	"github.com/evalrun/evalrun/core"
	"github.com/evalrun/evalrun/core/dataset/hub"
	"github.com/evalrun/evalrun/core/run"
	"github.com/evalrun/evalrun/plugins"
	"github.com/evalrun/evalrun/results"
	"github.com/evalrun/evalrun/tasks"
)

// evalFlags are the flags of an evaluation; other verbs take some of them.
type evalFlags struct {
	backend, model, revision, baseURL, device string
	quant                                     string
	adapters, options, against                []string
	judge                                     string
	data, limit                               string
	seed                                      uint64
	repeat, fewshot                           int
	set                                       []string
	concurrency                               int
	maxCost, tag, out, cache, profile         string
	minScore                                  float64
	maxErrors                                 float64
	json, quiet, fresh, unsafeCode            bool
	rpm, tpm                                  float64
}

func (f *evalFlags) registerModel(fl *pflag.FlagSet) {
	fl.StringVar(&f.backend, "backend", "local", "what answers: local, openai, echo, replay, or evalrun-backend-NAME on PATH")
	fl.StringVar(&f.model, "model", "", "folder, file, hub id or service model name (default for local: the embedded demonstration model)")
	fl.StringVar(&f.revision, "revision", "", "revision of a model on the hub")
	fl.StringArrayVar(&f.adapters, "adapter", nil, "adapter folder, DIR[=name], or a folder of them; repeatable, a column each")
	fl.StringVar(&f.baseURL, "base-url", "", "base URL of an OpenAI-compatible service")
	fl.StringVar(&f.device, "device", "", "device that computes (default: the best one found)")
	fl.StringVar(&f.quant, "quant", "", "how local models are held: nf4, int8 or none (default: as their files have them)")
	fl.StringArrayVar(&f.options, "opt", nil, "a backend's own setting, key=value; repeatable")
}

func (f *evalFlags) registerRows(fl *pflag.FlagSet) {
	fl.StringVar(&f.data, "data", "", "rows: embedded, hub, or a folder DIR/<task>/<split>.jsonl (default: embedded with the demonstration model, else the task's own)")
	fl.StringVar(&f.data, "data-root", "", "the same as --data DIR")
	fl.Lookup("data-root").Hidden = true
	fl.StringVar(&f.profile, "profile", string(core.Strict), "what is sent, and whose score is the run's: strict (the task as written) or bakeoff (prompts cut at 1,500 characters, 256 new tokens)")
	fl.StringVar(&f.limit, "limit", "", "rows: N (the first), A-B, random:N or all (default: the task's limit, else 1000)")
	fl.Uint64Var(&f.seed, "seed", 0, "seed of random row selection, few-shot choice and sampling")
	fl.StringArrayVar(&f.set, "set", nil, "override a key of the task files, key=value; repeatable")
}

func (f *evalFlags) register(fl *pflag.FlagSet) {
	f.registerModel(fl)
	f.registerRows(fl)
	fl.StringVar(&f.judge, "judge", "", "model that judges answers for the metric judge: BACKEND:MODEL, local:DIR+ADAPTER or a stored run")
	fl.StringArrayVar(&f.against, "against", nil, "evaluate the same rows with BACKEND:MODEL, local:DIR+ADAPTER or a stored run too; repeatable")
	fl.IntVar(&f.repeat, "repeat", 1, "answers a row (default: the task's repeats, else 1)")
	fl.IntVar(&f.fewshot, "fewshot", -1, "worked examples before each prompt (default: the task's)")
	defaultInWords(fl, "repeat", "fewshot")
	fl.IntVar(&f.concurrency, "concurrency", 0, "requests in flight (default: what keeps the backend busy)")
	fl.StringVar(&f.maxCost, "max-cost", "", "spending cap such as 5usd: stops cleanly with exit code 3")
	fl.Float64Var(&f.rpm, "rpm", 0, "most requests a minute")
	fl.Float64Var(&f.tpm, "tpm", 0, "most tokens a minute")
	fl.StringVar(&f.cache, "cache", "auto", "response cache: auto (services that cost), on, off")
	fl.Float64Var(&f.minScore, "min-score", 0, "exit code 4 when a task's first metric is below this")
	fl.Float64Var(&f.maxErrors, "max-errors", 0.01, "share of API errors above which the exit code is 2")
	unsafeCodeFlag(fl, &f.unsafeCode)
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
		RunE:              func(cmd *cobra.Command, args []string) error { return runEval(cmd, args, f) },
		ValidArgsFunction: completeTasks,
	}
	f.register(cmd.Flags())
	return cmd
}

// An evaluation is everything settled before the first request.
type evaluation struct {
	flags  *evalFlags
	files  []*tasks.File
	models []modelSpec
	judge  *modelSpec // nil where no answer is judged by a model
	cap    float64
	spent  float64 // of the cap, by earlier columns and earlier parts of the run
	out    io.Writer
	err    *os.File
	// sets are the tasks' rows, opened once: all models get the same ones.
	sets map[*tasks.File]*rowSet
	hub  *hub.Client
	// first is the first model's backend, and firstJobs its jobs, where they
	// were made before the run folder.
	first     *opened
	firstJobs []*run.Job
	metrics   metricMaker
}

// onceIfSaid makes --repeat 1 go before the tasks' repeats: the flag's own 1 is
// what nobody said, also in the manifests of runs.
func (f *evalFlags) onceIfSaid(fl *pflag.FlagSet) {
	if f.repeat == 1 && fl.Changed("repeat") {
		f.set = append(f.set, "repeats=1")
	}
}

// checkProfile looks at the run's profile, strict where none is given.
func (f *evalFlags) checkProfile() error {
	switch core.Profile(f.profile) {
	case "":
		f.profile = string(core.Strict)
	case core.Strict:
	case core.Bakeoff:
		if f.fewshot > 0 {
			return &core.UserError{Where: fmt.Sprintf("--fewshot %d", f.fewshot), Message: "the published evaluator gives no worked examples, so --profile bakeoff takes none", Hint: "leave one of the two flags out"}
		}
	default:
		return &core.UserError{Where: "--profile " + f.profile, Message: "unknown profile", Hint: "one of: strict, bakeoff"}
	}
	return nil
}

func (f *evalFlags) load(args []string) ([]*tasks.File, error) {
	if err := f.checkProfile(); err != nil {
		return nil, err
	}
	if len(args) == 0 {
		return nil, &core.UserError{Message: "no task is named", Hint: "name task files or embedded tasks: evalrun glue_sst2 gsm8k; evalrun ls tasks lists them"}
	}
	o := tasks.Options{Metrics: metricNames(), Set: f.set}
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
		if f.fewshot >= 0 || f.profile == string(core.Bakeoff) {
			file.Task.Fewshot.Count = max(f.fewshot, 0)
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
	e := &evaluation{flags: f, out: cmd.OutOrStdout(), err: os.Stderr, metrics: metricMaker{unsafeCode: f.unsafeCode}}
	defer e.metrics.Close()
	var err error
	if f.maxCost != "" {
		if e.cap, err = budget.ParseUSD(f.maxCost); err != nil {
			return whereFlag("--max-cost", err)
		}
	}
	f.onceIfSaid(cmd.Flags())
	if f.repeat < 1 {
		return &core.UserError{Where: fmt.Sprintf("--repeat %d", f.repeat), Message: "must be 1 or more", Hint: "leave it out for one answer a row"}
	}
	if f.maxErrors < 0 || f.maxErrors > 1 {
		return &core.UserError{Where: fmt.Sprintf("--max-errors %g", f.maxErrors), Message: "is a share from 0 to 1", Hint: "0.01 tolerates one error in a hundred requests"}
	}
	if f.concurrency < 0 {
		return &core.UserError{Where: fmt.Sprintf("--concurrency %d", f.concurrency), Message: "must be 1 or more", Hint: "leave it out for what keeps the backend busy"}
	}
	if f.fewshot < -1 {
		return &core.UserError{Where: fmt.Sprintf("--fewshot %d", f.fewshot), Message: "must be 0 or more", Hint: "leave it out for what the task says"}
	}
	if f.rpm < 0 || f.tpm < 0 {
		return &core.UserError{Where: "--rpm, --tpm", Message: "a rate is above 0", Hint: "leave it out for none"}
	}
	if !slices.Contains([]string{"auto", "on", "off"}, f.cache) {
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
	if err := adapterFolders(e.models); err != nil {
		return err
	}
	if f.judge != "" {
		m, err := f.againstSpec(f.judge, known)
		if err != nil {
			return judgeFlag(err)
		}
		e.judge = &m
	}
	asked := slices.Clone(e.models)
	if e.judge != nil {
		asked = append(asked, *e.judge)
	}
	if err := f.heeded(asked...); err != nil {
		return err
	}
	if err := e.checkConfigs(); err != nil {
		return err
	}
	e.hub = hubClient(e.err, f.quiet)
	for i := range e.models {
		if err := localModel(cmd.Context(), e.hub, &e.models[i]); err != nil {
			return err
		}
	}
	if e.judge != nil {
		if err := localModel(cmd.Context(), e.hub, e.judge); err != nil {
			return judgeFlag(err)
		}
	}
	if err := e.preflight(cmd.Context()); err != nil {
		return err
	}
	for i := range e.models {
		if err := serviceModel(cmd.Context(), host, &e.models[i]); err != nil {
			return err
		}
	}
	unique(e.models)
	if e.judge != nil {
		if err := serviceModel(cmd.Context(), host, e.judge); err != nil {
			return fmt.Errorf("judge %s: %w", e.judge.Label, err)
		}
	}
	return e.run(cmd.Context(), host)
}

// checkConfigs is that of the columns and of the judge.
func (e *evaluation) checkConfigs() error {
	if err := checkConfigs(e.models); err != nil || e.judge == nil {
		return err
	}
	if err := checkConfigs([]modelSpec{*e.judge}); err != nil {
		return fmt.Errorf("judge %s: %w", e.judge.Label, err)
	}
	return nil
}

// judgeFlag names --judge where a mistake in its value speaks of --against.
func judgeFlag(err error) error {
	var user *core.UserError
	if errors.As(err, &user) {
		u := *user
		u.Where = strings.Replace(u.Where, "--against", "--judge", 1)
		return &u
	}
	return err
}

// whereFlag says which flag a user's mistake is in.
func whereFlag(flag string, err error) error {
	var user *core.UserError
	if errors.As(err, &user) && user.Where == "" {
		u := *user
		u.Where = flag
		return &u
	}
	return err
}

// preflight reads the first row of every task, so that a column or a label that
// is not there is told before anything is spent or made.
func (e *evaluation) preflight(ctx context.Context) error {
	var problems tasks.Problems
	for _, file := range e.files {
		set, err := e.rows(ctx, file)
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

func backendNames(host *plugins.Host) []string {
	var names []string
	for _, e := range backends.Builtin() {
		names = append(names, e.Name)
	}
	for _, p := range host.List() {
		if p.Kind == "backend" && !slices.Contains(names, p.Name) {
			names = append(names, p.Name)
		}
	}
	return names
}
