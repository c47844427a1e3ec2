package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/evalrun/evalrun/backends"
	"github.com/evalrun/evalrun/core"
	"github.com/evalrun/evalrun/core/record"
	"github.com/evalrun/evalrun/core/run"
	"github.com/evalrun/evalrun/metrics"
	"github.com/evalrun/evalrun/plugins"
	"github.com/evalrun/evalrun/results"
	"github.com/evalrun/evalrun/results/report"
)

func (e *evaluation) manifest() results.Manifest {
	f := e.flags
	m := results.Manifest{Created: time.Now().UTC(), Tag: f.tag, Machine: results.ThisMachine(), Versions: versions()}
	c := results.Config{Data: f.data, Limit: f.limit, Seed: f.seed, Repeat: f.repeat, Fewshot: f.fewshot, Set: f.set}
	for _, p := range run.Profiles(core.Profile(f.profile)) {
		c.Profiles = append(c.Profiles, string(p))
	}
	for _, file := range e.files {
		t := results.TaskConfig{Name: file.Task.Name, Path: file.Task.Path, SpecSHA256: results.SHA256(file.Task.Source)}
		if set := e.sets[file]; set != nil {
			t.Data = set.identity()
		}
		c.Tasks = append(c.Tasks, t)
	}
	if e.judge != nil {
		judge := e.judge.config()
		c.Judge = &judge
	}
	for _, spec := range e.models {
		c.Models = append(c.Models, spec.config())
		m.Demonstration = m.Demonstration || spec.Demo
	}
	m.Config, m.ConfigHash = c, c.Hash()
	return m
}

// run finds or makes the run folder and fills it.
func (e *evaluation) run(ctx context.Context, host *plugins.Host) error {
	m := e.manifest()
	var folder *results.Folder
	var err error
	if !e.flags.fresh {
		var running *results.Folder
		if folder, running, err = results.Unfinished(e.flags.out, m.ConfigHash); err != nil {
			return err
		}
		if folder == nil && running != nil && !e.flags.quiet {
			fmt.Fprintf(e.err, "the same command is running in %s: this is another run, which asks everything anew\n", running.Path)
		}
	}
	if folder != nil {
		return e.fill(ctx, host, folder, true)
	}
	// A model that cannot be opened leaves no folder behind.
	if err := e.checkModels(ctx, host); err != nil {
		return err
	}
	if e.first, err = e.open(ctx, host, e.models[0]); err != nil {
		return err
	}
	if e.firstJobs, err = e.jobs(ctx, e.models[0], e.first.info); err == nil {
		folder, err = results.Create(e.flags.out, m)
	}
	if err != nil {
		e.first.Close()
		return err
	}
	return e.fill(ctx, host, folder, false)
}

// checkModels opens the models behind the first for a moment, where that costs
// little: what is wrong with one is told before the first has spent anything. A
// local model would be loaded for it, and its files have been looked for.
func (e *evaluation) checkModels(ctx context.Context, host *plugins.Host) error {
	for _, spec := range e.models[1:] {
		if _, builtin := backends.Find(spec.Backend); !builtin || spec.Backend == "local" {
			continue
		}
		b, _, err := start(ctx, host, spec)
		if err != nil {
			return fmt.Errorf("model %s: %w", spec.Label, err)
		}
		b.Close()
	}
	return nil
}

func (e *evaluation) open(ctx context.Context, host *plugins.Host, spec modelSpec) (*opened, error) {
	return open(ctx, host, spec, openOptions{rpm: e.flags.rpm, tpm: e.flags.tpm, cache: e.flags.cache, cap: e.cap, spent: e.spent})
}

// A tableau is what the models of a run have given so far.
type tableau struct {
	scores  results.Scores
	notes   []string
	outcome run.Outcome // the first that is not Finished
	cause   *core.Error
	// asked and failures count samples over all models.
	asked, failures int
}

func (t *tableau) note(s string) {
	if s != "" && !slices.Contains(t.notes, s) {
		t.notes = append(t.notes, s)
	}
}

func (t *tableau) add(e *evaluation, rep *run.Report, broken bool) {
	for i, tally := range rep.Tallies {
		sum := tally.Sum(metrics.Baseline)
		sum.Unfinished = rep.Outcome != run.Finished || broken
		t.scores.Add(sum, e.files[i].Task)
		t.failures += sum.Counts.APIErrors
		t.asked += sum.Counts.Samples
	}
	if t.outcome == run.Finished {
		t.outcome = rep.Outcome
	}
	if rep.Cause != nil {
		t.cause = rep.Cause
	}
}

