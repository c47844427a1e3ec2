package study

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/evalrun/evalrun/results/reference"
)

// The thirteen cells of Table 6.
func TestTable6(t *testing.T) {
	cells := 0
	got := map[string]Regression{}
	for _, r := range Published().Regressions() {
		got[r.Quality] = r
	}
	for _, want := range reference.Table6() {
		r := got[want.Quality]
		for _, c := range [][2]float64{{r.InSample, want.Heuristics}, {r.InSampleWithBase, want.WithBase}} {
			if math.IsNaN(c[1]) {
				if !math.IsNaN(c[0]) {
					t.Errorf("%s: %v where the report has nothing", want.Quality, c[0])
				}
				continue
			}
			cells++
			if !(math.Abs(c[0]-c[1]) <= 0.001) {
				t.Errorf("%s: %.4f, published %.3f", want.Quality, c[0], c[1])
			}
		}
		// Unseen tasks are several times harder than the fitted ones, and the
		// mean does better: that is the point of showing all three.
		if !(r.LeaveOneOut > 4*r.InSample && r.LeaveOneOut > r.MeanLeaveOneOut && r.MeanLeaveOneOut > r.Mean) {
			t.Errorf("%s: leave-one-out %v, mean %v", want.Quality, r.LeaveOneOut, r.MeanLeaveOneOut)
		}
	}
	if cells != 13 {
		t.Errorf("%d cells, want 13", cells)
	}
}

func TestFigure8(t *testing.T) {
	c := Published().Correlate()
	rows, columns, rho := reference.Figure8()
	if fmt.Sprint(rows) != fmt.Sprint(c.Rows) || fmt.Sprint(columns) != fmt.Sprint(c.Columns) {
		t.Fatalf("rows %v, columns %v", c.Rows, c.Columns)
	}
	near := 0
	for i := range rows {
		for j := range columns {
			d := math.Abs(c.Rho[i][j] - rho[i][j])
			if !(d <= 0.02) {
				t.Errorf("%s, %s: %.4f, in the figure %.2f", rows[i], columns[j], c.Rho[i][j], rho[i][j])
			}
			if d <= 0.011 {
				near++
			}
		}
	}
	if near < 144 {
		t.Errorf("%d of 147 cells within 0.011, want 144", near)
	}
}

func TestTable3(t *testing.T) {
	rows, mean := Published().Best()
	want := reference.Table3()
	for i, r := range append(rows, mean) {
		at := slices.IndexFunc(want, func(w reference.BestRow) bool { return w.Task == r.Task })
		if at < 0 || math.Abs(float64(at-i)) > 1 { // tasks of equal lift may change places
			t.Fatalf("row %d is %s, published at %d", i, r.Task, at)
		}
		w := want[at]
		for _, c := range [][2]float64{{r.Base, w.BestBase}, {r.Tuned, w.BestFinetuned}, {r.Rival, w.GPT4}, {r.OverBase, w.OverBase}, {r.OverRival, w.OverGPT4}} {
			if !(math.Abs(c[0]-c[1]) <= 0.0011) {
				t.Errorf("%s: %v, published %v", r.Task, c[0], c[1])
			}
		}
	}
}

