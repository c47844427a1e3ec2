package plugins

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/evalrun/evalrun/core"
)

// TestMain lets the test binary be what a host starts, and a host itself.
func TestMain(m *testing.M) {
	if len(os.Args) == 5 && os.Args[1] == "plugin" && os.Args[2] == "serve" {
		switch kind, name := os.Args[3], os.Args[4]; {
		case kind == KindMetric:
			ServeMetric(name, "1", newFakeMetric)
		case name == "garbage":
			fmt.Fprintln(os.Stderr, "nor will I be")
			fmt.Println("hello, I am not a plugin")
			time.Sleep(time.Minute)
		case name == "silent":
			time.Sleep(time.Minute)
		case name == "badlog":
			// Lines that look like log lines and are none.
			fmt.Fprintln(os.Stderr, `{"@message": 7, "@level": [], "@timestamp": {}}`)
			fmt.Fprintln(os.Stderr, `{"@message": "good", "@level": "warn", "n": 1}`)
			fmt.Fprintln(os.Stderr, strings.Repeat("long ", 50_000))
			ServeBackend(name, "1", newFake)
		case name == "leaves":
			// Something that outlives its parent and holds its pipes.
			cmd := exec.Command("sleep", "60")
			cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
			if err := cmd.Start(); err != nil {
				panic(err)
			}
			ServeBackend(name, "1", newFake)
		case name == "old":
			fmt.Println("1|99|unix|/nowhere|grpc|")
			time.Sleep(time.Minute)
		default:
			ServeBackend(name, "1", newFake)
		}
		os.Exit(0)
	}
	if os.Getenv("EVALRUN_TEST_HOST") != "" {
		beHost()
		return
	}
	os.Exit(m.Run())
}

var testNames = []string{"fake", "garbage", "silent", "old", "badlog", "leaves"}

func testHost(t testing.TB, change func(*HostOptions)) *Host {
	t.Helper()
	o := HostOptions{Backends: testNames, Metrics: []string{"fake"}, Dirs: []string{}}
	if change != nil {
		change(&o)
	}
	h := NewHost(o)
	t.Cleanup(func() {
		if err := h.Close(); err != nil {
			t.Errorf("closing the host: %v", err)
		}
	})
	return h
}

func testBackend(t testing.TB, name string, cfg core.Config) *remoteBackend {
	t.Helper()
	b, err := testHost(t, nil).Backend(t.Context(), name, cfg)
	if err != nil {
		t.Fatal(err)
	}
	return b.(*remoteBackend)
}

// ask opens a session, sends the prompts and gives the events that came until
// each had its final one, or the error that ended them.
func ask(t testing.TB, b core.Backend, prompts ...string) ([]core.Event, error) {
	t.Helper()
	s, err := b.Open(t.Context())
	if err != nil {
		return nil, err
	}
	defer s.Close()
	for i, p := range prompts {
		if err := s.Send(core.Request{ID: strconv.Itoa(i), Kind: core.Generate, Prompt: p}); err != nil {
			return nil, err
		}
	}
	var out []core.Event
	finals := 0
	for e, err := range s.Events() {
		if err != nil {
			return out, err
		}
		out = append(out, e)
		if e.Kind == core.EventResponse || e.Kind == core.EventError {
			if finals++; finals == len(prompts) {
				break
			}
		}
	}
	return out, nil
}

func text(t testing.TB, b core.Backend, prompt string) string {
	t.Helper()
	events, err := ask(t, b, prompt)
	if err != nil {
		t.Fatalf("asking %q: %v", prompt, err)
	}
	last := events[len(events)-1]
	if last.Response == nil {
		t.Fatalf("asking %q: %+v", prompt, last)
	}
	return last.Response.Text
}

// busy stretches the times that are promised on an idle machine.
const busy = 3

// alive tells whether a process that is no child of ours, or a reaped one, runs.
func alive(pid int) bool {
	if stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid)); err == nil {
		_, rest, _ := strings.Cut(string(stat), ") ")
		return !strings.HasPrefix(rest, "Z")
	}
	return runtime.GOOS != "linux" && syscall.Kill(pid, 0) == nil
}

func waitGone(t testing.TB, pid int, limit time.Duration) {
	t.Helper()
	for began := time.Now(); alive(pid); time.Sleep(5 * time.Millisecond) {
		if time.Since(began) > limit {
			t.Fatalf("process %d still runs after %v", pid, limit)
		}
	}
}

