package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/evalrun/evalrun/backends/local/weights"
)

// modelGolden is expected.json of a family.
type modelGolden struct {
	Prompts   [][]int32
	Positions struct{ Others [][]int }
	Greedy    []struct {
		IDs      []int32
		Logprobs []float64
	}
	MeanCE  float64   `json:"mean_cross_entropy_prompt1"`
	Masked  int       `json:"masked_labels"`
	Adapter lossEntry `json:"adapter"`
	Second  lossEntry `json:"adapter2"`
	NF4     lossEntry `json:"nf4_adapter"`
}

type lossEntry struct {
	Loss float64 `json:"loss_prompt1"`
}

type idsLine struct {
	IDs    []int32 `json:"ids"`
	Labels []int32 `json:"labels,omitempty"`
}

// checkModels runs every family in every form of its weights, with its
// adapters and without.
func checkModels(e *env) error {
	folders, err := os.ReadDir(e.path("models"))
	if err != nil {
		return err
	}
	tmp, err := os.MkdirTemp("", "goldens-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	for _, f := range folders {
		if !f.IsDir() {
			continue
		}
		dir := filepath.Join(e.path("models"), f.Name())
		if err := e.family(f.Name(), dir, filepath.Join(tmp, f.Name())); err != nil {
			return fmt.Errorf("%s: %w", f.Name(), err)
		}
	}
	if e.device == "" && e.dtype == "" {
		return nil
	}
	return e.demonstration()
}

func (e *env) family(name, dir, tmp string) (err error) {
	text, err := os.ReadFile(filepath.Join(dir, "expected.json"))
	if err != nil {
		return err
	}
	var want modelGolden
	if err := json.Unmarshal(text, &want); err != nil {
		return err
	}
	tensors, err := weights.Open(filepath.Join(dir, "expected.safetensors"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, tensors.Close()) }()
	prompts := make([]idsLine, len(want.Prompts))
	for i, ids := range want.Prompts {
		prompts[i].IDs = ids
	}
	all := want.Prompts[1]
	masked := append([]int32(nil), all...)
	for i := range want.Masked {
		masked[i] = -100
	}
	adapter, second := filepath.Join(dir, "adapter"), filepath.Join(dir, "adapter2")
	v4, err := form(dir, filepath.Join(tmp, "v4"), dir, "config.v4.json")
	if err != nil {
		return err
	}
	for _, c := range []struct {
		check, model, golden string
		tolerance            float64
		flags                []string
	}{
		{"logits", dir, "base", 1e-4, nil},
		{"logits, keys of transformers 4", v4, "base", 1e-4, nil},
		{"logits, ref device", dir, "base", 1e-4, []string{"--device", "ref"}},
		{"logits, sharded", filepath.Join(dir, "sharded"), "base", 1e-4, nil},
		{"logits, bf16", filepath.Join(dir, "bf16"), "bf16", 1e-4, nil},
		{"logits, adapter", dir, "adapter", 1e-4, []string{"--adapter", adapter}},
		{"logits, adapter2", dir, "adapter2", 2e-4, []string{"--adapter", second}},
		{"logits, nf4", dir, "nf4", 1e-4, []string{"--quant", "nf4"}},
	} {
		if missing(c.model) || len(c.flags) == 2 && c.flags[0] == "--adapter" && missing(c.flags[1]) {
			continue
		}
		model := c.model
		if missing(filepath.Join(model, "config.json")) {
			if model, err = form(c.model, filepath.Join(tmp, filepath.Base(c.model)), dir, "config.json"); err != nil {
				return err
			}
		}
		if err := e.logits(name+" "+c.check, model, prompts, tensors, c.golden, want.Positions.Others, c.tolerance, c.flags...); err != nil {
			return err
		}
	}
	if err := e.greedy(name, dir, prompts, want); err != nil {
		return err
	}
	for _, c := range []struct {
		check  string
		labels []int32
		want   float64
		flags  []string
	}{
		{"loss", all, want.MeanCE, nil},
		{"loss, adapter", masked, want.Adapter.Loss, []string{"--adapter", adapter}},
		{"loss, adapter2", masked, want.Second.Loss, []string{"--adapter", second}},
		{"loss, nf4 and adapter", masked, want.NF4.Loss, []string{"--adapter", adapter, "--quant", "nf4"}},
	} {
		if len(c.flags) > 0 && missing(c.flags[1]) {
			continue
		}
		if err := e.loss(name+" "+c.check, dir, idsLine{all, c.labels}, c.want, 1e-5, c.flags...); err != nil {
			return err
		}
	}
	return nil
}

