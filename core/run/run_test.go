package run

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/evalrun/evalrun/core"
	"github.com/evalrun/evalrun/core/record"
)

func reply(text string) core.Event {
	return core.Event{Kind: core.EventResponse, Response: &core.Response{Text: text, Finish: core.FinishStop, CostUSD: 1}}
}

func refusal(code core.Code) core.Event {
	return core.Event{Kind: core.EventError, Err: &core.Error{Code: code, Message: "no"}}
}

func TestFinished(t *testing.T) {
	for _, n := range []int{0, 1, 700} {
		sink := &memory{}
		a, b := jobOf("a", n), jobOf("b", 3)
		b.Repeat = 2
		rep, err := finish(t, context.Background(), Options{Backend: &fake{}, Jobs: []*Job{a, b}, Sink: sink, InFlight: 8})
		if err != nil || rep.Outcome != Finished {
			t.Fatalf("%d rows: outcome %v, %v", n, rep.Outcome, err)
		}
		if sink.len() != n+6 {
			t.Errorf("%d rows: %d records", n, sink.len())
		}
		if c := rep.Tallies[1].Counts(); c.Answered != 6 {
			t.Errorf("%d answers of b, want 6", c.Answered)
		}
		if n > 0 {
			if s := rep.Tallies[0].Sum(nil); s.Results[0].Aggregate.N != n || s.Results[0].Aggregate.Score < 0.999 {
				t.Errorf("aggregate %+v", s.Results[0].Aggregate)
			}
		}
	}
}

// Every way in which a run can fail ends it, leaves nothing running, and says
// what happened.
func TestFailures(t *testing.T) {
	boom := errors.New("boom")
	for _, tt := range []struct {
		name  string
		setup func(o *Options, f *fake, sink *memory)
		want  error
	}{
		{"sink", func(_ *Options, _ *fake, sink *memory) { sink.after = 20 }, errDisk},
		{"sink at once", func(_ *Options, _ *fake, sink *memory) { sink.after = 1 }, errDisk},
		{"metric", func(o *Options, _ *fake, _ *memory) { o.Jobs[0].Judges[0].Metric = &exact{fail: 30} }, errMetric},
		{"rows", func(o *Options, _ *fake, _ *memory) { o.Jobs[0].Rows = rowsOf(2000, 1000) }, errRows},
		{"rows at once", func(o *Options, _ *fake, _ *memory) { o.Jobs[0].Rows = rowsOf(2000, 1) }, errRows},
		{"session lost", func(_ *Options, f *fake, _ *memory) { f.lost = 50 }, core.ErrSessionLost},
		{"events end without a word", func(_ *Options, f *fake, _ *memory) { f.lost, f.silent = 50, true }, core.ErrSessionLost},
		{"send", func(_ *Options, f *fake, _ *memory) {
			f.refuse = func(r core.Request) error {
				if r.Sample == "60" {
					return boom
				}
				return nil
			}
		}, boom},
		{"open", func(_ *Options, f *fake, _ *memory) { f.open = boom }, boom},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f, sink := &fake{}, &memory{}
			o := Options{Backend: f, Jobs: []*Job{jobOf("a", 2000)}, Sink: sink, InFlight: 16}
			tt.setup(&o, f, sink)
			if _, err := finish(t, context.Background(), o); !errors.Is(err, tt.want) {
				t.Errorf("error %v, want %v", err, tt.want)
			}
		})
	}
}

// What was asked when the rows fail is answered, paid for, and stored.
func TestRowsFailAfterSends(t *testing.T) {
	f, sink := &fake{answer: func(core.Request) core.Event { time.Sleep(10 * time.Millisecond); return reply("yes") }}, &memory{}
	job := jobOf("a", 0)
	job.Rows = rowsOf(100, 40)
	_, err := finish(t, context.Background(), Options{Backend: f, Jobs: []*Job{job}, Sink: sink, InFlight: 32})
	if !errors.Is(err, errRows) || sink.len() != 40 {
		t.Errorf("%d stored, want 40; %v", sink.len(), err)
	}
}

func TestCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	var n atomic.Int64
	f, sink := &fake{}, &memory{}
	f.answer = func(core.Request) core.Event {
		if n.Add(1) == 100 {
			cancel()
		}
		return reply("yes")
	}
	_, err := finish(t, ctx, Options{Backend: f, Jobs: []*Job{jobOf("a", 5000)}, Sink: sink, InFlight: 16})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	for _, r := range sink.recs {
		if r.Error != nil {
			t.Errorf("sample %s is stored as %s", r.Sample, r.Error.Code)
		}
	}
}

func TestDrained(t *testing.T) {
	drain := make(chan struct{})
	var n atomic.Int64
	f, sink := &fake{}, &memory{}
	f.answer = func(core.Request) core.Event {
		if n.Add(1) == 100 {
			close(drain)
		}
		return reply("yes")
	}
	rep, err := finish(t, context.Background(), Options{Backend: f, Jobs: []*Job{jobOf("a", 5000)}, Sink: sink, InFlight: 16, Drain: drain})
	if err != nil || rep.Outcome != Drained {
		t.Fatalf("outcome %v, %v", rep.Outcome, err)
	}
	if asked := f.total(); sink.len() != asked || asked >= 5000 {
		t.Errorf("%d asked, %d stored", asked, sink.len())
	}
}

// A request that a rate limit holds back does not hold up the drain.
func TestDrainedWhileHeldBack(t *testing.T) {
	drain := make(chan struct{})
	f, sink := &fake{}, &memory{}
	f.refuse = func(r core.Request) error {
		if r.Sample == "5" {
			close(drain)
			return f.sessions[0].hold(r.ID)
		}
		return nil
	}
	start := time.Now()
	rep, err := finish(t, context.Background(), Options{Backend: f, Jobs: []*Job{jobOf("a", 10)}, Sink: sink, Drain: drain})
	if err != nil || rep.Outcome != Drained || sink.len() != 5 {
		t.Errorf("outcome %v, %d stored, %v", rep.Outcome, sink.len(), err)
	}
	if d := time.Since(start); d > 5*time.Second {
		t.Errorf("took %v", d)
	}
}

// A drain that comes when all is answered leaves a finished run.
func TestDrainedTooLate(t *testing.T) {
	drain := make(chan struct{})
	f := &fake{}
	f.answer = func(r core.Request) core.Event {
		if r.Sample == "2" {
			time.Sleep(20 * time.Millisecond)
			close(drain)
			time.Sleep(20 * time.Millisecond)
		}
		return reply("yes")
	}
	rep, err := finish(t, context.Background(), Options{Backend: f, Jobs: []*Job{jobOf("a", 3)}, Sink: &memory{}, Drain: drain})
	if err != nil || rep.Outcome != Finished {
		t.Errorf("outcome %v, %v", rep.Outcome, err)
	}
}

// A drain that comes when all is asked, and fails some of it, leaves an
// interrupted run and not one of a service that failed.
func TestDrainedAndFailed(t *testing.T) {
	drain := make(chan struct{})
	f, sink := &fake{}, &memory{}
	f.answer = func(r core.Request) core.Event {
		if r.Sample != "2" {
			return reply("yes")
		}
		time.Sleep(20 * time.Millisecond)
		close(drain)
		time.Sleep(20 * time.Millisecond)
		return refusal(core.CodeTimeout)
	}
	rep, err := finish(t, context.Background(), Options{Backend: f, Jobs: []*Job{jobOf("a", 3)}, Sink: sink, Drain: drain})
	if err != nil || rep.Outcome != Drained || sink.len() != 3 {
		t.Errorf("outcome %v, %d stored, %v", rep.Outcome, sink.len(), err)
	}
}

