//go:build linux

package cli

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// long is a training that does not end before it is made to.
func longTraining(t *testing.T, more ...string) *killedTraining {
	return newKilledTraining(t, append([]string{"--train", "rows.jsonl", "--preset", "paper", "--steps", "400000", "--set", "recipe.checkpoint_every=8", "--set", "recipe.accumulate=4"}, more...)...)
}

// wait waits until a file is there.
func (k *killedTraining) wait(t *testing.T, name string) {
	t.Helper()
	for began := time.Now(); ; time.Sleep(2 * time.Millisecond) {
		if _, err := os.Stat(filepath.Join(k.dir, "one", name)); err == nil {
			return
		}
		if time.Since(began) > time.Minute {
			t.Fatalf("no %s within a minute", name)
		}
	}
}

// refused runs a command that must end with a code and two lines: one of what
// and where, which has the words, and one of what to do.
func (k *killedTraining) refused(t *testing.T, code int, words []string, more ...string) {
	t.Helper()
	cmd, stderr := k.start(t, more...)
	_ = cmd.Wait()
	checkRefusal(t, cmd.ProcessState.ExitCode(), code, stderr.String(), words...)
}

func checkRefusal(t *testing.T, got, code int, stderr string, words ...string) {
	t.Helper()
	lines := strings.Split(strings.TrimSpace(stderr), "\n")
	if got != code || len(lines) != 2 || !strings.HasPrefix(lines[0], "evalrun: ") || !strings.HasPrefix(lines[1], "  ") {
		t.Errorf("exit code %d, want %d and two lines:\n%s", got, code, stderr)
	}
	for _, w := range words {
		if !strings.Contains(stderr, w) {
			t.Errorf("no word of %q:\n%s", w, stderr)
		}
	}
}

// One process trains in a folder. The second is refused and harms nothing; a
// lock of a dead one is taken over (see TestTrainingKilledAtAnyMoment).
func TestOneTrainerAtATime(t *testing.T) {
	k := longTraining(t)
	cmd, stderr := k.start(t)
	k.wait(t, "training/checkpoint.safetensors")
	events := filepath.Join(k.dir, "one", "training", "events.out.tfevents.0.evalrun")
	pid := k.trainer()
	k.refused(t, ExitUsage, []string{fmt.Sprintf("one: process %d is training here", pid), "--out"})
	// While it waits for the folder, it can be interrupted.
	second, words := k.start(t)
	time.Sleep(700 * time.Millisecond)
	if err := second.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	_ = second.Wait()
	if code := second.ProcessState.ExitCode(); code != ExitInterrupted || !strings.Contains(words.String(), "stopped before the first step") {
		t.Errorf("exit code %d\n%s", code, words)
	}
	// The trainer's own process is asked to end: it leaves a checkpoint.
	if err := syscall.Kill(pid, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != ExitInterrupted || !strings.Contains(stderr.String(), "the same command goes on from there") {
		t.Errorf("exit code %d\n%s", code, stderr)
	}
	b, err := os.ReadFile(events)
	if err != nil {
		t.Fatal(err)
	}
	if steps, err := eventSteps(b); err != nil || len(steps) == 0 || steps[0] != 4 {
		t.Errorf("events of steps %v: %v", steps, err)
	}
	waitNoneLeft(t, k.dir)
}

// The second interrupt does not wait for the window in hand.
func TestSecondInterruptStopsTraining(t *testing.T) {
	// A window of some ten seconds.
	k := longTraining(t, "--set", "recipe.accumulate=2000", "--set", "recipe.update_at_checkpoint=false")
	cmd, stderr := k.start(t)
	k.wait(t, "training/metrics.jsonl")
	time.Sleep(100 * time.Millisecond)
	for range 2 {
		if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		time.Sleep(100 * time.Millisecond)
	}
	began := time.Now()
	_ = cmd.Wait()
	took := time.Since(began)
	if code := cmd.ProcessState.ExitCode(); code != ExitInterrupted || !strings.Contains(stderr.String(), "stopped at once") {
		t.Errorf("exit code %d\n%s", code, stderr)
	}
	waitNoneLeft(t, k.dir)
	if took > 3*time.Second {
		t.Errorf("it took %s", took)
	}
	if found, _ := filepath.Glob(filepath.Join(k.dir, "one", "training", "*.safetensors")); len(found) > 0 {
		t.Errorf("half a window was saved: %v", found)
	}
}

// A disk fills up at every size on the way: each time the command says so, and
// in the end the files are those of a training that had room.
func TestFullDiskEndsTraining(t *testing.T) {
	args := []string{"--train", "rows.jsonl", "--validation", "held.jsonl", "--preset", "paper", "--steps", "48", "--set", "recipe.accumulate=4", "--set", "recipe.checkpoint_every=8",
		"--set", "recipe.eval_every=8", "--set", "recipe.compute=f32"}
	k := newKilledTraining(t, args...)
	disk := filepath.Join(k.dir, "one")
	if err := os.Mkdir(disk, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", disk, "tmpfs", 0, "size=4k"); err != nil {
		t.Skipf("no disk of our own: %v", err)
	}
	defer func() {
		if err := syscall.Unmount(disk, 0); err != nil {
			t.Error(err)
		}
	}()
	remount := func(flags uintptr, room int64) {
		t.Helper()
		if err := syscall.Mount("tmpfs", disk, "tmpfs", syscall.MS_REMOUNT|flags, fmt.Sprintf("size=%d", room)); err != nil {
			t.Fatal(err)
		}
	}
	twin := newKilledTraining(t, args...)
	twin.finish(t)
	want := twin.made(t)
	remount(syscall.MS_RDONLY, 4<<10)
	k.refused(t, ExitUsage, []string{"one", "read-only file system", "--out"})
	// A task's rows are written before the trainer is asked.
	task := &killedTraining{k.dir, []string{"train", "--quiet", "--out", "one", "glue_sst2", "--data", "embedded"}}
	task.refused(t, ExitUsage, []string{"one", "read-only file system", "--out"})
	remount(0, 4<<10)
	task.refused(t, ExitInfra, []string{"no space left on device", "one", "free", "same command"})
	size := func(name string) int64 {
		info, err := os.Stat(filepath.Join(twin.dir, "one", name))
		if err != nil {
			t.Fatal(err)
		}
		return info.Size()
	}
	checkpoint, adapter := size("training/checkpoint.safetensors"), size("adapter_model.safetensors")
	const small = 64 << 10 // lock, log, events
	for _, room := range []int64{4 << 10, 12 << 10, checkpoint, checkpoint + adapter + small, 2*checkpoint + 2*adapter + small - adapter/2, 3*checkpoint + 2*adapter + small - adapter/2} {
		remount(0, room)
		k.refused(t, ExitInfra, []string{"no space left on device", "one", "free space", "same command"})
		if t.Failed() {
			t.Fatalf("with %d bytes", room)
		}
	}
	remount(0, 100<<20)
	k.finish(t)
	sameFiles(t, k.made(t), want)
}

// A damaged checkpoint costs the windows since the one before it: the command
// says in a line which is damaged and why, and ends in the same files.
func TestDamagedCheckpointIsGoneAround(t *testing.T) {
	args := []string{"--train", "rows.jsonl", "--validation", "held.jsonl", "--preset", "paper", "--set", "recipe.accumulate=4", "--set", "recipe.checkpoint_every=8",
		"--set", "recipe.eval_every=8", "--set", "recipe.compute=f32", "--steps", "400"}
	twin := newKilledTraining(t, args...)
	twin.finish(t)
	k := newKilledTraining(t, args...)
	cmd, _ := k.start(t)
	k.wait(t, "training/checkpoint-previous.safetensors")
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	path := filepath.Join(k.dir, "one", "training", "checkpoint.safetensors")
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, info.Size()-7); err != nil {
		t.Fatal(err)
	}
	k.args = slices.DeleteFunc(k.args, func(arg string) bool { return arg == "--quiet" })
	cmd, stderr := k.start(t)
	if err := cmd.Wait(); err != nil {
		t.Fatalf("%v\n%s", err, stderr)
	}
	told := 0
	for line := range strings.Lines(stderr.String()) {
		if strings.Contains(line, "one/training/checkpoint.safetensors") && strings.Contains(line, "damaged") && strings.Contains(line, "the training goes on from the checkpoint before, of step ") {
			told++
		}
	}
	if told != 1 {
		t.Errorf("told %d times:\n%s", told, stderr)
	}
	sameFiles(t, k.made(t), twin.made(t))
	waitNoneLeft(t, k.dir)
}