// fill asks what the run still lacks, model after model, and writes its table.
// Whatever happens to a later model, the earlier ones' scores are written.
func (e *evaluation) fill(ctx context.Context, host *plugins.Host, folder *results.Folder, resumed bool) error {
	began := time.Now()
	ctx, drain, stop := interrupts(ctx, e.err)
	defer stop()
	defer func() {
		if e.first != nil {
			e.first.Close()
		}
	}()
	writer, err := folder.Writer()
	if err != nil {
		return err
	}
	folder.Manifest.MinScore = e.flags.minScore
	t := &tableau{scores: results.Scores{Run: folder.Path, Profile: folder.Manifest.Config.ShownProfile(), MinScore: e.flags.minScore}}
	var failed error
	if resumed {
		failed = e.goOn(folder)
	}
	for i, spec := range e.models {
		if failed != nil || t.outcome == run.Drained || t.outcome == run.BudgetReached {
			for _, left := range e.models[i:] {
				t.notes = append(t.notes, left.Label+" was not asked")
			}
			break
		}
		var rep *run.Report
		rep, failed = e.model(ctx, host, folder, writer, spec, drain, t)
		if rep != nil {
			t.add(e, rep, failed != nil)
		}
	}
	if err := writer.Close(); err != nil && failed == nil {
		failed = err
	}
	err = e.save(folder, t, failed, time.Since(began))
	if len(t.scores.Tasks) > 0 {
		err = errors.Join(err, e.print(folder, t.scores, t.notes))
	}
	switch {
	case failed != nil:
		if t.asked > 0 {
			fmt.Fprintf(e.err, "what was answered is saved in %s; the same command goes on there\n", folder.Path)
		}
		return failed
	case err != nil:
		return err
	}
	return e.verdict(t)
}

// goOn tells what a run that goes on has and lacks, and counts what it has cost.
func (e *evaluation) goOn(folder *results.Folder) error {
	answered := map[record.Key]bool{} // false: nothing but API errors yet
	err := folder.Stored(func(rec *record.Record) bool {
		e.spent += rec.CostUSD
		answered[rec.Key()] = answered[rec.Key()] || rec.Done()
		return true
	})
	if err != nil || e.flags.quiet {
		return err
	}
	again := 0
	for _, ok := range answered {
		if !ok {
			again++
		}
	}
	fmt.Fprintf(e.err, "going on with %s: %d samples are answered", folder.Path, len(answered)-again)
	if again > 0 {
		fmt.Fprintf(e.err, ", %d got API errors and are asked again", again)
	}
	fmt.Fprintln(e.err, " (--new starts a new run instead)")
	return nil
}

// save writes everything of the run but its samples.
func (e *evaluation) save(folder *results.Folder, t *tableau, failed error, took time.Duration) error {
	m := &folder.Manifest
	m.Seconds += took.Seconds()
	t.scores.Seconds, t.scores.Demonstration = m.Seconds, m.Demonstration
	t.scores.Outcome = map[run.Outcome]string{run.Finished: "finished", run.Drained: "interrupted", run.BudgetReached: "budget", run.GaveUp: "gave_up"}[t.outcome]
	if failed != nil {
		t.scores.Outcome = "failed"
		if errors.Is(failed, context.Canceled) {
			t.scores.Outcome = "interrupted"
		}
	}
	var err error
	if failed == nil && t.outcome == run.Finished && t.failures == 0 {
		err = folder.Finish(time.Now())
	} else {
		err = folder.SaveManifest()
	}
	if len(t.scores.Tasks) == 0 {
		return err
	}
	return errors.Join(err, folder.SaveScores(t.scores), report.Write(folder, t.scores))
}

