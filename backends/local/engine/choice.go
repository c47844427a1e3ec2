package engine

import (
	"slices"

	"github.com/evalrun/evalrun/backends/local/sample"
)

// choices makes the trie of a request's possible answers behind its prompt; nil
// where everything is possible.
func (e *Engine) choices(r Request, prompt []int32) (*sample.Choices, error) {
	answers := r.ChoiceTokens
	if answers == nil && r.Choices == nil {
		return nil, nil
	}
	if answers == nil {
		if e.tok == nil {
			return nil, invalid("the model has no tokenizer: give choices as token ids")
		}
		for _, c := range r.Choices {
			if c == "" {
				return nil, invalid("a choice is empty")
			}
			for _, form := range []string{c, " " + c} {
				ids, err := e.behind(r, prompt, form)
				if err != nil {
					return nil, invalid("choice %q: %v", c, err)
				}
				answers = append(answers, ids)
			}
		}
	}
	for _, a := range answers {
		if err := e.checkIDs(a); err != nil {
			return nil, err
		}
		if len(a) == 0 {
			return nil, invalid("a choice has no tokens")
		}
	}
	if len(answers) == 0 {
		return nil, invalid("no choices")
	}
	return sample.NewChoices(answers), nil
}

// behind gives the tokens by which a text goes on behind the prompt: as in
// running text, where the prompt's own tokens stay what they are, and else as
// the tokenizer spells the text alone.
func (e *Engine) behind(r Request, prompt []int32, text string) ([]int32, error) {
	if r.Tokens == nil {
		whole, err := e.tok.Encode(r.Prompt+text, !r.Bare, r.Literal)
		if err != nil {
			return nil, err
		}
		if len(whole) > len(prompt) && slices.Equal(whole[:len(prompt)], prompt) {
			return whole[len(prompt):], nil
		}
	}
	return e.tok.Encode(text, false, true)
}
