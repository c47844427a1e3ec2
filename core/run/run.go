package run

import (
	"cmp"
	"context"
	"errors"
	"fmt"
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
	// Judge is the model that metrics ask for judgements; nil is none. JudgeForm
	// and JudgeAdapter say how.
	Judge        core.Backend
	JudgeForm    core.Form
	JudgeAdapter string
	// Stored yields the records that the sink already holds for this model;
	// nil is none. Finished samples are counted and not asked again; samples
	// that have only an API error are asked again.
	Stored func(yield func(*record.Record) bool) error
	// InFlight is the number of requests kept at the backend; 0 is 64.
	InFlight int
	// Drain, when closed, ends the asking: answers in flight are awaited.
	Drain <-chan struct{}
	// Drained, unless nil, is called then: what is in flight shall not be tried
	// again.
	Drained func()
	// MaxFailures in a row end the run; 0 is 20. See [Report.Outcome].
	MaxFailures int
}

// Outcome is how a run ended.
type Outcome uint8

// The outcomes.
const (
	Finished Outcome = iota
	Drained          // Options.Drain was closed before everything was asked
	BudgetReached
	GaveUp // nothing but failures; Report.Cause says which
)

// Report is what a run leaves.
type Report struct {
	Outcome Outcome
	Tallies []*Tally // one a job, in their order
	// Cause is the failure that ended the run, or the last API error.
	Cause *core.Error
}

