package local

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/evalrun/evalrun/core"
)

// What is wrong with a file of rows is told with the number of the line.
func TestRowsRefused(t *testing.T) {
	good := `{"id":"a","prompt":"p","completion":"c"}` + "\n"
	for text, want := range map[string]string{
		good + `{"prompt":"p","completion":`:                                    ":2: is not JSON: unexpected end",
		good + "\n\n" + `{"prompt":"p" "completion":"c"}`:                       ":4: is not JSON: invalid character",
		good + `["p","c"]`:                                                      ":2: is an array, and no object",
		good + `null`:                                                           ":2: is null, and no object",
		good + `"text"`:                                                         ":2: is a string, and no object",
		good + `{"prompt":3,"completion":"c"}`:                                  ":2: prompt is a number, and not text",
		good + `{"prompt":"p","completion":["c"]}`:                              ":2: completion is an array, and not text",
		good + `{"messages":"hi"}`:                                              ":2: messages is a string, and not a list of messages",
		good + `{"messages":[{"role":"user","content":[]}]}`:                    ":2: messages.content is an array, and not text",
		good + `{"messages":[{"role":"assistant","content":"x","train":"no"}]}`: ":2: messages.train is a string, and not true or false",
		good + `{"id":[1],"prompt":"p","completion":"c"}`:                       ":2: id is neither text nor a number",
		good + `{"input":"p","output":"c"}`:                                     ":2: has neither completion nor messages; its keys are: input, output",
		good + `{"prompt":"p","messages":null}`:                                 ":2: has neither completion nor messages",
		good + `{"prompt":"p","completion":"c"}` + "\n" + good:                  `:3: the id "a" is also that of line 1`,
		`{"id":7,"completion":"c"}` + "\n" + `{"id":"7","completion":"c"}`:      `:2: the id "7" is also that of line 1`,
		good + "{\"prompt\":\"\xe9\",\"completion\":\"c\"}":                     ":2: byte 12 of the line (0xe9) is not valid UTF-8: store the file as UTF-8",
		"":      "holds no rows",
		"\n \n": "holds no rows",
	} {
		path := filepath.Join(t.TempDir(), "rows.jsonl")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := readRows(path, io.Discard)
		var user *core.UserError
		if !errors.As(err, &user) || user.Hint == "" || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "train.Row") {
			t.Errorf("%s\n got %v\nwant %s", text, err, want)
		}
	}
}

// Rows are named by their id, be it a number, or by their line.
func TestRowsNamed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "rows.jsonl")
	text := "\ufeff" + `{"id":7,"prompt":"p","completion":"c"}` + "\n\n" + `{"completion":"c","note":[1]}` + "\r\n" + `{"id":"x","messages":[{"role":"assistant","content":"c","train":false}]}`
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	rows, err := readRows(path, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, r := range rows {
		names = append(names, r.ID)
	}
	if !slices.Equal(names, []string{"7", "line 3", "x"}) || rows[0].Prompt != "p" || *rows[2].Messages[0].Train {
		t.Errorf("%q, %+v", names, rows)
	}
}