// The budget ends a run however the refusal comes, and what it refused is not
// stored, so that a higher cap asks it.
func TestBudget(t *testing.T) {
	for _, bySend := range []bool{false, true} {
		f, sink := &fake{}, &memory{}
		var n atomic.Int64
		if bySend {
			f.refuse = func(core.Request) error {
				if n.Add(1) > 30 {
					return &core.Error{Code: core.CodeBudget, Message: "cap"}
				}
				return nil
			}
		} else {
			f.answer = func(core.Request) core.Event {
				if n.Add(1) > 30 {
					return refusal(core.CodeBudget)
				}
				return reply("yes")
			}
		}
		o := Options{Backend: f, Jobs: []*Job{jobOf("a", 500)}, Sink: sink, InFlight: 8}
		rep, err := finish(t, context.Background(), o)
		if err != nil || rep.Outcome != BudgetReached || rep.Cause == nil || rep.Cause.Code != core.CodeBudget {
			t.Fatalf("by send %v: outcome %v, cause %v, %v", bySend, rep.Outcome, rep.Cause, err)
		}
		if sink.len() != 30 {
			t.Errorf("by send %v: %d stored, want 30", bySend, sink.len())
		}
		o.Backend, o.Stored = &fake{}, sink.stored
		o.Jobs = []*Job{jobOf("a", 500)}
		if rep, err = finish(t, context.Background(), o); err != nil || rep.Outcome != Finished || sink.len() != 500 {
			t.Errorf("by send %v: resumed to %d, outcome %v, %v", bySend, sink.len(), rep.Outcome, err)
		}
	}
}

func TestGaveUp(t *testing.T) {
	rows := 3000
	for _, tt := range []struct {
		name   string
		code   core.Code
		before int // answers before the failures begin
		want   Outcome
		most   int // requests asked
	}{
		{"refused key", core.CodeAuth, 0, GaveUp, 40},
		{"dead service", core.CodeUnavailable, 0, GaveUp, 60},
		{"service that dies", core.CodeUnavailable, 100, GaveUp, 220},
		{"every request wrong", core.CodeInvalid, 0, GaveUp, 60},
		{"some rows too long", core.CodeContextLength, 100, Finished, rows},
		{"rows that a stored run lacks", core.CodeNotFound, 100, Finished, rows},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f, sink := &fake{}, &memory{}
			var n atomic.Int64
			f.answer = func(core.Request) core.Event {
				if n.Add(1) <= int64(tt.before) {
					return reply("yes")
				}
				return refusal(tt.code)
			}
			rep, err := finish(t, context.Background(), Options{Backend: f, Jobs: []*Job{jobOf("a", rows)}, Sink: sink, InFlight: 16})
			if err != nil || rep.Outcome != tt.want || rep.Cause == nil || rep.Cause.Code != tt.code {
				t.Fatalf("outcome %v, cause %v, %v", rep.Outcome, rep.Cause, err)
			}
			if f.total() > tt.most {
				t.Errorf("%d requests asked, want at most %d", f.total(), tt.most)
			}
			if c := rep.Tallies[0].Counts(); c.APIErrors != sink.len()-tt.before || c.Answered != tt.before {
				t.Errorf("counts %+v for %d records", c, sink.len())
			}
		})
	}
}

