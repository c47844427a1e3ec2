package predict

import (
	"bytes"
	"encoding/json"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/evalrun/evalrun/core/record"
	"github.com/evalrun/evalrun/core/stats"
	"github.com/evalrun/evalrun/results"
	"github.com/evalrun/evalrun/results/reference"
	"github.com/evalrun/evalrun/tasks"
)

func near(a, b, tolerance float64) bool { return math.Abs(a-b) <= tolerance }

func ask(task string, features []float64) Question {
	return Question{Task: task, Features: features, Base: math.NaN()}
}

func randomRows(rng *rand.Rand, n, k int) [][]float64 {
	rows := make([][]float64, n)
	for i := range rows {
		for j := range k {
			rows[i] = append(rows[i], (rng.Float64()-0.5)*float64(1+10*j)+float64(j))
		}
	}
	return rows
}

// Every smoother's weights sum to 1: values that are all the same are predicted.
func TestWeightsSumToOne(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	rows := randomRows(rng, 20, 5)
	for i := range rows {
		rows[i][4] = 7 // does not vary
	}
	question := randomRows(rng, 1, 5)[0]
	for s, w := range weigh(newDesign(rows), question) {
		var sum float64
		for _, v := range w {
			sum += v
		}
		if !near(sum, 1, 1e-9) {
			t.Errorf("%s: the weights sum to %v", smoothers[s].name, sum)
		}
	}
}

// The ridge smoother is the ridge of core/stats.
func TestRidgeAgainstStats(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for range 10 {
		rows := randomRows(rng, 15+rng.IntN(15), 6)
		y := make([]float64, len(rows))
		for i := range y {
			y[i] = rng.NormFloat64() + rows[i][0]
		}
		question := randomRows(rng, 1, 6)[0]
		f, ok := stats.Ridge(rows, y, 3)
		if !ok {
			t.Fatal("no ridge")
		}
		d := newDesign(rows)
		if got, want := dot(d.ridge(d.scale(question), 3), y), f.Predict(question); !near(got, want, 1e-9) {
			t.Errorf("%v, by core/stats %v", got, want)
		}
	}
}

// With next to no noise a Gaussian process gives back what it was told.
func TestGaussInterpolates(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	rows := randomRows(rng, 12, 3)
	d := newDesign(rows)
	for i := range rows {
		w := d.gauss(d.z[i], 0.5, 1e-9)
		for j, v := range w {
			want := 0.0
			if i == j {
				want = 1
			}
			if !near(v, want, 1e-6) {
				t.Fatalf("row %d leans on row %d with %v", i, j, v)
			}
		}
	}
}

// What is predicted of a task left out does not depend on its own value, through
// the choice of the predictor neither.
func TestLeftOutIsLeftOut(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 8))
	rows := randomRows(rng, 14, 4)
	y := make([]float64, len(rows))
	for i := range y {
		y[i] = 0.5 + 0.1*rng.NormFloat64()
	}
	trial := newTrial(rows, rows[0])
	before := trial.quantity(TunedScore, y)
	// The mean of squared residuals changes by that of the one changed value alone
	// if the predictions of the others, which may lean on it, are put back: so
	// compare the one residual directly.
	residual := func(y []float64, i int) float64 {
		inner := make([]float64, len(smoothers))
		for j := range y {
			if j == i {
				continue
			}
			for s := range smoothers {
				e := y[j] - dot(trial.pair[i][j][s], leave(leave(y, max(i, j)), min(i, j)))
				inner[s] += e * e
			}
		}
		return dot(trial.without[i][least(inner, "")], leave(y, i))
	}
	for i := range y {
		changed := slices.Clone(y)
		changed[i] = 100
		if a, b := residual(y, i), residual(changed, i); a != b {
			t.Errorf("point %d: predicted %v, and %v when its own value is another", i, a, b)
		}
	}
	if before.N != 14 || math.IsNaN(before.LeaveOneOut) {
		t.Errorf("%+v", before)
	}
}

// A set whose scores depend on the features, or do not.
func madeSet(rng *rand.Rand, n int, score func([]float64) float64) *Set {
	s := &Set{Features: Own}
	for i, f := range randomRows(rng, n, len(reference.HeuristicNames())) {
		v := score(f)
		s.Points = append(s.Points, Point{Task: string(rune('a'+i%26)) + string(rune('a'+i/26)), Origin: "report", Features: f, Base: v / 2, Tuned: v, Best: v, Rival: math.NaN()})
	}
	return s
}

