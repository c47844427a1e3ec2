package study

import (
	"testing"

	"github.com/evalrun/evalrun/results/reference"
)

func claim(claimed, unit, relation, measure string) reference.Claim {
	return reference.Claim{Claimed: claimed, Unit: unit, Relation: relation, Measure: measure}
}

// The claims of the text that its own tables do not bear out, with what they
// give. A claim that is added or changed must be put here or agree.
func TestClaims(t *testing.T) {
	differ := map[string]string{
		"Abstract lift mean":                                 "38.4",
		"Abstract lead mean":                                 "2.4",
		"2 (table 2) parameters max":                         "8.5",
		"3.3 parameters max":                                 "8.5",
		"4 mean gpt-4 before 0.599":                          "0.6609",
		"4 mean gpt-3.5-turbo before":                        "0.5992",
		"4 lift min":                                         "25.18",
		"4 lift mean":                                        "38.39",
		"4 best_over_base min":                               "2.80",
		"4 above rival":                                      "194",
		"4 bottom after 1":                                   "gemma-7b-instruct",
		"5.1 best mistral-7b":                                "9",
		"5.1 mean zephyr-7b-beta after":                      "0.7417",
		"5.1, caption of figure 6 tied":                      "conllpp, customer_support",
		"5.2 large_above_small":                              "28",
		"5.3 instruct_lead best after":                       "-0.0032",
		"5.5.2 rho avg_base_model_score compressibility_std": "-0.273",
		"5.5.3 rmse_useful":                                  "0",
		"6.3 users_gap 8 ttft_ms 1 50":                       "14.330",
		"6.3 users_change 8 ttft_ms 1 50":                    "11.76",
		"6.3 adapters_change ttft_ms":                        "40.0",
		"6.3 adapters_change token_streaming_ms":             "12.8",
		"6.3 disparity p90":                                  "195.850",
		"6.3 disparity growth":                               "60.796",
		"6.3 ttft max":                                       "201.0",
		"6.3 aggregate 50":                                   "1014.5",
	}
	prose, cells, cellsDiffer := 0, 0, 0
	for _, c := range Checks() {
		if c.Section == "table 4" {
			cells++
			if !c.Agrees {
				cellsDiffer++
			}
			continue
		}
		prose++
		key := c.Section + " " + c.Measure
		if _, ok := differ[key]; !ok {
			key += " " + c.Claimed // two claims on one measure
		}
		want, known := differ[key]
		if known == c.Agrees {
			t.Errorf("%s: %s: claimed %s, recomputed %s, agrees: %v", key, c.Claim.Claim, c.Claimed, c.Text, c.Agrees)
		}
		if known && c.Text != want {
			t.Errorf("%s: recomputed %s, want %s", key, c.Text, want)
		}
		delete(differ, key)
	}
	for key := range differ {
		t.Errorf("no such claim: %s", key)
	}
	if prose != 85 || cells != 80 || cellsDiffer != 24 {
		t.Errorf("%d claims of the text; %d of %d cells of table 4 differ", prose, cellsDiffer, cells)
	}
}

// A claim near its figure agrees by one unit of its last digit, counts exactly.
func TestRelations(t *testing.T) {
	s := newTables(Published())
	for _, c := range []struct {
		claimed, unit, relation, measure string
		agrees                           bool
	}{
		{"0.742", "", "near", "mean zephyr-7b-beta after", true},
		{"0.743", "", "near", "mean zephyr-7b-beta after", false},
		{"74", "points", "near", "mean zephyr-7b-beta after", true},
		{"301", "", "equal", "above base", true},
		{"300", "", "equal", "above base", false},
		{"0.7", "", "above", "mean zephyr-7b-beta after", true},
		{"0.75", "", "at most", "mean zephyr-7b-beta after", true},
		{"0.75", "", "at least", "mean zephyr-7b-beta after", false},
		{"0.77", "", "about", "mean zephyr-7b-beta after", true},
		{"0.79", "", "about", "mean zephyr-7b-beta after", false},
		{"mistral-7b", "", "names", "best argmax", true},
		{"phi-2", "", "names", "best argmax", false},
	} {
		got := s.check(claim(c.claimed, c.unit, c.relation, c.measure))
		if got.Agrees != c.agrees {
			t.Errorf("%+v: recomputed %s", c, got.Text)
		}
	}
}