// model runs all tasks under one model.
func (e *evaluation) model(ctx context.Context, host *plugins.Host, folder *results.Folder, writer *results.Writer, spec modelSpec, drain <-chan struct{}, t *tableau) (*run.Report, error) {
	backend := e.first
	e.first = nil
	if backend == nil {
		var err error
		if backend, err = e.open(ctx, host, spec); err != nil {
			return nil, fmt.Errorf("model %s: %w", spec.Label, err)
		}
	}
	defer func() {
		if backend.budget != nil {
			e.spent = backend.budget.Spent().USD
		}
		backend.Close()
	}()
	info := backend.info
	for _, n := range info.Notes {
		t.note(n)
	}
	m := &folder.Manifest
	if m.Rows == nil {
		m.Rows = map[string]results.Rows{}
	}
	if m.Models == nil {
		m.Models = map[string]results.Model{}
	}
	m.Models[spec.Label] = modelOf(info)
	jobs := e.firstJobs
	e.firstJobs = nil
	if jobs == nil {
		var err error
		if jobs, err = e.jobs(ctx, spec, info); err != nil {
			return nil, err
		}
	}
	for _, file := range e.files {
		if file.Task.ForceLabels && !info.Choices {
			t.note(fmt.Sprintf("%s: %s answered freely; the backend cannot be held to the labels", file.Task.Name, spec.Label))
		}
		set := e.sets[file]
		if m.Rows[file.Task.Name].SHA256 == "" {
			m.Rows[file.Task.Name] = set.manifest()
		}
		if set.Embedded {
			m.Demonstration = true
			t.note("embedded rows: they come with evalrun and are not the data set's own; --data hub or --data DIR takes the real ones.")
		}
	}
	if err := folder.SaveManifest(); err != nil {
		return nil, err
	}
	inFlight := e.flags.concurrency
	if inFlight <= 0 {
		inFlight = info.InFlight
	}
	o := run.Options{Model: spec.Label, Backend: backend, Jobs: jobs, Sink: writer, InFlight: inFlight, Drain: drain, Drained: backend.retry.LastTries, Stored: folder.Stored}
	if e.judge != nil {
		judge, err := open(ctx, host, *e.judge, openOptions{rpm: e.flags.rpm, tpm: e.flags.tpm, cache: e.flags.cache, cap: e.cap, spent: e.spent, with: backend.budget})
		if err != nil {
			return nil, fmt.Errorf("judge %s: %w", e.judge.Label, err)
		}
		defer judge.Close()
		o.Drained = func() { backend.retry.LastTries(); judge.retry.LastTries() }
		o.Judge, o.JudgeForm, o.JudgeAdapter = judge, formFor(judge.info), e.judge.Adapter
		m.Models["judge "+e.judge.Label] = modelOf(judge.info)
		for _, n := range judge.info.Notes {
			t.note(n)
		}
	}
	runner, err := run.New(o)
	if err != nil {
		return nil, err
	}
	w := newWatcher(e.err, e.flags.quiet, e.cap, e.spent)
	w.watch(runner.Snapshot)
	defer w.finish()
	if !e.flags.quiet {
		stop := e.countRows(ctx, jobs, runner)
		defer stop()
	}
	rep, err := runner.Run(ctx)
	if err == nil {
		e.lateNotes(ctx, backend, m, spec.Label, t)
	}
	for _, file := range e.files {
		if set := e.sets[file]; set.read != nil {
			m.Rows[file.Task.Name] = set.manifest()
		}
	}
	return rep, err
}

// lateNotes tells what a backend came to know of itself only as it answered, such
// as a service that counts no tokens.
func (e *evaluation) lateNotes(ctx context.Context, backend *opened, m *results.Manifest, label string, t *tableau) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	info, err := backend.Info(ctx)
	if err != nil {
		return // it is gone: what it said before stands
	}
	for _, n := range info.Notes {
		t.note(n)
	}
	model := m.Models[label]
	for _, n := range info.Notes {
		if !slices.Contains(model.Notes, n) {
			model.Notes = append(slices.Clip(model.Notes), n)
		}
	}
	m.Models[label] = model
}

// countRows finds out beside the run how many rows there are, for the progress.
// What cannot be counted stays unknown: the run itself says why.
func (e *evaluation) countRows(ctx context.Context, jobs []*run.Job, runner *run.Runner) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var counting sync.WaitGroup
	counting.Go(func() {
		for i, job := range jobs {
			if job.Total >= 0 {
				continue
			}
			if n, err := e.sets[e.files[i]].count(ctx); err == nil {
				runner.Counted(i, n)
			}
		}
	})
	return func() {
		cancel()
		counting.Wait()
	}
}

