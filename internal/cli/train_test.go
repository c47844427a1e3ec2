//go:build unix

package cli

import (
	"bytes"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

var shortTraining = []string{"train", "glue_sst2", "--data", "embedded", "--steps", "96", "--set", "recipe.accumulate=4", "--set", "recipe.checkpoint_every=8", "--json", "--out"}

// trainTo trains to the end and gives the adapter's hash and where it went on
// from.
func trainTo(t *testing.T, dir, out string, more ...string) (hash string, resumed int) {
	t.Helper()
	got := evalrun(t, dir, append(append(slices.Clone(shortTraining), out, "--quiet"), more...)...)
	if got.code != 0 {
		t.Fatalf("exit code %d\n%s", got.code, got.stderr)
	}
	var r struct {
		Hash string
		Plan struct{ Resumed int }
	}
	if err := json.Unmarshal([]byte(got.stdout), &r); err != nil {
		t.Fatalf("%v\n%s", err, got.stdout)
	}
	return r.Hash, r.Plan.Resumed
}

// startTraining starts a training and waits for a checkpoint of it.
func startTraining(t *testing.T, dir, out string, more ...string) (stop func(os.Signal) int, stderr *bytes.Buffer) {
	t.Helper()
	cmd := evalrunCommand(t, dir, append(append(slices.Clone(shortTraining), out), more...)...)
	stderr = &bytes.Buffer{}
	cmd.Stderr = stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(time.Minute)
	for {
		if _, err := os.Stat(filepath.Join(dir, out, "training", "checkpoint.safetensors")); err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("no checkpoint within a minute")
		}
		time.Sleep(time.Millisecond)
	}
	return func(s os.Signal) int {
		_ = cmd.Process.Signal(s)
		_ = cmd.Wait()
		return cmd.ProcessState.ExitCode()
	}, stderr
}

// A training that was asked to stop ends in the same bits as one that went
// through (see TestTrainingKilledAtAnyMoment for killed ones).
func TestTrainingResumes(t *testing.T) {
	if testing.Short() {
		t.Skip("trains twice")
	}
	dir := t.TempDir()
	want, _ := trainTo(t, dir, "whole")
	stop, stderr := startTraining(t, dir, "stopped")
	if code := stop(syscall.SIGTERM); code != ExitInterrupted || !strings.Contains(stderr.String(), "the same command goes on from there") {
		t.Errorf("exit code %d\n%s", code, stderr)
	}
	if got, resumed := trainTo(t, dir, "stopped"); got != want || resumed == 0 {
		t.Errorf("stopped and resumed at %d: %s, uninterrupted %s", resumed, got, want)
	}
	events, err := os.ReadFile(filepath.Join(dir, "stopped", "training", "events.out.tfevents.0.evalrun"))
	if err != nil || bytes.Count(events, []byte("train/loss_smoothed")) != 24 {
		t.Errorf("%d windows in the events of 24 (%v)", bytes.Count(events, []byte("train/loss_smoothed")), err)
	}
}

