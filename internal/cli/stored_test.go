package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"github.com/evalrun/evalrun/core"
	"github.com/evalrun/evalrun/core/record"
	"github.com/evalrun/evalrun/results"
)

// workIn makes a folder with a task of its own the working folder.
func workIn(t *testing.T) {
	t.Helper()
	t.Chdir(t.TempDir())
	t.Setenv("EVALRUN_CACHE", t.TempDir())
	write(t, "capitals.yaml", "task: capitals\ndataset: capitals.jsonl\nprompt: 'The capital of {country} is'\ntarget: capital\nmetrics: [exact_match]\n")
	write(t, "capitals.jsonl", `{"country":"France","capital":"Paris"}`+"\n"+`{"country":"Italy","capital":"Rome"}`+"\n"+`{"country":"Peru","capital":"Lima"}`+"\n")
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// verb runs a command and gives what it printed.
func verb(t *testing.T, cmd *cobra.Command, args ...string) (string, error) {
	t.Helper()
	var out bytes.Buffer
	cmd.SetOut(&out)
	cmd.SetErr(&out)
	cmd.SilenceErrors, cmd.SilenceUsage = true, true
	cmd.SetArgs(args)
	err := cmd.ExecuteContext(context.Background())
	return out.String(), err
}

func must(t *testing.T, cmd *cobra.Command, args ...string) string {
	t.Helper()
	out, err := verb(t, cmd, args...)
	if err != nil {
		t.Fatalf("%s %v: %v", cmd.Name(), args, err)
	}
	return out
}

func wants(t *testing.T, text string, wanted ...string) {
	t.Helper()
	for _, w := range wanted {
		if !strings.Contains(text, w) {
			t.Errorf("%q is not in\n%s", w, text)
		}
	}
}

func refuses(t *testing.T, want string, cmd *cobra.Command, args ...string) {
	t.Helper()
	_, err := verb(t, cmd, args...)
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("%s %v: error %v, want %q", cmd.Name(), args, err, want)
		return
	}
	if hintOf(err) == "" {
		t.Errorf("%s %v: %v says nothing of what to do", cmd.Name(), args, err)
	}
}

