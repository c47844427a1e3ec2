package jinja_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/evalrun/evalrun/core/text"
	"github.com/evalrun/evalrun/internal/jinja"
)

// environments are those of testdata/make_snippets.py.
var environments = map[string]jinja.Options{
	"default":   {},
	"strict":    {Undefined: jinja.Strict, KeepTrailingNewline: true},
	"chainable": {Undefined: jinja.Chainable, TrimBlocks: true},
	"debug":     {Undefined: jinja.Debug, LstripBlocks: true, LoopControls: true},
	"chat":      jinja.Chat(),
}

// TestSnippets compares with what Python's Jinja2 3.1.6 said; the file is
// written by testdata/make_snippets.py. SNIPPETS names another one.
func TestSnippets(t *testing.T) {
	path := os.Getenv("SNIPPETS")
	if path == "" {
		path = "testdata/snippets.jsonl"
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	lines := bytes.Split(bytes.TrimSpace(data), []byte("\n"))
	vars := ordered(t, lines[0]).(text.Dict)[0].Value.(text.Dict)
	n, bad, without := 0, 0, 0
	for _, line := range lines[1:] {
		var row struct {
			Source, Text, Exception, Message string
			Environments                     []string
		}
		if err := json.Unmarshal(line, &row); err != nil {
			t.Fatal(err)
		}
		for _, env := range row.Environments {
			n++
			got := ""
			tmpl, err := jinja.Parse(row.Source, environments[env])
			if err == nil {
				got, err = tmpl.RenderDict(vars)
			}
			var e *jinja.Error
			errors.As(err, &e)
			if e != nil && (e.Type == "Unsupported" || e.Type == "LimitError") {
				without++
				continue
			}
			ok := err == nil && row.Exception == "" && got == row.Text
			if row.Exception != "" && e != nil {
				ok = sameError(e, row.Exception, row.Message)
			}
			if !ok {
				bad++
				t.Errorf("%s: %q\n got %q %v\nwant %q %s: %s", env, row.Source, got, err, row.Text, row.Exception, row.Message)
				break
			}
		}
	}
	t.Logf("%d comparisons, %d differ, %d not supported or beyond a limit", n, bad, without)
}

// sameError compares an error with Python's: type and words.
func sameError(e *jinja.Error, exception, message string) bool {
	return e.Type == exception && strings.TrimSpace(e.Message) == strings.TrimSpace(message)
}