func TestSignalAndNoise(t *testing.T) {
	rng := rand.New(rand.NewPCG(9, 10))
	signal := madeSet(rng, 30, func(f []float64) float64 { return 0.5 + 0.4*f[0] + 0.01*rng.NormFloat64() })
	a, err := signal.Predict(ask("new", signal.Points[0].Features))
	if err != nil {
		t.Fatal(err)
	}
	q, ok := a.Quantity(TunedScore)
	if !ok || q.MeanIsBest || q.LeaveOneOut > 0.5*q.Mean || !near(q.Expected, signal.Points[0].Tuned, 0.1) {
		t.Errorf("a clear signal: %+v", q)
	}
	if _, ok := a.Quantity(RivalLift); ok {
		t.Error("a quantity that no task has is predicted")
	}
	far := slices.Clone(signal.Points[0].Features)
	far[0] = 1e6
	if b, err := signal.Predict(ask("new", far)); err != nil || !strings.Contains(strings.Join(b.Notes, "\n"), "beyond all known tasks: input_len_p95") || !(b.Quantities[0].Expected > 0.5) {
		t.Errorf("%v: %v", err, b.Notes)
	}
	if a.Neighbours[0].Task != "aa" || a.Neighbours[0].Distance > 1e-9 || !math.IsNaN(float64(a.Neighbours[0].Rival)) {
		t.Errorf("neighbours: %+v", a.Neighbours)
	}
	if _, err := json.Marshal(a); err != nil {
		t.Error(err)
	}
	means := 0
	for range 6 {
		noise := madeSet(rng, 20, func([]float64) float64 { return rng.Float64() })
		a, err := noise.Predict(ask("new", noise.Points[0].Features))
		if err != nil {
			t.Fatal(err)
		}
		if q := a.Quantities[0]; q.MeanIsBest {
			means++
			if !near(q.Expected, stats.Mean(tuned(noise)), 1e-9) || q.LeaveOneOut != q.Mean {
				t.Errorf("the mean is best, and the answer is %+v", q)
			}
		}
	}
	if means < 4 {
		t.Errorf("of 6 sets of noise only %d are said to be noise", means)
	}
}

func tuned(s *Set) []float64 {
	var out []float64
	for _, p := range s.Points {
		out = append(out, p.Tuned)
	}
	return out
}

// The asked task teaches nothing, whatever its scores.
func TestAskedTaskIsNotLearnt(t *testing.T) {
	s, ok := NewSet(Own, "", nil)
	if !ok || len(s.Points) < 29 {
		t.Fatalf("%d points", len(s.Points))
	}
	at := slices.IndexFunc(s.Points, func(p Point) bool { return p.Task == "glue_cola" })
	a, err := s.Predict(ask("glue_cola", s.Points[at].Features))
	if err != nil {
		t.Fatal(err)
	}
	if a.N != len(s.Points)-1 || !near(float64(a.Quantities[0].Known), s.Points[at].Tuned, 1e-12) {
		t.Errorf("learnt from %d of %d, known %v", a.N, len(s.Points), a.Quantities[0].Known)
	}
	s.Points[at].Tuned, s.Points[at].Base = 0, 1
	b, err := s.Predict(ask("glue_cola", s.Points[at].Features))
	if err != nil || b.Quantities[0].Expected != a.Quantities[0].Expected || b.Quantities[0].Interval != a.Quantities[0].Interval {
		t.Errorf("%v: %+v, with other scores of the task itself %+v", err, a.Quantities[0], b.Quantities[0])
	}
}

// On the report's tasks the features are worth something, and the figures of the
// documentation hold.
func TestReportsTasks(t *testing.T) {
	for _, c := range []struct {
		features string
		below    float64 // of the mean's error
	}{{Own, 0.9}, {Published, 1}} {
		s, _ := NewSet(c.features, "", nil)
		a, err := s.Predict(ask("another", s.Points[0].Features))
		if err != nil {
			t.Fatal(err)
		}
		q := a.Quantities[0]
		if !(q.LeaveOneOut <= c.below*q.Mean) || !near(q.Mean, 0.235, 0.01) {
			t.Errorf("%s: error %v, of the mean %v", c.features, q.LeaveOneOut, q.Mean)
		}
		if q.Interval[0] > q.Expected || q.Interval[1] < q.Expected || q.Interval[1] > 1 {
			t.Errorf("%s: %v in %v", c.features, q.Expected, q.Interval)
		}
	}
	if _, ok := NewSet(Own, "gpt-4", nil); ok {
		t.Error("gpt-4 was not fine-tuned")
	}
	one, ok := NewSet(Published, "mistral-7b", nil)
	if r, _ := reference.Lookup(one.Points[3].Task); !ok || len(one.Points) != 31 || one.Points[3].Tuned != r.Finetuned["mistral-7b"] {
		t.Errorf("mistral-7b: %+v", one.Points[3])
	}
}