func TestStoredRuns(t *testing.T) {
	workIn(t)
	refuses(t, "no run of that name", newReport())
	must(t, newEval(), "capitals.yaml", "--backend", "echo", "--opt", "mode=constant:Paris", "--against", "echo", "--quiet")
	must(t, newEval(), "capitals.yaml", "--backend", "echo", "--opt", "mode=constant:Rome", "--quiet")
	runs, err := results.List("runs")
	if err != nil || len(runs) != 2 {
		t.Fatalf("%d runs, %v", len(runs), err)
	}
	rome, two := runs[0].Manifest.ID, runs[1].Manifest.ID
	if len(runs[0].Manifest.Config.Models) == 2 { // started within one second
		rome, two = two, rome
	}
	for _, name := range []string{"report.md", "report.html", "junit.xml"} {
		if _, err := os.Stat(filepath.Join("runs", two, name)); err != nil {
			t.Errorf("the evaluation left no %s: %v", name, err)
		}
	}

	t.Run("report", func(t *testing.T) {
		wants(t, must(t, newReport()), "capitals", "report.html")
		wants(t, must(t, newReport(), two, "--format", "md"), "echo and echo#2 on the task capitals", "Row by row", "too few rows (3)")
		must(t, newReport(), "--to", "r.xml")
		b, _ := os.ReadFile("r.xml")
		if err := xml.Unmarshal(b, new(struct {
			XMLName xml.Name `xml:"testsuites"`
		})); err != nil {
			t.Errorf("%v in %s", err, b)
		}
		var scores results.Scores
		if err := json.Unmarshal([]byte(must(t, newReport(), "--json")), &scores); err != nil || len(scores.Tasks) != 2 {
			t.Errorf("%v %+v", err, scores)
		}
		refuses(t, "the ending tells no form", newReport(), "--to", "r.txt")
		refuses(t, "as everywhere", newReport(), "--out", "r.html")
		refuses(t, "unknown format", newReport(), "--format", "pdf")
	})
	t.Run("compare", func(t *testing.T) {
		wants(t, must(t, newCompare(), two), "A  echo ", "B  echo#2 ", "exact_match")
		wants(t, must(t, newCompare(), two+"@echo", rome), "1/1", "same")
		var all struct {
			Comparisons []struct {
				Tasks []struct{ Difference float64 }
			}
		}
		if err := json.Unmarshal([]byte(must(t, newCompare(), two, rome, "--json")), &all); err != nil || len(all.Comparisons) != 1 {
			t.Errorf("%v %+v", err, all)
		}
		refuses(t, `no model "eco"`, newCompare(), two+"@eco", rome)
	})
	t.Run("view", func(t *testing.T) {
		out := must(t, newView(), two+"@echo", "--wrong")
		wants(t, out, "The capital of Italy is", "answer      Paris", "target      Rome")
		if strings.Contains(out, "France") {
			t.Errorf("a right answer is shown as wrong:\n%s", out)
		}
		out = must(t, newView(), two+"@echo", rome)
		wants(t, out, "France", "Italy", "A: echo", "B: echo")
		if strings.Contains(out, "Peru") {
			t.Errorf("a sample that does not differ is shown:\n%s", out)
		}
		refuses(t, "no samples of task", newView(), "--task", "x")
		refuses(t, "the run has several models", newView(), two, rome)
		refuses(t, "must be 0 or more", newView(), "--n", "-1")
	})
	t.Run("rescore", func(t *testing.T) {
		before, err := os.ReadFile(filepath.Join("runs", rome, results.SamplesFile))
		if err != nil {
			t.Fatal(err)
		}
		wants(t, must(t, newRescore(), rome), "3 answers of run "+rome+" scored again, 0 of them otherwise")
		old, _ := os.ReadFile("capitals.yaml")
		defer write(t, "capitals.yaml", string(old))
		write(t, "capitals.yaml", string(old)+"extract:\n  - map: {Rome: Lima, Lima: Rome, Paris: Paris}\n")
		out := must(t, newRescore(), rome)
		wants(t, out, "3 answers of run "+rome+" scored again, 2 of them otherwise")
		latest, err := results.Open("runs", "latest")
		if err != nil {
			t.Fatal(err)
		}
		if latest.Manifest.Tag != "rescore of "+rome || latest.Manifest.Finished == nil || latest.Manifest.ConfigHash == runs[0].Manifest.ConfigHash {
			t.Errorf("manifest %+v", latest.Manifest)
		}
		if after, _ := os.ReadFile(filepath.Join("runs", rome, results.SamplesFile)); !bytes.Equal(before, after) {
			t.Error("the origin's samples were changed")
		}
		// --out takes the new run, wherever its origin is.
		must(t, newRescore(), filepath.Join("runs", rome), "--out", "elsewhere")
		if there, err := results.List("elsewhere"); err != nil || len(there) != 1 || there[0].Manifest.Tag != "rescore of "+rome {
			t.Errorf("elsewhere: %v, %v", there, err)
		}
		if now, err := results.Open("runs", "latest"); err != nil || now.Manifest.ID != latest.Manifest.ID {
			t.Errorf("runs/latest is %+v, %v", now, err)
		}
		must(t, newRescore(), "elsewhere/latest")
		if there, err := results.List("elsewhere"); err != nil || len(there) != 2 {
			t.Errorf("beside its origin: %v, %v", there, err)
		}
		write(t, "other.yaml", "task: other\ndataset: x.jsonl\nprompt: '{x}'\ntarget: x\nmetrics: [exact_match]\n")
		refuses(t, `the run has no task "other"`, newRescore(), rome, "other.yaml")
	})
}

