package main

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/evalrun/evalrun/backends/local/weights"
	"github.com/evalrun/evalrun/kernels/format"
)

// greedyTokens are generated after each text.
const greedyTokens = 24

// llama exports adapters as GGUF and has llama.cpp load them beside the base:
// -model FILE.gguf -adapter DIR, or the demonstration model and adapters of
// several kinds that short trainings make.
func (p *peers) llama() error {
	if err := p.need("llama_cpp_python", "numpy"); err != nil {
		return err
	}
	model, err := p.file()
	if err != nil {
		return err
	}
	if !strings.HasSuffix(model, ".gguf") {
		return fmt.Errorf("llama.cpp reads GGUF files: name one with -model")
	}
	wide := p.at("wide.gguf")
	if err := widen(model, wide); err != nil {
		return err
	}
	if err := p.inLlama(model, wide, ""); err != nil {
		return err
	}
	if p.adapter != "" {
		return p.inLlama(model, wide, p.adapter)
	}
	for _, c := range [][]string{
		{"q-v", "rank=8"},
		{"all-linear-rslora", "targets=all-linear", "rslora=true", "rank=5"},
		{"k-o-down", "targets=[k_proj, o_proj, down_proj]", "alpha=3", "rank=16"},
	} {
		dir := p.at(c[0])
		if err := os.RemoveAll(dir); err != nil {
			return err
		}
		args := []string{"train", "glue_sst2", "--data", "embedded", "--model", model, "--steps", "96", "--set", "recipe.lr=5e-3", "--set", "recipe.accumulate=4", "--out", dir, "--quiet"}
		for _, s := range c[1:] {
			args = append(args, "--set", "recipe."+s)
		}
		if _, err := p.evalrun(nil, args...); err != nil {
			return err
		}
		if err := p.inLlama(model, wide, dir); err != nil {
			return err
		}
	}
	return nil
}

// widen writes a GGUF file with all tensors in float32: llama.cpp multiplies
// narrower ones with inputs that it rounds to 8 bits first.
func widen(from, to string) error {
	f, err := weights.Open(from)
	if err != nil {
		return err
	}
	defer f.Close()
	var tensors []weights.Tensor
	for _, name := range f.Names() {
		t, err := f.Tensor(name)
		if err != nil {
			return err
		}
		values, err := t.Floats()
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		tensors = append(tensors, weights.Float32s(name, values, t.Shape...))
	}
	return weights.WriteGGUF(to, tensors, f.Meta())
}

// inLlama compares logits and greedy answers of an exported adapter, or of the
// base alone.
func (p *peers) inLlama(model, wide, adapter string) error {
	ids, err := p.tokenized(model)
	if err != nil {
		return err
	}
	flags, job, what := []string{"--model", wide}, map[string]any{"model": wide, "lora": "", "lines": ids, "out": p.at("llama"), "greedy": greedyTokens}, "the base alone"
	if adapter != "" {
		lora := p.at("adapter.gguf")
		if _, err := p.evalrun(nil, "adapter", "export", "--model", model, "--adapter", adapter, "--gguf", lora, "--force"); err != nil {
			return err
		}
		flags, job["lora"], what = append(flags, "--adapter", adapter), lora, filepath.Base(adapter)
	}
	if _, err := p.evalrun(nil, append([]string{"debug", "logits", "--in", ids, "--out", p.at("ours.safetensors")}, flags...)...); err != nil {
		return err
	}
	out, err := p.evalrun(nil, append([]string{"debug", "generate", "--in", ids, "--ignore-eos", "--max-new", fmt.Sprint(greedyTokens)}, flags...)...)
	if err != nil {
		return err
	}
	type answer struct {
		IDs   []int32
		Shape []int
	}
	ours, err := lines[answer](out)
	if err != nil {
		return err
	}
	theirs, err := others[answer](p, "llama", job)
	if err != nil {
		return err
	}
	if len(ours) != len(theirs) {
		return fmt.Errorf("%d answers, and %d of llama.cpp", len(ours), len(theirs))
	}
	var tensors []weights.Tensor
	same := 0
	for i, a := range theirs {
		raw, err := os.ReadFile(fmt.Sprintf("%s.%d", p.at("llama"), i))
		if err != nil {
			return err
		}
		tensors = append(tensors, weights.Tensor{Name: fmt.Sprintf("logits.%d", i), Type: format.F32, Shape: a.Shape, Data: raw})
		if slices.Equal(a.IDs, ours[i].IDs) {
			same++
		}
	}
	if err := weights.WriteSafetensors(p.at("llama.safetensors"), tensors, nil); err != nil {
		return err
	}
	worst, largest, n, highest, err := apart(p.at("ours.safetensors"), p.at("llama.safetensors"))
	if err != nil {
		return err
	}
	p.check(worst <= logitShare*largest && same == len(theirs), "llama.cpp: "+what, "%d logits: largest difference %.2g of %.3g (bound %.2g), %d of %d highest equal; %d of %d greedy answers of %d tokens equal",
		n, worst, largest, logitShare*largest, highest[0], highest[1], same, len(theirs), greedyTokens)
	return nil
}

// gguf has the package gguf read an exported adapter.
func (p *peers) gguf() error {
	if err := p.need("gguf", "numpy"); err != nil {
		return err
	}
	model, err := p.file()
	if err != nil {
		return err
	}
	if p.adapter == "" {
		return fmt.Errorf("which adapter? name its folder with -adapter, and its base with -model")
	}
	lora := p.at("adapter.gguf")
	if _, err := p.evalrun(nil, "adapter", "export", "--model", model, "--adapter", p.adapter, "--gguf", lora, "--force"); err != nil {
		return err
	}
	type entry struct {
		Key, Value   string
		Tensor, Type string
		Shape        []int
		Sum          float64
	}
	entries, err := others[entry](p, "gguf", map[string]any{"path": lora})
	if err != nil {
		return err
	}
	f, err := weights.Open(lora)
	if err != nil {
		return err
	}
	defer f.Close()
	keys, tensors, wrong := 0, 0, ""
	for _, e := range entries {
		if e.Key != "" {
			keys++
			fmt.Printf("      %s = %s\n", e.Key, e.Value)
			continue
		}
		t, err := f.Tensor(e.Tensor)
		if err != nil {
			return err
		}
		values, err := t.Floats()
		if err != nil {
			return err
		}
		sum := 0.0
		for _, v := range values {
			sum += float64(v)
		}
		if tensors++; !slices.Equal(t.Shape, e.Shape) || e.Type != "F32" || math.Abs(sum-e.Sum) > 1e-9*float64(len(values)) {
			wrong = fmt.Sprintf("; %s is %v %s with the sum %g, not %v with %g", e.Tensor, e.Shape, e.Type, e.Sum, t.Shape, sum)
		}
	}
	p.check(wrong == "" && tensors == len(f.Names()) && tensors > 0, "gguf: "+filepath.Base(p.adapter), "%d keys, %d tensors with equal shapes and sums%s", keys, tensors, wrong)
	return nil
}
