package local_test

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/evalrun/evalrun/backends/backendtest"
	"github.com/evalrun/evalrun/backends/local"
	"github.com/evalrun/evalrun/backends/local/internal/fixture"
	"github.com/evalrun/evalrun/core"
	"github.com/evalrun/evalrun/kernels/format"
)

// chatModel is a random model whose tokens are characters: <s> is 1, </s> 2,
// then printable ASCII, newline and <|im_end|>. It puts <s> before a text.
func chatModel(t *testing.T, template string) string {
	t.Helper()
	dir := fixture.Tiny.WriteHF(t, 5, format.F32)
	vocab := map[string]int{"<unk>": 0, "<s>": 1, "</s>": 2}
	for c := ' '; c <= '~'; c++ {
		vocab[string(c)] = len(vocab)
	}
	vocab["\n"] = len(vocab)
	vocab["<|im_end|>"] = len(vocab)
	special := func(id int, text string) map[string]any {
		return map[string]any{"id": id, "content": text, "special": true, "normalized": false}
	}
	files := map[string]any{
		"tokenizer.json": map[string]any{
			"added_tokens": []any{special(0, "<unk>"), special(1, "<s>"), special(2, "</s>"), special(vocab["<|im_end|>"], "<|im_end|>")},
			"post_processor": map[string]any{"type": "TemplateProcessing", "single": []any{map[string]any{"SpecialToken": map[string]any{"id": "<s>", "type_id": 0}}, map[string]any{"Sequence": map[string]any{"id": "A", "type_id": 0}}},
				"pair": []any{}, "special_tokens": map[string]any{"<s>": map[string]any{"id": "<s>", "ids": []int{1}, "tokens": []string{"<s>"}}}},
			"decoder": map[string]any{"type": "Fuse"},
			"model":   map[string]any{"type": "BPE", "unk_token": "<unk>", "vocab": vocab, "merges": []any{}},
		},
		"tokenizer_config.json": map[string]any{"bos_token": "<s>", "eos_token": "</s>", "chat_template": template},
	}
	for name, v := range files {
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

const instTemplate = `{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}[INST] {{ m.content }} [/INST]{% elif m.role == 'system' %}{{ m.content }}
{% else %}{{ raise_exception('only user and system') }}{% endif %}{% endfor %}`

func TestChatContract(t *testing.T) {
	backendtest.Run(t, func(t *testing.T) core.Backend {
		b, err := local.New(core.Config{Model: chatModel(t, instTemplate), Options: map[string]string{"form": "chat"}})
		if err != nil {
			t.Fatal(err)
		}
		return b
	}, contract)
}

// TestMessages: messages are encoded as the template writes them, special
// tokens of the template as such, with one BOS; Preview says the same without
// the weights.
func TestMessages(t *testing.T) {
	for _, template := range []string{instTemplate, strings.TrimPrefix(instTemplate, "{{ bos_token }}"), "{{ bos_token }}" + instTemplate} {
		dir := chatModel(t, template)
		b, err := local.New(core.Config{Model: dir})
		if err != nil {
			t.Fatal(err)
		}
		defer b.Close()
		info, err := b.Info(t.Context())
		if err != nil || !slices.Equal(info.Forms, []core.Form{core.FormCompletion, core.FormChat}) {
			t.Fatalf("forms %v, %v", info.Forms, err)
		}
		s, err := b.Open(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		p, err := local.NewPreviewer(core.Config{Model: dir})
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range []struct {
			req  core.Request
			want string
		}{
			{core.Request{Messages: []core.Message{{Role: "system", Content: "Be brief."}, {Role: "user", Content: "Hi"}}}, "\x01Be brief.\n[INST] Hi [/INST]"},
			{core.Request{Prompt: "a</s>b"}, "\x01a</s>b"},
			{core.Request{Prompt: "<s>a"}, "\x01a"},
		} {
			c.req.ID, c.req.Kind = "t", core.Tokenize
			r := one(t, s, c.req)
			var got strings.Builder
			for _, id := range r.Tokens {
				switch {
				case id == 1:
					got.WriteByte(1)
				case id == 3+'~'-' '+1:
					got.WriteByte('\n')
				default:
					got.WriteByte(byte(' ' + id - 3))
				}
			}
			if got.String() != c.want {
				t.Errorf("%q: got %q, want %q", template, got.String(), c.want)
			}
			shown, err := p.Preview(c.req)
			if err != nil {
				t.Fatal(err)
			}
			if !slices.EqualFunc(shown.IDs, r.Tokens, func(a int32, b int) bool { return int(a) == b }) {
				t.Errorf("%q: Preview says %v, the backend %v", template, shown.IDs, r.Tokens)
			}
		}
		err = s.Send(core.Request{ID: "no", Kind: core.Generate, Messages: []core.Message{{Role: "tool", Content: "x"}}, Generation: core.Generation{MaxTokens: 1}})
		var refused *core.Error
		if !errors.As(err, &refused) || refused.Code != core.CodeInvalid || !strings.Contains(refused.Message, "only user and system") {
			t.Errorf("got %v", err)
		}
	}
}

// TestPreviewTruncates: a prompt that is too long loses its front, but not BOS.
func TestPreviewTruncates(t *testing.T) {
	p, err := local.NewPreviewer(core.Config{Model: chatModel(t, instTemplate), Options: map[string]string{"context": "40"}})
	if err != nil {
		t.Fatal(err)
	}
	got, err := p.Preview(core.Request{Prompt: strings.Repeat("x", 50) + "end", Overflow: core.OverflowKeepTail, Generation: core.Generation{MaxTokens: 100}})
	if err != nil {
		t.Fatal(err)
	}
	if len(got.IDs) != 30 || got.Truncated != 24 || got.IDs[0] != 1 || got.IDs[29] != int32('d'-' '+3) {
		t.Errorf("got %+v", got)
	}
}
