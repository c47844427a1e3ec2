package run

import (
	"context"
	"fmt"
	"math"
	"testing"

	"github.com/evalrun/evalrun/core"
	"github.com/evalrun/evalrun/core/record"
)

func TestReduce(t *testing.T) {
	task := &core.Task{Name: "t", Metrics: []core.MetricSpec{{Name: "m"}, {Name: "m", Reduce: "majority"}, {Name: "m", Reduce: "majority@3"},
		{Name: "m", Reduce: "pass@2"}, {Name: "m", Reduce: "first"}, {Name: "m", Reduce: "best"}, {Name: "m", Reduce: "mean"}, {Name: "m", Reduce: "pass@9"}}}
	judges, err := Judges(task, core.Strict, func(core.MetricSpec, core.Profile) (core.Metric, error) { return &exact{name: "m"}, nil })
	if err != nil {
		t.Fatal(err)
	}
	var strict []Judge
	for _, j := range judges {
		if j.Profile == core.Strict {
			strict = append(strict, j)
		}
	}
	tally := NewTally(task, "model", strict, 4)
	// Row 0: b leads, and is wrong; of the first three, a and b and a: a. Row 1: a tie, the first seen counts.
	for row, answers := range [][]string{{"a", "b", "a", "b"}, {"x", "a", "a", "x"}} {
		for rep, answer := range answers {
			value := 0.0
			if answer == "a" {
				value = 1
			}
			rec := &record.Record{Task: "t", Model: "model", Index: row, Repeat: rep, Response: answer, Targets: []string{"a"}}
			for _, j := range strict {
				rec.Scores = append(rec.Scores, record.Score{Metric: j.Name(), Profile: core.Strict, Value: record.Float(value)})
			}
			tally.Add(rec)
		}
	}
	for i, want := range map[int]float64{0: 0.5, 1: 0.5, 2: 1, 3: 1 - 1.0/6, 4: 0.5, 5: 1, 6: 0.5} {
		a := tally.Sum(nil).Results[i]
		if math.Abs(a.Aggregate.Score-want) > 1e-12 {
			t.Errorf("%s: %v, want %v", a.Metric.Name, a.Aggregate.Score, want)
		}
		if n := 2; i > 0 && a.Aggregate.N != n {
			t.Errorf("%s: %d rows", a.Metric.Name, a.Aggregate.N)
		}
	}
	if rows, _ := tally.reduced(7); len(rows) != 2 || rows[0].Skipped == "" {
		t.Errorf("pass@9 of four answers: %+v", rows)
	}
	for _, bad := range []string{"pass", "majority@0", "mean@3", "vote"} {
		if _, err := ParseReduce(bad); err == nil {
			t.Errorf("%q got through", bad)
		}
	}
}

// One verdict a row does not make the rows of a cluster independent.
func TestReducedClusters(t *testing.T) {
	task := &core.Task{Name: "t", Metrics: []core.MetricSpec{{Name: "m"}, {Name: "m", Reduce: "first"}}}
	judges, err := Judges(task, core.Strict, func(core.MetricSpec, core.Profile) (core.Metric, error) { return meanMetric{}, nil })
	if err != nil {
		t.Fatal(err)
	}
	tally := NewTally(task, "model", judges, 2)
	for row := range 40 {
		for rep := range 2 {
			rec := &record.Record{Task: "t", Model: "model", Index: row, Repeat: rep, Cluster: string(rune('a' + row/8)), Response: "x", Targets: []string{"a"}}
			for _, j := range judges {
				rec.Scores = append(rec.Scores, record.Score{Metric: j.Name(), Profile: j.Profile, Value: record.Float(row / 8 % 2)})
			}
			tally.Add(rec)
		}
	}
	var each, first core.Aggregate
	for _, r := range tally.Sum(nil).Results {
		switch {
		case r.Profile != core.Strict:
		case r.Metric.Name == "m":
			each = r.Aggregate
		default:
			first = r.Aggregate
		}
	}
	if first.Method != "clustered student-t" || math.Abs(first.Low95-each.Low95) > 1e-12 || math.Abs(first.High95-each.High95) > 1e-12 {
		t.Errorf("first %+v, each %+v", first, each)
	}
}

