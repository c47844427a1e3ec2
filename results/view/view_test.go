package view

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/evalrun/evalrun/core"
	"github.com/evalrun/evalrun/core/record"
	"github.com/evalrun/evalrun/results"
)

func store(t *testing.T, recs ...record.Record) *results.Folder {
	t.Helper()
	f, err := results.Create(t.TempDir(), results.Manifest{Created: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)})
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

func rec(model, task string, index int, value float64, answer string) record.Record {
	return record.Record{V: record.Version, Task: task, Model: model, Sample: fmt.Sprint(index), Index: index, Prompt: fmt.Sprintf("question %d", index),
		Targets: []string{"right"}, Response: answer, Usage: core.Usage{Prompt: 10, Completion: 2}, Seconds: 0.5,
		Scores: []record.Score{{Metric: "accuracy", Profile: core.Strict, Value: record.Float(value), Extracted: answer}}}
}

func show(t *testing.T, f *results.Folder, o Options) (string, Count) {
	t.Helper()
	var b bytes.Buffer
	c, err := Show(context.Background(), &b, f, o)
	if err != nil {
		t.Fatal(err)
	}
	return b.String(), c
}

func TestShow(t *testing.T) {
	cut := rec("m", "t", 2, 0, "cut answ")
	cut.Finish, cut.Truncated, cut.Cached, cut.Attempts, cut.CostUSD = core.FinishLength, 7, true, 3, 0.00012
	extracted := "right"
	cut.Extracted = &extracted
	failed := rec("m", "u", 0, 0, "")
	failed.Scores, failed.Error = nil, &record.Error{Code: core.CodeRateLimit, Message: "slow down", Hint: "wait"}
	nothing := rec("m", "u", 1, 0.4, "long answer")
	nothing.ExtractFailed = true
	// Stored out of order, as answers come; sample 1 was an API error first.
	early := rec("m", "t", 1, 0, "")
	early.Scores, early.Error = nil, &record.Error{Code: core.CodeTimeout, Message: "late"}
	f := store(t, cut, early, rec("m", "t", 0, 1, "right"), failed, nothing, rec("m", "t", 1, 1, "right"))
	for _, c := range []struct {
		name             string
		o                Options
		matching, shown  int
		want, wantAbsent []string
	}{
		{"all", Options{}, 5, 5, []string{"── t, sample 0, m  (1 of 5)", "question 2", "cut answ", "target      right", "accuracy strict 1 (took \"right\")"}, []string{"late"}},
		{"n", Options{N: 2}, 5, 2, []string{"sample 0", "sample 1"}, []string{"sample 2"}},
		{"wrong", Options{Wrong: true}, 2, 2, []string{"cut at the token limit, 7 tokens of the prompt dropped, from the cache, 3 attempts", "$0.000120", "extracted   right", "(nothing found)"}, []string{"slow down"}},
		{"errors", Options{Errors: true}, 1, 1, []string{"rate_limit: slow down", "hint        wait"}, []string{"late", "answer"}},
		{"task", Options{Task: "u"}, 2, 2, []string{"── u"}, []string{"── t"}},
		{"sample", Options{Task: "t", Sample: "2"}, 1, 1, []string{"sample 2"}, []string{"sample 1"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			text, count := show(t, f, c.o)
			if count.Matching != c.matching || count.Shown != c.shown {
				t.Errorf("count %+v", count)
			}
			for _, w := range c.want {
				if !strings.Contains(text, w) {
					t.Errorf("%q is not in\n%s", w, text)
				}
			}
			for _, w := range c.wantAbsent {
				if strings.Contains(text, w) {
					t.Errorf("%q is in\n%s", w, text)
				}
			}
		})
	}
}

func TestWrongFollowsTheMetric(t *testing.T) {
	info := func(metric string, _ core.Profile) (core.MetricInfo, bool) {
		switch metric {
		case "loss":
			return core.MetricInfo{Low: 0, High: math.Inf(1)}, true
		case "grade":
			return core.MetricInfo{Low: 0, High: 5, HigherIsBetter: true}, true
		}
		return core.MetricInfo{}, false
	}
	o := Options{Info: info}
	for _, c := range []struct {
		metric string
		value  float64
		wrong  bool
	}{{"loss", 0, false}, {"loss", 0.3, true}, {"grade", 3, false}, {"grade", 2, true}, {"accuracy", 1, false}, {"accuracy", 0, true}, {"rouge", 0.7, false}, {"rouge", math.NaN(), true}} {
		r := rec("m", "t", 0, c.value, "x")
		r.Scores[0].Metric = c.metric
		if o.wrong(&r) != c.wrong {
			t.Errorf("%s %v: wrong is %v", c.metric, c.value, !c.wrong)
		}
	}
	skipped := rec("m", "t", 0, 0, "x")
	skipped.Scores[0].Skipped = "no python3"
	if o.wrong(&skipped) {
		t.Error("a sample that could not be judged is not wrong")
	}
}

func TestNothingToShow(t *testing.T) {
	f := store(t, rec("m", "t", 0, 1, "right"))
	for _, c := range []struct {
		o    Options
		want string
	}{{Options{Task: "x"}, `no samples of task "x"`}, {Options{Model: "x"}, `no samples of model "x"`}, {Options{Sample: "9"}, `no sample "9"`}} {
		_, err := Show(context.Background(), &bytes.Buffer{}, f, c.o)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("error %v, want %q", err, c.want)
		}
	}
	if _, err := Show(context.Background(), &bytes.Buffer{}, store(t), Options{}); err == nil || !strings.Contains(err.Error(), "no samples are stored yet") {
		t.Errorf("error %v", err)
	}
}

