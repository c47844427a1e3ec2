package training

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"path/filepath"
	"slices"

	"github.com/evalrun/evalrun/core"
	"github.com/evalrun/evalrun/core/record"
	"github.com/evalrun/evalrun/core/run"
)

// A Scorer puts validation rows to a model in training as an evaluation does,
// and judges its answers by a metric of the task.
type Scorer struct {
	// Job is the task's, with the one judge whose score counts.
	Job *run.Job
	// Rows yields those of the task that Held names; it may be called again.
	Rows func(ctx context.Context) iter.Seq2[run.Row, error]
	Held []Row
	// InFlight is the number of requests kept at the model; 0 is 64.
	InFlight int
	// Dir keeps the answers, a file of records an evaluation; empty keeps none.
	Dir string

	rows []run.Row // of Held, once they have been read
}

// Metric is what the score is by.
func (s *Scorer) Metric() core.MetricInfo { return s.Job.Judges[0].Metric.Info() }

// Score answers what a trainer asks. A row that gets no answer is an error:
// without it the score could not be compared with others.
func (s *Scorer) Score(ctx context.Context, backend core.Backend, ask *core.TrainScore) error {
	if s.rows == nil {
		if err := s.read(ctx); err != nil {
			return err
		}
	}
	rows := s.rows
	if ask.Rows > 0 && ask.Rows < len(rows) {
		rows = rows[:ask.Rows]
	}
	job := *s.Job
	job.Adapter, job.Total = ask.Adapter, len(rows)
	job.Rows = func(context.Context) iter.Seq2[run.Row, error] {
		return func(yield func(run.Row, error) bool) {
			for _, r := range rows {
				if !yield(r, nil) {
					return
				}
			}
		}
	}
	kept := &answers{}
	runner, err := run.New(run.Options{Model: fmt.Sprintf("step %d", ask.Step), Backend: backend, Jobs: []*run.Job{&job}, Sink: kept, InFlight: s.InFlight})
	if err != nil {
		return err
	}
	report, err := runner.Run(ctx)
	if err != nil {
		return err
	}
	if err := kept.save(s.Dir, ask.Step); err != nil {
		return fmt.Errorf("keep the answers of step %d: %w", ask.Step, err)
	}
	sum := report.Tallies[0].Sum(nil)
	if report.Outcome != run.Finished || sum.Counts.APIErrors > 0 {
		why := errors.New("not all rows were answered")
		if report.Cause != nil {
			why = report.Cause
		}
		return &core.UserError{Where: fmt.Sprintf("step %d", ask.Step), Message: fmt.Sprintf("%d of %d validation rows got no answer", len(rows)-sum.Counts.Answered, len(rows)), Hint: "--set recipe.monitor=loss follows the validation loss instead", Err: why}
	}
	a := sum.Results[0].Aggregate
	if a.Skip != "" || a.N == 0 {
		return &core.UserError{Where: fmt.Sprintf("step %d", ask.Step), Message: fmt.Sprintf("the metric %s gives the validation rows no score: %s", s.Metric().Name, cmp.Or(a.Skip, "none of them counts")), Hint: "--set recipe.monitor=loss follows the validation loss instead"}
	}
	ask.Value = &a.Score
	return nil
}

// read finds the rows that are held out, in their order.
func (s *Scorer) read(ctx context.Context) error {
	held := map[string]bool{}
	for _, r := range s.Held {
		held[r.ID] = true
	}
	for row, err := range s.Rows(ctx) {
		if err != nil {
			return err
		}
		if held[row.ID] {
			if s.rows = append(s.rows, row); len(s.rows) == len(held) {
				return nil
			}
		}
	}
	return fmt.Errorf("%d of %d rows held out for validation are not there any more", len(held)-len(s.rows), len(held))
}

// answers is a sink that holds what came.
type answers struct{ all []*record.Record }

// Append holds a record.
func (a *answers) Append(r *record.Record) error {
	a.all = append(a.all, r)
	return nil
}

// save writes the records in the order of the rows.
func (a *answers) save(dir string, step int) error {
	if dir == "" {
		return nil
	}
	slices.SortFunc(a.all, func(x, y *record.Record) int {
		return cmp.Or(cmp.Compare(x.Index, y.Index), cmp.Compare(x.Repeat, y.Repeat))
	})
	var b bytes.Buffer
	for _, r := range a.all {
		line, err := record.Append(nil, r)
		if err != nil {
			return err
		}
		b.Write(line)
	}
	return save(filepath.Join(dir, fmt.Sprintf("answers-%d.jsonl", step)), b.Bytes())
}
