package compare

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/evalrun/evalrun/core"
	"github.com/evalrun/evalrun/core/record"
	"github.com/evalrun/evalrun/core/stats"
	"github.com/evalrun/evalrun/results"
)

// store writes a run of the records.
func store(t testing.TB, edit func(*results.Manifest), recs ...record.Record) *results.Folder {
	t.Helper()
	m := results.Manifest{Created: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
	if edit != nil {
		edit(&m)
	}
	f, err := results.Create(t.TempDir(), m)
	if err != nil {
		t.Fatal(err)
	}
	w, err := f.Writer()
	if err != nil {
		t.Fatal(err)
	}
	for i := range recs {
		if err := w.Append(&recs[i]); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return f
}

func rec(model, task string, index int, value float64) record.Record {
	return record.Record{V: record.Version, Task: task, Model: model, Sample: fmt.Sprint(index), Index: index, Prompt: fmt.Sprintf("%s %d", task, index),
		Targets: []string{"t"}, Response: "r", Scores: []record.Score{{Metric: "m", Profile: core.Strict, Value: record.Float(value)}}}
}

func compared(t testing.TB, a, b Side, o Options) *Result {
	t.Helper()
	r, err := Compare(context.Background(), a, b, o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestBinary(t *testing.T) {
	// 12 right in A only, 2 in B only, 36 both: McNemar's exact p is
	// 2·(C(14,0)+C(14,1)+C(14,2))/2^14 = 212/16384.
	var a, b []record.Record
	add := func(n int, va, vb float64) {
		for range n {
			a, b = append(a, rec("x", "t", len(a), va)), append(b, rec("y", "t", len(b), vb))
		}
	}
	add(36, 1, 1)
	add(12, 1, 0)
	add(2, 0, 1)
	rand.Shuffle(len(b), func(i, j int) { b[i], b[j] = b[j], b[i] })
	r := compared(t, Side{store(t, nil, a...), "x"}, Side{store(t, nil, b...), "y"}, Options{})
	l := r.Lines[0]
	if l.N != 50 || l.Worse != 12 || l.Better != 2 || l.A != 0.96 || l.B != 0.76 {
		t.Errorf("line %+v", l)
	}
	if want := 212.0 / 16384; math.Abs(float64(l.P)-want) > 1e-12 || l.Verdict != SurelyWorse {
		t.Errorf("p %v, want %v; %s", l.P, want, l.Verdict)
	}
	if d := float64(l.Difference); math.Abs(d+0.2) > 1e-12 || !(float64(l.Interval[0]) < d && d < float64(l.Interval[1]) && l.Interval[1] < 0) {
		t.Errorf("difference %v in %v", l.Difference, l.Interval)
	}
	if l.Test != "McNemar exact" {
		t.Error(l.Test)
	}
	if len(r.Warnings) > 0 || len(r.OnlyA)+len(r.OnlyB) > 0 {
		t.Errorf("warnings %v, only %v %v", r.Warnings, r.OnlyA, r.OnlyB)
	}
}

func TestGraded(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	var a, b []record.Record
	var va, vb []float64
	for i := range 200 {
		x := rng.Float64()
		y := min(1, x+0.02+0.05*rng.NormFloat64())
		va, vb = append(va, x), append(vb, y)
		a, b = append(a, rec("x", "t", i, x)), append(b, rec("x", "t", i, y))
	}
	fa, fb := store(t, nil, a...), store(t, nil, b...)
	r := compared(t, Side{fa, "x"}, Side{fb, "x"}, Options{Seed: 7, Resamples: 4000})
	want := stats.PairedBootstrap(va, vb, 4000, 7)
	l := r.Lines[0]
	if float64(l.Interval[0]) != want.Percentile95.Low || float64(l.Interval[1]) != want.Percentile95.High {
		t.Errorf("interval %v, want %v", l.Interval, want.Percentile95)
	}
	if math.Abs(float64(l.Difference)-want.MeanDifference) > 1e-12 {
		t.Errorf("difference %v, want %v", l.Difference, want.MeanDifference)
	}
	again := compared(t, Side{fa, "x"}, Side{fb, "x"}, Options{Seed: 7, Resamples: 4000})
	x, _ := json.Marshal(r)
	y, _ := json.Marshal(again)
	if !bytes.Equal(x, y) {
		t.Error("the same seed gives other numbers")
	}
}

func TestBootstrapPIsHonestAboutFewRows(t *testing.T) {
	var a, b []record.Record
	for i := range 3 {
		a, b = append(a, rec("x", "t", i, 0.1)), append(b, rec("x", "t", i, 0.5))
	}
	l := compared(t, Side{store(t, nil, a...), "x"}, Side{store(t, nil, b...), "x"}, Options{}).Lines[0]
	if l.P != 0.25 || l.Verdict != MaybeBetter {
		t.Errorf("three rows give p %v (%s); a sign-flip test can give no less than 0.25", l.P, l.Verdict)
	}
}

func TestRepeatsAreOneRow(t *testing.T) {
	var a, b []record.Record
	for i := range 6 {
		for rep := range 2 {
			x, y := rec("x", "t", i, 0), rec("x", "t", i, float64(rep))
			x.Repeat, y.Repeat = rep, rep
			if i == 3 && rep == 0 {
				x.Scores = nil // no verdict on one repeat: the other counts alone
			}
			a, b = append(a, x), append(b, y)
		}
	}
	l := compared(t, Side{store(t, nil, a...), "x"}, Side{store(t, nil, b...), "x"}, Options{}).Lines[0]
	if want := (5*0.5 + 1) / 6; l.N != 6 || l.Unjudged != 1 || math.Abs(float64(l.B)-want) > 1e-12 || l.Test != "paired bootstrap" {
		t.Errorf("line %+v, want n 6, b %v", l, want)
	}
}

// A metric that makes one verdict of a row's answers is compared by that verdict,
// and not by the mean of the answers.
func TestReducedMetrics(t *testing.T) {
	names := []string{"m", "m majority", "m majority@3", "m pass@2", "m best", "m first", "m mean"}
	answers := func(model string, rows ...string) (out []record.Record) {
		for i, row := range rows {
			for k, letter := range row { // a is right
				r := rec(model, "t", i, 0)
				r.Repeat = k
				r.Scores = nil
				for _, name := range names {
					s := record.Score{Metric: name, Profile: core.Strict, Value: record.Float(map[rune]float64{'a': 1}[letter])}
					if strings.Contains(name, "majority") {
						s.Vote = string(letter)
					}
					r.Scores = append(r.Scores, s)
				}
				out = append(out, r)
			}
		}
		return out
	}
	a := store(t, nil, answers("x", "abab", "xaax")...)
	b := store(t, nil, answers("y", "bbba", "aaaa")...)
	r := compared(t, Side{a, "x"}, Side{b, "y"}, Options{})
	want := map[string][2]float64{"m": {0.5, 0.625}, "m majority": {0.5, 0.5}, "m majority@3": {1, 0.5}, "m pass@2": {1 - 1.0/6, 0.75}, "m best": {1, 1}, "m first": {0.5, 0.5}, "m mean": {0.5, 0.625}}
	if len(r.Lines) != len(want) {
		t.Errorf("%d lines, warnings %v", len(r.Lines), r.Warnings)
	}
	for _, l := range r.Lines {
		w := want[l.Metric]
		if math.Abs(float64(l.A)-w[0]) > 1e-12 || math.Abs(float64(l.B)-w[1]) > 1e-12 || l.N != 2 {
			t.Errorf("%s: %v and %v of %d rows, want %v", l.Metric, l.A, l.B, l.N, w)
		}
		if binary := l.Test == "McNemar exact"; binary != slices.Contains([]string{"m majority", "m majority@3", "m best", "m first"}, l.Metric) {
			t.Errorf("%s: %s", l.Metric, l.Test)
		}
	}
	old := answers("x", "ab")
	for i := range old {
		for k := range old[i].Scores {
			old[i].Scores[k].Vote = ""
		}
	}
	r = compared(t, Side{store(t, nil, old...), "x"}, Side{store(t, nil, old...), "x"}, Options{})
	if got := strings.Join(r.Warnings, "; "); !strings.Contains(got, "m majority (strict) was stored by a version that kept no votes; rescore both runs") {
		t.Errorf("warnings %s", got)
	}
}

func TestOrderHolmAndMacro(t *testing.T) {
	var a, b []record.Record
	// Rows that change for the worse and the better, of 40.
	for task, change := range map[string][2]int{"bad": {20, 0}, "slight": {2, 1}, "same": {0, 0}, "good": {0, 25}} {
		for i := range 40 {
			x, y := 1.0, 1.0
			if i < change[0] {
				y = 0
			} else if i < change[0]+change[1] {
				x = 0
			}
			a, b = append(a, rec("x", task, i, x)), append(b, rec("x", task, i, y))
		}
	}
	fa, fb := store(t, nil, a...), store(t, nil, b...)
	scores := results.Scores{}
	for task, category := range map[string]string{"bad": "one", "slight": "one", "same": "two", "good": "two"} {
		scores.Tasks = append(scores.Tasks, results.Score{Task: task, Category: category, Metric: "m", Better: "higher"})
	}
	if err := fb.SaveScores(scores); err != nil {
		t.Fatal(err)
	}
	r := compared(t, Side{fa, "x"}, Side{fb, "x"}, Options{})
	var order []string
	var p []float64
	for _, l := range r.Lines {
		order, p = append(order, l.Task), append(p, float64(l.P))
	}
	if got := strings.Join(order, " "); got != "bad slight same good" {
		t.Errorf("order %s", got)
	}
	for i, want := range stats.Holm(p) {
		if math.Abs(float64(r.Lines[i].Adjusted)-want) > 1e-12 {
			t.Errorf("%s: adjusted %v, want %v", r.Lines[i].Task, r.Lines[i].Adjusted, want)
		}
	}
	if len(r.Macro) != 3 || r.Macro[0].N != 4 {
		t.Fatalf("macro %+v", r.Macro)
	}
	if got, want := float64(r.Macro[0].Difference), (-0.5-0.025+0+0.625)/4; math.Abs(got-want) > 1e-12 {
		t.Errorf("macro difference %v, want %v", got, want)
	}
	var out bytes.Buffer
	if err := r.Print(&out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"Of 4 tasks, B is better than A on 1 and worse on 1 beyond chance", "all tasks", "-0.500", "<0.001"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is not in\n%s", want, out.String())
		}
	}
}

// A mean over rows that all agree is not known to the last digit: of one task it
// has the task's own interval, of two that of two such tasks.
func TestMacroWhereNoRowDiffers(t *testing.T) {
	var a, b []record.Record
	for i := range 32 {
		v := float64(min(i%4, 1)) // 0.75
		a, b = append(a, rec("x", "t", i, v)), append(b, rec("y", "t", i, v))
	}
	r := compared(t, Side{store(t, nil, a...), "x"}, Side{store(t, nil, b...), "y"}, Options{})
	l, m := r.Lines[0], r.Macro[0]
	if m.Interval != l.Interval || m.P != l.P || !(l.Interval[0] < -0.05 && l.Interval[1] > 0.05) {
		t.Errorf("task %v p %v, mean %v p %v", l.Interval, l.P, m.Interval, m.P)
	}
	for i := range 32 {
		v := float64(min(i%4, 1))
		a, b = append(a, rec("x", "u", i, v)), append(b, rec("y", "u", i, v))
	}
	m = compared(t, Side{store(t, nil, a...), "x"}, Side{store(t, nil, b...), "y"}, Options{}).Macro[0]
	if want := float64(l.Interval[1]) / math.Sqrt2; math.Abs(float64(m.Interval[1])-want) > 1e-9 || m.P != 1 {
		t.Errorf("mean of two %v p %v, want ±%v", m.Interval, m.P, want)
	}
}

// Several metrics with the same values each have their numbers.
func TestManyMetricsAlike(t *testing.T) {
	var a, b []record.Record
	for i := range 12 {
		x, y := rec("x", "t", i, 0), rec("x", "t", i, 1)
		for _, r := range []*record.Record{&x, &y} {
			first := r.Scores[0]
			for _, name := range []string{"second", "third", "fourth"} {
				one := first
				one.Metric = name
				r.Scores = append(r.Scores, one)
			}
		}
		a, b = append(a, x), append(b, y)
	}
	for range 20 { // the order of a map decided it
		lines := compared(t, Side{store(t, nil, a...), "x"}, Side{store(t, nil, b...), "x"}, Options{Resamples: 100}).Lines
		for _, l := range lines {
			if l.N != 12 || l.B != 1 {
				t.Fatalf("%s: %+v", l.Metric, l)
			}
		}
	}
}

func TestLowerIsBetter(t *testing.T) {
	var a, b []record.Record
	for i := range 12 {
		a, b = append(a, rec("x", "t", i, 2)), append(b, rec("x", "t", i, 1+0.1*float64(i%3)))
	}
	info := func(string, core.Profile) (core.MetricInfo, bool) {
		return core.MetricInfo{Name: "m", Low: 0, High: math.Inf(1)}, true
	}
	l := compared(t, Side{store(t, nil, a...), "x"}, Side{store(t, nil, b...), "x"}, Options{Info: info}).Lines[0]
	if l.Better != 12 || l.Difference >= 0 || l.Verdict != SurelyBetter {
		t.Errorf("a smaller loss is better: %+v", l)
	}
}

// Two runs in the published evaluator's profile are compared by its scores;
// against a strict run, strict ones are.
func TestTheRunsProfile(t *testing.T) {
	with := func(own core.Profile, value float64) *results.Folder {
		var recs []record.Record
		for i := range 20 {
			r := rec("m", "t", i, value)
			r.Scores = append(r.Scores, record.Score{Metric: r.Scores[0].Metric, Profile: core.Bakeoff, Value: record.Float(1 - value)})
			recs = append(recs, r)
		}
		return store(t, func(m *results.Manifest) { m.Config.Profiles = []string{string(own)} }, recs...)
	}
	strict, a, b := with(core.Strict, 0), with(core.Bakeoff, 1), with(core.Bakeoff, 0)
	if r := compared(t, Side{a, "m"}, Side{b, "m"}, Options{}); r.Profile() != core.Bakeoff || r.First()[0].Verdict != SurelyBetter {
		t.Errorf("%s, %+v", r.Profile(), r.First())
	}
	r := compared(t, Side{strict, "m"}, Side{a, "m"}, Options{})
	if r.Profile() != core.Strict || r.First()[0].Verdict != SurelyBetter || !slices.ContainsFunc(r.Warnings, func(w string) bool { return strings.Contains(w, "--profile differs") }) {
		t.Errorf("%s, %+v, %q", r.Profile(), r.First(), r.Warnings)
	}
}

func TestUnknownTask(t *testing.T) {
	f := store(t, nil, rec("m", "boolq", 0, 1))
	_, err := Compare(context.Background(), Side{f, "m"}, Side{f, "m"}, Options{Tasks: []string{"boolq", "bolq"}})
	var user *core.UserError
	if !errors.As(err, &user) || user.Message != `no samples of task "bolq"` || user.Hint != `did you mean "boolq"?` {
		t.Errorf("%+v", err)
	}
}

func TestWarnings(t *testing.T) {
	a := []record.Record{rec("x", "t", 0, 1), rec("x", "t", 1, 1), rec("x", "t", 2, 1), rec("x", "only", 0, 1), rec("x", "t", 9, 1)}
	b := []record.Record{rec("x", "t", 0, 1), rec("x", "t", 1, 1), rec("x", "t", 2, 1), rec("x", "t", 8, 1)}
	b[0].Prompt = "asked otherwise"
	b[1].Targets = []string{"another"}
	b[2].Messages, b[2].Prompt = []core.Message{{Role: "user", Content: a[2].Prompt}}, ""
	fa := store(t, func(m *results.Manifest) {
		m.Config.Tasks = []results.TaskConfig{{Name: "t", SpecSHA256: "aaaa"}}
		m.Rows = map[string]results.Rows{"t": {Source: "hub"}}
	}, a...)
	fb := store(t, func(m *results.Manifest) {
		m.Config.Tasks = []results.TaskConfig{{Name: "t", SpecSHA256: "bbbb"}}
		m.Rows = map[string]results.Rows{"t": {Source: "embedded"}}
		m.Config.Set = []string{"k=v"}
	}, b...)
	r := compared(t, Side{fa, "x"}, Side{fb, "x"}, Options{})
	all := strings.Join(r.Warnings, "\n")
	for _, want := range []string{"prompts differ on 1 of 3", "RIGHT ANSWERS DIFFER on 1 of 3", "1 of 3 shared samples were asked as chat",
		"task file is not the same", "not from the same data (hub; embedded)", "--set differs"} {
		if !strings.Contains(all, want) {
			t.Errorf("no warning %q in\n%s", want, all)
		}
	}
	if len(r.OnlyA) != 2 || r.OnlyA[0].Task != "only" || r.OnlyA[1].Samples[0] != "9" || len(r.OnlyB) != 1 || r.OnlyB[0].Samples[0] != "8" {
		t.Errorf("only in A %v, only in B %v", r.OnlyA, r.OnlyB)
	}
}

func TestNoVerdictIsNoVerdict(t *testing.T) {
	a := []record.Record{rec("x", "t", 0, 1), rec("x", "t", 1, 1), rec("x", "t", 2, 1), rec("x", "t", 3, 1), rec("x", "t", 4, 1)}
	b := []record.Record{rec("x", "t", 0, 1), rec("x", "t", 1, 0), rec("x", "t", 2, 0), rec("x", "t", 3, 0), rec("x", "t", 4, math.NaN())}
	b[1].Error, b[1].Scores = &record.Error{Code: core.CodeTimeout, Message: "m"}, nil
	b[2].Scores[0].Dropped = true
	b[3].Scores[0].Skipped = "no python3"
	retried := rec("x", "t", 1, 1) // a later record replaces the API error
	l := compared(t, Side{store(t, nil, a...), "x"}, Side{store(t, nil, append(b, retried)...), "x"}, Options{}).Lines[0]
	if l.N != 2 || l.Unjudged != 3 || l.Difference != 0 || l.Verdict != Same {
		t.Errorf("line %+v", l)
	}
}

func TestTwoModelsOfOneRun(t *testing.T) {
	f := store(t, nil, rec("x", "t", 0, 1), rec("y", "t", 0, 0))
	if l := compared(t, Side{f, "x"}, Side{f, "y"}, Options{}).Lines[0]; l.A != 1 || l.B != 0 || l.P != 1 {
		t.Errorf("line %+v", l)
	}
	_, err := Compare(context.Background(), Side{f, "x"}, Side{f, "z"}, Options{})
	if user, ok := err.(*core.UserError); !ok || !strings.Contains(user.Hint, "x, y") {
		t.Errorf("error %v", err)
	}
}

func TestHalfWrittenAndDamaged(t *testing.T) {
	f := store(t, nil, rec("x", "t", 0, 1))
	appendTo(t, f.Samples(), `{"v":1,"task":"t","mod`)
	if l := compared(t, Side{f, "x"}, Side{f, "x"}, Options{}).Lines[0]; l.N != 1 {
		t.Errorf("line %+v", l)
	}
	appendTo(t, f.Samples(), "\n{}\n")
	if _, err := Compare(context.Background(), Side{f, "x"}, Side{f, "x"}, Options{}); err == nil || !strings.Contains(err.Error(), "samples.jsonl:2") {
		t.Errorf("error %v, want one that names the line", err)
	}
}

func appendTo(t *testing.T, path, text string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString(text); err != nil {
		t.Fatal(err)
	}
}

// Newcombe's own example (1998, table IV, 36/12/2/0) and the properties that
// an interval must have.
func TestNewcombe(t *testing.T) {
	i := newcombe(36, 12, 2, 0, 0.95)
	if math.Abs(i.Low-0.0569) > 5e-5 || math.Abs(i.High-0.3404) > 5e-5 {
		t.Errorf("36, 12, 2, 0: %v, published [0.0569, 0.3404]", i)
	}
	for n11 := range 8 {
		for n10 := range 8 {
			for n01 := range 8 {
				for n00 := range 8 {
					n := n11 + n10 + n01 + n00
					if n == 0 {
						continue
					}
					i, j := newcombe(n11, n10, n01, n00, 0.95), newcombe(n11, n01, n10, n00, 0.95)
					d := float64(n10-n01) / float64(n)
					if !(i.Low >= -1 && i.High <= 1 && i.Low <= d+1e-12 && d <= i.High+1e-12 && i.Low < i.High) {
						t.Fatalf("%d %d %d %d: %v does not hold %v", n11, n10, n01, n00, i, d)
					}
					if math.Abs(i.Low+j.High) > 1e-12 || math.Abs(i.High+j.Low) > 1e-12 {
						t.Fatalf("%d %d %d %d: %v is not the mirror of %v", n11, n10, n01, n00, i, j)
					}
				}
			}
		}
	}
}

func TestPrintKeepsControlCharactersOut(t *testing.T) {
	f := store(t, nil, rec("x\x1b[2J", "t\x1b]0;\a", 0, 1))
	var out bytes.Buffer
	if err := compared(t, Side{f, "x\x1b[2J"}, Side{f, "x\x1b[2J"}, Options{}).Print(&out); err != nil {
		t.Fatal(err)
	}
	if strings.ContainsAny(out.String(), "\x1b\a") {
		t.Errorf("%q", out.String())
	}
}

// 31 tasks of 1,000 rows on both sides; the bar is 2 s.
func BenchmarkCompare31000(b *testing.B) {
	rng := rand.New(rand.NewPCG(1, 2))
	prompt := strings.Repeat("a prompt of about one and a half thousand bytes ", 32)
	make1 := func() *results.Folder {
		var recs []record.Record
		for task := range 31 {
			for i := range 1000 {
				r := rec("x", fmt.Sprint("task", task), i, math.Round(rng.Float64()))
				if task%3 == 0 {
					r.Scores[0].Value = record.Float(rng.Float64())
				}
				r.Prompt += prompt
				r.Scores = append(r.Scores, record.Score{Metric: "m", Profile: core.Bakeoff, Value: r.Scores[0].Value})
				recs = append(recs, r)
			}
		}
		return store(b, nil, recs...)
	}
	x, y := make1(), make1()
	for b.Loop() {
		compared(b, Side{x, "x"}, Side{y, "x"}, Options{})
	}
}

// The closed form says what the bootstrap says, to the bootstrap's own noise.
func TestClosedFormAgainstBootstrap(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	for range 5 {
		n := 200 + r.IntN(800)
		p := pairing{a: make([]float64, n), b: make([]float64, n), high: 1}
		for i := range n {
			p.a[i] = r.Float64()
			p.b[i] = min(1, p.a[i]*r.Float64()+0.5*r.Float64())
		}
		var drawn, closed Line // a share of 20,000 draws is known to 0.007, a p to twice that
		drawn.fill(p, Options{Resamples: 20000, Seed: 1})
		closed.fill(p, Options{ClosedForm: true})
		width := float64(drawn.Interval[1] - drawn.Interval[0])
		for i := range 2 {
			if math.Abs(float64(drawn.Interval[i]-closed.Interval[i])) > 0.05*width {
				t.Errorf("n %d: %v, bootstrap %v", n, closed.Interval, drawn.Interval)
			}
		}
		if drawn.Difference != closed.Difference || drawn.Better != closed.Better || math.Abs(float64(drawn.P-closed.P)) > 0.03 || closed.Test != "paired t" {
			t.Errorf("n %d: %+v, bootstrap %+v", n, closed, drawn)
		}
	}
	few := Line{}
	few.fill(pairing{a: []float64{0, 0, 0}, b: []float64{0.5, 0.5, 0.5}, high: 1}, Options{ClosedForm: true})
	if few.P != 0.25 {
		t.Errorf("three rows that differ give p %v", few.P)
	}
}

// Rows of one cluster are drawn together: of 30 passages with 5 questions each
// there are 30 facts.
func TestClusters(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 8))
	make2 := func(clustered bool) (a, b []record.Record) {
		for i := range 150 {
			passage := i / 5
			va, vb := 0.0, 0.0
			if passage%3 == 0 {
				va = 1
			}
			if passage%2 == 0 {
				vb = 1
			}
			ra, rb := rec("x", "t", i, va), rec("y", "t", i, vb)
			if clustered {
				ra.Cluster, rb.Cluster = fmt.Sprint(passage), fmt.Sprint(passage)
			}
			a, b = append(a, ra), append(b, rb)
		}
		rng.Shuffle(len(b), func(i, j int) { b[i], b[j] = b[j], b[i] })
		return a, b
	}
	a, b := make2(false)
	plain := compared(t, Side{store(t, nil, a...), "x"}, Side{store(t, nil, b...), "y"}, Options{}).Lines[0]
	if plain.Test != "McNemar exact" || plain.Clusters != 0 {
		t.Errorf("%+v", plain)
	}
	a, b = make2(true)
	fa, fb := store(t, nil, a...), store(t, nil, b...)
	r := compared(t, Side{fa, "x"}, Side{fb, "y"}, Options{})
	l := r.Lines[0]
	if l.Test != "clustered bootstrap" || l.Clusters != 30 || l.N != 150 || l.Difference != plain.Difference {
		t.Errorf("%+v", l)
	}
	wide, narrow := l.Interval[1]-l.Interval[0], plain.Interval[1]-plain.Interval[0]
	if ratio := float64(wide / narrow); ratio < 1.7 || ratio > 2.7 { // √5 = 2.24
		t.Errorf("the interval is %.2f times as wide", ratio)
	}
	if l.P <= plain.P {
		t.Errorf("p %v with clusters, %v without", l.P, plain.P)
	}
	closed := compared(t, Side{fa, "x"}, Side{fb, "y"}, Options{ClosedForm: true}).Lines[0]
	if closed.Test != "clustered t" || math.Abs(float64(closed.Interval[0]-l.Interval[0])) > 0.03 || math.Abs(float64(closed.P-l.P)) > 0.05 {
		t.Errorf("closed form %+v, bootstrap %+v", closed, l)
	}
	var out bytes.Buffer
	if err := r.Print(&out); err != nil || !strings.Contains(out.String(), "150 in 30") || !strings.Contains(out.String(), "drawn together") {
		t.Errorf("%v\n%s", err, out.String())
	}
	// A run from before the task named a cluster takes the other's.
	a, _ = make2(false)
	if l := compared(t, Side{store(t, nil, a...), "x"}, Side{fb, "y"}, Options{}).Lines[0]; l.Clusters != 30 {
		t.Errorf("one side only: %+v", l)
	}
}
