package decide

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/evalrun/evalrun/core"
	"github.com/evalrun/evalrun/core/record"
	"github.com/evalrun/evalrun/results"
	"github.com/evalrun/evalrun/results/compare"
)

// The closed form of the break-even against a search over the cost curves.
func TestBreakEven(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	never, found := 0, 0
	for range 3000 {
		c := costs{apiPerCall: 0.02 * rng.Float64(), trainingPerDay: 50 * rng.Float64(), workPerDay: 20 * rng.Float64(), gpuDay: 100 * rng.Float64(),
			share: rng.Float64(), perCall: 3e-4 * rng.Float64(), errorsPerCall: 0.01 * (rng.Float64() - 0.5)}
		got := c.breakEven()
		if math.IsInf(got, 1) {
			never++
			for calls := 1.0; calls < 1e12; calls *= 1.1 {
				if c.own(calls) < c.api(calls)*(1-1e-9) {
					t.Fatalf("%+v pays at %g, said never", c, calls)
				}
			}
			continue
		}
		found++
		if math.Abs(c.own(got)-c.api(got)) > 1e-6*(1+c.own(got)) {
			t.Fatalf("%+v: at %g it costs %g against %g", c, got, c.own(got), c.api(got))
		}
		if below := 0.999 * got; c.own(below) < c.api(below) {
			t.Fatalf("%+v pays at %g already, said %g", c, below, got)
		}
		if above := 1.001 * got; above*c.perCall < c.share && c.own(above) > c.api(above) {
			t.Fatalf("%+v does not pay at %g, said from %g", c, above, got)
		}
	}
	if never < 100 || found < 100 {
		t.Errorf("%d never, %d found: the test does not see both", never, found)
	}
}

func TestDraws(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for _, r := range []Range{{1, 2, 6}, {0, 0, 1}, {0, 1, 1}, Known(3)} {
		sum, n := 0.0, 40000
		for range n {
			v := r.draw(rng)
			if v < r.Low || v > r.High {
				t.Fatalf("%v gave %v", r, v)
			}
			sum += v
		}
		want := (r.Low + r.Likely + r.High) / 3
		if sd := (r.High - r.Low) / math.Sqrt(float64(n)); math.Abs(sum/float64(n)-want) > 4*sd {
			t.Errorf("%v: mean %v, want %v", r, sum/float64(n), want)
		}
	}
}

// With known numbers the decision is arithmetic: 1,000 calls of 1,000 and 100
// tokens cost $36 a day; a GPU costs $48 a day and training $365 in a year.
func TestArithmetic(t *testing.T) {
	a := Default()
	for _, pair := range []string{"traffic.calls_per_day=1000", "traffic.input_tokens=1000", "traffic.output_tokens=100", "traffic.horizon_days=365", "traffic.peak_factor=1",
		"api.usd_per_million_input=30", "api.usd_per_million_output=60", "api.price_change=1", "training.gpu_hours=10", "training.usd_per_gpu_hour=1.5", "training.runs=10",
		"training.labels=100", "training.usd_per_label=0.15", "training.work_hours=2", "training.usd_per_work_hour=100", "serving.usd_per_gpu_hour=2", "serving.share=1",
		"serving.output_tokens_per_second=1000", "serving.input_tokens_per_second=10000", "serving.work_hours_per_month=0"} {
		if err := a.SetText(pair); err != nil {
			t.Fatal(err)
		}
	}
	d := Decide(a, NewQuality("tuned", "api", 0.9, 0.8, 0.01), Options{Draws: 200})
	month := 365.25 / 12
	for name, c := range map[string][2]float64{
		"api": {d.API.Median, 36 * month}, "own": {d.Own.Median, (48 + 1) * month}, "training": {d.Training.Median, 365},
		"saved": {d.Saved.Median, (36 - 49) * month}, "break-even": {d.BreakEven.Median, 49 / 0.036}, "never": {d.NeverPays, 0}, "spread": {d.Own.High - d.Own.Low, 0},
		"better": {d.Chances.Better, 1}, "cheaper": {d.Chances.Cheaper, 0},
	} {
		if math.Abs(c[0]-c[1]) > 1e-6*(1+math.Abs(c[1])) {
			t.Errorf("%s: %v, want %v", name, c[0], c[1])
		}
	}
	if d.Verdict != TradeOff || !strings.Contains(d.Sentence, "better by 0.100 and costs about $396 a month more") {
		t.Errorf("%s: %s", d.Verdict, d.Sentence)
	}
	// A lost point costs: on 1,000 calls 0.1 of score at $0.5 is worth $50 a day.
	if err := a.SetText("quality.usd_per_error=0.5"); err != nil {
		t.Fatal(err)
	}
	d = Decide(a, NewQuality("tuned", "api", 0.9, 0.8, 0), Options{Draws: 200})
	if math.Abs(d.Own.Median-(49-50)*month) > 1e-6 || d.Verdict != FineTune {
		t.Errorf("with errors priced: %v, %s", d.Own.Median, d.Sentence)
	}
}

