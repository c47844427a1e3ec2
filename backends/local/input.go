package local

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/evalrun/evalrun/backends/local/arch"
	"github.com/evalrun/evalrun/backends/local/chat"
	"github.com/evalrun/evalrun/backends/local/demo"
	"github.com/evalrun/evalrun/backends/local/engine"
	"github.com/evalrun/evalrun/backends/local/tokenizer"
	"github.com/evalrun/evalrun/core"
	"github.com/evalrun/evalrun/internal/jinja"
)

// inputs make of a request the text that the engine encodes: a prompt as it
// is, messages by the model's own chat template, one BOS exactly.
type inputs struct {
	writer *chat.Writer // nil where the model has no tokenizer
	broken error        // why the model's chat template cannot be used
	warn   sync.Once
}

// newInputs reads the chat template of the model at path. A template that
// cannot be read is told to those who send messages.
func newInputs(path string, tok chat.Encoder) *inputs {
	in := &inputs{}
	if tok == nil {
		return in
	}
	t, err := chat.Load(path)
	if err != nil && !errors.Is(err, chat.ErrNone) {
		in.broken = err
	}
	in.writer = chat.NewWriter(tok, t)
	return in
}

// chats tells whether the model takes messages.
func (in *inputs) chats() bool { return in.writer != nil && in.writer.Template != nil }

// of is the input of a request.
func (in *inputs) of(r core.Request) (chat.Input, error) {
	clean := func(s string) string { return strings.ToValidUTF8(s, "\uFFFD") }
	invalid := func(message, hint string) error {
		return &core.Error{Code: core.CodeInvalid, Message: message, Hint: hint}
	}
	if r.Messages == nil {
		if in.writer == nil {
			return chat.Input{Text: clean(r.Prompt), Literal: true}, nil
		}
		return in.noted(in.writer.Prompt(clean(r.Prompt)), "the prompt begins with"), nil
	}
	switch {
	case len(r.Messages) == 0:
		return chat.Input{}, invalid("the list of messages is empty", "")
	case in.writer == nil:
		return chat.Input{}, invalid("the model has no tokenizer", "put tokenizer.json or tokenizer.model beside its weights")
	case in.broken != nil:
		return chat.Input{}, invalid("the model's chat template: "+in.broken.Error(), "repair it, or send a prompt")
	}
	turns := make([]chat.Turn, len(r.Messages))
	for i, m := range r.Messages {
		turns[i] = chat.Turn{Role: clean(m.Role), Content: clean(m.Content)}
	}
	out, err := in.writer.Chat(turns)
	var refused *jinja.Error
	switch {
	case errors.Is(err, chat.ErrNone):
		return out, invalid(err.Error(), "put chat_template.jinja beside its weights, or send a prompt")
	case errors.As(err, &refused):
		return out, invalid("the model's chat template refuses: "+refused.Message, "other roles or another order of messages may do")
	case err != nil:
		return out, err
	}
	return in.noted(out, "the chat template writes"), nil
}

// noted warns, once a model, of a beginning token that stood twice.
func (in *inputs) noted(out chat.Input, who string) chat.Input {
	if out.Doubled {
		in.warn.Do(func() {
			slog.Warn(who + " the token that the tokenizer puts before a text, too: one of them is left out")
		})
	}
	return out
}

// A Preview is a request as the model gets it.
type Preview struct {
	Text      string // as rendered, before tokens around it are added
	IDs       []int32
	Truncated int // tokens dropped at the front
	Context   int // 0 where the model's is not known
}

// A Previewer shows what requests become, without the model's weights.
type Previewer struct {
	*inputs
	tok      *tokenizer.Tokenizer
	settings settings
	context  int
}

// NewPreviewer reads the tokenizer, the chat template and the context length of
// a model, as New with the same configuration would.
func NewPreviewer(c core.Config) (*Previewer, error) {
	o, err := settingsOf(c)
	if err != nil {
		return nil, err
	}
	path := c.Model
	if path == "" {
		if path, err = demo.File(); err != nil {
			return nil, fmt.Errorf("unpack the demonstration model: %w", err)
		}
	}
	tok, err := tokenizer.Load(path)
	if err != nil {
		return nil, &core.UserError{Where: "--model " + path, Message: "no tokenizer can be read", Hint: "give a model's folder or a file of its tokenizer", Err: err}
	}
	p := &Previewer{inputs: newInputs(path, tok), tok: tok, settings: o, context: o.Context}
	if p.context == 0 {
		if p.context, err = contextOf(path); err != nil {
			return nil, &core.UserError{Where: "--model " + path, Message: "the context length cannot be read", Hint: "give --opt context=N", Err: err}
		}
	}
	return p, nil
}

// contextOf is a model's context length; 0 where only its tokenizer is there.
func contextOf(path string) (int, error) {
	st, err := os.Stat(path)
	if err != nil {
		return 0, err
	}
	if strings.HasSuffix(path, ".gguf") {
		c, file, err := arch.Open(path)
		if err != nil {
			return 0, nil // a vocabulary without a model
		}
		return c.Context, file.Close()
	}
	if !st.IsDir() {
		path = filepath.Dir(path)
	}
	text, err := os.ReadFile(filepath.Join(path, "config.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	c, err := arch.ParseHF(text)
	if err != nil {
		return 0, nil // an architecture that the engine does not run
	}
	return c.Context, nil
}

// Form is the form of input that the settings prefer.
func (p *Previewer) Form() (core.Form, error) { return p.settings.preferred(p.inputs) }

// Preview shows what a request becomes.
func (p *Previewer) Preview(r core.Request) (Preview, error) {
	in, err := p.of(r)
	if err != nil {
		return Preview{}, err
	}
	ids, err := in.Encode(p.tok)
	if err != nil {
		return Preview{}, err
	}
	out := Preview{Text: in.Text, IDs: ids, Context: p.context}
	if p.context == 0 {
		return out, nil
	}
	room := engine.RoomFor(r.Generation.MaxTokens, p.context)
	if r.Overflow != core.OverflowKeepTail || p.settings.refuseLong {
		if len(ids) >= p.context {
			return out, &core.Error{Code: core.CodeContextLength, Message: fmt.Sprintf("a prompt of %d tokens in a context of %d", len(ids), p.context)}
		}
		return out, nil
	}
	bos, ok := p.tok.BOS()
	if !ok {
		bos = -1
	}
	out.IDs, out.Truncated = engine.CutToTail(ids, p.context-room, bos)
	return out, nil
}
