package dataset

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"unicode/utf8"

	"github.com/evalrun/evalrun/core"
)

// MaxLine is the longest line of JSON Lines, the longest record of CSV and the
// longest element of a JSON array, in bytes. A longer one is an error.
const MaxLine = 64 << 20

const hintRow = "mend or remove that row, then run the command again"

// input counts lines and holds the reader of one text file.
type input struct {
	name string
	r    *bufio.Reader
	c    io.Closer
	line int // of the byte read last, from 1
	rows int // rows handed out
}

func newInput(name string, rc io.ReadCloser) *input {
	in := &input{name: name, r: bufio.NewReaderSize(rc, 64<<10), c: rc, line: 1}
	if head, _ := in.r.Peek(3); bytes.Equal(head, []byte("\xef\xbb\xbf")) {
		in.r.Discard(3) // byte order mark
	}
	return in
}

// broken wraps an error of the file system or of decompression.
func (in *input) broken(err error) error {
	hint := "check that the file is readable and whole"
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return at(in.name, in.line, hint, "the file ends in the middle of its compressed data, after %d rows", in.rows)
	}
	return &core.UserError{Where: in.name, Message: "reading the file near line " + itoa(in.line), Hint: hint, Err: err}
}

// readLine gives the next line without its end, in a buffer of its own when it is
// long; the slice is valid until the next call. io.EOF comes alone.
func (in *input) readLine(buf []byte) ([]byte, error) {
	buf = buf[:0]
	for {
		part, err := in.r.ReadSlice('\n')
		if len(buf)+len(part) > MaxLine {
			return nil, at(in.name, in.line, hintRow, "the line is longer than %d MiB", MaxLine>>20)
		}
		switch {
		case err == nil:
			if len(buf) == 0 {
				return part[:len(part)-1], nil
			}
			return append(buf, part[:len(part)-1]...), nil
		case err == bufio.ErrBufferFull:
			buf = append(buf, part...)
		case err == io.EOF:
			buf = append(buf, part...)
			if len(buf) == 0 {
				return nil, io.EOF
			}
			return buf, nil
		default:
			return nil, in.broken(err)
		}
	}
}

// checkText makes sure that b is UTF-8; line is the line that b begins on.
func (in *input) checkText(b []byte, line int) error {
	if utf8.Valid(b) {
		return nil
	}
	lineStart := 0
	for i := 0; i < len(b); {
		r, size := utf8.DecodeRune(b[i:])
		if r == utf8.RuneError && size <= 1 {
			return at(in.name, line, "store the file as UTF-8",
				"byte %d of the line (%#02x) is not valid UTF-8", i-lineStart+1, b[i])
		}
		if b[i] == '\n' {
			line++
			lineStart = i + 1
		}
		i += size
	}
	return nil
}

// linesReader reads JSON Lines: one object a line; blank lines are skipped.
type linesReader struct {
	*input
	buf  []byte
	read int // lines read
}

func (r *linesReader) close() error { return r.c.Close() }

func (r *linesReader) next() (Row, error) {
	for {
		r.line = r.read + 1
		line, err := r.readLine(r.buf)
		if err != nil {
			return nil, err
		}
		if cap(line) > cap(r.buf) && len(line) > r.r.Size() {
			r.buf = line[:0]
		}
		r.read++
		if len(bytes.TrimSpace(line)) == 0 {
			continue
		}
		if err := r.checkText(line, r.line); err != nil {
			return nil, err
		}
		row, err := r.row(line)
		if err != nil {
			return nil, err
		}
		r.rows++
		return row, nil
	}
}

// row parses one object whose first byte lies on the current line.
func (in *input) row(text []byte) (Row, error) {
	v, err := parseJSON(text)
	var mistake *syntaxError
	if errors.As(err, &mistake) {
		line, column := in.line, mistake.pos+1
		if i := bytes.LastIndexByte(text[:min(mistake.pos, len(text))], '\n'); i >= 0 {
			line += bytes.Count(text[:i+1], []byte("\n"))
			column = mistake.pos - i
		}
		return nil, at(in.name, line, hintRow, "invalid JSON at byte %d: %s", column, mistake.msg)
	}
	row, ok := v.(map[string]any)
	if !ok {
		return nil, at(in.name, in.line, "each row is an object with the column names as its keys",
			"the row is %s, not a JSON object", kindOf(v))
	}
	return row, nil
}

