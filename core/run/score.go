package run

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/evalrun/evalrun/core"
	"github.com/evalrun/evalrun/core/prompt"
	"github.com/evalrun/evalrun/core/record"
	"github.com/evalrun/evalrun/core/text"
)

// scorerCount goroutines extract and judge; a metric itself is used by one at
// a time.
const scorerCount = 2

// maxBatch bounds how many answers are judged in one call.
const maxBatch = 64

// maxRounds bounds how often one metric may ask for judgements of one item.
const maxRounds = 4

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
			return err
		}
	}
	return nil
}

func (r *runner) scoreBatch(ctx context.Context, batch []answered) error {
	byJob := make([]judging, len(r.o.Jobs))
	for _, a := range batch {
		job := r.o.Jobs[a.ask.job]
		rec := r.record(ctx, job, a)
		switch {
		case rec == nil:
			r.drop()
		case rec.Error != nil:
			r.records <- rec
		default:
			b := &byJob[a.ask.job]
			b.recs = append(b.recs, rec)
			b.items = append(b.items, itemOf(job, rec, a.ask.sample.Fields))
		}
	}
	for ji := range byJob {
		b := &byJob[ji]
		if len(b.recs) == 0 {
			continue
		}
		b.job, b.mu, b.ask = r.o.Jobs[ji], &r.judgeMu[ji], r.askAside
		if err := b.judge(ctx); err != nil {
			return err
		}
		for i, rec := range b.recs {
			if e := b.failed[i]; e != nil {
				if unsaid(ctx, r, e) {
					r.drop()
					continue
				}
				rec.Error, rec.Scores = storedError(e), nil
				rec.Error.Message = "judging the answer: " + rec.Error.Message
			}
			r.records <- rec
		}
	}
	return nil
}

// unsaid tells whether an error says nothing about model or service: the cap
// was reached, or the request was taken back because the run ends.
func unsaid(ctx context.Context, r *runner, e *core.Error) bool {
	return e.Code == core.CodeBudget || e.Code == core.CodeCancelled && (ctx.Err() != nil || r.stopping())
}

func storedError(e *core.Error) *record.Error {
	return &record.Error{Code: e.Code, Message: e.Message, Hint: e.Hint, Status: e.Status}
}

