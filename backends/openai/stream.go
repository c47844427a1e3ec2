package openai

import (
	"context"
	"errors"
	"io"

	goopenai "github.com/sashabaranov/go-openai"

	"github.com/evalrun/evalrun/core"
)

// A stream is whole when it gave a reason to end or its last mark; the library
// reports the end of the connection just the same, so both are looked for here.

// A chunk is what one event of a stream brings.
type chunk struct {
	usage    *goopenai.Usage
	texts    []string
	logprobs []float64
	reason   string
}

func (b *backend) chatStream(ctx context.Context, req goopenai.ChatCompletionRequest, c *call, a *answer) error {
	stream, err := b.client.CreateChatCompletionStream(ctx, req)
	if err != nil {
		return b.unreadable(err, c)
	}
	defer stream.Close()
	return b.readStream(ctx, c, a, func() (chunk, error) {
		got, err := stream.Recv()
		out := chunk{usage: got.Usage}
		if len(got.Choices) == 0 { // the chunk that carries the counts
			return out, err
		}
		choice := &got.Choices[0]
		out.texts, out.reason = []string{choice.Delta.Content, choice.Delta.Refusal}, string(choice.FinishReason)
		if choice.Logprobs != nil {
			for _, t := range choice.Logprobs.Content {
				out.logprobs = append(out.logprobs, t.Logprob)
			}
		}
		return out, err
	})
}

func (b *backend) completionStream(ctx context.Context, req goopenai.CompletionRequest, c *call, a *answer) error {
	stream, err := b.client.CreateCompletionStream(ctx, req)
	if err != nil {
		return b.unreadable(err, c)
	}
	defer stream.Close()
	return b.readStream(ctx, c, a, func() (chunk, error) {
		got, err := stream.Recv()
		out := chunk{usage: got.Usage}
		if len(got.Choices) == 0 {
			return out, err
		}
		choice := &got.Choices[0]
		out.texts, out.reason = []string{choice.Text}, choice.FinishReason
		for _, p := range choice.LogProbs.TokenLogprobs {
			out.logprobs = append(out.logprobs, float64(p))
		}
		return out, err
	})
}

// readStream adds a stream's chunks to the answer until there are no more.
func (b *backend) readStream(ctx context.Context, c *call, a *answer, next func() (chunk, error)) error {
	reason := ""
	for {
		got, err := next()
		if err != nil {
			return b.streamEnd(ctx, err, reason, c, a)
		}
		if got.usage != nil {
			a.usage = usageOf(got.usage)
		}
		for _, text := range got.texts {
			a.add(text)
		}
		a.logprobs = append(a.logprobs, got.logprobs...)
		if got.reason != "" {
			reason = got.reason
		}
	}
}

// streamEnd judges how a stream ended.
func (b *backend) streamEnd(ctx context.Context, err error, reason string, c *call, a *answer) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	whole := reason != "" || c.body != nil && c.body.done()
	var api *goopenai.APIError
	switch {
	case errors.Is(err, io.EOF) && whole:
		finish, err := b.finishOf(reason, a.text.String(), nil)
		a.finish = finish
		return err
	case errors.As(err, &api):
		return &core.Error{Code: core.CodeBadAnswer, Message: "the server broke the answer off: " + b.transport.excerpt([]byte(api.Message))}
	case errors.Is(err, io.EOF):
		return &core.Error{Code: core.CodeCut, Message: "the stream ended before the answer did"}
	}
	if c.body != nil && c.body.err != nil && !errors.Is(c.body.err, io.EOF) {
		return b.transport.failure(ctx, c.body.err, true)
	}
	return b.unreadable(err, c)
}
