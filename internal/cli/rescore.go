package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/evalrun/evalrun/core"
	"github.com/evalrun/evalrun/core/record"
	"github.com/evalrun/evalrun/core/run"
	"github.com/evalrun/evalrun/metrics"
	"github.com/evalrun/evalrun/results"
	"github.com/evalrun/evalrun/tasks"
)

func newRescore() *cobra.Command {
	var out string
	var asJSON, unsafeCode bool
	cmd := &cobra.Command{
		Use:   "rescore [RUN] [FILES…]",
		Short: "extract and score the stored answers of a run again",
		Long: "Rescore judges stored answers with the present task files and metrics, asking no model.\n" +
			"It writes a new run folder that names its origin; the old one stays as it is. The task\n" +
			"files are those that the run names, or for a task that FILES holds, that one.",
		Example: "  evalrun rescore latest\n" +
			"  evalrun rescore runs/latest --json",
		RunE: func(cmd *cobra.Command, args []string) error {
			name, files := latestRun, args
			if len(args) > 0 {
				name, files = args[0], args[1:]
			}
			to := "" // beside the origin
			if cmd.Flags().Changed("out") {
				to = out
			}
			return runRescore(cmd.Context(), cmd.OutOrStdout(), out, to, name, files, asJSON, unsafeCode)
		},
		ValidArgsFunction: completeRuns(&out, 1),
	}
	cmd.Flags().StringVar(&out, "out", "runs", "folder that holds the run folders: an id is looked for there, and the new run goes there; where --out is not given, beside its origin")
	unsafeCodeFlag(cmd.Flags(), &unsafeCode)
	cmd.Flags().BoolVar(&asJSON, "json", false, "one JSON object on standard output at the end")
	return cmd
}

// stored is a run with the present task files.
type stored struct {
	folder *results.Folder
	files  []*tasks.File
	jobs   map[string]*run.Job
	// metrics made the jobs' judges; closing it ends those of plugins.
	metrics metricMaker
}

// configFlags are the flags that a stored configuration came from.
func configFlags(c results.Config) *evalFlags {
	return &evalFlags{data: c.Data, limit: c.Limit, seed: c.Seed, repeat: max(c.Repeat, 1), fewshot: c.Fewshot, set: c.Set, cache: "auto", maxErrors: 0.01, profile: string(c.Profile())}
}

// newStored loads the task files that the run names; one of others with the
// same task takes its place. unsafeCode is metricMaker's.
func newStored(ctx context.Context, folder *results.Folder, others []string, unsafeCode bool) (*stored, error) {
	c := folder.Manifest.Config
	f := configFlags(c)
	instead := map[string]string{}
	if len(others) > 0 {
		files, err := f.load(others)
		if err != nil {
			return nil, err
		}
		for i, file := range files {
			name := file.Task.Name
			known := false
			for _, t := range c.Tasks {
				known = known || t.Name == name
			}
			if !known {
				return nil, &core.UserError{Where: others[i], Message: fmt.Sprintf("the run has no task %q", name), Hint: "its tasks: " + strings.Join(taskNames(c), ", ")}
			}
			instead[name] = others[i]
		}
	}
	var args []string
	for _, t := range c.Tasks {
		arg := t.Path
		if embedded, ok := strings.CutPrefix(t.Path, "embedded:"); ok {
			arg = strings.TrimSuffix(embedded, ".yaml")
		}
		if other, ok := instead[t.Name]; ok {
			arg = other
		}
		args = append(args, arg)
	}
	s := &stored{folder: folder, jobs: map[string]*run.Job{}, metrics: metricMaker{unsafeCode: unsafeCode}}
	var err error
	if s.files, err = f.load(args); err != nil {
		return nil, fmt.Errorf("the tasks of run %s: %w", folder.Manifest.ID, err)
	}
	for i, file := range s.files {
		if i >= len(c.Tasks) || file.Task.Name != c.Tasks[i].Name {
			return nil, &core.UserError{Where: file.Where("task"), Message: fmt.Sprintf("the file now holds the task %q, not the one of the run", file.Task.Name),
				Hint: "give the right file: evalrun rescore " + folder.Manifest.ID + " FILE"}
		}
		job := &run.Job{Task: file.Task, Total: -1, Repeat: repeats(f.repeat, file.Task), Profile: c.Profile()}
		if job.Judges, err = s.metrics.judges(ctx, file, c.Profile()); err != nil {
			return nil, err
		}
		s.jobs[file.Task.Name] = job
	}
	return s, nil
}

func taskNames(c results.Config) []string {
	var out []string
	for _, t := range c.Tasks {
		out = append(out, t.Name)
	}
	return out
}

// changed lists the tasks whose file is not the one of the run.
func (s *stored) changed() []string {
	var out []string
	for i, file := range s.files {
		if results.SHA256(file.Task.Source) != s.folder.Manifest.Config.Tasks[i].SpecSHA256 {
			out = append(out, file.Task.Name)
		}
	}
	return out
}

