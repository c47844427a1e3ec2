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

func (b *backend) chatStream(ctx context.Context, req goopenai.ChatCompletionRequest, c *call, a *answer) error {
	stream, err := b.client.CreateChatCompletionStream(ctx, req)
	if err != nil {
		return b.unreadable(err, c)
	}
	defer stream.Close()
	reason := ""
	for {
		chunk, err := stream.Recv()
		if err != nil {
			return b.streamEnd(ctx, err, reason, c, a)
		}
		if chunk.Usage != nil {
			a.usage = usageOf(chunk.Usage)
		}
		if len(chunk.Choices) == 0 { // the chunk that carries the counts
			continue
		}
		choice := &chunk.Choices[0]
		a.add(choice.Delta.Content)
		a.add(choice.Delta.Refusal)
		if choice.Logprobs != nil {
			for _, t := range choice.Logprobs.Content {
				a.logprobs = append(a.logprobs, t.Logprob)
			}
		}
		if choice.FinishReason != "" {
			reason = string(choice.FinishReason)
		}
	}
}

func (b *backend) completionStream(ctx context.Context, req goopenai.CompletionRequest, c *call, a *answer) error {
	stream, err := b.client.CreateCompletionStream(ctx, req)
	if err != nil {
		return b.unreadable(err, c)
	}
	defer stream.Close()
	reason := ""
	for {
		chunk, err := stream.Recv()
		if err != nil {
			return b.streamEnd(ctx, err, reason, c, a)
		}
		if chunk.Usage != nil {
			a.usage = usageOf(chunk.Usage)
		}
		if len(chunk.Choices) == 0 {
			continue
		}
		choice := &chunk.Choices[0]
		a.add(choice.Text)
		for _, p := range choice.LogProbs.TokenLogprobs {
			a.logprobs = append(a.logprobs, float64(p))
		}
		if choice.FinishReason != "" {
			reason = choice.FinishReason
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