func TestVerdicts(t *testing.T) {
	for _, c := range []struct {
		difference, stderr, calls float64
		want                      Verdict
		words                     string
	}{
		{0.05, 0.01, 100_000, FineTune, "saves about"},
		{-0.2, 0.01, 10, KeepAPI, "both worse"},
		{-0.05, 0.01, 100_000, TradeOff, "a lost point of score"},
		{0.05, 0.01, 100, TradeOff, "only if the better answers are worth that"},
		{0, 0.001, 100, KeepAPI, "as good, but"},
		{0, 0.05, 100_000, Undecided, "good enough is open"},
		{0.05, 0.01, 10_000, Undecided, "whether it is cheaper is open"},
		{0.01, 0.05, 10_000, Undecided, "; and whether it is cheaper"},
	} {
		a := Default()
		if err := a.Set("traffic.calls_per_day", Known(c.calls), "test"); err != nil {
			t.Fatal(err)
		}
		q := NewQuality("tuned", "api", 0.8+c.difference, 0.8, c.stderr)
		q.Rows = 100
		d := Decide(a, q, Options{Draws: 4000})
		if d.Verdict != c.want || !strings.Contains(d.Sentence, c.words) {
			t.Errorf("%+v: %s: %s", c, d.Verdict, d.Sentence)
		}
		if again := Decide(a, q, Options{Draws: 4000}); again.Sentence != d.Sentence || again.Own != d.Own {
			t.Error("the same seed decides otherwise")
		}
		var out bytes.Buffer
		if err := d.Print(&out); err != nil {
			t.Fatal(err)
		}
		for _, x := range a {
			if !strings.Contains(out.String(), x.Key) {
				t.Errorf("%s is not printed", x.Key)
			}
		}
		if _, err := json.Marshal(d); err != nil {
			t.Error(err)
		}
	}
}

// One assumption in doubt moves the answer by what it costs.
func TestSwings(t *testing.T) {
	a := Default()
	for i := range a {
		a[i].Value = Known(a[i].Value.Likely)
	}
	if err := a.SetText("training.labels=0,0,1000"); err != nil {
		t.Fatal(err)
	}
	if err := a.SetText("traffic.input_tokens=265,265,266"); err != nil {
		t.Fatal(err)
	}
	s := a.swings(NewQuality("t", "a", 0.9, 0.8, 0))
	// 1,000 labels at $0.2 over 365 days, 30.4 days a month.
	if len(s) != 2 || s[0].Key != "training.labels" || math.Abs(s[0].AtLow-s[0].AtHigh-1000*0.2/365*365.25/12) > 1e-9 {
		t.Errorf("%+v", s)
	}
}

// Dear GPUs and a cheap API: no traffic pays, and JSON says so without a number.
func TestNeverPays(t *testing.T) {
	a := Default()
	for _, pair := range []string{"api.usd_per_million_input=0.01", "api.usd_per_million_output=0.01"} {
		if err := a.SetText(pair); err != nil {
			t.Fatal(err)
		}
	}
	d := Decide(a, NewQuality("t", "a", 0.9, 0.8, 0.01), Options{Draws: 500})
	b, err := json.Marshal(d)
	if err != nil || d.NeverPays != 1 || !bytes.Contains(b, []byte(`"median":"NaN"`)) || !strings.Contains(strings.Join(d.Why, " "), "never pays by money alone") {
		t.Errorf("%v, never %v: %s", err, d.NeverPays, d.Why)
	}
}

