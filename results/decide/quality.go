package decide

import (
	"math"
	"math/rand/v2"

	"gonum.org/v1/gonum/stat/distuv"
)

// Quality is what is known of the two models' scores, 0 to 1, higher is better.
type Quality struct {
	// Tuned and API name the models.
	Tuned string `json:"finetuned"`
	API   string `json:"api"`
	// TunedScore and APIScore are means over the tasks.
	TunedScore float64 `json:"finetuned_score"`
	APIScore   float64 `json:"api_score"`
	// Difference is fine-tuned − API with its standard error; 0 is "not in
	// doubt".
	Difference float64 `json:"difference"`
	Stderr     float64 `json:"standard_error"`
	Low        float64 `json:"difference_low_95"`
	High       float64 `json:"difference_high_95"`
	Tasks      int     `json:"tasks"`
	Rows       int     `json:"rows"`
	// Source says in words where the scores come from; Measured that both were
	// measured on the same rows.
	Source   string `json:"source"`
	Measured bool   `json:"measured"`
	// Predicted says that nothing was trained yet.
	Predicted bool `json:"predicted"`
}

const z95 = 1.959963984540054 // the normal 97.5 % quantile

// NewQuality fills in what follows from the difference and its error.
func NewQuality(tuned, api string, tunedScore, apiScore, stderr float64) Quality {
	d := tunedScore - apiScore
	return Quality{Tuned: tuned, API: api, TunedScore: tunedScore, APIScore: apiScore, Difference: d, Stderr: stderr, Low: d - z95*stderr, High: d + z95*stderr}
}

// above is the probability that the difference is above v, by the normal
// approximation.
func (q Quality) above(v float64) float64 {
	if !(q.Stderr > 0) {
		if q.Difference > v {
			return 1
		}
		return 0
	}
	return distuv.UnitNormal.Survival((v - q.Difference) / q.Stderr)
}

// drawLoss draws how much lower the fine-tuned model scores.
func (q Quality) drawLoss(rng *rand.Rand) float64 {
	return -(q.Difference + q.Stderr*rng.NormFloat64())
}

// RowsNeeded estimates on how many rows both have to be measured until the
// difference, if it stays what it is, is beyond chance at 95 %; 0 where that is
// not known.
func (q Quality) RowsNeeded() int {
	if q.Rows == 0 || q.Difference == 0 || !(q.Stderr > 0) {
		return 0
	}
	factor := z95 * q.Stderr / math.Abs(q.Difference)
	n := float64(q.Rows) * factor * factor
	if n > 1e7 {
		return 0
	}
	return int(math.Ceil(n))
}
