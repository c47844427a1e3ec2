package run

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/evalrun/evalrun/core"
	"github.com/evalrun/evalrun/core/record"
)

// fake is a backend whose answers a test writes.
type fake struct {
	// answer gives the final event of a request; nil says yes to everything.
	answer func(r core.Request) core.Event
	// refuse makes Send fail.
	refuse func(r core.Request) error
	// lost, when above 0, breaks the session after so many answers; silent
	// ends the events without an error then.
	lost   int
	silent bool
	open   error

	mu       sync.Mutex
	asked    map[string]int
	inFlight int
	most     int
	sessions []*fakeSession
}

func (f *fake) Info(context.Context) (core.Info, error) { return core.Info{Name: "fake"}, nil }
func (f *fake) Close() error                            { return nil }

func (f *fake) Open(ctx context.Context) (core.Session, error) {
	if f.open != nil {
		return nil, f.open
	}
	s := &fakeSession{f: f, events: make(chan core.Event), done: make(chan struct{}), cancelled: map[string]chan struct{}{}}
	context.AfterFunc(ctx, func() { s.Close() })
	f.sessions = append(f.sessions, s)
	return s, nil
}

func (f *fake) count(id string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.asked[id]
}

func (f *fake) total() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.asked)
}

type fakeSession struct {
	f         *fake
	events    chan core.Event
	done      chan struct{}
	once      sync.Once
	work      sync.WaitGroup
	mu        sync.Mutex
	cancelled map[string]chan struct{}
}

func (s *fakeSession) Send(r core.Request) error {
	select {
	case <-s.done:
		return core.ErrSessionClosed
	default:
	}
	if s.f.refuse != nil {
		if err := s.f.refuse(r); err != nil {
			return err
		}
	}
	s.f.mu.Lock()
	if s.f.asked == nil {
		s.f.asked = map[string]int{}
	}
	s.f.asked[r.ID]++
	s.f.inFlight++
	s.f.most = max(s.f.most, s.f.inFlight)
	s.f.mu.Unlock()
	s.work.Go(func() {
		ev := core.Event{Kind: core.EventResponse, Response: &core.Response{Text: "yes", Finish: core.FinishStop}}
		if s.f.answer != nil {
			ev = s.f.answer(r)
		}
		ev.ID = r.ID
		s.f.mu.Lock()
		s.f.inFlight--
		s.f.mu.Unlock()
		select {
		case s.events <- ev:
		case <-s.done:
		}
	})
	return nil
}

func (s *fakeSession) Cancel(id string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.cancelled[id]; c != nil {
		close(c)
		delete(s.cancelled, id)
	}
	return nil
}

// hold waits until the request is cancelled or the session closed.
func (s *fakeSession) hold(id string) error {
	c := make(chan struct{})
	s.mu.Lock()
	s.cancelled[id] = c
	s.mu.Unlock()
	select {
	case <-c:
		return &core.Error{Code: core.CodeCancelled, Message: "taken back"}
	case <-s.done:
		return core.ErrSessionClosed
	}
}

func (s *fakeSession) Events() iter.Seq2[core.Event, error] {
	return func(yield func(core.Event, error) bool) {
		for n := 0; ; n++ {
			if s.f.lost > 0 && n == s.f.lost {
				if !s.f.silent {
					yield(core.Event{}, fmt.Errorf("the plugin died: %w", core.ErrSessionLost))
				}
				return
			}
			select {
			case ev := <-s.events:
				if !yield(ev, nil) {
					return
				}
			case <-s.done:
				return
			}
		}
	}
}

func (s *fakeSession) Close() error {
	s.once.Do(func() { close(s.done) })
	return nil
}

// memory is a sink in memory.
type memory struct {
	mu    sync.Mutex
	recs  []record.Record
	after int // fails from this append on; 0 is never
}

var errDisk = errors.New("no space left")

func (m *memory) Append(rec *record.Record) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.after > 0 && len(m.recs) >= m.after {
		return errDisk
	}
	m.recs = append(m.recs, *rec)
	return nil
}

