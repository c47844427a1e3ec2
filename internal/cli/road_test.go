//go:build unix

package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/evalrun/evalrun/core/record"
	"github.com/evalrun/evalrun/results"
)

// moody is a service whose answers a test writes; it counts what it is asked.
type moody struct {
	mu    sync.Mutex
	asked map[string]int
	// answer gives status and text for a row.
	answer func(row string) (int, string)
}

func newMoody(t *testing.T, answer func(row string) (int, string)) (*moody, string) {
	t.Helper()
	m := &moody{asked: map[string]int{}, answer: answer}
	s := httptest.NewServer(m)
	t.Cleanup(s.Close)
	return m, s.URL + "/v1"
}

func (m *moody) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var body struct{ Messages []struct{ Content string } }
	if err := json.NewDecoder(r.Body).Decode(&body); err != nil || len(body.Messages) == 0 {
		http.Error(w, "bad", http.StatusBadRequest)
		return
	}
	row := rowOf(body.Messages[len(body.Messages)-1].Content)
	m.mu.Lock()
	m.asked[row]++
	status, text := m.answer(row)
	m.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	if status != http.StatusOK {
		w.WriteHeader(status)
		fmt.Fprintf(w, `{"error":{"message":%q,"type":"invalid_request_error"}}`, text)
		return
	}
	fmt.Fprintf(w, `{"id":"x","object":"chat.completion","choices":[{"index":0,"message":{"role":"assistant","content":" %s"},"finish_reason":"stop"}],"usage":{"prompt_tokens":1000,"completion_tokens":1,"total_tokens":1001}}`, text)
}

func (m *moody) total() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := 0
	for _, k := range m.asked {
		n += k
	}
	return n
}

func even(row string) string {
	if strings.ContainsAny(row[len(row)-1:], "02468") {
		return "1"
	}
	return "0"
}

// ended is a command that has run.
type ended struct {
	code   int
	scores results.Scores
	stdout string
	stderr string
}

