package run

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/evalrun/evalrun/core"
	"github.com/evalrun/evalrun/core/record"
)

// A Sink stores records. Append is called by one goroutine at a time; a record
// that it has taken is never asked again.
type Sink interface {
	Append(rec *record.Record) error
}

// Options of a run.
type Options struct {
	// Model is the label of the table's column.
	Model   string
	Backend core.Backend
	Jobs    []*Job
	Sink    Sink
	// Stored yields the records that the sink already holds for this model;
	// nil is none. Finished samples are counted and not asked again.
	Stored func(yield func(*record.Record) bool) error
	// InFlight is the number of requests kept at the backend; 0 is 64.
	InFlight int
	// Drain, when closed, ends the asking: answers in flight are awaited.
	Drain <-chan struct{}
	// MaxFailures in a row without any success end the run; 0 is 20.
	MaxFailures int
}

// Outcome is how a run ended.
type Outcome uint8

// The outcomes.
const (
	Finished Outcome = iota
	Drained          // Options.Drain was closed
	BudgetReached
	GaveUp // nothing but failures; Result.Cause says which
)

// Report is what a run leaves.
type Report struct {
	Outcome Outcome
	Tallies []*Tally // one a job, in their order
	// Cause is the failure that ended the run, or the last API error.
	Cause *core.Error
}

type ask struct {
	job    int
	sample *core.Sample
	repeat int
	req    core.Request
	sent   time.Time
}

type answered struct {
	ask  *ask
	resp *core.Response
	err  *core.Error
}

type runner struct {
	o       Options
	done    map[record.Key]bool
	tallies []*Tally

	mu      sync.Mutex
	pending map[string]*ask
	slots   chan struct{}

	answers chan answered
	records chan *record.Record

	stop     chan struct{} // no more asking
	stopOnce sync.Once
	outcome  atomic.Uint32
	failures atomic.Int64
	progress *progress
	cause    atomic.Pointer[core.Error]
	judgeMu  []sync.Mutex
}

// A Runner runs once; Snapshot may be called meanwhile from anywhere.
type Runner struct{ r *runner }

// New prepares a run: templates and extractions are compiled, stored records
// are read.
func New(o Options) (*Runner, error) {
	o.InFlight = cmp.Or(o.InFlight, 64)
	o.MaxFailures = cmp.Or(o.MaxFailures, 20)
	r := &runner{
		o: o, done: map[record.Key]bool{}, pending: map[string]*ask{},
		slots: make(chan struct{}, o.InFlight), answers: make(chan answered, o.InFlight),
		records: make(chan *record.Record, 1024), stop: make(chan struct{}), progress: newProgress(o),
		judgeMu: make([]sync.Mutex, len(o.Jobs)),
	}
	byName := map[string]*Tally{}
	for _, j := range o.Jobs {
		if err := j.prepare(); err != nil {
			return nil, err
		}
		t := NewTally(j.Task, o.Model, j.Judges, j.Repeat)
		r.tallies = append(r.tallies, t)
		byName[j.Task.Name] = t
	}
	if o.Stored != nil {
		err := o.Stored(func(rec *record.Record) bool {
			if t := byName[rec.Task]; t != nil && rec.Model == o.Model && rec.Done() && !r.done[rec.Key()] {
				r.done[rec.Key()] = true
				t.Add(rec)
				r.progress.add(rec, true)
			}
			return true
		})
		if err != nil {
			return nil, err
		}
	}
	return &Runner{r}, nil
}

// Run asks what is missing. The error is a failure of the run itself: of the
// rows, the sink, a metric, the session. What the sink holds then stays good.
func (rr *Runner) Run(ctx context.Context) (*Report, error) {
	r := rr.r
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	session, err := r.o.Backend.Open(ctx)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", r.o.Model, err)
	}
	defer session.Close()
	if r.o.Drain != nil {
		go func() {
			select {
			case <-r.o.Drain:
				r.end(Drained)
			case <-ctx.Done():
			}
		}()
	}

	fail := func(err error) {
		if err != nil {
			r.end(GaveUp)
			cancel(err)
			session.Close()
		}
	}
	var readers, scorers sync.WaitGroup
	fed := make(chan struct{})
	go func() { // asks, then waits until every slot is free again
		defer close(fed)
		err := r.feed(ctx, session)
		if err != nil {
			fail(err)
			return
		}
		for range r.o.InFlight {
			select {
			case r.slots <- struct{}{}:
			case <-ctx.Done():
				return
			}
		}
		session.Close()
	}()
	readers.Go(func() { fail(r.receive(ctx, session)) })
	for range scorerCount {
		scorers.Go(func() { fail(r.scoreLoop(ctx)) })
	}
	written := make(chan struct{})
	go func() {
		defer close(written)
		fail(r.write(ctx))
	}()

	<-fed
	readers.Wait()
	close(r.answers)
	scorers.Wait()
	close(r.records)
	<-written
	if cause := context.Cause(ctx); cause != nil {
		return r.report(), cause
	}
	return r.report(), nil
}

