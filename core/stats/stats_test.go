package stats

import (
	"encoding/json"
	"fmt"
	"math"
	"testing"

	"github.com/evalrun/evalrun/internal/shared"
)

func near(got, want, tolerance float64) bool {
	if math.IsNaN(want) {
		return math.IsNaN(got)
	}
	return math.Abs(got-want) <= tolerance*math.Max(1e-300, math.Abs(want)) || math.Abs(got-want) < 1e-15
}

// number reads a JSON number or one of the strings "NaN", "Infinity".
type number float64

func (n *number) UnmarshalJSON(b []byte) error {
	var s string
	if json.Unmarshal(b, &s) == nil {
		if s != "NaN" {
			return fmt.Errorf("unexpected text %q", s)
		}
		*n = number(math.NaN())
		return nil
	}
	return json.Unmarshal(b, (*float64)(n))
}

// The rows are answers of scipy, statsmodels and numpy.
func TestAgainstPython(t *testing.T) {
	seen := map[string]int{}
	for line := range shared.Lines(t, "golden", "scoring", "stats.jsonl") {
		var row struct {
			Test      string
			K, N      int
			Level     float64
			Low, High float64

			B, C                                                       json.RawMessage
			ExactP                                                     *float64 `json:"exact_p"`
			CorrectedStatistic                                         *float64 `json:"corrected_statistic"`
			CorrectedP                                                 *float64 `json:"corrected_p"`
			PlainStatistic                                             *float64 `json:"plain_statistic"`
			PlainP                                                     *float64 `json:"plain_p"`
			A, Differences, Values, P, Q, Linear, Adjusted, Replicates []float64
			X, Y                                                       json.RawMessage
			Indices                                                    [][]int
			MeanDifference                                             float64 `json:"mean_difference"`
			Std, Mean, Stderr                                          float64
			Percentile95                                               [2]float64 `json:"percentile_95"`
			T95                                                        [2]float64 `json:"t_95"`
			Share                                                      float64    `json:"share_at_or_below_0"`
			Spearman, Pearson                                          number
			SpearmanP                                                  *number   `json:"spearman_p"`
			PearsonP                                                   *number   `json:"pearson_p"`
			RanksX                                                     []float64 `json:"ranks_x"`

			Rank                 int
			Lambda, Intercept    float64
			Coefficients, Fitted []float64
			RMSE                 float64 `json:"rmse_in_sample"`
			LeaveOneOut          *number `json:"rmse_leave_one_out"`
			Rescaled             *number `json:"rmse_leave_one_out_rescaled"`
		}
		if err := json.Unmarshal(line, &row); err != nil {
			t.Fatalf("%v in %.200s", err, line)
		}
		seen[row.Test]++
		check := func(name string, got, want, tolerance float64) {
			t.Helper()
			if !near(got, want, tolerance) {
				t.Errorf("%s %s: got %v, Python %v in %.200s", row.Test, name, got, want, line)
			}
		}
		list := func(raw json.RawMessage) (v []float64) {
			if err := json.Unmarshal(raw, &v); err != nil {
				t.Fatal(err)
			}
			return v
		}
		switch row.Test {
		case "wilson":
			i := Wilson(row.K, row.N, row.Level)
			check("low", i.Low, row.Low, 1e-8)
			check("high", i.High, row.High, 1e-8)
		case "mcnemar":
			var b, c int
			if json.Unmarshal(row.B, &b) != nil || json.Unmarshal(row.C, &c) != nil {
				t.Fatal("mcnemar counts")
			}
			r := McNemar(b, c)
			check("exact p", r.ExactP, *row.ExactP, 1e-8)
			if row.PlainP != nil {
				check("corrected", r.CorrectedStatistic, *row.CorrectedStatistic, 1e-8)
				check("corrected p", r.CorrectedP, *row.CorrectedP, 1e-8)
				check("plain", r.PlainStatistic, *row.PlainStatistic, 1e-8)
				check("plain p", r.PlainP, *row.PlainP, 1e-8)
			}
		case "paired_bootstrap_indices":
			p := PairedBootstrapIndices(row.A, list(row.B), row.Indices)
			check("mean difference", p.MeanDifference, row.MeanDifference, 1e-8)
			check("low", p.Percentile95.Low, row.Percentile95[0], 1e-8)
			check("high", p.Percentile95.High, row.Percentile95[1], 1e-8)
			check("share", p.ShareAtOrBelow0, row.Share, 1e-8)
			for i, want := range row.Replicates {
				check("replicate", p.Replicates[i], want, 1e-8)
			}
		case "paired_bootstrap_exact":
			p := PairedBootstrap(make([]float64, len(row.Differences)), row.Differences, 100_000, 1)
			check("mean", p.MeanDifference, row.Mean, 1e-8)
			check("std", p.Std, row.Std, 0.01)
			if math.Abs(p.ShareAtOrBelow0-row.Share) > 0.006 {
				t.Errorf("share %v, exactly %v", p.ShareAtOrBelow0, row.Share)
			}
		case "correlation":
			c := Correlate(list(row.X), list(row.Y))
			check("spearman", c.Spearman, float64(row.Spearman), 1e-8)
			check("pearson", c.Pearson, float64(row.Pearson), 1e-8)
			if row.SpearmanP != nil {
				check("spearman p", c.SpearmanP, float64(*row.SpearmanP), 1e-8)
				check("pearson p", c.PearsonP, float64(*row.PearsonP), 1e-8)
			}
			for i, want := range row.RanksX {
				check("rank", c.RanksX[i], want, 0)
			}
		case "ols", "ridge":
			var x [][]float64
			if err := json.Unmarshal(row.X, &x); err != nil {
				t.Fatal(err)
			}
			f, ok := OLS(x, list(row.Y))
			if row.Test == "ridge" {
				f, ok = Ridge(x, list(row.Y), row.Lambda)
			}
			if !ok {
				t.Errorf("%s: no fit of %.200s", row.Test, line)
				continue
			}
			got := f.Coefficients
			if row.Test == "ols" {
				got = append([]float64{f.Intercept}, got...)
				if f.Rank != row.Rank {
					t.Errorf("rank %d, Python %d", f.Rank, row.Rank)
				}
				check("rmse", f.RMSE+1, row.RMSE+1, 1e-8) // may be 0 but for rounding
			} else {
				check("intercept", f.Intercept+1, row.Intercept+1, 1e-8)
				check("rescaled", f.LeaveOneOutRescaled, float64(*row.Rescaled), 1e-8)
			}
			for i, want := range row.Coefficients {
				check("coefficient", got[i]+1, want+1, 1e-8)
			}
			for i, want := range row.Fitted {
				check("fitted", f.Fitted[i]+1, want+1, 1e-8)
			}
			if row.LeaveOneOut != nil {
				check("leave one out", f.LeaveOneOut, float64(*row.LeaveOneOut), 1e-8)
			}
		case "holm":
			for i, got := range Holm(row.P) {
				check("adjusted", got, row.Adjusted[i], 1e-8)
			}
		case "mean_stderr":
			mean, stderr := MeanStderr(row.Values)
			check("mean", mean, row.Mean, 1e-8)
			check("stderr", stderr, row.Stderr, 1e-8)
			i := StudentT(row.Values, 0.95)
			check("low", i.Low, row.T95[0], 1e-8)
			check("high", i.High, row.T95[1], 1e-8)
		case "percentile":
			for i, q := range row.Q {
				check("percentile", Percentile(row.Values, q), row.Linear[i], 1e-8)
			}
		}
	}
	for _, test := range []string{"wilson", "mcnemar", "paired_bootstrap_indices", "correlation", "holm", "mean_stderr", "percentile", "ols", "ridge"} {
		if seen[test] == 0 {
			t.Errorf("no row of %s", test)
		}
	}
}