func evalrun(t *testing.T, dir string, args ...string) ended {
	t.Helper()
	cmd := evalrunCommand(t, dir, args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	_ = cmd.Run()
	e := ended{code: cmd.ProcessState.ExitCode(), stdout: stdout.String(), stderr: stderr.String()}
	if bytes.HasPrefix(stdout.Bytes(), []byte("{")) {
		if err := json.Unmarshal(stdout.Bytes(), &e.scores); err != nil {
			t.Fatalf("%v\n%s", err, stdout.Bytes())
		}
	}
	return e
}

func (e ended) strict(t *testing.T, model string) results.Score {
	t.Helper()
	for _, l := range e.scores.Tasks {
		if l.Profile == "strict" && strings.Contains(l.Model, model) {
			return l
		}
	}
	t.Fatalf("no line of %s\n%s%s", model, e.stdout, e.stderr)
	return results.Score{}
}

func runsIn(t *testing.T, dir string) []*results.Folder {
	t.Helper()
	runs, err := results.List(filepath.Join(dir, "runs"))
	if err != nil {
		t.Fatal(err)
	}
	return runs
}

// An interrupt does not wait for what would be tried again, and the run is an
// interrupted one although all its requests have failed so far.
func TestInterruptTriesNothingAgain(t *testing.T) {
	dir := t.TempDir()
	writeCountTask(t, dir, 12)
	asked := make(chan struct{}, 100)
	_, url := newMoody(t, func(string) (int, string) {
		asked <- struct{}{}
		return http.StatusServiceUnavailable, "down"
	})
	cmd := evalrunCommand(t, dir, "count.yaml", "--backend", "openai", "--model", "m", "--base-url", url, "--cache", "off", "--quiet")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for range 12 {
		<-asked
	}
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != ExitInterrupted {
		t.Errorf("exit code %d", code)
	}
	if n := len(asked); n > 24 { // five tries are 48 further ones
		t.Errorf("%d more requests", n)
	}
}

// The repeats of a task count in what validate reckons, and --repeat goes before
// them, 1 too.
func TestRepeatsOfTheTask(t *testing.T) {
	dir := t.TempDir()
	writeCountTask(t, dir, 5)
	f, err := os.OpenFile(filepath.Join(dir, "count.yaml"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintln(f, "repeats: 8")
	f.Close()
	for repeat, want := range map[string]string{"": "about 40 prompts", "1": "about 5 prompts", "2": "about 10 prompts"} {
		args := []string{"validate", "count.yaml"}
		if repeat != "" {
			args = append(args, "--repeat", repeat)
		}
		if got := evalrun(t, dir, args...); !strings.Contains(got.stdout, want) {
			t.Errorf("--repeat %q: %s%s", repeat, got.stdout, got.stderr)
		}
	}
	for repeat, want := range map[string]int{"1": 5, "2": 10} {
		if got := evalrun(t, dir, "count.yaml", "--backend", "echo", "--json", "--repeat", repeat).strict(t, "echo").N; got != want {
			t.Errorf("--repeat %s: %d answers", repeat, got)
		}
	}
}

// The answers of a chat model stand beside those of another model, from its run.
func TestAgainstARunOfAChatModel(t *testing.T) {
	dir := t.TempDir()
	writeCountTask(t, dir, 12)
	service, url := newMoody(t, func(row string) (int, string) { return http.StatusOK, even(row) })
	first := evalrun(t, dir, "count.yaml", "--backend", "openai", "--model", "m", "--base-url", url, "--cache", "off", "--json")
	asked := service.total()
	second := evalrun(t, dir, "count.yaml", "--backend", "echo", "--against", "runs/latest", "--json")
	if first.code != ExitOK || second.code != ExitOK || service.total() != asked {
		t.Fatalf("exit codes %d, %d, %d and %d requests\n%s%s", first.code, second.code, asked, service.total(), first.stderr, second.stderr)
	}
	want, got := first.strict(t, "m"), second.strict(t, "run:")
	if got.N != 12 || *got.Score != *want.Score {
		t.Errorf("%d rows score %v, want %v", got.N, *got.Score, *want.Score)
	}
}

// Where asking again would not help, the error says what would.
func TestFailuresThatStay(t *testing.T) {
	dir := t.TempDir()
	writeCountTask(t, dir, 4)
	_, url := newMoody(t, func(string) (int, string) { return http.StatusNotFound, "no such model" })
	got := evalrun(t, dir, "count.yaml", "--backend", "openai", "--model", "m", "--base-url", url, "--cache", "off", "--quiet")
	if got.code != ExitInfra || !strings.Contains(got.stderr, "4 of 4 requests got no answer") || !strings.Contains(got.stderr, "  check --model and --base-url") {
		t.Errorf("exit code %d\n%s", got.code, got.stderr)
	}
}

// A table or an object that could not be written is no success.
func TestOutputThatIsLost(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skip(err)
	}
	defer full.Close()
	dir := t.TempDir()
	writeCountTask(t, dir, 4)
	for _, args := range [][]string{{"count.yaml", "--backend", "echo", "--json"}, {"count.yaml", "--backend", "echo"}, {"rescore", "--json"}, {"ask", "hi", "--backend", "echo"}} {
		cmd := evalrunCommand(t, dir, args...)
		cmd.Stdout = full
		_ = cmd.Run()
		if code := cmd.ProcessState.ExitCode(); code != ExitInfra {
			t.Errorf("%v: exit code %d", args, code)
		}
	}
}

// What a service lets one know only by its answers stands beside the numbers:
// that it counts no tokens, that its filter withheld some.
func TestWhatAnswersTell(t *testing.T) {
	dir := t.TempDir()
	writeCountTask(t, dir, 12)
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprint(w, `{"choices":[{"index":0,"message":{"role":"assistant","content":"1"},"finish_reason":"content_filter"}]}`)
	}))
	defer service.Close()
	got := evalrun(t, dir, "count.yaml", "--backend", "openai", "--model", "m", "--base-url", service.URL+"/v1", "--cache", "off")
	const note = "the service sent no token counts: tokens and costs are estimated"
	if got.code != ExitOK || !strings.Contains(got.stdout, note) || !strings.Contains(got.stdout, "100 % withheld by the service") {
		t.Fatalf("exit code %d\n%s%s", got.code, got.stdout, got.stderr)
	}
	report, err := os.ReadFile(filepath.Join(runsIn(t, dir)[0].Path, "report.md"))
	if err != nil || !strings.Contains(string(report), note) {
		t.Errorf("%v, no note in\n%s", err, report)
	}
}

