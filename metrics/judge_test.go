package metrics

import (
	"context"
	"testing"

	"github.com/evalrun/evalrun/core"
)

// The verdict is the last number, but not the scale's own end: in "3/5" it is 3.
func TestJudgeVerdict(t *testing.T) {
	j, err := newJudge(map[string]any{"prompt": "{answer}?", "scale": []any{1, 5}}, core.Strict)
	if err != nil {
		t.Fatal(err)
	}
	for said, want := range map[string]float64{
		"5": 1, "I say 1.": 0, "3/5": 0.5, "Rating: 4 / 5.": 0.75, "I give it 2 out of 5": 0.25, "2 Out Of 5.0": 0.25, "4 of 5": 0.75,
		"On a scale of 1 to 5: 3": 0.5, "a rating of 5": 1, "3/5, no: 4": 0.75, "3/50": -1, "none": -1, "7": -1, "9/5": -1,
		"**4**/5": 0.75, "Score: `3`/**5**": 0.5, "4 (out of 5)": 0.75, "**2** / 5 stars": 0.25, "3 out of a possible 5": 0.5,
		"I give 4 on a scale of 1-5": 0.75, "4 (on a scale from 1 to 5)": 0.75, "2 (scale: 1 – 5)": 0.25, "On the scale of 1 to 5 it is 5": 1, "1 to 5? 5": 1,
	} {
		scores, err := j.Score(context.Background(), []core.Item{{Text: "a", Judged: []core.Response{{Text: said}}}})
		if err != nil {
			t.Fatal(err)
		}
		if s := scores[0]; s.Skipped == "" && s.Value != want || s.Skipped != "" && want >= 0 {
			t.Errorf("%q: %+v, want %v", said, s, want)
		}
	}
}