func TestBuiltin(t *testing.T) {
	b := testBackend(t, "fake", core.Config{Model: "m"})
	info, err := b.Info(t.Context())
	if err != nil || info.Model != "mm" {
		t.Fatalf("info: %+v, %v", info, err)
	}
	if got := text(t, b, "hello"); got != "hello" {
		t.Errorf("got %q", got)
	}
	if got := text(t, b, "print"); got != "print" {
		t.Errorf("got %q from a plugin that prints", got)
	}
	pid, err := strconv.Atoi(text(t, b, "pid"))
	if err != nil || pid == os.Getpid() {
		t.Fatalf("the plugin's process is %d", pid)
	}
	if err := b.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
	waitGone(t, pid, busy*time.Second)
	if _, err := b.Info(t.Context()); err == nil {
		t.Error("Info works after Close")
	}
	if err := b.Close(); err != nil {
		t.Errorf("close again: %v", err)
	}
}

func TestFailuresCross(t *testing.T) {
	h := testHost(t, nil)
	_, err := h.Backend(t.Context(), "fake", core.Config{Model: "missing"})
	var user *core.UserError
	if !errors.As(err, &user) || err.Error() != "--model: no such model: not found" || user.Hint != "name another" {
		t.Errorf("a mistake in the settings came as %#v", err)
	}
	b, err := h.Backend(t.Context(), "fake", core.Config{Device: "broken"})
	if err != nil {
		t.Fatal(err)
	}
	_, err = b.Info(t.Context())
	var own *core.Error
	if !errors.As(err, &own) || *own != (core.Error{Code: core.CodeAuth, Message: "no key", Hint: "set one", Status: 401}) {
		t.Errorf("info failed with %#v", err)
	}
	b, err = h.Backend(t.Context(), "fake", core.Config{Device: "closed"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err = b.Open(t.Context()); !errors.As(err, &own) || own.RetryAfter != time.Second {
		t.Errorf("open failed with %#v", err)
	}
	b, err = h.Backend(t.Context(), "fake", core.Config{Device: "hangs"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err = b.Info(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("info in a hurry failed with %v", err)
	}
}

func TestKilledChild(t *testing.T) {
	b := testBackend(t, "fake", core.Config{})
	pid, err := strconv.Atoi(text(t, b, "pid"))
	if err != nil {
		t.Fatal(err)
	}
	s, err := b.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for i := range 50 {
		if err := s.Send(core.Request{ID: strconv.Itoa(i), Kind: core.Generate, Prompt: "stream 1000000"}); err != nil {
			t.Fatal(err)
		}
	}
	var lost error
	var killed time.Time
	n := 0
	for _, err := range s.Events() {
		if n++; n == 100 {
			killed = time.Now()
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
		}
		if err != nil {
			lost = err
		}
	}
	if !errors.Is(lost, core.ErrSessionLost) || !strings.Contains(lost.Error(), "signal: killed") {
		t.Fatalf("events ended with %v", lost)
	}
	if took := time.Since(killed); took > busy*time.Second {
		t.Errorf("the loss was told after %v", took)
	}
	if err := s.Send(core.Request{ID: "late", Kind: core.Generate}); !errors.Is(err, core.ErrSessionLost) {
		t.Errorf("send to a lost session: %v", err)
	}
	if got := text(t, b, "again"); got != "again" {
		t.Errorf("after the restart: %q", got)
	}
}

func TestCrashesAreGivenUp(t *testing.T) {
	b := testBackend(t, "fake", core.Config{})
	for round := range 2 * maxDeaths {
		// One answer in between keeps the plugin in play.
		if got := text(t, b, "well"); got != "well" {
			t.Fatalf("round %d: %q", round, got)
		}
		if _, err := ask(t, b, "crash"); !errors.Is(err, core.ErrSessionLost) || !strings.Contains(err.Error(), "panic: as you wish") {
			t.Fatalf("round %d: a panic came as %v", round, err)
		}
	}
	for round := range maxDeaths {
		if _, err := ask(t, b, "exit 7"); !errors.Is(err, core.ErrSessionLost) || !strings.Contains(err.Error(), "exit status 7; it said: leaving on purpose") {
			t.Fatalf("death %d: %v", round, err)
		}
	}
	_, err := b.Info(t.Context())
	var user *core.UserError
	if !errors.As(err, &user) || errors.Is(err, core.ErrSessionLost) || !strings.Contains(err.Error(), "died 3 times in a row") {
		t.Fatalf("after %d deaths: %v", maxDeaths, err)
	}
	t.Log(err)
}

func TestLostOnTheFarSide(t *testing.T) {
	b := testBackend(t, "fake", core.Config{})
	pid := text(t, b, "pid")
	if _, err := ask(t, b, "lose"); !errors.Is(err, core.ErrSessionLost) || !strings.Contains(err.Error(), "the device fell off") {
		t.Fatalf("a lost device came as %v", err)
	}
	if got := text(t, b, "pid"); got != pid {
		t.Errorf("the process was restarted: %s, then %s", pid, got)
	}
}

func TestNoPlugins(t *testing.T) {
	dir := t.TempDir()
	script := func(name, body string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(body), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	script("evalrun-backend-quits", "#!/bin/sh\necho broken library >&2\nexit 9\n")
	script("evalrun-backend-noformat", "\x7fELF nonsense")
	script("evalrun-backend-binary", "#!/bin/sh\nhead -c 100000 /dev/zero\nsleep 60\n")
	h := testHost(t, func(o *HostOptions) {
		o.Dirs = []string{dir}
		o.StartTime = 700 * time.Millisecond
	})
	for name, want := range map[string]string{
		"garbage":  `is no evalrun plugin: its first words are "hello, I am not a plugin"; last on standard error: nor will I be`,
		"silent":   "did not shake hands within 700ms",
		"old":      "does not speak protocol 1",
		"quits":    "ended before it shook hands; last on standard error: broken library",
		"noformat": "cannot be started",
		"binary":   "is no evalrun plugin",
		"nobody":   `no backend "nobody": there are badlog, fake, garbage`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			began := time.Now()
			_, err := h.Backend(context.Background(), name, core.Config{})
			var user *core.UserError
			if !errors.As(err, &user) || user.Hint == "" || !strings.Contains(err.Error(), want) {
				t.Errorf("got %v\nwant a *core.UserError with %q", err, want)
			}
			if strings.Contains(fmt.Sprint(err), "\n") {
				t.Errorf("more than one line: %v", err)
			}
			if took := time.Since(began); took > 5*time.Second {
				t.Errorf("took %v", took)
			}
		})
	}
}

// Where the folder for temporary files is gone no socket can be made: the plugin
// is not to blame.
func TestNoTemporaryFolder(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("TMPDIR is Unix's")
	}
	const gone = "/nowhere/for-temporary-files" // short: of a long one /tmp takes the place
	t.Setenv("TMPDIR", gone)
	h := testHost(t, nil)
	_, err := h.Backend(t.Context(), "fake", core.Config{})
	var user *core.UserError
	if !errors.As(err, &user) || !strings.Contains(user.Message, "cannot be started") || !strings.Contains(user.Hint, gone) || !strings.Contains(user.Hint, "set TMPDIR") {
		t.Errorf("%v, want a hint on %s", err, gone)
	}
}

func TestStartIsCancelled(t *testing.T) {
	h := testHost(t, nil)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	began := time.Now()
	if _, err := h.Backend(ctx, "silent", core.Config{}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	if took := time.Since(began); took > 2*time.Second {
		t.Errorf("took %v", took)
	}
}

func TestPanicInTheFactory(t *testing.T) {
	_, err := testHost(t, nil).Backend(t.Context(), "fake", core.Config{Model: "crash at start"})
	if err == nil || !strings.Contains(err.Error(), "panic: cannot be configured") {
		t.Errorf("got %v", err)
	}
}

func TestStrangeLogLines(t *testing.T) {
	b := testBackend(t, "badlog", core.Config{})
	if got := text(t, b, "fine"); got != "fine" {
		t.Errorf("got %q", got)
	}
}

// A process that the plugin leaves behind must not hold up the host.
func TestLeftovers(t *testing.T) {
	b := testBackend(t, "leaves", core.Config{})
	if _, err := ask(t, b, "exit 1"); !errors.Is(err, core.ErrSessionLost) {
		t.Fatal(err)
	}
	if got := text(t, b, "again"); got != "again" {
		t.Errorf("got %q", got)
	}
	began := time.Now()
	if err := b.Close(); err != nil {
		t.Error(err)
	}
	if took := time.Since(began); took > 2*time.Second {
		t.Errorf("close took %v", took)
	}
}

func TestStoppedChildIsKilled(t *testing.T) {
	if testing.Short() {
		t.Skip("waits for several seconds")
	}
	b := testBackend(t, "fake", core.Config{})
	pid, err := strconv.Atoi(text(t, b, "pid"))
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	_ = b.Close()
	if took := time.Since(began); took > goodbyeTime+killTime+time.Second {
		t.Errorf("close took %v", took)
	}
	waitGone(t, pid, busy*time.Second)
}

func TestEnvironment(t *testing.T) {
	t.Setenv("OPENAI_API_KEY", "sk-very-secret")
	t.Setenv("HF_TOKEN", "hf-very-secret")
	t.Setenv("HF_HOME", "/hf")
	t.Setenv("EVALRUN_SOMETHING", "else")
	h := testHost(t, func(o *HostOptions) {
		o.Backends = append(o.Backends, "openai")
		o.Env = func(kind, name string) []string {
			if kind == KindBackend && name == "openai" {
				return []string{"OPENAI_API_KEY=" + os.Getenv("OPENAI_API_KEY")}
			}
			return nil
		}
	})
	for _, tt := range []struct{ plugin, name, want string }{
		{"fake", "OPENAI_API_KEY", ""},
		{"fake", "HF_TOKEN", ""},
		{"fake", "HF_HOME", "/hf"},
		{"fake", envCookie, ""},
		{"fake", envLifeline, ""},
		{"fake", "EVALRUN_SOMETHING", "else"},
		{"fake", "PATH", os.Getenv("PATH")},
		{"openai", "OPENAI_API_KEY", "sk-very-secret"},
		{"openai", "HF_TOKEN", ""},
	} {
		b, err := h.Backend(t.Context(), tt.plugin, core.Config{})
		if err != nil {
			t.Fatal(err)
		}
		if got := text(t, b, "env "+tt.name); got != tt.want {
			t.Errorf("%s sees %s as %q, want %q", tt.plugin, tt.name, got, tt.want)
		}
	}
}

func TestByHand(t *testing.T) {
	cmd := exec.Command(os.Args[0], "plugin", "serve", "backend", "fake")
	var stdout, stderr strings.Builder
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	if cmd.ProcessState.ExitCode() != 1 || stdout.Len() > 0 || !strings.Contains(stderr.String(), "--backend fake") {
		t.Errorf("by hand: %v, stdout %q, stderr %q", err, stdout.String(), stderr.String())
	}
}

// beHost is the process that TestKilledHost kills.
func beHost() {
	h := NewHost(HostOptions{Backends: testNames, Metrics: []string{"fake"}, Dirs: []string{}})
	b, err := h.Backend(context.Background(), os.Getenv("EVALRUN_TEST_HOST"), core.Config{})
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	s, err := b.Open(context.Background())
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	_ = s.Send(core.Request{ID: "pid", Kind: core.Generate, Prompt: "pid"})
	for i := range 10 {
		_ = s.Send(core.Request{ID: strconv.Itoa(i), Kind: core.Generate, Prompt: "slow"})
	}
	for e := range s.Events() {
		if e.Response != nil {
			fmt.Println(e.Response.Text)
		}
	}
}

func TestKilledHost(t *testing.T) {
	for _, name := range []string{"fake", "leaves"} {
		t.Run(name, func(t *testing.T) {
			tmp := t.TempDir()
			if len(tmp) > 60 {
				var err error
				if tmp, err = os.MkdirTemp("/tmp", "evalrun"); err != nil {
					t.Fatal(err)
				}
				defer os.RemoveAll(tmp)
			}
			cmd := exec.Command(os.Args[0])
			cmd.Env = append(os.Environ(), "EVALRUN_TEST_HOST="+name, "TMPDIR="+tmp)
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			line, err := bufio.NewReader(out).ReadString('\n')
			pid, bad := strconv.Atoi(strings.TrimSpace(line))
			if err != nil || bad != nil || !alive(pid) {
				t.Fatalf("the host said %q: %v", line, err)
			}
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			_ = cmd.Wait()
			waitGone(t, pid, busy*time.Second)
			if left, _ := filepath.Glob(filepath.Join(tmp, "*")); len(left) > 0 {
				t.Errorf("left in the temporary folder: %v", left)
			}
		})
	}
}
