package run

import (
	"context"
	"fmt"
	"hash/fnv"
	"hash/maphash"
	"io"
	"time"
	"unicode/utf8"

	"github.com/evalrun/evalrun/core"
	"github.com/evalrun/evalrun/core/record"
)

// feed asks sample after sample, task after task, until all is asked or the run
// stops. The error is one of rows, templates or the session.
func (r *runner) feed(ctx context.Context) error {
	for ji, job := range r.o.Jobs {
		index := 0
		// Ids are kept as hashes: for a million of them, the chance of a false
		// alarm is 3 in 100 millions, and they take a third of the memory.
		seen, seed := map[uint64]struct{}{}, maphash.MakeSeed()
		for row, err := range job.Rows(ctx) {
			if err != nil {
				return err
			}
			id := maphash.String(seed, row.ID)
			if _, twice := seen[id]; twice {
				return fmt.Errorf("task %s: two rows have the id %s", job.Task.Name, row.ID)
			}
			seen[id] = struct{}{}
			ok, err := r.row(ctx, ji, index, row)
			if err != nil || !ok {
				return err
			}
			index++
			if r.stopping() {
				return nil
			}
		}
		r.progress.settle(ji, index*job.Repeat)
	}
	r.complete.Store(true)
	return nil
}

// row asks what is missing of one row.
func (r *runner) row(ctx context.Context, ji, index int, row Row) (bool, error) {
	job := r.o.Jobs[ji]
	sample, err := job.Sample(index, row)
	if err != nil {
		return false, err
	}
	for rep := range job.Repeat {
		req, err := job.Request(sample, rep)
		if err != nil {
			return false, err
		}
		if was, ok := r.done[record.Key{Model: r.o.Model, Task: job.Task.Name, Sample: row.ID, Repeat: rep}]; ok {
			if was != fingerprint(req.Prompt, req.Messages, sample.Targets, req.Continuations) {
				return false, &core.UserError{Where: job.Task.Path, Message: fmt.Sprintf("row %s of task %s is not what it was when its answer was stored", row.ID, job.Task.Name),
					Hint: "the rows have changed since the run began: --new starts a new run"}
			}
			continue
		}
		ok, err := r.send(ctx, &ask{job: ji, sample: sample, repeat: rep, req: req})
		if err != nil || !ok {
			return false, err
		}
	}
	return true, nil
}

// fingerprint tells whether a stored answer is one to what would be asked now.
// Bytes that are no UTF-8 count as what JSON makes of them.
func fingerprint(prompt string, messages []core.Message, lists ...[]string) uint64 {
	h := fnv.New64a()
	end := []byte{0}
	add := func(s string) {
		if utf8.ValidString(s) {
			_, _ = io.WriteString(h, s)
		} else {
			_, _ = io.WriteString(h, string([]rune(s)))
		}
		h.Write(end)
	}
	add(prompt)
	for _, m := range messages {
		add(m.Role)
		add(m.Content)
	}
	for _, list := range lists {
		add("")
		for _, t := range list {
			add(t)
		}
	}
	return h.Sum64()
}

// send hands one request over; false without an error says that the run stops.
func (r *runner) send(ctx context.Context, a *ask) (bool, error) {
	if r.stopping() {
		return false, nil
	}
	for _, token := range []chan struct{}{r.room, r.slots} {
		select {
		case token <- struct{}{}:
		case <-r.stop:
			if token == r.slots {
				<-r.room
			}
			return false, nil
		case <-ctx.Done():
			return false, nil
		}
	}
	id := a.req.ID
	a.sent = time.Now()
	r.mu.Lock()
	r.pending[id] = a
	r.mu.Unlock()
	r.sending.Store(&id)
	err := r.session.Send(a.req)
	r.sending.Store(nil)
	if err == nil {
		return true, nil
	}
	if e := own(err); e != nil {
		r.arrived(id, nil, e)
		return true, nil
	}
	r.mu.Lock()
	_, unsent := r.pending[id]
	delete(r.pending, id)
	r.mu.Unlock()
	if unsent {
		<-r.slots
		<-r.room
	}
	if ctx.Err() != nil {
		return false, nil
	}
	return false, fmt.Errorf("send to %s: %w", r.o.Model, err)
}
