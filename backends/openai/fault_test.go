package openai

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/evalrun/evalrun/core"
)

// hijack takes the connection and writes raw bytes to it, then closes it.
func hijack(w http.ResponseWriter, raw string) {
	conn, buf, err := w.(http.Hijacker).Hijack()
	if err != nil {
		return
	}
	buf.WriteString(raw)
	buf.Flush()
	conn.Close()
}

const sse = "data: {\"choices\":[{\"delta\":{\"content\":\"par\"}}]}\n\n"

func TestFaults(t *testing.T) {
	text := func(status int, body string, head ...string) func(http.ResponseWriter, *http.Request) {
		return func(w http.ResponseWriter, r *http.Request) {
			for i := 0; i+1 < len(head); i += 2 {
				w.Header().Set(head[i], head[i+1])
			}
			w.WriteHeader(status)
			fmt.Fprint(w, body)
		}
	}
	stream := map[string]string{"stream": "true"}
	fast := map[string]string{"timeout": "150ms"}
	tests := []struct {
		name    string
		answer  func(http.ResponseWriter, *http.Request)
		options map[string]string
		code    core.Code
		say     string
		wait    time.Duration
	}{
		{"429", text(429, `{"error":{"message":"slow down"}}`), nil, core.CodeRateLimit, "slow down", 0},
		{"429 with seconds", text(429, `{}`, "Retry-After", "7"), nil, core.CodeRateLimit, "429", 7 * time.Second},
		{"429 with a fraction", text(429, ``, "Retry-After", "0.5"), nil, core.CodeRateLimit, "429", 500 * time.Millisecond},
		{"429 with milliseconds", text(429, ``, "Retry-After-Ms", "250", "Retry-After", "9"), nil, core.CodeRateLimit, "", 250 * time.Millisecond},
		{"429 with a reset", text(429, ``, "X-RateLimit-Remaining-Tokens", "0", "X-RateLimit-Reset-Tokens", "6m0s"), nil, core.CodeRateLimit, "", 6 * time.Minute},
		{"429 with nonsense", text(429, ``, "Retry-After", "NaN"), nil, core.CodeRateLimit, "", 0},
		{"quota", text(429, `{"error":{"message":"no more","code":"insufficient_quota"}}`), nil, core.CodeAuth, "no more", 0},
		{"500", text(500, "oops"), nil, core.CodeUnavailable, "status 500: oops", 0},
		{"503 with a wait", text(503, "", "Retry-After", "3"), nil, core.CodeUnavailable, "503", 3 * time.Second},
		{"529", text(529, ""), nil, core.CodeUnavailable, "529", 0},
		{"401", text(401, `{"error":{"message":"Incorrect API key provided: `+testKey+`."}}`), nil, core.CodeAuth, "[key]", 0},
		{"401 with a masked key", text(401, `{"error":{"message":"key sk-te**********cdef is wrong"}}`), nil, core.CodeAuth, "[key]", 0},
		{"404", text(404, `{"error":{"message":"The model does not exist"}}`), nil, core.CodeNotFound, "does not exist", 0},
		{"400", text(400, `{"detail":"bad stop"}`), nil, core.CodeInvalid, "bad stop", 0},
		{"400 too long", text(400, `{"error":{"message":"x","code":"context_length_exceeded"}}`), nil, core.CodeContextLength, "", 0},
		{"400 too long in words", text(400, `{"error":"This model's maximum context length is 8192 tokens"}`), nil, core.CodeContextLength, "8192", 0},
		{"413", text(413, ""), nil, core.CodeContextLength, "", 0},
		{"hangs", func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, fast, core.CodeTimeout, "within 150ms", 0},
		{"hangs within the body", func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprint(w, `{"choices":`)
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		}, fast, core.CodeTimeout, "within 150ms", 0},
		{"slow drip", func(w http.ResponseWriter, r *http.Request) {
			for r.Context().Err() == nil {
				fmt.Fprint(w, " ")
				w.(http.Flusher).Flush()
				time.Sleep(5 * time.Millisecond)
			}
		}, fast, core.CodeTimeout, "within", 0},
		{"slow drip of a stream", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/event-stream")
			for r.Context().Err() == nil {
				fmt.Fprint(w, ": wait\n\n")
				w.(http.Flusher).Flush()
				time.Sleep(5 * time.Millisecond)
			}
		}, map[string]string{"timeout": "150ms", "stream": "true"}, core.CodeTimeout, "within", 0},
		{"cut body", func(w http.ResponseWriter, r *http.Request) {
			hijack(w, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 500\r\n\r\n{\"choices\":[{\"mess")
		}, nil, core.CodeCut, "broke within the answer", 0},
		{"cut chunked body", func(w http.ResponseWriter, r *http.Request) {
			hijack(w, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{\"cho\r\n")
		}, nil, core.CodeCut, "broke within the answer", 0},
		{"no answer at all", func(w http.ResponseWriter, r *http.Request) { hijack(w, "") }, nil, core.CodeUnavailable, "no answer from", 0},
		{"no HTTP", func(w http.ResponseWriter, r *http.Request) { hijack(w, "SSH-2.0-OpenSSH\r\n") }, nil, core.CodeUnavailable, "", 0},
		{"cut stream", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/event-stream")
			fmt.Fprint(w, sse)
		}, stream, core.CodeCut, "ended before the answer did", 0},
		{"cut chunk of a stream", func(w http.ResponseWriter, r *http.Request) {
			hijack(w, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n40\r\n"+sse)
		}, stream, core.CodeCut, "broke within the answer", 0},
		{"error within a stream", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/event-stream")
			fmt.Fprint(w, sse+"data: {\"error\":{\"message\":\"overloaded\"}}\n\n")
		}, stream, core.CodeBadAnswer, "overloaded", 0},
		{"garbage within a stream", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/event-stream")
			fmt.Fprint(w, sse+"data: {\"choices\":[{\"del\n\n")
		}, stream, core.CodeBadAnswer, "", 0},
		{"HTML for a stream", text(200, "<html>login</html>", "Content-Type", "text/html"), stream, core.CodeBadAnswer, "text/html", 0},
		{"garbage", text(200, "\x00\x01\x02garbage"), nil, core.CodeBadAnswer, "garbage", 0},
		{"broken JSON", text(200, `{"choices":[{"message":`), nil, core.CodeBadAnswer, "broken JSON", 0},
		{"HTML with 200", text(200, "<!doctype html><title>Sign in</title>", "Content-Type", "text/html"), nil, core.CodeBadAnswer, "text/html", 0},
		{"nothing with 200", text(200, ""), nil, core.CodeBadAnswer, "no JSON object", 0},
		{"a list", text(200, "[]"), nil, core.CodeBadAnswer, "no JSON object", 0},
		{"no choices", text(200, `{"choices":[]}`), nil, core.CodeBadAnswer, "no choices", 0},
		{"null choices", text(200, `{"choices":null,"id":"x"}`), nil, core.CodeBadAnswer, "no choices", 0},
		{"error with 200", text(200, `{"error":{"message":"model is loading"}}`), nil, core.CodeBadAnswer, "model is loading", 0},
		{"null content", text(200, `{"choices":[{"message":{"content":null},"finish_reason":"stop"}]}`), nil, core.CodeBadAnswer, "content is missing", 0},
		{"no message", text(200, `{"choices":[{"finish_reason":"stop"}]}`), nil, core.CodeBadAnswer, "content is missing", 0},
		{"tool call", text(200, `{"choices":[{"message":{"content":"x"},"finish_reason":"tool_calls"}]}`), nil, core.CodeBadAnswer, "tool_calls", 0},
		{"wrong type of content", text(200, `{"choices":[{"message":{"content":5},"finish_reason":"stop"}]}`), nil, core.CodeBadAnswer, "number", 0},
		{"wrong type of choices", text(200, `{"choices":"yes"}`), nil, core.CodeBadAnswer, "choices", 0},
		{"wrong type of usage", text(200, `{"choices":[{"message":{"content":"x"},"finish_reason":"stop"}],"usage":{"prompt_tokens":"3"}}`), nil, core.CodeBadAnswer, "string", 0},
		{"said to be huge", func(w http.ResponseWriter, r *http.Request) {
			hijack(w, "HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n{")
		}, nil, core.CodeBadAnswer, "longer than 100 MB", 0},
		{"redirect elsewhere", text(307, "", "Location", "http://elsewhere.invalid/v1/chat/completions"), nil, core.CodeNotFound, "redirects to elsewhere.invalid", 0},
		{"redirect that changes the method", text(302, "", "Location", "/login"), nil, core.CodeNotFound, "redirects", 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newStub(t, func(w http.ResponseWriter, r *http.Request, _ string) bool { tt.answer(w, r); return true })
			resp, e, _ := ask(t, newBackend(t, s.URL, "m", tt.options), generate("x"))
			if e == nil {
				t.Fatalf("answered: %+v", resp)
			}
			if e.Code != tt.code || !strings.Contains(e.Message, tt.say) || e.RetryAfter != tt.wait {
				t.Errorf("got %s %q, wait %v; want %s with %q, wait %v", e.Code, e.Message, e.RetryAfter, tt.code, tt.say, tt.wait)
			}
			if all := e.Message + e.Hint; strings.Contains(all, testKey) || strings.Contains(all, "cdef") || strings.ContainsAny(all, "\n\r\x00") {
				t.Errorf("the error shows a secret or more than a line: %q, hint %q", e.Message, e.Hint)
			}
		})
	}
}

