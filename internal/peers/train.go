package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"

	"github.com/evalrun/evalrun/internal/trainlog"
)

// What the two trainings must have in common. The losses' bound is that of
// the golden run (float32 against float64 there: 3e-6 over 100 updates).
const (
	lossBound  = 5e-5
	equalShare = 0.99
)

// A refWindow is what reference.py tells of an accumulation window.
type refWindow struct {
	Step     int
	Losses   []float64
	LR       []float64
	GradNorm *float64 `json:"grad_norm"`
	Tokens   int
	Seconds  float64
	CPU      float64 // processor seconds
}

// train has both sides train on each task from the same start, on the same
// examples in the same order, and compares losses, logits and answers.
func (p *peers) train() error {
	if err := p.needPEFT(); err != nil {
		return err
	}
	if _, err := os.Stat(p.data); err != nil {
		fmt.Printf("there is no folder %s: the tasks' embedded rows are taken\n", p.data)
		p.data = "embedded"
	} else if p.data, err = filepath.Abs(p.data); err != nil {
		return err
	}
	folder, err := p.base()
	if err != nil {
		return err
	}
	all, equal := 0, 0
	for _, task := range strings.Split(p.tasks, ",") {
		n, same, err := p.trainOn(folder, task)
		if err != nil {
			return fmt.Errorf("%s: %w", task, err)
		}
		all, equal = all+n, equal+same
	}
	p.check(float64(equal) >= equalShare*float64(all), "answers of all tasks", "%d of %d equal, %.2f %%", equal, all, 100*float64(equal)/float64(all))
	return nil
}

func (p *peers) trainOn(folder, task string) (n, same int, err error) {
	ours, start, theirs := p.at(task+"-ours"), p.at(task+"-start"), p.at(task+"-peft")
	for _, dir := range []string{ours, start, theirs} {
		if err := os.RemoveAll(dir); err != nil {
			return 0, 0, err
		}
	}
	recipe := []string{"train", task, "--data", p.data, "--model", folder, "--preset", p.preset, "--steps", fmt.Sprint(p.steps), "--out", ours, "--quiet",
		"--set", "recipe.dropout=0", "--set", "recipe.compute=f32", "--set", "recipe.quant=" + p.quant}
	for _, s := range strings.Split(p.set, ",") {
		if s != "" {
			recipe = append(recipe, "--set", "recipe."+s)
		}
	}
	if _, err := p.evalrun(nil, recipe...); err != nil {
		return 0, 0, err
	}
	want, err := p.reference(folder, ours, start, theirs)
	if err != nil {
		return 0, 0, err
	}
	text, err := os.ReadFile(filepath.Join(ours, "training", trainlog.File))
	if err != nil {
		return 0, 0, err
	}
	got, err := lines[trainlog.Line](text)
	if err != nil {
		return 0, 0, err
	}
	if err := p.sameCurve(task, got, want); err != nil {
		return 0, 0, err
	}
	for _, dir := range []string{ours, theirs} {
		if err := p.sameLogits(folder, dir, task+": logits of "+filepath.Base(dir)); err != nil {
			return 0, 0, err
		}
	}
	return p.sameAnswers(folder, task, ours, theirs)
}

// reference does the training that evalrun left in ours once more with torch
// and PEFT; flags say where its rows are if it does not keep them.
func (p *peers) reference(folder, ours, start, out string, flags ...string) ([]refWindow, error) {
	examples, err := p.evalrun(nil, append([]string{"debug", "examples", "--model", folder, "--adapter", ours, "--start", start}, flags...)...)
	if err != nil {
		return nil, err
	}
	file := p.at("examples.jsonl")
	if err := os.WriteFile(file, examples, 0o600); err != nil {
		return nil, err
	}
	recipe, err := os.ReadFile(filepath.Join(ours, "recipe.json"))
	if err != nil {
		return nil, err
	}
	return reference[refWindow](p, "train", map[string]any{"model": folder, "recipe": json.RawMessage(recipe), "start": start, "examples": file, "out": out, "batch": p.batch, "windows": 0})
}