// checkAdapters runs DoRA and rsLoRA on the training set's model as bitsandbytes
// stored it in 4 bits. (Quantised on load it is another model: some of the
// file's second-level codes are not the nearest.)
func checkAdapters(e *env) error {
	base := filepath.Join(e.path("training"), "run")
	for _, kind := range []string{"dora", "rslora"} {
		dir := filepath.Join(e.path("training"), kind)
		tensors, err := weights.Open(filepath.Join(dir, "expected.safetensors"))
		if err != nil {
			return err
		}
		err = e.trainedAdapter(kind, base, dir, tensors)
		if err := errors.Join(err, tensors.Close()); err != nil {
			return fmt.Errorf("%s: %w", kind, err)
		}
	}
	return nil
}

func (e *env) trainedAdapter(kind, base, dir string, tensors *weights.File) error {
	t, err := tensors.Tensor("input_ids")
	if err != nil {
		return err
	}
	ids, err := t.Floats()
	if err != nil {
		return err
	}
	line := idsLine{}
	for _, id := range ids {
		line.IDs = append(line.IDs, int32(id))
	}
	want, err := tensorValues(tensors, "logits")
	if err != nil {
		return err
	}
	largest := 0.0
	for _, x := range want {
		largest = math.Max(largest, math.Abs(float64(x)))
	}
	adapter := filepath.Join(dir, "adapter")
	renamed := func(string) string { return "logits" }
	return e.logitsOf(kind+", 4-bit checkpoint", filepath.Join(base, "model-nf4"), []idsLine{line}, tensors, renamed, nil, 1e-5*largest, "--adapter", adapter)
}

func missing(path string) bool {
	_, err := os.Stat(path)
	return errors.Is(err, fs.ErrNotExist)
}

// form makes a model's folder of the weights in one folder and the
// configuration in another.
func form(from, to, configDir, config string) (string, error) {
	if err := os.MkdirAll(to, 0o777); err != nil {
		return "", err
	}
	entries, err := os.ReadDir(from)
	if err != nil {
		return "", err
	}
	for _, f := range entries {
		if strings.Contains(f.Name(), "safetensors") && f.Name() != "expected.safetensors" {
			path, err := filepath.Abs(filepath.Join(from, f.Name()))
			if err != nil {
				return "", err
			}
			if err := os.Symlink(path, filepath.Join(to, f.Name())); err != nil {
				return "", err
			}
		}
	}
	text, err := os.ReadFile(filepath.Join(configDir, config))
	if err != nil {
		return "", err
	}
	return to, os.WriteFile(filepath.Join(to, "config.json"), text, 0o666)
}

// logits compares the logits of all prompts with the golden of a kind: at all
// positions for base, at those of others for the rest.
func (e *env) logits(check, model string, prompts []idsLine, tensors *weights.File, kind string, others [][]int, tolerance float64, flags ...string) error {
	if kind == "base" {
		others = nil
	}
	name := func(i string) string { return "logits/" + kind + "/" + i }
	return e.logitsOf(check, model, prompts, tensors, name, others, tolerance, flags...)
}

