package run

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/evalrun/evalrun/core"
	"github.com/evalrun/evalrun/core/record"
)

// scorerCount goroutines extract and judge; a metric itself is used by one at
// a time.
const scorerCount = 2

// maxBatch bounds how many answers are judged in one call.
const maxBatch = 64

// scoreLoop judges answers in batches of what has come, by job.
func (r *runner) scoreLoop(ctx context.Context) error {
	for first := range r.answers {
		batch := []answered{first}
	more:
		for len(batch) < maxBatch {
			select {
			case a, ok := <-r.answers:
				if !ok {
					break more
				}
				batch = append(batch, a)
			default:
				break more
			}
		}
		if err := r.scoreBatch(ctx, batch); err != nil {
			go func() {
				for range r.answers {
				}
			}()
			return err
		}
	}
	return nil
}

func (r *runner) scoreBatch(ctx context.Context, batch []answered) error {
	byJob := map[int][]*record.Record{}
	items := map[int][]core.Item{}
	for _, a := range batch {
		job := r.o.Jobs[a.ask.job]
		rec := r.record(job, a)
		if rec == nil {
			continue
		}
		if rec.Error != nil {
			r.records <- rec
			continue
		}
		byJob[a.ask.job] = append(byJob[a.ask.job], rec)
		items[a.ask.job] = append(items[a.ask.job], itemOf(job, rec, a.ask.sample.Fields))
	}
	for ji, recs := range byJob {
		if err := judge(ctx, &r.judgeMu[ji], r.o.Jobs[ji], recs, items[ji]); err != nil {
			return err
		}
		for _, rec := range recs {
			r.records <- rec
		}
	}
	return nil
}

// record makes the stored form of an answer; nil for one that must not be
// stored, because it says nothing about model or service.
func (r *runner) record(job *Job, a answered) *record.Record {
	s := a.ask.sample
	rec := &record.Record{
		V: record.Version, Task: job.Task.Name, Model: r.o.Model, Sample: s.ID, Index: s.Index, Repeat: a.ask.repeat,
		Prompt: a.ask.req.Prompt, Messages: a.ask.req.Messages, Continuations: a.ask.req.Continuations,
		Generation: record.FromGeneration(a.ask.req.Generation), Targets: s.Targets,
		Fields: fieldsOf(s.Fields, job.keep),
	}
	if a.err != nil {
		if a.err.Code == core.CodeBudget || a.err.Code == core.CodeCancelled {
			return nil
		}
		rec.Error = &record.Error{Code: a.err.Code, Message: a.err.Message, Hint: a.err.Hint, Status: a.err.Status}
		rec.Seconds = time.Since(a.ask.sent).Seconds()
		return rec
	}
	p := a.resp
	rec.Response, rec.Finish, rec.Likelihoods = p.Text, p.Finish, p.Scores
	rec.Usage, rec.Truncated, rec.Seconds = p.Usage, p.Truncated, p.Seconds
	rec.CostUSD, rec.Cached, rec.Attempts = p.CostUSD, p.Cached, p.Attempts
	if job.pipeline != nil {
		text, ok := job.pipeline.Apply(p.Text)
		if ok {
			rec.Extracted = &text
		}
		rec.ExtractFailed = !ok
	}
	return rec
}

// itemOf is what a metric judges of a record.
func itemOf(job *Job, rec *record.Record, fields map[string]any) core.Item {
	it := core.Item{
		ID: rec.Sample, Task: job.Task, Fields: fields, Prompt: rec.Prompt, Raw: rec.Response, Text: rec.Response,
		ExtractFailed: rec.ExtractFailed, Targets: rec.Targets, Scores: rec.Likelihoods,
	}
	if job.pipeline != nil {
		it.Text = ""
		if rec.Extracted != nil {
			it.Text = *rec.Extracted
		}
	}
	return it
}

// judge scores the items of one job into their records.
func judge(ctx context.Context, mu *sync.Mutex, job *Job, recs []*record.Record, items []core.Item) error {
	mu.Lock()
	defer mu.Unlock()
	for _, rec := range recs {
		rec.Scores = make([]record.Score, 0, len(job.Judges))
	}
	for _, j := range job.Judges {
		info := j.Metric.Info()
		scores, err := j.Metric.Score(ctx, items)
		if err != nil {
			return fmt.Errorf("metric %s of task %s: %w", info.Name, job.Task.Name, err)
		}
		if len(scores) != len(items) {
			return fmt.Errorf("metric %s of task %s: %d scores for %d items", info.Name, job.Task.Name, len(scores), len(items))
		}
		for i, s := range scores {
			recs[i].Scores = append(recs[i].Scores, record.Score{
				Metric: info.Name, Profile: j.Profile, Value: record.Float(s.Value), Extracted: clip(s.Extracted),
				Failed: s.Failed, Dropped: s.Dropped, Skipped: s.Skipped, Note: s.Note,
			})
		}
	}
	return nil
}

// clip keeps a stored extraction readable; the whole answer is stored anyway.
func clip(s string) string {
	const most = 2000
	if len(s) <= most {
		return s
	}
	for i := most; i > most-4; i-- {
		if s[i]&0xC0 != 0x80 {
			return s[:i] + "…"
		}
	}
	return s[:most]
}

// Rescore judges a stored record again with the job's present extraction and
// metrics. Fields of the row are those that the record kept.
func Rescore(ctx context.Context, job *Job, recs []*record.Record) error {
	if job.template == nil {
		if err := job.prepare(); err != nil {
			return err
		}
	}
	items := make([]core.Item, len(recs))
	for i, rec := range recs {
		if job.pipeline != nil {
			text, ok := job.pipeline.Apply(rec.Response)
			rec.Extracted, rec.ExtractFailed = nil, !ok
			if ok {
				rec.Extracted = &text
			}
		} else {
			rec.Extracted, rec.ExtractFailed = nil, false
		}
		items[i] = itemOf(job, rec, rec.FieldMap())
	}
	return judge(ctx, new(sync.Mutex), job, recs, items)
}
