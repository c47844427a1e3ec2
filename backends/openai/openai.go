// Package openai speaks to any service with OpenAI's HTTP interface: OpenAI
// itself, and the many servers that copy it.
//
// The key is read from OPENAI_API_KEY and goes to the host of the base URL
// only; a service that wants none is asked without. Each request has a deadline
// of its own, counted from when it is sent. How many are in flight at once is
// found out: see the option concurrency.
//
// Options (all optional):
//
//	api          chat, completions, or auto (the default: by the model's name, chat otherwise)
//	timeout      deadline of one request (120s)
//	concurrency  most requests in flight (64); the service may stand fewer
//	stream       true asks for the answer piece by piece
//	price_in, price_out  USD per million tokens, instead of the built-in list
//	reasoning_effort     passed on as it is
//	score_max_tokens     tokens that a scoring request asks for besides the echo (0);
//	                     1 for servers that refuse 0
package openai

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	goopenai "github.com/sashabaranov/go-openai"

	"github.com/evalrun/evalrun/backends/internal/option"
	"github.com/evalrun/evalrun/backends/internal/session"
	"github.com/evalrun/evalrun/core"
)

const (
	// Name is what the backend is called on the command line.
	Name = "openai"
	// DefaultModel answers where none is named at api.openai.com: the one that
	// the LoRA Land report compares with.
	DefaultModel = "gpt-4-0613"
	// DefaultConcurrency bounds the requests in flight.
	DefaultConcurrency = 64

	officialHost = "api.openai.com"
	keyVariable  = "OPENAI_API_KEY"
	urlVariable  = "OPENAI_BASE_URL"
)

// Env lists the environment variables that the backend reads.
func Env() []string { return []string{keyVariable, urlVariable} }

type backend struct {
	cfg         core.Config
	base        *url.URL
	official    bool
	api         string
	timeout     time.Duration
	stream      bool
	effort      string
	scoreTokens int
	concurrency int
	ownPrices   *core.Prices

	transport *transport
	client    *goopenai.Client
	gate      *gate
	estimated atomic.Bool // the service sent no token counts at least once

	mu    sync.Mutex
	known *model // nil until resolved
}

// model is what requests are sent to.
type model struct {
	name    string
	chat    bool
	fixed   bool // sampling parameters are refused
	context int
	prices  *core.Prices
	kinds   []core.Kind
}

// New makes the backend; nothing is sent yet. So a command can call it to learn
// of a missing key before it does anything else.
func New(cfg core.Config) (core.Backend, error) {
	o := option.Read(Name, cfg.Options)
	b := &backend{
		cfg:         cfg,
		api:         o.OneOf("api", "auto", "chat", "completions"),
		timeout:     o.Duration("timeout", 120*time.Second),
		stream:      o.Bool("stream", false),
		effort:      o.String("reasoning_effort", ""),
		scoreTokens: o.Int("score_max_tokens", 0, 0),
		concurrency: o.Int("concurrency", DefaultConcurrency, 1),
	}
	in := o.Float("price_in", 0, 0, math.Inf(1))
	out := o.Float("price_out", 0, 0, math.Inf(1))
	if err := o.Err(); err != nil {
		return nil, err
	}
	if o.Has("price_in") != o.Has("price_out") {
		return nil, &core.UserError{Where: "backend openai", Message: "price_in and price_out belong together",
			Hint: "give both, in USD per million tokens"}
	}
	if o.Has("price_in") {
		b.ownPrices = &core.Prices{Known: true, Input: in, Output: out}
	}
	if b.timeout == 0 {
		return nil, &core.UserError{Where: "backend openai, option timeout", Message: "a deadline of 0 lets no request be answered",
			Hint: "give a time such as 120s"}
	}
	if len(cfg.Adapters) > 0 {
		return nil, &core.UserError{Where: "--adapter", Message: "the openai backend takes no adapter folders",
			Hint: "name the adapter or fine-tuned model that the service knows as --model"}
	}
	if err := b.address(); err != nil {
		return nil, err
	}
	key := strings.TrimSpace(os.Getenv(keyVariable))
	if key == "" && b.official {
		return nil, &core.UserError{Where: "backend openai", Message: keyVariable + " is not set",
			Hint: "set it to your key, as export " + keyVariable + "=…, or name a server that needs none with --base-url"}
	}
	if strings.ContainsFunc(key, func(c rune) bool { return c <= ' ' || c > '~' }) {
		return nil, &core.UserError{Where: "backend openai", Message: keyVariable + " holds a blank or a character that no key has",
			Hint: "set it again without quotes and line breaks"}
	}
	b.transport = newTransport(b.base, key, b.concurrency)
	b.gate = newGate(16, b.concurrency)
	config := goopenai.DefaultConfig(key)
	config.BaseURL = strings.TrimRight(b.base.String(), "/")
	config.HTTPClient = b.transport
	b.client = goopenai.NewClientWithConfig(config)
	return b, nil
}

