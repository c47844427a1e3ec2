package local

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/evalrun/evalrun/backends/local/arch"
	"github.com/evalrun/evalrun/backends/local/lora"
	"github.com/evalrun/evalrun/backends/local/quant"
	"github.com/evalrun/evalrun/backends/local/train"
	"github.com/evalrun/evalrun/core"
	"github.com/evalrun/evalrun/kernels/cpu"
)

// A training that followed a score is rehearsed without what scored it.
func TestRehearsalOfAScoredTraining(t *testing.T) {
	r, err := Rehearse("", core.Job{Data: rowsFile(t, t.TempDir(), 8), Recipe: `{"preset":"modern","steps":8,"accumulate":4,"monitor":"score"}`})
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for range r.MicroBatches() {
		n++
	}
	if err := r.Close(); n != 8 || err != nil {
		t.Errorf("%d micro-batches, %v", n, err)
	}
}

// Whoever takes the rehearsed micro-batches from the rehearsed start ends with
// the adapter that the training left, byte for byte: with windows that a
// checkpoint cuts, and others whose gradients are dropped.
func TestRehearsal(t *testing.T) {
	dir := t.TempDir()
	job := core.Job{Data: rowsFile(t, dir, 21), Recipe: `{"preset":"paper","steps":50,"accumulate":4,"checkpoint_every":14,"lr":0.003,"restart":30,"compute":"f32","dropout":0}`, Out: filepath.Join(dir, "out")}
	plan, end, err := trainTo(t, job, 0)
	if err != nil || !end.Finished {
		t.Fatal(err, end)
	}
	job.Recipe = plan.Recipe // the effective one means the same
	r, err := Rehearse("", job)
	if err != nil {
		t.Fatal(err)
	}
	var all []MicroBatch
	dropped, updates := 0, 0
	for m := range r.MicroBatches() {
		if m.Step != len(all) || m.Update && m.Drop {
			t.Fatalf("micro-batch %d: %+v", len(all), m)
		}
		all = append(all, m)
		if m.Drop {
			dropped++
		}
		if m.Update {
			updates++
		}
	}
	if len(all) != plan.Steps || updates != plan.Updates || dropped == 0 {
		t.Fatalf("%d micro-batches with %d updates, %d dropped; the plan has %d and %d", len(all), updates, dropped, plan.Steps, plan.Updates)
	}
	start := filepath.Join(dir, "start")
	if err := r.Start(start); err != nil {
		t.Fatal(err)
	}
	recipe := r.t.recipe
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	a, err := lora.Open(start)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	dev, err := cpu.New(cpu.Options{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer dev.Close()
	c, f, err := arch.Open(r.t.path)
	if err != nil {
		t.Fatal(err)
	}
	model, err := arch.Build(dev, c, f, 0, arch.Options{Quant: quant.NF4})
	if err != nil {
		t.Fatal(err)
	}
	defer model.Close()
	tuned, err := train.Adapt(dev, model, a, 0)
	if err != nil {
		t.Fatal(err)
	}
	s, err := train.NewStepper(tuned, &recipe, 4*recipe.TotalTokens, 4*recipe.TotalTokens, true)
	if err != nil {
		t.Fatal(err)
	}
	var window []train.Example
	for _, m := range all {
		window = append(window, train.Example{IDs: m.IDs, Labels: m.Labels, Key: uint32(m.Step)})
		if m.LR != s.Rate(m.Step) {
			t.Fatalf("step %d: rate %g, want %g", m.Step, m.LR, s.Rate(m.Step))
		}
		if m.Update {
			if _, _, err := s.Window(m.Step+1-len(window), window); err != nil {
				t.Fatal(err)
			}
		}
		if m.Update || m.Drop {
			window = nil
		}
	}
	again := filepath.Join(dir, "again")
	if err := lora.Write(again, a.Text, tuned.Values()); err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile(filepath.Join(end.Adapter, "adapter_model.safetensors"))
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(filepath.Join(again, "adapter_model.safetensors"))
	if err != nil || !bytes.Equal(got, want) {
		t.Error("another adapter than the training's", err)
	}
}
