package training

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/evalrun/evalrun/core"
	"github.com/evalrun/evalrun/core/run"
	"github.com/evalrun/evalrun/internal/filelock"
	"github.com/evalrun/evalrun/internal/trainlog"
)

func rows(texts ...string) iter.Seq2[run.Row, error] {
	return func(yield func(run.Row, error) bool) {
		for i, t := range texts {
			label, rest := t[:1], t[1:]
			if label == "-" {
				label = ""
			}
			if !yield(run.Row{ID: string(rune('a' + i)), Fields: map[string]any{"text": rest, "label": label}}, nil) {
				return
			}
		}
	}
}

func task() *core.Task {
	return &core.Task{Name: "t", Prompt: "{text}:", Target: "label", Labels: []string{"0", "1"}, Metrics: []core.MetricSpec{{Name: "accuracy"}}}
}

func TestPrepare(t *testing.T) {
	d, err := Prepare(&run.Job{Task: task()}, rows("1good", "0bad", "-none", "7what", "1shared"), Options{Evaluation: rows("0shared", "1other")})
	if err != nil {
		t.Fatal(err)
	}
	want := []Row{{ID: "a", Prompt: "good:", Completion: " 1"}, {ID: "b", Prompt: "bad:", Completion: " 0"}, {ID: "e", Prompt: "shared:", Completion: " 1"}}
	if !slices.EqualFunc(d.Rows, want, func(a, b Row) bool { return a.ID == b.ID && a.Prompt == b.Prompt && a.Completion == b.Completion }) {
		t.Errorf("%+v", d.Rows)
	}
	notes := d.Notes()
	wantNotes := []string{"1 of 5 rows are left out, their target is empty: c", `1 of 5 rows are left out, their target is none of the labels: d ("7")`, "1 of 5 rows are also evaluated, so their scores flatter: e"}
	if !slices.Equal(notes, wantNotes) {
		t.Errorf("%q", notes)
	}
}

// What joins prompt and completion: the option, or a blank where neither
// brings white space.
func TestJoin(t *testing.T) {
	nothing, line := "", "\n"
	for _, c := range []struct {
		join         *string
		prompt, want string
	}{{nil, "{text}:", " 1"}, {nil, "{text}: ", "1"}, {&nothing, "{text}:", "1"}, {&line, "{text}:", "\n1"}} {
		one := task()
		one.Prompt = c.prompt
		d, err := Prepare(&run.Job{Task: one}, rows("1x"), Options{Join: c.join})
		if err != nil || d.Rows[0].Completion != c.want {
			t.Errorf("%q: %+v, %v, want %q", c.prompt, d.Rows, err, c.want)
		}
	}
}

// The rows that are held out depend on seed and ids alone, and none is in both
// parts.
func TestHoldout(t *testing.T) {
	var texts []string
	for range 20 {
		texts = append(texts, "1x")
	}
	held := func(seed uint64, n int) (ids []string) {
		d, err := Prepare(&run.Job{Task: task()}, rows(texts[:n]...), Options{Holdout: 0.25, Seed: seed})
		if err != nil || len(d.Rows)+len(d.Validation) != n {
			t.Fatal(d, err)
		}
		for _, r := range d.Validation {
			ids = append(ids, r.ID)
			if slices.ContainsFunc(d.Rows, func(o Row) bool { return o.ID == r.ID }) {
				t.Errorf("row %s is in both parts", r.ID)
			}
		}
		return ids
	}
	if a, b := held(1, 20), held(1, 20); len(a) != 5 || !slices.Equal(a, b) {
		t.Error(a, b)
	}
	if slices.Equal(held(1, 20), held(2, 20)) {
		t.Error("the seed changes nothing")
	}
	if got := held(1, 2); len(got) != 1 {
		t.Error("of two rows:", got)
	}
}

