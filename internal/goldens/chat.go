package main

import (
	"encoding/json"
	"os"
	"path/filepath"
)

// checkChat holds `debug chat` to the templates as transformers renders them.
func checkChat(e *env) error {
	type row struct {
		Template  string          `json:"template"`
		Source    string          `json:"source"`
		Kind      string          `json:"kind"`
		Messages  json.RawMessage `json:"messages"`
		Prompt    bool            `json:"add_generation_prompt"`
		BOS       string          `json:"bos_token"`
		EOS       string          `json:"eos_token"`
		Text      *string         `json:"text"`
		Exception string          `json:"exception"`
		Message   string          `json:"message"`
	}
	type line struct {
		Messages json.RawMessage `json:"messages"`
		Prompt   bool            `json:"add_generation_prompt"`
		BOS      string          `json:"bos_token"`
		EOS      string          `json:"eos_token"`
	}
	rows, err := readLines[row](e.path("scoring/chat.jsonl"))
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "goldens-chat")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	var sources []string
	bySource := map[string][]row{}
	for _, r := range rows {
		if bySource[r.Source] == nil {
			sources = append(sources, r.Source)
		}
		bySource[r.Source] = append(bySource[r.Source], r)
	}
	texts, refusals := e.tally("texts", "equal"), e.tally("refusals, by their words", "equal")
	for _, source := range sources {
		group := bySource[source]
		file := filepath.Join(dir, "template.jinja")
		if err := os.WriteFile(file, []byte(source), 0o600); err != nil {
			return err
		}
		lines := make([]line, len(group))
		for i, r := range group {
			lines[i] = line{r.Messages, r.Prompt, r.BOS, r.EOS}
		}
		out, err := ask(e, lines, "chat", "--template", file)
		if err != nil {
			return err
		}
		for i, r := range group {
			var got struct {
				Text             *string
				Error, Exception string
			}
			if err := json.Unmarshal(out[i], &got); err != nil {
				return err
			}
			if r.Text != nil {
				texts.row(got.Text != nil && *got.Text == *r.Text, "%s, %s: got %s, want %q", r.Template, r.Kind, out[i], *r.Text)
			} else {
				refusals.row(got.Text == nil && got.Error == r.Message && got.Exception == r.Exception, "%s, %s: got %s, want %s: %s", r.Template, r.Kind, out[i], r.Exception, r.Message)
			}
		}
	}
	return nil
}