// API errors are stored, asked again by the next run, and then no longer
// counted; index and repeat keep their places.
func TestResume(t *testing.T) {
	sink := &memory{}
	bad := func(r core.Request) bool { return r.Sample == "3" || r.Sample == "7" && r.Repeat == 1 }
	f := &fake{answer: func(r core.Request) core.Event {
		if bad(r) {
			return refusal(core.CodeTimeout)
		}
		return reply(map[bool]string{true: "yes", false: "no"}[r.Sample != "8"])
	}}
	job := func() *Job { j := jobOf("a", 10); j.Repeat = 2; return j }
	rep, err := finish(t, context.Background(), Options{Backend: f, Jobs: []*Job{job()}, Sink: sink, Stored: sink.stored})
	if err != nil || rep.Outcome != Finished || rep.Tallies[0].Counts().APIErrors != 3 {
		t.Fatalf("%+v, %v", rep.Tallies[0].Counts(), err)
	}
	again := &fake{answer: func(r core.Request) core.Event { return reply("yes") }}
	o := Options{Model: "m", Backend: again, Jobs: []*Job{job()}, Sink: sink, Stored: sink.stored}
	r, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	if s := r.Snapshot(); s.Done != 17 || s.Resumed != 17 || s.APIErrors != 0 || s.Total != 20 {
		t.Errorf("snapshot before: %+v", s)
	}
	if rep, err = r.Run(context.Background()); err != nil {
		t.Fatal(err)
	}
	if c := rep.Tallies[0].Counts(); c.Samples != 20 || c.Answered != 20 || c.APIErrors != 0 {
		t.Errorf("counts after: %+v", c)
	}
	if s := r.Snapshot(); s.Done != 20 || s.APIErrors != 0 {
		t.Errorf("snapshot after: %+v", s)
	}
	if again.total() != 3 || again.count("a/7/1") != 1 {
		t.Errorf("asked again: %v", again.asked)
	}
	var values []float64
	for _, s := range rep.Tallies[0].Scores(0) {
		values = append(values, s.Value)
	}
	want := slices.Repeat([]float64{1}, 20)
	want[16], want[17] = 0, 0
	if !slices.Equal(values, want) {
		t.Errorf("verdicts in sample order: %v", values)
	}
}

func TestRowsChangedSince(t *testing.T) {
	sink := &memory{}
	if _, err := finish(t, context.Background(), Options{Backend: &fake{}, Jobs: []*Job{jobOf("a", 5)}, Sink: sink}); err != nil {
		t.Fatal(err)
	}
	job := jobOf("a", 6)
	job.Task.Prompt = "{text}, really?"
	f := &fake{}
	_, err := finish(t, context.Background(), Options{Backend: f, Jobs: []*Job{job}, Sink: sink, Stored: sink.stored})
	var user *core.UserError
	if !errors.As(err, &user) || !strings.Contains(user.Hint, "--new") || f.total() != 0 {
		t.Errorf("%v after %d requests", err, f.total())
	}
}

func TestTwoRowsOneID(t *testing.T) {
	job := jobOf("a", 0)
	job.Rows = func(ctx context.Context) iter.Seq2[Row, error] {
		return func(yield func(Row, error) bool) {
			for range 2 {
				for row := range rowsOf(600, 0)(ctx) {
					if !yield(row, nil) {
						return
					}
				}
			}
		}
	}
	sink := &memory{}
	_, err := finish(t, context.Background(), Options{Backend: &fake{}, Jobs: []*Job{job}, Sink: sink, InFlight: 4})
	if err == nil || !strings.Contains(err.Error(), "two rows have the id 0") || sink.len() != 600 {
		t.Errorf("%d stored, %v", sink.len(), err)
	}
}

// A backend that cancels on its own has failed: the sample is not forgotten.
func TestCancelledByTheBackend(t *testing.T) {
	f, sink := &fake{answer: func(r core.Request) core.Event {
		if r.Sample == "1" {
			return refusal(core.CodeCancelled)
		}
		return reply("yes")
	}}, &memory{}
	rep, err := finish(t, context.Background(), Options{Backend: f, Jobs: []*Job{jobOf("a", 3)}, Sink: sink})
	if err != nil || sink.len() != 3 || rep.Tallies[0].Counts().APIErrors != 1 {
		t.Errorf("%d stored, %+v, %v", sink.len(), rep.Tallies[0].Counts(), err)
	}
}

func TestInFlight(t *testing.T) {
	f := &fake{answer: func(core.Request) core.Event { time.Sleep(time.Millisecond); return reply("yes") }}
	if _, err := finish(t, context.Background(), Options{Backend: f, Jobs: []*Job{jobOf("a", 300)}, Sink: &memory{}, InFlight: 7}); err != nil {
		t.Fatal(err)
	}
	if f.most != 7 {
		t.Errorf("%d in flight at most, want 7", f.most)
	}
}