// A measured base score is learnt from: here it decides alone.
func TestBaseScore(t *testing.T) {
	rng := rand.New(rand.NewPCG(11, 12))
	s := madeSet(rng, 25, func([]float64) float64 { return 0 })
	for i := range s.Points {
		s.Points[i].Base = rng.Float64() * 0.5
		s.Points[i].Tuned = 0.3 + s.Points[i].Base
		s.Points[i].Best = s.Points[i].Tuned
	}
	s.Points[3].Base = math.NaN()
	q := ask("new", s.Points[0].Features)
	q.Base = 0.4
	a, err := s.Predict(q)
	if err != nil {
		t.Fatal(err)
	}
	if got := a.Quantities[0]; !near(got.Expected, 0.7, 0.06) || got.MeanIsBest || a.N != 24 {
		t.Errorf("%+v", got)
	}
	if _, ok := a.Quantity(BaseScore); ok || a.BaseScore != 0.4 || !strings.Contains(strings.Join(a.Notes, "\n"), "is left out: one of its features") {
		t.Errorf("%v %v", a.BaseScore, a.Notes)
	}
}

func TestConformal(t *testing.T) {
	if got := conformal([]float64{-3, 1, 2, -4, 5, 6, 7, 8, -9}, 0.9); got != 9 {
		t.Errorf("%v, want 9: of 9 residuals the 9th", got)
	}
	rng := rand.New(rand.NewPCG(1, 1))
	held := 0
	for range 4000 {
		r := make([]float64, 30)
		for i := range r {
			r[i] = rng.NormFloat64()
		}
		if math.Abs(rng.NormFloat64()) <= conformal(r, 0.9) {
			held++
		}
	}
	if share := float64(held) / 4000; share < 0.89 || share > 0.925 {
		t.Errorf("a 90 %% margin holds %v", share)
	}
}

// features.csv was made with the prompts that the tasks have now.
func TestFeaturesAreOfTheseTasks(t *testing.T) {
	rows := map[string]Row{}
	for _, r := range OwnRows() {
		rows[r.Task] = r
	}
	for _, name := range tasks.Names() {
		file, err := tasks.Load(name, tasks.Options{})
		if err != nil {
			t.Fatal(err)
		}
		r, ok := rows[name]
		if !ok {
			t.Errorf("%s is not in features.csv", name)
		} else if r.Prompt != results.SHA256([]byte(file.Task.Prompt)) {
			t.Errorf("the prompt of %s is not the one that features.csv was measured with; DATA=/absolute/folder go generate ./results/predict makes it again", name)
		}
	}
}

func TestStalePromptsAreLeftOut(t *testing.T) {
	s, _ := NewSet(Own, "", map[string]string{"drop": "another"})
	if slices.ContainsFunc(s.Points, func(p Point) bool { return p.Task == "drop" }) || !strings.Contains(strings.Join(s.Notes, "\n"), "drop is left out: its prompt") {
		t.Errorf("%v", s.Notes)
	}
}

func TestRowsRoundTrip(t *testing.T) {
	rows := []Row{{Task: "a", Rows: 3, Part: "train", Prompt: "x", Features: []float64{1, 2.5, 0, 0, 0, 0, 0, 0, 0, 0.1234, 0, 0, math.NaN(), math.NaN()}}}
	var b bytes.Buffer
	if err := WriteRows(&b, rows); err != nil {
		t.Fatal(err)
	}
	back, err := ReadRows(&b)
	if err != nil || len(back) != 1 || back[0].Features[9] != 0.1234 || !math.IsNaN(back[0].Features[13]) || back[0].Prompt != "x" {
		t.Errorf("%v %+v", err, back)
	}
	for _, bad := range []string{"", "task,rows\n", strings.Join(rowHeader(), ",") + "\na,x,train,p,1,1,1,1,1,1,1,1,1,1,1,1,1,1\n"} {
		if _, err := ReadRows(strings.NewReader(bad)); err == nil {
			t.Errorf("%q is accepted", bad)
		}
	}
}