func TestDiff(t *testing.T) {
	a := store(t, rec("x", "t", 0, 1, "right"), rec("x", "t", 1, 0, "bad"), rec("x", "t", 2, 1, "same"), rec("x", "t", 3, 0.9, "good"), rec("x", "t", 4, 1, "only in a"))
	broken := rec("y", "t", 5, 0, "")
	broken.Scores, broken.Error = nil, &record.Error{Code: core.CodeTimeout, Message: "late"}
	b := store(t, rec("y", "t", 3, 0.2, "worse"), rec("y", "t", 2, 1, "same, in other words"), rec("y", "t", 1, 1, "right"), rec("y", "t", 0, 0, "wrong now"), broken)
	diff := func(o Options) (string, Count) {
		var buf bytes.Buffer
		c, err := Diff(context.Background(), &buf, Side{a, "x"}, Side{b, "y"}, o)
		if err != nil {
			t.Fatal(err)
		}
		return buf.String(), c
	}
	text, c := diff(Options{})
	if c.Samples != 4 || c.Matching != 3 || c.Shown != 3 {
		t.Errorf("count %+v", c)
	}
	if i, j, k := strings.Index(text, "sample 0"), strings.Index(text, "sample 3"), strings.Index(text, "sample 1"); !(0 <= i && i < j && j < k) {
		t.Errorf("not worst first (%d %d %d):\n%s", i, j, k, text)
	}
	if strings.Contains(text, "same") || strings.Count(text, "question 0") != 1 || !strings.Contains(text, "A: x") || !strings.Contains(text, "B: y") {
		t.Errorf("text\n%s", text)
	}
	if text, c := diff(Options{Wrong: true, N: 1}); c.Matching != 2 || c.Shown != 1 || !strings.Contains(text, "wrong now") {
		t.Errorf("count %+v\n%s", c, text)
	}
	text, _ = diff(Options{JSON: true, N: 1})
	var pair struct{ A, B record.Record }
	if err := json.Unmarshal([]byte(text), &pair); err != nil || pair.A.Response != "right" || pair.B.Response != "wrong now" {
		t.Errorf("%v %s", err, text)
	}
}

func TestDiffOfTwoModelsOfOneRun(t *testing.T) {
	f := store(t, rec("x", "t", 0, 1, "right"), rec("y", "t", 0, 0, "wrong"))
	var buf bytes.Buffer
	if c, err := Diff(context.Background(), &buf, Side{f, "x"}, Side{f, "y"}, Options{}); err != nil || c.Matching != 1 {
		t.Errorf("%+v %v", c, err)
	}
}

func TestMoreThanIsHeld(t *testing.T) {
	var recs []record.Record
	for i := range held + 10 {
		recs = append(recs, rec("m", "t", held+9-i, 1, "right"))
	}
	f := store(t, recs...)
	text, c := show(t, f, Options{JSON: true})
	if n := strings.Count(text, "\n"); c.Shown != held+10 || n != held+10 {
		t.Errorf("%+v, %d lines", c, n)
	}
}

func TestHostileAnswers(t *testing.T) {
	big := strings.Repeat("\x1b]0;owned\a", 1<<17)
	f := store(t, rec("m\x1b[2J", "t\x9b2J", 0, 0, "\x1b[31mred\r\x00\u0085\u202e"+big+"\xff"))
	file, err := os.OpenFile(f.Samples(), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	file.WriteString(`{"v":1,"task":"half`)
	file.Close()
	for _, full := range []bool{false, true} {
		text, _ := show(t, f, Options{Full: full})
		for _, r := range text {
			if unicode.IsControl(r) && r != '\n' && r != '\t' || r == 0x202e {
				t.Fatalf("full %v: %U reaches the terminal", full, r)
			}
		}
		if !strings.Contains(text, `\x1b[31mred\r\x00\u0085\u202e`) {
			t.Errorf("escapes: %.200q", text)
		}
		if !full && len(text) > 8000 {
			t.Errorf("%d bytes for a shortened sample", len(text))
		}
	}
}

func TestShorten(t *testing.T) {
	s := strings.Repeat("ä", 1000)
	got := shorten(s, 10, 5)
	if want := strings.Repeat("ä", 10) + " … (985 characters) … " + strings.Repeat("ä", 5); got != want {
		t.Errorf("got %q", got)
	}
	if got := shorten("short", 10, 5); got != "short" {
		t.Errorf("got %q", got)
	}
}

func FuzzEscape(f *testing.F) {
	f.Add("a\x1b[2J\xff\u202e\n\t")
	f.Fuzz(func(t *testing.T, s string) {
		out := Escape(s)
		if !utf8.ValidString(out) {
			t.Errorf("%q becomes %q", s, out)
		}
		for _, r := range out {
			if unicode.IsControl(r) && r != '\n' && r != '\t' {
				t.Errorf("%U of %q is left", r, s)
			}
		}
	})
}

func ExampleEscape() {
	fmt.Println(Escape("red: \x1b[31m, broken: \xff"))
	// Output: red: \x1b[31m, broken: \xff
}
