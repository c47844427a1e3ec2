package humaneval

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// The hostile programs of testdata/hostile.py, each between its mark and the
// next. The names in capitals are replaced.
func hostile(t *testing.T, names *strings.Replacer) (programs []struct{ name, source string }) {
	text, err := os.ReadFile("testdata/hostile.py")
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range strings.Split(string(text), "\n#### ")[1:] {
		name, source, _ := strings.Cut(part, "\n")
		programs = append(programs, struct{ name, source string }{name, names.Replace(source)})
	}
	return programs
}

// A world of things that programs must not reach, and a count of what did.
type world struct {
	folder, file, secret, port string
	visits                     atomic.Int64
	victim                     *exec.Cmd
}

func newWorld(t *testing.T) *world {
	w := &world{folder: t.TempDir(), secret: fmt.Sprintf("sk-%x", time.Now().UnixNano())}
	w.file = filepath.Join(w.folder, "canary.txt")
	if err := os.WriteFile(w.file, []byte(w.secret), 0o666); err != nil {
		t.Fatal(err)
	}
	for f := w.folder; f != "/" && f != filepath.Dir(f); f = filepath.Dir(f) {
		os.Chmod(w.folder, 0o777) // it is not the mode that keeps programs off
	}
	t.Setenv("OPENAI_API_KEY", w.secret)
	var listeners []net.Listener
	for _, at := range [][2]string{{"tcp", "127.0.0.1:0"}, {"unix", "@" + w.secret}, {"unix", filepath.Join(w.folder, "socket")}} {
		l, err := net.Listen(at[0], at[1])
		if err != nil {
			if at[0] == "unix" && runtime.GOOS != "linux" {
				continue
			}
			t.Fatal(err)
		}
		listeners = append(listeners, l)
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				w.visits.Add(1)
				c.Close()
			}
		}()
	}
	_, w.port, _ = net.SplitHostPort(listeners[0].Addr().String())
	w.victim = exec.Command("sleep", "600")
	if err := w.victim.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, l := range listeners {
			l.Close()
		}
		w.victim.Process.Kill()
		w.victim.Wait()
	})
	return w
}

// intact sees that nothing of the world was touched.
func (w *world) intact(t *testing.T, after string) {
	t.Helper()
	if b, err := os.ReadFile(w.file); err != nil || string(b) != w.secret {
		t.Errorf("%s: the file outside is now %q %v", after, b, err)
	}
	if entries, _ := os.ReadDir(w.folder); len(entries) != 2 {
		t.Errorf("%s: the folder outside holds %v", after, entries)
	}
	if n := w.visits.Load(); n != 0 {
		t.Errorf("%s: %d connections came in", after, n)
	}
	if stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", w.victim.Process.Pid)); err == nil && !bytes.Contains(stat, []byte(" S ")) {
		t.Errorf("%s: the process outside is now %s", after, stat)
	}
}

// No hostile program passes, reaches anything outside, outlives its verdict or
// keeps one from coming in time; and programs after it are judged right.
// With -v the list of verdicts is printed.
func TestEscape(t *testing.T) {
	if testing.Short() {
		t.Skip("sixty programs that run into their time limits take a while")
	}
	w := newWorld(t)
	r, err := NewRunner(Options{Python: "python3", Workers: 1})
	if err != nil {
		t.Skip(err)
	}
	defer r.Close()
	before := leftovers(t)
	about, err := r.About(context.Background())
	if err != nil {
		// Where the kernel gives what is needed, it must be used.
		if exec.Command("unshare", "--user", "--map-root-user", "--mount", "--pid", "--net", "--fork", "true").Run() == nil {
			t.Fatal(err)
		}
		t.Skipf("programs are not run here: %v", err)
	}
	t.Log(about)
	names := strings.NewReplacer("CANARY", w.file, "SECRET", w.secret[:3]+`" "`+w.secret[3:], "PORT", w.port, "VICTIM", fmt.Sprint(w.victim.Process.Pid))
	programs := hostile(t, names)
	if len(programs) < 30 {
		t.Fatalf("%d programs", len(programs))
	}
	const timeout, test = 500 * time.Millisecond, "def check(f):\n    assert f() == 42\n"
	for i, p := range programs {
		start := time.Now()
		verdict, err := r.Run(context.Background(), Program{Compose("def solve():\n", "    pass\n\n"+p.source, test, "solve"), timeout, 256 << 20})
		took := time.Since(start)
		t.Logf("%2d  %-52s %6.2f s  %.70q", i+1, p.name, took.Seconds(), verdict)
		if err != nil || verdict == "passed" || strings.Contains(verdict, "ESCAPED") || strings.Contains(verdict, "worker process ended") {
			t.Errorf("%s: %q %v", p.name, verdict, err)
		}
		if took > 10*timeout+10*time.Second { // waiting for a processor stretches the limit up to tenfold
			t.Errorf("%s: its verdict took %v", p.name, took)
		}
		w.intact(t, p.name)
		clean := "import os, posix\nassert posix.listdir('/tmp') == ['program'] and posix.listdir('.') == []\ndef solve():\n    return 42\n"
		if verdict, err := r.Run(context.Background(), Program{clean + test + "check(solve)", 5 * time.Second, 256 << 20}); err != nil || verdict != "passed" {
			t.Errorf("after %s a right program is %q %v", p.name, verdict, err)
		}
	}
	r.Close()
	for range 100 {
		if after := leftovers(t); after == before {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Errorf("left behind: %s; before: %s", leftovers(t), before)
}

// leftovers lists the workers' folders and the processes that run our worker's
// source and are this test's own or nobody's children.
func leftovers(t *testing.T) string {
	folders, _ := filepath.Glob(filepath.Join(os.TempDir(), "evalrun-humaneval-*"))
	entries, _ := os.ReadDir("/proc")
	me := fmt.Sprint(os.Getpid())
	var out []string
	for _, e := range entries {
		line, err := os.ReadFile(filepath.Join("/proc", e.Name(), "cmdline"))
		stat, _ := os.ReadFile(filepath.Join("/proc", e.Name(), "stat"))
		_, after, ok := strings.Cut(string(stat), ") ")
		if fields := strings.Fields(after); err == nil && ok && bytes.Contains(line, []byte("Runs untrusted programs for evalrun")) && (fields[1] == me || fields[1] == "1") {
			out = append(out, e.Name())
		}
	}
	return fmt.Sprintf("folders %d, processes %d", len(folders), len(out))
}