// The cap stops a run with exit code 3; the same command with a higher one goes
// on in the same folder and pays nothing twice.
func TestBudgetStopsAndGoesOn(t *testing.T) {
	dir := t.TempDir()
	writeCountTask(t, dir, 40)
	service, url := newMoody(t, func(row string) (int, string) { return http.StatusOK, even(row) })
	args := []string{"count.yaml", "--backend", "openai", "--model", "m", "--base-url", url, "--concurrency", "2", "--json",
		"--opt", "price_in=1000", "--opt", "price_out=0"} // 1 USD an answer
	first := evalrun(t, dir, append(args, "--max-cost", "10usd")...)
	if first.code != ExitBudget || !strings.Contains(first.stderr, "the budget of $10 is reached") || !strings.Contains(first.stderr, "higher --max-cost") {
		t.Fatalf("exit code %d\n%s", first.code, first.stderr)
	}
	if first.scores.Outcome != "budget" || !first.strict(t, "m").Unfinished {
		t.Errorf("outcome %s", first.scores.Outcome)
	}
	asked := service.total()
	if asked == 0 || asked == 40 {
		t.Fatalf("%d requests before the stop", asked)
	}
	second := evalrun(t, dir, append(args, "--max-cost", "100usd")...)
	if second.code != ExitOK || service.total() != 40 {
		t.Fatalf("exit code %d after %d requests\n%s", second.code, service.total(), second.stderr)
	}
	if l := second.strict(t, "m"); l.N != 40 || float64(*l.Score) != 1 || second.scores.CostUSD != 40 {
		t.Errorf("%d rows, score %v, %v USD", l.N, *l.Score, second.scores.CostUSD)
	}
	if second.scores.Run != first.scores.Run || len(runsIn(t, dir)) != 1 {
		t.Errorf("%s went on as %s", first.scores.Run, second.scores.Run)
	}
}

