package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"

	"github.com/evalrun/evalrun/core"
	"github.com/evalrun/evalrun/core/text"
	"github.com/evalrun/evalrun/internal/memory"
	"github.com/evalrun/evalrun/results"
)

func newBench() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "bench",
		Short:   "measure this program on this machine",
		Example: "  evalrun bench runner --requests 2000 --json\n  evalrun bench kernels --device cpu",
	}
	var requests, inFlight int
	var asJSON bool
	runner := &cobra.Command{
		Use:   "runner",
		Short: "the whole road against a loopback service that answers at once",
		Long: "Runner measures requests a second through everything an evaluation does (prompt,\n" +
			"plugin process, HTTP, cache, extraction, scoring, logging), the same answered from\n" +
			"the cache, memory, and ROUGE-L. Beside each figure stands what it is measured against.",
		Example: "  evalrun bench runner\n  evalrun bench runner --requests 100000",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return benchRunner(cmd.Context(), cmd.OutOrStdout(), requests, inFlight, asJSON)
		},
	}
	runner.Flags().IntVar(&requests, "requests", 20000, "requests to send")
	runner.Flags().IntVar(&inFlight, "concurrency", 64, "requests in flight")
	runner.Flags().BoolVar(&asJSON, "json", false, "one JSON object")
	cmd.AddCommand(runner, newBenchKernels())
	return cmd
}

// A figure is one measured number and what it stands against.
type figure struct {
	Name   string  `json:"name"`
	Value  float64 `json:"value"`
	Unit   string  `json:"unit"`
	Beside string  `json:"beside,omitempty"`
}

func benchRunner(ctx context.Context, out io.Writer, requests, inFlight int, asJSON bool) error {
	if requests < 1 || inFlight < 1 {
		return &core.UserError{Where: "--requests, --concurrency", Message: "must be 1 or more", Hint: "leave them out for 20000 and 64"}
	}
	dir, err := os.MkdirTemp("", "evalrun-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	stub, err := startStub()
	if err != nil {
		return err
	}
	defer stub.close()
	if err := os.Setenv("EVALRUN_CACHE", filepath.Join(dir, "cache")); err != nil {
		return err
	}
	task, err := benchTask(dir, requests)
	if err != nil {
		return err
	}
	var figures []figure
	add := func(name string, v float64, unit, beside string) {
		figures = append(figures, figure{name, v, unit, beside})
	}

	measure := func() (float64, error) {
		f := &evalFlags{backend: "openai", model: "bench", baseURL: stub.url, repeat: 1, fewshot: -1, concurrency: inFlight, cache: "on",
			out: filepath.Join(dir, "runs"), quiet: true, fresh: true, limit: "all", maxErrors: 0}
		e := &evaluation{flags: f, out: io.Discard, err: os.Stderr}
		var err error
		if e.files, err = f.load([]string{task}); err != nil {
			return 0, err
		}
		if e.models, err = f.mainModels(); err != nil {
			return 0, err
		}
		host := newHost(true)
		defer host.Close()
		start := time.Now()
		stub.started.CompareAndSwap(0, start.UnixNano())
		err = e.run(ctx, host)
		return time.Since(start).Seconds(), err
	}
	children := memory.WatchChildren()
	fresh, err := measure()
	if err != nil {
		return err
	}
	served := stub.served.Load()
	if served < int64(requests) {
		return fmt.Errorf("the stub served %d of %d requests", served, requests)
	}
	add("first request after the run began", float64(stub.first.Load()-stub.started.Load())/1e6, "ms", "")
	add(fmt.Sprintf("requests through the whole road, %d in flight", inFlight), float64(requests)/fresh, "requests/s", "promptfoo 0.121 on such a machine: 100")
	cachedTime, err := measure()
	if err != nil {
		return err
	}
	if again := stub.served.Load(); again != served {
		return fmt.Errorf("the cached run asked %d requests again", again-served)
	}
	add("the same from the response cache", float64(requests)/cachedTime, "samples/s", "promptfoo: 90")
	add("peak resident memory, this process and the stub", float64(memory.Peak())/(1<<20), "MB", "promptfoo: 324")
	if mb := children(); mb > 0 {
		add("peak resident memory, plugin process", mb, "MB", "")
	}
	add("ROUGE-L, pairs of 50 tokens, one core", benchRouge(), "pairs/s", "rouge_score: 2,600")

	if asJSON {
		return json.NewEncoder(out).Encode(map[string]any{"machine": results.ThisMachine(), "requests": requests, "figures": figures})
	}
	fmt.Fprintf(out, "%d cores, %s/%s, %d requests\n", runtime.GOMAXPROCS(0), runtime.GOOS, runtime.GOARCH, requests)
	for _, f := range figures {
		line := fmt.Sprintf("%-52s %12.1f %s", f.Name, f.Value, f.Unit)
		if f.Beside != "" {
			line += "   (" + f.Beside + ")"
		}
		fmt.Fprintln(out, line)
	}
	return nil
}

// benchTask writes a task of n rows.
func benchTask(dir string, n int) (string, error) {
	rows := filepath.Join(dir, "rows.jsonl")
	f, err := os.Create(rows)
	if err != nil {
		return "", err
	}
	defer f.Close()
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `{"text":"row %d: a warm and funny film about people who repair clocks in a small town","label":"1"}`+"\n", i)
		if b.Len() > 1<<20 || i == n-1 {
			if _, err := f.WriteString(b.String()); err != nil {
				return "", err
			}
			b.Reset()
		}
	}
	path := filepath.Join(dir, "bench.yaml")
	spec := "task: bench\ndataset: rows.jsonl\nprompt: |-\n  Is this review positive (1) or negative (0)?\n  ### Review: {text}\n  ### Label:\n" +
		"target: label\nlabels: [\"0\", \"1\"]\ngeneration: {max_tokens: 8, stop: [\"\\n\"]}\nmetrics: [binary_accuracy_flex]\n"
	return path, os.WriteFile(path, []byte(spec), 0o644)
}

