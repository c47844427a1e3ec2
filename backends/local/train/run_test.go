package train

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/evalrun/evalrun/backends/local/arch"
	"github.com/evalrun/evalrun/backends/local/internal/fixture"
	"github.com/evalrun/evalrun/backends/local/quant"
	"github.com/evalrun/evalrun/internal/filelock"
	"github.com/evalrun/evalrun/kernels"
	"github.com/evalrun/evalrun/kernels/cpu"
	"github.com/evalrun/evalrun/kernels/format"
)

// job makes a training of 90 micro-batches on 17 examples in dir.
func job(t *testing.T, preset, dir string) *Job {
	t.Helper()
	dev, err := cpu.New(cpu.Options{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	return jobOn(t, dev, preset, dir)
}

// jobOn makes it on a device, which it closes.
func jobOn(t *testing.T, dev kernels.TrainDevice, preset, dir string) *Job {
	t.Helper()
	c, f, err := arch.Open(fixture.Tiny.WriteHF(t, 1, format.F32))
	if err != nil {
		t.Fatal(err)
	}
	m, err := arch.Build(dev, c, f, 0, arch.Options{Quant: quant.NF4})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = errors.Join(dev.Close(), m.Close()) })
	r, err := Preset(preset)
	if err != nil {
		t.Fatal(err)
	}
	r.Rank, r.LR, r.Steps, r.Accumulate, r.Restart, r.CheckpointEvery, r.EvalEvery, r.Seed = 2, 0.01, 90, 4, 30, 20, 30, 5
	tuned, err := Fresh(dev, m, &r)
	if err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(6, 6))
	j := &Job{Dir: dir, Recipe: &r, Tuned: tuned, Identity: "one", Keep: true}
	for i := range 20 {
		e := Example{Key: uint32(i)}
		for range 3 + rng.IntN(6) {
			e.IDs = append(e.IDs, int32(rng.IntN(50)))
		}
		e.Labels = append(slices.Repeat([]int32{Ignored}, len(e.IDs)), e.IDs[0])
		e.IDs = append(e.IDs, e.IDs[0])
		if i < 17 {
			j.Examples, j.Names = append(j.Examples, e), append(j.Names, fmt.Sprint("row", i))
		} else {
			j.Validation = append(j.Validation, e)
		}
	}
	return j
}

func outcome(t *testing.T, j *Job) []byte {
	t.Helper()
	var b bytes.Buffer
	for _, x := range j.Tuned.stored() {
		b.WriteString(x.Name)
		b.Write(x.Data)
	}
	log, err := os.ReadFile(filepath.Join(j.Dir, metricsFile))
	if err != nil {
		t.Fatal(err)
	}
	b.Write(log)
	return b.Bytes()
}

// However often a training is stopped or killed, it ends with the same bits
// and the same log.
func TestResumeSameBits(t *testing.T) {
	for _, preset := range Presets() {
		whole := job(t, preset, t.TempDir())
		if res, err := whole.Run(context.Background()); err != nil || !res.Finished || res.Step != 90 {
			t.Fatalf("%s: %+v, %v", preset, res, err)
		}
		want := outcome(t, whole)
		for _, kill := range []bool{false, true} {
			dir := t.TempDir()
			var last *Job
			for round := 0; ; round++ {
				if round > 40 {
					t.Fatalf("%s: no end", preset)
				}
				last = job(t, preset, dir)
				ctx, cancel := context.WithCancel(context.Background())
				windows := 0
				last.Tell = func(n News) {
					if windows++; windows == 7 {
						if kill { // nothing is written any more
							panic("killed")
						}
						cancel()
					}
				}
				res, err := last.runKilled(ctx)
				cancel()
				if err != nil && !errors.Is(err, errKilled) {
					t.Fatal(err)
				}
				if err == nil && res.Finished {
					break
				}
			}
			if got := outcome(t, last); !bytes.Equal(got, want) {
				t.Errorf("%s, killed %v: another end than uninterrupted", preset, kill)
			}
		}
	}
}

var errKilled = errors.New("killed")

func (j *Job) runKilled(ctx context.Context) (res Result, err error) {
	defer func() {
		if recover() != nil {
			err = errKilled
		}
	}()
	return j.Run(ctx)
}

func TestRunRefuses(t *testing.T) {
	dir := t.TempDir()
	j := job(t, "paper", dir)
	lock, err := filelock.Acquire(filepath.Join(dir, lockFile))
	if err != nil {
		t.Fatal(err)
	}
	var held *filelock.HeldError
	if _, err := j.Run(context.Background()); !errors.As(err, &held) || held.PID != fmt.Sprint(os.Getpid()) {
		t.Errorf("second writer: %v", err)
	}
	lock.Release()
	j.Recipe.Steps = 20
	if _, err := j.Run(context.Background()); err != nil {
		t.Fatal(err)
	}
	other := job(t, "paper", dir)
	other.Identity = "two"
	if _, err := other.Run(context.Background()); !errors.Is(err, ErrOtherTraining) {
		t.Errorf("another training's checkpoint: %v", err)
	}
	path := filepath.Join(dir, checkpointFile)
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.WriteFile(path, b[:len(b)-9], 0o600), os.RemoveAll(filepath.Join(dir, previousFile))); err != nil {
		t.Fatal(err)
	}
	if _, err := job(t, "paper", dir).Run(context.Background()); err == nil || !strings.Contains(err.Error(), checkpointFile) {
		t.Errorf("a truncated checkpoint: %v", err)
	}
	if _, err := (&Job{Recipe: j.Recipe}).Run(context.Background()); err == nil {
		t.Error("a training without examples runs")
	}
}

