package debug

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/evalrun/evalrun/backends/local/chat"
	"github.com/evalrun/evalrun/core"
	"github.com/evalrun/evalrun/internal/jinja"
)

func newChat() *cobra.Command {
	var file, model string
	cmd := &cobra.Command{
		Use:   "chat --template FILE | --model DIR",
		Short: "conversations as a chat template writes them",
		Long: "Chat renders {\"messages\"} through a template as transformers does, and gives {\"text\"}, or {\"error\"}\n" +
			"with the words of raise_exception or of Jinja and {\"exception\"} with their type. Each further key of a\n" +
			"line is a variable of the template; with --model the special tokens are the model's unless a line has them.",
		Example: `  echo '{"messages":[{"role":"user","content":"Hi"}],"add_generation_prompt":true}' | evalrun debug chat --model DIR`,
		Args:    cobra.NoArgs,
	}
	in := inFlag(cmd)
	cmd.Flags().StringVar(&file, "template", "", "file with a Jinja template")
	cmd.Flags().StringVar(&model, "model", "", "folder or GGUF file of a model, whose template is taken")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		t, err := chatTemplate(file, model)
		if err != nil {
			return err
		}
		return eachLine(cmd, *in, func(line json.RawMessage) (any, error) { return renderChat(t, line, model != "") })
	}
	return cmd
}

// chatTemplate reads the template that the flags name.
func chatTemplate(file, model string) (*chat.Template, error) {
	switch {
	case file != "" && model != "":
		return nil, &core.UserError{Where: "--template", Message: "a template and a model are given", Hint: "give one of --template FILE and --model DIR"}
	case file != "":
		source, err := os.ReadFile(file)
		if err != nil {
			return nil, &core.UserError{Where: "--template " + file, Message: "cannot be read", Hint: "name a file that holds a Jinja template", Err: err}
		}
		t, err := chat.New(string(source))
		if err != nil {
			return nil, &core.UserError{Where: "--template " + file, Message: "no template", Hint: "the template must be one that Jinja2 takes", Err: err}
		}
		return t, nil
	case model != "":
		t, err := chat.Load(model)
		if err != nil {
			return nil, &core.UserError{Where: "--model " + model, Message: "no chat template can be read", Hint: "give a folder with chat_template.jinja or tokenizer_config.json, a GGUF file, or --template FILE", Err: err}
		}
		return t, nil
	}
	return nil, &core.UserError{Where: "debug chat", Message: "no template is given", Hint: "write --template FILE or --model DIR"}
}

// renderChat answers one line. A model's template is given tools and documents as
// the engine gives them, none where the line has none.
func renderChat(t *chat.Template, line json.RawMessage, ofModel bool) (any, error) {
	v, err := jinja.DecodeJSON(line)
	if err != nil {
		return nil, err
	}
	fields, ok := v.(jinja.Dict)
	if !ok {
		return nil, errors.New(`a line is an object with "messages"`)
	}
	c := chat.Conversation{Variables: map[string]any{}}
	if ofModel {
		c.Variables["tools"], c.Variables["documents"] = nil, nil
	}
	for _, p := range fields {
		switch name := p.Key.(string); name {
		case "messages":
			if c.Messages, ok = p.Value.([]any); !ok {
				return nil, errors.New(`"messages" is no list`)
			}
		case "add_generation_prompt":
			if c.AddGenerationPrompt, ok = p.Value.(bool); !ok {
				return nil, errors.New(`"add_generation_prompt" is neither true nor false`)
			}
		default:
			c.Variables[name] = p.Value
		}
	}
	if c.Messages == nil {
		return nil, errors.New(`"messages" is missing`)
	}
	text, err := t.Render(c)
	var refused *jinja.Error
	if errors.As(err, &refused) {
		return map[string]any{"error": refused.Message, "exception": refused.Type, "line": refused.Line}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("render: %w", err)
	}
	return map[string]any{"text": text}, nil
}
