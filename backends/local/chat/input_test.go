package chat

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

// letters is a tokenizer whose tokens are bytes, with <s> as 1.
type letters struct{ adds bool }

func (l letters) Encode(text string, addSpecial, literal bool) ([]int32, error) {
	var ids []int32
	if addSpecial && l.adds {
		ids = append(ids, 1)
	}
	for text != "" {
		if !literal && strings.HasPrefix(text, "<s>") {
			ids, text = append(ids, 1), text[3:]
			continue
		}
		ids, text = append(ids, int32(text[0])), text[1:]
	}
	return ids, nil
}
func (l letters) BOS() (int32, bool)         { return 1, true }
func (l letters) Token(int32) (string, bool) { return "<s>", true }

// TestOneBOS: whatever the template or the prompt writes, an input has one BOS
// where the tokenizer adds one, and as many as are written where it adds none.
func TestOneBOS(t *testing.T) {
	ask := []Turn{{"user", "hi"}}
	for _, c := range []struct {
		name, template, prompt string
		adds                   bool
		want                   string
		doubled                bool
	}{
		{"the template writes it", "<s>{{ messages[0].content }}", "", true, "\x01hi", false},
		{"the template leaves it out", "{{ messages[0].content }}", "", true, "\x01hi", false},
		{"the template writes it twice", "<s><s>{{ messages[0].content }}", "", true, "\x01hi", true},
		{"a model without", "{{ messages[0].content }}", "", false, "hi", false},
		{"a template with, a tokenizer without", "<s>{{ messages[0].content }}", "", false, "\x01hi", false},
		{"later ones stay", "<s>{{ messages[0].content }}<s>", "", true, "\x01hi\x01", false},
		{"a prompt", "", "hi <s>", true, "\x01hi <s>", false},
		{"a prompt that writes it", "", "<s>hi", true, "\x01hi", true},
		{"a prompt that writes it twice", "", "<s><s>hi", true, "\x01hi", true},
		{"a prompt that writes it, a tokenizer without", "", "<s>hi", false, "<s>hi", false},
	} {
		tok := letters{c.adds}
		var tmpl *Template
		if c.template != "" {
			var err error
			if tmpl, err = New(c.template); err != nil {
				t.Fatal(err)
			}
		}
		w := NewWriter(tok, tmpl)
		in := w.Prompt(c.prompt)
		if tmpl != nil {
			var err error
			if in, err = w.Chat(ask); err != nil {
				t.Fatal(err)
			}
		}
		ids, err := in.Encode(tok)
		if err != nil {
			t.Fatal(err)
		}
		var got []byte
		for _, id := range ids {
			got = append(got, byte(id))
		}
		if string(got) != c.want || in.Doubled != c.doubled {
			t.Errorf("%s: got %q, doubled %t, want %q, %t", c.name, got, in.Doubled, c.want, c.doubled)
		}
	}
	if _, err := NewWriter(letters{}, nil).Chat(ask); !errors.Is(err, ErrNone) {
		t.Errorf("no template: %v", err)
	}
}

// TestToolsAreNone: a template may compare tools with none, as transformers
// lets it.
func TestToolsAreNone(t *testing.T) {
	tmpl, err := New("{% if tools is none and documents is none and not tools is undefined %}ok{% endif %}")
	if err != nil {
		t.Fatal(err)
	}
	in, err := NewWriter(letters{}, tmpl).Chat([]Turn{{"user", "x"}})
	if ids, _ := in.Encode(letters{}); err != nil || !slices.Equal(ids, []int32{'o', 'k'}) {
		t.Errorf("got %q, %v", in.Text, err)
	}
}