// API errors are no wrong answers: exit code 2 above the tolerance, and the
// same command asks for them again. Then no trace of them is in the numbers.
func TestAPIErrorsAndResume(t *testing.T) {
	dir := t.TempDir()
	writeCountTask(t, dir, 30)
	broken := true
	service, url := newMoody(t, func(row string) (int, string) {
		if broken && strings.HasSuffix(row, "7") {
			return http.StatusBadRequest, "not this one"
		}
		return http.StatusOK, even(row)
	})
	args := []string{"count.yaml", "--backend", "openai", "--model", "m", "--base-url", url, "--json"}
	first := evalrun(t, dir, args...)
	if first.code != ExitInfra || !strings.Contains(first.stderr, "3 of 30 requests got no answer") || !strings.Contains(first.stderr, "not this one") {
		t.Fatalf("exit code %d\n%s", first.code, first.stderr)
	}
	if l := first.strict(t, "m"); l.N != 27 || l.APIErrors != 3 || float64(*l.Score) != 1 {
		t.Errorf("%d rows, %d API errors, score %v", l.N, l.APIErrors, *l.Score)
	}
	// A permanent failure does not go on silently for ever.
	again := evalrun(t, dir, args...)
	if again.code != ExitInfra || !strings.Contains(again.stderr, "27 samples are answered, 3 got API errors and are asked again (--new starts a new run instead)") {
		t.Errorf("exit code %d\n%s", again.code, again.stderr)
	}
	tolerant := evalrun(t, dir, append(args, "--max-errors", "0.5")...)
	if tolerant.code != ExitOK || !strings.Contains(tolerant.stderr, "--new starts a new run instead") {
		t.Errorf("exit code %d\n%s", tolerant.code, tolerant.stderr)
	}
	service.mu.Lock()
	broken = false
	service.mu.Unlock()
	last := evalrun(t, dir, args...)
	if l := last.strict(t, "m"); last.code != ExitOK || l.N != 30 || l.APIErrors != 0 {
		t.Errorf("exit code %d, %d rows, %d API errors\n%s", last.code, l.N, l.APIErrors, last.stderr)
	}
	runs := runsIn(t, dir)
	if len(runs) != 1 || runs[0].Manifest.Finished == nil {
		t.Fatalf("%d runs", len(runs))
	}
	// Every reader of the folder keeps the last record of a sample.
	lines := 0
	for _, err := range record.Read(runs[0].Samples()) {
		if err != nil {
			t.Fatal(err)
		}
		lines++
	}
	if lines != 39 {
		t.Errorf("%d stored lines, want 30 answers and 9 failures", lines)
	}
	for _, verb := range [][]string{{"rescore", "latest", "--json"}, {"report", "latest", "--format", "json"}} {
		if out := evalrun(t, dir, verb...); out.code != ExitOK || strings.Contains(out.stdout, `"api_errors":3`) {
			t.Errorf("%v: exit code %d\n%s%s", verb, out.code, out.stdout, out.stderr)
		}
	}
	if out := evalrun(t, dir, "view", "latest", "--errors"); strings.Contains(out.stdout, "not this one") {
		t.Errorf("view shows errors that were mended:\n%s", out.stdout)
	}
	if out := evalrun(t, dir, args...); out.code != ExitOK || len(runsIn(t, dir)) < 2 {
		t.Errorf("after a finished run: exit code %d, %d runs", out.code, len(runsIn(t, dir)))
	}
}

// What the second model does cannot take the first one's table away.
func TestSecondModelFails(t *testing.T) {
	dir := t.TempDir()
	writeCountTask(t, dir, 30)
	_, url := newMoody(t, func(string) (int, string) { return http.StatusUnauthorized, "no such key" })
	t.Setenv("OPENAI_BASE_URL", url)
	out := evalrun(t, dir, "count.yaml", "--backend", "echo", "--opt", "mode=constant:1", "--against", "openai:m", "--against", "echo", "--json", "--limit", "20")
	if out.code != ExitInfra || !strings.Contains(out.stderr, "given up") {
		t.Fatalf("exit code %d\n%s", out.code, out.stderr)
	}
	if l := out.strict(t, "echo"); l.N != 20 || float64(*l.Score) != 0.5 {
		t.Errorf("the first model: %d rows, score %v", l.N, l.Score)
	}
	if l := out.strict(t, "echo#2"); l.N != 20 {
		t.Errorf("the third model: %d rows", l.N)
	}
	if l := out.strict(t, "openai"); l.Score != nil || l.N != 0 || l.APIErrors == 0 || !l.Unfinished {
		t.Errorf("the second model: %+v", l)
	}
	folder := runsIn(t, dir)[0]
	if _, err := folder.Scores(); err != nil {
		t.Error(err)
	}
}