// askAside puts a metric's requests to the run's session, or to the judging
// model's, and waits for their answers; answer i belongs to request i.
func (r *runner) askAside(ctx context.Context, job *Job, reqs []core.Request, other bool) ([]answered, error) {
	session, form, name := r.session, job.Form, r.o.Model
	if other {
		session, form, name = r.judge, r.o.JudgeForm, "the judge"
	}
	waiting := make([]chan answered, len(reqs))
	for i, req := range reqs {
		if other {
			req.Adapter = r.o.JudgeAdapter
		}
		if form == core.FormChat && req.Messages == nil && req.Kind == core.Generate {
			req.Messages, req.Prompt = []core.Message{{Role: "user", Content: req.Prompt}}, ""
		}
		req.ID = fmt.Sprintf("judge/%d", r.aside.Add(1))
		c := make(chan answered, 1)
		waiting[i] = c
		select {
		case r.slots <- struct{}{}:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
		r.mu.Lock()
		r.asides[req.ID] = c
		r.mu.Unlock()
		if err := session.Send(req); err != nil {
			e := own(err)
			if e == nil {
				return nil, fmt.Errorf("send to %s: %w", name, err)
			}
			r.arrived(req.ID, nil, e)
		}
	}
	out := make([]answered, len(reqs))
	for i, c := range waiting {
		select {
		case out[i] = <-c:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
	return out, nil
}

// record makes the stored form of an answer; nil for one that must not be
// stored, because it says nothing about model or service.
func (r *runner) record(ctx context.Context, job *Job, a answered) *record.Record {
	if a.err != nil && unsaid(ctx, r, a.err) {
		return nil
	}
	s := a.ask.sample
	rec := &record.Record{
		V: record.Version, Task: job.Task.Name, Model: r.o.Model, Sample: s.ID, Index: s.Index, Repeat: a.ask.repeat, PromptCut: s.Cut,
		Prompt: a.ask.req.Prompt, Messages: a.ask.req.Messages, Continuations: a.ask.req.Continuations,
		Generation: record.FromGeneration(a.ask.req.Generation), Targets: s.Targets, Gold: s.Gold,
		Fields: fieldsOf(s.Fields, job.keep), Cluster: clusterOf(job.Task, s.Fields),
	}
	if a.err != nil {
		rec.Error = storedError(a.err)
		rec.Seconds = time.Since(a.ask.sent).Seconds()
		return rec
	}
	p := a.resp
	rec.Response, rec.Finish, rec.Likelihoods = p.Text, p.Finish, p.Scores
	rec.Usage, rec.Truncated, rec.Seconds = p.Usage, p.Truncated, p.Seconds
	rec.CostUSD, rec.Cached, rec.Attempts = p.CostUSD, p.Cached, p.Attempts
	job.extract(rec)
	return rec
}

// extract runs the task's pipeline on a record's answer.
func (j *Job) extract(rec *record.Record) {
	rec.Extracted, rec.ExtractFailed, rec.ExtractError = nil, false, ""
	if j.pipeline == nil {
		return
	}
	o := j.pipeline.Run(rec.Response)
	if o.OK {
		rec.Extracted = &o.Text
	}
	rec.ExtractFailed = !o.OK
	if o.Err != nil {
		rec.ExtractError = o.Err.Error()
	}
}

// clusterOf is a fingerprint of the value that the row shares with others.
func clusterOf(t *core.Task, fields map[string]any) string {
	v, ok := fields[t.Cluster]
	if t.Cluster == "" || !ok {
		return ""
	}
	sum := sha256.Sum256([]byte(text.Str(v)))
	return hex.EncodeToString(sum[:8])
}

// itemOf is what a metric judges of a record.
func itemOf(job *Job, rec *record.Record, fields map[string]any) core.Item {
	it := core.Item{
		ID: rec.Sample, Task: job.Task, Fields: fields, Prompt: rec.Prompt, Raw: rec.Response, Text: rec.Response,
		ExtractFailed: rec.ExtractFailed, Targets: rec.Targets, Scores: rec.Likelihoods, Gold: rec.Gold,
	}
	if len(rec.Continuations) > 0 {
		delimiter := ""
		if !job.rolling {
			delimiter = prompt.Delimiter(job.Task)
		}
		it.Choices = make([]string, len(rec.Continuations))
		for i, c := range rec.Continuations {
			it.Choices[i] = strings.TrimPrefix(c, delimiter)
		}
		if len(it.Gold) == 0 { // stored before places were
			it.Gold = places(it.Targets, it.Choices)
		}
	}
	if job.pipeline != nil {
		it.Text = ""
		if rec.Extracted != nil {
			it.Text = *rec.Extracted
		}
	}
	return it
}

// A judging scores the items of one job into their records.
type judging struct {
	job   *Job
	mu    *sync.Mutex // a metric is used by one goroutine at a time
	recs  []*record.Record
	items []core.Item
	// ask gets the judgements that a metric asks for; nil where there is no
	// model to ask, and then the stored verdict stays.
	// other says that they are for the judging model.
	ask func(ctx context.Context, job *Job, reqs []core.Request, other bool) ([]answered, error)
	// failed are the errors of judgements by item.
	failed map[int]*core.Error
}

func (b *judging) judge(ctx context.Context) error {
	before := make([][]record.Score, len(b.recs))
	for i, rec := range b.recs {
		before[i] = rec.Scores
		rec.Scores = make([]record.Score, 0, len(b.job.Judges))
	}
	b.failed = map[int]*core.Error{}
	whole, extracted := b.items, map[string][]core.Item{}
	defer func() { b.items = whole }()
	for _, j := range b.job.Judges {
		name := j.Name()
		if b.items = whole; j.Pipeline != "" {
			if extracted[j.Pipeline] == nil {
				extracted[j.Pipeline] = through(j, whole)
			}
			b.items = extracted[j.Pipeline]
		}
		scores, err := b.score(ctx, j.Metric, b.items)
		if err == nil {
			err = b.judged(ctx, j, scores, before)
		}
		if err != nil {
			return fmt.Errorf("metric %s of task %s: %w", name, b.job.Task.Name, err)
		}
		for i, s := range scores {
			if s.Extracted == b.recs[i].Response {
				s.Extracted = "" // the whole answer need not be stored again
			}
			s.Extracted, s.Parts = clip(s.Extracted), only(s.Parts, j.Metric.Info().Parts)
			stored := record.FromScore(name, j.Profile, s)
			if j.Reduce.Kind == "majority" {
				stored.Vote = j.vote(b.recs[i].Response)
			}
			b.recs[i].Scores = append(b.recs[i].Scores, stored)
		}
	}
	return nil
}

// through gives the items with the text that a named extraction finds.
func through(j Judge, items []core.Item) []core.Item {
	out := slices.Clone(items)
	for i := range out {
		text, found := j.text(out[i].Raw)
		out[i].Text, out[i].ExtractFailed = text, !found
	}
	return out
}

func (b *judging) score(ctx context.Context, m core.Metric, items []core.Item) ([]core.Score, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	scores, err := m.Score(ctx, items)
	if err == nil && len(scores) != len(items) {
		err = fmt.Errorf("%d scores for %d items", len(scores), len(items))
	}
	return scores, err
}

// judged asks what the scores ask for and scores those items again, until none
// asks any more.
func (b *judging) judged(ctx context.Context, j Judge, scores []core.Score, before [][]record.Score) error {
	judgements := map[int][]core.Response{}
	for round := 0; ; round++ {
		var open []int // items that wait for judgements
		var reqs []core.Request
		for i := range scores {
			if len(scores[i].Requests) == 0 || b.failed[i] != nil {
				continue
			}
			if b.ask == nil {
				scores[i] = kept(before[i], j)
				continue
			}
			open = append(open, i)
			for _, req := range scores[i].Requests {
				req.Task, req.Sample, req.Repeat, req.Adapter = b.recs[i].Task, b.recs[i].Sample, b.recs[i].Repeat, b.job.Adapter
				reqs = append(reqs, req)
			}
		}
		if len(open) == 0 {
			return nil
		}
		if round == maxRounds {
			return fmt.Errorf("it still asks for judgements after %d rounds", maxRounds)
		}
		answers, err := b.ask(ctx, b.job, reqs, slices.Contains(j.Metric.Info().Needs, "judge"))
		if err != nil {
			return err
		}
		var again []core.Item
		var places []int
		for _, i := range open {
			for range scores[i].Requests {
				a := answers[0]
				answers = answers[1:]
				if a.err != nil {
					b.failed[i] = a.err
					continue
				}
				judgements[i] = append(judgements[i], *a.resp)
				b.recs[i].CostUSD += a.resp.CostUSD
			}
			if b.failed[i] == nil {
				item := b.items[i]
				item.Judged = judgements[i]
				again, places = append(again, item), append(places, i)
			}
		}
		if len(again) == 0 {
			return nil
		}
		better, err := b.score(ctx, j.Metric, again)
		if err != nil {
			return err
		}
		for k, i := range places {
			scores[i] = better[k]
		}
	}
}

// kept is the stored verdict of a judge that has nobody to ask.
func kept(before []record.Score, j Judge) core.Score {
	for _, s := range before {
		if s.Metric == j.Name() && s.Profile == j.Profile {
			return s.Core()
		}
	}
	return core.Score{Skipped: "it needs the judgement of a model, and none is asked here"}
}

// only takes the named parts.
func only(parts map[string]float64, names []string) map[string]float64 {
	if len(names) == 0 || len(parts) == 0 {
		return nil
	}
	out := make(map[string]float64, len(names))
	for _, name := range names {
		if v, ok := parts[name]; ok {
			out[name] = v
		}
	}
	return out
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

// Rescore judges stored records again with the job's present extraction and
// metrics. Fields of the row are those that the record kept. No model is asked:
// a metric that needs a judge keeps its stored verdict.
func Rescore(ctx context.Context, job *Job, recs []*record.Record) error {
	if job.filler == nil {
		if err := job.prepare(); err != nil {
			return err
		}
	}
	items := make([]core.Item, len(recs))
	for i, rec := range recs {
		job.extract(rec)
		items[i] = itemOf(job, rec, rec.FieldMap())
	}
	b := judging{job: job, mu: new(sync.Mutex), recs: recs, items: items}
	return b.judge(ctx)
}

// fieldsOf encodes the columns that a metric needs for scoring again.
func fieldsOf(fields map[string]any, keep []string) json.RawMessage {
	if len(keep) == 0 {
		return nil
	}
	m := make(map[string]any, len(keep))
	for _, k := range keep {
		if v, ok := fields[k]; ok {
			m[k] = v
		}
	}
	b, err := json.Marshal(m)
	if err != nil {
		return nil
	}
	return b
}

func isBlank(s string) bool { return strings.TrimSpace(s) == "" }
