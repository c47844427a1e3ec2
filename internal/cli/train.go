package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/evalrun/evalrun/backends/local"
	"github.com/evalrun/evalrun/core"
	"github.com/evalrun/evalrun/core/dataset"
	"github.com/evalrun/evalrun/core/run"
	"github.com/evalrun/evalrun/internal/training"
	"github.com/evalrun/evalrun/plugins"
	"github.com/evalrun/evalrun/tasks"
)

// trainFlags are the flags of a training.
type trainFlags struct {
	eval                       evalFlags // those that an evaluation has too
	file, preset, validation   string
	memory                     string
	steps                      int
	holdout                    float64
	dryRun, showBatch, another bool
}

func newTrain() *cobra.Command {
	f := &trainFlags{}
	cmd := &cobra.Command{
		Use:   "train [FILE or task name]",
		Short: "fine-tune a model on a task's training rows with QLoRA",
		Long: "Train fine-tunes a model on the rows of a task's train_split, or on a file of JSON lines\n" +
			"with prompt and completion, and leaves an adapter as PEFT writes it. The prompt is the very\n" +
			"one that an evaluation sends. The same command goes on with a training that was stopped or\n" +
			"killed. docs/train.md lists the settings of a recipe.",
		Example: "  evalrun train glue_sst2 --data embedded --steps 32 --set recipe.accumulate=4\n" +
			"  evalrun train glue_sst2 --data embedded --preset modern --holdout 0.2 --dry-run",
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: completeTasks,
		RunE: func(cmd *cobra.Command, args []string) error {
			return f.run(cmd.Context(), cmd.OutOrStdout(), args)
		},
	}
	fl, e := cmd.Flags(), &f.eval
	fl.StringVar(&e.backend, "backend", "local", "what trains: local, or evalrun-backend-NAME on PATH")
	fl.StringVar(&e.model, "model", "", "folder, file or hub id of the base (default: the embedded demonstration model)")
	fl.StringVar(&e.revision, "revision", "", "revision of a model on the hub")
	fl.StringVar(&e.device, "device", "", "device that computes (default: the best one found)")
	fl.StringArrayVar(&e.options, "opt", nil, "a backend's own setting, key=value; repeatable")
	fl.StringVar(&f.file, "train", "", "rows of one's own in the place of a task: JSON lines of prompt and completion")
	fl.StringVar(&e.data, "data", "", "rows: embedded, hub, or a folder DIR/<task>/<split>.jsonl (default: the task's own)")
	fl.StringVar(&e.limit, "limit", "all", "rows: N (the first), A-B, random:N or all")
	fl.StringVar(&f.validation, "validation", "", "file of validation rows, as for --train")
	fl.Float64Var(&f.holdout, "holdout", 0, "share of the rows that is kept for validation")
	fl.StringVar(&f.preset, "preset", "", "recipe to start from: paper (as the LoRA Land report trained) or modern (default: the task's, else paper)")
	fl.IntVar(&f.steps, "steps", 0, "micro-batches, the recipe's steps")
	fl.Uint64Var(&e.seed, "seed", 0, "seed of order, dropout, first values and --limit random:N")
	fl.StringArrayVar(&e.set, "set", nil, "a key of the recipe, recipe.KEY=VALUE, or of the task file; repeatable")
	fl.StringVar(&e.out, "out", "", "folder for the adapter (default: adapters/<task>-<model>)")
	fl.BoolVar(&f.another, "new", false, "leave a finished adapter as it is and train another, in a folder with a number")
	fl.StringVar(&f.memory, "memory", "", "most memory that the training may plan with, as 900MiB or 20GiB (default: nine tenths of the machine's, or what is free on the GPU)")
	fl.BoolVar(&f.dryRun, "dry-run", false, "show the plan of memory and time, and train nothing")
	fl.BoolVar(&f.showBatch, "show-batch", false, "show the tokens of the first batch; those in brackets are learned")
	fl.BoolVar(&e.json, "json", false, "one JSON object on standard output at the end")
	fl.BoolVar(&e.quiet, "quiet", false, "no progress and no words at the end")
	return cmd
}

func (f *trainFlags) run(ctx context.Context, out io.Writer, args []string) error {
	if err := f.check(args); err != nil {
		return err
	}
	ctx, drain, stop := interrupts(ctx, os.Stderr)
	defer stop()
	host := newHost(f.eval.quiet)
	defer host.Close()
	defer context.AfterFunc(ctx, func() { _ = host.Kill() })() // the second interrupt does not wait
	if err := knownBackend(f.eval.backend, backendNames(host)); err != nil {
		return err
	}
	models, err := f.eval.mainModels()
	if err != nil {
		return err
	}
	t := &trainCommand{trainFlags: f, out: out, spec: models[0], host: host, cleanup: func() {}}
	if err := localModel(ctx, hubClient(os.Stderr, f.eval.quiet), &t.spec); err != nil {
		return err
	}
	defer func() { t.cleanup() }()
	defer t.metrics.Close()
	soft, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		select {
		case <-drain:
			cancel()
		case <-soft.Done():
		}
	}()
	err = t.prepare(ctx, args)
	if err == nil {
		err = t.train(ctx, soft)
	}
	if err != nil && ctx.Err() != nil {
		return &exitError{code: ExitInterrupted, err: errors.New("stopped at once; the same command goes on from the last checkpoint")}
	}
	return err
}