// A model that cannot be asked is told before the first one spends anything,
// and leaves no run folder.
func TestAgainstIsCheckedFirst(t *testing.T) {
	dir := t.TempDir()
	writeCountTask(t, dir, 5)
	service, url := newMoody(t, func(row string) (int, string) { return http.StatusOK, even(row) })
	for _, tt := range []struct{ against, want string }{
		{"local:no/such/folder", "model no/such/folder: no such model folder or file"},
		{"replay:no/such/run", "there is no stored run"},
		{"opanai:gpt-4", "did you mean openai:gpt-4?"},
	} {
		out := evalrun(t, dir, "count.yaml", "--backend", "openai", "--model", "m", "--base-url", url, "--against", tt.against)
		if out.code != ExitUsage || !strings.Contains(out.stderr, tt.want) {
			t.Errorf("--against %s: exit code %d\n%s", tt.against, out.code, out.stderr)
		}
	}
	t.Setenv("OPENAI_API_KEY", "")
	cmd := evalrunCommand(t, dir, "count.yaml", "--backend", "echo", "--against", "openai:gpt-4-0613")
	for i, v := range cmd.Env {
		if strings.HasPrefix(v, "OPENAI_API_KEY=") {
			cmd.Env[i] = "OPENAI_API_KEY="
		}
	}
	b, err := cmd.CombinedOutput()
	if err == nil || !bytes.Contains(b, []byte("OPENAI_API_KEY is not set")) {
		t.Errorf("without a key: %v\n%s", err, b)
	}
	if service.total() != 0 {
		t.Errorf("%d requests were asked before", service.total())
	}
	if _, err := os.Stat(filepath.Join(dir, "runs")); !errors.Is(err, os.ErrNotExist) {
		t.Error("a runs folder was made")
	}
}

// A missing key is told before a row is fetched and before the first model is
// asked, whichever column, the judge or a stored run wants it, and so is a
// setting that a backend refuses. What is set of other secrets is not shown.
func TestMissingKeyIsToldFirst(t *testing.T) {
	dir := t.TempDir()
	writeCountTask(t, dir, 5)
	var asked atomic.Int64
	hub := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		w.WriteHeader(http.StatusNotFound)
	}))
	defer hub.Close()
	const key = "evalrun: %sbackend openai: OPENAI_API_KEY is not set"
	for _, tt := range []struct{ args, want string }{
		{"glue_sst2 boolq --data hub --backend openai --model gpt-4-0613", fmt.Sprintf(key, "")},
		{"glue_sst2 boolq --data hub --against openai:gpt-4-0613", fmt.Sprintf(key, "model openai:gpt-4-0613: ")},
		{"glue_sst2 boolq --data hub --judge openai:gpt-4-0613", fmt.Sprintf(key, "judge openai:gpt-4-0613: ")},
		{"glue_sst2 --data hub --model nobody/nothing --against openai:gpt-4-0613", fmt.Sprintf(key, "model openai:gpt-4-0613: ")},
		{"ask --backend openai hello", fmt.Sprintf(key, "")},
		{"glue_sst2 --data hub --backend echo --opt mood=1", `evalrun: backend echo: unknown option "mood"`},
		{"glue_sst2 --data hub --opt treads=1", "treads"},
	} {
		cmd := evalrunCommand(t, dir, strings.Fields(tt.args)...)
		cmd.Env = append(cmd.Env, "OPENAI_API_KEY=", "OPENAI_BASE_URL=", "HF_ENDPOINT="+hub.URL, "HF_TOKEN=hf_secretOfTheTest", "HF_HOME="+filepath.Join(dir, "hub"))
		b, _ := cmd.CombinedOutput()
		if code := cmd.ProcessState.ExitCode(); code != ExitUsage || !strings.Contains(string(b), tt.want) || strings.Count(string(b), "\n") != 2 {
			t.Errorf("%s: exit code %d\n%s", tt.args, code, b)
		}
		if strings.Contains(tt.want, "KEY") && !bytes.Contains(b, []byte("export OPENAI_API_KEY=…")) || bytes.Contains(b, []byte("secretOfTheTest")) {
			t.Errorf("%s:\n%s", tt.args, b)
		}
	}
	if n := asked.Load(); n > 0 {
		t.Errorf("the hub was asked %d times before", n)
	}
	if _, err := os.Stat(filepath.Join(dir, "runs")); !errors.Is(err, os.ErrNotExist) {
		t.Error("a runs folder was made")
	}
}

