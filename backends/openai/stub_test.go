package openai

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/evalrun/evalrun/core"
)

const testKey = "sk-test-0123456789abcdef"

// stub is a service: it answers as OpenAI does, or as answer says.
type stub struct {
	*httptest.Server
	mu     sync.Mutex
	bodies []string
	heads  []http.Header
	answer func(w http.ResponseWriter, r *http.Request, body string) bool // true: answered
}

func newStub(t testing.TB, answer func(http.ResponseWriter, *http.Request, string) bool) *stub {
	s := &stub{answer: answer}
	s.Server = httptest.NewServer(http.HandlerFunc(s.serve))
	t.Cleanup(func() { s.CloseClientConnections(); s.Close() })
	return s
}

func (s *stub) serve(w http.ResponseWriter, r *http.Request) {
	b, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	body := string(b)
	s.mu.Lock()
	if len(s.bodies) < 100 {
		s.bodies = append(s.bodies, body)
		s.heads = append(s.heads, r.Header.Clone())
	}
	s.mu.Unlock()
	if s.answer != nil && s.answer(w, r, body) {
		return
	}
	s.good(w, r, b)
}

// good is a well-behaved service: it repeats the last word of the prompt.
func (s *stub) good(w http.ResponseWriter, r *http.Request, body []byte) {
	var req struct {
		Model    string
		Prompt   string
		Input    string
		Echo     bool
		Stream   bool
		Messages []struct{ Role, Content string }
	}
	if err := json.Unmarshal(body, &req); err != nil && r.Method == http.MethodPost {
		w.WriteHeader(http.StatusBadRequest)
		fmt.Fprintf(w, `{"error":{"message":"bad JSON: %s"}}`, err)
		return
	}
	text := req.Prompt
	for _, m := range req.Messages {
		text = m.Content
	}
	words := strings.Fields(text)
	last := "nothing"
	if len(words) > 0 {
		last = words[len(words)-1]
	}
	if len(last) > 100 {
		last = last[:100]
	}
	reply, _ := json.Marshal(last)
	w.Header().Set("Content-Type", "application/json")
	switch {
	case strings.HasSuffix(r.URL.Path, "/models"):
		fmt.Fprint(w, `{"object":"list","data":[{"id":"tiny-model","object":"model","max_model_len":2048}]}`)
	case strings.HasSuffix(r.URL.Path, "/embeddings"):
		fmt.Fprint(w, `{"data":[{"embedding":[0.5,-0.25]}],"usage":{"prompt_tokens":3}}`)
	case strings.HasSuffix(r.URL.Path, "/chat/completions") && req.Stream:
		w.Header().Set("Content-Type", "text/event-stream")
		for _, c := range last {
			piece, _ := json.Marshal(string(c))
			fmt.Fprintf(w, ": comment\n\ndata: {\"choices\":[{\"index\":0,\"delta\":{\"content\":%s}}]}\n\n", piece)
			w.(http.Flusher).Flush()
		}
		fmt.Fprint(w, "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n")
		fmt.Fprintf(w, "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":%d,\"completion_tokens\":1}}\n\ndata: [DONE]\n\n", len(words))
	case strings.HasSuffix(r.URL.Path, "/chat/completions"):
		fmt.Fprintf(w, `{"choices":[{"index":0,"message":{"role":"assistant","content":%s},"finish_reason":"stop"}],"usage":{"prompt_tokens":%d,"completion_tokens":1}}`, reply, len(words))
	case strings.HasSuffix(r.URL.Path, "/completions") && req.Echo:
		w.Write(echoed(req.Prompt))
	case strings.HasSuffix(r.URL.Path, "/completions"):
		fmt.Fprintf(w, `{"choices":[{"index":0,"text":%s,"finish_reason":"length","logprobs":{"tokens":["x"],"token_logprobs":[-0.5]}}],"usage":{"prompt_tokens":%d,"completion_tokens":1}}`, reply, len(words))
	default:
		w.WriteHeader(http.StatusNotFound)
		fmt.Fprint(w, `{"error":{"message":"no such path"}}`)
	}
}

// echoed is the answer to a scoring request: a token a word with the blank
// before it; the log-probability is minus the word's length.
func echoed(prompt string) []byte {
	var tokens []string
	var offsets []int
	var probs []any
	var top []any
	start := 0
	for i, c := range prompt {
		if c == ' ' && i > start {
			tokens = append(tokens, prompt[start:i])
			start = i
		}
	}
	tokens = append(tokens, prompt[start:])
	at := 0
	for i, tok := range tokens {
		offsets = append(offsets, at)
		at += utf8.RuneCountInString(tok)
		if i == 0 {
			probs, top = append(probs, nil), append(top, nil)
			continue
		}
		p := -float64(utf8.RuneCountInString(strings.TrimSpace(tok)))
		probs = append(probs, p)
		best := map[string]float64{tok: p}
		if p < -4 {
			best["the"] = -0.1
		}
		top = append(top, best)
	}
	b, _ := json.Marshal(map[string]any{
		"choices": []any{map[string]any{"text": prompt, "index": 0, "finish_reason": "length", "logprobs": map[string]any{
			"tokens": tokens, "token_logprobs": probs, "top_logprobs": top, "text_offset": offsets,
		}}},
		"usage": map[string]int{"prompt_tokens": len(tokens)},
	})
	return b
}

func (s *stub) lastBody(t testing.TB) map[string]any {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.bodies) == 0 {
		t.Fatal("the server got no request")
	}
	m := map[string]any{}
	dec := json.NewDecoder(bytes.NewReader([]byte(s.bodies[len(s.bodies)-1])))
	dec.UseNumber()
	if err := dec.Decode(&m); err != nil {
		t.Fatalf("request body: %v", err)
	}
	return m
}

func newBackend(t testing.TB, url, model string, options map[string]string) core.Backend {
	t.Helper()
	t.Setenv(keyVariable, testKey)
	b, err := New(core.Config{BaseURL: url, Model: model, Options: options})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return b
}

// ask gives the final event of one request, and the joined deltas.
func ask(t testing.TB, b core.Backend, r core.Request) (*core.Response, *core.Error, string) {
	t.Helper()
	s, err := b.Open(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	r.ID = "1"
	if err := s.Send(r); err != nil {
		return nil, core.AsError(err), ""
	}
	deadline := time.AfterFunc(20*time.Second, func() { s.Close() })
	defer deadline.Stop()
	text := ""
	for ev, err := range s.Events() {
		if err != nil {
			t.Fatal(err)
		}
		switch ev.Kind {
		case core.EventDelta:
			text += ev.Text
		case core.EventResponse:
			return ev.Response, nil, text
		case core.EventError:
			return nil, ev.Err, text
		}
	}
	t.Fatal("no final event")
	return nil, nil, ""
}

func generate(prompt string) core.Request {
	return core.Request{Kind: core.Generate, Prompt: prompt, Generation: core.Generation{MaxTokens: 8}}
}
