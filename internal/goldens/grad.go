package main

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"sort"
	"strings"

	"github.com/evalrun/evalrun/backends/local/weights"
)

// A gradLine is a line of `debug grad`.
type gradLine struct {
	IDs    []int32 `json:"ids"`
	Labels []int32 `json:"labels"`
}

// grad runs the window, and gives the losses and the gradients.
func grad(e *env, tmp string, lines []gradLine, args ...string) ([]float64, map[string]weights.Tensor, error) {
	out := filepath.Join(tmp, "grad.safetensors")
	answers, err := ask(e, lines, append([]string{"grad", "--out", out}, e.on(args)...)...)
	if err != nil {
		return nil, nil, err
	}
	var losses []float64
	for _, a := range answers {
		var l struct{ Loss float64 }
		if err := json.Unmarshal(a, &l); err != nil {
			return nil, nil, err
		}
		losses = append(losses, l.Loss)
	}
	got, err := open(out)
	return losses, got, err
}

// gradients begins a check with its tolerances of gradients and, unless 0, of a loss.
func (e *env) gradients(name string, share, loss float64) *tally {
	text := fmt.Sprintf("%g of the largest entry", e.loosely(share, barGradient))
	if loss > 0 {
		text += fmt.Sprintf("; loss %g", e.loosely(loss, barLoss))
	}
	if e.rounds() {
		text += fmt.Sprintf("; cosine %v", barDown)
	}
	return e.tally(name, text)
}

// nearGradients compares gradients, each to a share of its tensor's largest
// entry; want holds the names behind a prefix.
func nearGradients(t *tally, want, got map[string]weights.Tensor, prefix string, share float64) {
	var names []string
	for name := range want {
		if strings.HasPrefix(name, prefix) {
			names = append(names, name)
		}
	}
	sort.Strings(names)
	for _, name := range names {
		short := strings.TrimPrefix(name, prefix)
		w, g := floats(want[name]), got[short]
		if g.Len() != len(w) {
			t.row(false, "%s: %d values, want %d", short, g.Len(), len(w))
			continue
		}
		top, worst := 0.0, 0.0
		var dot, ww, xx float64
		for i, x := range floats(g) {
			top = math.Max(top, math.Abs(float64(w[i])))
			worst = math.Max(worst, math.Abs(float64(x)-float64(w[i])))
			dot, ww, xx = dot+float64(x)*float64(w[i]), ww+float64(w[i])*float64(w[i]), xx+float64(x)*float64(x)
		}
		t.near(0, worst/top, t.e.loosely(share, barGradient), "%s, of its largest entry", short)
		if cosine := dot / math.Sqrt(ww*xx); t.e.rounds() {
			t.row(cosine >= barDown, "%s: cosine %.5f, at least %v", short, cosine, barDown)
		}
	}
}

// checkGradients holds `debug grad` to PEFT on the ten families, and to torch
// where a whole model or DoRA is trained.
func checkGradients(e *env) error {
	tmp, err := os.MkdirTemp("", "goldens")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	dirs, err := filepath.Glob(e.path("models/*/expected.json"))
	if err != nil {
		return err
	}
	for _, path := range dirs {
		if err := familyGradients(e, tmp, filepath.Dir(path)); err != nil {
			return err
		}
	}
	if err := wholeGradients(e, tmp); err != nil {
		return err
	}
	return doraGradients(e, tmp)
}

