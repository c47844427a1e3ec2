package complexity

import (
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/evalrun/evalrun/core/record"
	"github.com/evalrun/evalrun/core/stats"
	"github.com/evalrun/evalrun/core/text"
)

func near(a, b float64) bool {
	return a == b || math.IsNaN(a) && math.IsNaN(b) || math.Abs(a-b) <= 1e-9*math.Max(1, math.Abs(b))
}

// Values of Python: len, str.split, tiktoken, rouge_score and zlib.compress of
// these three rows, with numpy's mean, std, percentile.
func TestThreeRows(t *testing.T) {
	var m Meter
	m.Add("What is the capital of France?", "Paris")
	m.Add("na\u00efve caf\u00e9\u2003\u4e2d\u6587 the end", "the end")
	m.Add("", "")
	h := m.Heuristics()
	for _, c := range []struct {
		name      string
		got, want record.Float
	}{
		{"rows", record.Float(h.Rows), 3},
		{"input characters", h.Input.Characters.Mean, (30 + 21 + 0) / 3.0},
		{"input words", h.Input.Words.Mean, (6 + 5 + 0) / 3.0},
		{"input tokens", h.Input.Tokens.Mean, (7 + 10 + 0) / 3.0},
		{"input tokens max", h.Input.Tokens.Max, 10},
		{"output words p95", h.Output.Words.P95, 1.9},
		{"output words std", h.Output.Words.StdPopulation, record.Float(math.Sqrt(2.0 / 3))},
		{"output words std", h.Output.Words.StdSample, 1},
		{"rouge F", h.Rouge.F.Max, 4.0 / 7},
		{"rouge recall", h.Rouge.Recall.Max, 1},
		{"zlib", h.Compressibility.Min, 40.0 / 36}, // the empty example has no ratio
		{"zlib", h.Compressibility.Max, 43.0 / 35},
	} {
		if !near(float64(c.got), float64(c.want)) {
			t.Errorf("%s: %v, want %v", c.name, c.got, c.want)
		}
	}
}

func TestNoRows(t *testing.T) {
	var m Meter
	if h := m.Heuristics(); h.Rows != 0 || !math.IsNaN(float64(h.Input.Tokens.Mean)) || !math.IsNaN(float64(h.Compressibility.P95)) {
		t.Errorf("%+v", h)
	}
}

// The stream against the whole list, with few values, with many, and with more
// than are kept.
func TestSummaryAgainstWholeList(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for _, c := range []struct {
		n         int
		value     func() float64
		tolerance float64
	}{
		{1, rng.Float64, 0}, {2, rng.Float64, 1e-12}, {1000, func() float64 { return float64(rng.IntN(50)) }, 1e-12},
		{5000, rng.NormFloat64, 1e-12}, {3 * exactValues, func() float64 { return 0.3 + 0.4*rng.Float64() }, 1e-5},
	} {
		var s spread
		var all []float64
		for range c.n {
			v := c.value()
			s.add(v)
			all = append(all, v)
		}
		got := s.summary()
		mean, stderr := stats.MeanStderr(all)
		if !near(float64(got.Mean), mean) || !near(float64(got.StdSample), stderr*math.Sqrt(float64(c.n))) {
			t.Errorf("%d values: %v ± %v, want %v ± %v", c.n, got.Mean, got.StdSample, mean, stderr*math.Sqrt(float64(c.n)))
		}
		if want := stats.Percentile(all, 95); math.Abs(float64(got.P95)-want) > c.tolerance*math.Abs(want) {
			t.Errorf("%d values: p95 %v, want %v", c.n, got.P95, want)
		}
		if len(s.counts) > 2*exactValues {
			t.Errorf("%d values: %d are kept", c.n, len(s.counts))
		}
	}
}

func FuzzWords(f *testing.F) {
	f.Add(" a\u2003b\x1cc\x85 ")
	f.Fuzz(func(t *testing.T, s string) {
		if got, want := words(s), len(text.Split(s)); got != want {
			t.Errorf("%q: %d words, want %d", s, got, want)
		}
	})
}

// 1,000 rows of 1,500 characters.
func BenchmarkThousandRows(b *testing.B) {
	input, output := strings.Repeat("Work out the answer from the passage; count 1,234 of them. ", 25), "the answer is 42"
	for b.Loop() {
		var m Meter
		for range 1000 {
			m.Add(input, output)
		}
		if m.Heuristics().Rows != 1000 {
			b.Fatal("rows are lost")
		}
	}
}
