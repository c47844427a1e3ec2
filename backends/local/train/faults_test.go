package train

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/evalrun/evalrun/backends/local/chat"
	"github.com/evalrun/evalrun/backends/local/weights"
)

// A training that is through gives the same once more, without a window: it may
// have been killed before its adapter was written.
func TestEndedTrainingEndsAgain(t *testing.T) {
	for _, patience := range []int{0, 2} {
		dir := t.TempDir()
		whole := job(t, "modern", dir)
		whole.Recipe.Steps, whole.Recipe.EvalEvery, whole.Recipe.Patience, whole.Recipe.LR = 400, 8, patience, 0.2
		res, err := whole.Run(context.Background())
		if err != nil || !res.Finished || res.Early != (patience > 0) {
			t.Fatalf("patience %d: %+v, %v", patience, res, err)
		}
		want := outcome(t, whole)
		again := job(t, "modern", dir)
		again.Recipe = whole.Recipe
		again.Tell = func(n News) { t.Errorf("patience %d: trained on, to step %d", patience, n.Step) }
		second, err := again.Run(context.Background())
		if err != nil || second.Resumed != res.Step {
			t.Fatalf("patience %d: %+v, %v", patience, second, err)
		}
		second.Resumed, second.Seconds = res.Resumed, res.Seconds
		if !reflect.DeepEqual(second, res) || !bytes.Equal(outcome(t, again), want) {
			t.Errorf("patience %d: %+v and other values, want %+v", patience, second, res)
		}
		if found, _ := filepath.Glob(filepath.Join(dir, "best-*")); len(found) > 2 {
			t.Errorf("more best values than two checkpoints count on: %v", found)
		}
	}
}

// The best values of a checkpoint are asked for before anything is trained, not
// at the end.
func TestBestValuesAreGone(t *testing.T) {
	dir := t.TempDir()
	j := job(t, "modern", dir)
	if _, err := j.Run(context.Background()); err != nil {
		t.Fatal(err)
	}
	if err := j.dropBest(0); err != nil {
		t.Fatal(err)
	}
	if _, err := job(t, "modern", dir).Open(); !errors.Is(err, ErrDamaged) {
		t.Errorf("best values removed: %v", err)
	}
}

// harm changes a byte of a file, or cuts or removes it.
func harm(t *testing.T, path, how string) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	switch how {
	case "a bit":
		b[len(b)-5] ^= 2
	case "cut":
		b = b[:len(b)/2]
	case "emptied":
		b = nil
	case "removed":
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		return
	}
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// Where the last checkpoint is damaged, or the best values that it counts on
// are, the training goes on from the one before, to the same bits; the damaged
// one does not take its place.
func TestGoesOnFromTheCheckpointBefore(t *testing.T) {
	for _, preset := range Presets() {
		whole := job(t, preset, t.TempDir())
		if _, err := whole.Run(context.Background()); err != nil {
			t.Fatal(err)
		}
		want := outcome(t, whole)
		for _, how := range []string{"a bit", "cut", "emptied", "removed", "best"} {
			dir := t.TempDir()
			stopped := func(steps int) *Job { // stopped there, as by an interrupt
				j := job(t, preset, dir)
				ctx, cancel := context.WithCancel(context.Background())
				defer cancel()
				j.Tell = func(n News) {
					if n.Step >= steps {
						cancel()
					}
				}
				if _, err := j.Run(ctx); err != nil {
					t.Fatal(err)
				}
				return j
			}
			stopped(70) // best values are those of 60, checkpoints those of 60 and 70 or so
			last, previous := filepath.Join(dir, checkpointFile), filepath.Join(dir, previousFile)
			first, found, err := readState(previous, "one")
			if err != nil || !found {
				t.Fatalf("%s: no checkpoint before the last: %v", preset, err)
			}
			damaged := last
			if how == "best" {
				now, _, err := readState(last, "one")
				if err != nil {
					t.Fatal(err)
				}
				if now.BestStep == first.BestStep { // both count on it: see below
					continue
				}
				damaged = filepath.Join(dir, bestFile(now.BestStep))
				harm(t, damaged, "a bit")
			} else {
				harm(t, last, how)
			}
			again := job(t, preset, dir)
			st, err := again.Open()
			if err != nil || st.Step != first.Step {
				t.Fatalf("%s, %s: step %d, want %d (%v)", preset, how, st.Step, first.Step, err)
			}
			if skipped := again.Skipped(); (skipped == nil) != (how == "removed") || skipped != nil && (!errors.Is(skipped, ErrDamaged) || !strings.Contains(skipped.Error(), damaged)) {
				t.Errorf("%s, %s: told as %v", preset, how, skipped)
			}
			again.Close()
			// One more checkpoint: what lies before it is the whole one.
			stopped(first.Step + 4)
			if st, found, err := readState(previous, "one"); err != nil || !found || st.Step != first.Step {
				t.Errorf("%s, %s: the one before is that of step %d, want %d (%v)", preset, how, st.Step, first.Step, err)
			}
			end := job(t, preset, dir)
			if res, err := end.Run(context.Background()); err != nil || !res.Finished || end.Skipped() != nil {
				t.Fatalf("%s, %s: %+v, %v, %v", preset, how, res, err, end.Skipped())
			}
			if !bytes.Equal(outcome(t, end), want) {
				t.Errorf("%s, %s: other values or another log than the uninterrupted training's", preset, how)
			}
			if left, _ := filepath.Glob(filepath.Join(dir, "checkpoint*")); len(left) != 2 {
				t.Errorf("%s, %s: checkpoints %v", preset, how, left)
			}
			// None is whole: both are named, and nothing is changed.
			harm(t, last, "a bit")
			harm(t, previous, "cut")
			before := folderBytes(t, dir)
			if _, err := job(t, preset, dir).Open(); !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), last) || !strings.Contains(err.Error(), previous) {
				t.Errorf("%s, %s: none is whole: %v", preset, how, err)
			}
			if !reflect.DeepEqual(folderBytes(t, dir), before) {
				t.Errorf("%s, %s: a refused folder was changed", preset, how)
			}
		}
	}
}