func familyGradients(e *env, tmp, dir string) error {
	b, err := os.ReadFile(filepath.Join(dir, "expected.json"))
	if err != nil {
		return err
	}
	var meta map[string]json.RawMessage
	var prompts [][]int32
	var masked int
	if err := json.Unmarshal(b, &meta); err != nil {
		return err
	}
	if err := json.Unmarshal(meta["prompts"], &prompts); err != nil {
		return err
	}
	if err := json.Unmarshal(meta["masked_labels"], &masked); err != nil {
		return err
	}
	want, err := open(filepath.Join(dir, "expected.safetensors"))
	if err != nil {
		return err
	}
	line := gradLine{IDs: prompts[1]}
	for i, id := range line.IDs {
		if i < masked {
			id = -100
		}
		line.Labels = append(line.Labels, id)
	}
	for _, c := range []struct{ name, adapter, quant string }{{"adapter", "adapter", "none"}, {"nf4_adapter", "adapter", "nf4"}, {"adapter2", "adapter2", "none"}} {
		var m struct {
			Loss *float64 `json:"loss_prompt1"`
		}
		if err := json.Unmarshal(meta[c.name], &m); meta[c.name] == nil || err != nil || m.Loss == nil {
			continue // not every family has every case
		}
		t := e.gradients(filepath.Base(dir)+" "+c.name, 5e-5, 1e-5)
		for _, held := range []string{"--recompute=false", "--recompute"} {
			losses, got, err := grad(e, tmp, []gradLine{line}, "--model", dir, "--adapter", filepath.Join(dir, c.adapter), "--quant", c.quant, held)
			if err != nil {
				return err
			}
			nearGradients(t, want, got, "grad/"+c.name+"/", 5e-5)
			t.near(*m.Loss, losses[0], e.loosely(1e-5, barLoss), "loss")
		}
	}
	return nil
}

// wholeGradients trains every parameter of a model on two sequences.
func wholeGradients(e *env, tmp string) error {
	batch, err := open(e.path("training/run_ce/batch.safetensors"))
	if os.IsNotExist(err) {
		return nil
	}
	if err != nil {
		return err
	}
	want, err := open(e.path("training/run_ce/grads.safetensors"))
	if err != nil {
		return err
	}
	ids, mask, labels := integers(batch["input_ids"]), integers(batch["attention_mask"]), integers(batch["labels"])
	width := batch["input_ids"].Shape[1]
	var lines []gradLine
	for from := 0; from < len(ids); from += width {
		var l gradLine
		for i := from; i < from+width && mask[i] != 0; i++ {
			l.IDs, l.Labels = append(l.IDs, ids[i]), append(l.Labels, labels[i])
		}
		lines = append(lines, l)
	}
	_, got, err := grad(e, tmp, lines, "--model", e.path("training/run/model"))
	if err != nil {
		return err
	}
	nearGradients(e.gradients("whole model", 1e-5, 0), want, got, "", 1e-5)
	return nil
}

func integers(t weights.Tensor) []int32 {
	out := make([]int32, t.Len())
	for i := range out {
		at := t.Data[8*i:]
		out[i] = int32(uint32(at[0]) | uint32(at[1])<<8 | uint32(at[2])<<16 | uint32(at[3])<<24)
	}
	return out
}

// A runRow is a line of training/run/data.jsonl.
type runRow struct {
	Prompt []int32 `json:"prompt_ids"`
	Target []int32 `json:"target_ids"`
}

func (r runRow) line() gradLine {
	l := gradLine{IDs: append(append([]int32{}, r.Prompt...), r.Target...)}
	for i, id := range l.IDs {
		if i < len(r.Prompt) {
			id = -100
		}
		l.Labels = append(l.Labels, id)
	}
	return l
}

func doraGradients(e *env, tmp string) error {
	b, err := os.ReadFile(e.path("training/dora/meta.json"))
	if os.IsNotExist(err) {
		return nil
	}
	if err != nil {
		return err
	}
	var meta struct {
		Example int
		Loss    float64
	}
	if err := json.Unmarshal(b, &meta); err != nil {
		return err
	}
	rows, err := readLines[runRow](e.path("training/run/data.jsonl"))
	if err != nil {
		return err
	}
	if meta.Example >= len(rows) {
		return fmt.Errorf("dora names example %d of %d", meta.Example, len(rows))
	}
	want, err := open(e.path("training/dora/expected.safetensors"))
	if err != nil {
		return err
	}
	losses, got, err := grad(e, tmp, []gradLine{rows[meta.Example].line()}, "--model", e.path("training/run/model-nf4"), "--adapter", e.path("training/dora/adapter"))
	if err != nil {
		return err
	}
	t := e.gradients("DoRA", 1e-5, 1e-5)
	nearGradients(t, want, got, "grad.", 1e-5)
	t.near(meta.Loss, losses[0], e.loosely(1e-5, barLoss), "loss")
	return nil
}
