// Package chat writes a conversation as the text that a model was trained on:
// its own chat template, rendered as transformers renders it.
//
// First call: Load.
package chat

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/evalrun/evalrun/backends/local/weights"
	"github.com/evalrun/evalrun/internal/jinja"
)

// ErrNone is the end of Load where the model brings no chat template.
var ErrNone = errors.New("the model has no chat template")

// Template is a model's chat template with the names of its special tokens. It
// is safe for concurrent use.
type Template struct {
	// From is the file that the template stands in.
	From string
	// Special are the variables bos_token, eos_token and so on.
	Special map[string]string

	plain, tools *jinja.Template // tools is taken where tools are given; may be nil
}

// A Conversation is what a template is given.
type Conversation struct {
	// Messages is a []any of jinja.Dict, each with "role" and "content".
	Messages any
	// AddGenerationPrompt asks for the words that begin the model's answer.
	AddGenerationPrompt bool
	// Variables are further ones, such as tools; they win over the special tokens.
	Variables map[string]any
}

// New reads a template's source.
func New(source string) (*Template, error) {
	t, err := jinja.Parse(source, jinja.Chat())
	if err != nil {
		return nil, err
	}
	return &Template{Special: map[string]string{}, plain: t}, nil
}

// Render writes the conversation. What the template itself refuses, by
// raise_exception or by reaching for what is not there, is a *jinja.Error.
func (t *Template) Render(c Conversation) (string, error) {
	vars := map[string]any{"messages": c.Messages, "add_generation_prompt": c.AddGenerationPrompt}
	for name, text := range t.Special {
		vars[name] = text
	}
	for name, v := range c.Variables {
		vars[name] = v
	}
	if t.tools != nil && vars["tools"] != nil {
		return t.tools.Render(vars)
	}
	return t.plain.Render(vars)
}

// BOS is the text of the token that begins a text; "" where none is named.
func (t *Template) BOS() string { return t.Special["bos_token"] }

// Load finds the chat template of a model: chat_template.jinja,
// tokenizer_config.json, chat_template.json, or the metadata of a GGUF file.
// The error is ErrNone where there is none.
func Load(path string) (*Template, error) {
	st, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !st.IsDir() {
		if strings.HasSuffix(path, ".gguf") {
			return loadGGUF(path)
		}
		return loadFolder(filepath.Dir(path))
	}
	t, err := loadFolder(path)
	if !errors.Is(err, ErrNone) {
		return t, err
	}
	entries, err := os.ReadDir(path)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), ".gguf") {
			return loadGGUF(filepath.Join(path, e.Name()))
		}
	}
	return nil, ErrNone
}

// largest is the size of a configuration that is still read.
const largest = 64 << 20

// readFile reads a small file; nil where there is none.
func readFile(path string) ([]byte, error) {
	st, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if st.Size() > largest {
		return nil, fmt.Errorf("%s: larger than %d MiB", path, largest>>20)
	}
	return os.ReadFile(path)
}

// loadFolder reads the files of a Hugging Face folder.
func loadFolder(dir string) (*Template, error) {
	special := map[string]string{}
	var inConfig json.RawMessage
	from := ""
	for _, name := range []string{"special_tokens_map.json", "chat_template.json", "tokenizer_config.json"} {
		path := filepath.Join(dir, name)
		data, err := readFile(path)
		if err != nil {
			return nil, err
		}
		if data == nil {
			continue
		}
		var fields map[string]json.RawMessage
		if err := json.Unmarshal(data, &fields); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		for key, raw := range fields {
			if text, ok := tokenText(raw); ok && strings.HasSuffix(key, "_token") {
				special[key] = text
			}
		}
		if raw := fields["chat_template"]; len(raw) > 0 && string(raw) != "null" {
			inConfig, from = raw, path
		}
	}
	path := filepath.Join(dir, "chat_template.jinja")
	data, err := readFile(path)
	if err != nil {
		return nil, err
	}
	var t *Template
	switch {
	case data != nil:
		if t, err = New(string(data)); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		t.From = path
		if err := t.more(dir); err != nil {
			return nil, err
		}
	case inConfig != nil:
		if t, err = fromConfig(inConfig); err != nil {
			return nil, fmt.Errorf("%s: chat_template: %w", from, err)
		}
		t.From = from
	default:
		return nil, ErrNone
	}
	t.Special = special
	return t, nil
}

// more reads the template for tools that stands beside chat_template.jinja.
func (t *Template) more(dir string) error {
	path := filepath.Join(dir, "additional_chat_templates", "tool_use.jinja")
	data, err := readFile(path)
	if err != nil || data == nil {
		return err
	}
	if t.tools, err = jinja.Parse(string(data), jinja.Chat()); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

// fromConfig reads chat_template as it stands in tokenizer_config.json: a text,
// or a list of named texts of which "default" and "tool_use" count.
func fromConfig(raw json.RawMessage) (*Template, error) {
	var source string
	if json.Unmarshal(raw, &source) == nil {
		return New(source)
	}
	var list []struct{ Name, Template string }
	if err := json.Unmarshal(raw, &list); err != nil {
		return nil, errors.New("neither a text nor a list of texts with names")
	}
	var t, tools *Template
	for _, named := range list {
		one, err := New(named.Template)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", named.Name, err)
		}
		switch named.Name {
		case "default":
			t = one
		case "tool_use":
			tools = one
		}
	}
	if t == nil {
		return nil, errors.New(`no template is named "default"`)
	}
	if tools != nil {
		t.tools = tools.plain
	}
	return t, nil
}

// tokenText reads a token: a text, or an object with its content.
func tokenText(raw json.RawMessage) (string, bool) {
	var text string
	if json.Unmarshal(raw, &text) == nil {
		return text, text != ""
	}
	var o struct{ Content string }
	if json.Unmarshal(raw, &o) != nil {
		return "", false
	}
	return o.Content, o.Content != ""
}

// loadGGUF reads the metadata of a GGUF file.
func loadGGUF(path string) (t *Template, err error) {
	f, err := weights.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	meta := f.Meta()
	if meta == nil {
		return nil, ErrNone
	}
	source, ok := meta.String("tokenizer.chat_template")
	if !ok {
		return nil, ErrNone
	}
	if t, err = New(strings.Clone(source)); err != nil {
		return nil, fmt.Errorf("%s: tokenizer.chat_template: %w", path, err)
	}
	t.From = path
	pieces, _ := meta.Strings("tokenizer.ggml.tokens")
	for name, key := range map[string]string{"bos_token": "bos", "eos_token": "eos", "unk_token": "unknown", "pad_token": "padding"} {
		if id, ok := meta.Int("tokenizer.ggml." + key + "_token_id"); ok && id >= 0 && id < int64(len(pieces)) {
			t.Special[name] = strings.Clone(pieces[id])
		}
	}
	return t, nil
}