// Values from statsmodels 0.15 and scipy 1.17, to hold without the big file.
func TestKnownValues(t *testing.T) {
	for _, c := range []struct {
		name      string
		got, want float64
	}{
		{"wilson low", Wilson(756, 1000, 0.95).Low, 0.7284335318206567},
		{"wilson high", Wilson(756, 1000, 0.95).High, 0.7816071678347392},
		{"wilson 0 of 10", Wilson(0, 10, 0.95).High, 0.2775327998628892},
		{"wilson 10 of 10", Wilson(10, 10, 0.95).High, 1},
		{"mcnemar exact", McNemar(10, 2).ExactP, 0.03857421875},
		{"mcnemar even", McNemar(5, 5).ExactP, 1},
		{"mcnemar plain", McNemar(0, 5).PlainP, 0.025347318677468325},
		{"t low", StudentT([]float64{0.8884, 0.6035}, 0.95).Low, -1.0640488646680843},
		{"percentile", Percentile([]float64{4, 3, 2, 1}, 95), 3.85},
		{"pass@1", PassAtK(10, 3, 1), 0.3},
		{"pass@5", PassAtK(10, 3, 5), 1 - 21.0/252},
		{"pass@3 of many", PassAtK(1_000_000_000, 999_999_000, 1), 0.999999},
		{"pass@8", PassAtK(10, 3, 8), 1},
		{"holm", Holm([]float64{0.01, 0.04, 0.03, 0.005})[2], 0.06},
	} {
		if !near(c.got, c.want, 1e-9) {
			t.Errorf("%s: %v, want %v", c.name, c.got, c.want)
		}
	}
}

