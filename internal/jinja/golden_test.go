package jinja_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"testing"

	"github.com/evalrun/evalrun/internal/jinja"
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

// TestGoldenChat renders chat templates as transformers did, where the golden
// files are beside the repository; CHAT_GOLDEN names another file.
func TestGoldenChat(t *testing.T) {
	path := os.Getenv("CHAT_GOLDEN")
	if path == "" {
		path = "../../../shared/golden/scoring/chat.jsonl"
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Skip("no goldens: ", err)
	}
	n := 0
	for _, line := range bytes.Split(bytes.TrimSpace(data), []byte("\n")) {
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
