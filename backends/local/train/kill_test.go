//go:build unix

package train

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/evalrun/evalrun/backends/local/weights"
	"github.com/evalrun/evalrun/kernels/cpu"
)

// childJob is the training of a child process; what may differ from process to
// process within one training is Keep and Threads.
type childJob struct {
	Preset, Dir string
	Patience    int
	Keep        bool
	Threads     int
	// Largest is the most bytes that a file of it may have; 0 sets no limit.
	Largest uint64
}

const childEnv = "EVALRUN_TEST_TRAIN"

// TestTrainInChild is the child: it trains, and leaves its values in the file
// result.
func TestTrainInChild(t *testing.T) {
	text := os.Getenv(childEnv)
	if text == "" {
		t.Skip("it is started by the tests that kill it")
	}
	var c childJob
	if err := json.Unmarshal([]byte(text), &c); err != nil {
		t.Fatal(err)
	}
	dev, err := cpu.New(cpu.Options{Threads: c.Threads})
	if err != nil {
		t.Fatal(err)
	}
	j := jobOn(t, dev, c.Preset, c.Dir)
	j.Keep = c.Keep
	j.Recipe.Steps, j.Recipe.EvalEvery, j.Recipe.Patience, j.Recipe.CheckpointEvery = 1200, 60, c.Patience, 50
	if c.Largest > 0 {
		if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: c.Largest, Max: c.Largest}); err != nil {
			t.Fatal(err)
		}
	}
	res, err := j.Run(context.Background())
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(9)
	}
	if err := weights.WriteFile(filepath.Join(c.Dir, "result"), func(w io.Writer) error {
		fmt.Fprintf(w, "%d %d %v\n", res.Step, res.BestStep, res.Early)
		for _, x := range j.Tuned.stored() {
			if _, err := w.Write(x.Data); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
}

func (c childJob) start(t *testing.T) (*exec.Cmd, *bytes.Buffer) {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe, "-test.run=^TestTrainInChild$")
	cmd.Env = append(os.Environ(), childEnv+"="+string(text), "TMPDIR="+t.TempDir()) // what it cannot remove goes with us
	stderr := &bytes.Buffer{}
	cmd.Stderr = stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return cmd, stderr
}

// finish runs a child to its end.
func (c childJob) finish(t *testing.T) time.Duration {
	t.Helper()
	began := time.Now()
	cmd, stderr := c.start(t)
	if err := cmd.Wait(); err != nil {
		t.Fatalf("%+v: %v\n%s", c, err, stderr)
	}
	return time.Since(began)
}

// made is what a training has left: its values and its log.
func (c childJob) made(t *testing.T) map[string]string {
	t.Helper()
	out := map[string]string{}
	for _, name := range []string{"result", metricsFile} {
		b, err := os.ReadFile(filepath.Join(c.Dir, name))
		if err != nil {
			t.Fatal(err)
		}
		out[name] = string(b)
	}
	return out
}

func sameTraining(t *testing.T, what string, got, want map[string]string) {
	t.Helper()
	for name := range want {
		if got[name] != want[name] {
			t.Errorf("%s: another %s than the uninterrupted training's", what, name)
		}
	}
}

// halfWritten lists the files that a killed process left half-written.
func halfWritten(dir string) []string {
	found, _ := filepath.Glob(filepath.Join(dir, ".*"))
	return found
}

// killRounds is how often the tests kill; EVALRUN_KILLS=1000 makes it a long
// run.
func killRounds(few int) int {
	if n, err := strconv.Atoi(os.Getenv("EVALRUN_KILLS")); err == nil && n > 0 {
		return n
	}
	return few
}

// A training that is killed at any moment, half of them while it writes a
// checkpoint, with other threads and other plans of memory from process to
// process, ends in the bytes of one that was not.
func TestKilledAtAnyMoment(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some seconds")
	}
	torn, kills := 0, 0
	for _, c := range []childJob{{Preset: "paper"}, {Preset: "modern", Patience: 6}} {
		c.Dir, c.Keep, c.Threads = t.TempDir(), true, 1
		took := c.finish(t)
		want := c.made(t)
		c.Dir = t.TempDir()
		rng := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 1))
		for range killRounds(12) {
			c.Keep, c.Threads = rng.IntN(2) == 0, 1+rng.IntN(2)
			cmd, stderr := c.start(t)
			ended := make(chan error, 1)
			go func() { ended <- cmd.Wait() }()
			var moment <-chan time.Time
			if rng.IntN(2) == 0 {
				moment = time.After(time.Duration(rng.Int64N(int64(took))))
			} else {
				moment = whenWriting(c.Dir, rng.IntN(6), took)
			}
			var err error
			killed := false
			select {
			case err = <-ended:
			case <-moment:
				kill := cmd.Process.Kill()
				if kill != nil && !errors.Is(kill, os.ErrProcessDone) {
					t.Fatal(kill)
				}
				killed, err = kill == nil, <-ended
			}
			if killed {
				kills++
				if len(halfWritten(c.Dir)) > 0 {
					torn++
				}
				continue
			}
			if err != nil {
				t.Fatalf("%+v: %v\n%s", c, err, stderr)
			}
			// It was through before it could be killed: from the start.
			sameTraining(t, c.Preset, c.made(t), want)
			c.Dir = t.TempDir()
		}
		c.finish(t)
		sameTraining(t, c.Preset, c.made(t), want)
		if left := halfWritten(c.Dir); len(left) > 0 {
			t.Errorf("left behind: %v", left)
		}
		if c.Patience > 0 && !strings.Contains(want["result"], "true") {
			t.Error("no training ended early")
		}
	}
	t.Logf("%d kills, %d of them while a file was being written", kills, torn)
}

