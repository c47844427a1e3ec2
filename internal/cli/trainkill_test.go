//go:build unix

package cli

import (
	"bytes"
	little "encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// doorRows writes rows of a few tokens.
func doorRows(t *testing.T, path string, n int) {
	t.Helper()
	var b bytes.Buffer
	for i := range n {
		colour := []string{"red", "green", "blue"}[i%3]
		fmt.Fprintf(&b, `{"id":"r%d","prompt":"The %s door %d:","completion":" %s"}`+"\n", i, colour, i, colour)
	}
	if err := os.WriteFile(path, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
}

// killedTraining is a training in a folder of its own, into the folder one.
type killedTraining struct {
	dir  string
	args []string
}

func newKilledTraining(t *testing.T, args ...string) *killedTraining {
	k := &killedTraining{t.TempDir(), append([]string{"train", "--quiet", "--out", "one"}, args...)}
	doorRows(t, filepath.Join(k.dir, "rows.jsonl"), 20)
	doorRows(t, filepath.Join(k.dir, "held.jsonl"), 5)
	return k
}

func (k *killedTraining) start(t *testing.T, more ...string) (*exec.Cmd, *bytes.Buffer) {
	t.Helper()
	cmd := evalrunCommand(t, k.dir, append(k.args, more...)...)
	stderr := &bytes.Buffer{}
	cmd.Stderr = stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return cmd, stderr
}

// finish runs the command to its end.
func (k *killedTraining) finish(t *testing.T, more ...string) time.Duration {
	t.Helper()
	began := time.Now()
	cmd, stderr := k.start(t, more...)
	if err := cmd.Wait(); err != nil {
		t.Fatalf("%v: %v\n%s", k.args, err, stderr)
	}
	return time.Since(began)
}

var (
	secondsLine = regexp.MustCompile(`\| seconds \|.*`)
	trainerPID  = regexp.MustCompile(`^[0-9]+`)
)

// made is what the training has left, but for what a clock has told.
func (k *killedTraining) made(t *testing.T) map[string]string {
	t.Helper()
	out := map[string]string{}
	for _, name := range []string{"adapter_model.safetensors", "adapter_config.json", "recipe.json", "loss.svg", "report.md", "training/metrics.jsonl"} {
		b, err := os.ReadFile(filepath.Join(k.dir, "one", name))
		if err != nil {
			t.Fatal(err)
		}
		out[name] = secondsLine.ReplaceAllString(string(b), "")
	}
	b, err := os.ReadFile(filepath.Join(k.dir, "one", "training", "events.out.tfevents.0.evalrun"))
	if err != nil {
		t.Fatal(err)
	}
	steps, err := eventSteps(b)
	if err != nil || strings.Count(out["training/metrics.jsonl"], "\n") != len(steps) {
		t.Errorf("events of steps %v (%v), and the log\n%s", steps, err, out["training/metrics.jsonl"])
	}
	out["events"] = fmt.Sprint(steps)
	for _, pattern := range []string{"one/.*", "one/training/.*", "one/*.new*", "one/training/*.new*", "one/training/*/*"} {
		if left, _ := filepath.Glob(filepath.Join(k.dir, pattern)); len(left) > 0 {
			t.Errorf("left half-written: %v", left)
		}
	}
	return out
}

// eventSteps reads the steps of a TensorBoard file, which must ascend.
func eventSteps(b []byte) (steps []uint64, err error) {
	for len(b) > 0 {
		if len(b) < 16 || uint64(len(b)) < 16+little.LittleEndian.Uint64(b) {
			return steps, fmt.Errorf("a record is cut short")
		}
		n := little.LittleEndian.Uint64(b)
		event := b[12 : 12+n]
		b = b[16+n:]
		// wall_time is field 1, nine bytes; step is field 2, where there is one.
		if len(event) > 10 && event[9] == 2<<3 {
			step, _ := little.Uvarint(event[10:])
			if len(steps) > 0 && step <= steps[len(steps)-1] {
				return steps, fmt.Errorf("step %d behind step %d", step, steps[len(steps)-1])
			}
			steps = append(steps, step)
		}
	}
	return steps, nil
}

// trainer is the process that trains; 0 where there is none.
func (k *killedTraining) trainer() int {
	b, _ := os.ReadFile(filepath.Join(k.dir, "one", "training", "lock"))
	pid, _ := strconv.Atoi(string(trainerPID.Find(b)))
	return pid
}

// A training is killed at any moment, its trainer, its host or both, or asked to
// stop, on one thread and on two: while it loads, trains, evaluates, writes a checkpoint,
// the adapter, or the report. The same command ends in the same files.
// EVALRUN_KILLS=100 makes it a long run.
func TestTrainingKilledAtAnyMoment(t *testing.T) {
	if testing.Short() {
		t.Skip("takes half a minute")
	}
	rounds := 4
	if n, err := strconv.Atoi(os.Getenv("EVALRUN_KILLS")); err == nil && n > 0 {
		rounds = n
	}
	small := []string{"--set", "recipe.accumulate=4", "--set", "recipe.checkpoint_every=8", "--set", "recipe.eval_every=8"}
	for name, args := range map[string][]string{
		"paper": append(small, "--train", "rows.jsonl", "--validation", "held.jsonl", "--steps", "64", "--set", "recipe.patience=0", "--preset", "paper"),
		// It ends early: the validation gets worse.
		"modern": append(small, "glue_sst2", "--data", "embedded", "--limit", "12", "--holdout", "0.3", "--steps", "96", "--preset", "modern", "--set", "recipe.patience=2", "--set", "recipe.lr=0.02"),
	} {
		t.Run(name, func(t *testing.T) {
			twin := newKilledTraining(t, args...)
			took := twin.finish(t)
			want := twin.made(t)
			if early := strings.Count(want["training/metrics.jsonl"], "\n") < 16; early != (name == "modern") {
				t.Errorf("ended early: %v\n%s", early, want["training/metrics.jsonl"])
			}
			k := newKilledTraining(t, args...)
			what := map[string]int{}
			for range rounds {
				cmd, stderr := k.start(t, "--opt", fmt.Sprintf("threads=%d", 1+rand.IntN(2)))
				ended := make(chan error, 1)
				go func() { ended <- cmd.Wait() }()
				select {
				case err := <-ended:
					if err != nil && !strings.Contains(stderr.String(), "holds a finished adapter") {
						t.Fatalf("%v\n%s", err, stderr)
					}
					sameFiles(t, k.made(t), want)
					k = newKilledTraining(t, args...)
					what["ended"]++
					continue
				case <-k.moment(took):
				}
				what[k.doing()]++
				victims := []int{cmd.Process.Pid, k.trainer()}
				switch rand.IntN(4) {
				case 0:
					victims = victims[:1]
				case 1:
					victims = victims[1:]
				case 2: // it is asked to stop
					victims = nil
					_ = cmd.Process.Signal(syscall.SIGTERM)
				}
				for _, pid := range victims {
					if pid > 0 {
						_ = syscall.Kill(pid, syscall.SIGKILL) // it may just have ended
					}
				}
				<-ended
				// One that has only begun knows no signals yet, and ends with -1.
				if code := cmd.ProcessState.ExitCode(); victims == nil && code != ExitOK && code != ExitInterrupted && code != -1 {
					t.Errorf("asked to stop: exit code %d\n%s", code, stderr)
				}
				waitNoneLeft(t, k.dir)
			}
			t.Logf("killed while: %v", what)
			if cmd, stderr := k.start(t); cmd.Wait() != nil && !strings.Contains(stderr.String(), "holds a finished adapter") {
				t.Fatalf("the last time: %s", stderr)
			}
			sameFiles(t, k.made(t), want)
		})
	}
}

func sameFiles(t *testing.T, got, want map[string]string) {
	t.Helper()
	for name := range want {
		if got[name] == want[name] {
			continue
		}
		if strings.HasSuffix(name, "safetensors") || strings.HasSuffix(name, "svg") {
			t.Errorf("another %s than the uninterrupted training's", name)
		} else {
			t.Errorf("another %s than the uninterrupted training's:\n%s\nwant\n%s", name, got[name], want[name])
		}
	}
}

// moment is any within the time that an uninterrupted training took, or that at
// which something is being written.
func (k *killedTraining) moment(took time.Duration) <-chan time.Time {
	if rand.IntN(2) == 0 {
		return time.After(rand.N(took))
	}
	patterns := []string{"training/.checkpoint*", "training/.best*", "training/*/*", ".recipe*", ".adapter_model*", "adapter_model*", "adapter_config*", "loss.svg*"}
	pattern := filepath.Join(k.dir, "one", patterns[rand.IntN(len(patterns))])
	out := make(chan time.Time, 1)
	go func() {
		for deadline := time.Now().Add(3 * took); time.Now().Before(deadline); time.Sleep(50 * time.Microsecond) {
			if found, _ := filepath.Glob(pattern); len(found) > 0 {
				break
			}
		}
		out <- time.Now()
	}()
	return out
}

// doing tells what the training is at, from its files.
func (k *killedTraining) doing() string {
	for _, at := range [][2]string{
		{"loss.svg*", "writing the report"}, {"adapter_config.json", "having its adapter"}, {".adapter*", "writing the adapter"}, {".recipe*", "writing the recipe"},
		{"training/.*", "writing a checkpoint"}, {"training/*/*", "scoring"}, {"training/checkpoint*", "training"}, {"training/metrics*", "training before a checkpoint"},
	} {
		if found, _ := filepath.Glob(filepath.Join(k.dir, "one", at[0])); len(found) > 0 {
			return at[1]
		}
	}
	return "beginning"
}
