// Package echo answers by rule, without a model: it is the backend for trying
// a task, and the scriptable stand-in for tests of everything around a model.
//
// Options (all optional):
//
//	mode         prompt (the whole input, the default), last_line, constant:TEXT,
//	             or label:A|B|C (one of the words, chosen by the input's hash)
//	latency      time before an answer, such as 20ms
//	jitter       up to this much more, by the input's hash
//	stream       true sends the answer word by word before it is finished
//	error_rate   share of requests, by the input's hash, that fail with error_code
//	error_first  number of times that each input fails before it is answered
//	error_code   class of these failures (unavailable is the default)
//	lost_after   number of answers after which the session is lost, once a backend
//	context      length of the context in words; longer inputs follow the request's Overflow
//	price_in, price_out  USD per million tokens; a token is a word
//	concurrency  requests at work at once (1024)
package echo

import (
	"context"
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"math"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/evalrun/evalrun/backends/internal/option"
	"github.com/evalrun/evalrun/backends/internal/session"
	"github.com/evalrun/evalrun/core"
)

// Name is what the backend is called on the command line.
const Name = "echo"

var kinds = []core.Kind{core.Generate, core.ScoreText, core.Embed, core.Tokenize}

var codes = []string{
	string(core.CodeUnavailable), string(core.CodeRateLimit), string(core.CodeTimeout),
	string(core.CodeBadAnswer), string(core.CodeCut), string(core.CodeAuth),
	string(core.CodeNotFound), string(core.CodeContextLength), string(core.CodeInternal),
}

type backend struct {
	mode, text      string
	labels          []string
	latency, jitter time.Duration
	stream          bool
	errorRate       float64
	errorFirst      int
	errorCode       core.Code
	context         int
	prices          *core.Prices
	limit           int
	lostAfter       int64

	answers atomic.Int64
	mu      sync.Mutex
	failed  map[uint64]int
}

// New makes the backend. Config.Model is not used; adapters are accepted by
// name and change nothing.
func New(cfg core.Config) (core.Backend, error) {
	o := option.Read(Name, cfg.Options)
	b := &backend{
		mode:       o.String("mode", "prompt"),
		latency:    o.Duration("latency", 0),
		jitter:     o.Duration("jitter", 0),
		stream:     o.Bool("stream", false),
		errorRate:  o.Float("error_rate", 0, 0, 1),
		errorFirst: o.Int("error_first", 0, 0),
		errorCode:  core.Code(o.OneOf("error_code", codes...)),
		context:    o.Int("context", 0, 1),
		limit:      o.Int("concurrency", 1024, 1),
		lostAfter:  int64(o.Int("lost_after", 0, 1)),
		failed:     make(map[uint64]int),
	}
	in, out := o.Float("price_in", 0, 0, math.Inf(1)), o.Float("price_out", 0, 0, math.Inf(1))
	if o.Has("price_in") || o.Has("price_out") {
		b.prices = &core.Prices{Known: true, Input: in, Output: out}
	}
	if err := o.Err(); err != nil {
		return nil, err
	}
	rule, rest, _ := strings.Cut(b.mode, ":")
	switch {
	case b.mode == "prompt", b.mode == "last_line":
	case rule == "constant" && len(b.mode) > len(rule):
		b.text = rest
	case rule == "label" && rest != "":
		b.labels = strings.Split(rest, "|")
	default:
		return nil, &core.UserError{
			Where:   "backend echo, option mode",
			Message: fmt.Sprintf("%q is not a rule", b.mode),
			Hint:    "give prompt, last_line, constant:TEXT or label:A|B|C",
		}
	}
	return b, nil
}

// Info describes the rule as the model's name, so that caches and results
// tell one rule from another.
func (b *backend) Info(ctx context.Context) (core.Info, error) {
	return core.Info{
		Name: Name, Version: "1", Model: Name + ":" + b.mode,
		Kinds: kinds, Forms: []core.Form{core.FormCompletion, core.FormChat},
		ContextLength: b.context, Deterministic: true, InFlight: min(b.limit, 256),
		Prices: b.prices, Device: "none",
	}, ctx.Err()
}

func (b *backend) Close() error { return nil }

func (b *backend) Open(ctx context.Context) (core.Session, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	var s *session.Session
	ready := make(chan struct{})
	s = session.Work{
		Limit: b.limit,
		Check: func(r *core.Request) *core.Error { return session.Check(r, kinds) },
		Answer: func(ctx context.Context, r *core.Request, delta func(string)) (core.Response, error) {
			if n := b.answers.Add(1); b.lostAfter > 0 && n == b.lostAfter+1 {
				<-ready
				s.Break(fmt.Errorf("echo: lost after %d answers as asked: %w", b.lostAfter, core.ErrSessionLost))
				return core.Response{}, context.Canceled
			}
			return b.answer(ctx, r, delta)
		},
	}.Open(ctx)
	close(ready)
	return s, nil
}

