// Package backendtest is the contract of core.Backend as a test suite. Every
// backend passes it, in process and through the plugin wire:
//
//	func TestContract(t *testing.T) {
//		backendtest.Run(t, func(t *testing.T) core.Backend { … }, backendtest.Options{})
//	}
package backendtest

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/evalrun/evalrun/core"
)

// Options fit the suite to a backend. The zero value does for most.
type Options struct {
	// Prompt is an input that the backend can answer; empty is a short one.
	Prompt string
	// MaxTokens bounds answers; 0 means 8.
	MaxTokens int
	// Slow is a request that takes long enough to be cancelled while it is
	// answered; the zero value is a generation of 4096 tokens. The suite sets
	// its ID. A backend that answers it at once passes too.
	Slow core.Request
	// Large is the size of the large prompt in bytes; 0 means 256 KiB. It may
	// be answered, or refused with CodeContextLength or CodeInvalid.
	Large int
	// Many is the number of requests of the concurrent tests; 0 means 100.
	Many int
	// Timeout is how long any single wait may last; 0 means 30 s.
	Timeout time.Duration
}

// Run runs the suite. make gives a fresh backend each time, which Run closes.
func Run(t *testing.T, make func(t *testing.T) core.Backend, o Options) {
	t.Helper()
	if o.Prompt == "" {
		o.Prompt = "The capital of France is"
	}
	if o.MaxTokens == 0 {
		o.MaxTokens = 8
	}
	if o.Slow.Kind == 0 {
		o.Slow = core.Request{Kind: core.Generate, Prompt: o.Prompt, Generation: core.Generation{MaxTokens: 4096}}
	}
	if o.Large == 0 {
		o.Large = 256 << 10
	}
	if o.Many == 0 {
		o.Many = 100
	}
	if o.Timeout == 0 {
		o.Timeout = 30 * time.Second
	}
	for _, tt := range []struct {
		name string
		run  func(*harness)
	}{
		{"info", (*harness).info},
		{"each request gets one final event", (*harness).oneFinal},
		{"concurrent senders", (*harness).concurrent},
		{"two sessions", (*harness).twoSessions},
		{"an id may be used again", (*harness).reuse},
		{"deltas make the text", (*harness).deltas},
		{"score", (*harness).score},
		{"embed", (*harness).embed},
		{"tokenize", (*harness).tokenize},
		{"messages", (*harness).messages},
		{"unsupported kinds", (*harness).unsupported},
		{"invalid requests", (*harness).invalid},
		{"invalid UTF-8", (*harness).invalidUTF8},
		{"large prompt", (*harness).large},
		{"empty prompt", (*harness).emptyPrompt},
		{"cancel", (*harness).cancel},
		{"cancel of an unknown id", (*harness).cancelUnknown},
		{"send after close", (*harness).sendAfterClose},
		{"close in flight", (*harness).closeInFlight},
		{"close twice", (*harness).closeTwice},
		{"end of the context", (*harness).contextEnd},
		{"open with an ended context", (*harness).openEnded},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := make(t)
			h := &harness{T: t, o: o, b: b}
			defer func() {
				if err := b.Close(); err != nil {
					t.Errorf("close backend: %v", err)
				}
				if err := b.Close(); err != nil {
					t.Errorf("close backend again: %v", err)
				}
			}()
			ctx, cancel := context.WithTimeout(context.Background(), o.Timeout)
			defer cancel()
			var err error
			if h.inf, err = b.Info(ctx); err != nil {
				t.Fatalf("info: %v", err)
			}
			tt.run(h)
		})
	}
}

type harness struct {
	*testing.T
	o   Options
	b   core.Backend
	inf core.Info
}

func (h *harness) need(k core.Kind) {
	h.Helper()
	if !slices.Contains(h.inf.Kinds, k) {
		h.Skipf("the backend does not do %s", k)
	}
}

// request makes an answerable request of the backend's first kind.
func (h *harness) request(id string) core.Request {
	r := core.Request{ID: id, Kind: h.inf.Kinds[0], Prompt: h.o.Prompt}
	switch r.Kind {
	case core.Generate:
		r.Generation.MaxTokens = h.o.MaxTokens
	case core.ScoreText:
		r.Continuations = []string{" Paris", " Rome"}
	}
	return r
}

func (h *harness) info() {
	i := h.inf
	if i.Name == "" || i.Model == "" {
		h.Errorf("info has no name or model: %+v", i)
	}
	if len(i.Kinds) == 0 || len(i.Forms) == 0 {
		h.Errorf("info has no kinds or forms: %+v", i)
	}
	for _, f := range i.Forms {
		if f != core.FormChat && f != core.FormCompletion {
			h.Errorf("unknown form %q", f)
		}
	}
	if strings.ToLower(i.Family) != i.Family {
		h.Errorf("family %q is not in lower case", i.Family)
	}
	again, err := h.b.Info(context.Background())
	if err != nil || again.Model != i.Model || again.ModelHash != i.ModelHash {
		h.Errorf("info changed from %+v to %+v (%v)", i, again, err)
	}
}

