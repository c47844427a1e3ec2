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

	"github.com/evalrun/evalrun/backends/local/weights"
)

// checkLR holds `debug lr` to torch's and transformers' schedulers.
func checkLR(e *env) error {
	b, err := os.ReadFile(e.path("training/lr/meta.json"))
	if err != nil {
		return err
	}
	var meta struct {
		LR    float64 `json:"lr"`
		Paper struct {
			Warmup float64 `json:"warmup"`
			T0     int     `json:"T_0"`
			Steps  int     `json:"steps_traced"`
		} `json:"paper"`
		HF struct {
			Total  int     `json:"total"`
			Warmup float64 `json:"warmup"`
		} `json:"hf"`
	}
	if err := json.Unmarshal(b, &meta); err != nil {
		return err
	}
	lr := fmt.Sprint(meta.LR)
	for _, c := range []struct {
		file string
		args []string
	}{
		{"paper", []string{"--preset", "paper", "--steps", fmt.Sprint(meta.Paper.Steps), "--warmup", fmt.Sprint(meta.Paper.Warmup), "--restart", fmt.Sprint(meta.Paper.T0)}},
		{"hf_cosine", []string{"--preset", "modern", "--schedule", "cosine", "--steps", fmt.Sprint(meta.HF.Total)}},
		{"hf_linear", []string{"--preset", "modern", "--schedule", "linear", "--steps", fmt.Sprint(meta.HF.Total)}},
		{"hf_constant_warmup", []string{"--preset", "modern", "--schedule", "constant", "--steps", fmt.Sprint(meta.HF.Total)}},
	} {
		want, err := rates(e.path("training/lr/" + c.file + ".csv"))
		if err != nil {
			return err
		}
		lines, err := e.window(nil, append([]string{"lr", "--lr", lr}, c.args...)...)
		if err != nil {
			return err
		}
		text := make([]string, len(lines))
		for i, l := range lines {
			text[i] = string(l)
		}
		got, err := parseRates(strings.Join(text, "\n"))
		if err != nil {
			return err
		}
		t := e.tally(c.file, "1e-12 relative, 1e-17 absolute")
		for step, w := range want {
			g, ok := got[step]
			if !ok {
				g = math.NaN()
			}
			t.near(w, g, math.Max(1e-12*w, 1e-17), "step %d", step)
		}
	}
	return nil
}

func rates(path string) (map[int]float64, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return parseRates(string(b))
}

func parseRates(text string) (map[int]float64, error) {
	rows, err := csv.NewReader(strings.NewReader(text)).ReadAll()
	if err != nil {
		return nil, err
	}
	out := map[int]float64{}
	for _, r := range rows[min(1, len(rows)):] {
		step, err := strconv.Atoi(r[0])
		if err != nil {
			return nil, err
		}
		if out[step], err = strconv.ParseFloat(r[1], 64); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// checkOptim holds `debug optim` to torch and bitsandbytes.
func checkOptim(e *env) error {
	b, err := os.ReadFile(e.path("training/adam/meta.json"))
	if err != nil {
		return err
	}
	var meta struct {
		LR   []float32 `json:"lr"`
		Runs []string  `json:"runs"`
	}
	if err := json.Unmarshal(b, &meta); err != nil {
		return err
	}
	in, err := open(e.path("training/adam/inputs.safetensors"))
	if err != nil {
		return err
	}
	tmp, err := os.MkdirTemp("", "goldens")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	src := filepath.Join(tmp, "in.safetensors")
	tensors := []weights.Tensor{weights.Float32s("lr", meta.LR, len(meta.LR))}
	for name, v := range in {
		if base, ok := strings.CutSuffix(name, "0"); ok {
			g := in[base+".grad"]
			v.Name, g.Name = base, "grad."+base
			tensors = append(tensors, v, g)
		}
	}
	if err := weights.WriteSafetensors(src, tensors, nil); err != nil {
		return err
	}
	for _, run := range meta.Runs {
		name, decay, ok := strings.Cut(run, "_wd")
		kind := map[string]string{"bnb_formula": "paged-adam", "bnb_class_cpu": "adamw", "torch_adam": "adam", "torch_adamw": "adamw"}[name]
		if !ok || kind == "" {
			return fmt.Errorf("unknown run %s", run)
		}
		dst := filepath.Join(tmp, run+".safetensors")
		if _, err := e.window(nil, "optim", "--name", kind, "--weight-decay", decay, "--in", src, "--out", dst); err != nil {
			return err
		}
		t := e.tally(kind+" as "+run, "1e-6 absolute")
		if err := nearFiles(t, e.path("training/adam/"+run+".safetensors"), dst, 1e-6); err != nil {
			return err
		}
	}
	return nil
}

// nearFiles compares every tensor of want with its namesake in got.
func nearFiles(t *tally, want, got string, limit float64) error {
	w, err := open(want)
	if err != nil {
		return err
	}
	g, err := open(got)
	if err != nil {
		return err
	}
	for name, a := range w {
		b, ok := g[name]
		if !ok || a.Len() != b.Len() {
			t.row(false, "%s: %d values, want %d", name, b.Len(), a.Len())
			continue
		}
		want, got := floats(a), floats(b)
		for i, x := range want {
			t.near(float64(x), float64(got[i]), limit, "%s[%d]", name, i)
		}
	}
	return nil
}
