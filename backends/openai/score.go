package openai

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"unicode/utf8"

	goopenai "github.com/sashabaranov/go-openai"

	"github.com/evalrun/evalrun/backends/internal/tokens"
	"github.com/evalrun/evalrun/core"
	"github.com/evalrun/evalrun/core/cl100k"
)

// score asks for the likelihood of each continuation: the service echoes prompt
// and continuation with the log-probability of every token, and generates
// nothing. The continuation's tokens are those that end behind the prompt: one
// that spans the border counts whole.
func (b *backend) score(ctx context.Context, m *model, r *core.Request, estimate func()) (core.Response, error) {
	var resp core.Response
	if r.Overflow == core.OverflowWindows {
		return resp, &core.Error{Code: core.CodeInvalid, Message: "the likelihood of a whole text cannot be had from a service: an echo gives none to its first token, and nothing of a text longer than the context",
			Hint: "the local backend scores whole texts in windows"}
	}
	for i, continuation := range r.Continuations {
		text := r.Prompt + continuation
		c := &call{patch: []member{{"temperature", 0}}}
		if b.scoreTokens == 0 {
			c.patch = append(c.patch, member{"max_tokens", 0})
		}
		got, err := b.client.CreateCompletion(context.WithValue(ctx, callKey{}, c), goopenai.CompletionRequest{
			Model: m.name, Prompt: text, Echo: true, LogProbs: 1, MaxTokens: b.scoreTokens,
		})
		if err != nil {
			return resp, b.unreadable(err, c)
		}
		if len(got.Choices) == 0 {
			return resp, b.noChoice(c.raw)
		}
		l, err := likelihood(c.raw, utf8.RuneCountInString(r.Prompt), utf8.RuneCountInString(text))
		if err != nil {
			if r.Prompt == "" {
				return resp, &core.Error{Code: core.CodeInvalid, Message: fmt.Sprintf("the service does not score without a prompt: continuation %d: %v", i, err),
					Hint: "an echo often gives its first token no likelihood; acc_mutual_info needs it, and the local backend gives it"}
			}
			return resp, &core.Error{
				Code:    core.CodeInvalid,
				Message: fmt.Sprintf("the service does not score: continuation %d: %v", i, err),
				Hint:    "it must answer completions with echo and logprobs; the local backend does score",
			}
		}
		resp.Scores = append(resp.Scores, l)
		u := usageOf(got.Usage)
		if u == (core.Usage{}) {
			estimate()
			u.Prompt = tokens.Of(text)
		}
		resp.Usage.Prompt += u.Prompt
		resp.Usage.Completion += u.Completion
		resp.Usage.Shared += u.Shared
	}
	return resp, nil
}

// likelihood reads the echo. border and end count code points, as text_offset
// does. Tokens behind end were generated and do not count.
func likelihood(raw []byte, border, end int) (core.Likelihood, error) {
	var l core.Likelihood
	var body struct {
		Choices []struct {
			Logprobs *struct {
				Tokens  []string             `json:"tokens"`
				Logprob []*float64           `json:"token_logprobs"`
				Top     []map[string]float64 `json:"top_logprobs"`
				Offset  []int                `json:"text_offset"`
			} `json:"logprobs"`
		} `json:"choices"`
	}
	if err := json.Unmarshal(raw, &body); err != nil {
		return l, fmt.Errorf("its logprobs cannot be read: %w", err)
	}
	if len(body.Choices) == 0 || body.Choices[0].Logprobs == nil {
		return l, fmt.Errorf("it sends no logprobs")
	}
	p := body.Choices[0].Logprobs
	n := len(p.Logprob)
	if len(p.Offset) != n || len(p.Tokens) != n {
		return l, fmt.Errorf("it sends %d logprobs, %d tokens and %d offsets", n, len(p.Tokens), len(p.Offset))
	}
	first := 0
	if n > 0 {
		first = p.Offset[0] // some servers count from the prompt's beginning, some from a BOS token
	}
	if first > border {
		return l, fmt.Errorf("it does not echo the prompt")
	}
	covered := false
	l.Greedy = true
	for i := range n {
		until := end
		if i+1 < n {
			until = p.Offset[i+1]
		}
		covered = covered || until >= end
		if until <= border || p.Offset[i] >= end {
			continue
		}
		if p.Logprob[i] == nil {
			return l, fmt.Errorf("it gives no likelihood to token %d", i)
		}
		v := *p.Logprob[i]
		if math.IsNaN(v) || v > 1e-6 {
			return l, fmt.Errorf("%v is no log-probability", v)
		}
		l.LogProb += v
		l.Tokens++
		if i < len(p.Top) {
			for token, t := range p.Top[i] {
				if t > v && token != p.Tokens[i] {
					l.Greedy = false
				}
			}
		} else {
			l.Greedy = false
		}
	}
	if l.Tokens == 0 || !covered {
		return l, fmt.Errorf("it does not echo the continuation")
	}
	return l, nil
}

func (b *backend) embed(ctx context.Context, m *model, r *core.Request, estimate func()) (core.Response, error) {
	c := &call{}
	got, err := b.client.CreateEmbeddings(context.WithValue(ctx, callKey{}, c), goopenai.EmbeddingRequest{
		Input: r.Prompt, Model: goopenai.EmbeddingModel(m.name),
	})
	if err != nil {
		return core.Response{}, b.unreadable(err, c)
	}
	if len(got.Data) == 0 || len(got.Data[0].Embedding) == 0 {
		return core.Response{}, b.transport.badAnswer("it has no embedding", "", c.raw)
	}
	resp := core.Response{Embedding: got.Data[0].Embedding, Usage: usageOf(&got.Usage)}
	if resp.Usage == (core.Usage{}) {
		estimate()
		resp.Usage.Prompt = cl100k.Count(r.Prompt)
	}
	return resp, nil
}