func TestWindows(t *testing.T) {
	r := Recipe{Accumulate: 4, Steps: 30, CheckpointEvery: 10, UpdateAtCheckpoint: true}
	show := func(n int) string {
		var b strings.Builder
		for o, step := newOrder(n, &r), 0; step < r.Steps; {
			w := o.window(step)
			fmt.Fprintf(&b, "%d", w.To)
			if !w.Applied {
				b.WriteByte('-')
			}
			if w.Checkpoint {
				b.WriteByte('!')
			}
			b.WriteByte(' ')
			step = w.To
		}
		return strings.TrimSpace(b.String())
	}
	// Cut at checkpoints (10, 20) and dropped at the end of the epoch (13, 26).
	if got, want := show(13), "4 8 10! 12 13- 17 20! 21 25 26- 30!"; got != want {
		t.Errorf("windows %s, want %s", got, want)
	}
	// An epoch shorter than a checkpoint's period is that period.
	if got, want := show(7), "4 7! 11 14! 18 21! 25 28! 30!"; got != want {
		t.Errorf("windows %s, want %s", got, want)
	}
	r.UpdateAtCheckpoint = false
	if got, want := show(13), "4 8 12! 16 20! 24 28 30!"; got != want {
		t.Errorf("windows %s, want %s", got, want)
	}
	// Every epoch has each example once, in an order of its own.
	o, epochs := newOrder(13, &r), [2][]int{}
	for step := range 26 {
		epochs[step/13] = append(epochs[step/13], o.at(step)...)
	}
	if slices.Equal(epochs[0], epochs[1]) {
		t.Error("two epochs in one order")
	}
	for _, e := range epochs {
		slices.Sort(e)
		for i, x := range e {
			if x != i {
				t.Fatalf("epoch %v", e)
			}
		}
	}
	// A step's example is the same when a resumed training asks for it first.
	if a, b := newOrder(13, &r), newOrder(13, &r); !slices.Equal(a.at(3), b.at(3)) || !slices.Equal(a.at(20), b.at(20)) {
		t.Error("an order that depends on what was asked before")
	}
}

// What is left is the best evaluation's, whether a training may end early or
// not; without best, the last step's.
func TestBestIsLeft(t *testing.T) {
	values := func(j *Job) []byte { return outcomeValues(j) }
	run := func(best bool, patience int, validated bool) (*Job, Result, map[int]float64) {
		j := job(t, "modern", t.TempDir())
		j.Recipe.LR, j.Recipe.Steps, j.Recipe.EvalEvery, j.Recipe.Best, j.Recipe.Patience = 0.2, 200, 8, best, patience
		if !validated {
			j.Validation = nil
		}
		seen := map[int]float64{}
		j.Tell = func(n News) {
			if n.Validation != nil {
				seen[n.Step] = *n.Validation
			}
		}
		res, err := j.Run(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		return j, res, seen
	}
	plain, _, _ := run(true, 5, false)
	last, res, _ := run(false, 0, true)
	if !bytes.Equal(values(last), values(plain)) {
		t.Error("best: false leaves other values than those of the last step")
	}
	if found, _ := filepath.Glob(filepath.Join(last.Dir, "best-*")); len(found) > 0 {
		t.Errorf("best values that nobody wants: %v", found)
	}
	best, again, seen := run(true, 0, true)
	if again.Early || again.BestStep != res.BestStep || again.BestStep == 0 || again.BestStep >= again.Step {
		t.Fatalf("%+v, and without best %+v: the test needs a best step before the last", again, res)
	}
	for step, loss := range seen {
		if loss < seen[again.BestStep] {
			t.Errorf("step %d has the loss %v, and step %d, said to be the best, %v", step, loss, again.BestStep, seen[again.BestStep])
		}
	}
	if bytes.Equal(values(best), values(plain)) {
		t.Error("without patience the last values are left")
	}
	// They are those that the training had at that step.
	short := job(t, "modern", t.TempDir())
	short.Recipe.LR, short.Recipe.Steps = 0.2, 200
	short.Validation = nil
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	short.Tell = func(n News) {
		if n.Step == again.BestStep {
			cancel()
		}
	}
	if _, err := short.Run(ctx); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(values(best), values(short)) {
		t.Errorf("other values than those of step %d", again.BestStep)
	}
}