func TestLikelihoods(t *testing.T) {
	job := jobOf("a", 4)
	job.Judges = []Judge{{Metric: &exact{needs: []string{"scores", "choices"}}, Profile: core.Strict}}
	f := &fake{answer: func(r core.Request) core.Event {
		if r.Kind != core.ScoreText || !slices.Equal(r.Continuations, []string{" yes", " no"}) {
			return refusal(core.CodeInvalid)
		}
		yes, no := -1.0, -2.0
		if r.Sample == "0" {
			yes, no = no, yes
		}
		return core.Event{Kind: core.EventResponse, Response: &core.Response{Scores: []core.Likelihood{{LogProb: yes, Tokens: 1}, {LogProb: no, Tokens: 1}}}}
	}}
	sink := &memory{}
	rep, err := finish(t, context.Background(), Options{Backend: f, Jobs: []*Job{job}, Sink: sink})
	if err != nil {
		t.Fatal(err)
	}
	if a := rep.Tallies[0].Sum(nil).Results[0].Aggregate; a.N != 4 || a.Score != 0.75 {
		t.Errorf("aggregate %+v", a)
	}
	if c := rep.Tallies[0].Counts(); c.Empty != 0 {
		t.Errorf("%d likelihoods count as empty answers", c.Empty)
	}
	if r := sink.recs[0]; len(r.Likelihoods) != 2 || len(r.Continuations) != 2 {
		t.Errorf("stored %+v", r)
	}
	job.Task.Labels = nil
	if _, err := New(Options{Model: "m", Jobs: []*Job{job}}); err == nil {
		t.Error("a task without labels got through")
	}
	mixed := jobOf("b", 1)
	mixed.Judges = append(mixed.Judges, Judge{Metric: &exact{name: "p", needs: []string{"scores"}}, Profile: core.Strict})
	if _, err := New(Options{Model: "m", Jobs: []*Job{mixed}}); err == nil || !strings.Contains(err.Error(), "one request cannot give both") {
		t.Errorf("mixed metrics: %v", err)
	}
}

// A metric's questions go through the same session, and its verdict is made of
// their answers, even when all slots and both scorers are busy with them.
func TestJudge(t *testing.T) {
	var judged sync.Map
	f := &fake{answer: func(r core.Request) core.Event {
		if !strings.HasPrefix(r.ID, "judge/") {
			return reply("answer " + r.Sample)
		}
		if r.Task != "a" || !strings.HasPrefix(r.Prompt, "is it right? answer ") {
			return refusal(core.CodeInvalid)
		}
		n, _ := judged.LoadOrStore(r.Sample, new(atomic.Int64))
		if n.(*atomic.Int64).Add(1) == 2 && r.Sample != "7" {
			return reply("right")
		}
		return reply("wrong")
	}}
	job := jobOf("a", 1000)
	job.Judges[0].Metric = &exact{judge: 2}
	sink := &memory{}
	rep, err := finish(t, context.Background(), Options{Backend: f, Jobs: []*Job{job}, Sink: sink, InFlight: 3})
	if err != nil || rep.Outcome != Finished {
		t.Fatalf("outcome %v, %v", rep.Outcome, err)
	}
	if a := rep.Tallies[0].Sum(nil).Results[0].Aggregate; a.N != 1000 || a.Score < 0.9989 || a.Score > 0.9991 {
		t.Errorf("aggregate %+v", a)
	}
	if c := rep.Tallies[0].Counts(); c.CostUSD != 3000 {
		t.Errorf("cost %v, want 3000 with the judgements", c.CostUSD)
	}
	if f.most > 3 {
		t.Errorf("%d in flight, want at most 3", f.most)
	}

	// Scored again without a model, the verdict stays.
	recs := []*record.Record{&sink.recs[0]}
	was := recs[0].Scores[0].Value
	again := jobOf("a", 0)
	again.Judges[0].Metric = &exact{judge: 2}
	if err := Rescore(context.Background(), again, recs); err != nil || recs[0].Scores[0].Value != was {
		t.Errorf("rescored to %+v, %v", recs[0].Scores, err)
	}
}

