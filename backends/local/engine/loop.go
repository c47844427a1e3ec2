package engine

import (
	"fmt"
	"maps"
	"slices"

	"github.com/evalrun/evalrun/backends/local/kv"
	"github.com/evalrun/evalrun/backends/local/nn"
	"github.com/evalrun/evalrun/backends/local/sample"
	"github.com/evalrun/evalrun/backends/local/sched"
	"github.com/evalrun/evalrun/kernels"
)

// run is the engine's goroutine: take what came in, plan, compute, answer.
func (e *Engine) run() {
	defer close(e.done)
	for e.receive() {
		e.admit()
		e.step()
	}
	e.mu.Lock()
	sessions := slices.Collect(maps.Keys(e.sessions))
	e.mu.Unlock()
	for _, s := range sessions {
		s.Close()
	}
}

// receive takes new and cancelled jobs, waiting while there is nothing to do.
// It returns false when the engine is closed.
func (e *Engine) receive() bool {
	e.mu.Lock()
	for len(e.inbox) == 0 && len(e.cancelled) == 0 && len(e.arrivals) == 0 && e.idle && !e.closed {
		if len(e.waiting) > 0 && e.reading == 0 {
			panic(fmt.Sprintf("BUG: %d sequences wait for nothing", len(e.waiting)))
		}
		e.wake.Wait()
	}
	if e.closed {
		e.mu.Unlock()
		return false
	}
	inbox, cancelled, arrivals := e.inbox, e.cancelled, e.arrivals
	e.inbox, e.cancelled, e.arrivals = nil, nil, nil
	e.mu.Unlock()
	for _, j := range inbox {
		if j.ended { // cancelled before it came in
			e.leave(len(j.seqs))
			continue
		}
		e.waiting = append(e.waiting, j.seqs...)
	}
	for _, j := range cancelled {
		e.end(j, Event{Err: ErrCancelled})
	}
	for _, r := range arrivals {
		e.arrive(r)
	}
	return true
}

// admit moves waiting sequences to the running ones, eldest first, while there
// are places and pages. The further sequences of a Score wait until the first
// has gone through the prompt, and start from its pages.
//
// A sequence whose adapter is not on the device is passed over. If all room there
// is in use, no younger one takes what becomes free; those whose adapters are there
// overtake it, so that the batch stays full, but no more than Sequences of them:
// then adapters fall out of use until the eldest has its room.
func (e *Engine) admit() {
	e.settle()
	e.count()
	e.fetch()
	var failed []*job
	var eldest *seq // of those that find no room
	before, full := len(e.waiting), false
	e.waiting = slices.DeleteFunc(e.waiting, func(q *seq) bool {
		if full || slices.Contains(failed, q.job) {
			return !full
		}
		if len(e.running) >= e.plan.Sequences {
			full = true
			return false
		}
		share := !e.opts.NoSharing && !q.wholly()
		if first := q.job.seqs[0]; share && q != first && !first.over {
			return false
		}
		fail := func(err error) bool {
			e.emit(q.job, Event{Err: err})
			failed = append(failed, q.job)
			return true
		}
		a := q.job.adapter
		if a != nil {
			if eldest != nil && (a.parts == nil || eldest.overtaken >= e.plan.Sequences) {
				return false
			}
			there, err := e.bring(a)
			if err != nil {
				return fail(err)
			}
			if !there {
				if a.host != nil && a.copy == nil {
					eldest = q
				}
				return false
			}
		}
		got, err := e.pool.Admit(q.scope(), q.tokens, q.limit, share)
		if err != nil {
			return fail(err)
		}
		if got == nil {
			full = true
			return false
		}
		q.kv = got
		if c := got.Copy; c.N > 0 && c.From != c.To {
			for _, cache := range e.caches {
				e.dev.CopyPage(cache, c.To, c.From, c.N)
			}
		}
		e.running = append(e.running, q)
		if a != nil {
			a.running++
			e.onDevice.Use(a)
			if eldest != nil {
				eldest.overtaken++
			}
		}
		return true
	})
	if n := before - len(e.waiting); n > 0 {
		e.leave(n)
	}
	for _, j := range failed {
		e.drop(j)
	}
}