// sameCurve compares losses, rates and norms window by window.
func (p *peers) sameCurve(task string, got []trainlog.Line, want []refWindow) error {
	if len(got) != len(want) {
		return fmt.Errorf("%d windows, and %d with PEFT", len(got), len(want))
	}
	var loss, lr, norm, first, last float64
	updates, tokens := 0, 0
	for i, w := range want {
		mean := 0.0
		for _, l := range w.Losses {
			mean += l / float64(len(w.Losses))
		}
		g := got[i]
		if g.Step != w.Step+1 || g.Tokens != w.Tokens {
			return fmt.Errorf("window %d ends at step %d after %d tokens, and with PEFT at %d after %d", i, g.Step, g.Tokens, w.Step+1, w.Tokens)
		}
		if i == 0 {
			first = mean
		}
		last, tokens = mean, tokens+w.Tokens
		loss = math.Max(loss, math.Abs(g.Loss-mean))
		if rate := w.LR[len(w.LR)-1]; rate > 0 || g.LR > 0 {
			lr = math.Max(lr, math.Abs(g.LR-rate)/math.Max(g.LR, rate))
		}
		if w.GradNorm != nil {
			updates++
			norm = math.Max(norm, math.Abs(g.GradNorm / *w.GradNorm - 1))
		}
	}
	p.check(loss <= lossBound && lr <= 1e-9, task+": loss curve", "%d updates, %d tokens, loss %.3f to %.3f: largest difference %.2g (bound %g); of the rate %.1g, of the gradient's norm %.2g relative",
		updates, tokens, first, last, loss, lossBound, lr, norm)
	return nil
}

// sameAnswers evaluates both adapters on the same rows and counts the answers
// that are equal to the last character.
func (p *peers) sameAnswers(folder, task, ours, theirs string) (n, same int, err error) {
	out, err := p.evalrun(nil, task, "--data", p.data, "--model", folder, "--adapter", ours+"=evalrun", "--adapter", theirs+"=peft",
		"--limit", fmt.Sprint(p.rows), "--out", p.at("runs"), "--new", "--json", "--quiet")
	if err != nil {
		return 0, 0, err
	}
	var run struct {
		Run   string
		Tasks []struct {
			Model, Metric, Profile string
			Score                  float64
			Baseline               *float64
		}
	}
	if err := json.Unmarshal(out, &run); err != nil {
		return 0, 0, err
	}
	var scores []string
	for _, t := range run.Tasks {
		if t.Profile == "strict" && t.Metric == run.Tasks[0].Metric {
			scores = append(scores, fmt.Sprintf("%.4f", t.Score))
		}
	}
	text, err := os.ReadFile(filepath.Join(p.dir, filepath.FromSlash(run.Run), "samples.jsonl"))
	if os.IsNotExist(err) {
		text, err = os.ReadFile(filepath.Join(run.Run, "samples.jsonl"))
	}
	if err != nil {
		return 0, 0, err
	}
	type sample struct{ Model, Sample, Response string }
	samples, err := lines[sample](bytes.TrimSpace(text))
	if err != nil {
		return 0, 0, err
	}
	answers, distinct := map[string]string{}, map[string]bool{}
	for _, s := range samples {
		if strings.HasSuffix(s.Model, "+evalrun") {
			answers[s.Sample] = s.Response
			distinct[s.Response] = true
		}
	}
	for _, s := range samples {
		if !strings.HasSuffix(s.Model, "+peft") {
			continue
		}
		mine, ok := answers[s.Sample]
		if !ok {
			return 0, 0, fmt.Errorf("row %s has one answer only", s.Sample)
		}
		if n++; mine == s.Response {
			same++
		}
	}
	if n == 0 || n != len(answers) {
		return 0, 0, fmt.Errorf("%d answers, and %d with PEFT's adapter", len(answers), n)
	}
	p.check(float64(same) >= equalShare*float64(n), task+": answers", "%d of %d equal (%d different ones); %s %s", same, n, len(distinct), run.Tasks[0].Metric, strings.Join(scores, " and "))
	return n, same, nil
}