func (h *harness) oneFinal() {
	l := h.open()
	for i := range h.o.Many {
		if err := l.s.Send(h.request(fmt.Sprint("r", i))); err != nil {
			h.Fatalf("send: %v", err)
		}
	}
	l.waitFor(h.o.Many)
	for i := range h.o.Many {
		ev := l.final(fmt.Sprint("r", i))
		if ev.Kind != core.EventResponse {
			h.Fatalf("request r%d failed: %+v", i, ev.Err)
		}
		h.plausible(ev.Response)
	}
}

func (h *harness) plausible(r *core.Response) {
	h.Helper()
	if r.Usage.Prompt < 0 || r.Usage.Completion < 0 || r.Usage.Shared < 0 || r.Seconds < 0 || r.CostUSD < 0 || r.Truncated < 0 {
		h.Errorf("negative counts: %+v", r)
	}
	if math.IsNaN(r.Seconds) || math.IsNaN(r.CostUSD) {
		h.Errorf("counts that are no numbers: %+v", r)
	}
	if r.Text != "" && r.Usage.Completion == 0 {
		h.Errorf("%d bytes of text from 0 tokens", len(r.Text))
	}
	if !utf8.ValidString(r.Text) {
		h.Errorf("text is not valid UTF-8: %q", r.Text)
	}
}

func (h *harness) concurrent() {
	l := h.open()
	const senders = 8
	each := max(h.o.Many/senders, 1)
	var wg sync.WaitGroup
	for s := range senders {
		wg.Go(func() {
			for i := range each {
				if err := l.s.Send(h.request(fmt.Sprintf("s%d-%d", s, i))); err != nil {
					h.Errorf("send: %v", err)
				}
			}
		})
	}
	wg.Wait()
	if h.Failed() {
		return
	}
	l.waitFor(senders * each)
	for s := range senders {
		for i := range each {
			l.final(fmt.Sprintf("s%d-%d", s, i))
		}
	}
}

func (h *harness) twoSessions() {
	a, b := h.open(), h.open()
	a.answer(h.request("same"))
	b.answer(h.request("same"))
	if err := a.s.Close(); err != nil {
		h.Errorf("close: %v", err)
	}
	b.answer(h.request("after"))
}

func (h *harness) reuse() {
	l := h.open()
	l.answer(h.request("again"))
	l.mu.Lock()
	delete(l.finals, "again")
	delete(l.deltas, "again")
	l.mu.Unlock()
	l.answer(h.request("again"))
}

func (h *harness) deltas() {
	h.need(core.Generate)
	l := h.open()
	r := h.request("d")
	r.Kind = core.Generate
	r.Generation.MaxTokens = h.o.MaxTokens
	resp := l.answer(r)
	l.mu.Lock()
	defer l.mu.Unlock()
	if d := l.deltas["d"]; d != "" && d != resp.Text {
		h.Errorf("deltas make %q, the text is %q", d, resp.Text)
	}
	if resp.Finish == "" {
		h.Error("no finish reason")
	}
	if resp.Finish == core.FinishLength && resp.Usage.Completion > h.o.MaxTokens {
		h.Errorf("%d tokens, at most %d were asked for", resp.Usage.Completion, h.o.MaxTokens)
	}
}

func (h *harness) score() {
	h.need(core.ScoreText)
	l := h.open()
	resp := l.answer(core.Request{
		ID: "s", Kind: core.ScoreText, Prompt: h.o.Prompt, Continuations: []string{" Paris", " Rome", " a town in the south"},
	})
	if len(resp.Scores) != 3 {
		h.Fatalf("%d likelihoods for 3 continuations", len(resp.Scores))
	}
	for i, s := range resp.Scores {
		if s.Tokens <= 0 || s.LogProb > 1e-6 || math.IsNaN(s.LogProb) || math.IsInf(s.LogProb, 0) {
			h.Errorf("likelihood %d is not plausible: %+v", i, s)
		}
	}
	h.plausible(resp)
	one := l.answer(core.Request{ID: "one", Kind: core.ScoreText, Prompt: h.o.Prompt, Continuations: []string{" Rome"}})
	if h.inf.Deterministic && math.Abs(one.Scores[0].LogProb-resp.Scores[1].LogProb) > 1e-4 {
		h.Errorf("a continuation scores %v alone and %v among others", one.Scores[0].LogProb, resp.Scores[1].LogProb)
	}
	if ev := l.ask(core.Request{ID: "none", Kind: core.ScoreText, Prompt: h.o.Prompt}); ev.Err == nil || ev.Err.Code != core.CodeInvalid {
		h.Errorf("score without continuations: %+v, want an error with code invalid", ev)
	}
}