// records yields one record of each sample: the answer where there is one,
// else, at the end, the last API error.
func (s *stored) records(ctx context.Context, yield func(*record.Record) error) error {
	done := map[record.Key]bool{}
	failed := map[record.Key]*record.Record{}
	var order []record.Key
	var failure error
	err := s.folder.Stored(func(rec *record.Record) bool {
		key := rec.Key()
		if failure = ctx.Err(); failure != nil || done[key] || s.jobs[rec.Task] == nil {
			return failure == nil
		}
		one := *rec
		if rec.Error != nil {
			if failed[key] == nil {
				order = append(order, key)
			}
			failed[key] = &one
			return true
		}
		done[key] = true
		failure = yield(&one)
		return failure == nil
	})
	if failure != nil {
		return failure
	}
	if err != nil {
		return err
	}
	for _, key := range order {
		if !done[key] {
			if err := yield(failed[key]); err != nil {
				return err
			}
		}
	}
	return nil
}

// tallies sum records by model and task.
type tallies struct {
	s      *stored
	byName map[[2]string]*run.Tally
	models []string
}

func (s *stored) tallies() *tallies {
	return &tallies{s: s, byName: map[[2]string]*run.Tally{}, models: runLabels(s.folder)}
}

func (t *tallies) add(rec *record.Record) {
	key := [2]string{rec.Model, rec.Task}
	tally := t.byName[key]
	if tally == nil {
		job := t.s.jobs[rec.Task]
		tally = run.NewTally(job.Task, rec.Model, job.Judges, job.Repeat)
		t.byName[key] = tally
		if !slices.Contains(t.models, rec.Model) {
			t.models = append(t.models, rec.Model)
		}
	}
	tally.Add(rec)
}

// scores is the table, in the order in which the run would write it.
func (t *tallies) scores(folder *results.Folder) results.Scores {
	m := folder.Manifest
	out := results.Scores{Run: folder.Path, Demonstration: m.Demonstration, Profile: m.Config.ShownProfile(), MinScore: m.MinScore, Seconds: m.Seconds, Outcome: "finished"}
	for _, model := range t.models {
		for _, file := range t.s.files {
			if tally := t.byName[[2]string{model, file.Task.Name}]; tally != nil {
				sum := tally.Sum(metrics.Baseline)
				sum.Unfinished = t.s.folder.Manifest.Finished == nil
				out.Add(sum, file.Task)
			}
		}
	}
	if t.s.folder.Manifest.Finished == nil {
		out.Outcome = "interrupted"
	}
	return out
}

// sum makes the table from the scores as they are stored.
func (s *stored) sum(ctx context.Context) (results.Scores, error) {
	t := s.tallies()
	err := s.records(ctx, func(rec *record.Record) error {
		t.add(rec)
		return nil
	})
	return t.scores(s.folder), err
}

// rescoreBatch is the number of answers judged in one call.
const rescoreBatch = 256

// runRescore judges the run again that name gives under root, into a new run
// under to, or beside its origin where to is empty.
func runRescore(ctx context.Context, w io.Writer, root, to, name string, files []string, asJSON, unsafeCode bool) error {
	ctx, drain, stop := interrupts(ctx, io.Discard)
	defer stop()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() { // nothing is lost: the origin stays, so one interrupt is enough
		select {
		case <-drain:
			cancel()
		case <-ctx.Done():
		}
	}()
	origin, err := results.Open(root, name)
	if err != nil {
		return err
	}
	if _, err := os.Stat(origin.Samples()); err != nil {
		return &core.UserError{Where: origin.Path, Message: "the run has no stored answers", Hint: "evalrun resume " + origin.Manifest.ID + " goes on with it"}
	}
	s, err := newStored(ctx, origin, files, unsafeCode)
	if err != nil {
		return err
	}
	defer s.metrics.Close()
	m := s.rescored()
	if to == "" {
		to = filepath.Dir(origin.Path)
	}
	folder, err := results.Create(to, m)
	if err != nil {
		return err
	}
	scores, verdicts, err := s.rescore(ctx, folder)
	if err != nil {
		err = fmt.Errorf("rescore run %s: %w", origin.Manifest.ID, err)
		return errors.Join(err, folder.Discard()) // half a rescored run is of no use to anyone
	}
	if origin.Manifest.Finished != nil {
		if err := folder.Finish(time.Now()); err != nil {
			return err
		}
	}
	if err := folder.SaveScores(scores); err != nil {
		return err
	}
	if err := writeReports(folder, scores); err != nil {
		return err
	}
	e := &evaluation{flags: &evalFlags{json: asJSON}, out: w, err: os.Stderr}
	return e.print(folder, scores, []string{fmt.Sprintf("%d answers of run %s scored again, %d of them otherwise than before", verdicts.answers, origin.Manifest.ID, verdicts.changed)})
}