func TestHugeBody(t *testing.T) {
	if testing.Short() {
		t.Skip("sends more than 100 MB")
	}
	s := newStub(t, func(w http.ResponseWriter, r *http.Request, _ string) bool {
		chunk := []byte(strings.Repeat(" ", 1<<20))
		for range 120 {
			if _, err := w.Write(chunk); err != nil {
				break
			}
		}
		return true
	})
	_, e, _ := ask(t, newBackend(t, s.URL, "m", nil), generate("x"))
	if e == nil || e.Code != core.CodeBadAnswer || !strings.Contains(e.Message, "longer than 100 MB") {
		t.Errorf("got %+v", e)
	}
}

func TestOddButGood(t *testing.T) {
	tests := []struct {
		name, body string
		text       string
		finish     core.FinishReason
		completion int
	}{
		{"empty text", `{"choices":[{"message":{"content":""},"finish_reason":"stop"}],"usage":{"prompt_tokens":3,"completion_tokens":1}}`, "", core.FinishStop, 1},
		{"thought too long", `{"choices":[{"message":{"content":null},"finish_reason":"length"}],"usage":{"prompt_tokens":3,"completion_tokens":9}}`, "", core.FinishLength, 9},
		{"withheld", `{"choices":[{"message":{"content":null},"finish_reason":"content_filter"}],"usage":{"prompt_tokens":3,"completion_tokens":1}}`, "", core.FinishFilter, 1},
		{"refusal in words", `{"choices":[{"message":{"content":null,"refusal":"I will not"},"finish_reason":"stop"}],"usage":{"prompt_tokens":3,"completion_tokens":4}}`, "I will not", core.FinishStop, 4},
		{"no reason to end", `{"choices":[{"message":{"content":"yes"}}],"usage":{"prompt_tokens":3,"completion_tokens":1}}`, "yes", core.FinishStop, 1},
		{"leading blanks", "\n  " + `{"choices":[{"message":{"content":"yes"},"finish_reason":"stop"}],"usage":{"prompt_tokens":3,"completion_tokens":1}}`, "yes", core.FinishStop, 1},
		{"negative counts", `{"choices":[{"message":{"content":"yes"},"finish_reason":"stop"}],"usage":{"prompt_tokens":-3,"completion_tokens":1}}`, "yes", core.FinishStop, 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newStub(t, func(w http.ResponseWriter, r *http.Request, _ string) bool { fmt.Fprint(w, tt.body); return true })
			resp, e, _ := ask(t, newBackend(t, s.URL, "m", nil), generate("x"))
			if e != nil {
				t.Fatal(e)
			}
			if resp.Text != tt.text || resp.Finish != tt.finish || resp.Usage.Completion != tt.completion || resp.Usage.Prompt < 0 {
				t.Errorf("got %+v", resp)
			}
		})
	}
}

