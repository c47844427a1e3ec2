package cpu

import (
	"sync"
	"sync/atomic"
)

// pool runs the tasks of one operation on a fixed set of threads. The caller's
// goroutine is thread 0.
type pool struct {
	threads int
	jobs    chan *job
	done    sync.Once
}

// job is a set of numbered tasks. Which thread takes which task is left to
// chance; results never depend on it, since a task owns what it writes.
type job struct {
	tasks int64
	next  atomic.Int64
	seat  atomic.Int64 // the next thread's number
	run   func(task, thread int)
	wg    sync.WaitGroup
}

func newPool(threads int) *pool {
	p := &pool{threads: threads, jobs: make(chan *job, threads)}
	for range threads - 1 {
		go func() {
			for j := range p.jobs {
				j.work(int(j.seat.Add(1)))
				j.wg.Done()
			}
		}()
	}
	return p
}

func (p *pool) close() { p.done.Do(func() { close(p.jobs) }) }

func (j *job) work(thread int) {
	for {
		t := j.next.Add(1) - 1
		if t >= j.tasks {
			return
		}
		j.run(int(t), thread)
	}
}

// do runs tasks 0 to n-1 and returns when all are done. parallel is false for
// work too small to be worth waking another thread.
func (p *pool) do(n int, parallel bool, run func(task, thread int)) {
	helpers := min(p.threads, n) - 1
	if !parallel || helpers <= 0 {
		for t := range n {
			run(t, 0)
		}
		return
	}
	j := &job{tasks: int64(n), run: run}
	j.wg.Add(helpers)
	for range helpers {
		p.jobs <- j
	}
	j.work(0)
	j.wg.Wait()
}
