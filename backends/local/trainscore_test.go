package local

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/evalrun/evalrun/core"
	"github.com/evalrun/evalrun/plugins"
)

// doors are requests of a generation, of log-likelihoods, and of an answer that
// a stop text ends.
func doors(adapter string) []core.Request {
	var out []core.Request
	for i, colour := range []string{"red", "green", "blue"} {
		prompt := fmt.Sprintf("The %s door number %d. Colour:", colour, 90+i)
		out = append(out,
			core.Request{ID: fmt.Sprint("g", i), Kind: core.Generate, Prompt: prompt, Adapter: adapter, Logprobs: true, Generation: core.Generation{MaxTokens: 12}},
			core.Request{ID: fmt.Sprint("s", i), Kind: core.Generate, Prompt: prompt, Adapter: adapter, Logprobs: true, Generation: core.Generation{MaxTokens: 12, Stop: []string{"e"}}},
			core.Request{ID: fmt.Sprint("l", i), Kind: core.ScoreText, Prompt: prompt, Adapter: adapter, Continuations: []string{" red", " blue"}})
	}
	return out
}

// answersOf puts the requests of doors to a backend: what came, by ID, without
// the time that it took.
func answersOf(b core.Backend, adapter string) (map[string]core.Response, error) {
	s, err := b.Open(context.Background())
	if err != nil {
		return nil, err
	}
	defer s.Close()
	requests := doors(adapter)
	for _, r := range requests {
		if err := s.Send(r); err != nil {
			return nil, err
		}
	}
	got := map[string]core.Response{}
	for ev, err := range s.Events() {
		if err != nil {
			return nil, err
		}
		if ev.Err != nil {
			return nil, ev.Err
		}
		if ev.Response != nil {
			r := *ev.Response
			r.Seconds, r.Usage.Shared = 0, 0
			if got[ev.ID] = r; len(got) == len(requests) {
				break
			}
		}
	}
	return got, nil
}

// While a training waits for a score, its model answers with the very bits of
// an evaluation of the adapter as it stands; the best by score is left. All of
// it through the wire.
func TestTrainingIsScored(t *testing.T) {
	dir := t.TempDir()
	data := rowsFile(t, dir, 40)
	recipe := strings.TrimSuffix(strings.NewReplacer("paper", "modern", "f32", "bf16").Replace(quickRecipe), "}") + `,"monitor":"score","eval_every":16,"eval_rows":7}`
	job := core.Job{Data: data, Validation: data, Recipe: recipe, Metric: "made up", Out: filepath.Join(dir, "out")}
	b, err := New(core.Config{})
	if err != nil {
		t.Fatal(err)
	}
	wire, err := plugins.Loopback(t.Context(), b)
	if err != nil {
		t.Fatal(err)
	}
	defer wire.Close()
	scores := []float64{0.2, 0.9, 0.3}
	var said []map[string]core.Response
	var copies []string
	var scored []core.TrainStep
	var end *core.TrainEnd
	for n, err := range wire.(core.Trainer).Train(t.Context(), job) {
		if err != nil {
			t.Fatal(err)
		}
		switch n.Kind {
		case core.ScoreNews:
			if n.Score.Rows != 7 || n.Score.Step != 16*(len(said)+1) {
				t.Errorf("asked for %+v", *n.Score)
			}
			got, err := answersOf(wire, n.Score.Adapter)
			if err != nil {
				t.Fatal(err)
			}
			kept := filepath.Join(dir, fmt.Sprint("at", n.Score.Step))
			if err := os.CopyFS(kept, os.DirFS(filepath.Join(job.Out, workFolder, n.Score.Adapter))); err != nil {
				t.Fatal(err)
			}
			n.Score.Value = &scores[len(said)]
			said, copies = append(said, got), append(copies, kept)
		case core.StepNews:
			if n.Step.Scored {
				scored = append(scored, *n.Step)
			}
		case core.EndNews:
			end = n.End
		}
	}
	if len(said) != 3 || len(scored) != 3 || scored[1].Score != 0.9 || !end.Finished || !end.Scored || end.BestScore != 0.9 || end.BestStep != 32 {
		t.Fatalf("%d scores, %+v, end %+v", len(said), scored, end)
	}
	if reflect.DeepEqual(said[0], said[2]) {
		t.Error("the answers did not change")
	}
	if _, err := os.Stat(filepath.Join(job.Out, workFolder, trainedName)); err == nil {
		t.Error("the adapter in training is left behind")
	}
	for i, path := range append(copies, end.Adapter) {
		want := said[min(i, 2)]
		if path == end.Adapter {
			want = said[1]
		}
		one, err := New(core.Config{Adapters: []core.Adapter{{Name: "x", Path: path}}, Options: map[string]string{"quant": "nf4", "dtype": "bf16"}})
		if err != nil {
			t.Fatal(err)
		}
		got, err := answersOf(one, "x")
		if err := errors.Join(err, one.Close()); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: an evaluation answers %+v, in training it was %+v", path, got, want)
		}
	}
}

// A score that cannot be had is told before anything begins, or where it stays
// out; what asks for no score is asked for none.
func TestTrainingWithoutScore(t *testing.T) {
	dir := t.TempDir()
	data := rowsFile(t, dir, 12)
	short := `{"preset":"modern","steps":16,"accumulate":8,"targets":["q_proj"],"compute":"f32","eval_every":8`
	for name, c := range map[string]struct {
		job  core.Job
		want string
	}{
		"no metric":  {core.Job{Validation: data, Recipe: short + `,"monitor":"score"}`}, "the validation rows have no score"},
		"no rows":    {core.Job{Metric: "m", Recipe: short + `,"monitor":"score"}`}, "the validation rows have no score"},
		"no answer":  {core.Job{Metric: "m", Validation: data, Recipe: short + `}`}, "step 8: the score of the validation rows: none was given"},
		"no default": {core.Job{Validation: data, Recipe: short + `}`}, ""},
		"loss":       {core.Job{Metric: "m", Validation: data, Recipe: short + `,"monitor":"loss"}`}, ""},
		"paper":      {core.Job{Metric: "m", Validation: data, Recipe: strings.Replace(short, "modern", "paper", 1) + `}`}, ""},
	} {
		c.job.Data, c.job.Out = data, filepath.Join(dir, name)
		_, end, err := trainTo(t, c.job, 0)
		if c.want == "" {
			if err != nil || !end.Finished || end.Scored || end.BestStep == 0 {
				t.Errorf("%s: %+v, %v", name, end, err)
			}
			continue
		}
		var user *core.UserError
		if !errors.As(err, &user) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
