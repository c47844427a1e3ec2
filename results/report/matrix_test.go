package report

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/evalrun/evalrun/core"
	"github.com/evalrun/evalrun/core/record"
	"github.com/evalrun/evalrun/core/stats"
	"github.com/evalrun/evalrun/results"
	"github.com/evalrun/evalrun/results/reference"
)

// matrix writes runs that look like the LoRA Land study: a run a base model with
// the base and its adapter on every task, rows that score as the published
// tables say, and a run of GPT-4.
func matrix(t testing.TB, models, tasks, rows int) []Run {
	t.Helper()
	root := t.TempDir()
	list := reference.Tasks()[:tasks]
	var runs []Run
	for i, name := range append(reference.Models()[:models], reference.GPT4) {
		m := results.Manifest{Format: results.ManifestFormat, ID: fmt.Sprintf("20260102-0304%02d-abcdef", i), Created: time.Date(2026, 1, 2, 3, 4, i, 0, time.UTC), Rows: map[string]results.Rows{}, Models: map[string]results.Model{}}
		m.Finished = &m.Created
		m.Config = results.Config{Data: "hub", Fewshot: -1}
		columns := []results.ModelConfig{{Label: "local:" + name, Backend: "local", Model: "models/" + name}}
		if name == reference.GPT4 {
			columns = []results.ModelConfig{{Label: "openai:gpt-4", Backend: "openai", Model: "gpt-4"}}
		} else {
			columns = append(columns, results.ModelConfig{Label: "local:" + name + "+lora", Backend: "local", Model: "models/" + name, Adapter: "adapters/lora"})
		}
		m.Config.Models = columns
		f := &results.Folder{Path: filepath.Join(root, m.ID), Manifest: m}
		if err := os.MkdirAll(f.Path, 0o755); err != nil {
			t.Fatal(err)
		}
		s := results.Scores{Outcome: "finished", Seconds: 60}
		samples, err := os.Create(f.Samples())
		if err != nil {
			t.Fatal(err)
		}
		w := bufio.NewWriterSize(samples, 1<<20)
		for _, task := range list {
			m.Config.Tasks = append(m.Config.Tasks, results.TaskConfig{Name: task.Task, Path: "embedded:" + task.Task + ".yaml"})
			m.Rows[task.Task] = results.Rows{Source: "hub:" + task.Task, N: rows}
			for k, c := range columns {
				share := task.Base[name]
				if k == 1 {
					share = task.Finetuned[name]
				}
				s.Tasks = append(s.Tasks, writeSamples(w, task, c.Label, share, rows))
			}
		}
		if err := w.Flush(); err != nil {
			t.Fatal(err)
		}
		if err := samples.Close(); err != nil {
			t.Fatal(err)
		}
		f.Manifest = m
		s.Run = f.Path
		if err := f.SaveManifest(); err != nil {
			t.Fatal(err)
		}
		if err := f.SaveScores(s); err != nil {
			t.Fatal(err)
		}
		runs = append(runs, Run{f, s})
	}
	return runs
}

// writeSamples writes the rows of one cell and gives its line of the table.
// Accuracy is 0 or 1, other metrics vary around the share.
func writeSamples(w *bufio.Writer, task reference.Task, label string, share float64, rows int) results.Score {
	r := rand.New(rand.NewPCG(uint64(len(label)), uint64(len(task.Task))))
	prompt, _ := json.Marshal(strings.Repeat("A sentence of the prompt, with \"quotes\" in it. ", 12))
	values := make([]float64, rows)
	binary := task.Metric == "accuracy"
	for i := range values {
		values[i] = math.Min(1, math.Max(0, share+0.1*r.NormFloat64()))
		if binary {
			values[i] = 0
			if r.Float64() < share {
				values[i] = 1
			}
		}
		fmt.Fprintf(w, `{"v":1,"task":%q,"model":%q,"sample":"%d","index":%d,"prompt":%s,"generation":{"max_tokens":32,"temperature":0},"targets":["yes"],"response":"I think that the answer is yes.","finish":"stop",`+
			`"scores":[{"metric":%q,"profile":"strict","value":%g,"extracted":"yes"},{"metric":%q,"profile":"bakeoff","value":%g}],"usage":{"prompt_tokens":120,"completion_tokens":8},"seconds":0.25}`+"\n",
			task.Task, label, i, i, prompt, task.Metric, values[i], task.Metric, values[i])
	}
	mean := record.Float(stats.Mean(values))
	interval := stats.MeanInterval(values, 0, 1, 0.95)
	base, _ := task.BestBase()
	tuned, _ := task.BestFinetuned()
	return results.Score{Task: task.Task, Category: task.Category, Model: label, Metric: task.Metric, Profile: core.Strict, Score: &mean,
		Interval: []record.Float{record.Float(interval.Low), record.Float(interval.High)}, N: rows, Better: "higher", Seconds: 0.25 * float64(rows),
		Published: &results.Published{Metric: task.Metric, GPT4: task.Base[reference.GPT4], BestBase: base, BestFinetuned: tuned}}
}

// A whole study from runs: roles, figures, tables and words.
func TestMatrix(t *testing.T) {
	runs := matrix(t, 10, 31, 25)
	dir := t.TempDir()
	files, err := New(context.Background(), runs, Options{}).WriteAll(dir)
	if err != nil {
		t.Fatal(err)
	}
	drawings := 0
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(f, ".svg") {
			drawings++
			wellFormed(t, f, b)
		}
	}
	if drawings != 6 {
		t.Errorf("%d figures: %v", drawings, files)
	}
	html, _ := os.ReadFile(filepath.Join(dir, HTMLFile))
	alone(t, string(html))
	text, _ := os.ReadFile(filepath.Join(dir, MarkdownFile))
	lead, _, _ := strings.Cut(string(text), "## Models")
	for _, want := range []string{"and 17 more on 31 tasks", "in 11 runs", "Fine-tuning: 0.6", "above openai:gpt-4 in", "of 310", "Row by row: Of 31 tasks"} {
		if !strings.Contains(strings.ReplaceAll(lead, "/310", " of 310"), want) {
			t.Errorf("%q is not on the first screen:\n%s", want, lead)
		}
	}
	for _, want := range []string{"## Table 3", "## Table 4: models, averaged over 31 tasks", "## Table 6", "figures/figure8.svg", "evalrun bc5cdr conllpp"} {
		if !strings.Contains(string(text), want) {
			t.Errorf("%q is not in the report", want)
		}
	}
}

// The speed that the report promises: 10 models by 31 tasks of 1,000 rows.
func BenchmarkMatrix(b *testing.B) {
	runs := matrix(b, 10, 31, 1000)
	var size int64
	for _, r := range runs {
		info, err := os.Stat(r.Folder.Samples())
		if err != nil {
			b.Fatal(err)
		}
		size += info.Size()
	}
	b.SetBytes(size)
	b.ResetTimer()
	for b.Loop() {
		if _, err := New(context.Background(), runs, Options{}).Render("html"); err != nil {
			b.Fatal(err)
		}
	}
}