// address reads the base URL.
func (b *backend) address() error {
	text := b.cfg.BaseURL
	if text == "" {
		text = os.Getenv(urlVariable)
	}
	if text == "" {
		text = "https://" + officialHost + "/v1"
	}
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.RawQuery != "" || u.Fragment != "" {
		shown := text
		if i := strings.LastIndexByte(shown, '@'); i >= 0 { // never show a password
			shown = "…" + shown[i:]
		}
		return &core.UserError{Where: "--base-url", Message: fmt.Sprintf("%q is not the address of a service", shown),
			Hint: "give something like http://127.0.0.1:8000/v1"}
	}
	if u.User != nil {
		return &core.UserError{Where: "--base-url", Message: "the address of " + u.Host + " holds a user name or password",
			Hint: "leave it out and set " + keyVariable}
	}
	b.base = u
	b.official = u.Hostname() == officialHost
	if b.official && u.Scheme != "https" {
		return &core.UserError{Where: "--base-url", Message: "the key would go to " + officialHost + " unencrypted", Hint: "write https"}
	}
	return nil
}

// resolve finds the model's name and facts, asking the server where the user
// named none.
func (b *backend) resolve(ctx context.Context) (*model, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.known != nil {
		return b.known, nil
	}
	m := &model{name: b.cfg.Model}
	if m.name == "" && b.official {
		m.name = DefaultModel
	}
	if m.name == "" {
		var err error
		if m.name, m.context, err = b.onlyModel(ctx); err != nil {
			return nil, err
		}
	}
	fact, listed := factOf(m.name)
	if m.context == 0 {
		m.context = fact.context
	}
	prices := fact.prices
	m.prices = &prices
	if b.ownPrices != nil {
		m.prices = b.ownPrices
	}
	m.fixed = sampleFixed(m.name)
	switch b.api {
	case "auto":
		m.chat = !listed || fact.form != "completions"
	default:
		m.chat = b.api == "chat"
	}
	switch {
	case fact.form == "embed":
		m.kinds = []core.Kind{core.Embed}
	case b.official && fact.form == "completions":
		m.kinds = []core.Kind{core.Generate, core.ScoreText}
	case b.official:
		m.kinds = []core.Kind{core.Generate}
	default:
		m.kinds = []core.Kind{core.Generate, core.ScoreText, core.Embed}
	}
	b.known = m
	return m, nil
}