// step computes one batch.
func (e *Engine) step() {
	if e.idle = len(e.running) == 0; e.idle {
		return
	}
	index := make(map[*kv.Seq]int, len(e.running))
	for i, q := range e.running {
		index[q.kv] = i
	}
	state := make([]sched.Seq, len(e.running))
	for i, q := range e.running {
		if !q.begun {
			// Logits of shared positions must be computed too where they are
			// wanted: then the sequence starts earlier, from the page's begin.
			q.done = min(q.kv.Start(), q.want)
		}
		s := sched.Seq{Done: q.done, Known: len(q.tokens), After: -1}
		if !q.begun {
			if owner, until := q.kv.Wait(); owner != nil {
				s.After, s.AfterDone = index[owner], until
			}
		}
		state[i] = s
	}
	plan := sched.Plan(state, sched.Limits{Rows: e.plan.BatchRows})
	if len(plan) == 0 {
		panic(fmt.Sprintf("BUG: nothing to do for %d running sequences", len(e.running)))
	}
	// Rows of one adapter stand together, so that its matrices are read once.
	slices.SortStableFunc(plan, func(a, b sched.Work) int {
		return e.running[a.Seq].job.adapter.order() - e.running[b.Seq].job.adapter.order()
	})
	b := &nn.Batch{}
	for _, w := range plan {
		q := e.running[w.Seq]
		if !q.begun {
			q.begun = true
			if r := &q.job.response; q == q.job.seqs[0] && !q.turned {
				r.SharedTokens = min(q.done, r.PromptTokens)
			}
		}
		b.Spans = append(b.Spans, kernels.Span{Row: len(b.IDs), N: w.N, Pos: q.done, Pages: q.kv.Pages})
		if a := q.job.adapter; a != nil {
			if last := len(b.Uses) - 1; last >= 0 && b.Uses[last].Adapter == a.parts && b.Uses[last].Row+b.Uses[last].N == len(b.IDs) {
				b.Uses[last].N += w.N
			} else {
				b.Uses = append(b.Uses, nn.Use{Row: len(b.IDs), N: w.N, Adapter: a.parts})
			}
		}
		for i := range w.N {
			if q.done+i >= q.want {
				b.Want = append(b.Want, int32(len(b.IDs)))
			}
			b.IDs = append(b.IDs, q.tokens[q.done+i])
			b.Pos = append(b.Pos, e.model.RopeRow(q.done+i, q.long))
		}
	}
	var states kernels.Buffer
	forward := func() { states = e.model.Forward(e.dev, e.work, b, e.caches) }
	if len(b.IDs) == len(b.Spans) { // a token of each: the step that comes again and again
		kernels.Together(e.dev, forward)
	} else {
		forward()
	}
	e.judge(plan, states, len(b.Want))
	pool := e.pool.Stats()
	e.mu.Lock()
	e.stats.Batches++
	e.stats.Rows += int64(len(b.IDs))
	e.stats.Generated = e.generated
	e.stats.Prompt, e.stats.Shared = pool.Prompt, pool.Shared
	e.stats.Adapters = e.adapterStats
	e.mu.Unlock()
	e.retire()
}

// judge gives each sequence the wanted rows of the batch.
func (e *Engine) judge(plan []sched.Work, states kernels.Buffer, wanted int) {
	var host []float32
	row := 0                   // among the wanted
	from, have := 0, 0         // rows whose logits are at hand
	next := func() []float32 { // the logits of the next row
		if row >= from+have {
			from, have = row, min(logitRows, wanted-row)
			e.model.Logits(e.dev, e.work, states, from, have, e.logits)
		}
		row++
		return e.logits[(row-1-from)*e.model.Vocab:][:e.model.Vocab]
	}
	for _, w := range plan {
		q := e.running[w.Seq]
		first, to := q.done, q.done+w.N
		q.done = to
		e.pool.Computed(q.kv, q.done)
		for pos := max(first, q.want); pos < to; pos++ {
			switch q.job.Kind {
			case Generate:
				e.generate(q, next())
			case Score:
				q.judge(pos, next())
			case Logits:
				q.read(pos, next())
			case Embed:
				h := e.model.Hidden
				if host == nil {
					host = make([]float32, h)
				}
				e.dev.Read(host, states.Slice(row*h, (row+1)*h))
				row++
				for i, x := range host {
					q.sum[i] += float64(x)
				}
			}
		}
	}
}

// generate chooses the next token of an answer.
func (e *Engine) generate(q *seq, logits []float32) {
	r := &q.job.response
	r.Computed++
	e.generated++
	var sum float64
	var top []sample.Alternative
	raw := logits
	if q.job.Logprobs {
		sum = sample.LogSum(logits)
		top = sample.Top(logits, q.job.TopLogprobs)
		if q.sampler.Changes() || q.choices != nil {
			raw = slices.Clone(logits)
		}
	}
	if q.choices != nil {
		q.choices.Mask(logits, e.eos)
	}
	id := q.sampler.Next(logits, len(q.tokens))
	q.want = len(q.tokens)
	if e.eos[id] && (!q.job.IgnoreEOS || q.choices != nil && q.choices.Step(id) == nil) {
		e.finish(q, FinishStop)
		return
	}
	q.tokens = append(q.tokens, id)
	r.Tokens = append(r.Tokens, id)
	if q.job.Logprobs {
		r.Logprobs = append(r.Logprobs, float64(raw[id])-sum)
		if len(top) > 0 {
			r.TopLogprobs = append(r.TopLogprobs, top)
		}
	}
	piece := ""
	if q.stream != nil {
		piece = q.stream.Push(id)
	}
	if q.choices != nil {
		q.choices = q.choices.Step(id)
	}
	switch {
	case q.answer.add(piece):
		e.finish(q, FinishStop)
	case q.choices != nil && (q.choices.Done() || q.choices.Ends() && len(e.eos) == 0):
		e.finish(q, FinishStop)
	case piece != "" && q.job.Until != nil && q.job.Until(q.answer.stable()):
		e.finish(q, FinishUntil)
	case len(q.tokens) >= q.limit:
		e.finish(q, FinishLength)
	case q.job.Deltas:
		if d := q.answer.delta(false); d != "" {
			e.emit(q.job, Event{Delta: d})
		}
	}
}

