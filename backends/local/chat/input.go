package chat

import (
	"strings"

	"github.com/evalrun/evalrun/internal/jinja"
)

// Encoder is what is needed of a tokenizer.
type Encoder interface {
	// Encode gives the ids of text, with the tokens that the model wants around
	// it if addSpecial is set. With literal, names of special tokens are text.
	Encode(text string, addSpecial, literal bool) ([]int32, error)
	// BOS is the token that begins a text, false where there is none.
	BOS() (int32, bool)
	// Token is the vocabulary's own writing of an id.
	Token(id int32) (string, bool)
}

// Input is a request's text as it is encoded.
type Input struct {
	Text string
	// Bare tells that the tokenizer adds no tokens of its own, Literal that the
	// names of special tokens are plain text.
	Bare, Literal bool
	// Doubled tells that BOS stood twice: written out, and added again. One was
	// taken away.
	Doubled bool
}

// Encode gives the ids.
func (in Input) Encode(tok Encoder) ([]int32, error) {
	return tok.Encode(in.Text, !in.Bare, in.Literal)
}

// A Writer makes inputs for one model, each with one BOS exactly where the
// model's tokenizer begins a text with it.
type Writer struct {
	Template *Template // nil where the model has none
	bos      string    // its text; "" where the tokenizer adds none
}

// NewWriter makes a Writer; t may be nil.
func NewWriter(tok Encoder, t *Template) *Writer {
	w := &Writer{Template: t}
	id, ok := tok.BOS()
	if !ok {
		return w
	}
	if around, err := tok.Encode("", true, true); err != nil || len(around) == 0 || around[0] != id {
		return w
	}
	w.bos, _ = tok.Token(id)
	return w
}

// Prompt is a text that stands for itself: the name of a special token in it is
// text, for a row is data. Only a BOS written at its very beginning is meant as
// one, and not doubled.
func (w *Writer) Prompt(text string) Input {
	in := Input{Text: text, Literal: true}
	for w.bos != "" && strings.HasPrefix(in.Text, w.bos) {
		in.Text, in.Doubled = in.Text[len(w.bos):], true
	}
	return in
}

// Turn is one message of a chat.
type Turn struct{ Role, Content string }

// Chat writes turns and the beginning of the answer by the model's template,
// whose special tokens count as such. The error is ErrNone without a template,
// or a *jinja.Error where the template refuses.
func (w *Writer) Chat(turns []Turn) (Input, error) { return w.write(turns, true) }

// Whole writes turns alone, as Chat does, without the beginning of an answer.
func (w *Writer) Whole(turns []Turn) (Input, error) { return w.write(turns, false) }

func (w *Writer) write(turns []Turn, answer bool) (Input, error) {
	if w.Template == nil {
		return Input{}, ErrNone
	}
	messages := make([]any, len(turns))
	for i, t := range turns {
		messages[i] = jinja.Dict{{Key: "role", Value: t.Role}, {Key: "content", Value: t.Content}}
	}
	// transformers gives tools and documents always: a template may ask whether
	// they are none without asking whether they are defined.
	text, err := w.Template.Render(Conversation{Messages: messages, AddGenerationPrompt: answer, Variables: map[string]any{"tools": nil, "documents": nil}})
	if err != nil {
		return Input{}, err
	}
	in := Input{Text: text, Bare: true}
	if w.bos == "" {
		return in, nil
	}
	if !strings.HasPrefix(in.Text, w.bos) {
		in.Text = w.bos + in.Text
	}
	for strings.HasPrefix(in.Text[len(w.bos):], w.bos) {
		in.Text, in.Doubled = in.Text[len(w.bos):], true
	}
	return in, nil
}