func (f *trainFlags) check(args []string) error {
	switch {
	case len(args) == 0 && f.file == "":
		return &core.UserError{Message: "nothing to train on is named", Hint: "name a task, as evalrun train glue_sst2, or a file: --train rows.jsonl"}
	case len(args) == 1 && f.file != "":
		return &core.UserError{Where: "--train " + f.file, Message: "the rows come from a task or from a file, not both", Hint: "leave one of them out"}
	case !(f.holdout >= 0 && f.holdout < 1):
		return &core.UserError{Where: fmt.Sprintf("--holdout %g", f.holdout), Message: "is a share from 0 to below 1", Hint: "0.1 keeps one row in ten"}
	case f.holdout > 0 && f.validation != "":
		return &core.UserError{Where: "--holdout, --validation", Message: "validation rows come from one place", Hint: "leave one of the two out"}
	case f.steps < 0:
		return &core.UserError{Where: fmt.Sprintf("--steps %d", f.steps), Message: "must be 1 or more", Hint: "leave it out for the recipe's"}
	}
	return nil
}

// trainCommand is one training on its way.
type trainCommand struct {
	*trainFlags
	out  io.Writer
	spec modelSpec
	host *plugins.Host
	task *tasks.File // nil where the rows are a file
	name string      // the task's, or the file's
	job  core.Job
	data *training.Data // nil where the rows are a file, taken as it is
	// scorer scores the rows held out of a task; nil where nothing can.
	scorer  *training.Scorer
	metrics metricMaker

	cleanup func()
}

// prepare settles recipe and folder, and writes the rows there.
func (t *trainCommand) prepare(ctx context.Context, args []string) error {
	recipe, others := training.SplitSet(t.eval.set)
	flags := map[string]any{}
	if t.preset != "" {
		flags["preset"] = t.preset
	}
	if t.steps > 0 {
		flags["steps"] = t.steps
	}
	if t.eval.seed != 0 {
		flags["seed"] = t.eval.seed
	}
	var section map[string]any
	if len(args) == 1 {
		t.eval.set, t.eval.fewshot = others, -1
		files, err := t.eval.load(args)
		if err != nil {
			return err
		}
		t.task, t.name, section = files[0], files[0].Task.Name, files[0].Task.Train
	} else {
		recipe = t.eval.set // what is none of the recipe's is refused
		t.name = strings.TrimSuffix(filepath.Base(t.file), filepath.Ext(t.file))
	}
	var err error
	if t.job.Recipe, err = training.Recipe(section, recipe, flags); err != nil {
		return err
	}
	if t.job.Memory, err = parseBytes(t.memory); err != nil {
		return &core.UserError{Where: "--memory " + t.memory, Message: "is no size", Hint: "give a number and a unit, as 900MiB or 20GiB"}
	}
	t.job.PlanOnly, t.job.Data, t.job.Validation = t.dryRun, t.file, t.validation
	if err := t.folder(); err != nil {
		return err
	}
	switch {
	case t.task != nil:
		err = t.rows(ctx)
	case t.holdout > 0:
		if t.data, err = training.OwnRows(t.file, t.holdout, t.eval.seed); err == nil {
			err = t.save()
		}
	}
	if err != nil || t.validation == "" {
		return err
	}
	if again, all := training.Repeated(t.job.Data, t.validation); len(again) > 0 {
		t.note(fmt.Sprintf("%d of %d validation rows ask what training rows ask too, so their loss flatters: %s", len(again), all, training.Some(again)))
	}
	return nil
}

// folder settles where the adapter goes.
func (t *trainCommand) folder() error {
	dir := t.eval.out
	if dir == "" {
		_, model, _ := strings.Cut(label(t.spec), ":")
		dir = filepath.Join("adapters", t.name+"-"+strings.TrimSuffix(model, ".gguf"))
	}
	t.job.Out = dir
	for n := 2; training.Finished(t.job.Out) && !t.dryRun; n++ {
		if !t.another {
			return &core.UserError{Where: t.job.Out, Message: "holds a finished adapter", Hint: "give --new to train another beside it, or name another folder with --out"}
		}
		t.job.Out = fmt.Sprintf("%s-%d", dir, n)
	}
	return nil
}

