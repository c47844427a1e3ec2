package run

import (
	"math"
	"sync"
	"time"

	"github.com/evalrun/evalrun/core"
	"github.com/evalrun/evalrun/core/record"
)

// Snapshot is how far a run is.
type Snapshot struct {
	Model string
	// Task is the one whose answer came last.
	Task string
	// Done of Total samples; Total is −1 while some task's rows are uncounted.
	Done, Total int
	// Resumed is the part of Done that an earlier run had stored.
	Resumed   int
	APIErrors int
	Cached    int
	// Tokens computed in this run, prompt and answer.
	Prompt, Completion int
	CostUSD            float64
	Elapsed            time.Duration
	Tasks              []TaskProgress
	// Note is the backend's latest news.
	Note string
}

// TaskProgress is one task's running score.
type TaskProgress struct {
	Name   string
	Done   int
	Total  int
	Metric string
	// Sum, Squares and N make the running mean of the first metric and how sure
	// it is.
	Sum, Squares float64
	N            int
	Binary       bool
}

type progress struct {
	mu    sync.Mutex
	s     Snapshot
	start time.Time
	index map[string]int
	judge []Judge
}

func newProgress(o Options) *progress {
	p := &progress{start: time.Now(), index: map[string]int{}}
	p.s.Model = o.Model
	for i, j := range o.Jobs {
		tp := TaskProgress{Name: j.Task.Name, Total: j.Total}
		if j.Total >= 0 {
			tp.Total = j.Total * max(j.Repeat, 1)
		}
		var first Judge
		if len(j.Judges) > 0 {
			first = j.Judges[0]
			info := first.Metric.Info()
			tp.Metric, tp.Binary = first.Name(), info.Binary
		}
		p.judge = append(p.judge, first)
		p.s.Tasks = append(p.s.Tasks, tp)
		p.index[j.Task.Name] = i
	}
	return p
}

func (p *progress) add(r *record.Record, resumed bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	i, ok := p.index[r.Task]
	if !ok {
		return
	}
	t := &p.s.Tasks[i]
	p.s.Task = r.Task
	t.Done++
	p.s.Done++
	if resumed {
		p.s.Resumed++
	}
	if r.Error != nil {
		p.s.APIErrors++
		return
	}
	if r.Cached {
		p.s.Cached++
	}
	if !resumed {
		p.s.Prompt += r.Usage.Prompt
		p.s.Completion += r.Usage.Completion
		p.s.CostUSD += r.CostUSD
	}
	for _, s := range r.Scores {
		if s.Metric == t.Metric && s.Profile == p.judge[i].Profile && s.Skipped == "" && !s.Dropped {
			if v := float64(s.Value); !math.IsNaN(v) && !math.IsInf(v, 0) {
				t.Sum += v
				t.Squares += v * v
				t.N++
			}
			break
		}
	}
}

// settle fixes a task's total once its rows have been counted.
func (p *progress) settle(i, total int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.s.Tasks[i].Total = total
}

func (p *progress) note(n *core.Progress) {
	if n == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.s.Note = n.Message
}

// Counted tells the progress how many rows a job has, where that was found out
// after New. It may be called from anywhere.
func (rr *Runner) Counted(job, rows int) {
	rr.r.progress.settle(job, rows*rr.r.o.Jobs[job].Repeat)
}

// Snapshot tells how far the run is.
func (rr *Runner) Snapshot() Snapshot {
	p := rr.r.progress
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.s
	s.Tasks = append([]TaskProgress(nil), p.s.Tasks...)
	s.Elapsed = time.Since(p.start)
	s.Total = 0
	for _, t := range s.Tasks {
		if t.Total < 0 {
			s.Total = -1
			break
		}
		s.Total += t.Total
	}
	return s
}
