package train

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/evalrun/evalrun/backends/local/nn"
)

// The gradients of a micro-batch of several examples are those of the mean over
// all their judged tokens, and a window's those of its micro-batches' mean.
func TestBatchIsAMeanOverTokens(t *testing.T) {
	j := job(t, "paper", t.TempDir())
	all := []Example{
		{IDs: []int32{1, 2, 3, 4}, Labels: []int32{Ignored, 2, Ignored, Ignored}},
		{IDs: []int32{5, 6, 7, 8, 9, 10}, Labels: []int32{Ignored, 6, 7, 8, 9, 10}},
		{IDs: []int32{11, 12, 13}, Labels: []int32{Ignored, Ignored, 13}},
	}
	grads := func() []float32 {
		var out []float32
		for _, p := range j.Tuned.params {
			x := make([]float32, p.N)
			j.Tuned.dev.Read(x, p.Grad)
			out = append(out, x...)
			j.Tuned.dev.Fill(p.Grad, p.N, 0)
		}
		return out
	}
	// By the other way: each micro-batch alone.
	want := []float32(nil)
	for _, batch := range [][]Example{all[:2], all[2:]} {
		if _, err := j.Tuned.Backward(batch, nn.PassOptions{Keep: true, BF16: true}); err != nil {
			t.Fatal(err)
		}
		for i, g := range grads() {
			if want == nil || i >= len(want) {
				want = append(want, 0)
			}
			want[i] += g / 2
		}
	}
	r := *j.Recipe
	r.Batch, r.Accumulate = 2, 2
	s, err := NewStepper(j.Tuned, &r, 13, 7, true)
	if err != nil {
		t.Fatal(err)
	}
	share(all[:2])
	share(all[2:])
	s.pass.Backward(pack(j.Tuned.model, all, 0, s.weight))
	largest := 0.0
	for i, g := range grads() {
		largest = max(largest, math.Abs(float64(want[i])))
		if d := math.Abs(float64(g - want[i])); d > 1e-6 {
			t.Fatalf("gradient %d is %v, want %v", i, g, want[i])
		}
	}
	if largest < 1e-3 {
		t.Errorf("the largest gradient is %v: nothing was compared", largest)
	}
}

// An epoch's last micro-batch may be smaller; Ludwig leaves it out where it is
// one example.
func TestBatchedOrder(t *testing.T) {
	for _, c := range []struct {
		n, size int
		ludwig  bool
		sizes   string // of the first eight micro-batches
	}{
		{13, 4, true, "4 4 4 4 4 4 4 4"}, {13, 4, false, "4 4 4 1 4 4 4 1"}, {14, 4, true, "4 4 4 2 4 4 4 2"},
		{3, 8, true, "3 3 3 3 3 3 3 3"}, {1, 8, true, "1 1 1 1 1 1 1 1"}, {3, 1, true, "1 1 1 1 1 1 1 1"},
	} {
		r := Recipe{Batch: c.size, Accumulate: 2, Steps: 8, UpdateAtCheckpoint: c.ludwig}
		j := Job{Recipe: &r, Examples: make([]Example, c.n)}
		var sizes []string
		seen := map[int]int{}
		for m := range j.Order() {
			sizes = append(sizes, fmt.Sprint(len(m.Examples)))
			for _, at := range m.Examples {
				seen[at]++
			}
		}
		if got := strings.Join(sizes, " "); got != c.sizes {
			t.Errorf("%+v: micro-batches of %s", c, got)
		}
		for at, n := range seen {
			if epoch := newOrder(c.n, &r).steps; n > (8+epoch-1)/epoch {
				t.Errorf("%+v: example %d came %d times", c, at, n)
			}
		}
	}
	// Windows end with the epoch's micro-batches, of which the lone one is none;
	// a checkpoint's period is bounded by all of them, as there.
	r := Recipe{Batch: 4, Accumulate: 2, Steps: 12, CheckpointEvery: 10, UpdateAtCheckpoint: true}
	var ends []string
	for o, step := newOrder(13, &r), 0; step < r.Steps; {
		w := o.window(step)
		ends = append(ends, fmt.Sprint(w.To, w.Applied, w.Checkpoint))
		step = w.To
	}
	if got, want := strings.Join(ends, ", "), "2 true false, 3 false false, 4 true true, 5 true false, 6 false false, 8 true true, 9 false false, 11 true false, 12 true true"; got != want {
		t.Errorf("windows %s, want %s", got, want)
	}
}

