// Package metrictest is the contract of core.Metric as a test suite. Every
// metric passes it, in process and through the plugin wire:
//
//	func TestContract(t *testing.T) {
//		metrictest.Run(t, func(t *testing.T) core.Metric { … }, metrictest.Options{Right: …, Wrong: …})
//	}
package metrictest

import (
	"context"
	"fmt"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/evalrun/evalrun/core"
)

// Options fit the suite to a metric.
type Options struct {
	// Right is an item that gets the best score, Wrong one that gets the worst
	// (by HigherIsBetter). Both must be given.
	Right, Wrong core.Item
	// Slow says that judging an item takes long (a program is run for it): the
	// suite then uses few items.
	Slow bool
}

// hostile are answers that models give and that have broken metrics.
var hostile = []string{
	"", " ", "\n\n", "\x00", "\xff\xfe", "İ\u0307ſ", "#### ", "1e400", "-1e400", "nan", "١٢٣", "½", "{\"a\":", "[", "()", "'\"\\",
	"%s%d{}{0}", strings.Repeat("9", 400), strings.Repeat("a ", 2000), strings.Repeat("(", 300), "\u202eabc", "😀😀", "None", "inf",
}

// Run runs the suite. make gives a fresh metric each time; one that can be
// closed (io.Closer) is closed.
func Run(t *testing.T, make func(t *testing.T) core.Metric, o Options) {
	t.Helper()
	tests := []struct {
		name string
		run  func(*testing.T, core.Metric, Options)
	}{
		{"info", testInfo}, {"right and wrong", testRightAndWrong}, {"order", testOrder}, {"hostile answers", testHostile},
		{"no targets", testNoTargets}, {"cancelled", testCancelled}, {"aggregate", testAggregate}, {"aggregate nothing", testNothing},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			m := make(t)
			if c, ok := m.(interface{ Close() error }); ok {
				defer func() {
					if err := c.Close(); err != nil {
						t.Errorf("close: %v", err)
					}
				}()
			}
			test.run(t, m, o)
		})
	}
}

func score(t *testing.T, m core.Metric, items ...core.Item) []core.Score {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	scores, err := m.Score(ctx, items)
	if err != nil {
		t.Fatalf("score: %v", err)
	}
	if len(scores) != len(items) {
		t.Fatalf("%d scores for %d items", len(scores), len(items))
	}
	return scores
}

func testInfo(t *testing.T, m core.Metric, _ Options) {
	info := m.Info()
	switch {
	case info.Name == "":
		t.Error("the metric has no name")
	case info.Profile != core.Strict && info.Profile != core.Bakeoff:
		t.Errorf("profile %q", info.Profile)
	case !(info.Low < info.High):
		t.Errorf("range %v … %v", info.Low, info.High)
	case info.Binary && (math.IsInf(info.Low, 0) || math.IsInf(info.High, 0)):
		t.Error("a binary metric without bounds")
	}
	if again := m.Info(); !reflect.DeepEqual(info, again) {
		t.Errorf("the description changed from %+v to %+v", info, again)
	}
}

func testRightAndWrong(t *testing.T, m core.Metric, o Options) {
	info := m.Info()
	scores := score(t, m, o.Right, o.Wrong)
	best, worst := info.High, info.Low
	if !info.HigherIsBetter {
		best, worst = worst, best
	}
	if scores[0].Skipped != "" {
		t.Skipf("nothing is judged here: %s", scores[0].Skipped)
	}
	if scores[0].Value != best {
		t.Errorf("the right answer %q scores %v, not %v", o.Right.Raw, scores[0].Value, best)
	}
	if math.IsInf(worst, 0) {
		if better(info, scores[1].Value, scores[0].Value) || scores[1].Value == scores[0].Value {
			t.Errorf("the wrong answer %q scores %v", o.Wrong.Raw, scores[1].Value)
		}
	} else if scores[1].Value != worst {
		t.Errorf("the wrong answer %q scores %v, not %v", o.Wrong.Raw, scores[1].Value, worst)
	}
}

func better(info core.MetricInfo, a, b float64) bool { return (a > b) == info.HigherIsBetter && a != b }

// testOrder sees that a score belongs to its item and to nothing else.
func testOrder(t *testing.T, m core.Metric, o Options) {
	if got := score(t, m); len(got) != 0 {
		t.Errorf("no items gave %d scores", len(got))
	}
	items := []core.Item{o.Right, o.Wrong, o.Wrong, o.Right}
	if !o.Slow {
		for i := range 60 {
			items = append(items, []core.Item{o.Right, o.Wrong}[i*i%3%2])
		}
	}
	alone := map[string]core.Score{}
	for _, it := range []core.Item{o.Right, o.Wrong} {
		alone[it.Raw] = score(t, m, it)[0]
	}
	for i, s := range score(t, m, items...) {
		want := alone[items[i].Raw]
		if s.Value != want.Value || s.Failed != want.Failed || s.Dropped != want.Dropped || s.Extracted != want.Extracted {
			t.Errorf("item %d of %d: %+v, alone %+v", i, len(items), s, want)
		}
	}
}

