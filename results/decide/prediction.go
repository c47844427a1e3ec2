package decide

import (
	"encoding/json"
	"fmt"
	"math"
	"strings"

	"gonum.org/v1/gonum/stat/distuv"

	"github.com/evalrun/evalrun/core"
	"github.com/evalrun/evalrun/internal/nearest"
)

// FromPrediction takes the scores from what evalrun predict --json printed: the
// expected score after fine-tuning and the lift over GPT-4 with its interval.
// Of several tasks one is named; where names errors.
func FromPrediction(b []byte, where, task string) (Quality, error) {
	var doc struct {
		Predictions []struct {
			Task       string  `json:"task"`
			Level      float64 `json:"level"`
			Quantities []struct {
				Name     string     `json:"quantity"`
				Expected float64    `json:"expected"`
				Interval [2]float64 `json:"interval"`
			} `json:"quantities"`
		} `json:"predictions"`
	}
	hint := "give what evalrun predict TASK --json printed"
	if err := json.Unmarshal(b, &doc); err != nil {
		return Quality{}, &core.UserError{Where: where, Message: "not a prediction", Err: err, Hint: hint}
	}
	if len(doc.Predictions) == 0 {
		return Quality{}, &core.UserError{Where: where, Message: "holds no prediction", Hint: hint}
	}
	at := 0
	if task != "" || len(doc.Predictions) > 1 {
		var names []string
		at = -1
		for i, p := range doc.Predictions {
			names = append(names, p.Task)
			if p.Task == task {
				at = i
			}
		}
		if at < 0 {
			hint := "--task names one of " + strings.Join(names, ", ")
			if near := nearest.Word(task, names); near != "" {
				hint = "did you mean --task " + near + "?"
			}
			return Quality{}, &core.UserError{Where: where, Message: fmt.Sprintf("%d predictions, and none of task %q", len(names), task), Hint: hint}
		}
	}
	p := doc.Predictions[at]
	found := map[string]int{}
	for i, q := range p.Quantities {
		found[q.Name] = i + 1
	}
	if found["tuned"] == 0 || found["lift_over_gpt4"] == 0 || !(p.Level > 0 && p.Level < 1) {
		return Quality{}, &core.UserError{Where: where, Message: "the prediction of " + p.Task + " lacks the score after fine-tuning or the lift over GPT-4", Hint: hint}
	}
	tuned, lift := p.Quantities[found["tuned"]-1], p.Quantities[found["lift_over_gpt4"]-1]
	z := distuv.UnitNormal.Quantile(0.5 + p.Level/2)
	stderr := math.Abs(lift.Interval[1]-lift.Interval[0]) / 2 / z
	// The lift is predicted by itself; the score of GPT-4 is what makes it so.
	q := NewQuality("the fine-tuned model", "GPT-4", tuned.Expected, tuned.Expected-lift.Expected, stderr)
	q.Tasks, q.Predicted = 1, true
	q.Source = fmt.Sprintf("predicted for %s from the tasks of the LoRA Land report; nothing was trained or measured", p.Task)
	return q, nil
}
