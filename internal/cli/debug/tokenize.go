package debug

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/evalrun/evalrun/backends/local/tokenizer"
	"github.com/evalrun/evalrun/core"
	"github.com/evalrun/evalrun/core/cl100k"
)

// cl100kName is the vocabulary that is part of the program.
const cl100kName = "cl100k_base"

// otherIDs is the hint for an id without a token.
const otherIDs = "give ids of this tokenizer; a model's embedding may have more rows than the tokenizer has tokens"

// vocabulary is what the two windows need of a tokenizer.
type vocabulary struct {
	encode func(text string, addSpecial, literal bool) ([]int32, error)
	decode func(ids []int32, keepSpecial bool) (string, error)
}

// openVocabulary loads the tokenizer that --model names.
func openVocabulary(model string) (*vocabulary, error) {
	switch model {
	case "":
		return nil, &core.UserError{Where: "--model", Message: "no tokenizer is named", Hint: "give a model folder, one file of it (tokenizer.json, tokenizer.model, a .gguf), or " + cl100kName}
	case cl100kName:
		return &vocabulary{
			encode: func(text string, _, literal bool) ([]int32, error) {
				ids := cl100k.Encode(text, literal)
				out := make([]int32, len(ids))
				for i, id := range ids {
					out[i] = int32(id)
				}
				return out, nil
			},
			decode: func(ids []int32, keepSpecial bool) (string, error) {
				in := make([]int, len(ids))
				for i, id := range ids {
					in[i] = int(id)
				}
				text, err := cl100k.Decode(in, keepSpecial)
				if err != nil {
					return "", &core.UserError{Message: err.Error(), Hint: "give ids of " + cl100kName}
				}
				return text, nil
			},
		}, nil
	}
	t, err := tokenizer.Load(model)
	if err != nil {
		return nil, &core.UserError{Where: "--model " + model, Message: "no tokenizer can be read", Hint: "give a model folder, one file of it (tokenizer.json, tokenizer.model, a .gguf), or " + cl100kName, Err: err}
	}
	return &vocabulary{
		encode: t.Encode,
		decode: func(ids []int32, keepSpecial bool) (string, error) {
			for _, id := range ids {
				if id < 0 || int(id) >= t.VocabSize() {
					return "", &core.UserError{Message: fmt.Sprintf("id %d is outside the vocabulary, whose ids are 0 to %d", id, t.VocabSize()-1), Hint: otherIDs}
				}
				if _, ok := t.Token(id); !ok {
					return "", &core.UserError{Message: fmt.Sprintf("id %d is free: no token of the vocabulary, whose ids are 0 to %d, has it", id, t.VocabSize()-1), Hint: otherIDs}
				}
			}
			return t.Decode(ids, keepSpecial), nil
		},
	}, nil
}

// modelFlag adds --model for a tokenizer.
func modelFlag(cmd *cobra.Command) *string {
	return cmd.Flags().String("model", "", "model folder, one file of it (tokenizer.json, *.model, *.model.v3, *.gguf), or "+cl100kName)
}

func newTokenize() *cobra.Command {
	var noSpecial, literal bool
	cmd := &cobra.Command{
		Use:   "tokenize --model M",
		Short: "the ids that a model's tokenizer makes of a text",
		Long: "Tokenize gives {\"ids\"} for {\"text\"}. The tokens that the model wants around a text (BOS, EOS) are added,\n" +
			"and the text of a special token inside the text becomes that token, unless the flags say otherwise.",
		Example: `  echo '{"text":"Hello"}' | evalrun debug tokenize --model cl100k_base`,
		Args:    cobra.NoArgs,
	}
	in, model := inFlag(cmd), modelFlag(cmd)
	cmd.Flags().BoolVar(&noSpecial, "no-special", false, "add no tokens around the text")
	cmd.Flags().BoolVar(&literal, "literal", false, "take the text of special tokens for plain text")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		v, err := openVocabulary(*model)
		if err != nil {
			return err
		}
		return eachLine(cmd, *in, func(l struct {
			Text *string `json:"text"`
		}) (any, error) {
			if l.Text == nil {
				return nil, errors.New(`"text" is missing`)
			}
			ids, err := v.encode(*l.Text, !noSpecial, literal)
			if err != nil {
				return nil, fmt.Errorf("encode: %w", err)
			}
			if ids == nil {
				ids = []int32{}
			}
			return map[string][]int32{"ids": ids}, nil
		})
	}
	return cmd
}

func newDetokenize() *cobra.Command {
	var keepSpecial bool
	cmd := &cobra.Command{
		Use:     "detokenize --model M",
		Short:   "the text that a model's tokenizer makes of ids",
		Long:    "Detokenize gives {\"text\"} for {\"ids\"}. Special tokens are left out unless --keep-special is given; bytes that\nmake no UTF-8 become U+FFFD. An id without a token is an error.",
		Example: `  echo '{"ids":[9906]}' | evalrun debug detokenize --model cl100k_base`,
		Args:    cobra.NoArgs,
	}
	in, model := inFlag(cmd), modelFlag(cmd)
	cmd.Flags().BoolVar(&keepSpecial, "keep-special", false, "write special tokens as their text")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		v, err := openVocabulary(*model)
		if err != nil {
			return err
		}
		return eachLine(cmd, *in, func(l struct {
			IDs *[]int32 `json:"ids"`
		}) (any, error) {
			if l.IDs == nil {
				return nil, errors.New(`"ids" is missing`)
			}
			text, err := v.decode(*l.IDs, keepSpecial)
			if err != nil {
				return nil, fmt.Errorf("decode: %w", err)
			}
			return map[string]string{"text": text}, nil
		})
	}
	return cmd
}
