package local

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/evalrun/evalrun/backends/local/train"
	"github.com/evalrun/evalrun/core"
	"github.com/evalrun/evalrun/core/text"
)

// longestLine is the size of a row that is still read.
const longestLine = 1 << 27

// readRows reads a file of rows to train on, and hashes it.
func readRows(path string, h io.Writer) ([]train.Row, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, &core.UserError{Where: path, Message: "cannot be opened", Hint: "give a file of JSON lines with prompt and completion", Err: err}
	}
	defer f.Close()
	var rows []train.Row
	lines := map[string]int{} // by id
	s := bufio.NewScanner(io.TeeReader(f, h))
	s.Buffer(make([]byte, 1<<16), longestLine)
	n := 1
	for ; s.Scan(); n++ {
		if strings.TrimSpace(s.Text()) == "" {
			continue
		}
		var r train.Row
		line, err := text.Line(s.Bytes(), n)
		if err == nil {
			r, err = readRow(line)
		}
		if err != nil {
			return nil, &core.UserError{Where: fmt.Sprintf("%s:%d", path, n), Message: err.Error(), Hint: `a line is an object with "prompt" and "completion", both texts, or with "messages"`}
		}
		if r.ID == "" {
			r.ID = fmt.Sprintf("line %d", n)
		}
		if before := lines[r.ID]; before > 0 {
			return nil, &core.UserError{Where: fmt.Sprintf("%s:%d", path, n), Message: fmt.Sprintf("the id %q is also that of line %d", r.ID, before), Hint: "give each row an id of its own, or none"}
		}
		lines[r.ID] = n
		rows = append(rows, r)
	}
	if err := s.Err(); errors.Is(err, bufio.ErrTooLong) {
		return nil, &core.UserError{Where: fmt.Sprintf("%s:%d", path, n), Message: fmt.Sprintf("the line is longer than %d MiB", longestLine>>20), Hint: "a row is one line; is it a file of JSON lines?"}
	} else if err != nil {
		return nil, &core.UserError{Where: path, Message: "cannot be read", Hint: "give a file of JSON lines with prompt and completion", Err: err}
	}
	if len(rows) == 0 {
		return nil, &core.UserError{Where: path, Message: "holds no rows", Hint: `give a file of JSON lines with "prompt" and "completion", or with "messages"`}
	}
	return rows, nil
}

// readRow reads one line; an id may be a number.
func readRow(line []byte) (train.Row, error) {
	var row struct {
		train.Row
		ID json.RawMessage `json:"id"`
	}
	err := json.Unmarshal(line, &row)
	var wrong *json.UnmarshalTypeError
	switch {
	case errors.As(err, &wrong) && wrong.Field == "":
		return train.Row{}, fmt.Errorf("is %s, and no object", article(wrong.Value))
	case errors.As(err, &wrong):
		return train.Row{}, fmt.Errorf("%s is %s, and not %s", strings.TrimPrefix(wrong.Field, "Row."), article(wrong.Value), wanted(wrong.Field))
	case err != nil:
		return train.Row{}, fmt.Errorf("is not JSON: %w", err)
	}
	switch id := string(row.ID); {
	case id == "" || id == "null":
	case id[0] == '"':
		err = json.Unmarshal(row.ID, &row.Row.ID)
	case id[0] == '-' || id[0] >= '0' && id[0] <= '9':
		row.Row.ID = id
	default:
		err = errors.New("id is neither text nor a number")
	}
	if err != nil {
		return train.Row{}, err
	}
	var keys map[string]json.RawMessage
	if err := json.Unmarshal(line, &keys); err != nil {
		return train.Row{}, fmt.Errorf("is not JSON: %w", err)
	}
	if keys == nil {
		return train.Row{}, errors.New("is null, and no object")
	}
	if _, ok := keys["completion"]; !ok && row.Messages == nil {
		return train.Row{}, fmt.Errorf("has neither completion nor messages; its keys are: %s", strings.Join(slices.Sorted(maps.Keys(keys)), ", "))
	}
	return row.Row, nil
}

// article puts one before the name of a JSON type.
func article(kind string) string {
	if kind == "array" || kind == "object" {
		return "an " + kind
	}
	kind, _, _ = strings.Cut(kind, " ") // "number 1e999"
	if kind == "bool" {
		return "true or false"
	}
	return "a " + kind
}

// wanted is what stands in a field.
func wanted(field string) string {
	switch {
	case strings.HasSuffix(field, "messages"):
		return "a list of messages"
	case strings.HasSuffix(field, "train"):
		return "true or false"
	}
	return "text"
}