// jobs makes all tasks ready for one model.
func (e *evaluation) jobs(ctx context.Context, spec modelSpec, info core.Info) ([]*run.Job, error) {
	var jobs []*run.Job
	for _, file := range e.files {
		job, _, err := e.job(ctx, file, spec, info)
		if err != nil {
			return nil, err
		}
		kind, err := job.Kind()
		if err != nil {
			return nil, err
		}
		if m := job.NeedsJudge(); m != "" && e.judge == nil {
			return nil, run.NoJudge(file.Where("metrics"), m)
		}
		if !slices.Contains(info.Kinds, kind) {
			return nil, &core.UserError{Where: file.Where("metrics"), Message: fmt.Sprintf("a metric of the task needs requests of the kind %q, which %s does not answer", kind, spec.Label),
				Hint: "choose another metric or another backend"}
		}
		jobs = append(jobs, job)
	}
	return jobs, nil
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

// print puts the table, or with --json its object, on standard output.
func (e *evaluation) print(folder *results.Folder, scores results.Scores, notes []string) error {
	if e.flags.json {
		enc := json.NewEncoder(e.out)
		enc.SetEscapeHTML(false)
		return enc.Encode(scores)
	}
	if e.flags.quiet {
		return nil
	}
	var out bytes.Buffer
	fmt.Fprintln(&out)
	printTable(&out, scores, tableWidth(e.out))
	for _, n := range notes {
		fmt.Fprintln(&out, n)
	}
	cost := ""
	if scores.CostUSD > 0 {
		cost = fmt.Sprintf(", $%.4f", scores.CostUSD)
	}
	fmt.Fprintf(&out, "%s  %s%s\n", folder.Path, time.Duration(scores.Seconds*float64(time.Second)).Round(100*time.Millisecond), cost)
	_, err := out.WriteTo(e.out)
	return err
}

// latest names the run that has just ended, for the verbs that take one.
func (e *evaluation) latest() string {
	if e.flags.out == "runs" || e.flags.out == "" {
		return "latest"
	}
	return "latest --out " + e.flags.out
}

// verdict turns what happened into the exit code.
func (e *evaluation) verdict(t *tableau) error {
	const again = "the same command asks for the missing ones again; --new starts a new run instead"
	switch {
	case t.outcome == run.Drained:
		return &exitError{code: ExitInterrupted}
	case t.outcome == run.BudgetReached:
		return &exitError{code: ExitBudget, err: &core.UserError{
			Message: fmt.Sprintf("the budget of $%g is reached after $%.4f", e.cap, t.scores.CostUSD),
			Hint:    "the same command with a higher --max-cost goes on where this one stopped"}}
	case t.outcome == run.GaveUp:
		u := &core.UserError{Message: "given up: nothing but failures came back, the last: " + causeText(t.cause), Hint: again}
		if t.cause != nil && t.cause.Hint != "" {
			u.Hint = t.cause.Hint
		}
		return &exitError{code: ExitInfra, err: u}
	case float64(t.failures) > e.flags.maxErrors*float64(t.asked):
		u := &core.UserError{Message: fmt.Sprintf("%d of %d requests got no answer (the last: %s)", t.failures, t.asked, causeText(t.cause)),
			Hint: again + "; --max-errors sets how many are tolerated"}
		if t.cause != nil && !t.cause.Temporary() && t.cause.Hint != "" {
			u.Hint = t.cause.Hint + "; " + u.Hint // asking again alone would not help
		}
		return &exitError{code: ExitInfra, err: u}
	}
	if t.failures > 0 && !e.flags.quiet {
		fmt.Fprintf(e.err, "%d of %d requests got no answer: %s\n", t.failures, t.asked, again)
	}
	for _, l := range t.scores.Tasks {
		least, name, missed := l.Gate()
		if !missed {
			continue
		}
		if name == "threshold" {
			name = "its threshold"
		}
		side := "below"
		if l.Better == "lower" {
			side = "above"
		}
		return &exitError{code: ExitThreshold, err: &core.UserError{
			Message: fmt.Sprintf("%s scores %.3f on %s, %s %s of %g", l.Model, float64(*l.Score), l.Task, side, name, least),
			Hint:    "evalrun view " + e.latest() + " --wrong --task " + l.Task + " shows what went wrong"}}
	}
	return nil
}

func causeText(c *core.Error) string {
	if c == nil {
		return "unknown"
	}
	return c.Error()
}
