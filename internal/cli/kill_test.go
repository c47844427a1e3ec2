//go:build unix

package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/evalrun/evalrun/core/record"
	"github.com/evalrun/evalrun/results"
)

// paidStub is a service that remembers what it was asked.
type paidStub struct {
	mu      sync.Mutex
	calls   map[string]int
	latency time.Duration
	url     string
}

func newPaidStub(t *testing.T, latency time.Duration) *paidStub {
	t.Helper()
	s := &paidStub{calls: map[string]int{}, latency: latency}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(s.serve)}
	go func() { _ = server.Serve(l) }()
	t.Cleanup(func() { server.Close() })
	s.url = "http://" + l.Addr().String() + "/v1"
	return s
}

// serve answers 1 to rows with an even number and 0 to the others.
func (s *paidStub) serve(w http.ResponseWriter, r *http.Request) {
	var body struct {
		Messages []struct{ Content string }
	}
	if err := json.NewDecoder(r.Body).Decode(&body); err != nil || len(body.Messages) == 0 {
		http.Error(w, "bad", http.StatusBadRequest)
		return
	}
	row := rowOf(body.Messages[len(body.Messages)-1].Content)
	s.mu.Lock()
	s.calls[row]++
	s.mu.Unlock()
	select {
	case <-time.After(s.latency):
	case <-r.Context().Done():
		return
	}
	answer := "0"
	if strings.HasSuffix(row, "0") || strings.HasSuffix(row, "2") || strings.HasSuffix(row, "4") || strings.HasSuffix(row, "6") || strings.HasSuffix(row, "8") {
		answer = "1"
	}
	w.Header().Set("Content-Type", "application/json")
	fmt.Fprintf(w, `{"id":"x","object":"chat.completion","choices":[{"index":0,"message":{"role":"assistant","content":" %s"},"finish_reason":"stop"}],"usage":{"prompt_tokens":9,"completion_tokens":1,"total_tokens":10}}`, answer)
}

func rowOf(prompt string) string {
	_, rest, _ := strings.Cut(prompt, "row ")
	row, _, _ := strings.Cut(rest, " ")
	return row
}

func (s *paidStub) count(row string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls[row]
}

