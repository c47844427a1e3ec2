package plugins

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	goplugin "github.com/hashicorp/go-plugin"
	"github.com/hashicorp/go-plugin/runner"
	"google.golang.org/grpc"

	"github.com/evalrun/evalrun/core"
)

const (
	// wordsTime is how long an error waits for the process behind a broken
	// connection to be gone, so that it can name the exit status.
	wordsTime = 500 * time.Millisecond
	// drainTime is how long the pipes of a process that has ended are still
	// read: whatever it started may hold them open for ever.
	drainTime = 200 * time.Millisecond
	// killTime is how long a process may take to end when it is asked to.
	killTime = 3 * time.Second
)

// A command says how a plugin is started.
type command struct {
	kind, name string
	path       string
	args       []string
	env        []string
	log        *slog.Logger
	startTime  time.Duration
}

func (c *command) title() string { return fmt.Sprintf("%s plugin %q", c.kind, c.name) }

// process is a running plugin: the link of a host.
type process struct {
	run    *childRunner
	client *goplugin.Client
	grpc   *grpc.ClientConn
	once   sync.Once
}

// startProcess starts the plugin and shakes hands with it. An error is a
// *core.UserError that names the file.
func startProcess(ctx context.Context, c *command) (link, error) {
	run := &childRunner{command: c, done: make(chan struct{})}
	run.said.log = c.log
	client := goplugin.NewClient(&goplugin.ClientConfig{
		HandshakeConfig:  handshake,
		VersionedPlugins: pluginSets(c.kind, &wireService{}),
		AllowedProtocols: []goplugin.Protocol{goplugin.ProtocolGRPC},
		AutoMTLS:         true,
		SkipHostEnv:      true,
		StartTimeout:     c.startTime + killTime, // ours comes first and knows the reason
		GRPCDialOptions:  dialOptions(),
		Logger:           hclog.NewNullLogger(),
		SyncStdout:       &lineWriter{log: c.log},
		SyncStderr:       &lineWriter{log: c.log},
		UnixSocketConfig: &goplugin.UnixSocketConfig{TempDir: socketFolder()},
		RunnerFunc: func(_ hclog.Logger, spec *exec.Cmd, _ string) (runner.Runner, error) {
			run.extraEnv = spec.Env
			return run, nil
		},
	})
	p := &process{run: run, client: client}
	stop := context.AfterFunc(ctx, func() { run.kill(context.Cause(ctx)) })
	defer stop()
	timer := time.AfterFunc(c.startTime, func() { run.kill(errStartTime) })
	defer timer.Stop()
	fail := func(err error) (link, error) {
		// The process goes first: it may be alive and deaf.
		run.kill(err)
		p.end()
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		return nil, run.startError(err)
	}
	began := time.Now()
	protocol, err := client.Client()
	if err != nil {
		return fail(err)
	}
	raw, err := protocol.Dispense(c.kind)
	if err != nil {
		return fail(err)
	}
	if !stop() || !timer.Stop() {
		return fail(errStartTime)
	}
	conn, ok := raw.(*grpc.ClientConn)
	if !ok {
		return fail(errors.New("no gRPC connection"))
	}
	p.grpc = conn
	c.log.Debug("plugin started", "path", c.path, "pid", run.pid(), "seconds", time.Since(began).Seconds())
	return p, nil
}

func (p *process) conn() *grpc.ClientConn { return p.grpc }

func (p *process) lastWords() string {
	timer := time.NewTimer(wordsTime)
	defer timer.Stop()
	select {
	case <-p.run.done:
	case <-timer.C:
		return "it is cut off, though its process still runs"
	}
	return p.run.ending()
}

func (p *process) end() {
	p.once.Do(func() {
		timer := time.AfterFunc(killTime, func() { p.run.kill(nil) })
		defer timer.Stop()
		p.client.Kill()
		p.run.kill(nil)
		p.run.cutLifeline()
	})
}

// socketFolder is where the sockets' folders are made: a Unix socket's path
// must stay below about 100 bytes, and some temporary folders are longer.
func socketFolder() string {
	if dir := os.TempDir(); len(dir) > 60 {
		if info, err := os.Stat("/tmp"); err == nil && info.IsDir() {
			return "/tmp"
		}
	}
	return ""
}

// childRunner starts the process for go-plugin, and does four things that
// go-plugin's own runner does not: it gives the process the lifeline as its
// standard input, a group of its own, a reader of standard error that survives
// anything, and it knows how the process ended.
type childRunner struct {
	*command
	extraEnv []string
	said     stderrLog

	mu       sync.Mutex
	cmd      *exec.Cmd
	lifeline *os.File
	stdout   *tee
	exit     error
	exited   bool
	reason   error // why it was killed by us
	done     chan struct{}
}

var _ runner.Runner = (*childRunner)(nil)