// A training in micro-batches learns, goes on to the same bits, is another than
// one of single examples, and fits its plan; the validation loss is a mean over
// its own batches.
func TestTrainingInBatches(t *testing.T) {
	batched := func(dir string, size int) *Job {
		j := job(t, "paper", dir)
		j.Recipe.Batch, j.Recipe.EvalBatch, j.Recipe.Accumulate = size, 3, 2
		return j
	}
	whole := batched(t.TempDir(), 3)
	var first, last, validation float64
	whole.Tell = func(n News) {
		if last = n.Loss; first == 0 {
			first = last
		}
		if n.Validation != nil && n.Step == n.Steps {
			validation = *n.Validation
		}
	}
	if _, err := whole.Run(context.Background()); err != nil {
		t.Fatal(err)
	}
	if !(last < 0.8*first) {
		t.Errorf("the loss went from %v to %v", first, last)
	}
	want := outcome(t, whole)
	dir := t.TempDir()
	for round := 0; ; round++ {
		j := batched(dir, 3)
		ctx, cancel := context.WithCancel(context.Background())
		windows := 0
		j.Tell = func(News) {
			if windows++; windows == 5 {
				cancel()
			}
		}
		res, err := j.Run(ctx)
		cancel()
		if err != nil || round > 40 {
			t.Fatal(round, err)
		}
		if res.Finished {
			if !bytes.Equal(outcome(t, j), want) {
				t.Error("resumed: another end than uninterrupted")
			}
			break
		}
	}
	single := batched(t.TempDir(), 1)
	if _, err := single.Run(context.Background()); err != nil {
		t.Fatal(err)
	}
	if bytes.Equal(outcome(t, single), want) {
		t.Error("micro-batches of 3 and of 1 are one training")
	}

	// The validation loss by hand, of the values that the last checkpoint has.
	j := batched(filepath.Dir(whole.Dir), 3)
	s, err := j.stepper()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.load(filepath.Join(whole.Dir, checkpointFile), State{Updates: 1}); err != nil {
		t.Fatal(err)
	}
	losses := s.Losses(j.Validation)
	byHand, batches := 0.0, 0.0
	for rows := range slices.Chunk(seq(len(j.Validation)), 3) {
		sum, judged := 0.0, 0
		for _, i := range rows {
			sum, judged = sum+losses[i]*float64(j.Validation[i].Judged()), judged+j.Validation[i].Judged()
		}
		byHand, batches = byHand+sum/float64(judged), batches+1
	}
	if byHand /= batches; math.Abs(byHand-validation) > 1e-9 || byHand == 0 {
		t.Errorf("validation loss %v, by hand %v", validation, byHand)
	}
}

func seq(n int) []int {
	out := make([]int, n)
	for i := range out {
		out[i] = i
	}
	return out
}

// A mistake in a micro-batch is told with its step and row.
func TestBatchNotFinite(t *testing.T) {
	j := job(t, "paper", t.TempDir())
	j.Recipe.Batch = 3
	j.Recipe.LR, j.Recipe.Schedule, j.Recipe.Clip = math.MaxFloat32, Constant, 0
	_, err := j.Run(context.Background())
	var bad *NotFiniteError
	if !errors.As(err, &bad) {
		t.Fatalf("%v", err)
	}
	o := newOrder(len(j.Examples), j.Recipe)
	if bad.Example >= 0 && !slices.Contains(o.at(bad.Step), bad.Example) {
		t.Errorf("step %d has no example %d: %v", bad.Step, bad.Example, err)
	}
	if r := (Recipe{}); r.Check() == nil {
		t.Error("a recipe of nothing is fine")
	}
	for _, text := range []string{`{"batch": 0}`, `{"eval_batch": -1}`, `{"batch": 9223372036854775807}`, `{"eval_batch": 1000001}`, `{"accumulate": 4611686018427387904}`} {
		if _, err := ParseRecipe(text); err == nil || !strings.Contains(err.Error(), "from 1 to a million") {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// Of few examples Ludwig checks, evaluates and restarts the rate once an epoch.
func TestSettle(t *testing.T) {
	for _, c := range []struct {
		text     string
		examples int
		want     [3]int // checkpoint_every, eval_every, restart
	}{
		{`{}`, 635, [3]int{635, 635, 635}}, {`{}`, 5000, [3]int{1000, 1000, 1000}}, {`{"batch": 4}`, 635, [3]int{159, 159, 159}},
		{`{"restart": 50, "eval_every": 20}`, 635, [3]int{635, 20, 50}}, {`{"checkpoint_every": 8}`, 635, [3]int{8, 1000, 1000}},
		{`{"preset": "modern"}`, 635, [3]int{1000, 1000, 0}}, {`{"steps": 96}`, 635, [3]int{96, 96, 96}}, {`{"epochs": 0.1}`, 635, [3]int{64, 64, 64}},
		{`{"eval_every": 0}`, 635, [3]int{635, 0, 635}}, {`{"checkpoint_every": 0, "eval_every": 0}`, 635, [3]int{635, 0, 1000}},
	} {
		r, err := ParseRecipe(c.text)
		if err != nil {
			t.Fatal(err)
		}
		for range 2 { // once settled it stays
			r.Settle(c.examples)
			if got := [3]int{r.CheckpointEvery, r.EvalEvery, r.Restart}; got != c.want {
				t.Errorf("%s, %d examples: %v, want %v", c.text, c.examples, got, c.want)
			}
		}
	}
}

// Epochs make steps, of micro-batches; steps that are given go before them.
func TestEpochs(t *testing.T) {
	for text, want := range map[string]int{`{"epochs": 3}`: 300, `{"epochs": 1.005, "preset": "modern"}`: 101, `{"epochs": 2, "batch": 8}`: 26, `{"epochs": 3, "steps": 40}`: 40, `{}`: 40000} {
		r, err := ParseRecipe(text)
		if err != nil {
			t.Fatal(err)
		}
		r.Settle(100)
		if r.Steps != want {
			t.Errorf("%s: %d steps, want %d", text, r.Steps, want)
		}
		// What is kept beside the adapter says the same.
		kept, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		if again, err := ParseRecipe(string(kept)); err != nil || again.Steps != want {
			t.Errorf("%s: read again %d steps, %v", text, again.Steps, err)
		}
		if s := r.Rates(); s.Steps != want || r.Warmup == nil && math.Ceil(s.Warmup) != math.Ceil(0.03*float64(want)) {
			t.Errorf("%s: a warm-up of %v of %d", text, s.Warmup, s.Steps)
		}
	}
	for _, text := range []string{`{"epochs": -1}`, `{"epochs": 1e9}`} {
		if _, err := ParseRecipe(text); err == nil || !strings.Contains(err.Error(), "epochs is") {
			t.Errorf("%s: %v", text, err)
		}
	}
}