func (b *backend) answer(ctx context.Context, r *core.Request, delta func(string)) (core.Response, error) {
	start := time.Now()
	input := Input(r)
	h := hash(input, r.Repeat)
	if wait := b.latency + time.Duration(unit(h)*float64(b.jitter)); wait > 0 {
		timer := time.NewTimer(wait)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
			return core.Response{}, ctx.Err()
		}
	}
	if b.fails(h) {
		return core.Response{}, &core.Error{Code: b.errorCode, Message: "echo failed as asked"}
	}
	words := strings.Fields(input)
	resp := core.Response{Usage: core.Usage{Prompt: len(words)}}
	if b.context > 0 && len(words) > b.context {
		if r.Overflow != core.OverflowKeepTail {
			return resp, &core.Error{
				Code:    core.CodeContextLength,
				Message: fmt.Sprintf("the input has %d tokens, the context holds %d", len(words), b.context),
			}
		}
		resp.Truncated = len(words) - b.context
		resp.Usage.Prompt = b.context
		input = strings.Join(words[resp.Truncated:], " ")
	}
	switch r.Kind {
	case core.Generate:
		b.generate(r, input, &resp, delta)
	case core.ScoreText:
		b.score(r, input, &resp)
	case core.Embed:
		resp.Embedding = embedding(input)
	case core.Tokenize:
		resp.Tokens = make([]int, len(input))
		for i := range len(input) {
			resp.Tokens[i] = int(input[i])
		}
	}
	resp.CostUSD = b.prices.Cost(resp.Usage)
	resp.Seconds = time.Since(start).Seconds()
	return resp, nil
}

// fails decides by the input's hash, so that a run meets the same failures
// each time it is made.
func (b *backend) fails(h uint64) bool {
	if b.errorRate > 0 && unit(h*0x9E3779B97F4A7C15) < b.errorRate {
		return true
	}
	if b.errorFirst == 0 {
		return false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.failed[h]++
	return b.failed[h] <= b.errorFirst
}

func (b *backend) rule(input string) string {
	switch {
	case b.mode == "last_line":
		s := strings.TrimRight(input, "\n")
		return s[strings.LastIndexByte(s, '\n')+1:]
	case b.labels != nil:
		return b.labels[hash(input, 0)%uint64(len(b.labels))]
	case b.mode == "prompt":
		return input
	}
	return b.text
}

func (b *backend) generate(r *core.Request, input string, resp *core.Response, delta func(string)) {
	text := b.rule(input)
	resp.Finish = core.FinishStop
	for _, stop := range r.Generation.Stop {
		if i := strings.Index(text, stop); i >= 0 {
			text = text[:i]
		}
	}
	pieces := split(text)
	if limit := r.Generation.MaxTokens; limit > 0 && len(pieces) > limit {
		pieces = pieces[:limit]
		text = strings.Join(pieces, "")
		resp.Finish = core.FinishLength
	}
	if b.stream {
		for _, p := range pieces {
			delta(p)
		}
	}
	resp.Text = text
	resp.Usage.Completion = len(pieces)
	if r.Logprobs {
		resp.Logprobs = make([]float64, len(pieces))
	}
}

// score likes the continuation best that is the rule's answer.
func (b *backend) score(r *core.Request, input string, resp *core.Response) {
	want := strings.TrimSpace(b.rule(input))
	for _, c := range r.Continuations {
		n := max(len(strings.Fields(c)), 1)
		l := core.Likelihood{Tokens: n, Greedy: strings.TrimSpace(c) == want}
		l.LogProb = -0.125 * float64(n)
		if !l.Greedy {
			l.LogProb -= float64(n) * (1 + 8*unit(hash(c, 0)))
		}
		resp.Scores = append(resp.Scores, l)
		resp.Usage.Prompt += n
	}
	resp.Usage.Shared = len(strings.Fields(input)) * (len(r.Continuations) - 1)
}

// Input is the text that a request puts before the model: its prompt, or the
// contents of its messages, a line each.
func Input(r *core.Request) string {
	if r.Messages == nil {
		return r.Prompt
	}
	parts := make([]string, len(r.Messages))
	for i, m := range r.Messages {
		parts[i] = m.Content
	}
	return strings.Join(parts, "\n")
}

// split cuts text before each word: joined, the pieces are the text again.
func split(text string) []string {
	var pieces []string
	start, inWord := 0, false
	for i, c := range text {
		space := c == ' ' || c == '\n' || c == '\t'
		if space && inWord {
			pieces = append(pieces, text[start:i])
			start = i
		}
		inWord = !space
	}
	if start < len(text) {
		pieces = append(pieces, text[start:])
	}
	return pieces
}

func embedding(input string) []float32 {
	v := make([]float32, 8)
	for i := range v {
		v[i] = float32(2*unit(hash(input, i)) - 1)
	}
	return v
}

func hash(s string, n int) uint64 {
	h := fnv.New64a()
	h.Write([]byte(s))
	h.Write(binary.LittleEndian.AppendUint64(nil, uint64(n)))
	return h.Sum64()
}

// unit maps a hash to [0, 1). The bits of FNV are mixed first: its high bits
// depend little on the last bytes.
func unit(h uint64) float64 {
	h ^= h >> 33
	h *= 0xff51afd7ed558ccd
	h ^= h >> 33
	return float64(h>>11) / (1 << 53)
}