func TestPredictRefuses(t *testing.T) {
	s := madeSet(rand.New(rand.NewPCG(1, 2)), 12, func(f []float64) float64 { return 0.5 })
	bad := slices.Clone(s.Points[0].Features)
	bad[2] = math.NaN()
	if _, err := s.Predict(ask("new", bad)); err == nil {
		t.Error("a feature that is NaN is accepted")
	}
	unknown := slices.Clone(s.Points[0].Features)
	unknown[13] = math.NaN()
	if a, err := s.Predict(ask("new", unknown)); err != nil || !strings.Contains(strings.Join(a.Notes, "\n"), "the median of the others") {
		t.Errorf("without the number of training rows: %v", err)
	}
	s.Points = s.Points[:5]
	if _, err := s.Predict(ask("new", unknown[:0:0])); err == nil {
		t.Error("five tasks are enough")
	}
}

// A run with a base model, an adapter on it and GPT-4.
func TestFromRun(t *testing.T) {
	f, err := results.Create(t.TempDir(), results.Manifest{Format: results.ManifestFormat, ID: "r1", Config: results.Config{
		Tasks:    []results.TaskConfig{{Name: "mine"}, {Name: "drop"}, {Name: "small"}},
		Models:   []results.ModelConfig{{Label: "b", Backend: "local", Model: "m"}, {Label: "t", Backend: "local", Model: "m", Adapter: "a"}, {Label: "g", Backend: "openai", Model: "gpt-4-0613"}},
		Profiles: []string{"strict"},
	}})
	if err != nil {
		t.Fatal(err)
	}
	w, err := f.Writer()
	if err != nil {
		t.Fatal(err)
	}
	add := func(task, model, sample, prompt, target string) {
		if err := w.Append(&record.Record{V: record.Version, Task: task, Model: model, Sample: sample, Prompt: prompt, Targets: []string{target}}); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 25 {
		id := string(rune('a' + i))
		for _, m := range []string{"b", "t", "g"} {
			add("mine", m, id, "one two "+id, "yes")
			add("drop", m, id, "one two", "no")
		}
		if i < 5 {
			add("small", "t", id, "x", "y")
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	score := func(task, model string, v float64) results.Score {
		x := record.Float(v)
		return results.Score{Task: task, Model: model, Metric: "accuracy", Profile: "strict", Score: &x, Better: "higher"}
	}
	s := results.Scores{Tasks: []results.Score{score("mine", "b", 0.2), score("mine", "t", 0.9), score("mine", "g", 0.7), score("drop", "t", 0.8), score("drop", "b", 0.1), score("small", "t", 1)}}
	if err := f.SaveScores(s); err != nil {
		t.Fatal(err)
	}
	points, notes, err := FromRun(f)
	if err != nil || len(points) != 2 {
		t.Fatalf("%v: %d points, %v", err, len(points), notes)
	}
	p := points[0]
	if p.Task != "mine" || p.Base != 0.2 || p.Tuned != 0.9 || p.Best != 0.9 || p.Rival != 0.7 || p.Features[1] != 3 || !math.IsNaN(p.Features[13]) {
		t.Errorf("%+v", p)
	}
	if r, _ := reference.Lookup("drop"); points[1].Rival != r.Base[reference.GPT4] || points[1].Features[13] != 77400 {
		t.Errorf("%+v", points[1])
	}
	if !strings.Contains(strings.Join(notes, "\n"), "small of run") {
		t.Errorf("%v", notes)
	}
	set, _ := NewSet(Own, "", nil)
	n := len(set.Points)
	for _, p := range points {
		set.Add(p)
	}
	if len(set.Points) != n+1 || !strings.Contains(strings.Join(set.Notes, "\n"), "drop: the scores of") {
		t.Errorf("%d points of %d: %v", len(set.Points), n, set.Notes)
	}
	a, err := set.Predict(ask("asked", set.Points[0].Features))
	if err != nil || a.Own != 2 {
		t.Errorf("%v: %+v", err, a)
	}
}