// NoJudge is the mistake of a run whose metric needs a judging model.
func NoJudge(where, metric string) error {
	return &core.UserError{Where: where, Message: fmt.Sprintf("the metric %s has a model judge the answers, and none is named", metric),
		Hint: "name it: --judge openai:gpt-4-0613, --judge local:DIR"}
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

// backlog is how many answers may wait to be judged and stored besides those in
// flight, before the asking pauses.
const backlog = 256

type runner struct {
	o       Options
	done    map[record.Key]uint64 // stored answers, with the fingerprint of what was asked
	tallies []*Tally
	byTask  map[string]*Tally
	session core.Session
	judge   core.Session // of Options.Judge

	mu      sync.Mutex
	pending map[string]*ask
	asides  map[string]chan<- answered // requests of metrics
	aside   atomic.Uint64              // numbers them

	// slots are requests at the backend; room are samples between asking and
	// storing. answers has place for all of room, so that reading the session's
	// events never waits for the judging, which may wait for events itself.
	slots, room chan struct{}
	answers     chan answered
	records     chan *record.Record

	stop     chan struct{} // no more asking
	stopOnce sync.Once
	outcome  atomic.Uint32
	complete atomic.Bool // every row was asked
	dropped  atomic.Bool // some sample was not stored, whatever the outcome
	missed   atomic.Bool // a drained run's request failed: it might have been tried again
	closing  atomic.Bool // the session's end is wanted
	sending  atomic.Pointer[string]
	failures atomic.Int64 // in a row
	answersN atomic.Int64 // of this run
	progress *progress
	cause    atomic.Pointer[core.Error]
	judgeMu  []sync.Mutex
}

// A Runner runs once; Snapshot may be called meanwhile from anywhere.
type Runner struct{ r *runner }

// New prepares a run: templates and extractions are compiled, stored records
// are read.
func New(o Options) (*Runner, error) {
	o.InFlight = max(cmp.Or(o.InFlight, 64), 1)
	o.MaxFailures = cmp.Or(o.MaxFailures, 20)
	r := &runner{
		o: o, done: map[record.Key]uint64{}, pending: map[string]*ask{}, asides: map[string]chan<- answered{},
		byTask: map[string]*Tally{},
		slots:  make(chan struct{}, o.InFlight), room: make(chan struct{}, o.InFlight+backlog),
		answers: make(chan answered, o.InFlight+backlog), records: make(chan *record.Record, backlog),
		stop: make(chan struct{}), judgeMu: make([]sync.Mutex, len(o.Jobs)),
	}
	for _, j := range o.Jobs {
		if err := j.prepare(); err != nil {
			return nil, err
		}
		if r.byTask[j.Task.Name] != nil {
			return nil, fmt.Errorf("two jobs have the task %s", j.Task.Name)
		}
		if m := j.NeedsJudge(); m != "" && o.Judge == nil {
			return nil, NoJudge(j.Task.Path, m)
		}
		t := NewTally(j.Task, o.Model, j.Judges, j.Repeat)
		r.tallies = append(r.tallies, t)
		r.byTask[j.Task.Name] = t
	}
	r.progress = newProgress(o)
	if o.Stored == nil {
		return &Runner{r}, nil
	}
	err := o.Stored(func(rec *record.Record) bool {
		t := r.byTask[rec.Task]
		if t == nil || rec.Model != o.Model || !rec.Done() {
			return true
		}
		if _, twice := r.done[rec.Key()]; !twice {
			r.done[rec.Key()] = fingerprint(rec.Prompt, rec.Messages, rec.Targets, rec.Continuations)
			t.Add(rec)
			r.progress.add(rec, true)
		}
		return true
	})
	if err != nil {
		return nil, err
	}
	return &Runner{r}, nil
}

// Run asks what is missing. The error is a failure of the run itself: of the
// rows, the sink, a metric, the session. After a failure of the rows the answers
// in flight are awaited and stored; after any other they are lost. What the sink
// holds stays good. Run leaves no goroutine behind.
func (rr *Runner) Run(ctx context.Context) (*Report, error) {
	r := rr.r
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var err error
	if r.session, err = r.o.Backend.Open(ctx); err != nil {
		return nil, fmt.Errorf("open %s: %w", r.o.Model, err)
	}
	if r.o.Judge != nil {
		if r.judge, err = r.o.Judge.Open(ctx); err != nil {
			r.session.Close()
			return nil, fmt.Errorf("open the judge: %w", err)
		}
	}
	defer r.close()
	fail := func(err error) {
		if err != nil {
			r.end(GaveUp)
			cancel(err)
			r.close()
		}
	}
	var watcher, reader, scorers, writer sync.WaitGroup
	ended := make(chan struct{})
	defer watcher.Wait()
	defer close(ended)
	if r.o.Drain != nil {
		watcher.Go(func() { r.watchDrain(ended) })
	}
	reader.Go(func() { fail(r.receive(ctx, r.session, r.o.Model)) })
	if r.judge != nil {
		reader.Go(func() { fail(r.receive(ctx, r.judge, "the judge")) })
	}
	for range scorerCount {
		scorers.Go(func() { fail(r.scoreLoop(ctx)) })
	}
	writer.Go(func() { fail(r.write()) })

	err = r.feed(ctx)
	if err != nil {
		r.end(GaveUp)
	}
	r.settle(ctx)
	r.close()
	reader.Wait()
	close(r.answers)
	scorers.Wait()
	close(r.records)
	writer.Wait()
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	return r.report(), err
}

// settle waits until everything asked is stored, or the run has failed.
func (r *runner) settle(ctx context.Context) {
	for range cap(r.room) {
		select {
		case r.room <- struct{}{}:
		case <-ctx.Done():
			return
		}
	}
}

func (r *runner) close() {
	r.closing.Store(true)
	r.session.Close()
	if r.judge != nil {
		r.judge.Close()
	}
}

func (r *runner) report() *Report {
	o := Outcome(r.outcome.Load())
	if o == Drained && r.complete.Load() && !r.dropped.Load() && !r.missed.Load() {
		o = Finished // nothing was left to ask
	}
	return &Report{Outcome: o, Tallies: r.tallies, Cause: r.cause.Load()}
}

// end stops the asking; the first reason stays.
func (r *runner) end(o Outcome) {
	r.stopOnce.Do(func() {
		r.outcome.Store(uint32(o))
		close(r.stop)
	})
}

func (r *runner) stopping() bool {
	select {
	case <-r.stop:
		return true
	default:
		return false
	}
}

// heldBack is how long a Send may block before a drain takes its request back.
const heldBack = time.Second

// watchDrain stops the asking when the run is drained. A request that a rate
// limit holds back was not sent yet: nobody need wait for it.
func (r *runner) watchDrain(ended <-chan struct{}) {
	select {
	case <-r.o.Drain:
		r.end(Drained)
	case <-ended:
		return
	}
	if r.o.Drained != nil {
		r.o.Drained()
	}
	timer := time.NewTimer(heldBack)
	defer timer.Stop()
	select {
	case <-timer.C:
		if id := r.sending.Load(); id != nil {
			_ = r.session.Cancel(*id)
		}
	case <-ended:
	}
}

// receive takes a session's events until it is closed. It never blocks on the
// judging.
func (r *runner) receive(ctx context.Context, session core.Session, name string) error {
	for ev, err := range session.Events() {
		if err != nil {
			if ctx.Err() != nil || r.closing.Load() {
				return nil
			}
			return fmt.Errorf("answers of %s: %w", name, err)
		}
		switch ev.Kind {
		case core.EventResponse:
			if ev.Response == nil {
				r.arrived(ev.ID, nil, &core.Error{Code: core.CodeInternal, Message: "the backend sent an answer without content"})
				continue
			}
			r.arrived(ev.ID, ev.Response, nil)
		case core.EventError:
			r.arrived(ev.ID, nil, cmp.Or(ev.Err, &core.Error{Code: core.CodeInternal, Message: "the backend sent an error without content"}))
		case core.EventProgress:
			r.progress.note(ev.Progress)
		}
	}
	if ctx.Err() != nil || r.closing.Load() {
		return nil
	}
	return fmt.Errorf("answers of %s ended early: %w", name, core.ErrSessionLost)
}

// arrived passes a final event on to be judged, or to the metric that asked, and
// frees its slot. An id that nobody waits for is ignored.
func (r *runner) arrived(id string, resp *core.Response, err *core.Error) {
	r.mu.Lock()
	a, aside := r.pending[id], r.asides[id]
	delete(r.pending, id)
	delete(r.asides, id)
	r.mu.Unlock()
	if a == nil && aside == nil {
		return
	}
	if err == nil {
		r.failures.Store(0)
		r.answersN.Add(1)
	} else {
		if r.stopping() {
			r.missed.Store(true)
		}
		r.fault(err)
	}
	if aside != nil {
		aside <- answered{resp: resp, err: err}
	} else {
		r.answers <- answered{ask: a, resp: resp, err: err}
	}
	<-r.slots
}

// fault decides whether an API error ends the run. A reached budget does. So
// does a row of failures: of any kind before the first answer, and afterwards of
// kinds that speak of the service and not of one request.
func (r *runner) fault(err *core.Error) {
	if err.Code == core.CodeCancelled {
		return
	}
	r.cause.Store(err)
	if err.Code == core.CodeBudget {
		r.end(BudgetReached)
		return
	}
	limit := int64(r.o.MaxFailures)
	switch err.Code {
	case core.CodeAuth:
		limit = 3 // a refused key stays refused
	case core.CodeInvalid, core.CodeContextLength, core.CodeNotFound:
		if r.answersN.Load() > 0 {
			return
		}
	default:
		if r.answersN.Load() > 0 {
			limit += 2 * int64(r.o.InFlight) // one outage fails all that is in flight
		}
	}
	if r.failures.Add(1) >= limit {
		r.end(GaveUp)
	}
}

func (r *runner) write() error {
	for rec := range r.records {
		if err := r.o.Sink.Append(rec); err != nil {
			// The scorers must not block on a full channel while the run ends.
			go func() {
				for range r.records {
				}
			}()
			return fmt.Errorf("store a sample: %w", err)
		}
		r.byTask[rec.Task].Add(rec)
		r.progress.add(rec, false)
		<-r.room
	}
	return nil
}

// drop forgets a sample that must not be stored.
func (r *runner) drop() {
	r.dropped.Store(true)
	<-r.room
}

// own finds the request's own failure in what Send gave.
func own(err error) *core.Error {
	var e *core.Error
	if errors.As(err, &e) {
		return e
	}
	return nil
}