// One metric with two settings: each is stored, compared and scored again under
// its own name, and knows of its range what the metric knows.
func TestOneMetricTwice(t *testing.T) {
	workIn(t)
	task, _ := os.ReadFile("capitals.yaml")
	spec := func(metrics string) {
		write(t, "capitals.yaml", strings.Replace(string(task), "[exact_match]", metrics, 1))
	}
	run := func() map[string]float64 {
		var s results.Scores
		if err := json.Unmarshal([]byte(must(t, newEval(), "capitals.yaml", "--backend", "echo", "--opt", "mode=constant:Paris in France", "--json", "--quiet")), &s); err != nil {
			t.Fatal(err)
		}
		out := map[string]float64{}
		for _, l := range s.Tasks {
			if l.Profile == "strict" {
				out[l.Metric] = float64(*l.Score)
			}
		}
		return out
	}
	spec("[chrf]")
	chars := run()["chrf"]
	spec("[{name: chrf, word_order: 2}]")
	words := run()["chrf"]
	spec("[chrf, {name: chrf, as: words, word_order: 2}]")
	if both := run(); chars == words || len(both) != 2 || both["chrf"] != chars || both["chrf:words"] != words {
		t.Errorf("%v, want %g and %g", both, chars, words)
	}
	wants(t, must(t, newRescore()), "chrf:words", "0 of them otherwise")
	wants(t, must(t, newCompare(), "latest", "latest", "--json"), `"metric":"chrf:words"`, `"metric":"chrf"`)

	for metrics, want := range map[string]string{
		"[chrf, {name: chrf, word_order: 2}]": `two metrics are called "chrf": as: WORD beside name:`,
		"[chrf, {name: chrf, as: 'a b'}]":     `metrics.1.as "a b" cannot stand behind a metric's name`,
	} {
		spec(metrics)
		if _, err := verb(t, newEval(), "capitals.yaml", "--backend", "echo", "--quiet"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", metrics, err)
		}
	}
}

func TestResume(t *testing.T) {
	workIn(t)
	must(t, newEval(), "capitals.yaml", "--backend", "echo", "--opt", "mode=constant:Paris", "--quiet")
	whole, err := results.Open("runs", "latest")
	if err != nil {
		t.Fatal(err)
	}
	refuses(t, "the run is finished", newResume())
	refuses(t, "one run with one model, and no earlier run", newCompare())

	// As a killed run leaves it: one answer, half a line, no table.
	m := whole.Manifest
	m.Finished, m.Created = nil, time.Now().Add(-time.Hour)
	half, err := results.Create("runs", m)
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(whole.Samples())
	if err != nil {
		t.Fatal(err)
	}
	first := bytes.IndexByte(b, '\n') + 1
	write(t, half.Samples(), string(b[:first+20]))
	id := half.Manifest.ID
	wants(t, must(t, newCompare(), whole.Manifest.ID), "A  echo  (run "+id, "only in B  capitals: 2 samples")
	wants(t, must(t, newReport(), id, "--format", "md"), "was interrupted", "unfinished", "evalrun resume "+id)

	task, _ := os.ReadFile("capitals.yaml")
	write(t, "capitals.yaml", strings.Replace(string(task), "is'", "is:'", 1))
	refuses(t, "task files have changed", newResume(), id)
	write(t, "capitals.yaml", string(task))

	wants(t, must(t, newResume(), id), "capitals", "0.333")
	done, err := results.Open("runs", id)
	if err != nil || done.Manifest.Finished == nil {
		t.Fatalf("%v: the resumed run is not finished", err)
	}
	seen := map[record.Key]int{}
	if err := done.Stored(func(r *record.Record) bool { seen[r.Key()]++; return true }); err != nil {
		t.Fatal(err)
	}
	for k, n := range seen {
		if n != 1 {
			t.Errorf("%v is stored %d times", k, n)
		}
	}
	if len(seen) != 3 {
		t.Errorf("%d samples", len(seen))
	}
}

func TestStoredModel(t *testing.T) {
	f := &evalFlags{backend: "local", model: "models/base", adapters: []string{"a/one", "b/two=zwei"}}
	models, err := f.mainModels()
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range models {
		got := storedModel(want.config(), "")
		if got.Label != want.Label || got.Adapter != want.Adapter || len(got.Config.Adapters) != 1 || got.Config.Adapters[0].Name != want.Adapter || got.Config.Model != want.Config.Model {
			t.Errorf("got %+v, want %+v", got, want)
		}
	}
	demo := modelSpec{Label: "local:demo", Backend: "local", Demo: true}
	if got := storedModel(demo.config(), ""); !got.Demo || got.Label != demo.Label {
		t.Errorf("got %+v", got)
	}
}