// Where no model is named, table and manifest name the one that the service says
// it has, and a run goes on with that one alone.
func TestServicesModelIsNamed(t *testing.T) {
	dir := t.TempDir()
	writeCountTask(t, dir, 10)
	var broken atomic.Bool
	m := &moody{asked: map[string]int{}, answer: func(row string) (int, string) {
		if broken.Load() && row == "3" {
			return http.StatusBadRequest, "no"
		}
		return http.StatusOK, even(row)
	}}
	var model atomic.Value
	model.Store("org/tiny")
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/models") {
			fmt.Fprintf(w, `{"data":[{"id":%q,"max_model_len":4096}]}`, model.Load())
			return
		}
		m.ServeHTTP(w, r)
	}))
	defer s.Close()
	args := []string{"count.yaml", "--backend", "openai", "--base-url", s.URL + "/v1", "--against", "openai:other", "--against", "openai", "--cache", "off", "--json", "--quiet"}
	broken.Store(true)
	got := evalrun(t, dir, args...)
	if labels := got.scores.Models(); !slices.Equal(labels, []string{"openai:org/tiny", "openai:other", "openai:org/tiny#2"}) {
		t.Errorf("columns %v\n%s", labels, got.stderr)
	}
	run, err := results.Open(filepath.Join(dir, "runs"), "latest")
	if err != nil {
		t.Fatal(err)
	}
	if c := run.Manifest.Config.Models[0]; c.Model != "org/tiny" || run.Manifest.Models[c.Label].Context != 4096 || run.Manifest.Finished != nil {
		t.Errorf("manifest: %+v", run.Manifest)
	}
	broken.Store(false)
	model.Store("org/next")
	evalrun(t, dir, args...)
	if next, err := results.Open(filepath.Join(dir, "runs"), "latest"); err != nil || next.Path == run.Path {
		t.Errorf("another model goes on with the run of the first: %v", err)
	}
}

// The threshold of a task file, and --min-score before it.
func TestThreshold(t *testing.T) {
	dir := t.TempDir()
	writeCountTask(t, dir, 10)
	b, err := os.ReadFile(filepath.Join(dir, "count.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "count.yaml"), append(b, "threshold: 0.8\n"...), 0o644); err != nil {
		t.Fatal(err)
	}
	args := []string{"count.yaml", "--backend", "echo", "--opt", "mode=constant:1", "--quiet"}
	out := evalrun(t, dir, args...)
	if out.code != ExitThreshold || !strings.Contains(out.stderr, "scores 0.500 on count, below its threshold of 0.8") {
		t.Errorf("exit code %d\n%s", out.code, out.stderr)
	}
	if out.stdout != "" {
		t.Errorf("--quiet prints %q", out.stdout)
	}
	junit := func(want string) {
		t.Helper()
		b, err := os.ReadFile(filepath.Join(dir, "runs", "latest", "junit.xml"))
		if err != nil || !strings.Contains(string(b), want) {
			t.Errorf("%v: no %q in\n%s", err, want, b)
		}
	}
	junit("is below the threshold 0.8")
	if out = evalrun(t, dir, append(args, "--min-score", "0.4")...); out.code != ExitOK || out.stderr != "" {
		t.Errorf("exit code %d\n%s", out.code, out.stderr)
	}
	junit(`failures="0"`)
	if out = evalrun(t, dir, append(args, "--min-score", "0.9")...); out.code != ExitThreshold || !strings.Contains(out.stderr, "below --min-score of 0.9") {
		t.Errorf("exit code %d\n%s", out.code, out.stderr)
	}
	junit("is below --min-score 0.9")
	for _, verb := range []string{"report", "rescore"} { // both know what the run asked for
		if err := os.Remove(filepath.Join(dir, "runs", "latest", "junit.xml")); err != nil {
			t.Fatal(err)
		}
		if out = evalrun(t, dir, verb); out.code != ExitOK {
			t.Errorf("%s: exit code %d\n%s", verb, out.code, out.stderr)
		}
		junit("is below --min-score 0.9")
	}
}

// A gate is of the first metric alone, as --help says.
func TestMinScoreIsOfTheFirstMetric(t *testing.T) {
	dir := t.TempDir()
	writeCountTask(t, dir, 10)
	file := filepath.Join(dir, "count.yaml")
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, bytes.Replace(b, []byte("metrics: [binary_accuracy_flex]"), []byte("metrics: [binary_accuracy_flex, rouge2]"), 1), 0o644); err != nil {
		t.Fatal(err)
	}
	if out := evalrun(t, dir, "count.yaml", "--backend", "echo", "--opt", "mode=constant:1", "--quiet", "--min-score", "0.4"); out.code != ExitOK {
		t.Errorf("exit code %d\n%s", out.code, out.stderr)
	}
}

