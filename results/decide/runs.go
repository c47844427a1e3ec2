package decide

import (
	"context"
	"fmt"
	"math"

	"github.com/evalrun/evalrun/core"
	"github.com/evalrun/evalrun/core/record"
	"github.com/evalrun/evalrun/results"
	"github.com/evalrun/evalrun/results/compare"
	"github.com/evalrun/evalrun/results/reference"
)

// publishedRows is on how many rows the LoRA Land report measured a score: the
// first 1,000 of larger sets.
const publishedRows = 1000

// FromRuns compares a fine-tuned model with an API on the rows that both
// answered: the mean difference over the tasks, paired, each task once with its
// first metric.
func FromRuns(ctx context.Context, tuned, api string, tunedSides, apiSides []compare.Side) (Quality, error) {
	r, err := compare.Joined(ctx, apiSides, tunedSides, compare.Options{ClosedForm: true})
	if err != nil {
		return Quality{}, err
	}
	var a, b, variance float64
	rows, tasks := 0, 0
	for _, l := range r.First() {
		if l.Direction != "higher" {
			continue
		}
		tasks++
		rows += l.N
		a, b = a+float64(l.A), b+float64(l.B)
		// Half a row is the least that a difference can be wrong by.
		s := math.Max(float64(l.Interval[1]-l.Interval[0])/2/z95, 0.5/float64(l.N))
		variance += s * s
	}
	if tasks == 0 {
		return Quality{}, &core.UserError{Where: tuned + " and " + api, Message: "no shared task has a metric that is better higher", Hint: "decide weighs scores; name quality by --set on a task with such a metric"}
	}
	k := float64(tasks)
	q := NewQuality(tuned, api, b/k, a/k, math.Sqrt(variance)/k)
	q.Tasks, q.Rows, q.Measured = tasks, rows/tasks, true
	q.Source = fmt.Sprintf("both measured on the same rows (%d tasks, %s a task), compared in pairs", tasks, rowsText(q.Rows))
	for _, w := range r.Warnings {
		q.Source += "; take care: " + w
	}
	return q, nil
}

func rowsText(n int) string {
	if n == 1 {
		return "1 row"
	}
	return fmt.Sprintf("%d rows", n)
}

// FromPublishedGPT4 sets measured scores against the GPT-4 of the LoRA Land
// report, on the tasks that it has.
func FromPublishedGPT4(tuned string, lines []results.Score) (Quality, bool) {
	var a, b, variance float64
	rows, tasks, other := 0, 0, false
	seen := map[string]bool{}
	for _, l := range lines {
		if seen[l.Task] || l.Published == nil {
			continue
		}
		seen[l.Task] = true // the run's own profile comes first
		if l.Score == nil || math.IsNaN(float64(*l.Score)) || len(l.Interval) != 2 {
			continue
		}
		tasks++
		rows += l.N
		a, b = a+l.Published.GPT4, b+float64(*l.Score)
		s := spreadOfInterval(l.Interval)
		variance += s*s + binomial(l.Published.GPT4, publishedRows)
		other = other || l.Published.OtherPrompt
	}
	if tasks == 0 {
		return Quality{}, false
	}
	k := float64(tasks)
	q := NewQuality(tuned, "GPT-4 (published)", b/k, a/k, math.Sqrt(variance)/k)
	q.Tasks, q.Rows = tasks, rows/tasks
	q.Source = fmt.Sprintf("%s measured on %s a task; GPT-4 as published in the LoRA Land report on %d tasks, not measured here", tuned, rowsText(q.Rows), tasks)
	if other {
		q.Source += " and with another prompt"
	}
	return q, true
}

func spreadOfInterval(i []record.Float) float64 { return float64(i[1]-i[0]) / 2 / z95 }

// binomial is the variance of a share p of n rows, which bounds that of any
// score between 0 and 1.
func binomial(p float64, n int) float64 { return p * (1 - p) / float64(n) }

// FromReport takes both scores from the LoRA Land report: the best of its ten
// fine-tuned models and GPT-4 on one of its 31 tasks.
func FromReport(task string) (Quality, error) {
	t, ok := reference.Lookup(task)
	if !ok {
		var names []string
		for _, x := range reference.Tasks() {
			names = append(names, x.Task)
		}
		return Quality{}, unknownTask(task, names)
	}
	score, model := t.BestFinetuned()
	gpt4 := t.Base[reference.GPT4]
	q := NewQuality("fine-tuned "+model, "GPT-4", score, gpt4, math.Sqrt(binomial(score, publishedRows)+binomial(gpt4, publishedRows)))
	q.Tasks, q.Rows = 1, publishedRows
	q.Source = fmt.Sprintf("published in the LoRA Land report for %s (best of ten fine-tuned models, chosen after the fact), nothing measured here", task)
	return q, nil
}