// A redirect within the server keeps method, body and key; one to another host
// never sees them.
func TestRedirects(t *testing.T) {
	s := newStub(t, func(w http.ResponseWriter, r *http.Request, _ string) bool {
		if strings.HasPrefix(r.URL.Path, "/old") {
			http.Redirect(w, r, "/v1"+strings.TrimPrefix(r.URL.Path, "/old"), http.StatusPermanentRedirect)
			return true
		}
		return false
	})
	resp, e, _ := ask(t, newBackend(t, s.URL+"/old", "m", nil), generate("a b"))
	if e != nil || resp.Text != "b" {
		t.Errorf("got %+v, %v", resp, e)
	}
	var seen atomic.Int64
	thief := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { seen.Add(1) }))
	defer thief.Close()
	for _, status := range []int{301, 302, 303, 307, 308} {
		s := newStub(t, func(w http.ResponseWriter, r *http.Request, _ string) bool {
			http.Redirect(w, r, thief.URL+"/v1/chat/completions", status)
			return true
		})
		if _, e, _ := ask(t, newBackend(t, s.URL, "m", nil), generate("a b")); e == nil || e.Code != core.CodeNotFound {
			t.Errorf("%d: %+v", status, e)
		}
	}
	if seen.Load() != 0 {
		t.Errorf("another host got %d requests", seen.Load())
	}
}