// writeCountTask writes a task whose rows are numbered.
func writeCountTask(t *testing.T, dir string, n int) {
	t.Helper()
	var rows bytes.Buffer
	for i := range n {
		fmt.Fprintf(&rows, `{"text":"row %d of the test","label":"%d"}`+"\n", i, (i+1)%2)
	}
	spec := "task: count\ndataset: rows.jsonl\nprompt: 'Is it even? {text}'\ntarget: label\nlabels: [\"0\", \"1\"]\ngeneration: {max_tokens: 4}\nmetrics: [binary_accuracy_flex]\n"
	for name, b := range map[string][]byte{"rows.jsonl": rows.Bytes(), "count.yaml": []byte(spec)} {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func evalrunCommand(t *testing.T, dir string, args ...string) *exec.Cmd {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "EVALRUN_TEST_MAIN=1", "EVALRUN_CACHE="+filepath.Join(dir, "cache"), "OPENAI_API_KEY=sk-secret-of-the-kill-test")
	return cmd
}

// storedRows reads which rows a run holds; a row twice is a failure.
func storedRows(t *testing.T, dir string) map[string]bool {
	t.Helper()
	out := map[string]bool{}
	folder, err := results.Open(filepath.Join(dir, "runs"), "latest")
	if err != nil {
		return out
	}
	if _, err := os.Stat(folder.Samples()); err != nil {
		return out
	}
	for rec, err := range record.Read(folder.Samples()) {
		if err != nil {
			t.Fatal(err)
		}
		if rec.Error != nil {
			t.Fatalf("sample %s: %s", rec.Sample, rec.Error.Message)
		}
		if out[rec.Sample] {
			t.Fatalf("sample %s is stored twice", rec.Sample)
		}
		out[rec.Sample] = true
	}
	return out
}

// leftOver lists processes whose environment names the folder.
func leftOver(dir string) []string {
	var out []string
	entries, _ := filepath.Glob("/proc/[0-9]*/environ")
	for _, e := range entries {
		b, err := os.ReadFile(e)
		if err == nil && bytes.Contains(b, []byte(dir)) {
			out = append(out, filepath.Base(filepath.Dir(e)))
		}
	}
	return out
}

func waitNoneLeft(t *testing.T, dir string) {
	t.Helper()
	deadline := time.Now().Add(5 * time.Second)
	for {
		left := leftOver(dir)
		if len(left) == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("processes left behind: %v", left)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// TestKilledAtAnyMoment kills the runner 50 times during one run of 2,000
// samples: nothing is lost or doubled, and no stored answer is asked again.
func TestKilledAtAnyMoment(t *testing.T) {
	if testing.Short() {
		t.Skip("takes half a minute")
	}
	const rows, kills = 2000, 50
	dir := t.TempDir()
	writeCountTask(t, dir, rows)
	stub := newPaidStub(t, 15*time.Millisecond)
	args := []string{"count.yaml", "--backend", "openai", "--model", "m", "--base-url", stub.url, "--limit", "all", "--concurrency", "6", "--quiet", "--json"}

	killed := 0
	for killed < kills {
		stored := storedRows(t, dir)
		before := map[string]int{}
		for row := range stored {
			before[row] = stub.count(row)
		}
		cmd := evalrunCommand(t, dir, args...)
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 1)
		go func() { ended <- cmd.Wait() }()
		select {
		case err := <-ended:
			t.Fatalf("the run ended (%v) after %d kills, before it could be killed %d times\n%s", err, killed, kills, stderr.Bytes())
		case <-moment(dir, killed):
		}
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		<-ended
		killed++
		waitNoneLeft(t, dir)
		for row, n := range before {
			if again := stub.count(row); again != n {
				t.Fatalf("row %s was stored and asked %d times again", row, again-n)
			}
		}
		for row := range stored {
			if now := storedRows(t, dir); !now[row] {
				t.Fatalf("row %s was stored and is lost", row)
			}
			break
		}
	}
	t.Logf("%d kills, %d samples stored before the last part", killed, len(storedRows(t, dir)))

	cmd := evalrunCommand(t, dir, args...)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if n := len(storedRows(t, dir)); n != rows {
		t.Errorf("%d samples at the end, want %d", n, rows)
	}
	var scores results.Scores
	if err := json.Unmarshal(out, &scores); err != nil {
		t.Fatal(err)
	}
	for _, l := range scores.Tasks {
		if l.Score == nil || float64(*l.Score) != 1 || l.N != rows {
			t.Errorf("%s %s: %v over %d", l.Metric, l.Profile, l.Score, l.N)
		}
	}
	runs, err := results.List(filepath.Join(dir, "runs"))
	if err != nil || len(runs) != 1 {
		t.Errorf("%d run folders, want one: %v", len(runs), err)
	}
	checkNoSecret(t, dir, "sk-secret-of-the-kill-test")
	waitNoneLeft(t, dir)
}

// moment picks when to kill: every fifth time while the program starts, else up
// to 80 ms after it has stored something new.
func moment(dir string, n int) <-chan time.Time {
	if n%5 == 0 {
		return time.After(time.Duration(rand.IntN(150)) * time.Millisecond)
	}
	samples := filepath.Join(dir, "runs", "latest", results.SamplesFile)
	size := func() int64 {
		if info, err := os.Stat(samples); err == nil {
			return info.Size()
		}
		return 0
	}
	before := size()
	out := make(chan time.Time, 1)
	go func() {
		for deadline := time.Now().Add(10 * time.Second); size() <= before && time.Now().Before(deadline); {
			time.Sleep(2 * time.Millisecond)
		}
		out <- <-time.After(time.Duration(rand.IntN(80)) * time.Millisecond)
	}()
	return out
}

// checkNoSecret looks into every file that a run left.
func checkNoSecret(t *testing.T, dir, secret string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(p string, d os.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		f, err := os.Open(p)
		if err != nil {
			return err
		}
		defer f.Close()
		b, err := io.ReadAll(f)
		if err == nil && bytes.Contains(b, []byte(secret)) {
			t.Errorf("%s holds the key", p)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

// TestPluginKilledMidRun kills the plugin process under a run: it is started
// again, what was in flight is sent again, and the scores are the same.
func TestPluginKilledMidRun(t *testing.T) {
	dir := t.TempDir()
	const rows = 300
	writeCountTask(t, dir, rows)
	stub := newPaidStub(t, 10*time.Millisecond)
	cmd := evalrunCommand(t, dir, "count.yaml", "--backend", "openai", "--model", "m", "--base-url", stub.url, "--limit", "all", "--concurrency", "4", "--json", "--quiet")
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	kills := 0
	for deadline := time.Now().Add(10 * time.Second); kills < 2 && time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if len(storedRows(t, dir)) < 40*(kills+1) {
			continue
		}
		for _, pid := range leftOver(dir) {
			var n int
			if _, err := fmt.Sscan(pid, &n); err == nil && n != cmd.Process.Pid {
				if syscall.Kill(n, syscall.SIGKILL) == nil {
					kills++
				}
			}
		}
	}
	if err := cmd.Wait(); err != nil {
		t.Fatalf("%v\n%s", err, stderr.Bytes())
	}
	if kills < 2 {
		t.Fatalf("the plugin was killed %d times, want 2", kills)
	}
	var scores results.Scores
	if err := json.Unmarshal(stdout.Bytes(), &scores); err != nil {
		t.Fatal(err)
	}
	for _, l := range scores.Tasks {
		if l.Score == nil || float64(*l.Score) != 1 || l.N != rows || l.APIErrors != 0 {
			t.Errorf("%s %s: score %v over %d, %d API errors", l.Metric, l.Profile, l.Score, l.N, l.APIErrors)
		}
	}
	waitNoneLeft(t, dir)
}

// TestInterrupted: the first interrupt saves and ends with 130, and the same
// command goes on.
func TestInterrupted(t *testing.T) {
	dir := t.TempDir()
	const rows = 200
	writeCountTask(t, dir, rows)
	stub := newPaidStub(t, 20*time.Millisecond)
	args := []string{"count.yaml", "--backend", "openai", "--model", "m", "--base-url", stub.url, "--limit", "all", "--concurrency", "4", "--json", "--quiet"}
	cmd := evalrunCommand(t, dir, args...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(10 * time.Second); len(storedRows(t, dir)) < 20 && time.Now().Before(deadline); {
		time.Sleep(10 * time.Millisecond)
	}
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != ExitInterrupted {
		t.Fatalf("exit code %d, want %d", code, ExitInterrupted)
	}
	stored := len(storedRows(t, dir))
	if stored == 0 || stored == rows {
		t.Fatalf("%d samples stored at the interrupt", stored)
	}
	if out, err := evalrunCommand(t, dir, args...).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if n := len(storedRows(t, dir)); n != rows {
		t.Errorf("%d samples at the end, want %d", n, rows)
	}
	for i := range rows {
		if n := stub.count(fmt.Sprint(i)); n != 1 {
			t.Errorf("row %d was asked %d times", i, n)
		}
	}
	waitNoneLeft(t, dir)
}