// rows renders the task's training rows into the work folder.
func (t *trainCommand) rows(ctx context.Context) error {
	job := &run.Job{Task: t.task.Task, Profile: core.Strict}
	info, err := t.info(ctx)
	switch {
	case err == nil:
		job.Form, job.Family = formFor(info), info.Family
	case t.dryRun: // the model may be a shape without weights
		job.Form = core.FormCompletion
	default:
		return err
	}
	flags := rowFlags{data: t.eval.data, limit: t.eval.limit, seed: t.eval.seed, part: dataset.Training, anyTarget: true, hub: hubClient(os.Stderr, t.eval.quiet)}
	set, err := flags.rows(ctx, t.task)
	if err != nil {
		return err
	}
	if t.task.Task.Fewshot.Count > 0 {
		e := &evaluation{flags: &t.eval, sets: map[*tasks.File]*rowSet{t.task: set}, hub: flags.hub}
		if job.Shots, err = e.shots(ctx, t.task); err != nil {
			return err
		}
	}
	if t.holdout > 0 {
		if err := t.score(ctx, *job, info, set); err != nil {
			return err
		}
	}
	o := training.Options{Holdout: t.holdout, Seed: t.eval.seed, Join: t.task.Task.TargetDelimiter}
	if training.Preset(t.job.Recipe) == "paper" && o.Join == nil {
		o.Join = new(string) // Ludwig puts nothing between them
	}
	flags.part, flags.limit = dataset.Evaluation, "all"
	if own, err := flags.rows(ctx, t.task); err == nil {
		o.Evaluation = own.Rows(ctx)
	} else {
		t.note("the evaluation rows cannot be read, so whether training rows are among them is not known")
	}
	if t.data, err = training.Prepare(job, set.Rows(ctx), o); err != nil {
		return err
	}
	if set.Embedded {
		t.note("the embedded rows are those of the evaluation: what is learned from them says nothing about other rows")
	}
	if err := t.save(); err != nil {
		return err
	}
	if t.scorer != nil {
		t.scorer.Held = t.data.Validation
	}
	t.note(t.data.Notes()...)
	return nil
}

// save writes the rows to where the trainer reads them.
func (t *trainCommand) save() (err error) {
	out := t.job.Out
	if t.dryRun { // a plan leaves nothing behind
		if out, err = os.MkdirTemp("", "evalrun-plan-"); err != nil {
			return err
		}
		t.cleanup = func() { _ = os.RemoveAll(out) }
	}
	if t.job.Data, t.job.Validation, err = t.data.Save(out, t.validation); err != nil {
		return unwritten(out, err)
	}
	return nil
}

// score sees to it that rows held out can be scored by the task's first metric,
// where that needs no further model.
func (t *trainCommand) score(ctx context.Context, job run.Job, info core.Info, set *rowSet) (err error) {
	if job.Judges, err = t.metrics.judges(ctx, t.task, job.Profile); err != nil {
		return err
	}
	job.Judges, job.Repeat, job.Free = job.Judges[:1], repeats(1, t.task.Task), !info.Choices
	if m := job.NeedsJudge(); m != "" {
		if training.Monitor(t.job.Recipe) == "score" {
			return &core.UserError{Where: t.task.Where("metrics"), Message: fmt.Sprintf("the metric %s has a model judge the answers, and a training asks none but its own", m), Hint: "--set recipe.monitor=loss follows the validation loss, or name another metric first"}
		}
		return nil
	}
	t.scorer = &training.Scorer{Job: &job, Rows: set.Rows, InFlight: info.InFlight, Dir: training.Work(t.job.Out)}
	m := t.scorer.Metric()
	t.job.Metric, t.job.LowerIsBetter = m.Name, !m.HigherIsBetter
	return nil
}

// info asks the backend what it is, in a process that ends before the training
// begins. Our own loads no weights for it: they may not fit where the training
// does, which holds them in fewer bits and no keys and values.
func (t *trainCommand) info(ctx context.Context) (core.Info, error) {
	spec := t.spec
	if spec.Backend == local.Name {
		spec.Config.Options = maps.Clone(spec.Config.Options)
		if spec.Config.Options == nil {
			spec.Config.Options = map[string]string{}
		}
		spec.Config.Options[local.ShapeOnly] = "true"
	}
	b, info, err := start(ctx, t.host, spec)
	if err != nil {
		return info, err
	}
	if err := b.Close(); err != nil {
		return info, err
	}
	if !info.Trains {
		return info, &core.UserError{Where: "--backend " + t.spec.Backend, Message: "this backend does not train", Hint: "take --backend local"}
	}
	return info, nil
}

// note writes lines for people.
func (t *trainCommand) note(lines ...string) {
	if t.eval.quiet {
		return
	}
	for _, l := range lines {
		fmt.Fprintln(os.Stderr, l)
	}
}
