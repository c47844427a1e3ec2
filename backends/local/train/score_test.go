package train

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
)

// scored makes a training that is judged every 8 micro-batches, the score given
// by the evaluation's number.
func scored(t *testing.T, dir string, scores []float64) (j *Job, asked *[]int) {
	t.Helper()
	j = job(t, "modern", dir)
	j.Recipe.Monitor, j.Recipe.EvalEvery, j.Recipe.Patience = MonitorScore, 8, 3
	asked = new([]int)
	j.Score = func(step int) (float64, error) {
		*asked = append(*asked, step)
		return scores[step/8-1], nil
	}
	return j, asked
}

// A training ends when the score has not got better for patience evaluations,
// and its values are those of the best.
func TestScoreDecides(t *testing.T) {
	for _, c := range []struct {
		name   string
		lower  bool
		scores []float64
		best   int // evaluation, from 1
		ends   int
	}{
		{"higher is better", false, []float64{0.5, 0.9, 0.8, 0.7, 0.6, 1}, 2, 5},
		{"lower is better", true, []float64{0.5, 0.4, 0.8, 0.7, 0.6, 0}, 2, 5},
		{"the last chance", false, []float64{0.5, 0.4, 0.3, 0.6, 0.5, 0.4, 0.3}, 4, 7},
	} {
		j, _ := scored(t, t.TempDir(), c.scores)
		j.LowerIsBetter = c.lower
		at := map[int]string{}
		j.Tell = func(n News) {
			if n.Score != nil {
				at[n.Step] = values(j)
			}
		}
		res, err := j.Run(context.Background())
		if err != nil || !res.Finished || !res.Early || res.BestStep != 8*c.best || res.Step != 8*c.ends || *res.BestScore != c.scores[c.best-1] {
			t.Errorf("%s: %+v, %v", c.name, res, err)
			continue
		}
		if values(j) != at[8*c.best] || values(j) == at[8*c.ends] {
			t.Errorf("%s: the values are not those of the best evaluation", c.name)
		}
	}
}

// Scores that are alike are told apart by the loss.
func TestLikeScores(t *testing.T) {
	same := []float64{1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1}
	j, _ := scored(t, t.TempDir(), same)
	byLoss := job(t, "modern", t.TempDir())
	byLoss.Recipe.Monitor, byLoss.Recipe.EvalEvery, byLoss.Recipe.Patience = MonitorLoss, 8, 3
	byLoss.Score = func(int) (float64, error) { return 0, errors.New("nobody asks for it") }
	a, err := j.Run(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	b, err := byLoss.Run(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	if a.BestStep != b.BestStep || *a.Best != *b.Best || values(j) != values(byLoss) {
		t.Errorf("by like scores %+v, by the loss %+v", a.State, b.State)
	}
}

// A training that is killed ends with the same bits, log and scores, also
// between its early end and the writing of the adapter.
func TestScoredResumes(t *testing.T) {
	scores := []float64{0.1, 0.3, 0.2, 0.5, 0.4, 0.6, 0.5, 0.5, 0.5, 0.7, 0.7, 0.7}
	whole, _ := scored(t, t.TempDir(), scores)
	want, err := whole.Run(context.Background())
	if err != nil || !want.Early || want.BestStep != 48 {
		t.Fatalf("%+v, %v", want.State, err)
	}
	bits := outcome(t, whole)
	for kill := 1; kill < 9; kill++ {
		dir := t.TempDir()
		for round := 0; ; round++ {
			j, _ := scored(t, dir, scores)
			windows := 0
			j.Tell = func(News) {
				if windows++; windows == kill+5 {
					panic("killed")
				}
			}
			res, err := j.runKilled(context.Background())
			if errors.Is(err, errKilled) && round < 20 {
				continue
			}
			if err != nil || res.Step != want.Step || *res.BestScore != *want.BestScore {
				t.Errorf("killed at %d: %+v, %v", kill, res.State, err)
			}
			if !bytes.Equal(outcome(t, j), bits) {
				t.Errorf("killed at %d: another end than uninterrupted", kill)
			}
			break
		}
		j, asked := scored(t, dir, scores)
		if res, err := j.Run(context.Background()); err != nil || !res.Finished || len(*asked) > 0 || !bytes.Equal(outcome(t, j), bits) {
			t.Errorf("once more: %+v, asked at %v, %v", res.State, *asked, err)
		}
	}
}

// An evaluation without a score ends the training, and what was saved stays.
func TestNoScore(t *testing.T) {
	j, _ := scored(t, t.TempDir(), nil)
	j.Score = func(int) (float64, error) { return 0, errors.New("lost") }
	if _, err := j.Run(context.Background()); err == nil || !strings.Contains(err.Error(), "step 8: the score of the validation rows: lost") {
		t.Error(err)
	}
	for text, want := range map[string]string{`{"monitor":"accuracy"}`: "loss or score", `{"monitor":1}`: "recipe: monitor"} {
		if _, err := ParseRecipe(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func values(j *Job) string {
	var b strings.Builder
	for _, x := range j.Tuned.stored() {
		fmt.Fprintf(&b, "%s %x\n", x.Name, x.Data)
	}
	return b.String()
}