// A byte order mark is no part of the first row; bytes that are no UTF-8 are told.
func TestOwnRowsBytes(t *testing.T) {
	path := filepath.Join(t.TempDir(), "rows.jsonl")
	rows := "\ufeff" + `{"prompt":"a","completion":"x"}` + "\n" + `{"prompt":"b","completion":"y"}` + "\n"
	for text, want := range map[string]string{rows: "", rows + "{\"prompt\":\"\xe9\"}\n": ":3: byte 12 of the line (0xe9) is not valid UTF-8"} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := OwnRows(path, 0.5, 1); (err != nil) != (want != "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

// A share of a user's file is held out: rows with the same question stay on one
// side, lines keep their numbers, and the files hold all there was.
func TestOwnRows(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "rows.jsonl")
	var text strings.Builder
	for i := range 40 {
		if i%4 == 0 {
			text.WriteByte('\n')
		}
		if i%2 == 0 {
			fmt.Fprintf(&text, `{"prompt":"p%d","completion":"c%d"}`+"\n", i/4, i)
		} else {
			fmt.Fprintf(&text, `{"messages":[{"role":"user","content":"q%d"},{"role":"assistant","content":"c%d"}]}`+"\n", i/4, i)
		}
	}
	if err := os.WriteFile(path, []byte(text.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	d, err := OwnRows(path, 0.3, 1)
	if err != nil || len(d.Rows)+len(d.Validation) != 40 || len(d.Validation) < 12 || len(d.Validation) > 13 {
		t.Fatal(len(d.Rows), len(d.Validation), err)
	}
	side := map[string]int{}
	for i, part := range [][]Row{d.Rows, d.Validation} {
		for _, r := range part {
			if before, ok := side[r.key]; ok && before != i {
				t.Errorf("%s is on both sides", r.key)
			}
			side[r.key] = i
		}
	}
	data, held, err := d.Save(filepath.Join(dir, "out"), "")
	if err != nil {
		t.Fatal(err)
	}
	lines := func(path string) []string {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return strings.Split(string(text), "\n")
	}
	a, b := lines(data), lines(held)
	for i, want := range lines(path) {
		var got string
		for _, part := range [][]string{a, b} {
			if i < len(part) {
				got += part[i]
			}
		}
		if got != want {
			t.Errorf("line %d is %q in the parts, and was %q", i+1, got, want)
		}
	}
	again, err := OwnRows(path, 0.3, 1)
	if err != nil || len(again.Validation) != len(d.Validation) {
		t.Error(err)
	}
	if err := os.WriteFile(path, []byte(`{"prompt":"p","completion":"a"}`+"\n"+`{"prompt":"p","completion":"b"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := OwnRows(path, 0.3, 1); err == nil || !strings.Contains(err.Error(), "none of its 2 rows can be held out") {
		t.Error(err)
	}
}

func TestRecipe(t *testing.T) {
	got, err := Recipe(map[string]any{"preset": "modern", "lr": 0.1, "rank": 4}, []string{"recipe.lr=1e-4", "recipe.targets=q_proj", "recipe.betas=[0.9, 0.99]"}, map[string]any{"rank": 16})
	if want := `{"betas":[0.9,0.99],"lr":0.0001,"preset":"modern","rank":16,"targets":["q_proj"]}`; err != nil || got != want {
		t.Errorf("%s, %v, want %s", got, err, want)
	}
	if Preset(got) != "modern" || Preset("{}") != "paper" {
		t.Error("preset")
	}
	for sets, want := range map[string]string{
		"recipe.epochs=2": `{"epochs":2}`, "recipe.epochs=2 recipe.steps=9": `{"epochs":2,"steps":9}`, "recipe.epochs=0": `{"epochs":0,"steps":100}`, "recipe.lr=1": `{"lr":1,"steps":100}`,
	} {
		if got, err := Recipe(map[string]any{"steps": 100}, strings.Fields(sets), nil); err != nil || got != want {
			t.Errorf("%s over steps of a task: %s, %v, want %s", sets, got, err, want)
		}
	}
	if got, err := Recipe(map[string]any{"steps": 100}, []string{"recipe.epochs=2"}, map[string]any{"steps": 7}); err != nil || got != `{"epochs":2,"steps":7}` {
		t.Errorf("--steps: %s, %v", got, err)
	}
	if _, err := Recipe(nil, []string{"recipe.lr"}, nil); err == nil {
		t.Error("a setting without a value")
	}
}

// The bytes of a small event file, put together by hand from the definitions
// of TFRecord and Event; masked checksums by RFC 3720's CRC-32C, whose value of
// "123456789" is e3069283.
func TestEvents(t *testing.T) {
	if got := masked([]byte("123456789")); got != (0xe3069283>>15|0xe3069283<<17&0xffffffff)+0xa282ead8&0xffffffff {
		t.Errorf("checksum %08x", got)
	}
	var b bytes.Buffer
	e := newEvents(&b, time.Unix(1, 0))
	e.add(trainlog.Line{Step: 300, Loss: 0.5}, time.Unix(2, 0))
	text := b.Bytes()
	first, _ := hex.DecodeString("09000000000000f03f" + "1a0d" + hex.EncodeToString([]byte("brain.Event:2")))
	if int(text[0]) != len(first) || !bytes.Equal(text[12:12+len(first)], first) {
		t.Errorf("first event %x", text[:12+len(first)])
	}
	loss, _ := hex.DecodeString("09" + "0000000000000040" + "10ac02" + "2a")
	second := text[12+len(first)+4+12:]
	if !bytes.HasPrefix(second, loss) {
		t.Errorf("second event %x, want %x", second, loss)
	}
	value, _ := hex.DecodeString("0a11" + "0a0a" + hex.EncodeToString([]byte("train/loss")) + "15" + "0000003f")
	if !bytes.Contains(second, value) {
		t.Errorf("second event %x has no %x", second, value)
	}
}

// A log that goes on has the windows up to the checkpoint, and no others.
func TestLogGoesOn(t *testing.T) {
	dir := t.TempDir()
	text := `{"step":4,"loss":3}` + "\n" + `{"step":8,"loss":2}` + "\n" + `{"step":12,"loss":1}` + "\n"
	if err := os.WriteFile(filepath.Join(dir, "metrics.jsonl"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	l := &Log{Dir: dir}
	if err := l.Begin(8); err != nil {
		t.Fatal(err)
	}
	if err := l.Add(&core.TrainStep{Step: 12, Loss: 1, Evaluated: true, Validation: 5}); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil || len(l.Points) != 3 || *l.Points[2].Validation != 5 {
		t.Errorf("%+v, %v", l.Points, err)
	}
	events, err := os.ReadFile(filepath.Join(dir, eventsFile))
	if err != nil || bytes.Count(events, []byte("train/lr")) != 3 {
		t.Errorf("%d events, %v", bytes.Count(events, []byte("train/lr")), err)
	}
}

// The configuration that the LoRA Land report prints as figure 4, and what is
// made of it.
func TestLudwig(t *testing.T) {
	text := `
model_type: llm
base_model: mistralai/Mistral-7B-v0.1
input_features:
  - {name: prompt, type: text, preprocessing: {max_sequence_length: 1194}}
output_features:
  - {name: output, type: text, preprocessing: {max_sequence_length: null}}
prompt: {template: "{x}"}
adapter: {type: lora, r: 8, target_modules: [v_proj, q_proj]}
quantization: {bits: 4, bnb_4bit_compute_dtype: bfloat16}
preprocessing: {global_max_sequence_length: 1196}
trainer:
  type: finetune
  optimizer: {type: adam}
  batch_size: 1
  gradient_accumulation_steps: 16
  train_steps: 40000
  learning_rate: 0.0002
  learning_rate_scheduler: {decay: cosine, warmup_fraction: 0.03}
  steps_per_checkpoint: 1000
  eval_steps: 100
  eval_batch_size: 1
`
	l, err := ReadLudwig([]byte(text))
	if err != nil || l.Base != "mistralai/Mistral-7B-v0.1" || len(l.Lost) > 0 {
		t.Fatalf("%+v, %v", l, err)
	}
	got, err := Recipe(l.Recipe, nil, nil)
	want := `{"accumulate":16,"alpha":16,"checkpoint_every":1000,"compute":"bf16","eval_every":1000,"eval_rows":100,"lr":0.0002,"optimiser":"adam","preset":"paper",` +
		`"prompt_tokens":1194,"quant":"nf4","rank":8,"restart":1000,"schedule":"cosine-restarts","steps":40000,"targets":["v_proj","q_proj"],"total_tokens":1196,"warmup":1200}`
	if err != nil || got != want {
		t.Errorf("%s, %v, want\n%s", got, err, want)
	}
	if _, err := ReadLudwig([]byte("task: x")); err == nil {
		t.Error("a task file is taken for Ludwig's")
	}
	for text, want := range map[string]string{"a: [": "not readable as YAML", "": "is it a configuration", "- a": "is it a configuration"} {
		if _, err := ReadLudwig([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// What a configuration leaves out has Ludwig's default, and what the recipe
// cannot have is told with key and line.
func TestLudwigDefaults(t *testing.T) {
	const fine = "adapter: lora\ntrainer: {type: finetune, batch_size: 1, train_steps: 100, steps_per_checkpoint: 10"
	for _, c := range []struct {
		text   string
		recipe map[string]any
		lost   []string // line, key and the beginning of why
	}{
		{fine + "}", map[string]any{"quant": "none", "compute": "f32", "schedule": "constant", "lr": 1e-3, "optimiser": "adam", "accumulate": 1, "warmup": 0, "restart": 10, "eval_rows": 0, "eval_batch": 2, "batch": nil}, nil},
		{strings.Replace(fine, "batch_size: 1", "batch_size: 4", 1) + ", gradient_accumulation_steps: 2, eval_steps: 10, effective_batch_size: 8}",
			map[string]any{"batch": 4, "accumulate": 2, "eval_batch": 4, "eval_rows": 40, "steps": 100, "checkpoint_every": 10, "restart": 10}, nil},
		{strings.Replace(fine, "batch_size: 1", "batch_size: 4", 1) + ", effective_batch_size: 16, eval_batch_size: 8, eval_steps: 10}", map[string]any{"batch": 4, "accumulate": 4, "eval_batch": 8, "eval_rows": 80}, nil},
		{strings.Replace(fine, "batch_size: 1", "batch_size: auto", 1) + ", effective_batch_size: 16, gradient_accumulation_steps: 8, eval_batch_size: null}", map[string]any{"batch": 2, "accumulate": 8, "eval_batch": 2, "eval_rows": 0}, nil},
		{strings.Replace(fine, "batch_size: 1, ", "", 1) + ", eval_batch_size: 1, eval_steps: 0}", map[string]any{"batch": nil, "eval_batch": nil, "eval_rows": 0}, nil},
		{strings.Replace(fine, "batch_size: 1", "batch_size: auto", 1) + ", eval_batch_size: auto, gradient_accumulation_steps: 0, eval_steps: some}", map[string]any{"accumulate": 1}, []string{
			"2 trainer.batch_size is auto: Ludwig then takes what it finds to be fastest", "2 trainer.eval_batch_size is auto", "2 trainer.eval_steps is some, and no whole number", "2 trainer.gradient_accumulation_steps is 0, and no whole number"}},

		{fine + ", effective_batch_size: 8, gradient_accumulation_steps: auto, early_stop: -1, gradient_clipping: {clipglobalnorm: null}}",
			map[string]any{"accumulate": 8, "patience": 0, "clip": 0}, nil},
		{fine + ", use_mixed_precision: false, regularization_lambda: 0.0, learning_rate: auto}\nbackend: {type: local, cache_dir: x}\nrandom_seed: 7", map[string]any{"seed": 7},
			[]string{"2 trainer.learning_rate is auto, and no number"}},
		{fine + ", gradient_accumulation_steps: 2, effective_batch_size: 8}", nil, []string{"2 trainer.effective_batch_size is 8, which batch_size 1"}},
		{"adapter: {type: lora, r: 4, bias_type: all}\ntrainer:\n  type: finetune\n  batch_size: 4\n  epochs: 3\n  learning_rate_schedular: {decay: linear}\n  optimizer: {type: sgd}\n  learning_rate_scheduler: {warmup_fraction: 0.1}\n",
			map[string]any{"rank": 4, "alpha": 8, "batch": 4, "epochs": 3, "checkpoint_every": 1_000_000_000, "eval_every": 1_000_000_000, "restart": 1_000_000_000}, []string{
				"1 adapter.bias_type is all, and here it is none",
				"6 trainer.learning_rate_schedular.decay is not understood; did you mean \"trainer.learning_rate_scheduler.decay\"?", "7 trainer.optimizer.type is sgd; known: adam, adamw, paged_adam",
				"8 trainer.learning_rate_scheduler.warmup_fraction is a share"}},
		{"adapter: lora\ntrainer: {type: finetune, epochs: 0, steps_per_checkpoint: -4}", nil, []string{"2 trainer.epochs is 0, and no whole number from 1", "2 trainer.steps_per_checkpoint is -4"}},
		{"base_model: x\nquantization: {bits: 4, bnb_4bit_use_double_quant: false}\ntrainer: {type: none}", map[string]any{"epochs": 100}, []string{
			"2 quantization.bnb_4bit_use_double_quant is false, and here it is true", "3 trainer.type is none", "0 adapter is not there", "0 quantization.bnb_4bit_compute_dtype is not there"}},
		{"adapter: [lora]\ntrainer: {optimizer: [adam], batch_size: 1, train_steps: 1, steps_per_checkpoint: 1}\noutput_features: [{name: o, preprocessing: {max_sequence_length: 5}}]", nil, []string{
			"1 adapter is [lora]", "2 trainer.optimizer is [adam]", "3 output_features preprocessing.max_sequence_length is 5"}},
	} {
		l, err := ReadLudwig([]byte(c.text))
		if err != nil {
			t.Errorf("%s: %v", c.text, err)
			continue
		}
		for k, want := range c.recipe {
			if got := l.Recipe[k]; got != want {
				t.Errorf("%s\n%s is %v, want %v", c.text, k, got, want)
			}
		}
		var lost []string
		for _, k := range l.Lost {
			lost = append(lost, strings.TrimSuffix(fmt.Sprintf("%d %s %s; %s", k.Line, k.Key, k.Why, k.Hint), "; "))
		}
		if !slices.EqualFunc(lost, c.lost, strings.HasPrefix) {
			t.Errorf("%s\nlost\n%s\nwant\n%s", c.text, strings.Join(lost, "\n"), strings.Join(c.lost, "\n"))
		}
	}
}

// While a training goes on, its rows are not written over by another's.
func TestRowsOfATrainingStay(t *testing.T) {
	out := t.TempDir()
	d := &Data{Rows: []Row{{ID: "a", Prompt: "p", Completion: "c"}}}
	path, _, err := d.Save(out, "")
	if err != nil {
		t.Fatal(err)
	}
	lock, err := filelock.Acquire(filepath.Join(Work(out), lockFile))
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := d.Save(out, ""); err != nil {
		t.Errorf("the same rows: %v", err)
	}
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	other := &Data{Rows: []Row{{ID: "b", Prompt: "p", Completion: "c"}}}
	var user *core.UserError
	if _, _, err := other.Save(out, ""); !errors.As(err, &user) || user.Where != out {
		t.Errorf("other rows: %v", err)
	}
	other.Discard(out)
	if after, err := os.ReadFile(path); err != nil || !bytes.Equal(after, before) {
		t.Errorf("the rows were changed (%v)", err)
	}
	lock.Release()
	if _, _, err := other.Save(out, ""); err != nil {
		t.Errorf("other rows later: %v", err)
	}
}

// Rows of two files that ask the same are named, however the files write it.
func TestRepeated(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	rows := write("rows", `{"prompt": "a\u003cb", "completion": "1"}`+"\n\n"+`{"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}]}`+"\n")
	held := write("held", `{"id": 7, "completion": "2", "prompt": "a<b"}`+"\n"+`{"prompt": "b", "completion": "1"}`+"\n"+`{"messages":[{"content":"x","role":"user"},{"role":"assistant","content":"z"}]}`)
	if again, all := Repeated(rows, held); all != 3 || !slices.Equal(again, []string{"7", "line 3"}) {
		t.Errorf("%q of %d", again, all)
	}
	for _, broken := range []string{write("broken", "x\n"), filepath.Join(dir, "nowhere")} {
		if again, all := Repeated(rows, broken); again != nil || all != 0 {
			t.Errorf("%s: %q of %d", broken, again, all)
		}
		if again, all := Repeated(broken, held); again != nil || all != 0 {
			t.Errorf("%s: %q of %d", broken, again, all)
		}
	}
}
