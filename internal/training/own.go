package training

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/evalrun/evalrun/core"
)

// longestLine is the size of a row that is still read.
const longestLine = 1 << 27

// OwnRows parts a user's file of JSON lines into rows to train on and a share
// to validate with. Rows with the same prompt, or the same chat up to its last
// turn, stay on one side: a model that has seen the question has seen the
// answer. What else is wrong with a row, the trainer says; its line has the
// number that it has in the file.
func OwnRows(path string, share float64, seed uint64) (*Data, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, &core.UserError{Where: path, Message: "cannot be opened", Hint: "give a file of JSON lines with prompt and completion", Err: err}
	}
	defer f.Close()
	d := &Data{Own: true}
	s := bufio.NewScanner(f)
	s.Buffer(make([]byte, 1<<16), longestLine)
	for n := 1; s.Scan(); n++ {
		if len(bytes.TrimSpace(s.Bytes())) == 0 {
			continue
		}
		key, err := question(s.Bytes())
		if err != nil {
			return nil, &core.UserError{Where: fmt.Sprintf("%s:%d", path, n), Message: err.Error(), Hint: `a line is an object with "prompt" and "completion", both texts, or with "messages"`}
		}
		d.Rows = append(d.Rows, Row{raw: bytes.Clone(s.Bytes()), line: n, key: key})
	}
	if err := s.Err(); err != nil {
		if errors.Is(err, bufio.ErrTooLong) {
			return nil, &core.UserError{Where: path, Message: fmt.Sprintf("a line is longer than %d MiB", longestLine>>20), Hint: "a row is one line; is it a file of JSON lines?"}
		}
		return nil, err
	}
	d.holdOut(share, seed, func(r Row) string { return r.key })
	if len(d.Validation) == 0 {
		return nil, &core.UserError{Where: path, Message: fmt.Sprintf("none of its %d rows can be held out: it takes two different prompts", len(d.Rows)), Hint: "leave --holdout out, or name a file of validation rows: --validation"}
	}
	return d, nil
}

// question is what a row asks: its prompt, or its messages up to the last.
func question(line []byte) (string, error) {
	var keys map[string]json.RawMessage
	var wrong *json.UnmarshalTypeError
	if err := json.Unmarshal(line, &keys); errors.As(err, &wrong) || err == nil && keys == nil {
		return "", errors.New("is no object")
	} else if err != nil {
		return "", fmt.Errorf("is not JSON: %w", err)
	}
	var messages []json.RawMessage
	if json.Unmarshal(keys["messages"], &messages) != nil || len(messages) == 0 {
		return string(keys["prompt"]), nil
	}
	var b strings.Builder
	for _, m := range messages[:len(messages)-1] {
		b.Write(m)
	}
	return b.String(), nil
}
