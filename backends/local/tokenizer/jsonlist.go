package tokenizer

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// A vocabulary of 128,000 tokens with 280,000 merges makes ten megabytes of
// JSON. The two long lists are read by hand, out of text that encoding/json has
// already found to be valid; that halves the time of loading.

// vocabEntry is one pair of a vocabulary.
type vocabEntry struct {
	token string
	id    int64
}

// cutter walks over valid JSON. Its strings share the memory of the text.
type cutter struct {
	text string
	at   int
}

// next skips white space and gives the character that follows, 0 at the end.
func (c *cutter) next() byte {
	for ; c.at < len(c.text); c.at++ {
		switch b := c.text[c.at]; b {
		case ' ', '\t', '\n', '\r':
		default:
			return b
		}
	}
	return 0
}

// skip takes the character b, if it follows.
func (c *cutter) skip(b byte) bool {
	if c.next() != b {
		return false
	}
	c.at++
	return true
}

// str takes a string.
func (c *cutter) str() (string, error) {
	if !c.skip('"') {
		return "", errors.New("want a text")
	}
	from := c.at
	for ; c.at < len(c.text); c.at++ {
		switch c.text[c.at] {
		case '"':
			c.at++
			return c.text[from : c.at-1], nil
		case '\\':
			return c.escaped(from)
		}
	}
	return "", errors.New("a text without end")
}

// escaped takes a string that has a backslash in it; from is where it begins.
func (c *cutter) escaped(from int) (string, error) {
	for ; c.at < len(c.text); c.at++ {
		switch c.text[c.at] {
		case '\\':
			c.at++
		case '"':
			c.at++
			var s string
			err := json.Unmarshal([]byte(c.text[from-1:c.at]), &s)
			return s, err
		}
	}
	return "", errors.New("a text without end")
}

// readVocab reads {"token": id, …}.
func readVocab(text json.RawMessage) ([]vocabEntry, error) {
	c := &cutter{text: string(text)}
	if !c.skip('{') {
		return nil, errors.New("want an object of tokens and ids")
	}
	list := make([]vocabEntry, 0, len(text)/16)
	for c.next() != '}' {
		if len(list) > 0 && !c.skip(',') {
			return nil, errors.New("want a comma")
		}
		token, err := c.str()
		if err != nil {
			return nil, err
		}
		if !c.skip(':') {
			return nil, errors.New("want a colon")
		}
		c.next()
		from := c.at
		for c.at < len(c.text) && strings.IndexByte("0123456789-+.eE", c.text[c.at]) >= 0 {
			c.at++
		}
		id, err := strconv.ParseInt(c.text[from:c.at], 10, 64)
		if err != nil {
			return nil, fmt.Errorf("token %q: the id is not a whole number", token)
		}
		list = append(list, vocabEntry{token, id})
	}
	return list, nil
}

// readMerges reads a list of merges in either form, or none.
func readMerges(text json.RawMessage) ([]merge, error) {
	c := &cutter{text: string(text)}
	if len(text) == 0 || c.text == "null" {
		return nil, nil
	}
	if !c.skip('[') {
		return nil, errors.New("want a list")
	}
	list := make([]merge, 0, len(text)/12)
	for c.next() != ']' {
		if len(list) > 0 && !c.skip(',') {
			return nil, errors.New("want a comma")
		}
		var m merge
		err := m.read(c)
		if err != nil {
			return nil, fmt.Errorf("entry %d: %w", len(list), err)
		}
		list = append(list, m)
	}
	return list, nil
}

// read takes "a b" or ["a", "b"].
func (m *merge) read(c *cutter) error {
	if !c.skip('[') {
		s, err := c.str()
		if err != nil {
			return err
		}
		return m.parse(s)
	}
	var err error
	if m.left, err = c.str(); err != nil {
		return err
	}
	if c.skip(',') {
		if m.right, err = c.str(); err != nil {
			return err
		}
		if c.skip(']') {
			return nil
		}
	}
	return errors.New("want two parts")
}