// What a training ends with that has come apart, and what its folder may be
// that cannot be gone on with.
func TestTrainingRefusals(t *testing.T) {
	k := longTraining(t)
	k.refused(t, ExitUsage, []string{"one: step ", "lr is 1e+30", "--out", "stays"}, "--set", "recipe.lr=1e30")
	if left, _ := filepath.Glob(filepath.Join(k.dir, "one", "adapter*")); len(left) > 0 {
		t.Errorf("an adapter of a training that came apart: %v", left)
	}
	k.refused(t, ExitUsage, []string{"another recipe", "--out"})
	rows := filepath.Join(k.dir, "rows.jsonl")
	doorRows(t, rows, 21)
	k.refused(t, ExitUsage, []string{"other rows", "--out"}, "--set", "recipe.lr=1e30")
	doorRows(t, rows, 20)

	checkpoint := filepath.Join(k.dir, "one", "training", "checkpoint.safetensors")
	b, err := os.ReadFile(checkpoint)
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)-100] ^= 4
	if err := os.WriteFile(checkpoint, b, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(strings.TrimSuffix(checkpoint, ".safetensors") + "-previous.safetensors"); err != nil {
		t.Fatal(err)
	}
	k.refused(t, ExitUsage, []string{checkpoint[len(k.dir)+1:], "damaged", "to begin anew, remove one/training"}, "--set", "recipe.lr=1e30")
	if err := os.RemoveAll(filepath.Join(k.dir, "one")); err != nil {
		t.Fatal(err)
	}

	k.refused(t, ExitUsage, []string{"rows.jsonl/one", "not a directory", "--out"}, "--out", "rows.jsonl/one")

	// The folder goes away under the training.
	cmd, stderr := k.start(t)
	k.wait(t, "training/checkpoint.safetensors")
	if err := os.Rename(filepath.Join(k.dir, "one"), filepath.Join(k.dir, "away")); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	checkRefusal(t, cmd.ProcessState.ExitCode(), ExitUsage, stderr.String(), "one", "was removed or replaced", "the same command")
	if _, err := os.Stat(filepath.Join(k.dir, "one")); err == nil {
		t.Error("the folder was made again")
	}
	// An adapter of somebody else's is not written over.
	if err := os.MkdirAll(filepath.Join(k.dir, "one"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(k.dir, "one", "adapter_config.json"), []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	k.refused(t, ExitUsage, []string{"holds a finished adapter", "--new"})
	waitNoneLeft(t, k.dir)
}