// A folder of adapters stands for each of them; the others in it do not count.
func TestFolderOfAdapters(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"b", "a", "notes"} {
		if err := os.MkdirAll(filepath.Join(dir, name), 0o777); err != nil {
			t.Fatal(err)
		}
		if name == "notes" {
			continue
		}
		if err := os.WriteFile(filepath.Join(dir, name, "adapter_config.json"), []byte("{}"), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	f := &evalFlags{backend: "local", model: "base", adapters: []string{dir, filepath.Join(dir, "a") + "=again"}}
	models, err := f.mainModels()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, m := range models {
		names = append(names, m.Adapter)
	}
	if !slices.Equal(names, []string{"a", "b", "again"}) || models[1].Config.Adapters[1].Path != filepath.Join(dir, "b") {
		t.Errorf("%v, %+v", names, models[1].Config.Adapters)
	}
	f.adapters = []string{dir + "=all"}
	if _, err := f.mainModels(); err == nil || !strings.Contains(err.Error(), "2 adapters, which have their own names") {
		t.Error(err)
	}
}

func TestRescoreNeedsWhatWasStored(t *testing.T) {
	workIn(t)
	must(t, newEval(), "capitals.yaml", "--backend", "echo", "--quiet")
	task, _ := os.ReadFile("capitals.yaml")
	write(t, "capitals.yaml", strings.Replace(string(task), "[exact_match]", "[acc]", 1)+"labels: [Paris, Rome, Lima]\n")
	_, err := verb(t, newRescore())
	var user *core.UserError
	if !errors.As(err, &user) || !strings.Contains(err.Error(), "needs log-likelihoods") {
		t.Errorf("error %v", err)
	}
	if runs, _ := results.List("runs"); len(runs) != 1 {
		t.Errorf("%d runs: half a rescored run was left", len(runs))
	}
}

// 100,000 answers; the bar is 3 s on two processors. cpu-s is what it takes of
// them, which a busy machine does not change.
func BenchmarkRescore(b *testing.B) {
	words := strings.Repeat("I think that the answer is one of the fifty words here, ", 5)
	for _, c := range []struct{ name, spec, answer, target string }{
		{"accuracy", "labels: [a, b]\nextract:\n  - regex: '(?i)answer: (\\w+)'\nmetrics: [accuracy]\n", "I think that the answer: a", "a"},
		{"rouge", "metrics: [rouge]\n", words + "%d", words[20:] + "%d"},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.Chdir(b.TempDir())
			if err := os.WriteFile("t.yaml", []byte("task: t\ndataset: t.jsonl\nprompt: '{x}'\ntarget: x\n"+c.spec), 0o644); err != nil {
				b.Fatal(err)
			}
			m := results.Manifest{Created: time.Now(), Config: results.Config{Tasks: []results.TaskConfig{{Name: "t", Path: "t.yaml"}}, Models: []results.ModelConfig{{Label: "m", Backend: "echo"}}, Fewshot: -1, Repeat: 1}}
			f, err := results.Create("runs", m)
			if err != nil {
				b.Fatal(err)
			}
			w, err := f.Writer()
			if err != nil {
				b.Fatal(err)
			}
			prompt := strings.Repeat("a prompt of four hundred bytes. ", 12)
			for i := range 100_000 {
				rec := record.Record{V: 1, Task: "t", Model: "m", Sample: fmt.Sprint(i), Index: i, Prompt: prompt,
					Targets: []string{strings.ReplaceAll(c.target, "%d", fmt.Sprint(i))}, Response: strings.ReplaceAll(c.answer, "%d", fmt.Sprint(i%100)),
					Scores: []record.Score{{Metric: c.name, Profile: core.Strict}, {Metric: c.name, Profile: core.Bakeoff}}}
				if err := w.Append(&rec); err != nil {
					b.Fatal(err)
				}
			}
			if err := w.Close(); err != nil {
				b.Fatal(err)
			}
			began := cpuSeconds()
			for b.Loop() {
				var out bytes.Buffer
				if err := runRescore(context.Background(), &out, "runs", "", f.Manifest.ID, nil, true, false); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric((cpuSeconds()-began)/float64(b.N), "cpu-s/op")
		})
	}
}

// cpuSeconds is the processor time of this process.
func cpuSeconds() float64 {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return float64(u.Utime.Nano()+u.Stime.Nano()) / 1e9
}
