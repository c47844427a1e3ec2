package report

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/xml"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/html"

	"github.com/evalrun/evalrun/core"
	"github.com/evalrun/evalrun/core/record"
	"github.com/evalrun/evalrun/core/run"
	"github.com/evalrun/evalrun/results"
)

func f64(v float64) *record.Float { f := record.Float(v); return &f }

func score(task, model string, v float64, n int) results.Score {
	return results.Score{Task: task, Category: "Classic NLP", Model: model, Metric: "accuracy", Profile: core.Strict, Score: f64(v),
		Interval: []record.Float{record.Float(v - 0.1), record.Float(v + 0.1)}, Method: "wilson", Baseline: f64(0.5), Constant: "yes", N: n, Better: "higher",
		PromptTokens: 1000, CompletionTokens: 100, CostUSD: 0.25, Seconds: 3}
}

// folder makes a run with right and wrong answers for each line of the table.
func folder(t *testing.T, s results.Scores) *results.Folder {
	t.Helper()
	m := results.Manifest{Created: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Versions: results.Version{Evalrun: "dev", Go: "go1.26"},
		Machine: results.Machine{OS: "linux", Arch: "amd64", Cores: 2}, Rows: map[string]results.Rows{}, Models: map[string]results.Model{}}
	m.Config = results.Config{Data: "embedded", Fewshot: -1, Limit: "random:50", Seed: 7}
	for _, l := range s.Models() {
		m.Config.Models = append(m.Config.Models, results.ModelConfig{Label: l, Backend: "local", Model: "models/" + l})
		m.Models[l] = results.Model{Backend: "local", Model: "models/" + l, Hash: "beef", Device: "cpu", Notes: []string{"a note"}}
	}
	seen := map[string]bool{}
	for _, l := range s.Tasks {
		if !seen[l.Task] {
			seen[l.Task] = true
			m.Config.Tasks = append(m.Config.Tasks, results.TaskConfig{Name: l.Task, Path: "embedded:" + l.Task + ".yaml", SpecSHA256: strings.Repeat("ab", 32)})
			m.Rows[l.Task] = results.Rows{Source: "embedded:" + l.Task + ".jsonl", N: l.N}
		}
	}
	f, err := results.Create(t.TempDir(), m)
	if err != nil {
		t.Fatal(err)
	}
	w, err := f.Writer()
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range s.Tasks {
		if l.Score == nil {
			continue
		}
		for i := range l.N {
			v := 0.0
			if float64(i) < float64(*l.Score)*float64(l.N) {
				v = 1
			}
			rec := record.Record{V: 1, Task: l.Task, Model: l.Model, Sample: fmt.Sprint(i), Index: i, Prompt: fmt.Sprint("p", i), Targets: []string{"yes"}, Response: "no",
				Scores: []record.Score{{Metric: l.Metric, Profile: l.Profile, Value: record.Float(v)}}}
			if err := w.Append(&rec); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	s.Run = f.Path
	if err := f.SaveScores(s); err != nil {
		t.Fatal(err)
	}
	return f
}

func render(t *testing.T, format string, f *results.Folder, s results.Scores) string {
	t.Helper()
	b, err := New(context.Background(), []Run{{f, s}}, Options{}).Render(format)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func twoModels() results.Scores {
	s := results.Scores{Outcome: "finished", Seconds: 12.5, CostUSD: 1}
	for _, m := range []string{"base", "tuned"} {
		for i, task := range []string{"boolq", "glue_sst2"} {
			l := score(task, m, 0.4, 100)
			if m == "tuned" {
				l = score(task, m, 0.9, 100)
			}
			l.Published = &results.Published{Metric: "accuracy", GPT4: 0.85, BestBase: 0.6, BestFinetuned: 0.91, OtherPrompt: true}
			if i == 1 {
				l.Category = "GLUE"
			}
			s.Tasks = append(s.Tasks, l)
		}
	}
	return s
}

func TestFirstScreen(t *testing.T) {
	s := twoModels()
	f := folder(t, s)
	if err := Write(f, s); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(filepath.Join(f.Path, MarkdownFile))
	if err != nil {
		t.Fatal(err)
	}
	lead, _, _ := strings.Cut(string(b), "## Models")
	for _, want := range []string{"base and tuned on 2 tasks", "400 scored answers", "embedded", "tuned 0.900", "base 0.400", "best on 2",
		"tuned is better than base on 2 and worse on 0 beyond chance", "Mean difference +0.500 [+0.430, +0.570]", "published scores", "not measured here", "Cost: $1.000, in 12 s"} {
		if !strings.Contains(lead, want) {
			t.Errorf("%q is not on the first screen:\n%s", want, lead)
		}
	}
	for _, want := range []string{"| boolq | accuracy | 100 | 0.400 [0.30, 0.50] | 0.900 [0.80, 1.00] | 0.500 | 0.850° | 0.910° |", "| all tasks | 2 | 0.400 | 0.900 | 0.500 | 0.850 | 0.910 |",
		"+0.500 [", "evalrun boolq glue_sst2 --backend local --model models/base --against local:models/tuned --data embedded --limit random:50 --seed 7", "abababababab", "linux/amd64, 2 cores"} {
		if !strings.Contains(string(b), want) {
			t.Errorf("%q is not in the report:\n%s", want, b)
		}
	}
	for _, name := range []string{HTMLFile, JUnitFile} {
		if info, err := os.Stat(filepath.Join(f.Path, name)); err != nil || info.Size() == 0 {
			t.Errorf("%s: %v", name, err)
		}
	}
	left, _ := filepath.Glob(filepath.Join(f.Path, ".report*"))
	if len(left) > 0 {
		t.Errorf("temporary files left: %v", left)
	}
}

func TestOneModel(t *testing.T) {
	s := results.Scores{Tasks: []results.Score{score("boolq", "m", 0.7, 5)}, Demonstration: true, Outcome: "interrupted"}
	s.Tasks[0].Unfinished, s.Tasks[0].APIErrors, s.Tasks[0].Cut, s.Tasks[0].ExtractionFailed = true, 2, 1, 1
	text := render(t, "md", folder(t, s), s)
	for _, want := range []string{"the task boolq", "demonstration", "was interrupted", "It scores 0.700", "too few rows (5)", "2 API errors", "20 % answers cut", "20 % no answer found", "unfinished", "fewer than 10 rows"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not in\n%s", want, text)
		}
	}
}

const hostile = "<script>alert(1)</script>|`x` **b** \"q\" 'q' \x00\x1b[2J\xff\u202e]]> &amp; {{.Run}} [l](javascript:x)\n| new row |"

func hostileScores() results.Scores {
	l := score("t"+hostile, "m"+hostile, 0.5, 12)
	l.Category, l.Metric, l.Constant, l.Method = hostile, hostile, hostile, hostile
	skipped := results.Score{Task: "other", Model: "m" + hostile, Metric: "humaneval", Profile: core.Strict, Skipped: "no python3 " + hostile, Better: "higher"}
	nan := results.Score{Task: "third", Model: "n", Metric: "x", Profile: core.Bakeoff, Score: f64(math.NaN()), Interval: []record.Float{record.Float(math.NaN()), record.Float(math.Inf(1))}, Better: "lower", NonFinite: 3}
	return results.Scores{Tasks: []results.Score{l, skipped, nan}}
}

// The mean over one task is the task: its interval is, too. Answers that the
// service withheld stand beside the score.
func TestOneTask(t *testing.T) {
	s := results.Scores{Tasks: []results.Score{score("boolq", "tuned", 0.97, 32)}}
	s.Tasks[0].Interval = []record.Float{0.84, 0.995}
	s.Tasks[0].Withheld = 8
	s.Tasks[0].NotJudged, s.Tasks[0].Warnings = 32, []run.Warning{{Text: "not judged: no verdict", Samples: 32}}
	f := folder(t, s)
	got := render(t, "md", f, s)
	for _, want := range []string{"0.970 [0.84, 0.99]", "0.970 [0.840, 0.995]", "12 % withheld by the service", "50 % not judged: no verdict", "| empty | withheld |"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
	if csv := render(t, "csv", f, s); !strings.Contains(csv, ",withheld,answers\n") || !strings.Contains(csv, ",8,64\n") {
		t.Errorf("csv:\n%s", csv)
	}
}

// Where a row has several answers and one verdict, shares of answers are of all of
// them, and shares of verdicts of the rows.
func TestSharesOfAnswers(t *testing.T) {
	s := results.Scores{Tasks: []results.Score{score("boolq", "tuned", 0.5, 12)}}
	l := &s.Tasks[0]
	l.Answers, l.Cut, l.ExtractionFailed, l.Seconds = 60, 30, 6, 12
	f := folder(t, s)
	for kind, all := range map[string][]string{
		"md":   {"50 % answers cut", "50 % no answer found", "| 12 | 0 | 6 (50 %) | 0 | 30 (50 %) |", "200 ms"},
		"html": {"6 (50 %)", "30 (50 %)"},
		"csv":  {",60\n"},
	} {
		got := render(t, kind, f, s)
		for _, want := range all {
			if !strings.Contains(got, want) {
				t.Errorf("%s: no %q in\n%s", kind, want, got)
			}
		}
	}
}

func TestHostileTexts(t *testing.T) {
	s := hostileScores()
	f := folder(t, s)
	f.Manifest.Tag = hostile
	f.Manifest.Config.Set = []string{hostile, "```"}
	for _, format := range Formats() {
		t.Run(format, func(t *testing.T) {
			text := render(t, format, f, s)
			if format == "csv" || format == "json" {
				return
			}
			text, _, _ = strings.Cut(text, "```sh") // there all text is code
			if strings.Contains(text, "<script") || strings.ContainsAny(text, "\x00\x1b") {
				at := max(0, strings.IndexAny(text, "\x00\x1b")-40, strings.Index(text, "<script")-40)
				t.Errorf("markup or control characters got through at %.120q", text[at:])
			}
		})
	}
}

func TestMarkdownStaysATable(t *testing.T) {
	s := hostileScores()
	f := folder(t, s)
	text := render(t, "md", f, s)
	columns := 0
	for _, line := range strings.Split(text, "\n") {
		if !strings.HasPrefix(line, "|") {
			columns = 0
			continue
		}
		n := strings.Count(strings.ReplaceAll(line, `\|`, ""), "|")
		if columns != 0 && n != columns {
			t.Errorf("a row of %d bars in a table of %d: %s", n, columns, line)
		}
		columns = n
	}
}

func TestHTMLIsWholeAndAlone(t *testing.T) {
	s := hostileScores()
	alone(t, render(t, "html", folder(t, s), s))
}

// alone fails for a page that needs anything beside itself, holds a script or
// leaves elements open.
func alone(t *testing.T, text string) {
	t.Helper()
	text = strings.ReplaceAll(text, ` href="#`, ` data-here="#`)
	if regexp.MustCompile(`(?i)(src|href)\s*=|@import|url\(`).MatchString(text) {
		t.Error("the page refers to something outside itself")
	}
	depth := 0
	void := map[string]bool{"meta": true, "br": true}
	z := html.NewTokenizer(strings.NewReader(text))
	for {
		switch z.Next() {
		case html.ErrorToken:
			if z.Err() != io.EOF {
				t.Fatal(z.Err())
			}
			if depth != 0 {
				t.Errorf("%d elements are not closed", depth)
			}
			return
		case html.StartTagToken:
			name, _ := z.TagName()
			if string(name) == "script" {
				t.Fatal("a script element")
			}
			if !void[string(name)] {
				depth++
			}
		case html.EndTagToken:
			depth--
		}
	}
}

func TestThresholdIsShown(t *testing.T) {
	s := results.Scores{Tasks: []results.Score{score("boolq", "m", 0.7, 50)}}
	least := 0.625
	s.Tasks[0].Threshold = &least
	if text := render(t, "html", folder(t, s), s); !strings.Contains(text, "threshold 0.625") {
		t.Error("the page does not say the threshold")
	}
}

// A run in the published evaluator's profile has its scores for numbers; what
// the task's own metric says stands beside them.
func TestTheRunsOwnProfileComesFirst(t *testing.T) {
	own, other := score("boolq", "m", 0.6, 100), score("boolq", "m", 0.7, 100)
	own.Profile = core.Bakeoff
	s := results.Scores{Outcome: "finished", Profile: core.Bakeoff, Tasks: []results.Score{own, other}}
	f := folder(t, s)
	f.Manifest.Config.Profiles = []string{"bakeoff", "strict"}
	for format, wants := range map[string][]string{
		"md":   {"0.600 [0.50, 0.70] (strict 0.700)", "strict: the score that the task asks for", "--profile bakeoff"},
		"html": {"0.600 [0.50, 0.70]<div class=\"small\">strict 0.700</div>"},
	} {
		got := render(t, format, f, s)
		for _, want := range wants {
			if !strings.Contains(got, want) {
				t.Errorf("%s: no %q in\n%s", format, want, got)
			}
		}
	}
}

func TestBarsStayInTheirPlace(t *testing.T) {
	for _, v := range []float64{-1, 0, 0.5, 1, 7, math.NaN(), math.Inf(1)} {
		row := taskRow{Scale: 1, Baseline: value{v, true}, GPT4: value{v, true}}
		b := barOf(row, cell{Score: value{v, true}, Low: value{v, true}, High: value{v, true}})
		for _, x := range []float64{b.Score, b.Low, b.High, b.Baseline, b.GPT4, b.Width()} {
			if !(x >= 0 && x <= 100) {
				t.Errorf("%v is drawn at %v", v, x)
			}
		}
	}
}

func TestJUnit(t *testing.T) {
	at := func(v float64) *float64 { return &v }
	low := score("low", "m", 0.4, 100)
	low.Threshold = at(0.6)
	fine := score("fine", "m", 0.6, 100)
	fine.Threshold = at(0.6)
	loss := score("loss", "m", 3, 100)
	loss.Better, loss.Threshold = "lower", at(2)
	broken := score("broken", "m", 0.9, 90)
	broken.APIErrors, broken.Threshold = 10, at(0.99)
	skipped := results.Score{Task: "skipped", Model: "m", Metric: "humaneval", Profile: core.Strict, Skipped: "no python3"}
	nothing := results.Score{Task: "nothing", Model: "m", Metric: "accuracy", Profile: core.Strict}
	gated := score("gated", "m", 0.7, 100) // --min-score goes before the threshold
	gated.Threshold, gated.MinScore = at(0.6), at(0.75)
	spared := score("spared", "m", 0.5, 100)
	spared.Threshold, spared.MinScore = at(0.6), at(0.5)
	other := score("fine", "n"+hostile, 1, 100)
	s := results.Scores{Tasks: []results.Score{low, fine, loss, broken, skipped, nothing, gated, spared, other}}
	b, err := junitXML(results.Manifest{ID: "x"}, s)
	if err != nil {
		t.Fatal(err)
	}
	var got junitSuites
	if err := xml.Unmarshal(b, &got); err != nil {
		t.Fatalf("not well formed: %v\n%s", err, b)
	}
	if len(got.Suites) != 2 || got.Tests != 9 || got.Failures != 3 || got.Errors != 2 || got.Skipped != 1 {
		t.Errorf("got %+v", got)
	}
	for i, want := range []string{"failure", "", "failure", "error", "skipped", "error", "failure", ""} {
		c := got.Suites[0].Cases[i]
		is := ""
		switch {
		case c.Error != nil:
			is = "error"
		case c.Failure != nil:
			is = "failure"
		case c.Skipped != nil:
			is = "skipped"
		}
		if is != want {
			t.Errorf("%s: %q, want %q", c.Name, is, want)
		}
	}
	if !strings.Contains(got.Suites[0].Cases[0].Failure.Message, "below the threshold 0.6") {
		t.Errorf("message %q", got.Suites[0].Cases[0].Failure.Message)
	}
	if f := got.Suites[0].Cases[6].Failure; f.Type != "min-score" || !strings.Contains(f.Message, "0.7000 is below --min-score 0.75") {
		t.Errorf("failure %+v", f)
	}
}

func TestCSV(t *testing.T) {
	s := twoModels()
	s.Tasks[0].Threshold = new(float64)
	*s.Tasks[0].Threshold = 0.75
	s.Tasks[0].Constant = "a, \"b\"\nc"
	rows, err := csv.NewReader(bytes.NewReader([]byte(render(t, "csv", folder(t, s), s)))).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	if len(rows) != 5 {
		t.Fatalf("%d rows", len(rows))
	}
	col := map[string]string{}
	for i, name := range rows[0] {
		col[name] = rows[1][i]
	}
	for name, want := range map[string]string{"task": "boolq", "score": "0.4", "threshold": "0.75", "baseline_answer": "a, \"b\"\nc", "published_gpt_4": "0.85", "published_other_prompt": "true", "n": "100", "seconds": "3"} {
		if col[name] != want {
			t.Errorf("%s: %q, want %q", name, col[name], want)
		}
	}
}

func TestUnknownFormat(t *testing.T) {
	s := twoModels()
	if _, err := New(context.Background(), []Run{{folder(t, s), s}}, Options{}).Render("pdf"); err == nil || !strings.Contains(err.Error(), "unknown format") {
		t.Errorf("error %v", err)
	}
}

func FuzzMarkdownCell(f *testing.F) {
	f.Add(hostile)
	f.Add("a|b\\|c")
	f.Fuzz(func(t *testing.T, s string) {
		out := md(s)
		if strings.ContainsAny(out, "\n\r<>") {
			t.Errorf("%q becomes %q", s, out)
		}
		for i := range len(out) {
			if out[i] == '|' && (i == 0 || out[i-1] != '\\') {
				t.Errorf("a bar of %q is not escaped in %q", s, out)
			}
		}
	})
}