func kindOf(v any) string {
	switch v.(type) {
	case nil:
		return "null"
	case bool:
		return "a truth value"
	case string:
		return "a text"
	case []any:
		return "a list"
	case map[string]any:
		return "an object"
	}
	return "a number"
}

// arrayReader reads one JSON array of objects. A file that begins with an object
// instead is read as JSON Lines, which many publishers store as .json.
type arrayReader struct {
	*input
	began, ended bool
	buf          []byte
}

func (r *arrayReader) close() error { return r.c.Close() }

// newJSONReader looks at the first byte that is not blank.
func newJSONReader(in *input) (reader, error) {
	for {
		c, err := in.r.ReadByte()
		if err == io.EOF {
			return nil, at(in.name, in.line, "a JSON array of objects, or one object a line, is wanted", "the file is empty")
		}
		if err != nil {
			return nil, in.broken(err)
		}
		switch c {
		case '\n':
			in.line++
		case ' ', '\t', '\r':
		case '{':
			in.r.UnreadByte()
			return &linesReader{input: in, read: in.line - 1}, nil
		case '[':
			return &arrayReader{input: in}, nil
		default:
			return nil, at(in.name, in.line, "a JSON array of objects, or one object a line, is wanted",
				"the file begins with %q", rune(c))
		}
	}
}

func (r *arrayReader) next() (Row, error) {
	if r.ended {
		return nil, io.EOF
	}
	c, err := r.solid()
	if err != nil {
		return nil, err
	}
	if c == ']' {
		if err := r.end(); err != nil {
			return nil, err
		}
		return nil, io.EOF
	}
	if r.began {
		if c != ',' {
			return nil, at(r.name, r.line, hintRow, "a comma or ']' is wanted after row %d, not %q", r.rows, rune(c))
		}
		if c, err = r.solid(); err != nil {
			return nil, err
		}
	}
	r.began = true
	if c != '{' {
		return nil, at(r.name, r.line, "each row is an object with the column names as its keys",
			"row %d begins with %q, not with an object", r.rows, rune(c))
	}
	first := r.line
	if err := r.element(); err != nil {
		return nil, err
	}
	last := r.line
	r.line = first
	if err := r.checkText(r.buf, first); err != nil {
		return nil, err
	}
	row, err := r.row(r.buf)
	if err != nil {
		return nil, err
	}
	r.line = last
	r.rows++
	return row, nil
}

// solid reads the next byte that is not blank.
func (r *arrayReader) solid() (byte, error) {
	for {
		c, err := r.r.ReadByte()
		if err == io.EOF {
			return 0, at(r.name, r.line, "the file was cut; fetch or write it again", "the array ends without ']' after %d rows", r.rows)
		}
		if err != nil {
			return 0, r.broken(err)
		}
		switch c {
		case '\n':
			r.line++
		case ' ', '\t', '\r':
		default:
			return c, nil
		}
	}
}

// element collects the bytes of one object whose '{' has been read.
func (r *arrayReader) element() error {
	first := r.line
	r.buf = append(r.buf[:0], '{')
	depth, quoted, escape := 1, false, false
	for depth > 0 {
		c, err := r.r.ReadByte()
		if err == io.EOF {
			return at(r.name, first, "the file was cut; fetch or write it again", "the file ends within row %d", r.rows)
		}
		if err != nil {
			return r.broken(err)
		}
		if len(r.buf) >= MaxLine {
			return at(r.name, first, hintRow, "row %d is longer than %d MiB", r.rows, MaxLine>>20)
		}
		r.buf = append(r.buf, c)
		switch {
		case c == '\n':
			r.line++
			escape = false
		case escape:
			escape = false
		case quoted && c == '\\':
			escape = true
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{' || c == '[':
			depth++
		case c == '}' || c == ']':
			depth--
		}
	}
	return nil
}

// end makes sure that nothing but blanks follows the array.
func (r *arrayReader) end() error {
	r.ended = true
	for {
		c, err := r.r.ReadByte()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return r.broken(err)
		}
		switch c {
		case '\n':
			r.line++
		case ' ', '\t', '\r':
		default:
			return at(r.name, r.line, hintRow, "%q follows the end of the array", rune(c))
		}
	}
}
