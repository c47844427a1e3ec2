package main

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// A goldenRow is a line of stats.jsonl; what is not a key of some window is an
// expectation.
type goldenRow map[string]json.RawMessage

// checkStats feeds every row of stats.jsonl to the statistic that it names and
// compares each key of the answer that the row has.
func checkStats(e *env) error {
	rows, err := readLines[goldenRow](e.path("scoring/stats.jsonl"))
	if err != nil {
		return err
	}
	byTest := map[string][]goldenRow{}
	var order []string
	for _, r := range rows {
		var test string
		if err := json.Unmarshal(r["test"], &test); err != nil {
			return fmt.Errorf("a row of stats.jsonl without a test: %w", err)
		}
		if byTest[test] == nil {
			order = append(order, test)
		}
		byTest[test] = append(byTest[test], r)
	}
	for _, test := range order {
		if test == "paired_bootstrap_exact" {
			if err := e.bootstrapLimit(byTest[test]); err != nil {
				return err
			}
			continue
		}
		window, inputs := strings.TrimSuffix(test, "_indices"), statInputs[test]
		if inputs == nil {
			return fmt.Errorf("stats.jsonl has the test %q, which no check knows", test)
		}
		out, err := ask(e, byTest[test], "stat", window)
		if err != nil {
			return err
		}
		t := e.tally("stat "+test, "1e-8 relative")
		for i, want := range byTest[test] {
			var got goldenRow
			if err := json.Unmarshal(out[i], &got); err != nil {
				return err
			}
			for key, w := range want {
				if key == "test" || key == "kind" || key == "note" || slices.Contains(inputs, key) {
					continue
				}
				compareJSON(t, w, got[key], rounding[test], fmt.Sprintf("row %d, %s", i, key))
			}
		}
	}
	return nil
}

// statInputs are the keys of each test that are questions.
var statInputs = map[string][]string{
	"wilson": {"k", "n", "level"}, "mcnemar": {"b", "c"}, "paired_bootstrap_indices": {"a", "b", "indices"},
	"correlation": {"x", "y"}, "ols": {"x", "y"}, "ridge": {"x", "y", "lambda"}, "holm": {"p"},
	"mean_stderr": {"values"}, "percentile": {"values", "q"}, "pass_at_k": {"n", "c", "k"},
}

// rounding is what a number of these tests may differ that is 0 but for rounding.
var rounding = map[string]float64{"wilson": 1e-15, "ols": 1e-14, "ridge": 1e-15, "correlation": 1e-15, "paired_bootstrap_indices": 1e-15}

// bootstrapLimit holds a random bootstrap to the exact limit.
func (e *env) bootstrapLimit(rows []goldenRow) error {
	type pair struct {
		A         []float64 `json:"a"`
		B         []float64 `json:"b"`
		Resamples int       `json:"resamples"`
		Seed      uint64    `json:"seed"`
	}
	type limit struct {
		Differences     []float64
		Mean, Std       float64
		ShareAtOrBelow0 float64 `json:"share_at_or_below_0"`
		MeanDifference  float64 `json:"mean_difference"`
	}
	var in []pair
	var want []limit
	for _, r := range rows {
		b, err := json.Marshal(r)
		if err != nil {
			return err
		}
		var l limit
		if err := json.Unmarshal(b, &l); err != nil {
			return err
		}
		want = append(want, l)
		in = append(in, pair{make([]float64, len(l.Differences)), l.Differences, 100_000, 1})
	}
	out, err := ask(e, in, "stat", "paired_bootstrap")
	if err != nil {
		return err
	}
	t := e.tally("stat paired_bootstrap, 100,000 draws", "std 1 %, share 0.006")
	for i, w := range want {
		var got limit
		if err := json.Unmarshal(out[i], &got); err != nil {
			return err
		}
		t.near(w.Mean, got.MeanDifference, 1e-12, "row %d mean", i)
		t.near(w.Std, got.Std, 0.01*w.Std, "row %d std", i)
		t.near(w.ShareAtOrBelow0, got.ShareAtOrBelow0, 0.006, "row %d share", i)
	}
	return nil
}

// compareJSON counts each number or truth value of want against got: 1e-8 of the
// larger of the number itself and its list's largest, so that a coefficient that
// is 0 but for rounding may differ in its rounding; floor is allowed besides.
func compareJSON(t *tally, want, got json.RawMessage, floor float64, what string) {
	var w, g any
	if json.Unmarshal(want, &w) != nil || json.Unmarshal(got, &g) != nil {
		t.row(false, "%s: got %s, want %s", what, got, want)
		return
	}
	wl, ok := w.([]any)
	if !ok {
		compareValue(t, w, g, 0, floor, what)
		return
	}
	gl, ok := g.([]any)
	if !ok || len(gl) != len(wl) {
		t.row(false, "%s: got %s, want %s", what, got, want)
		return
	}
	scale := 0.0
	for _, v := range wl {
		if f, ok := v.(float64); ok {
			scale = math.Max(scale, math.Abs(f))
		}
	}
	for i := range wl {
		compareValue(t, wl[i], gl[i], scale, floor, what+"["+strconv.Itoa(i)+"]")
	}
}

func compareValue(t *tally, want, got any, scale, floor float64, what string) {
	w, ok := want.(float64)
	g, ok2 := got.(float64)
	if !ok || !ok2 {
		t.row(want == got, "%s: got %v, want %v", what, got, want)
		return
	}
	scale = math.Max(scale, math.Abs(w))
	if math.Abs(g-w) <= floor {
		t.row(true, "")
		return
	}
	t.near(0, (g-w)/scale, 1e-8, "%s: got %v, want %v", what, got, want)
}