// onlyModel asks the server for its models; it must have one.
func (b *backend) onlyModel(ctx context.Context) (name string, length int, err error) {
	hint := "name it with --model"
	ask, cancel := context.WithTimeout(ctx, b.timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ask, http.MethodGet, strings.TrimRight(b.base.String(), "/")+"/models", nil)
	if err != nil {
		return "", 0, fmt.Errorf("asking %s for its models: %w", b.base.Host, err)
	}
	if b.transport.key != "" {
		req.Header.Set("Authorization", "Bearer "+b.transport.key)
	}
	resp, err := b.transport.Do(req)
	if err != nil {
		var e *core.Error
		if errors.As(err, &e) && (e.Code == core.CodeNotFound || e.Code == core.CodeInvalid || e.Code == core.CodeBadAnswer) {
			return "", 0, &core.UserError{Where: "backend openai", Message: b.base.Host + " does not say which model it has", Hint: hint, Err: err}
		}
		if e != nil && e.Hint != "" {
			hint = e.Hint
		}
		return "", 0, &core.UserError{Where: "backend openai", Message: "asking " + b.base.Host + " for its models", Hint: hint, Err: err}
	}
	defer resp.Body.Close()
	var list struct {
		Data []struct {
			ID     string `json:"id"`
			MaxLen int    `json:"max_model_len"` // vLLM tells it
		} `json:"data"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&list); err != nil {
		return "", 0, &core.UserError{Where: "backend openai", Message: "the list of models of " + b.base.Host + " cannot be read", Hint: hint, Err: err}
	}
	switch n := len(list.Data); n {
	case 0:
		return "", 0, &core.UserError{Where: "backend openai", Message: b.base.Host + " lists no model", Hint: hint}
	case 1:
		return list.Data[0].ID, max(list.Data[0].MaxLen, 0), nil
	default:
		var names []string
		for _, m := range list.Data[:min(n, 5)] {
			names = append(names, b.transport.excerpt([]byte(m.ID)))
		}
		if n > 5 {
			names = append(names, "…")
		}
		return "", 0, &core.UserError{Where: "backend openai", Message: fmt.Sprintf("%s has %d models", b.base.Host, n),
			Hint: "choose one with --model: " + strings.Join(names, ", ")}
	}
}

// Info describes service and model. A service other than OpenAI's own carries
// its address as the revision: equal names at two places are not one model.
func (b *backend) Info(ctx context.Context) (core.Info, error) {
	m, err := b.resolve(ctx)
	if err != nil {
		return core.Info{}, err
	}
	info := core.Info{
		Name: Name, Version: "1", Model: m.name, Family: family(m.name),
		Kinds: m.kinds, Forms: []core.Form{core.FormCompletion},
		ContextLength: m.context, InFlight: b.concurrency, Prices: m.prices,
		Device: "service " + b.base.Host,
	}
	if m.chat {
		info.Forms = []core.Form{core.FormChat, core.FormCompletion}
	}
	if !b.official {
		info.Revision = strings.TrimRight(b.base.Host+b.base.Path, "/")
	}
	if b.cfg.Revision != "" {
		info.Revision = strings.TrimPrefix(info.Revision+"@"+b.cfg.Revision, "@")
	}
	if m.fixed {
		info.Notes = append(info.Notes, m.name+" takes no temperature: its answers are sampled")
	}
	if b.estimated.Load() {
		info.Notes = append(info.Notes, "the service sent no token counts: tokens and costs are estimated")
	}
	return info, nil
}

// family is the model's name without its owner, in lower case.
func family(name string) string {
	name = strings.TrimRight(name, "/")
	return strings.ToLower(name[strings.LastIndexAny(name, "/\\")+1:])
}

// Close closes idle connections.
func (b *backend) Close() error {
	b.transport.close()
	return nil
}

func (b *backend) Open(ctx context.Context) (core.Session, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	m, err := b.resolve(ctx)
	if err != nil {
		return nil, err
	}
	var s *session.Session
	var told sync.Once
	ready := make(chan struct{})
	estimate := func() {
		b.estimated.Store(true)
		told.Do(func() {
			<-ready
			s.Tell(core.Progress{Stage: "usage", Message: "the service sends no token counts: tokens and costs are estimated"})
		})
	}
	s = session.Work{
		Limit: 2 * b.concurrency,
		Check: func(r *core.Request) *core.Error { return b.check(m, r) },
		Answer: func(ctx context.Context, r *core.Request, delta func(string)) (core.Response, error) {
			return b.answer(ctx, m, r, delta, estimate)
		},
	}.Open(ctx)
	close(ready)
	return s, nil
}

// check refuses what can never be sent.
func (b *backend) check(m *model, r *core.Request) *core.Error {
	if e := session.Check(r, m.kinds); e != nil {
		return e
	}
	refuse := func(message, hint string) *core.Error {
		return &core.Error{Code: core.CodeInvalid, Message: message, Hint: hint}
	}
	g := &r.Generation
	switch {
	case r.Adapter != "":
		return refuse("the service knows no adapters", "name the fine-tuned model with --model")
	case r.Messages != nil && (r.Kind != core.Generate || !m.chat):
		return refuse(fmt.Sprintf("%s takes a prompt here, not messages", m.name), "give --opt api=chat for generation by messages")
	case r.Kind == core.ScoreText && r.Prompt == "":
		return refuse("score needs a prompt: a service gives no likelihood to the first token", "")
	case r.Kind == core.Embed && r.Prompt == "":
		return refuse("embed needs a text", "")
	case r.Kind == core.Generate && !m.chat && g.MaxTokens == 0:
		return refuse("max_tokens is not given", "completions end after 16 tokens by default: set max_tokens in the task")
	case r.Kind == core.Generate && b.official && (g.TopK != 0 || g.MinP != 0 || g.RepetitionPenalty != 0 && g.RepetitionPenalty != 1):
		return refuse("the service takes no top_k, min_p or repetition_penalty", "leave them out of the task's generation settings")
	case r.Kind == core.Generate && m.fixed && r.Logprobs:
		return refuse(m.name+" gives no log-probabilities", "")
	}
	return nil
}

// answer waits for its turn, then has the deadline to be answered.
func (b *backend) answer(ctx context.Context, m *model, r *core.Request, delta func(string), estimate func()) (core.Response, error) {
	entered, err := b.gate.enter(ctx)
	if err != nil {
		return core.Response{}, err
	}
	ask, cancel := context.WithTimeout(ctx, b.timeout)
	defer cancel()
	var resp core.Response
	switch r.Kind {
	case core.ScoreText:
		resp, err = b.score(ask, m, r, estimate)
	case core.Embed:
		resp, err = b.embed(ask, m, r, estimate)
	default:
		resp, err = b.generate(ask, m, r, delta, estimate)
	}
	if err != nil && ctx.Err() == nil && errors.Is(ask.Err(), context.DeadlineExceeded) {
		err = &core.Error{Code: core.CodeTimeout, Message: fmt.Sprintf("no whole answer from %s within %v", b.base.Host, b.timeout),
			Hint: "raise it with --opt timeout=300s, or lower --concurrency"}
	}
	var e *core.Error
	errors.As(err, &e)
	tooMuch := e != nil && (e.Code == core.CodeRateLimit || e.Code == core.CodeTimeout || e.Code == core.CodeUnavailable)
	var wait time.Duration
	if tooMuch {
		wait = e.RetryAfter
	}
	b.gate.leave(entered, tooMuch, wait)
	if err != nil {
		return core.Response{}, b.sendError(err)
	}
	resp.Seconds = time.Since(entered).Seconds()
	resp.CostUSD = m.prices.Cost(resp.Usage)
	return resp, nil
}

// sendError classes what the library returns besides the transport's errors:
// its own refusals, and answers that it could not read.
func (b *backend) sendError(err error) error {
	var e *core.Error
	if errors.As(err, &e) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	for _, refused := range []error{
		goopenai.ErrCompletionUnsupportedModel, goopenai.ErrChatCompletionInvalidModel,
		goopenai.ErrReasoningModelMaxTokensDeprecated, goopenai.ErrReasoningModelLimitationsLogprobs,
		goopenai.ErrReasoningModelLimitationsOther, goopenai.ErrReasoningSamplingUnsupported,
		goopenai.ErrReasoningEffortUnsupported,
	} {
		if errors.Is(err, refused) {
			return &core.Error{Code: core.CodeInvalid, Message: b.transport.clean(err.Error()), Hint: "check --model and --opt api=chat or completions"}
		}
	}
	var op net.Error
	if errors.As(err, &op) {
		return b.transport.failure(context.Background(), err, true)
	}
	return &core.Error{Code: core.CodeBadAnswer, Message: "the server's answer cannot be read: " + b.transport.excerpt([]byte(err.Error()))}
}