// A run goes on only while its task and its rows are the same.
func TestChangedRowsAreANewRun(t *testing.T) {
	dir := t.TempDir()
	writeCountTask(t, dir, 10)
	_, url := newMoody(t, func(row string) (int, string) {
		if row == "3" {
			return http.StatusBadRequest, "no"
		}
		return http.StatusOK, even(row)
	})
	args := []string{"count.yaml", "--backend", "openai", "--model", "m", "--base-url", url, "--quiet", "--cache", "off"}
	evalrun(t, dir, args...)
	evalrun(t, dir, args...)
	if n := len(runsIn(t, dir)); n != 1 {
		t.Fatalf("%d runs of the same command", n)
	}
	writeCountTask(t, dir, 12) // other rows
	evalrun(t, dir, args...)
	if n := len(runsIn(t, dir)); n != 2 {
		t.Errorf("%d runs after the rows changed, want 2", n)
	}
	spec, err := os.ReadFile(filepath.Join(dir, "count.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "count.yaml"), strings.Replace(string(spec), "Is it even", "Even", 1))
	evalrun(t, dir, args...)
	if n := len(runsIn(t, dir)); n != 3 {
		t.Errorf("%d runs after the prompt changed, want 3", n)
	}
	evalrun(t, dir, append(args, "--new")...)
	if n := len(runsIn(t, dir)); n != 4 {
		t.Errorf("%d runs after --new, want 4", n)
	}
}

// The manifest says which rows were read, and what answered.
func TestManifest(t *testing.T) {
	dir := t.TempDir()
	writeCountTask(t, dir, 10)
	digest := ""
	for i, args := range [][]string{nil, {"--new"}, {"--limit", "5"}} {
		if out := evalrun(t, dir, append([]string{"count.yaml", "--backend", "echo", "--quiet"}, args...)...); out.code != ExitOK {
			t.Fatalf("exit code %d\n%s", out.code, out.stderr)
		}
		m := runsIn(t, dir)[0].Manifest
		rows := m.Rows["count"]
		if want := []int{10, 10, 5}[i]; rows.N != want || len(rows.SHA256) != 64 || !strings.Contains(rows.Source, "rows.jsonl") {
			t.Errorf("rows %+v, want %d", rows, want)
		}
		if same := rows.SHA256 == digest; i > 0 && same != (i == 1) {
			t.Errorf("part %d: the same digest %v", i, same)
		}
		digest = rows.SHA256
		if m.Models["echo"].Backend != "echo" || m.Finished == nil || m.Config.Tasks[0].Data == "" || m.Machine.Cores == 0 {
			t.Errorf("manifest %+v", m)
		}
	}
}