// A judgement that fails leaves its sample without a verdict; a cap that stops
// the judging leaves it unstored.
func TestJudgeFails(t *testing.T) {
	for _, tt := range []struct {
		code           core.Code
		stored, errors int
		want           Outcome
	}{
		{core.CodeTimeout, 20, 1, Finished},
		{core.CodeBudget, 19, 0, BudgetReached},
	} {
		f := &fake{answer: func(r core.Request) core.Event {
			if strings.HasPrefix(r.ID, "judge/") && r.Sample == "19" {
				return refusal(tt.code)
			}
			return reply("right")
		}}
		job := jobOf("a", 20)
		job.Judges[0].Metric = &exact{judge: 1}
		sink := &memory{}
		rep, err := finish(t, context.Background(), Options{Backend: f, Jobs: []*Job{job}, Sink: sink})
		if err != nil || rep.Outcome != tt.want || sink.len() != tt.stored || rep.Tallies[0].Counts().APIErrors != tt.errors {
			t.Errorf("%s: outcome %v, %d stored, %+v, %v", tt.code, rep.Outcome, sink.len(), rep.Tallies[0].Counts(), err)
		}
	}
	job := jobOf("a", 3)
	job.Judges[0].Metric = &exact{judge: 100}
	if _, err := finish(t, context.Background(), Options{Backend: &fake{}, Jobs: []*Job{job}, Sink: &memory{}}); err == nil || !strings.Contains(err.Error(), "still asks for judgements") {
		t.Errorf("an insatiable metric: %v", err)
	}
}

// A pattern may end an answer early only where no metric reads the whole of it.
func TestUntil(t *testing.T) {
	job := jobOf("a", 1)
	job.Task.Extract = []core.Step{{Op: "regex", Pattern: "yes|no", Group: -1}}
	s, err := job.Sample(0, Row{ID: "0", Fields: map[string]any{"text": "x", "label": "yes"}})
	if err != nil {
		t.Fatal(err)
	}
	digits := core.Pattern{Expr: "[01]"}
	for _, c := range []struct {
		name   string
		judges []core.Metric
		want   int
	}{
		{"what is extracted", []core.Metric{&exact{readsText: true}, &exact{readsText: true}}, 1},
		{"the whole answer too", []core.Metric{&exact{readsText: true}, &exact{}}, 0},
		{"patterns of its own too", []core.Metric{&exact{readsText: true}, &exact{reads: []core.Pattern{digits}}}, 2},
	} {
		job.Judges = nil
		for _, m := range c.judges {
			job.Judges = append(job.Judges, Judge{Metric: m, Profile: core.Strict})
		}
		if r, err := job.Request(s, 0); err != nil || len(r.Until) != c.want {
			t.Errorf("judges that read %s: until %v, %v", c.name, r.Until, err)
		}
	}
	// Patterns of the raw answer say nothing of what an extraction makes of it.
	job.Task.Extract = []core.Step{{Op: "strip"}}
	job.Judges = []Judge{{Metric: &exact{readsText: true, reads: []core.Pattern{digits}}, Profile: core.Strict}}
	if r, err := job.Request(s, 0); err != nil || len(r.Until) != 0 {
		t.Errorf("behind another extraction: until %v, %v", r.Until, err)
	}
}

func TestTallyOfManySamples(t *testing.T) {
	job := jobOf("a", 0)
	tally := NewTally(job.Task, "m", job.Judges, 1)
	const n = 10000
	for i := range n {
		i = (i*7919 + 13) % n // in no order
		rec := &record.Record{Task: "a", Model: "m", Sample: fmt.Sprint(i), Index: i, Targets: []string{"yes"},
			Scores: []record.Score{{Metric: "exact", Profile: core.Strict, Value: record.Float(i)}}}
		if i%2 == 1 {
			rec.Scores[0].Skipped = "no python3"
		}
		tally.Add(rec)
	}
	for i, s := range tally.Scores(0) {
		if int(s.Value) != i || (s.Skipped == "no python3") != (i%2 == 1) {
			t.Fatalf("place %d holds %+v", i, s)
		}
	}
	if len(tally.targets) > maxTargets {
		t.Errorf("%d targets are kept", len(tally.targets))
	}
}