// So does one that follows the score of rows held out, its process asked for
// answers and killed between them.
func TestScoredTrainingResumes(t *testing.T) {
	if testing.Short() {
		t.Skip("trains three times")
	}
	dir := t.TempDir()
	more := []string{"--preset", "modern", "--set", "recipe.targets=q_proj", "--holdout", "0.25", "--set", "recipe.eval_every=8", "--set", "recipe.patience=4"}
	want, _ := trainTo(t, dir, "whole", more...)
	log := func(out string) string {
		text, err := os.ReadFile(filepath.Join(dir, out, "training", "metrics.jsonl"))
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	if !strings.Contains(log("whole"), `"score":`) {
		t.Error("the log has no score")
	}
	for out, with := range map[string]os.Signal{"killed": os.Kill, "stopped": syscall.SIGTERM} {
		stop, _ := startTraining(t, dir, out, more...)
		stop(with)
		if got, resumed := trainTo(t, dir, out, more...); got != want || resumed == 0 || log(out) != log("whole") {
			t.Errorf("%s and resumed at %d: %s, uninterrupted %s", out, resumed, got, want)
		}
	}
}

// When the trainer's process is killed, the command says so, names the last
// checkpoint and ends; the next one goes on from there.
func TestTrainerIsKilled(t *testing.T) {
	dir := t.TempDir()
	cmd := evalrunCommand(t, dir, append(shortTraining, "one", "--set", "recipe.steps=4000")...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	checkpoint := filepath.Join(dir, "one", "training", "checkpoint.safetensors")
	var lock []byte
	for began := time.Now(); len(lock) == 0; time.Sleep(5 * time.Millisecond) {
		if time.Since(began) > time.Minute {
			t.Fatal("no checkpoint within a minute")
		}
		if _, err := os.Stat(checkpoint); err == nil {
			lock, _ = os.ReadFile(filepath.Join(dir, "one", "training", "lock"))
		}
	}
	pid, err := strconv.Atoi(strings.Fields(string(lock))[0])
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(300 * time.Millisecond) // for the news of the checkpoint
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != ExitInfra || !strings.Contains(stderr.String(), "the last checkpoint is that of step") {
		t.Errorf("exit code %d\n%s", code, &stderr)
	}
}

// Other rows or another recipe do not go on with a checkpoint.
func TestTrainingOfAnotherRecipe(t *testing.T) {
	dir := t.TempDir()
	stop, _ := startTraining(t, dir, "one")
	stop(os.Kill)
	got := evalrun(t, dir, append(shortTraining, "one", "--set", "recipe.lr=1")...)
	if got.code != 1 || !strings.Contains(got.stderr, "another recipe") {
		t.Errorf("exit code %d\n%s", got.code, got.stderr)
	}
}

// A training takes what its plan says, within a tenth, as the system counts it.
func TestTrainingKeepsToItsPlan(t *testing.T) {
	if runtime.GOOS != "linux" || testing.CoverMode() != "" {
		t.Skip("peak memory is known on Linux")
	}
	for _, args := range [][]string{
		{"--preset", "paper"},
		{"--preset", "modern", "--set", "recipe.quant=none", "--set", "recipe.accumulate=32", "--memory", "180MiB"},
	} {
		args = append([]string{"train", "glue_sst2", "--data", "embedded", "--steps", "64", "--json", "--quiet", "--out", "one"}, args...)
		got := evalrun(t, t.TempDir(), args...)
		if got.code != 0 {
			t.Fatalf("%v: exit code %d\n%s", args, got.code, got.stderr)
		}
		var r struct {
			Peak int64 `json:"peak_memory"`
			Plan struct {
				Memory    map[string]int64
				Recompute bool
			}
		}
		if err := json.Unmarshal([]byte(got.stdout), &r); err != nil {
			t.Fatalf("%v\n%s", err, got.stdout)
		}
		planned := int64(0)
		for _, bytes := range r.Plan.Memory {
			planned += bytes
		}
		apart := float64(r.Peak)/float64(planned) - 1
		t.Logf("%d MiB planned, %d at the peak (%+.1f %%), recompute %v", planned>>20, r.Peak>>20, 100*apart, r.Plan.Recompute)
		if math.Abs(apart) > 0.1 {
			t.Errorf("%v: %d MiB planned, %d at the peak: %v", args, planned>>20, r.Peak>>20, r.Plan.Memory)
		}
	}
}

// What does not fit is planned, told with what to change, and not begun.
func TestTrainingThatDoesNotFit(t *testing.T) {
	dir := t.TempDir()
	args := []string{"train", "glue_sst2", "--data", "embedded", "--steps", "128", "--out", "one", "--memory", "60MiB"}
	got := evalrun(t, dir, args...)
	if got.code != ExitUsage || !strings.Contains(got.stderr, "60 MiB may be used") || !strings.Contains(got.stderr, "lower accumulate, which is 16") {
		t.Errorf("exit code %d\n%s", got.code, got.stderr)
	}
	if _, err := os.Stat(filepath.Join(dir, "one", "adapter_config.json")); err == nil {
		t.Error("it was trained all the same")
	}
	got = evalrun(t, dir, append(args, "--dry-run")...)
	if got.code != ExitUsage || !strings.Contains(got.stdout, "activations") || !strings.Contains(got.stderr, "60 MiB may be used") {
		t.Errorf("dry run: exit code %d\n%s%s", got.code, got.stdout, got.stderr)
	}
	if got = evalrun(t, dir, append(args[:len(args)-1], "much")...); got.code != ExitUsage || !strings.Contains(got.stderr, "as 900MiB or 20GiB") {
		t.Errorf("exit code %d\n%s", got.code, got.stderr)
	}
}
