package jinja_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"testing"

	"github.com/evalrun/evalrun/core/text"
	"github.com/evalrun/evalrun/internal/jinja"
)

// ordered decodes JSON and keeps the order of objects.
func ordered(t testing.TB, data []byte) any {
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	var value func() any
	value = func() any {
		tok, err := d.Token()
		if err != nil {
			t.Fatal(err)
		}
		switch x := tok.(type) {
		case json.Delim:
			if x == '[' {
				l := []any{}
				for d.More() {
					l = append(l, value())
				}
				d.Token()
				return l
			}
			o := text.Dict{}
			for d.More() {
				k, _ := d.Token()
				o = append(o, text.Pair{Key: k, Value: value()})
			}
			d.Token()
			return o
		}
		return tok
	}
	return value()
}

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