func (r *runner) report() *Report {
	return &Report{Outcome: Outcome(r.outcome.Load()), Tallies: r.tallies, Cause: r.cause.Load()}
}

// end stops the asking; the first reason stays.
func (r *runner) end(o Outcome) {
	r.stopOnce.Do(func() {
		r.outcome.Store(uint32(o))
		close(r.stop)
	})
}

// feed asks sample after sample, task after task.
func (r *runner) feed(ctx context.Context, session core.Session) error {
	for ji, job := range r.o.Jobs {
		index := 0
		for row, err := range job.Rows(ctx) {
			if err != nil {
				return err
			}
			missing := r.missing(job, row.ID)
			if len(missing) > 0 {
				sample, err := job.Sample(index, row)
				if err != nil {
					return err
				}
				for _, rep := range missing {
					ok, err := r.send(ctx, session, ji, job, sample, rep)
					if err != nil || !ok {
						return err
					}
				}
			}
			index++
			select {
			case <-r.stop:
				return nil
			default:
			}
		}
		r.progress.settle(ji, index*job.Repeat)
	}
	return nil
}

func (r *runner) missing(job *Job, id string) []int {
	var out []int
	for rep := range job.Repeat {
		if !r.done[record.Key{Model: r.o.Model, Task: job.Task.Name, Sample: id, Repeat: rep}] {
			out = append(out, rep)
		}
	}
	return out
}

func (r *runner) send(ctx context.Context, session core.Session, ji int, job *Job, sample *core.Sample, rep int) (bool, error) {
	req, err := job.Request(sample, rep)
	if err != nil {
		return false, err
	}
	select {
	case r.slots <- struct{}{}:
	case <-r.stop:
		return false, nil
	case <-ctx.Done():
		return false, nil
	}
	a := &ask{job: ji, sample: sample, repeat: rep, req: req, sent: time.Now()}
	r.mu.Lock()
	if r.pending[req.ID] != nil {
		r.mu.Unlock()
		<-r.slots
		return false, fmt.Errorf("task %s: two rows have the id %s", job.Task.Name, sample.ID)
	}
	r.pending[req.ID] = a
	r.mu.Unlock()
	err = session.Send(req)
	if err == nil {
		return true, nil
	}
	var own *core.Error
	if errors.As(err, &own) {
		r.finish(answered{ask: r.take(req.ID), err: own})
		return true, nil
	}
	if ctx.Err() != nil {
		return false, nil
	}
	return false, fmt.Errorf("send to %s: %w", r.o.Model, err)
}

func (r *runner) take(id string) *ask {
	r.mu.Lock()
	defer r.mu.Unlock()
	a := r.pending[id]
	delete(r.pending, id)
	return a
}

// finish passes an answer on to be judged and frees its slot.
func (r *runner) finish(a answered) {
	if a.ask == nil {
		return
	}
	r.answers <- a
	<-r.slots
}

func (r *runner) receive(ctx context.Context, session core.Session) error {
	for ev, err := range session.Events() {
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("answers of %s: %w", r.o.Model, err)
		}
		switch ev.Kind {
		case core.EventResponse:
			r.failures.Store(0)
			r.finish(answered{ask: r.take(ev.ID), resp: ev.Response})
		case core.EventError:
			a := r.take(ev.ID)
			if a != nil {
				r.fault(ev.Err)
			}
			r.finish(answered{ask: a, err: ev.Err})
		case core.EventProgress:
			r.progress.note(ev.Progress)
		}
	}
	return nil
}

// fault decides whether an API error ends the run: a reached budget does, and
// so does a row of failures that no success interrupts.
func (r *runner) fault(err *core.Error) {
	if err.Code == core.CodeCancelled {
		return
	}
	r.cause.Store(err)
	if err.Code == core.CodeBudget {
		r.end(BudgetReached)
		return
	}
	n := r.failures.Add(1)
	limit := int64(r.o.MaxFailures)
	if err.Code == core.CodeAuth || err.Code == core.CodeNotFound {
		limit = 3
	}
	if n >= limit && r.progress.answered() == 0 {
		r.end(GaveUp)
	}
}

func (r *runner) write(ctx context.Context) error {
	for rec := range r.records {
		if err := r.o.Sink.Append(rec); err != nil {
			// The scorers must not block on a full channel while the run ends.
			go func() {
				for range r.records {
				}
			}()
			return fmt.Errorf("store a sample: %w", err)
		}
		for i, j := range r.o.Jobs {
			if j.Task.Name == rec.Task {
				r.tallies[i].Add(rec)
			}
		}
		r.progress.add(rec, false)
	}
	return nil
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

func sortTargets(t []Target) {
	slices.SortFunc(t, func(a, b Target) int { return cmp.Compare(a.Index, b.Index) })
}
