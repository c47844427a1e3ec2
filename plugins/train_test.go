package plugins

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/evalrun/evalrun/core"
	"github.com/evalrun/evalrun/plugins/pb"
)

func TestEveryTrainingFieldCrosses(t *testing.T) {
	roundTrip(t, func(t *testing.T, v core.Job) core.Job { return jobFromPB(overWire(t, jobToPB(v))) })
	for seed := range uint64(100) {
		f := &filler{Rand: rand.New(rand.NewPCG(seed, 11))}
		var full core.TrainNews
		f.fill(t, reflect.ValueOf(&full).Elem())
		full.Score.Value = nil // is an answer, which goes the other way
		for _, in := range []core.TrainNews{
			{Kind: core.PlanNews, Plan: full.Plan}, {Kind: core.StepNews, Step: full.Step}, {Kind: core.EndNews, End: full.End},
			{Kind: core.ScoreNews, Score: full.Score},
		} {
			out, err := trainNewsFromPB(overWire(t, trainNewsToPB(in)))
			if err != nil || !reflect.DeepEqual(in, out) {
				t.Fatalf("seed %d: sent\n%+v\ngot\n%+v, %v", seed, in, out, err)
			}
		}
	}
	failure := &core.UserError{Where: "x.jsonl:3", Message: "no prompt", Hint: "add one"}
	_, err := trainNewsFromPB(overWire(t, &pb.TrainReply{News: &pb.TrainReply_Failure{Failure: failureToPB(failure)}}))
	var user *core.UserError
	if !errors.As(err, &user) || *user != *failure {
		t.Errorf("failure came as %v", err)
	}
}

// coach trains as it is told by the job: Out names what happens.
type coach struct{ core.Backend }

func (coach) Train(ctx context.Context, job core.Job) iter.Seq2[core.TrainNews, error] {
	return func(yield func(core.TrainNews, error) bool) {
		if !yield(core.TrainNews{Kind: core.PlanNews, Plan: &core.TrainPlan{Steps: 3, Recipe: job.Recipe}}, nil) {
			return
		}
		switch job.Out {
		case "fails":
			yield(core.TrainNews{}, &core.UserError{Where: job.Data, Message: "no rows", Hint: "add some"})
			return
		case "waits":
			<-ctx.Done()
			yield(core.TrainNews{Kind: core.EndNews, End: &core.TrainEnd{Step: 2}}, nil)
			return
		}
		if job.Out == "asks" {
			for i, want := range []float64{0.25, 0.5} {
				ask := &core.TrainScore{Step: i, Adapter: "now"}
				if !yield(core.TrainNews{Kind: core.ScoreNews, Score: ask}, nil) {
					return
				}
				if ask.Value == nil || *ask.Value != want {
					yield(core.TrainNews{}, fmt.Errorf("score %d: %v", i, ask.Value))
					return
				}
			}
		}
		for i := range 3 {
			if !yield(core.TrainNews{Kind: core.StepNews, Step: &core.TrainStep{Step: i + 1}}, nil) {
				return
			}
		}
		yield(core.TrainNews{Kind: core.EndNews, End: &core.TrainEnd{Step: 3, Finished: true}}, nil)
	}
}

func (coach) Close() error { return nil }

// Training crosses the border: news in order, mistakes whole, a stop that
// waits for the checkpoint, a backend that cannot.
func TestTrainOverWire(t *testing.T) {
	ctx := context.Background()
	b, err := Loopback(ctx, coach{})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	trainer := b.(core.Trainer)
	run := func(ctx context.Context, job core.Job, each func(core.TrainNews)) (news []core.TrainNews, err error) {
		for n, err := range trainer.Train(ctx, job) {
			if err != nil {
				return news, err
			}
			news = append(news, n)
			each(n)
		}
		return news, nil
	}
	news, err := run(ctx, core.Job{Recipe: `{"preset":"paper"}`}, func(core.TrainNews) {})
	if err != nil || len(news) != 5 || news[0].Plan.Recipe != `{"preset":"paper"}` || news[3].Step.Step != 3 || !news[4].End.Finished {
		t.Errorf("news %+v, %v", news, err)
	}
	var user *core.UserError
	if _, err := run(ctx, core.Job{Out: "fails", Data: "rows.jsonl"}, func(core.TrainNews) {}); !errors.As(err, &user) || user.Where != "rows.jsonl" {
		t.Errorf("failure came as %v", err)
	}
	stopped, stop := context.WithCancel(ctx)
	news, err = run(stopped, core.Job{Out: "waits"}, func(n core.TrainNews) {
		if n.Kind == core.PlanNews {
			stop()
		}
	})
	if err != nil || len(news) != 2 || news[1].End == nil || news[1].End.Finished || news[1].End.Step != 2 {
		t.Errorf("stopped: %+v, %v", news, err)
	}
	// A question for a score is answered before the next news, a stop asked for
	// meanwhile or not; one that gets no answer is told so.
	stopped, stop = context.WithCancel(ctx)
	score := 0.25
	news, err = run(stopped, core.Job{Out: "asks"}, func(n core.TrainNews) {
		if n.Kind == core.ScoreNews {
			stop()
			n.Score.Value, score = new(float64), score+0.25
			*n.Score.Value = score - 0.25
		}
	})
	if err != nil || len(news) != 7 || news[1].Score.Adapter != "now" || !news[6].End.Finished {
		t.Errorf("asked: %+v, %v", news, err)
	}
	if _, err = run(ctx, core.Job{Out: "asks"}, func(core.TrainNews) {}); err == nil || !strings.Contains(err.Error(), "score 0") {
		t.Errorf("no score: %v", err)
	}
	// However early the stop comes, it arrives.
	for i := range 50 {
		early, stop := context.WithCancel(ctx)
		time.AfterFunc(time.Duration(i)*20*time.Microsecond, stop)
		if news, err := run(early, core.Job{Out: "waits"}, func(core.TrainNews) {}); err != nil && !errors.Is(err, context.Canceled) || err == nil && len(news) != 2 {
			t.Fatalf("stopped after %d µs: %+v, %v", i*20, news, err)
		}
		stop()
	}
	// A caller that has enough ends the training.
	for range trainer.Train(ctx, core.Job{}) {
		break
	}

	plain, err := Loopback(ctx, struct{ core.Backend }{coach{}})
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close()
	for _, err := range plain.(core.Trainer).Train(ctx, core.Job{}) {
		if !errors.Is(err, ErrNotTrainer) {
			t.Errorf("a backend that does not train: %v", err)
		}
	}
}