// Start implements runner.Runner.
func (r *childRunner) Start(context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.reason != nil {
		return r.reason
	}
	cmd := exec.Command(r.path, r.args...)
	cmd.Env = append(append(append([]string{}, r.env...), r.extraEnv...), envLifeline+"=stdin", envLog+"="+r.level())
	ownGroup(cmd)
	var near, far [3]*os.File
	closeAll := func(files []*os.File) {
		for _, f := range files {
			if f != nil {
				_ = f.Close()
			}
		}
	}
	for i := range near {
		read, write, err := os.Pipe()
		if err != nil {
			closeAll(near[:])
			closeAll(far[:])
			return fmt.Errorf("making a pipe: %w", err)
		}
		near[i], far[i] = read, write
		if i == 0 {
			near[i], far[i] = write, read
		}
	}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = far[0], far[1], far[2]
	err := cmd.Start()
	closeAll(far[:])
	if err != nil {
		closeAll(near[:])
		return err
	}
	r.cmd, r.lifeline = cmd, near[0]
	r.stdout = &tee{file: near[1]}
	read := make(chan struct{})
	go func() {
		defer close(read)
		readLines(near[2], r.said.take)
	}()
	go func() {
		err := cmd.Wait()
		killGroup(cmd.Process.Pid)
		select {
		case <-read:
		case <-time.After(drainTime):
		}
		_ = near[2].Close()
		<-read
		r.mu.Lock()
		r.exit, r.exited = err, true
		r.mu.Unlock()
		close(r.done)
		// go-plugin reads standard output to its end before it asks for ours.
		time.AfterFunc(drainTime, func() { _ = near[1].Close() })
	}()
	return nil
}

func (r *childRunner) level() string {
	if r.log.Enabled(context.Background(), slog.LevelDebug) {
		return "debug"
	}
	return "info"
}

// kill ends the process and whatever it started; why is kept for the errors.
func (r *childRunner) kill(why error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.reason == nil {
		r.reason = why
	}
	if r.cmd != nil && !r.exited {
		_ = r.cmd.Process.Kill()
		killGroup(r.cmd.Process.Pid)
	}
}

func (r *childRunner) cutLifeline() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.lifeline != nil {
		_ = r.lifeline.Close()
	}
}

// ending says how the process ended and what it said last. It has ended.
func (r *childRunner) ending() string {
	r.mu.Lock()
	text := "exit status 0"
	if r.exit != nil {
		text = r.exit.Error()
	}
	r.mu.Unlock()
	if words := r.said.words(); words != "" {
		text += "; it said: " + words
	}
	return text
}

// startError explains why hands could not be shaken. The process has ended or
// was never started.
func (r *childRunner) startError(err error) error {
	r.mu.Lock()
	started, reason := r.cmd != nil, r.reason
	var head string
	if r.stdout != nil {
		head = r.stdout.first()
	}
	r.mu.Unlock()
	out := &core.UserError{
		Where: r.path,
		Hint:  fmt.Sprintf("the file must be an evalrun %s plugin, built for this machine, that speaks protocol %d: rebuild or remove it", r.kind, ProtocolVersion),
	}
	switch {
	case !started:
		out.Message, out.Err = r.title()+" cannot be started", err
		dir := os.TempDir()
		if info, gone := os.Stat(dir); gone != nil || !info.IsDir() {
			out.Hint = "the folder for temporary files, " + dir + ", is not there: make it, or set TMPDIR to another"
		}
		return out
	case errors.Is(reason, errStartTime):
		out.Message = fmt.Sprintf("%s did not shake hands within %s", r.title(), r.startTime)
	case strings.Contains(err.Error(), "incompatible API version"):
		out.Message = fmt.Sprintf("%s does not speak protocol %d: %s", r.title(), ProtocolVersion, firstLine(err))
	case head != "" && strings.Count(head, "|") < 3:
		out.Message = fmt.Sprintf("%s is no evalrun plugin: its first words are %q", r.title(), head)
	case head == "":
		out.Message = r.title() + " ended before it shook hands"
	default:
		out.Message = fmt.Sprintf("%s: shaking hands: %s", r.title(), firstLine(err))
	}
	if words := r.said.words(); words != "" {
		out.Message += "; last on standard error: " + words
	}
	return out
}

func (r *childRunner) pid() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.cmd == nil {
		return 0
	}
	return r.cmd.Process.Pid
}

// Stdout implements runner.Runner.
func (r *childRunner) Stdout() io.ReadCloser { return r.stdout }

// Stderr implements runner.Runner: it is read here.
func (r *childRunner) Stderr() io.ReadCloser { return io.NopCloser(bytes.NewReader(nil)) }

// Name implements runner.Runner.
func (r *childRunner) Name() string { return r.path }

// ID implements runner.Runner.
func (r *childRunner) ID() string { return strconv.Itoa(r.pid()) }

// Diagnose implements runner.Runner; startError says more.
func (r *childRunner) Diagnose(context.Context) string { return "" }

// Wait implements runner.Runner.
func (r *childRunner) Wait(context.Context) error {
	<-r.done
	return r.exit
}

// Kill implements runner.Runner.
func (r *childRunner) Kill(context.Context) error {
	r.kill(nil)
	return nil
}

// PluginToHost implements runner.Runner: both live on one machine.
func (r *childRunner) PluginToHost(network, address string) (string, string, error) {
	return network, address, nil
}

// HostToPlugin implements runner.Runner.
func (r *childRunner) HostToPlugin(network, address string) (string, string, error) {
	return network, address, nil
}

// tee is standard output, whose beginning is kept for the errors.
type tee struct {
	file *os.File
	mu   sync.Mutex
	head []byte
}

func (t *tee) Read(p []byte) (int, error) {
	n, err := t.file.Read(p)
	if errors.Is(err, os.ErrClosed) {
		err = io.EOF
	}
	t.mu.Lock()
	if room := 120 - len(t.head); room > 0 {
		t.head = append(t.head, p[:min(n, room)]...)
	}
	t.mu.Unlock()
	return n, err
}

// Close implements io.Closer.
func (t *tee) Close() error { return t.file.Close() }

func (t *tee) first() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	line, _, _ := strings.Cut(strings.TrimSpace(string(t.head)), "\n")
	return line
}