// stubServer answers chat completions at once.
type stubServer struct {
	url     string
	served  atomic.Int64
	started atomic.Int64 // when the run began, in ns
	first   atomic.Int64 // when the first request came
	server  *http.Server
}

func startStub() (*stubServer, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := &stubServer{url: "http://" + l.Addr().String() + "/v1"}
	const body = `{"id":"x","object":"chat.completion","created":1,"model":"bench","choices":[{"index":0,"message":{"role":"assistant","content":" 1"},"finish_reason":"stop"}],"usage":{"prompt_tokens":40,"completion_tokens":2,"total_tokens":42}}`
	s.server = &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		s.first.CompareAndSwap(0, time.Now().UnixNano())
		s.served.Add(1)
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, body)
	})}
	go func() { _ = s.server.Serve(l) }()
	return s, nil
}

func (s *stubServer) close() { s.server.Close() }

// benchRouge scores pairs of 50 tokens for about a second on one core.
func benchRouge() float64 {
	words := strings.Fields("the of and to in a is that for it as was with be by on not he this are or his from at which but have an had they")
	pair := func(i int) string {
		var b strings.Builder
		for k := range 50 {
			b.WriteString(words[(i*7+k*k+3*k)%len(words)])
			b.WriteByte(' ')
		}
		return b.String()
	}
	const n = 64
	var texts [n]string
	for i := range texts {
		texts[i] = pair(i)
	}
	start := time.Now()
	done := 0
	for time.Since(start) < 700*time.Millisecond {
		for i := range n {
			rougeL(texts[i], texts[(i*5+1)%n])
			done++
		}
	}
	return float64(done) / time.Since(start).Seconds()
}

func rougeL(a, b string) float64 { return text.RougeL(a, b).F }
