package local

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/evalrun/evalrun/backends/local/demo"
	"github.com/evalrun/evalrun/core"
	"github.com/evalrun/evalrun/kernels/cpu"
	"github.com/evalrun/evalrun/plugins"
)

// rowsFile writes rows whose answer is the colour in the prompt.
func rowsFile(t *testing.T, dir string, n int) string {
	t.Helper()
	var b strings.Builder
	colours := []string{"red", "green", "blue"}
	for i := range n {
		line, err := json.Marshal(map[string]string{"id": fmt.Sprint("r", i), "prompt": fmt.Sprintf("The %s door number %d. Colour:", colours[i%3], i), "completion": " " + colours[i%3]})
		if err != nil {
			t.Fatal(err)
		}
		b.Write(append(line, '\n'))
	}
	path := filepath.Join(dir, "rows.jsonl")
	if err := os.WriteFile(path, []byte(b.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

const quickRecipe = `{"preset":"paper","steps":48,"accumulate":8,"checkpoint_every":16,"lr":0.003,"warmup":4,"restart":100,"compute":"f32","eval_every":24}`

// trainTo runs a job through the wire; it is stopped after stop steps, 0 never.
func trainTo(t *testing.T, job core.Job, stop int) (*core.TrainPlan, *core.TrainEnd, error) {
	t.Helper()
	b, err := New(core.Config{})
	if err != nil {
		t.Fatal(err)
	}
	wire, err := plugins.Loopback(context.Background(), b)
	if err != nil {
		t.Fatal(err)
	}
	defer wire.Close()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var plan *core.TrainPlan
	var end *core.TrainEnd
	for n, err := range wire.(core.Trainer).Train(ctx, job) {
		if err != nil {
			return plan, end, err
		}
		switch n.Kind {
		case core.PlanNews:
			plan = n.Plan
		case core.StepNews:
			if stop > 0 && n.Step.Step >= stop {
				cancel()
			}
		case core.EndNews:
			end = n.End
		}
	}
	return plan, end, nil
}

// The demonstration model is fine-tuned, a GGUF file with rows of q in pairs;
// stopped and resumed, the adapter has the same hash, and it changes answers.
func TestTrain(t *testing.T) {
	dir := t.TempDir()
	data := rowsFile(t, dir, 40)
	job := core.Job{Data: data, Validation: data, Recipe: quickRecipe, Out: filepath.Join(dir, "whole")}
	plan, end, err := trainTo(t, job, 0)
	if err != nil {
		t.Fatal(err)
	}
	if !end.Finished || end.Step != 48 || end.Hash == "" || end.Best == 0 {
		t.Errorf("end %+v", end)
	}
	if plan.Examples != 40 || plan.Parameters == 0 || len(plan.Memory) == 0 || !strings.Contains(strings.Join(plan.Batch, "\n"), `[" red"]`) && !strings.Contains(strings.Join(plan.Batch, "\n"), `["`) {
		t.Errorf("plan %+v", plan)
	}
	resumed := job
	resumed.Out = filepath.Join(dir, "resumed")
	var last *core.TrainEnd
	for i := 0; last == nil || !last.Finished; i++ {
		if _, last, err = trainTo(t, resumed, 8*(i+1)); err != nil || i > 10 {
			t.Fatal(err, i)
		}
	}
	if last.Hash != end.Hash {
		t.Errorf("resumed %s, uninterrupted %s", last.Hash, end.Hash)
	}

	// The adapter is used by name, beside its base.
	b, err := New(core.Config{Adapters: []core.Adapter{{Name: "doors", Path: end.Adapter}}})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	s, err := b.Open(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	prompt := "The green door number 99. Colour:"
	for _, name := range []string{"", "doors"} {
		r := core.Request{ID: "x" + name, Kind: core.ScoreText, Prompt: prompt, Continuations: []string{" green", " red"}, Adapter: name}
		if err := s.Send(r); err != nil {
			t.Fatal(err)
		}
	}
	got := map[string]float64{}
	for ev, err := range s.Events() {
		if err != nil || ev.Err != nil {
			t.Fatal(err, ev.Err)
		}
		if ev.Response != nil {
			if got[ev.ID] = ev.Response.Scores[0].LogProb; len(got) == 2 {
				break
			}
		}
	}
	if !(got["xdoors"] > got["x"]+0.5) {
		t.Errorf("log-likelihood of the right answer: base %v, fine-tuned %v", got["x"], got["xdoors"])
	}
}

// A caller that wants no more news ends the training, and a checkpoint is left.
func TestTrainIsLeft(t *testing.T) {
	dir := t.TempDir()
	b, err := New(core.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	job := core.Job{Data: rowsFile(t, dir, 12), Recipe: `{"steps":400000,"accumulate":4,"checkpoint_every":400000}`, Out: filepath.Join(dir, "out")}
	for n, err := range b.(core.Trainer).Train(context.Background(), job) {
		if err != nil {
			t.Fatal(err)
		}
		if n.Kind == core.StepNews {
			break
		}
	}
	plan, _, err := trainTo(t, job, 1)
	if err != nil || plan.Resumed != 4 {
		t.Errorf("resumed at %d, want 4: %v", plan.Resumed, err)
	}
}

// A training that goes on on another instruction-set path says that its bits are
// no one's.
func TestTrainOnAnotherPath(t *testing.T) {
	if len(cpu.Paths()) < 2 {
		t.Skip("this machine has one path")
	}
	dir := t.TempDir()
	job := core.Job{Data: rowsFile(t, dir, 12), Recipe: quickRecipe, Out: filepath.Join(dir, "out")}
	var said bytes.Buffer
	defer slog.SetDefault(slog.Default())
	slog.SetDefault(slog.New(slog.NewTextHandler(&said, nil)))
	for range 2 {
		if _, _, err := trainTo(t, job, 8); err != nil || said.Len() > 0 {
			t.Fatalf("%v, said %s", err, &said)
		}
	}
	t.Setenv(cpu.PathVariable, "go")
	if _, _, err := trainTo(t, job, 8); err != nil || !strings.Contains(said.String(), "goes on on cpu, go") {
		t.Errorf("%v, said %q", err, &said)
	}
}

// A checkpoint does not go on over another base, though all else is the same.
func TestTrainOnAnotherBase(t *testing.T) {
	dir := t.TempDir()
	file, err := demo.File()
	if err != nil {
		t.Fatal(err)
	}
	weights, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	base := filepath.Join(dir, "base.gguf")
	job := core.Job{Data: rowsFile(t, dir, 12), Recipe: quickRecipe, Out: filepath.Join(dir, "out")}
	train := func() (*core.TrainEnd, error) {
		if err := os.WriteFile(base, weights, 0o600); err != nil {
			t.Fatal(err)
		}
		b, err := New(core.Config{Model: base})
		if err != nil {
			t.Fatal(err)
		}
		defer b.Close()
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		var end *core.TrainEnd
		for n, err := range b.(core.Trainer).Train(ctx, job) {
			if err != nil {
				return nil, err
			}
			if n.Kind == core.StepNews {
				cancel()
			}
			end = n.End
		}
		return end, nil
	}
	for i := range 2 {
		if end, err := train(); err != nil || end.Step != 8+4*i { // a window, and one that the epoch of 12 cuts
			t.Fatalf("%+v, %v", end, err)
		}
	}
	weights[len(weights)-3] ^= 1
	var user *core.UserError
	if _, err := train(); !errors.As(err, &user) || !strings.Contains(user.Message, "another base model") || user.Hint == "" {
		t.Errorf("another base: %v", err)
	}
}

func TestTrainRefuses(t *testing.T) {
	dir := t.TempDir()
	data := rowsFile(t, dir, 6)
	broken := filepath.Join(dir, "broken.jsonl")
	if err := os.WriteFile(broken, []byte("{\"prompt\":\"a\",\"completion\":\"b\"}\n{\"prompt\":3}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for want, job := range map[string]core.Job{
		"did you mean \"rank\"":             {Data: data, Recipe: `{"rnak":4}`},
		"no such preset":                    {Data: data, Recipe: `{"preset":"papr"}`},
		"dropout is 1.5":                    {Data: data, Recipe: `{"dropout":1.5}`},
		"no such linear module":             {Data: data, Recipe: `{"targets":["q_projj"],"steps":8}`},
		"broken.jsonl:2":                    {Data: broken, Recipe: `{"steps":8}`},
		"cannot be opened":                  {Data: filepath.Join(dir, "none.jsonl"), Recipe: `{}`},
		"the plan needs":                    {Data: data, Recipe: `{"steps":8}`, Memory: 1 << 20},
		"none of 6 rows can be trained on:": {Data: data, Recipe: `{"steps":8,"prompt_tokens":3,"total_tokens":3}`},
	} {
		job.Out = filepath.Join(dir, "out")
		_, _, err := trainTo(t, job, 0)
		var user *core.UserError
		if !errors.As(err, &user) || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q", err, want)
		}
	}
	// What a plan finds is told without training.
	plan, end, err := trainTo(t, core.Job{Data: data, Recipe: `{"steps":8,"accumulate":2}`, Out: filepath.Join(dir, "plan"), PlanOnly: true}, 0)
	if err != nil || end.Finished || !(plan.SecondsPerStep > 0) || plan.Updates != 4 {
		t.Errorf("plan %+v, end %+v, %v", plan, end, err)
	}
	names := func(m core.MemoryPart) bool { return m.Name == "activations" && m.Bytes > 0 }
	if plan != nil && !slices.ContainsFunc(plan.Memory, names) {
		t.Errorf("memory %+v", plan.Memory)
	}
}

// A folder with a config.json alone has a plan.
func TestPlanOfShape(t *testing.T) {
	dir := t.TempDir()
	config := `{"architectures":["MistralForCausalLM"],"model_type":"mistral","hidden_size":4096,"intermediate_size":14336,"num_hidden_layers":32,
		"num_attention_heads":32,"num_key_value_heads":8,"vocab_size":32000,"max_position_embeddings":32768,"sliding_window":4096,"hidden_act":"silu","rms_norm_eps":1e-5,"rope_theta":10000}`
	if err := os.WriteFile(filepath.Join(dir, "config.json"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	b, err := New(core.Config{Model: dir})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	job := core.Job{Data: rowsFile(t, dir, 40), Recipe: `{"steps":64}`, Out: filepath.Join(dir, "out"), PlanOnly: true}
	for n, err := range b.(core.Trainer).Train(context.Background(), job) {
		if err != nil {
			t.Fatal(err)
		}
		if n.Kind != core.PlanNews {
			continue
		}
		// The report's adapter has 3,407,872 parameters on this shape.
		if n.Plan.Parameters != 3407872 || n.Plan.Model != 7241732096 {
			t.Errorf("%d parameters of %d", n.Plan.Parameters, n.Plan.Model)
		}
		base := int64(0)
		for _, m := range n.Plan.Memory {
			if m.Name == "weights" || m.Name == "embeddings looked up in the file" {
				base += m.Bytes
			}
		}
		// 6.98 G values in 4.127 bits, and twice 131 M in two bytes.
		if base < 4.1e9 || base > 4.15e9 {
			t.Errorf("weights of %d bytes", base)
		}
	}
}
