package chat

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/evalrun/evalrun/internal/jinja"
)

const turns = `{{ bos_token }}{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}`

var hello = Conversation{Messages: []any{jinja.Dict{{Key: "role", Value: "user"}, {Key: "content", Value: "Hi"}}}, AddGenerationPrompt: true}

func TestLoad(t *testing.T) {
	for _, c := range []struct {
		name  string
		files map[string]string
		want  string
	}{
		{"in the configuration", map[string]string{"tokenizer_config.json": `{"bos_token":"<s>","chat_template":` + quoted(turns) + `}`}, "<s><user>Hi<assistant>"},
		{"a token as an object", map[string]string{"tokenizer_config.json": `{"bos_token":{"content":"<b>","lstrip":false},"chat_template":` + quoted(turns) + `}`}, "<b><user>Hi<assistant>"},
		{"a file of its own goes first", map[string]string{"tokenizer_config.json": `{"bos_token":"<s>","chat_template":"no"}`, "chat_template.jinja": "{{ bos_token }}own"}, "<s>own"},
		{"a list", map[string]string{"tokenizer_config.json": `{"chat_template":[{"name":"tool_use","template":"t"},{"name":"default","template":"d"}]}`}, "d"},
		{"chat_template.json and the map of tokens", map[string]string{"chat_template.json": `{"chat_template":"{{ eos_token }}"}`, "special_tokens_map.json": `{"eos_token":"</s>"}`}, "</s>"},
	} {
		dir := t.TempDir()
		for name, text := range c.files {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		tmpl, err := Load(dir)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if got, err := tmpl.Render(hello); err != nil || got != c.want {
			t.Errorf("%s: got %q, %v, want %q", c.name, got, err, c.want)
		}
	}
}

func TestLoadTools(t *testing.T) {
	dir := t.TempDir()
	text := `{"chat_template":[{"name":"tool_use","template":"{{ tools[0].name }}"},{"name":"default","template":"d"}]}`
	if err := os.WriteFile(filepath.Join(dir, "tokenizer_config.json"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	tmpl, err := Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	c := hello
	c.Variables = map[string]any{"tools": []any{map[string]any{"name": "f"}}}
	if got, err := tmpl.Render(c); err != nil || got != "f" {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestLoadRefuses(t *testing.T) {
	if _, err := Load(t.TempDir()); !errors.Is(err, ErrNone) {
		t.Errorf("an empty folder: %v", err)
	}
	for text, want := range map[string]string{
		`{"chat_template":"{% if %}"}`:                       "Expected an expression",
		`{"chat_template":5}`:                                "neither a text nor a list",
		`{"chat_template":[{"name":"x","template":"d"}]}`:    "default",
		`{"chat_template":[{"name":"x","template":"{{ }"}]}`: "TemplateSyntaxError",
		`[]`: "tokenizer_config.json",
	} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "tokenizer_config.json"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Load(dir); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
	var refused *jinja.Error
	tmpl, err := New("{{ raise_exception('roles must alternate') }}")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tmpl.Render(hello); !errors.As(err, &refused) || refused.Message != "roles must alternate" {
		t.Errorf("got %v", err)
	}
}

func quoted(s string) string { return `"` + strings.ReplaceAll(s, `"`, `\"`) + `"` }