// whenWriting fires when a file is being written for the n-th time, or after
// the limit.
func whenWriting(dir string, n int, limit time.Duration) <-chan time.Time {
	c := make(chan time.Time, 1)
	go func() {
		seen := map[string]bool{}
		for deadline := time.Now().Add(limit); time.Now().Before(deadline) && len(seen) <= n; {
			for _, path := range halfWritten(dir) {
				seen[path] = true
			}
			time.Sleep(50 * time.Microsecond)
		}
		c <- time.Now()
	}()
	return c
}

// A disk that is full, whatever file it is that does not fit: the last
// checkpoint stays, and with space again the training ends in the same bytes.
func TestFullDisk(t *testing.T) {
	c := childJob{Preset: "paper", Dir: t.TempDir(), Keep: true, Threads: 1, Patience: 9}
	c.finish(t)
	want := c.made(t)

	// No file may be larger than a limit: at first not even the log, then no
	// checkpoint, then the log ends half-way.
	checkpoint, err := os.Stat(filepath.Join(c.Dir, checkpointFile))
	if err != nil {
		t.Fatal(err)
	}
	log := uint64(len(want[metricsFile]))
	if uint64(checkpoint.Size()) > log/2 {
		t.Fatalf("a checkpoint of %d bytes, and a log of %d: train longer", checkpoint.Size(), log)
	}
	c.Dir = t.TempDir()
	for _, c.Largest = range []uint64{100, uint64(checkpoint.Size()) - 1, log / 2} {
		cmd, stderr := c.start(t)
		_ = cmd.Wait()
		if code := cmd.ProcessState.ExitCode(); code != 9 || !strings.Contains(stderr.String(), "file too large") || !strings.Contains(stderr.String(), c.Dir) {
			t.Fatalf("%d bytes: exit code %d\n%s", c.Largest, code, stderr)
		}
		if left := halfWritten(c.Dir); len(left) > 0 {
			t.Errorf("left behind: %v", left)
		}
		if st, _, err := readState(filepath.Join(c.Dir, checkpointFile), "one"); err != nil {
			t.Errorf("the checkpoint behind a full disk, step %d: %v", st.Step, err)
		}
	}
	if st, found, err := readState(filepath.Join(c.Dir, checkpointFile), "one"); !found || err != nil || st.Step == 0 {
		t.Errorf("no checkpoint has stayed: %+v, %v", st, err)
	}
	c.Largest = 0
	c.finish(t)
	sameTraining(t, "full disk", c.made(t), want)

	// A disk of its own, where this machine lets us have one.
	disk := t.TempDir()
	size := checkpoint.Size() * 5 / 2 // the last two checkpoints, and half of the next
	if err := mountDisk(disk, size); err != nil {
		t.Logf("no disk of %d bytes: %v", size, err)
		return
	}
	defer func() {
		if err := syscall.Unmount(disk, 0); err != nil {
			t.Error(err)
		}
	}()
	c.Dir = filepath.Join(disk, "training")
	cmd, stderr := c.start(t)
	_ = cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != 9 || !strings.Contains(stderr.String(), "no space left on device") {
		t.Fatalf("exit code %d\n%s", code, stderr)
	}
	if err := growDisk(disk, size*20); err != nil {
		t.Fatal(err)
	}
	c.finish(t)
	sameTraining(t, "full disk", c.made(t), want)
}