// finish ends an answer.
func (e *Engine) finish(q *seq, why Finish) {
	if q.stream != nil && q.answer.cut < 0 && why != FinishUntil && q.answer.add(q.stream.Flush()) {
		why = FinishStop
	}
	if d := q.answer.delta(true); d != "" && q.job.Deltas {
		e.emit(q.job, Event{Delta: d})
	}
	q.job.response.Text, q.job.response.Finish = q.answer.final(), why
	q.done = len(q.tokens)
}

// read keeps the logits of position pos, or judges the label behind it.
func (q *seq) read(pos int, logits []float32) {
	r := &q.job.response
	if q.job.Labels == nil {
		r.Logits = append(r.Logits, slices.Clone(logits))
		return
	}
	if t := pos + 1; t < len(q.job.Labels) && q.job.Labels[t] >= 0 {
		r.Logprobs = append(r.Logprobs, float64(logits[q.job.Labels[t]])-sample.LogSum(logits))
	}
}

// judge adds the log-probabilities that the state of position pos decides.
func (q *seq) judge(pos int, logits []float32) {
	sum, best := sample.LogSum(logits), sample.Argmax(logits)
	for _, w := range q.spelled {
		if i := pos - w.from; i >= 0 && i < len(w.tokens) {
			w.score.LogProb += float64(logits[w.tokens[i]]) - sum
			w.score.Greedy = w.score.Greedy && w.tokens[i] == best
		}
	}
}

// retire takes finished sequences out and ends jobs whose last one that was.
func (e *Engine) retire() {
	var over []*job
	kept := e.running[:0]
	for _, q := range e.running {
		if q.done < len(q.tokens) {
			if !q.long && e.isLong(len(q.tokens)) {
				e.turn(q)
			} else {
				kept = append(kept, q)
			}
			continue
		}
		e.pool.Release(q.kv)
		q.over = true
		j := q.job
		for _, w := range q.spelled {
			sum := &j.response.Scores[w.index]
			sum.LogProb += w.score.LogProb
			sum.Tokens += w.score.Tokens
			sum.Greedy = sum.Greedy && w.score.Greedy
		}
		if q.sum != nil {
			j.response.Embedding = make([]float32, len(q.sum))
			for i, x := range q.sum {
				j.response.Embedding[i] = float32(x / float64(len(q.tokens)))
			}
		}
		if j.left--; j.left == 0 {
			over = append(over, j)
		}
	}
	clear(e.running[len(kept):])
	e.running = kept
	for _, j := range over {
		e.emit(j, Event{Response: &j.response})
	}
}

// turn lets a sequence that has become a long one begin again, with the angles
// of long ones, as transformers does. It comes before those that wait.
func (e *Engine) turn(q *seq) {
	e.pool.Release(q.kv)
	q.kv, q.done, q.begun, q.long, q.turned = nil, 0, false, true, true
	e.waiting = slices.Insert(e.waiting, 0, q)
	e.leave(-1)
}

// end ends a job early with an event.
func (e *Engine) end(j *job, with Event) {
	if !j.ended {
		e.emit(j, with)
		e.drop(j)
	}
}

// drop takes all sequences of a job out.
func (e *Engine) drop(j *job) {
	mine := func(q *seq) bool { return q.job == j }
	for _, q := range e.running {
		if mine(q) {
			e.pool.Release(q.kv)
		}
	}
	e.running = slices.DeleteFunc(e.running, mine)
	before := len(e.waiting)
	e.waiting = slices.DeleteFunc(e.waiting, mine)
	e.leave(before - len(e.waiting))
}

// leave makes room for n sequences in the queue.
func (e *Engine) leave(n int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.queued -= n
	e.room.Broadcast()
}

func (e *Engine) emit(j *job, with Event) {
	with.ID = j.ID
	if with.Response != nil || with.Err != nil {
		j.ended = true
	}
	j.session.emit(with)
}
