package openai

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"math"
	"strings"

	goopenai "github.com/sashabaranov/go-openai"

	"github.com/evalrun/evalrun/backends/internal/tokens"
	"github.com/evalrun/evalrun/core"
	"github.com/evalrun/evalrun/core/cl100k"
)

// maxStops is the number of stop texts that OpenAI takes; the others are
// applied here.
const maxStops = 4

// sampling gives the parameters of a request. What the library has no field
// for, or leaves out when it is zero, goes into the patch.
func (b *backend) sampling(m *model, r *core.Request, c *call) (temperature, topP, frequency, presence float32, seed *int, stop []string) {
	g := &r.Generation
	if m.fixed {
		return 0, 0, 0, 0, nil, nil
	}
	if temperature = float32(g.Temperature); temperature == 0 {
		c.patch = append(c.patch, member{"temperature", 0})
	}
	if g.TopP != 0 {
		topP = float32(g.TopP)
	}
	frequency, presence = float32(g.FrequencyPenalty), float32(g.PresencePenalty)
	if g.Seed != 0 {
		// Repeats are independent answers: with one seed they would be one.
		n := int((g.Seed + uint64(r.Repeat)) & math.MaxInt64)
		seed = &n
	}
	if stop = g.Stop; len(stop) > maxStops {
		stop = stop[:maxStops]
	}
	if g.TopK != 0 {
		c.patch = append(c.patch, member{"top_k", g.TopK})
	}
	if g.MinP != 0 {
		c.patch = append(c.patch, member{"min_p", g.MinP})
	}
	if g.RepetitionPenalty != 0 {
		c.patch = append(c.patch, member{"repetition_penalty", g.RepetitionPenalty})
	}
	return temperature, topP, frequency, presence, seed, stop
}

func (b *backend) generate(ctx context.Context, m *model, r *core.Request, delta func(string), estimate func()) (core.Response, error) {
	c := &call{stream: b.stream}
	ctx = context.WithValue(ctx, callKey{}, c)
	a := answer{stops: r.Generation.Stop, delta: func(string) {}}
	if b.stream {
		a.delta = delta
	}
	var err error
	if m.chat {
		err = b.chat(ctx, m, r, c, &a)
	} else {
		err = b.completion(ctx, m, r, c, &a)
	}
	if err != nil {
		if withheld(err) {
			return core.Response{Finish: core.FinishFilter, Usage: core.Usage{Prompt: tokens.Prompt(r)}}, nil
		}
		return core.Response{}, err
	}
	a.end()
	resp := core.Response{Text: a.text.String(), Finish: a.finish, Usage: a.usage}
	if r.Logprobs {
		resp.Logprobs = a.logprobs
	}
	if resp.Usage.Prompt == 0 && resp.Usage.Completion == 0 {
		estimate()
		resp.Usage.Prompt = tokens.Prompt(r)
		resp.Usage.Completion = cl100k.Count(resp.Text)
	}
	return resp, nil
}

// withheld tells whether the service refused the input for its content.
func withheld(err error) bool {
	var e *core.Error
	return errors.As(err, &e) && e.Code == core.CodeInvalid && strings.Contains(e.Message, "content management policy")
}

// answer gathers the pieces of one answer.
type answer struct {
	stops    []string
	delta    func(string)
	text     strings.Builder
	told     int // bytes of text that were handed on
	stopped  bool
	finish   core.FinishReason
	usage    core.Usage
	logprobs []float64
}

// add takes a piece. The text ends before the first stop text, also where the
// service does not end it there; a piece that may be the beginning of one is
// held back.
func (a *answer) add(piece string) {
	if a.stopped || piece == "" {
		return
	}
	a.text.WriteString(piece)
	s := a.text.String()
	from := a.told
	held := 0
	for _, stop := range a.stops {
		if i := strings.Index(s[from:], stop); i >= 0 {
			s = s[:from+i]
			a.stopped = true
		}
	}
	if a.stopped {
		a.text.Reset()
		a.text.WriteString(s)
	} else {
		for _, stop := range a.stops {
			for n := min(len(stop)-1, len(s)-from); n > held; n-- {
				if strings.HasSuffix(s, stop[:n]) {
					held = n
				}
			}
		}
	}
	if end := len(s) - held; end > a.told {
		a.delta(s[a.told:end])
		a.told = end
	}
}

// end hands on what was held back.
func (a *answer) end() {
	if s := a.text.String(); len(s) > a.told {
		a.delta(s[a.told:])
		a.told = len(s)
	}
	if a.stopped {
		a.finish = core.FinishStop
	}
}

// finishOf translates a reason; one that no text answer has is an error.
func (b *backend) finishOf(reason, text string, raw []byte) (core.FinishReason, error) {
	switch reason {
	case "stop", "eos", "eos_token", "stop_sequence", "end_turn":
		return core.FinishStop, nil
	case "length", "max_tokens":
		return core.FinishLength, nil
	case "content_filter":
		return core.FinishFilter, nil
	case "", "null":
		// Some servers give none; a text they ended is taken for whole.
		if text != "" {
			return core.FinishStop, nil
		}
		return "", b.transport.badAnswer("it holds neither a text nor a reason to end", "", raw)
	}
	return "", b.transport.badAnswer("it ended for the reason "+b.transport.excerpt([]byte(reason)), "", raw)
}