func TestYAMLReadsBack(t *testing.T) {
	a, b := Default(), Default()
	for i := range b {
		b[i].Value = Known(1)
	}
	if err := b.Read("f.yaml", a.YAML()); err != nil {
		t.Fatal(err)
	}
	for i := range a {
		if a[i].Value != b[i].Value || b[i].From != "f.yaml" {
			t.Errorf("%s: %v reads back as %v", a[i].Key, a[i].Value, b[i].Value)
		}
	}
	if err := a.Read("f", []byte("traffic:\n  # calls_per_day: 1\napi.price_change: 0.5, 0.6, 1\nserving: {share: 0.04}\n")); err != nil || a.Get("api.price_change") != (Range{0.5, 0.6, 1}) || a.Get("serving.share") != Known(0.04) {
		t.Errorf("%v: %v", err, a.Get("api.price_change"))
	}
	if err := a.Read("f", nil); err != nil {
		t.Error(err)
	}
}

func TestMistakes(t *testing.T) {
	for text, want := range map[string]string{
		"traffic:\n  call_per_day: 5\n":            "f.yaml:2:3: no assumption \"traffic.call_per_day\" | did you mean traffic.calls_per_day?",
		"api:\n  calls_per_day: 5\n":               "f.yaml:2:3: no assumption \"api.calls_per_day\" | did you mean traffic.calls_per_day?",
		"calls_per_day: 5\n":                       "f.yaml:1:1: no assumption \"calls_per_day\" | did you mean traffic.calls_per_day?",
		"traffic:\n  calls_per_day: many\n":        "f.yaml:2:18: \"many\" is no number | a number, or three",
		"traffic:\n  calls_per_day: [3, 2, 1]\n":   "f.yaml:2:3: traffic.calls_per_day cannot be 3,2,1 | ",
		"traffic:\n  calls_per_day: [1, 2]\n":      "f.yaml:2:18: 2 numbers | ",
		"traffic:\n  horizon_days: 0\n":            "f.yaml:2:3: traffic.horizon_days has to be above 0 | ",
		"serving:\n  share: 2\n":                   "f.yaml:2:3: serving.share cannot be above 1 | ",
		"traffic:\n  calls_per_day: -1\n":          "f.yaml:2:3: traffic.calls_per_day cannot be -1 | ",
		"traffic:\n  calls_per_day: {a: 1}\n":      "f.yaml:2:18: 0 numbers | ",
		"- 1\n":                                    "f.yaml:1:1: not a list of sections | ",
		"a: [\n":                                   "f.yaml: not YAML",
		"traffic:\n  calls_per_day: .inf\n":        "f.yaml:2:18: \".inf\" is no number | ",
		"traffc:\n  calls_per_day: 1\n":            "f.yaml:2:3: no assumption \"traffc.calls_per_day\" | did you mean traffic.calls_per_day?",
		"traffic:\n":                               "",
		"quality:\n  acceptable_loss: [0, 0, 0]\n": "",
	} {
		err := Default().Read("f.yaml", []byte(text))
		if want == "" {
			if err != nil {
				t.Errorf("%q: %v", text, err)
			}
			continue
		}
		var u *core.UserError
		if !errors.As(err, &u) || !strings.HasPrefix(u.Error()+" | "+u.Hint, want) {
			t.Errorf("%q: %v | %v, want %s", text, err, u, want)
		}
	}
	for _, pair := range []string{"traffic.calls_per_day", "x=1", "traffic.calls_per_day=NaN", "traffic.calls_per_day=1,2"} {
		if err := Default().SetText(pair); err == nil || !strings.HasPrefix(err.Error(), "--set "+pair) {
			t.Errorf("%s: %v", pair, err)
		}
	}
}

// store writes a run of one model with n rows of a task, right where share says.
func store(t *testing.T, label string, share float64, n int) *results.Folder {
	t.Helper()
	f, err := results.Create(t.TempDir(), results.Manifest{Created: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)})
	if err != nil {
		t.Fatal(err)
	}
	w, err := f.Writer()
	if err != nil {
		t.Fatal(err)
	}
	for i := range n {
		v := record.Float(0)
		if float64(i) < share*float64(n) {
			v = 1
		}
		rec := record.Record{V: 1, Task: "boolq", Model: label, Sample: fmt.Sprint(i), Index: i, Prompt: "p", Targets: []string{"y"}, Scores: []record.Score{{Metric: "accuracy", Profile: core.Strict, Value: v}}}
		if err := w.Append(&rec); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return f
}