func testHostile(t *testing.T, m core.Metric, o Options) {
	info := m.Info()
	var items []core.Item
	for i, answer := range hostile {
		if o.Slow && i%6 != 0 {
			continue
		}
		it := o.Wrong
		it.ID, it.Raw, it.Text = fmt.Sprint(i), answer, answer
		items = append(items, it)
		it.ExtractFailed, it.Text = true, ""
		items = append(items, it)
	}
	for i, s := range score(t, m, items...) {
		finite := !math.IsNaN(s.Value) && !math.IsInf(s.Value, 0)
		if finite && (s.Value < info.Low || s.Value > info.High) {
			t.Errorf("%q scores %v, outside of %v … %v", items[i].Raw, s.Value, info.Low, info.High)
		}
		if info.Binary && !s.Dropped && s.Skipped == "" && s.Value != info.Low && s.Value != info.High {
			t.Errorf("%q scores %v with a binary metric", items[i].Raw, s.Value)
		}
		if s.Failed && s.Note == "" {
			t.Errorf("%q failed without a note", items[i].Raw)
		}
	}
}

func testNoTargets(t *testing.T, m core.Metric, o Options) {
	it := o.Right
	it.Targets, it.Choices, it.Gold, it.Task, it.Scores = nil, nil, nil, nil, nil
	s := score(t, m, it)[0]
	if it.Fields == nil && s.Value == m.Info().High && s.Skipped == "" && !s.Dropped && m.Info().HigherIsBetter {
		t.Errorf("without a target %q scores %v", it.Raw, s.Value)
	}
}

func testCancelled(t *testing.T, m core.Metric, o Options) {
	m.Info()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	done := make(chan struct{})
	go func() {
		defer close(done)
		if scores, err := m.Score(ctx, []core.Item{o.Right}); err == nil && len(scores) != 1 {
			t.Errorf("a cancelled call gave %d scores and no error", len(scores))
		}
	}()
	select {
	case <-done:
	case <-time.After(20 * time.Second):
		t.Error("a cancelled call did not end")
	}
}

func testAggregate(t *testing.T, m core.Metric, o Options) {
	info := m.Info()
	high, low := info.High, info.Low
	if math.IsInf(low, 0) {
		low = high - 1
	}
	if math.IsInf(high, 0) {
		high = low + 1
	}
	right, wrong := core.Score{Value: high}, core.Score{Value: low}
	if len(info.Parts) > 0 { // a number of sums, which only judged items have
		real := score(t, m, o.Right, o.Wrong)
		right, wrong = real[0], real[1]
	}
	scores := []core.Score{{Value: high}, {Value: low}, {Value: high}, {Value: high, Dropped: true}, {Value: low, Skipped: "no reason"},
		{Value: math.NaN()}, {Value: math.Inf(-1)}, {Value: low, Failed: true}, {Value: high}}
	for i := range scores {
		switch {
		case scores[i].Value == high:
			scores[i].Parts = right.Parts
		case scores[i].Value == low:
			scores[i].Parts = wrong.Parts
		}
	}
	a := m.Aggregate(scores)
	if len(info.Parts) > 0 {
		if !(info.Low < a.Score && a.Score < info.High) {
			t.Errorf("score %v of right and wrong answers", a.Score)
		}
	} else if want := low + 0.6*(high-low); math.Abs(a.Score-want) > 1e-9 {
		t.Errorf("score %v, want %v", a.Score, want)
	}
	if a.N != 5 || a.Dropped != 1 || a.Skipped != 1 || a.NonFinite != 2 || a.Failed != 1 || a.Skip != "" {
		t.Errorf("counts %+v", a)
	}
	if !(info.Low <= a.Low95 && a.Low95 < a.Score && a.Score < a.High95 && a.High95 <= info.High) || a.Method == "" {
		t.Errorf("interval %v … %v by %q around %v", a.Low95, a.High95, a.Method, a.Score)
	}
	for i, j := 0, len(scores)-1; i < j; i, j = i+1, j-1 {
		scores[i], scores[j] = scores[j], scores[i]
	}
	if b := m.Aggregate(scores); math.Abs(a.Score-b.Score) > 1e-12 {
		t.Errorf("in another order the score is %v, not %v", b.Score, a.Score)
	}
	one := m.Aggregate([]core.Score{{Value: high, Parts: right.Parts}})
	if one.N != 1 || one.Score != high && !math.IsInf(info.High, 1) {
		t.Errorf("one item: %+v", one)
	}
}

func testNothing(t *testing.T, m core.Metric, _ Options) {
	for name, scores := range map[string][]core.Score{
		"none": nil, "all skipped": {{Skipped: "no python3"}}, "all dropped": {{Dropped: true}}, "all endless": {{Value: math.Inf(1)}},
	} {
		a := m.Aggregate(scores)
		if a.N != 0 || a.Skip == "" || !math.IsNaN(a.Score) {
			t.Errorf("%s: %+v: a task without a judged item must say so and have no score", name, a)
		}
	}
	if a := m.Aggregate([]core.Score{{Skipped: "no python3"}}); a.Skip != "no python3" {
		t.Errorf("the reason %q was lost: %q", "no python3", a.Skip)
	}
}