// logitsOf is logits with the goldens' names given, and the positions they are
// of: nil is all.
func (e *env) logitsOf(check, model string, prompts []idsLine, tensors *weights.File, name func(prompt string) string, positions [][]int, tolerance float64, flags ...string) error {
	out, err := os.CreateTemp("", "logits-*.safetensors")
	if err != nil {
		return err
	}
	out.Close()
	defer os.Remove(out.Name())
	args := append([]string{"logits", "--model", model, "--exact", "--out", out.Name()}, e.on(flags)...)
	if _, err := ask(e, prompts, args...); err != nil {
		return err
	}
	got, err := weights.Open(out.Name())
	if err != nil {
		return err
	}
	defer got.Close()
	var t *tally
	var l likeness
	brain := e.rounds() && !slices.Contains(flags, "--device") // a check that names its device is exact
	if !brain {
		t = e.tally(check, fmt.Sprintf("%.0e absolute", tolerance))
	}
	for i := range prompts {
		w, err := tensorValues(tensors, name(fmt.Sprint(i)))
		if err != nil {
			return err
		}
		g, err := tensorValues(got, fmt.Sprintf("logits.%d", i))
		if err != nil {
			return err
		}
		vocab := len(g) / len(prompts[i].IDs)
		for row := range len(w) / vocab {
			at := row
			if positions != nil {
				at = positions[i][row]
			}
			want, got := w[row*vocab:][:vocab], g[at*vocab:][:vocab]
			if brain {
				l.add(want, got)
			} else {
				t.near(0, furthest(want, got), tolerance, "prompt %d, position %d", i, at)
			}
		}
	}
	if brain {
		l.judge(e, check)
	}
	return nil
}

func tensorValues(f *weights.File, name string) ([]float32, error) {
	t, err := f.Tensor(name)
	if err != nil {
		return nil, err
	}
	return t.Floats()
}

// furthest is the largest difference of two rows, NaN if there is one.
func furthest(a, b []float32) float64 {
	worst := 0.0
	for i := range a {
		if d := math.Abs(float64(a[i]) - float64(b[i])); !(d <= worst) {
			worst = d
		}
	}
	return worst
}

// greedy compares ids and log-probabilities of the continuations.
func (e *env) greedy(name, model string, prompts []idsLine, want modelGolden) error {
	out, err := ask(e, prompts, append([]string{"generate", "--model", model, "--exact", "--max-new", fmt.Sprint(len(want.Greedy[0].IDs)), "--ignore-eos"}, e.on(nil)...)...)
	if err != nil {
		return err
	}
	ids, logprobs := e.tally(name+" greedy tokens", "equal"), e.tally(name+" log-probabilities", "1e-04 absolute")
	if e.rounds() {
		// The second highest may be 0.02 behind: one that wins changes all that follows.
		ids.reported, logprobs.reported = true, true
	}
	for i, line := range out {
		var got struct {
			IDs      []int32
			Logprobs []float64
		}
		if err := json.Unmarshal(line, &got); err != nil {
			return err
		}
		for k, id := range want.Greedy[i].IDs {
			ok := k < len(got.IDs) && got.IDs[k] == id
			ids.row(ok, "prompt %d, token %d: got %v, want %d", i, k, got.IDs, id)
			if ok {
				logprobs.near(want.Greedy[i].Logprobs[k], got.Logprobs[k], 1e-4, "prompt %d, token %d", i, k)
			}
		}
	}
	return nil
}

func (e *env) loss(check, model string, line idsLine, want, tolerance float64, flags ...string) error {
	out, err := ask(e, []idsLine{line}, append([]string{"loss", "--model", model, "--exact"}, e.on(flags)...)...)
	if err != nil {
		return err
	}
	var got struct{ Loss float64 }
	if err := json.Unmarshal(out[0], &got); err != nil {
		return err
	}
	tolerance = e.loosely(tolerance, barLoss)
	e.tally(check, fmt.Sprintf("%.0e absolute", tolerance)).near(want, got.Loss, tolerance, "loss")
	return nil
}

// chosen is the device under test.
func (e *env) chosen() string {
	if e.device == "" {
		return "cpu"
	}
	return e.device
}

// on adds the device and the type to a window's flags, unless they name a
// device. Rounded before NF4 the weights are another model: some get other codes.
func (e *env) on(flags []string) []string {
	if slices.Contains(flags, "--device") {
		return flags
	}
	flags = append(slices.Clone(flags), "--device", e.chosen())
	if e.dtype != "" && !slices.Contains(flags, "nf4") {
		flags = append(flags, "--dtype", e.dtype)
	}
	return flags
}