func TestFromRuns(t *testing.T) {
	tuned, api := store(t, "tuned", 0.9, 100), store(t, "api", 0.8, 100)
	q, err := FromRuns(context.Background(), "tuned", "api", []compare.Side{{Folder: tuned, Model: "tuned"}}, []compare.Side{{Folder: api, Model: "api"}})
	if err != nil {
		t.Fatal(err)
	}
	// Ten rows of a hundred differ, all one way: Newcombe's paired interval is
	// about 0.02 to 0.18.
	if math.Abs(q.Difference-0.1) > 1e-9 || q.TunedScore != 0.9 || q.APIScore != 0.8 || q.Rows != 100 || q.Tasks != 1 || !q.Measured || q.Stderr < 0.02 || q.Stderr > 0.05 || q.above(0) < 0.98 {
		t.Errorf("%+v", q)
	}
	same, err := FromRuns(context.Background(), "tuned", "tuned", []compare.Side{{Folder: tuned, Model: "tuned"}}, []compare.Side{{Folder: tuned, Model: "tuned"}})
	if err != nil || same.Stderr < 0.005 || math.Abs(same.above(0)-0.5) > 1e-9 {
		t.Errorf("equal models: %+v, %v", same, err)
	}
	if _, err := FromRuns(context.Background(), "none", "api", []compare.Side{{Folder: tuned, Model: "none"}}, []compare.Side{{Folder: api, Model: "api"}}); err == nil {
		t.Error("a model that is not there")
	}
}

func TestFromPublished(t *testing.T) {
	q, err := FromReport("glue_sst2")
	if err != nil || math.Abs(q.Difference-0.019) > 1e-9 || q.Stderr < 0.009 || q.Stderr > 0.011 {
		t.Errorf("%+v, %v", q, err)
	}
	for task, hint := range map[string]string{"glue_sst": "did you mean glue_sst2?", "nothing like it": "evalrun ls tasks lists the 31 tasks of the LoRA Land report"} {
		_, err := FromReport(task)
		var user *core.UserError
		if !errors.As(err, &user) || user.Where != "--task "+task || user.Hint != hint {
			t.Errorf("%s: %v, want the hint %q", task, err, hint)
		}
	}
	if _, err := FromReport("glue_sst"); err == nil || !strings.Contains(err.Error(), "no such task") {
		t.Errorf("%v", err)
	}
	v := record.Float(0.9)
	lines := []results.Score{{Task: "a", Score: &v, Interval: []record.Float{0.85, 0.95}, N: 100, Published: &results.Published{GPT4: 0.8, OtherPrompt: true}}, {Task: "b", Score: &v}}
	q, ok := FromPublishedGPT4("m", lines)
	if !ok || q.Tasks != 1 || math.Abs(q.Difference-0.1) > 1e-9 || !strings.Contains(q.Source, "another prompt") || q.Measured {
		t.Errorf("%+v, %v", q, ok)
	}
	if _, ok := FromPublishedGPT4("m", lines[1:]); ok {
		t.Error("nothing is published")
	}
}

const prediction = `{"predictions":[{"task":"mine","level":0.9,"quantities":[{"quantity":"tuned","expected":0.8,"interval":[0.6,1]},{"quantity":"lift_over_gpt4","expected":0.05,"interval":[-0.15,0.25]}]}]}`

func TestFromPrediction(t *testing.T) {
	q, err := FromPrediction([]byte(prediction), "f", "")
	if err != nil || math.Abs(q.APIScore-0.75) > 1e-9 || math.Abs(q.Stderr-0.2/1.6448536) > 1e-6 || !q.Predicted {
		t.Errorf("%+v, %v", q, err)
	}
	d := Decide(Default(), q, Options{Draws: 1000})
	if !strings.Contains(d.Sentence, "one trial of about") {
		t.Error(d.Sentence)
	}
	for _, c := range [][2]string{{"{", ""}, {`{"predictions":[]}`, ""}, {prediction, "other"}, {`{"predictions":[{"task":"mine","level":0.9}]}`, ""}} {
		if _, err := FromPrediction([]byte(c[0]), "f", c[1]); err == nil {
			t.Errorf("%v is taken", c)
		}
	}
}

func TestRowsNeeded(t *testing.T) {
	q := NewQuality("a", "b", 0.82, 0.8, 0.02)
	q.Rows = 100
	if n := q.RowsNeeded(); n < 380 || n > 390 { // (1.96·0.02/0.02)² · 100
		t.Errorf("%d rows", n)
	}
}