func (b *backend) chat(ctx context.Context, m *model, r *core.Request, c *call, a *answer) error {
	req := goopenai.ChatCompletionRequest{Model: m.name, LogProbs: r.Logprobs, ReasoningEffort: b.effort}
	messages := r.Messages
	if messages == nil {
		messages = []core.Message{{Role: goopenai.ChatMessageRoleUser, Content: r.Prompt}}
	}
	for _, msg := range messages {
		c.empties = c.empties || msg.Content == ""
		req.Messages = append(req.Messages, goopenai.ChatCompletionMessage{Role: msg.Role, Content: msg.Content})
	}
	if m.fixed {
		req.MaxCompletionTokens = r.Generation.MaxTokens
	} else {
		req.MaxTokens = r.Generation.MaxTokens
	}
	req.Temperature, req.TopP, req.FrequencyPenalty, req.PresencePenalty, req.Seed, req.Stop = b.sampling(m, r, c)
	if b.stream {
		req.StreamOptions = &goopenai.StreamOptions{IncludeUsage: true}
		return b.chatStream(ctx, req, c, a)
	}
	resp, err := b.client.CreateChatCompletion(ctx, req)
	if err != nil {
		return b.unreadable(err, c)
	}
	if len(resp.Choices) == 0 {
		return b.noChoice(c.raw)
	}
	choice := &resp.Choices[0]
	text := choice.Message.Content
	if text == "" {
		if text, err = b.emptyContent(c.raw, string(choice.FinishReason)); err != nil {
			return err
		}
	}
	a.add(text)
	a.usage = usageOf(&resp.Usage)
	if choice.LogProbs != nil {
		for _, t := range choice.LogProbs.Content {
			a.logprobs = append(a.logprobs, t.LogProb)
		}
	}
	a.finish, err = b.finishOf(string(choice.FinishReason), text, c.raw)
	return err
}

// emptyContent tells an answer of no text, which is one, from a content that is
// missing, which is none. A refusal in words is an answer.
func (b *backend) emptyContent(raw []byte, reason string) (string, error) {
	var body struct {
		Choices []struct {
			Message struct {
				Content *string `json:"content"`
				Refusal string  `json:"refusal"`
			} `json:"message"`
		} `json:"choices"`
	}
	if err := json.Unmarshal(raw, &body); err != nil || len(body.Choices) == 0 {
		return "", b.transport.badAnswer("its content cannot be read", "", raw)
	}
	m := body.Choices[0].Message
	switch {
	case m.Refusal != "":
		return m.Refusal, nil
	case m.Content != nil, reason == "length", reason == "content_filter":
		return "", nil
	}
	return "", b.transport.badAnswer("its content is missing", "", raw)
}

func (b *backend) completion(ctx context.Context, m *model, r *core.Request, c *call, a *answer) error {
	req := goopenai.CompletionRequest{Model: m.name, Prompt: r.Prompt, MaxTokens: r.Generation.MaxTokens}
	if r.Logprobs {
		req.LogProbs = 1
	}
	req.Temperature, req.TopP, req.FrequencyPenalty, req.PresencePenalty, req.Seed, req.Stop = b.sampling(m, r, c)
	if b.stream {
		req.StreamOptions = &goopenai.StreamOptions{IncludeUsage: true}
		return b.completionStream(ctx, req, c, a)
	}
	resp, err := b.client.CreateCompletion(ctx, req)
	if err != nil {
		return b.unreadable(err, c)
	}
	if len(resp.Choices) == 0 {
		return b.noChoice(c.raw)
	}
	choice := &resp.Choices[0]
	a.add(choice.Text)
	a.usage = usageOf(resp.Usage)
	for _, p := range choice.LogProbs.TokenLogprobs {
		a.logprobs = append(a.logprobs, float64(p))
	}
	a.finish, err = b.finishOf(choice.FinishReason, choice.Text, c.raw)
	return err
}

// noChoice makes the error of a JSON object that holds no answer: what it says
// went wrong, if it does.
func (b *backend) noChoice(raw []byte) error {
	var body struct {
		Error json.RawMessage `json:"error"`
	}
	if json.Unmarshal(raw, &body) == nil && len(body.Error) > 0 && string(body.Error) != "null" {
		said, _ := b.transport.said(raw)
		return &core.Error{Code: core.CodeBadAnswer, Message: "the server sent an error as its answer: " + said}
	}
	return b.transport.badAnswer("it has no choices", "", raw)
}

// unreadable keeps the transport's errors, and says of others how the body
// began that the library could not read.
func (b *backend) unreadable(err error, c *call) error {
	var e *core.Error
	var syntax *json.SyntaxError
	var kind *json.UnmarshalTypeError
	switch {
	case errors.As(err, &e):
		return err
	case errors.As(err, &kind):
		return b.transport.badAnswer("its member "+b.transport.excerpt([]byte(kind.Field))+" is a "+kind.Value, "", c.raw)
	case errors.As(err, &syntax), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
		return b.transport.badAnswer("it is broken JSON", "", c.raw)
	}
	return err
}

func usageOf(u *goopenai.Usage) core.Usage {
	if u == nil {
		return core.Usage{}
	}
	out := core.Usage{Prompt: max(u.PromptTokens, 0), Completion: max(u.CompletionTokens, 0)}
	if d := u.PromptTokensDetails; d != nil {
		out.Shared = min(max(d.CachedTokens, 0), out.Prompt)
	}
	return out
}
