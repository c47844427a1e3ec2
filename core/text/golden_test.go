package text

import (
	"encoding/json"
	"math"
	"testing"

	"github.com/evalrun/evalrun/internal/shared"
)

func TestRougeAgainstPython(t *testing.T) {
	var r Rouge
	rows := 0
	for line := range shared.Lines(t, "golden", "scoring", "rouge.jsonl") {
		var row struct {
			Kind, Prediction, Reference string
			Torchmetrics                map[string][3]float64
			Google                      map[string][3]float64
			GoogleStem                  map[string][3]float64 `json:"google_stem"`
			Sentences                   struct{ Prediction, Reference []string }
		}
		if err := json.Unmarshal(line, &row); err != nil {
			t.Fatal(err)
		}
		rows++
		check := func(v Variant, want map[string][3]float64, tolerance float64) {
			r.Variant = v
			sum := r.Lsum(Lines(row.Prediction), Lines(row.Reference))
			if v == Torchmetrics {
				sum = r.Lsum(row.Sentences.Prediction, row.Sentences.Reference)
			}
			for key, got := range map[string]PRF{
				"rouge1":    r.N(1, row.Prediction, row.Reference),
				"rouge2":    r.N(2, row.Prediction, row.Reference),
				"rougeL":    r.L(row.Prediction, row.Reference),
				"rougeLsum": sum,
			} {
				w, ok := want[key]
				if !ok {
					t.Errorf("%s: no %s for %s", row.Kind, key, v)
				}
				for i, g := range [3]float64{got.Precision, got.Recall, got.F} {
					if !(math.Abs(g-w[i]) <= tolerance) {
						t.Errorf("%s %s %s[%d]: got %v, Python %v\nprediction %q\nreference %q",
							v, row.Kind, key, i, g, w[i], row.Prediction, row.Reference)
					}
				}
			}
		}
		check(Torchmetrics, row.Torchmetrics, 1e-6)
		check(Google, row.Google, 1e-9)
		check(GoogleStem, row.GoogleStem, 1e-9)
	}
	if rows == 0 {
		t.Error("no rows")
	}
}