// Table 4 does not follow from Tables 11 and 12 in every cell; what does not
// is listed here, and shown as a difference by the report.
func TestTable4(t *testing.T) {
	rows, mean := Published().ByModel()
	got := map[string]ModelRow{"average": mean}
	for _, r := range rows {
		got[r.Model] = r
	}
	count := func(c Count) string { return fmt.Sprintf("%d/%d", c.K, c.N) }
	other := map[string]bool{}
	for _, w := range reference.Table4() {
		r := got[w.Model]
		for name, c := range map[string][2]float64{"before": {r.Before, w.Before}, "after": {r.After, w.After}, "lift": {r.Lift, w.Lift}, "vs": {r.VsRival, w.LiftVsGPT4}} {
			if !math.IsNaN(c[1]) && !(math.Abs(c[0]-c[1]) <= 0.0011) {
				other[w.Model+" "+name] = true
			}
		}
		for name, c := range map[string][2]string{"above base": {count(r.AboveBase), w.AboveBase}, "above rival": {count(r.AboveRival), w.AboveGPT4}, "best": {count(r.Best), w.Best}} {
			if c[1] != "" && c[0] != c[1] {
				other[w.Model+" "+name] = true
			}
		}
	}
	want := []string{"gemma-7b after", "gemma-7b lift", "gemma-7b vs", "gemma-7b-instruct after", "gemma-7b-instruct lift", "gemma-7b-instruct vs",
		"average after", "average lift", "average vs", "gpt-3.5-turbo best", "gemma-7b best", "gemma-7b-instruct best", "mistral-7b best"}
	for _, m := range append(reference.Models()[:10], "average") {
		want = append(want, m+" above rival")
	}
	for _, w := range want {
		if !other[w] {
			t.Errorf("%s agrees with the report, and was known not to", w)
		}
		delete(other, w)
	}
	for w := range other {
		t.Errorf("%s differs from the report", w)
	}
	if mean.AboveRival != (Count{194, 310}) || mean.AboveBase != (Count{301, 310}) {
		t.Errorf("above GPT-4 %v, above base %v", mean.AboveRival, mean.AboveBase)
	}
}

func TestTable13FollowsFromTables11And12(t *testing.T) {
	s := Published()
	at := map[string]int{}
	for i, task := range s.Tasks {
		at[task.Name] = i
	}
	for j, name := range reference.QualityNames() {
		q := s.Quality(name)
		for _, m := range reference.Table13() {
			if got := q[at[m.Task]]; math.Abs(got-m.Quality[j]) > 0.00051 {
				t.Errorf("%s of %s: %v, table 13 has %v", name, m.Task, got, m.Quality[j])
			}
		}
	}
}

// What was not measured is never guessed, and nothing fails for lack of it.
func TestHoles(t *testing.T) {
	nan := math.NaN()
	s := &Study{Tasks: []Task{{Name: "a"}, {Name: "b"}}, Rival: -1,
		Tuned: []Model{{Name: "m", Before: []float64{0.1, nan}, After: []float64{0.5, 0.6}}}}
	rows, mean := s.Best()
	if !math.IsNaN(mean.Base) || mean.Tuned != 0.55 || !math.IsNaN(mean.OverRival) || len(rows) != 2 {
		t.Errorf("mean %+v", mean)
	}
	by, all := s.ByModel()
	if by[0].AboveRival.N != 0 || !math.IsNaN(all.Lift) || by[0].Best != (Count{2, 2}) || by[0].AboveBase != (Count{1, 1}) {
		t.Errorf("by model %+v", by)
	}
	for _, r := range s.Regressions() {
		if !math.IsNaN(r.InSample) || r.N != 0 {
			t.Errorf("a regression of nothing: %+v", r)
		}
	}
	if c := s.Correlate(); !math.IsNaN(c.Rho[0][0]) || c.N != 0 {
		t.Errorf("correlations of two tasks: %v", c.Rho)
	}
	empty := &Study{Rival: -1}
	empty.Best()
	empty.ByModel()
	empty.Regressions()
	empty.Correlate()
	empty.ByKind(Instruct)
}

func TestKinds(t *testing.T) {
	for name, want := range map[string]Kind{"mistral-7b": Autocomplete, "zephyr-7b-beta": Instruct, "google/gemma-2b-it": Instruct, "Llama-2-7b-chat-hf": Instruct,
		"phi-2": Autocomplete, "local:models/Mistral-7B-Instruct-v0.1": Instruct, "digit": Autocomplete} {
		if got := KindOf(name); got != want {
			t.Errorf("%s: %s", name, got)
		}
	}
}
