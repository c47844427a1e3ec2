package main

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/evalrun/evalrun/backends/local/weights"
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

	own, off, err := ownCodes(e, tmp)
	if err != nil {
		return err
	}
	// What codes that are not the nearest do to the loss was measured for up to
	// three of them. Without any, ours are the file's, and so is the tolerance.
	here, tolerance := 3e-3, ""
	switch {
	case off == 0:
		here = 5e-5
	case off > 3:
		here, tolerance = math.Inf(1), fmt.Sprintf("not judged: %d codes of the file are not the nearest", off)
	}
	var quantised []trainedStep // by the program, as it loads
	for _, c := range []struct {
		name, table, model string
		flags              []string
		loss, mean, norm   float64
		adapters           map[string]int // after so many updates, 0 all
	}{
		{"float32", "f32", e.path("training/run/model-nf4"), []string{"--exact"}, 5e-5, 5e-5, 2e-5, map[string]int{"adapter-1": 1, "adapter-10": 10, "adapter-50": 50, "adapter-100": 0}},
		{"float32, quantised here", "f32", e.path("training/run/model"), []string{"--exact", "--quant", "nf4"}, here, here, math.Inf(1), nil},
		{"float32, a file of our codes", "", own, []string{"--exact"}, 5e-5, 5e-5, 2e-5, nil},
		{"bfloat16", "bf16", e.path("training/run/model"), []string{"--quant", "nf4"}, 0.1, 0.02, 0.05, nil},
	} {
		if e.rounds() && c.name != "bfloat16" {
			continue // exact ones
		}
		want := quantised
		if c.table != "" {
			if want, err = trainedTable(e.path("training/run/" + c.table + ".csv")); err != nil {
				return err
			}
		}
		var lines []gradLine
		for _, w := range want {
			lines = append(lines, rows[w.example].line())
		}
		flags := append(append([]string{"--model", c.model, "--device", e.chosen()}, c.flags...), args[1:]...)
		run := func(lines []gradLine) ([]json.RawMessage, error) {
			return ask(e, lines, append([]string{"train", "--out", filepath.Join(tmp, "adapter")}, flags...)...)
		}
		answers, err := run(lines)
		if err != nil {
			return err
		}
		text := fmt.Sprintf("%g absolute, %g in the mean", c.loss, c.mean)
		if math.IsInf(c.loss, 1) {
			text = tolerance
		}
		norms := fmt.Sprintf("%g relative", c.norm)
		if math.IsInf(c.norm, 1) {
			norms = "not judged"
		}
		loss, norm := e.tally(c.name+" loss", text), e.tally(c.name+" gradient norm", norms)
		var sum float64
		for i, a := range answers {
			var got trainedStep
			if err := json.Unmarshal(a, &got); err != nil {
				return err
			}
			w := want[i]
			if strings.HasSuffix(c.name, "quantised here") {
				got.example = w.example
				quantised = append(quantised, got)
			}
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

// ownCodes holds our codes of the run's base to those of the file that
// bitsandbytes made. They may differ where a scale's code there is not the
// nearest: off counts them. dir is the checkpoint with our codes in their place.
func ownCodes(e *env, tmp string) (dir string, off int, err error) {
	theirs, err := open(e.path("training/run/model-nf4/model.safetensors"))
	if err != nil {
		return "", 0, err
	}
	full, err := open(e.path("training/run/model/model.safetensors"))
	if err != nil {
		return "", 0, err
	}
	var in []weights.Tensor
	for name := range theirs {
		if base, ok := strings.CutSuffix(name, ".absmax"); ok {
			in = append(in, full[base])
		}
	}
	from, to := filepath.Join(tmp, "linears.safetensors"), filepath.Join(tmp, "codes.safetensors")
	if err := weights.WriteSafetensors(from, in, nil); err != nil {
		return "", 0, err
	}
	if _, err := e.window(nil, "quantize", "--in", from, "--out", to, "--double"); err != nil {
		return "", 0, err
	}
	ours, err := open(to)
	if err != nil {
		return "", 0, err
	}
	codes, scales := e.tally("base: codes", "equal"), e.tally("base: codes of scales", "equal")
	for _, t := range in {
		name := t.Name
		codes.row(bytes.Equal(ours[name].Data, theirs[name].Data), "%s", name)
		var state struct {
			Offset float32 `json:"nested_offset"`
		}
		if err := json.Unmarshal(theirs[name+".quant_state.bitsandbytes__nf4"].Data, &state); err != nil {
			return "", 0, err
		}
		m, second, values := floats(theirs[name+".nested_quant_map"]), floats(theirs[name+".nested_absmax"]), floats(t)
		for i, b := range theirs[name+".absmax"].Data {
			g := ours[name+".absmax"].Data[i]
			var scale float32
			for _, v := range values[64*i : min(64*i+64, len(values))] {
				scale = max(scale, v, -v)
			}
			x := float64((scale - state.Offset) / second[i/256])
			nearer := math.Abs(float64(m[g])-x) < math.Abs(float64(m[b])-x)
			if g != b && nearer {
				off++
			}
			scales.row(g == b || nearer, "%s block %d: code %d, want %d", name, i, g, b)
		}
	}
	if off > 0 {
		scales.tolerance = fmt.Sprintf("equal, but for %d of the file that are not the nearest", off)
	}
	all := make([]weights.Tensor, 0, len(theirs))
	for name, t := range theirs {
		if mine, ok := ours[name]; ok {
			t = mine
		}
		all = append(all, t)
	}
	dir = filepath.Join(tmp, "own")
	if err := os.Mkdir(dir, 0o700); err != nil {
		return "", 0, err
	}
	config, err := os.ReadFile(e.path("training/run/model-nf4/config.json"))
	if err != nil {
		return "", 0, err
	}
	if err := os.WriteFile(filepath.Join(dir, "config.json"), config, 0o600); err != nil {
		return "", 0, err
	}
	return dir, off, weights.WriteSafetensors(filepath.Join(dir, "model.safetensors"), all, map[string]string{"format": "pt"})
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
