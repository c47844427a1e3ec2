package cli

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	jtext "github.com/jedib0t/go-pretty/v6/text"

	"github.com/evalrun/evalrun/core"
	"github.com/evalrun/evalrun/core/record"
	"github.com/evalrun/evalrun/results"
)

func scoreLine(task, model string, profile core.Profile, v float64) results.Score {
	score, base := record.Float(v), record.Float(0.5)
	return results.Score{Task: task, Model: model, Metric: "customer_support_accuracy", Profile: profile, Score: &score, Baseline: &base, Better: "higher",
		Interval: []record.Float{record.Float(v - 0.05), record.Float(v + 0.05)}, N: 100, Cut: 7, Truncated: 3, APIErrors: 2,
		Published: &results.Published{GPT4: 0.911, OtherPrompt: true}}
}

// However many models there are and however long their names: what is told is
// told within the width, and no number of a model is lost.
func TestTableFits(t *testing.T) {
	for models := 1; models <= 4; models++ {
		for _, name := range []string{"m%d", "openai:gpt-4-0613-of-the-year-%d"} {
			var s results.Scores
			for m := range models {
				for i, task := range []string{"hellaswag_processed", "boolq"} {
					model := fmt.Sprintf(name, m)
					v := 0.6 + float64(m)/10 + float64(i)/100
					s.Tasks = append(s.Tasks, scoreLine(task, model, core.Strict, v), scoreLine(task, model, core.Bakeoff, v-0.2))
				}
			}
			var b bytes.Buffer
			printTable(&b, s, plainWidth)
			text := b.String()
			head, _, _ := strings.Cut(text, "baseline:")
			for _, line := range strings.Split(head, "\n") {
				if w := jtext.StringWidth(line); w > plainWidth && !strings.Contains(line, ": ") {
					t.Errorf("%d models %s: %d columns: %s", models, name, w, line)
				}
				if strings.HasSuffix(line, " ") {
					t.Errorf("blanks at the end of %q", line)
				}
			}
			for _, l := range s.Tasks {
				if v := fmt.Sprintf("%.3f", float64(*l.Score)); !strings.Contains(text, v) {
					t.Errorf("%d models %s: %s %s of %s is missing\n%s", models, name, l.Profile, v, l.Model, text)
				}
				if !strings.Contains(text, l.Model) {
					t.Errorf("model %s is not named\n%s", l.Model, text)
				}
			}
			for _, want := range []string{"2 API errors", "7 % cut", "3 % prompts truncated", "0.911°", "0.500"} {
				if !strings.Contains(text, want) {
					t.Errorf("%d models %s: no %q\n%s", models, name, want, text)
				}
			}
		}
	}
}

// A warning names its model where the models differ.
// In a narrow table the lines of a task with several metrics still name them, and
// one that is better lower says so.
func TestNarrowTableNamesMetrics(t *testing.T) {
	var s results.Scores
	for m := range 4 {
		for _, metric := range []string{"acc", "acc_norm"} {
			l := scoreLine("boolq", fmt.Sprintf("openai:gpt-4-0613-of-the-year-%d", m), core.Strict, 0.7)
			l.Metric = metric
			s.Tasks = append(s.Tasks, l)
		}
		l := scoreLine("wiki", fmt.Sprintf("openai:gpt-4-0613-of-the-year-%d", m), core.Strict, 0.7)
		l.Metric, l.Better = "perplexity", "lower"
		s.Tasks = append(s.Tasks, l)
	}
	var b bytes.Buffer
	printTable(&b, s, plainWidth)
	for _, want := range []string{"\nboolq, acc ", "\nboolq, acc_norm ", "\nwiki, perplexity ↓ "} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in\n%s", want, b.String())
		}
	}
}

func TestWarningsByModel(t *testing.T) {
	a, b := scoreLine("t", "a", core.Strict, 0.5), scoreLine("t", "b", core.Strict, 0.5)
	if w := warnings([]results.Score{a, b}, []string{"a", "b"}, core.Strict); strings.Contains(strings.Join(w, ","), "a:") {
		t.Errorf("the same for both: %v", w)
	}
	b.APIErrors, b.Cut, b.Truncated = 0, 0, 0
	if w := strings.Join(warnings([]results.Score{a, b}, []string{"a", "b"}, core.Strict), ","); !strings.HasPrefix(w, "a: 2 API errors") || strings.Contains(w, "b:") {
		t.Errorf("only for a: %v", w)
	}
}

// Above the baseline means better: for a loss, below it.
func TestAboveBaseline(t *testing.T) {
	var s results.Scores
	for _, task := range []string{"x", "y"} {
		l := scoreLine(task, "m", core.Strict, 0.3)
		l.Better = "lower"
		s.Tasks = append(s.Tasks, l)
	}
	var b bytes.Buffer
	printTable(&b, s, plainWidth)
	if !strings.Contains(b.String(), "m: above the best constant answer on 2 of 2 tasks") {
		t.Error(b.String())
	}
}

// A task of one's own has no published score: no column of dashes, no legend.
// Tasks are counted by their first metric.
func TestOwnTask(t *testing.T) {
	first, second := scoreLine("own", "m", core.Strict, 0.9), scoreLine("own", "m", core.Strict, 0.1)
	first.Published, second.Published, second.Metric = nil, nil, "accuracy"
	other := scoreLine("other", "m", core.Strict, 0.2)
	other.Published = nil
	var b bytes.Buffer
	printTable(&b, results.Scores{Tasks: []results.Score{first, second, other}}, plainWidth)
	if text := b.String(); strings.Contains(text, "GPT-4") || strings.Contains(text, "arXiv") || !strings.Contains(text, "m: above the best constant answer on 1 of 2 tasks") {
		t.Error(text)
	}
}

// Tasks that an interrupted run did not reach are told in one line, and long
// remarks below the table leave its columns as they are.
func TestNotReached(t *testing.T) {
	var s results.Scores
	for i := range 9 {
		l := scoreLine(fmt.Sprintf("t%d", i), "m", core.Strict, 0.9)
		l.Skipped = ""
		if i > 1 {
			l.Score, l.Interval, l.N, l.Cut, l.Truncated, l.APIErrors, l.Unfinished = nil, nil, 0, 0, 0, 0, true
		}
		s.Tasks = append(s.Tasks, l)
	}
	s.Tasks[0].NonFinite, s.Tasks[0].ExtractionFailed = 3, 40
	var b bytes.Buffer
	printTable(&b, s, plainWidth)
	if text := b.String(); !strings.Contains(text, "\nnot reached: 7 of 9 tasks\n") || strings.Contains(text, "t3: ") || !strings.Contains(text, "0.900 [0.85, 0.95]") {
		t.Error(text)
	}
}

// Where a row has several answers and one verdict, the shares are of the answers.
func TestFlagsOfRepeats(t *testing.T) {
	l := scoreLine("a", "m", core.Strict, 0.5)
	l.N, l.Answers, l.Cut, l.Truncated, l.ExtractionFailed = 20, 100, 50, 0, 5
	got := strings.Join(flags([]results.Score{l}, core.Strict), ", ")
	if got != "2 API errors, 25 % no answer found, 50 % cut" {
		t.Error(got)
	}
}
