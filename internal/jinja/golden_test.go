package jinja_test

import (
	"encoding/json"
	"errors"
	"testing"

	"github.com/evalrun/evalrun/internal/jinja"
	"github.com/evalrun/evalrun/internal/shared"
)

// ordered decodes JSON as a template sees it.
func ordered(t testing.TB, data []byte) any {
	t.Helper()
	v, err := jinja.DecodeJSON(data)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// TestGoldenChat renders chat templates as transformers did.
func TestGoldenChat(t *testing.T) {
	n := 0
	for line := range shared.Lines(t, "golden", "scoring", "chat.jsonl") {
		var row struct {
			Template, Kind, Source, Text, Exception, Message string
			BOS                                              string `json:"bos_token"`
			EOS                                              string `json:"eos_token"`
			Messages                                         json.RawMessage
			Prompt                                           bool `json:"add_generation_prompt"`
		}
		if err := json.Unmarshal(line, &row); err != nil {
			t.Fatal(err)
		}
		n++
		tmpl, err := jinja.Parse(row.Source, jinja.Chat())
		if err != nil {
			t.Errorf("%s: %v", row.Template, err)
			continue
		}
		got, err := tmpl.Render(map[string]any{"messages": ordered(t, row.Messages), "add_generation_prompt": row.Prompt, "bos_token": row.BOS, "eos_token": row.EOS})
		var e *jinja.Error
		errors.As(err, &e)
		switch {
		case row.Exception == "" && (err != nil || got != row.Text):
			t.Errorf("%s, %s:\n got %q %v\nwant %q", row.Template, row.Kind, got, err, row.Text)
		case row.Exception != "" && (e == nil || e.Type != row.Exception || e.Message != row.Message):
			t.Errorf("%s, %s: got %v, want %s: %s", row.Template, row.Kind, err, row.Exception, row.Message)
		}
	}
	t.Logf("%d rows", n)
}