func (m *memory) stored(yield func(*record.Record) bool) error {
	for i := range m.recs {
		if !yield(&m.recs[i]) {
			return nil
		}
	}
	return nil
}

func (m *memory) len() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.recs)
}

// exact is a metric: 1 where the answer is the target.
type exact struct {
	name  string
	needs []string
	fail  int // fails from this item on; 0 is never
	items int
	// judge, when set, makes the metric ask for so many judgements of each item.
	judge int
	// What it says of what it reads.
	readsText bool
	reads     []core.Pattern
}

func (e *exact) Info() core.MetricInfo {
	name := e.name
	if name == "" {
		name = "exact"
	}
	return core.MetricInfo{Name: name, Low: 0, High: 1, HigherIsBetter: true, Binary: true, Needs: e.needs, ReadsText: e.readsText, Reads: e.reads}
}

var errMetric = errors.New("no isolation")

func (e *exact) Score(_ context.Context, items []core.Item) ([]core.Score, error) {
	out := make([]core.Score, len(items))
	for i, it := range items {
		if e.items++; e.fail > 0 && e.items >= e.fail {
			return nil, errMetric
		}
		if len(it.Judged) < e.judge {
			out[i].Requests = []core.Request{{Kind: core.Generate, Prompt: "is it right? " + it.Text}}
			continue
		}
		right := it.Text == it.Targets[0]
		if e.judge > 0 {
			right = it.Judged[e.judge-1].Text == "right"
		}
		for k, l := range it.Scores {
			if k == 0 || l.LogProb > it.Scores[0].LogProb {
				right = it.Task.Labels[k] == it.Targets[0]
			}
		}
		if right {
			out[i].Value = 1
		}
	}
	return out, nil
}

func (e *exact) Aggregate(scores []core.Score) core.Aggregate {
	a := core.Aggregate{N: len(scores)}
	for _, s := range scores {
		a.Score += s.Value / float64(len(scores))
	}
	return a
}

// rowsOf yields n rows; after, when above 0, is where an error comes instead.
func rowsOf(n, after int) func(context.Context) iter.Seq2[Row, error] {
	return func(context.Context) iter.Seq2[Row, error] {
		return func(yield func(Row, error) bool) {
			for i := range n {
				if after > 0 && i == after {
					yield(Row{}, errRows)
					return
				}
				if !yield(Row{ID: fmt.Sprint(i), Fields: map[string]any{"text": fmt.Sprint("row ", i), "label": "yes"}}, nil) {
					return
				}
			}
		}
	}
}

var errRows = errors.New("the file ends within a row")

func jobOf(name string, n int) *Job {
	return &Job{Task: &core.Task{Name: name, Prompt: "{text}?", Target: "label", Labels: []string{"yes", "no"}}, Rows: rowsOf(n, 0), Total: n,
		Judges: []Judge{{Metric: &exact{}, Profile: core.Strict}}}
}

// finish runs and fails the test when the run hangs or leaves goroutines.
func finish(t *testing.T, ctx context.Context, o Options) (*Report, error) {
	t.Helper()
	before := runtime.NumGoroutine()
	if o.Model == "" {
		o.Model = "m"
	}
	r, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	type end struct {
		rep *Report
		err error
	}
	ended := make(chan end, 1)
	go func() {
		rep, err := r.Run(ctx)
		ended <- end{rep, err}
	}()
	var e end
	select {
	case e = <-ended:
	case <-time.After(10 * time.Second):
		buf := make([]byte, 1<<20)
		t.Fatalf("the run hangs\n%s", buf[:runtime.Stack(buf, true)])
	}
	if f, ok := o.Backend.(*fake); ok {
		for _, s := range f.sessions {
			s.Close()
			s.work.Wait()
		}
	}
	for deadline := time.Now().Add(2 * time.Second); runtime.NumGoroutine() > before; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			buf := make([]byte, 1<<20)
			buf = buf[:runtime.Stack(buf, true)]
			if strings.Contains(string(buf), "core/run.(*runner)") {
				t.Fatalf("the run left goroutines behind\n%s", buf)
			}
			break
		}
	}
	return e.rep, e.err
}
