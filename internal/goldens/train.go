package main

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// A trainedStep is a line of `debug train`, and a row of the goldens' tables.
type trainedStep struct {
	Step     int
	LR, Loss float64
	GradNorm *float64 `json:"grad_norm"`
	example  int
}

// checkTrain holds `debug train` to PEFT, bitsandbytes and torch.optim.Adam
// over a whole run.
func checkTrain(e *env) error {
	b, err := os.ReadFile(e.path("training/run/meta.json"))
	if err != nil {
		return err
	}
	var meta struct {
		LR         float64 `json:"lr"`
		Warmup     int     `json:"warmup_micro_steps"`
		Restart    int     `json:"T_0_micro_steps"`
		Accumulate int     `json:"gradient_accumulation"`
		Clip       float64 `json:"clip_norm"`
	}
	if err := json.Unmarshal(b, &meta); err != nil {
		return err
	}
	rows, err := readLines[runRow](e.path("training/run/data.jsonl"))
	if err != nil {
		return err
	}
	tmp, err := os.MkdirTemp("", "goldens")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	args := []string{"train", "--adapter", e.path("training/run/adapter-0"), "--lr", fmt.Sprint(meta.LR), "--warmup", fmt.Sprint(meta.Warmup),
		"--restart", fmt.Sprint(meta.Restart), "--accumulate", fmt.Sprint(meta.Accumulate), "--clip", fmt.Sprint(meta.Clip)}

	for _, c := range []struct {
		name, table, model string
		flags              []string
		loss, mean, norm   float64
		adapters           map[string]int // after so many updates, 0 all
	}{
		{"float32", "f32", "model-nf4", []string{"--exact"}, 5e-5, 5e-5, 2e-5, map[string]int{"adapter-1": 1, "adapter-10": 10, "adapter-50": 50, "adapter-100": 0}},
		{"float32, quantised here", "f32", "model", []string{"--exact", "--quant", "nf4"}, 3e-3, 3e-3, math.Inf(1), nil},
		{"bfloat16", "bf16", "model", []string{"--quant", "nf4"}, 0.1, 0.02, 0.05, nil},
	} {
		want, err := trainedTable(e.path("training/run/" + c.table + ".csv"))
		if err != nil {
			return err
		}
		var lines []gradLine
		for _, w := range want {
			lines = append(lines, rows[w.example].line())
		}
		flags := append(append([]string{"--model", e.path("training/run/" + c.model)}, c.flags...), args[1:]...)
		run := func(lines []gradLine) ([]json.RawMessage, error) {
			return ask(e, lines, append([]string{"train", "--out", filepath.Join(tmp, "adapter")}, flags...)...)
		}
		answers, err := run(lines)
		if err != nil {
			return err
		}
		loss, norm := e.tally(c.name+" loss", fmt.Sprintf("%g absolute, %g in the mean", c.loss, c.mean)), e.tally(c.name+" gradient norm", fmt.Sprintf("%g relative", c.norm))
		var sum float64
		for i, a := range answers {
			var got trainedStep
			if err := json.Unmarshal(a, &got); err != nil {
				return err
			}
			w := want[i]
			loss.near(w.Loss, got.Loss, c.loss, "step %d", i)
			sum += math.Abs(w.Loss - got.Loss)
			if (w.GradNorm == nil) != (got.GradNorm == nil) {
				norm.row(false, "step %d: a norm where there is none, or none", i)
			} else if w.GradNorm != nil {
				norm.near(1, *got.GradNorm / *w.GradNorm, c.norm, "step %d, of the norm", i)
			}
		}
		loss.near(0, sum/float64(len(answers)), c.mean, "mean difference")
		for name, updates := range c.adapters {
			if updates > 0 {
				if _, err := run(lines[:updates*meta.Accumulate]); err != nil {
					return err
				}
			} else if _, err := run(lines); err != nil {
				return err
			}
			t := e.tally(name, "1e-4 absolute")
			if err := nearFiles(t, e.path("training/run/"+name+"/adapter_model.safetensors"), filepath.Join(tmp, "adapter", "adapter_model.safetensors"), 1e-4); err != nil {
				return err
			}
		}
	}
	return nil
}

// trainedTable reads step, example, lr, loss, grad_norm.
func trainedTable(path string) ([]trainedStep, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	rows, err := csv.NewReader(strings.NewReader(string(b))).ReadAll()
	if err != nil {
		return nil, err
	}
	var out []trainedStep
	for _, r := range rows[min(1, len(rows)):] {
		var s trainedStep
		for i, to := range map[int]*float64{2: &s.LR, 3: &s.Loss} {
			if *to, err = strconv.ParseFloat(r[i], 64); err != nil {
				return nil, err
			}
		}
		if s.example, err = strconv.Atoi(r[1]); err != nil {
			return nil, err
		}
		if r[4] != "" {
			n, err := strconv.ParseFloat(r[4], 64)
			if err != nil {
				return nil, err
			}
			s.GradNorm = &n
		}
		out = append(out, s)
	}
	return out, nil
}