func (h *harness) embed() {
	h.need(core.Embed)
	l := h.open()
	resp := l.answer(core.Request{ID: "e", Kind: core.Embed, Prompt: h.o.Prompt})
	if len(resp.Embedding) == 0 {
		h.Fatal("no embedding")
	}
	for _, x := range resp.Embedding {
		if math.IsNaN(float64(x)) || math.IsInf(float64(x), 0) {
			h.Fatalf("embedding holds %v", x)
		}
	}
}

func (h *harness) tokenize() {
	h.need(core.Tokenize)
	l := h.open()
	if resp := l.answer(core.Request{ID: "t", Kind: core.Tokenize, Prompt: h.o.Prompt}); len(resp.Tokens) == 0 {
		h.Error("no tokens")
	}
}

func (h *harness) messages() {
	h.need(core.Generate)
	if !slices.Contains(h.inf.Forms, core.FormChat) {
		h.Skip("the backend takes no chats")
	}
	l := h.open()
	l.answer(core.Request{
		ID: "m", Kind: core.Generate, Generation: core.Generation{MaxTokens: h.o.MaxTokens},
		Messages: []core.Message{{Role: "system", Content: "Be brief."}, {Role: "user", Content: h.o.Prompt}},
	})
}

func (h *harness) unsupported() {
	l := h.open()
	for _, k := range []core.Kind{core.Generate, core.ScoreText, core.Embed, core.Tokenize} {
		if slices.Contains(h.inf.Kinds, k) {
			continue
		}
		ev := l.ask(core.Request{ID: "u" + k.String(), Kind: k, Prompt: h.o.Prompt, Continuations: []string{" x"}})
		if ev.Err == nil || ev.Err.Code != core.CodeInvalid || !strings.Contains(ev.Err.Message, k.String()) {
			h.Errorf("unsupported %s: %+v, want an error with code invalid that names the kind", k, ev.Err)
		}
	}
	if ev := l.ask(core.Request{ID: "unknown", Kind: 99, Prompt: h.o.Prompt}); ev.Err == nil || ev.Err.Code != core.CodeInvalid {
		h.Errorf("kind 99: %+v, want an error with code invalid", ev)
	}
	l.answer(h.request("after"))
}

func (h *harness) invalid() {
	l := h.open()
	bad := map[string]core.Request{}
	for name, change := range map[string]func(*core.Request){
		"negative max_tokens":  func(r *core.Request) { r.Generation.MaxTokens = -1 },
		"temperature NaN":      func(r *core.Request) { r.Generation.Temperature = math.NaN() },
		"negative temperature": func(r *core.Request) { r.Generation.Temperature = -0.5 },
		"top_p of 2":           func(r *core.Request) { r.Generation.TopP = 2 },
		"empty list of messages": func(r *core.Request) {
			r.Prompt, r.Messages = "", []core.Message{}
		},
	} {
		r := h.request(name)
		change(&r)
		bad[name] = r
	}
	for name, r := range bad {
		if ev := l.ask(r); ev.Err == nil || ev.Err.Code != core.CodeInvalid {
			h.Errorf("%s: %+v, want an error with code invalid", name, ev)
		}
	}
	l.answer(h.request("after"))
}

func (h *harness) invalidUTF8() {
	l := h.open()
	r := h.request("bytes")
	r.Prompt = "caf\xe9 \xff\xfe " + h.o.Prompt
	ev := l.ask(r)
	if ev.Err != nil && ev.Err.Code != core.CodeInvalid {
		h.Errorf("invalid UTF-8: %+v, want an answer or an error with code invalid", ev.Err)
	}
	l.answer(h.request("after"))
}

func (h *harness) large() {
	l := h.open()
	r := h.request("large")
	r.Prompt = strings.Repeat("All work and no play makes Jack a dull boy. ", h.o.Large/40+1)[:h.o.Large]
	ev := l.ask(r)
	if ev.Err != nil && ev.Err.Code != core.CodeContextLength && ev.Err.Code != core.CodeInvalid {
		h.Errorf("large prompt: %+v, want an answer, context_length or invalid", ev.Err)
	}
	l.answer(h.request("after"))
}

func (h *harness) emptyPrompt() {
	l := h.open()
	r := h.request("empty")
	r.Prompt = ""
	if ev := l.ask(r); ev.Err != nil && ev.Err.Code != core.CodeInvalid {
		h.Errorf("empty prompt: %+v, want an answer or an error with code invalid", ev.Err)
	}
	l.answer(h.request("after"))
}
