package training

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/evalrun/evalrun/core"
	"github.com/evalrun/evalrun/core/text"
)

// longestLine is the size of a row that is still read.
const longestLine = 1 << 27

// OwnRows parts a user's file of JSON lines into rows to train on and a share
// to validate with. Rows with the same prompt, or the same chat up to its last
// turn, stay on one side: a model that has seen the question has seen the
// answer. What else is wrong with a row, the trainer says; its line has the
// number that it has in the file.
func OwnRows(path string, share float64, seed uint64) (*Data, error) {
	d := &Data{Own: true}
	err := eachLine(path, func(n int, line []byte) error {
		key, err := question(line)
		if err == nil {
			d.Rows = append(d.Rows, Row{raw: bytes.Clone(line), line: n, key: key})
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	d.holdOut(share, seed, func(r Row) string { return r.key })
	if len(d.Validation) == 0 {
		return nil, &core.UserError{Where: path, Message: fmt.Sprintf("none of its %d rows can be held out: it takes two different prompts", len(d.Rows)), Hint: "leave --holdout out, or name a file of validation rows: --validation"}
	}
	return d, nil
}

// Repeated names the rows of a validation file that ask what rows of a training
// file ask too, and counts all. What is wrong with the files, the trainer says.
func Repeated(train, validation string) (ids []string, all int) {
	asked := map[[sha256.Size]byte]bool{} // of many rows the texts would fill the memory
	err := eachLine(train, func(_ int, line []byte) error {
		key, err := question(line)
		asked[sha256.Sum256([]byte(key))] = true
		return err
	})
	if err != nil {
		return nil, 0
	}
	err = eachLine(validation, func(n int, line []byte) error {
		all++
		key, err := question(line)
		if err == nil && asked[sha256.Sum256([]byte(key))] {
			ids = append(ids, name(line, n))
		}
		return err
	})
	if err != nil {
		return nil, 0
	}
	return ids, all
}

// name is a row's id, or the number of its line.
func name(line []byte, n int) string {
	var row struct{ ID any }
	if json.Unmarshal(line, &row) != nil || row.ID == nil || row.ID == "" {
		return fmt.Sprintf("line %d", n)
	}
	return fmt.Sprint(row.ID)
}

// eachLine calls take for each line of a file that is not blank, with its number;
// take's error is told with file and line.
func eachLine(path string, take func(n int, line []byte) error) error {
	f, err := os.Open(path)
	if err != nil {
		return &core.UserError{Where: path, Message: "cannot be opened", Hint: "give a file of JSON lines with prompt and completion", Err: err}
	}
	defer f.Close()
	s := bufio.NewScanner(f)
	s.Buffer(make([]byte, 1<<16), longestLine)
	for n := 1; s.Scan(); n++ {
		if len(bytes.TrimSpace(s.Bytes())) == 0 {
			continue
		}
		line, err := text.Line(s.Bytes(), n)
		if err == nil {
			err = take(n, line)
		}
		if err != nil {
			return &core.UserError{Where: fmt.Sprintf("%s:%d", path, n), Message: err.Error(), Hint: `a line is an object with "prompt" and "completion", both texts, or with "messages"`}
		}
	}
	if err := s.Err(); errors.Is(err, bufio.ErrTooLong) {
		return &core.UserError{Where: path, Message: fmt.Sprintf("a line is longer than %d MiB", longestLine>>20), Hint: "a row is one line; is it a file of JSON lines?"}
	} else if err != nil {
		return err
	}
	return nil
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
		return plain(keys["prompt"]), nil
	}
	var b strings.Builder
	for _, m := range messages[:len(messages)-1] {
		b.WriteString(plain(m))
	}
	return b.String(), nil
}

// plain is JSON as one program writes it: files differ in escapes and blanks.
func plain(raw json.RawMessage) string {
	var v any
	if json.Unmarshal(raw, &v) != nil {
		return string(raw)
	}
	text, err := json.Marshal(v)
	if err != nil {
		return string(raw)
	}
	return string(text)
}
