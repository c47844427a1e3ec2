package jinja_test

import (
	"strings"
	"testing"

	"github.com/evalrun/evalrun/internal/jinja"
)

// BenchmarkRender renders a ChatML conversation of 20 turns of 200 bytes. The
// peer, the same template compiled by transformers, takes 25 µs of processor
// time where this takes 60 to 130: thousands of prompts a second either way.
func BenchmarkRender(b *testing.B) {
	t, err := jinja.Parse("{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] | trim + '<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}", jinja.Chat())
	if err != nil {
		b.Fatal(err)
	}
	var messages []any
	for i := range 20 {
		messages = append(messages, jinja.Dict{{Key: "role", Value: []string{"user", "assistant"}[i%2]}, {Key: "content", Value: strings.Repeat("word ", 40)}})
	}
	vars := map[string]any{"messages": messages, "add_generation_prompt": true}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := t.Render(vars); err != nil {
			b.Fatal(err)
		}
	}
}