func TestMeanInterval(t *testing.T) {
	for _, c := range []struct {
		name   string
		values []float64
	}{
		{"one", []float64{0.4}}, {"equal", []float64{0, 0, 0, 0}}, {"near the edge", []float64{0.99, 1, 1}},
	} {
		i := MeanInterval(c.values, 0, 1, 0.95)
		mean := Mean(c.values)
		if !(i.Low >= 0 && i.High <= 1 && i.Low <= mean && mean <= i.High && i.High > i.Low) {
			t.Errorf("%s: %v around %v", c.name, i, mean)
		}
	}
	if i := MeanInterval([]float64{1, 1}, math.Inf(-1), 1, 0.95); !math.IsNaN(i.Low) {
		t.Errorf("unbounded and without spread: %v", i)
	}
}

func TestNoAnswerIsNaN(t *testing.T) {
	for name, v := range map[string]float64{
		"wilson 0 of 0":   Wilson(0, 0, 0.95).Low,
		"wilson 3 of 2":   Wilson(3, 2, 0.95).High,
		"wilson level":    Wilson(1, 2, 1).Low,
		"t of one":        StudentT([]float64{1}, 0.95).Low,
		"mean interval":   MeanInterval(nil, 0, 1, 0.95).Low,
		"percentile":      Percentile(nil, 50),
		"percentile NaN":  Percentile([]float64{1, math.NaN(), 3}, 50),
		"percentile q":    Percentile([]float64{1}, 101),
		"bootstrap":       BootstrapMean(nil, 10, 1, 0.95).Low,
		"paired lengths":  PairedBootstrap([]float64{1}, []float64{1, 2}, 10, 1).MeanDifference,
		"paired index":    PairedBootstrapIndices([]float64{1}, []float64{1}, [][]int{{1}}).Replicates[0],
		"pass@k k > n":    PassAtK(2, 1, 3),
		"constant column": Correlate([]float64{1, 1, 1}, []float64{1, 2, 3}).Pearson,
	} {
		if !math.IsNaN(v) {
			t.Errorf("%s: %v, want NaN", name, v)
		}
	}
}

func ExampleWilson() {
	i := Wilson(8, 10, 0.95)
	fmt.Printf("%.3f to %.3f\n", i.Low, i.High)
	// Output: 0.490 to 0.943
}

// Against scipy.stats.ttest_1samp.
func TestStudentP(t *testing.T) {
	for _, c := range []struct {
		values []float64
		want   float64
	}{{[]float64{0.1, 0.2, -0.05, 0.3, 0.15}, 0.07285505961025568}, {[]float64{1, 1, 1}, 0}, {[]float64{0, 0}, 1}, {[]float64{1, -1}, 1}} {
		if got := StudentP(c.values); math.Abs(got-c.want) > 1e-9 {
			t.Errorf("%v: %v, want %v", c.values, got, c.want)
		}
	}
	if !math.IsNaN(StudentP([]float64{1})) {
		t.Error("one value")
	}
}