// folderBytes are the files of a folder but for the lock.
func folderBytes(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		if b, err2 := os.ReadFile(filepath.Join(dir, e.Name())); err2 != nil {
			err = err2
		} else if e.Name() != lockFile {
			out[e.Name()] = string(b)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// checkpointed gives a folder with a checkpoint, and its bytes.
func checkpointed(t *testing.T) (dir string, checkpoint []byte) {
	t.Helper()
	dir = t.TempDir()
	j := job(t, "paper", dir)
	j.Recipe.Steps = 20
	if _, err := j.Run(context.Background()); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(filepath.Join(dir, checkpointFile))
	if err != nil {
		t.Fatal(err)
	}
	return dir, b
}

// A checkpoint that was cut anywhere, or has a bit that is another, is refused
// and left as it is.
func TestDamagedCheckpoint(t *testing.T) {
	dir, good := checkpointed(t)
	path := filepath.Join(dir, checkpointFile)
	refused := func(what string, b []byte) {
		t.Helper()
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		_, _, err := readState(filepath.Join(dir, checkpointFile), "one")
		if !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrOtherVersion) || !strings.Contains(err.Error(), path) {
			t.Fatalf("%s: %v", what, err)
		}
		if after, err := os.ReadFile(path); err != nil || !bytes.Equal(after, b) {
			t.Fatalf("%s: the file was changed (%v)", what, err)
		}
	}
	state, _, err := readState(filepath.Join(dir, checkpointFile), "one")
	if err != nil {
		t.Fatal(err)
	}
	header := 8 + int(binary.LittleEndian.Uint64(good))
	for _, n := range []int{0, 1, 7, 8, 9, header / 2, header - 1, header, header + 1, header + 5, (header + len(good)) / 2, len(good) - 4, len(good) - 1} {
		refused(fmt.Sprintf("cut to %d of %d bytes", n, len(good)), good[:n])
	}
	refused("a byte too many", append(bytes.Clone(good), 0))
	refused("zeroes in its place", make([]byte, len(good)))
	rng := rand.New(rand.NewPCG(3, 3))
	for at := 0; at < len(good); at += 1 + rng.IntN(24) {
		b := bytes.Clone(good)
		b[at] ^= 1 << rng.IntN(8)
		if at >= header {
			refused(fmt.Sprintf("byte %d of %d", at, len(good)), b)
			continue
		}
		// A letter's case within a key of the header may mean nothing.
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		if st, _, err := readState(filepath.Join(dir, checkpointFile), "one"); err == nil && !reflect.DeepEqual(st, state) {
			t.Fatalf("byte %d of %d: read as %+v", at, len(good), st)
		}
	}
	if err := os.WriteFile(path, good, 0o600); err != nil {
		t.Fatal(err)
	}
	if st, found, err := readState(filepath.Join(dir, checkpointFile), "one"); !found || err != nil || st.Step != 20 {
		t.Errorf("the whole one: %+v, %v", st, err)
	}
}

// A checkpoint of another version, one that has other tensors though its sum is
// right, and one that cannot be read.
func TestForeignCheckpoint(t *testing.T) {
	dir, _ := checkpointed(t)
	harm(t, filepath.Join(dir, previousFile), "removed")
	path := filepath.Join(dir, checkpointFile)
	f, text, err := openSealed(path)
	if err != nil {
		t.Fatal(err)
	}
	var all []weights.Tensor
	for _, name := range f.Names() {
		x, err := f.Tensor(name)
		if err != nil {
			t.Fatal(err)
		}
		x.Data = bytes.Clone(x.Data)
		all = append(all, x)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if err := weights.WriteSafetensors(path, all, map[string]string{sealVersion: "1", sealText: text, sealSum: seal(text, all)}); err != nil {
		t.Fatal(err)
	}
	if _, err := job(t, "paper", dir).Open(); !errors.Is(err, ErrOtherVersion) {
		t.Errorf("another version: %v", err)
	}
	if err := writeSealed(path, text, all[1:]); err != nil {
		t.Fatal(err)
	}
	if _, err := job(t, "paper", dir).Run(context.Background()); !errors.Is(err, ErrDamaged) {
		t.Errorf("a tensor is missing: %v", err)
	}
	if err := writeSealed(path, `{"step":"x"}`, all); err != nil {
		t.Fatal(err)
	}
	if _, err := job(t, "paper", dir).Open(); !errors.Is(err, ErrDamaged) {
		t.Errorf("no state: %v", err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(path, 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := job(t, "paper", dir).Open(); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("a folder: %v", err)
	}
}

// Where the folder is gone, or another stands in its place, nothing more is
// written.
func TestFolderIsGone(t *testing.T) {
	for what, harm := range map[string]func(dir string) error{
		"removed": os.RemoveAll,
		"replaced": func(dir string) error {
			return errors.Join(os.Rename(dir, dir+"-away"), os.Mkdir(dir, 0o700))
		},
		"lock removed": func(dir string) error { return os.Remove(filepath.Join(dir, lockFile)) },
		"lock replaced": func(dir string) error {
			return errors.Join(os.Remove(filepath.Join(dir, lockFile)), os.WriteFile(filepath.Join(dir, lockFile), nil, 0o600))
		},
	} {
		dir := filepath.Join(t.TempDir(), "training")
		j := job(t, "paper", dir)
		done := false
		j.Tell = func(n News) {
			if n.Step >= 24 && !done {
				done = true
				if err := harm(dir); err != nil {
					t.Fatal(err)
				}
			}
		}
		before, _ := os.ReadFile(filepath.Join(dir, checkpointFile))
		_, err := j.Run(context.Background())
		if !errors.Is(err, ErrLost) || !strings.Contains(err.Error(), dir) {
			t.Errorf("%s: %v", what, err)
		}
		if found, _ := filepath.Glob(filepath.Join(dir, "*.safetensors")); strings.HasPrefix(what, "re") && len(found) > 0 {
			t.Errorf("%s: %v was written (%d)", what, found, len(before))
		}
	}
}

// What is no number stops a training with step and row, and nothing of its
// window is kept.
func TestNotFinite(t *testing.T) {
	dir := t.TempDir()
	j := job(t, "paper", dir)
	checkpoint, done := "", false
	j.Tell = func(n News) {
		if n.Checkpoint {
			b, _ := os.ReadFile(filepath.Join(dir, checkpointFile))
			checkpoint = string(b)
		}
		if n.Step >= 40 && !done {
			done = true
			for _, p := range j.Tuned.params {
				if strings.Contains(p.Name, "lora_B") {
					bad := make([]float32, p.N)
					for i := range bad {
						bad[i] = math.MaxFloat32
					}
					j.Tuned.dev.Write(p.Value, bad)
				}
			}
			if err := j.Tuned.Refresh(); err != nil {
				t.Fatal(err)
			}
		}
	}
	_, err := j.Run(context.Background())
	var bad *NotFiniteError
	if !errors.As(err, &bad) || bad.Step < 40 || bad.Row != fmt.Sprint("row", bad.Example) || !strings.Contains(err.Error(), fmt.Sprintf("step %d, row %s (example %d): the loss is NaN", bad.Step, bad.Row, bad.Example)) {
		t.Fatalf("%v", err)
	}
	if b, _ := os.ReadFile(filepath.Join(dir, checkpointFile)); string(b) != checkpoint || checkpoint == "" {
		t.Error("the last checkpoint has not stayed")
	}
	log, err := os.ReadFile(filepath.Join(dir, metricsFile))
	if err != nil || bytes.Contains(log, []byte("NaN")) {
		t.Errorf("the log: %v", err)
	}
}

// Gradients that are not finite: the example is named, the values stay.
func TestGradientIsNotFinite(t *testing.T) {
	j := job(t, "paper", t.TempDir())
	s, err := j.stepper()
	if err != nil {
		t.Fatal(err)
	}
	before := outcomeValues(j)
	p := j.Tuned.params[0]
	spoilt := make([]float32, p.N)
	spoilt[0] = float32(math.Inf(1))
	j.Tuned.dev.Write(p.Grad, spoilt)
	_, _, err = s.Window(8, j.Examples[:4])
	var bad *NotFiniteError
	if !errors.As(err, &bad) || bad.Example != -1 || bad.Step != 11 || !strings.Contains(err.Error(), p.Name) {
		t.Errorf("%v", err)
	}
	if !bytes.Equal(outcomeValues(j), before) {
		t.Error("values were changed")
	}
	if n, _ := s.opt.norm(); n != 0 {
		t.Error("gradients were left")
	}
	// The next window is as if nothing had been.
	if _, _, err := s.Window(8, j.Examples[:4]); err != nil {
		t.Error(err)
	}
}

func outcomeValues(j *Job) []byte {
	var b bytes.Buffer
	for _, x := range j.Tuned.stored() {
		b.Write(x.Data)
	}
	return b.Bytes()
}

// Values that are no numbers are not saved over the last checkpoint.
func TestValuesNotFiniteAreNotSaved(t *testing.T) {
	dir, good := checkpointed(t)
	j := job(t, "paper", dir)
	s, err := j.stepper()
	if err != nil {
		t.Fatal(err)
	}
	p := j.Tuned.params[0]
	spoilt := make([]float32, p.N)
	spoilt[p.N-1] = float32(math.NaN())
	j.Tuned.dev.Write(p.M, spoilt)
	var bad *NotFiniteError
	if err := s.save(dir, State{Step: 24}, true); !errors.As(err, &bad) || bad.Step != 23 {
		t.Errorf("%v", err)
	}
	if b, err := os.ReadFile(filepath.Join(dir, checkpointFile)); err != nil || !bytes.Equal(b, good) {
		t.Errorf("the last checkpoint has not stayed (%v)", err)
	}
}

// The watchdog counts on from the checkpoint, and a learning rate that explodes
// ends a training.
func TestWatchdog(t *testing.T) {
	st := State{}
	for _, l := range []float64{2, 2, 30, 30, 2, 30, 30} {
		if err := st.watch(l, 1, true); err != nil {
			t.Fatalf("loss %v: %v", l, err)
		}
	}
	resumed := st
	var exploded *ExplodedError
	if err := resumed.watch(30, 1, true); !errors.As(err, &exploded) || exploded.Loss != 30 {
		t.Errorf("the third in a row: %v", err)
	}
	slow, risen := State{}, 0
	for i := range 400 { // from 2.5 down to 0.5, and up to 5 by little
		l := max(0.5, 2.5-float64(i)/20)
		if i >= 200 {
			l = min(5, 0.5+float64(i-200)/10)
		}
		if err := slow.watch(l, 1, true); errors.As(err, &exploded) {
			if risen = i; !exploded.Slowly || exploded.Before > 0.7 {
				t.Errorf("window %d: %v", i, err)
			}
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
	if risen < 210 {
		t.Errorf("a loss that rises slowly: told in window %d", risen)
	}
	for range 9 { // all is learned, or nothing was to be
		if err := (&State{}).watch(1e-9, 0, true); err != nil {
			t.Error(err)
		}
		if err := st.watch(1, 0, false); err != nil {
			t.Error(err)
		}
	}
	j := job(t, "modern", t.TempDir())
	j.Recipe.LR, j.Recipe.Schedule, j.Recipe.Clip = 1e4, Constant, 0
	_, err := j.Run(context.Background())
	var bad *NotFiniteError
	if !errors.As(err, &exploded) && !errors.As(err, &bad) {
		t.Errorf("a learning rate of %g: %v", j.Recipe.LR, err)
	}
}

// Whatever the limits, an example has something to learn: a target of which all
// is lost is named and kept out, and no loss is the mean of nothing.
func TestNoExampleWithoutTarget(t *testing.T) {
	rng := rand.New(rand.NewPCG(8, 8))
	left, cut := 0, 0
	for round := range 2000 {
		r, err := Preset(Presets()[rng.IntN(2)])
		if err != nil {
			t.Fatal(err)
		}
		r.PromptTokens, r.TotalTokens = rng.IntN(12), rng.IntN(12)
		rows := make([]Row, 1+rng.IntN(5))
		for i := range rows {
			rows[i] = Row{ID: fmt.Sprint(i), Prompt: strings.Repeat("a", rng.IntN(60)), Completion: strings.Repeat("b", rng.IntN(30))}
			if rng.IntN(3) == 0 {
				rows[i].Segments = []Segment{{Text: rows[i].Prompt}, {Text: rows[i].Completion, Learned: rng.IntN(2) == 0, End: rng.IntN(2) == 0}, {Text: "user"}}
			}
		}
		context := rng.IntN(16)
		e, err := r.Encode(rows, chat.NewWriter(quarters{}, nil), quarters{}, context)
		if err != nil {
			t.Fatal(err)
		}
		if len(e.Examples)+len(e.Left) != len(rows) || len(e.IDs) != len(e.Examples) {
			t.Fatalf("round %d: %d examples and %d left out, of %d rows", round, len(e.Examples), len(e.Left), len(rows))
		}
		for i := range e.Examples {
			x := &e.Examples[i]
			if x.Judged() == 0 || len(x.IDs) != len(x.Labels) || context > 0 && len(x.IDs) > context || r.TotalTokens > 0 && len(x.IDs) > r.TotalTokens {
				t.Fatalf("round %d: row %s has %d ids and %d labels, %d judged, of %d and %d tokens", round, e.IDs[i], len(x.IDs), len(x.Labels), x.Judged(), r.TotalTokens, context)
			}
		}
		left, cut = left+len(e.Left), cut+e.Cut
	}
	if left < 100 || cut < 100 {
		t.Errorf("%d rows left out, %d cut: too few to say anything", left, cut)
	}
}

// FuzzCheckpoint: whatever the file holds, it is refused or it is whole.
func FuzzCheckpoint(f *testing.F) {
	dir := f.TempDir()
	x := weights.Float32s("value.a", []float32{1, 2, 3}, 3)
	path := filepath.Join(dir, checkpointFile)
	if err := writeSealed(path, `{"step":4,"identity":"one"}`, []weights.Tensor{x}); err != nil {
		f.Fatal(err)
	}
	good, err := os.ReadFile(path)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add(good[:len(good)-1])
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		if err := os.WriteFile(filepath.Join(dir, checkpointFile), b, 0o600); err != nil {
			t.Fatal(err)
		}
		st, found, err := readState(filepath.Join(dir, checkpointFile), "one")
		if err == nil && (!found || st.Identity != "one") {
			t.Errorf("taken: %+v", st)
		}
		if err != nil && !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrOtherVersion) && !errors.Is(err, ErrOtherTraining) {
			t.Errorf("an error without a name: %v", err)
		}
	})
}