// rescored is the manifest of the new run: what was asked and answered is the
// origin's, the task files and the program that judges are today's.
func (s *stored) rescored() results.Manifest {
	m := s.folder.Manifest
	m.Created, m.Finished, m.Versions = time.Now().UTC(), nil, versions()
	m.Tag = strings.TrimSpace("rescore of " + s.folder.Manifest.ID + " " + m.Tag)
	m.Config.Tasks = nil
	for _, file := range s.files {
		m.Config.Tasks = append(m.Config.Tasks, results.TaskConfig{Name: file.Task.Name, Path: file.Task.Path, SpecSHA256: results.SHA256(file.Task.Source)})
	}
	// Not the hash of the configuration: an evaluation with the same one must
	// go on with its own run, never with this copy.
	m.ConfigHash = results.SHA256([]byte("rescore of " + s.folder.Manifest.ID + " " + m.Config.Hash()))
	return m
}

// changes count answers, and those whose verdict is another one now.
type changes struct{ answers, changed int }

// rescore judges all answers into the folder. Reading, judging and writing go
// on at the same time.
func (s *stored) rescore(ctx context.Context, folder *results.Folder) (results.Scores, changes, error) {
	var c changes
	writer, err := folder.Writer()
	if err != nil {
		return results.Scores{}, c, err
	}
	read, judged := make(chan []*record.Record, 4), make(chan []*record.Record, 4)
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() {
		defer close(read)
		if err := s.batches(ctx, read); err != nil {
			cancel(err)
		}
	}()
	go func() {
		defer close(judged)
		for batch := range read {
			changed, err := s.judge(ctx, batch)
			if err != nil {
				cancel(err)
				continue // empty the channel, so that the reader can end
			}
			c.changed += changed
			judged <- batch
		}
	}()
	t := s.tallies()
	for batch := range judged {
		for _, rec := range batch {
			if err := writer.Append(rec); err != nil {
				cancel(err)
				break
			}
			t.add(rec)
			if rec.Error == nil {
				c.answers++
			}
		}
	}
	err = writer.Close()
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	return t.scores(folder), c, err
}

// batches reads the records in portions of one task each.
func (s *stored) batches(ctx context.Context, out chan<- []*record.Record) error {
	open := map[string][]*record.Record{}
	send := func(task string) error {
		select {
		case out <- open[task]:
			open[task] = nil
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	err := s.records(ctx, func(rec *record.Record) error {
		open[rec.Task] = append(open[rec.Task], rec)
		if len(open[rec.Task]) < rescoreBatch {
			return nil
		}
		return send(rec.Task)
	})
	if err != nil {
		return err
	}
	for _, file := range s.files {
		if len(open[file.Task.Name]) > 0 {
			if err := send(file.Task.Name); err != nil {
				return err
			}
		}
	}
	return nil
}

// judge scores one task's records again and counts those with another verdict.
func (s *stored) judge(ctx context.Context, recs []*record.Record) (int, error) {
	job := s.jobs[recs[0].Task]
	answered := make([]*record.Record, 0, len(recs))
	before := make([][]record.Score, 0, len(recs))
	for _, rec := range recs {
		if rec.Error != nil {
			continue
		}
		if err := s.enough(job, rec); err != nil {
			return 0, err
		}
		answered, before = append(answered, rec), append(before, rec.Scores)
	}
	if err := run.Rescore(ctx, job, answered); err != nil {
		return 0, err
	}
	changed := 0
	for i, rec := range answered {
		if !sameVerdict(before[i], rec.Scores) {
			changed++
		}
	}
	return changed, nil
}

// enough tells whether the stored sample holds what the metrics need.
func (s *stored) enough(job *run.Job, rec *record.Record) error {
	for _, j := range job.Judges {
		info := j.Metric.Info()
		for _, need := range info.Needs {
			missing := ""
			if column, ok := strings.CutPrefix(need, "field:"); ok {
				if _, ok := rec.FieldMap()[column]; !ok {
					missing = fmt.Sprintf("column %q", column)
				}
			}
			if (need == "scores" || need == "rolling") && len(rec.Likelihoods) == 0 {
				missing = "log-likelihoods"
			}
			if missing != "" {
				return &core.UserError{Where: "task " + rec.Task, Message: fmt.Sprintf("metric %s needs %s, which sample %s was not stored with", info.Name, missing, rec.Sample),
					Hint: "run the task again: evalrun " + job.Task.Path}
			}
		}
	}
	return nil
}

func sameVerdict(a, b []record.Score) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		x, y := a[i], b[i]
		if x.Metric != y.Metric || x.Profile != y.Profile || x.Failed != y.Failed || x.Dropped != y.Dropped || x.Skipped != y.Skipped ||
			x.Value != y.Value && (x.Value == x.Value || y.Value == y.Value) { // NaN is the same verdict as NaN
			return false
		}
	}
	return true
}
