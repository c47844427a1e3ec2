// Command evalrun-backend-hello is the smallest useful evalrun backend: it
// greets whoever the prompt names. Built into a folder of PATH, it is used with
//
//	evalrun TASK --backend hello
package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/evalrun/evalrun/core"
	"github.com/evalrun/evalrun/plugins"
)

const version = "0.1.0"

func main() { plugins.ServeBackend("hello", version, newBackend) }

// newBackend reads the settings: --model is the greeting.
func newBackend(cfg core.Config) (core.Backend, error) {
	greeting := cfg.Model
	if greeting == "" {
		greeting = "hello"
	}
	if len(cfg.Adapters) > 0 {
		return nil, &core.UserError{
			Where:   "--adapter",
			Message: "the backend hello has no adapters",
			Hint:    "leave --adapter out",
		}
	}
	info := core.Info{
		Name:          "hello",
		Version:       version,
		Model:         greeting,
		Kinds:         []core.Kind{core.Generate},
		Forms:         []core.Form{core.FormCompletion, core.FormChat},
		Deterministic: true,
		Device:        "none",
		Notes:         []string{"hello is an example: it greets and knows nothing"},
	}
	return plugins.Simple(info, func(ctx context.Context, r core.Request, delta func(string)) (core.Response, error) {
		input := r.Prompt
		if r.Messages != nil {
			input = r.Messages[len(r.Messages)-1].Content
		}
		words := strings.Fields(strings.ToValidUTF8(greeting+", "+input, "\uFFFD"))
		response := core.Response{Finish: core.FinishStop, Usage: core.Usage{Prompt: len(words) - 1}}
		for i, word := range words {
			if limit := r.Generation.MaxTokens; limit > 0 && i == limit {
				response.Finish = core.FinishLength
				break
			}
			if err := ctx.Err(); err != nil {
				return response, fmt.Errorf("greeting: %w", err)
			}
			if i > 0 {
				word = " " + word
			}
			delta(word)
			response.Text += word
			response.Usage.Completion++
		}
		return response, nil
	}), nil
}