func TestNobodyListens(t *testing.T) {
	s := httptest.NewServer(http.NotFoundHandler())
	url := s.URL
	s.Close()
	_, e, _ := ask(t, newBackend(t, url, "m", nil), generate("x"))
	if e == nil || e.Code != core.CodeUnavailable || !strings.Contains(e.Hint, "running") {
		t.Errorf("got %+v", e)
	}
}

// The deadline is a request's own: the queue before it does not count, and one
// that hangs takes nothing from the others.
func TestDeadlineIsPerRequest(t *testing.T) {
	s := newStub(t, func(w http.ResponseWriter, r *http.Request, body string) bool {
		if strings.Contains(body, "hang") {
			<-r.Context().Done()
			return true
		}
		time.Sleep(60 * time.Millisecond)
		return false
	})
	b := newBackend(t, s.URL, "m", map[string]string{"timeout": "500ms", "concurrency": "2"})
	sess, err := b.Open(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	defer sess.Close()
	const n = 24 // more work for two than the deadline
	go func() {
		for i := range n {
			r := generate("fine")
			if i == 3 {
				r.Prompt = "hang"
			}
			r.ID = fmt.Sprint(i)
			sess.Send(r)
		}
	}()
	got := 0
	for ev, err := range sess.Events() {
		if err != nil {
			t.Fatal(err)
		}
		if ev.ID == "3" && (ev.Err == nil || ev.Err.Code != core.CodeTimeout) || ev.ID != "3" && ev.Response == nil {
			t.Errorf("%s: %+v", ev.ID, ev)
		}
		if got++; got == n {
			break
		}
	}
}

// The number in flight finds what the service stands and stays near it.
func TestAdaptiveConcurrency(t *testing.T) {
	const stands = 24
	var now, most, refused atomic.Int64
	s := newStub(t, func(w http.ResponseWriter, r *http.Request, _ string) bool {
		n := now.Add(1)
		defer now.Add(-1)
		for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
		}
		if n > stands {
			refused.Add(1)
			w.Header().Set("Retry-After", "0.01")
			w.WriteHeader(429)
			return true
		}
		time.Sleep(2 * time.Millisecond)
		return false
	})
	b := newBackend(t, s.URL, "m", map[string]string{"concurrency": "256"})
	sess, err := b.Open(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	defer sess.Close()
	const n = 3000
	go func() {
		for i := range n {
			r := generate("fine")
			r.ID = fmt.Sprint(i)
			sess.Send(r)
		}
	}()
	got := 0
	for _, err := range sess.Events() {
		if err != nil {
			t.Fatal(err)
		}
		if got++; got == n {
			break
		}
	}
	if most.Load() < stands/2 || refused.Load() == 0 || refused.Load() > n/5 {
		t.Errorf("most in flight %d, %d of %d refused", most.Load(), refused.Load(), n)
	}
	if at := b.(*backend).gate.at(); at < 4 || at > 2*stands {
		t.Errorf("it ends at %d in flight, the service stands %d", at, stands)
	}
}

func TestRetryAfterHoldsEverybody(t *testing.T) {
	g := newGate(4, 8)
	at, err := g.enter(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	g.leave(at, true, 80*time.Millisecond)
	start := time.Now()
	if _, err := g.enter(context.Background()); err != nil {
		t.Fatal(err)
	}
	if d := time.Since(start); d < 70*time.Millisecond || d > 2*time.Second {
		t.Errorf("waited %v", d)
	}
	if g.at() != 2 {
		t.Errorf("%d in flight after a halving of 4", g.at())
	}
	ctx, cancel := context.WithCancel(context.Background())
	g.limit = 1
	cancel()
	if _, err := g.enter(ctx); err == nil {
		t.Error("a cancelled request enters")
	}
}

func FuzzAnswer(f *testing.F) {
	for _, s := range []string{
		`{"choices":[{"message":{"content":"x"},"finish_reason":"stop"}],"usage":{"prompt_tokens":1}}`,
		`{"choices":[{"message":{"content":null},"finish_reason":"length"}]}`,
		`{"error":{"message":["a","b"],"code":7}}`, `{"error":"text"}`, `[]`, `{`, `{"choices":[{}]}`,
		`{"choices":[{"logprobs":{"tokens":["a"],"token_logprobs":[null],"text_offset":[0]}}]}`,
	} {
		f.Add(s)
	}
	tr := &transport{key: testKey}
	b := &backend{transport: tr}
	f.Fuzz(func(t *testing.T, body string) {
		if message, _ := tr.said([]byte(body)); strings.Contains(message, testKey) {
			t.Errorf("the key is shown: %q", message)
		}
		if _, err := b.emptyContent([]byte(body), "stop"); err != nil && err.Error() == "" {
			t.Error("an error without words")
		}
		if l, err := likelihood([]byte(body), 1, 3); err == nil && (l.Tokens <= 0 || !(l.LogProb <= 1e-3*float64(l.Tokens))) {
			t.Errorf("likelihood %+v", l)
		}
	})
}

func FuzzStop(f *testing.F) {
	f.Add("one\ntwo", "\n", "w", 3)
	f.Add("abab", "aba", "b", 1)
	f.Fuzz(func(t *testing.T, text, stop1, stop2 string, cut int) {
		if stop1 == "" || stop2 == "" {
			return
		}
		told := ""
		a := answer{stops: []string{stop1, stop2}, delta: func(s string) { told += s }}
		cut = min(max(cut, 0), len(text))
		a.add(text[:cut])
		a.add(text[cut:])
		a.end()
		want := text
		for _, s := range a.stops {
			if i := strings.Index(want, s); i >= 0 {
				want = want[:i]
			}
		}
		if cut == len(text) && a.text.String() != want {
			t.Errorf("%q with %q: %q, want %q", text, a.stops, a.text.String(), want)
		}
		if told != a.text.String() {
			t.Errorf("told %q of %q", told, a.text.String())
		}
		for _, s := range a.stops {
			if strings.Contains(told, s) {
				t.Errorf("%q holds the stop text %q", told, s)
			}
		}
	})
}
