package core

import (
	"context"
	"math"
)

// Profile is a whole way of judging.
type Profile string

const (
	// Strict follows the report's text: the first whole-word match, clipped,
	// failures counted as wrong.
	Strict Profile = "strict"
	// Bakeoff follows the published evaluator, with its quirks.
	Bakeoff Profile = "bakeoff"
)

// A Metric judges answers. It is made for one profile by a factory; it may be
// used by one goroutine at a time.
type Metric interface {
	// Info describes the metric; it never changes.
	Info() MetricInfo
	// Score judges each item on its own, in the order given: result i belongs
	// to item i. An error is a failure of the metric itself (no isolation, no
	// process), never of an item.
	Score(ctx context.Context, items []Item) ([]Score, error)
	// Aggregate combines scores, in sample order, to the task's number.
	Aggregate(scores []Score) Aggregate
}

// MetricInfo describes a metric.
type MetricInfo struct {
	Name    string
	Profile Profile
	// Low and High bound the score of an item; −Inf and +Inf where unbounded.
	Low, High float64
	// HigherIsBetter is false for losses.
	HigherIsBetter bool
	// Binary says that an item scores Low or High and nothing between.
	Binary bool
	// Needs lists what a request must ask for: "scores" (log-likelihoods of the
	// choices, or of the target where there are none), "rolling" (that of the
	// whole target, in windows of the context), "judge" (the metric's requests
	// are for a judging model), "field:NAME" (a column of the row).
	Needs []string
	// Notes are sentences that belong beside the number (isolation layers …).
	Notes []string
	// Parts names the parts of a score that Aggregate needs, for a number that
	// is no mean of items (the sums of a corpus metric). These are stored with
	// each sample; other parts are for the eye.
	Parts []string
	// ReadsText says that scores depend on an answer through Item.Text alone,
	// and not on Item.Raw.
	ReadsText bool
	// Reads are patterns of the raw answer: once none of them can find anything
	// else, however the answer goes on, neither can its score change. Nothing
	// is said where there are none.
	Reads []Pattern
}

// An Item is one answer with what it takes to judge it.
type Item struct {
	ID string
	// Task gives labels and the like; Fields the row.
	Task   *Task
	Fields map[string]any
	Prompt string
	// Raw is the answer as given, Text what the task's extraction made of it.
	Raw, Text string
	// ExtractFailed says that the task's extraction found nothing.
	ExtractFailed bool
	Targets       []string
	// Choices and Gold are those of the sample; Scores has one entry a choice.
	Choices []string
	Gold    []int
	Scores  []Likelihood
	// Judged holds the answers to the requests of an earlier Score of this
	// item, in their order.
	Judged []Response
}

// A Score is the verdict on one item.
type Score struct {
	Value float64
	// Extracted is what was taken for the answer.
	Extracted string
	// Failed says that no answer could be made out; Value is then what the
	// profile gives for that.
	Failed bool
	// Dropped keeps the item out of the mean (the published evaluator drops
	// failed responses).
	Dropped bool
	// Skipped, when not empty, says why the item could not be judged at all;
	// it is no verdict on the model.
	Skipped string
	// Warning, when not empty, says what is wrong with the row, whatever the
	// answer (a reference without any word that the metric counts). The number
	// of samples with each is shown beside the score, so there are few of them.
	Warning string
	// Note is a short text for the reader ("timed out", "failed: …").
	Note  string
	Parts map[string]float64
	// Requests asks the runner for judgements; the item is then scored again
	// with their answers.
	Requests []Request
}

// An Aggregate is a task's number.
type Aggregate struct {
	Score float64
	// N is the number of items in the mean.
	N int
	// StdErr is the standard error of a mean of N independent values, NaN where
	// there is none.
	StdErr float64
	// Low95 and High95 bound the score at 95 %; Method names how.
	Low95, High95 float64
	Method        string
	// Failed, Dropped and Skipped count items.
	Failed, Dropped, Skipped int
	// NonFinite counts items whose value was NaN or infinite: they are kept
	// out of the mean.
	NonFinite int
	// Skip, when not empty, says why there is no score at all.
	Skip string
}

// Judged sorts scores by what became of them and lists those that were judged:
// not skipped, not dropped, of a finite value. The aggregate has the counts, no
// score yet, and where nothing was judged the reason.
func Judged(scores []Score) (a Aggregate, judged []int) {
	a = Aggregate{Score: math.NaN(), StdErr: math.NaN(), Low95: math.NaN(), High95: math.NaN()}
	judged = make([]int, 0, len(scores))
	skipped := ""
	for i, s := range scores {
		if s.Failed {
			a.Failed++
		}
		switch {
		case s.Skipped != "":
			a.Skipped++
			skipped = s.Skipped
		case s.Dropped:
			a.Dropped++
		case math.IsNaN(s.Value) || math.IsInf(s.Value, 0):
			a.NonFinite++
		default:
			judged = append(judged, i)
		}
	}
	a.N = len(judged)
	switch {
	case a.N > 0:
	case skipped != "":
		a.Skip = skipped
	case len(scores) == 0:
		a.Skip = "no samples"
	default:
		a.Skip = "no sample has a finite score"
	}
	return a, judged
}
