// Package sched decides what the engine computes next. Plan is a pure function
// from the state of the running sequences to a batch; it knows no tensor, no
// clock and no random number, so a plan can be read and tested as data.
package sched

// Seq is what the planner knows of a running sequence.
type Seq struct {
	// Done tokens have been computed, of Known that are known: the prompt and
	// what was generated so far. Known is more than Done.
	Done, Known int
	// After, where it is not negative, is the index of a sequence whose first
	// AfterDone tokens must be computed before this one goes on, in this batch
	// at the latest: a batch stores the keys of all its rows before any row
	// attends to them.
	After, AfterDone int
}

// Limits bound a batch.
type Limits struct {
	// Rows is the number of tokens of a batch.
	Rows int
}

// Work is a sequence's part of a batch: N tokens from its Done on.
type Work struct {
	Seq, N int
}

// Plan gives the next batch, in the order of the sequences. Sequences are
// given in the order of their admission, eldest first.
//
// First everyone who is one token behind gets a row, so that no running answer
// waits for another's prompt. The rest of the rows goes to prompts, the eldest
// first, each as far as it fits: a long prompt is cut into chunks. If any
// sequence can go on at all, the plan is not empty.
func Plan(seqs []Seq, limits Limits) []Work {
	rows := limits.Rows
	n := make([]int, len(seqs))
	for i, s := range seqs {
		if s.Known-s.Done == 1 && rows > 0 && ready(seqs, n, s) {
			n[i] = 1
			rows--
		}
	}
	for i, s := range seqs {
		if n[i] == 0 && rows > 0 && ready(seqs, n, s) {
			n[i] = min(s.Known-s.Done, rows)
			rows -= n[i]
		}
	}
	var plan []Work
	for i, k := range n {
		if k > 0 {
			plan = append(plan, Work{i, k})
		}
	}
	return plan
}

// ready tells whether what s waits for is computed, or will be by the n tokens
// a sequence that the batch has so far.
func ready(seqs []Seq, n []int, s Seq) bool {
	return s.After < 0 || seqs[s.After].Done+n[s.After] >= s.AfterDone
}