// What a metric skipped is told with its reason and the number of samples.
func TestNotJudgedIsTold(t *testing.T) {
	judges := []Judge{{Metric: skipping{}, Profile: core.Strict}}
	tally := NewTally(&core.Task{Name: "t"}, "model", judges, 1)
	for row := range 10 {
		s := record.Score{Metric: "m", Profile: core.Strict, Value: 1}
		if row < 3 {
			s.Value, s.Skipped = 0, "no verdict"
		}
		tally.Add(&record.Record{Task: "t", Model: "model", Index: row, Response: "x", Targets: []string{"a"}, Scores: []record.Score{s}})
	}
	r := tally.Sum(nil).Results[0]
	if r.Aggregate.N != 7 || r.Aggregate.Skipped != 3 || len(r.Warnings) != 1 || r.Warnings[0] != (Warning{"not judged: no verdict", 3}) {
		t.Errorf("%+v", r)
	}
	// Of many reasons the most frequent are kept, the same ones each time.
	tally = NewTally(&core.Task{Name: "t"}, "model", judges, 1)
	for row := range 400 {
		s := record.Score{Metric: "m", Profile: core.Strict, Value: 1}
		if row > 0 {
			s.Skipped = fmt.Sprintf("reason %02d", min(row%80, 40))
		}
		tally.Add(&record.Record{Task: "t", Model: "model", Index: row, Response: "x", Targets: []string{"a"}, Scores: []record.Score{s}})
	}
	w := tally.Sum(nil).Results[0].Warnings
	if len(w) != maxWarnings || w[0] != (Warning{"not judged: reason 40", 200}) || w[19] != (Warning{"not judged: reason 19", 5}) {
		t.Errorf("%+v", w)
	}
}

// Answers whose extraction ran out of time are told from those that hold none.
func TestExtractionOutOfTimeIsTold(t *testing.T) {
	tally := NewTally(&core.Task{Name: "t"}, "model", []Judge{{Metric: meanMetric{}, Profile: core.Strict}}, 1)
	for row := range 4 {
		rec := &record.Record{Task: "t", Model: "model", Index: row, Response: "x", Targets: []string{"a"}, ExtractFailed: true,
			Scores: []record.Score{{Metric: "m", Profile: core.Strict, Failed: true}}}
		if row == 0 {
			rec.ExtractError = "time"
		}
		tally.Add(rec)
	}
	if w := tally.Sum(nil).Results[0].Warnings; len(w) != 1 || w[0] != (Warning{"extraction ran out of time", 1}) {
		t.Errorf("%+v", w)
	}
}

// skipping leaves skipped items out of its mean.
type skipping struct{ meanMetric }

func (skipping) Aggregate(scores []core.Score) core.Aggregate {
	a, judged := core.Judged(scores)
	a.N, a.Score = len(judged), 1
	return a
}

// asking is a metric that has every answer judged by a model.
type asking struct{ exact }

func (a *asking) Info() core.MetricInfo {
	return core.MetricInfo{Name: "judge", Profile: core.Strict, High: 1, HigherIsBetter: true, Needs: []string{"judge"}}
}

func (a *asking) Score(_ context.Context, items []core.Item) ([]core.Score, error) {
	out := make([]core.Score, len(items))
	for i, it := range items {
		switch {
		case len(it.Judged) == 0:
			out[i].Requests = []core.Request{{Kind: core.Generate, Prompt: "judge " + it.ID, Generation: core.Generation{MaxTokens: 4}}}
		case it.Judged[0].Text == "good":
			out[i].Value = 1
		}
	}
	return out, nil
}

// A judgement that cannot be had is an API error of the sample, never a wrong
// answer; judgements come from the judge, not from the model.
func TestOtherModelJudges(t *testing.T) {
	job := jobOf("a", 4)
	job.Judges = []Judge{{Metric: &asking{}, Profile: core.Strict}}
	model := &fake{answer: func(r core.Request) core.Event {
		if r.Sample == "" || len(r.ID) > 5 && r.ID[:6] == "judge/" {
			return refusal(core.CodeInternal)
		}
		return core.Event{Kind: core.EventResponse, Response: &core.Response{Text: "yes"}}
	}}
	judge := &fake{answer: func(r core.Request) core.Event {
		if r.Prompt == "judge 2" {
			return refusal(core.CodeInvalid)
		}
		return core.Event{Kind: core.EventResponse, Response: &core.Response{Text: "good", CostUSD: 0.5}}
	}}
	sink := &memory{}
	rep, err := finish(t, context.Background(), Options{Backend: model, Judge: judge, Jobs: []*Job{job}, Sink: sink})
	if err != nil {
		t.Fatal(err)
	}
	sum := rep.Tallies[0].Sum(nil)
	if a := sum.Results[0].Aggregate; a.N != 3 || a.Score != 1 {
		t.Errorf("aggregate %+v", a)
	}
	if sum.Counts.APIErrors != 1 || sum.Counts.CostUSD != 1.5 {
		t.Errorf("counts %+v", sum.Counts)
	}
	if _, err := New(Options{Model: "m", Jobs: []*Job{job}}); err == nil {
		t.Error("a run without a judge began")
	}
}
