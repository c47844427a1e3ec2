package dataset

import (
	"bytes"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/evalrun/evalrun/core"
)

// CSVOptions say how a table in text form is divided. The zero value means what
// the file's name says: a comma and double quotes for .csv, a tab and no quoting
// for .tsv.
type CSVOptions struct {
	// Comma divides the cells of a record; 0 means by name.
	Comma rune
	// Quote encloses a cell that holds the divider or a line end; 0 means by
	// name, and -1 that no character does.
	Quote rune
	// Columns names the cells where the file has no header line.
	Columns []string
}

// ParseCSVOptions reads "comma=;,quote=none,columns=a|b": settings divided by
// commas, in which tab, comma, semicolon, space and none stand for themselves.
func ParseCSVOptions(s string) (CSVOptions, error) {
	var o CSVOptions
	if strings.TrimSpace(s) == "" {
		return o, nil
	}
	for _, part := range strings.Split(s, ",") {
		key, value, ok := strings.Cut(strings.TrimSpace(part), "=")
		if !ok {
			return o, csvOption(part, "a setting is written name=value")
		}
		switch key {
		case "comma", "quote":
			r, err := csvRune(value)
			if err != nil {
				return o, csvOption(part, err.Error())
			}
			if key == "comma" {
				if r == -1 {
					return o, csvOption(part, "cells must be divided by something")
				}
				o.Comma = r
			} else {
				o.Quote = r
			}
		case "columns":
			o.Columns = strings.Split(value, "|")
			if err := uniqueColumns(o.Columns); err != nil {
				return o, csvOption(part, err.Error())
			}
		default:
			return o, csvOption(part, "the settings are comma, quote and columns")
		}
	}
	if o.Comma != 0 && o.Comma == o.Quote {
		return o, csvOption(s, "comma and quote are the same character")
	}
	return o, nil
}

func csvOption(part, why string) error {
	return &core.UserError{Message: fmt.Sprintf("csv option %q: %s", part, why), Hint: "for example comma=semicolon,quote=none"}
}

func csvRune(s string) (rune, error) {
	switch s {
	case "tab":
		return '\t', nil
	case "comma":
		return ',', nil
	case "semicolon":
		return ';', nil
	case "space":
		return ' ', nil
	case "none":
		return -1, nil
	}
	r, size := utf8.DecodeRuneInString(s)
	if size != len(s) || r == utf8.RuneError || r == '\n' || r == '\r' || r == 0 {
		return 0, fmt.Errorf("%q is not one character", s)
	}
	return r, nil
}

func uniqueColumns(names []string) error {
	seen := make(map[string]bool, len(names))
	for _, name := range names {
		if name == "" {
			return fmt.Errorf("a column has no name")
		}
		if seen[name] {
			return fmt.Errorf("the column %q stands twice", name)
		}
		seen[name] = true
	}
	return nil
}

// csvReader reads records as RFC 4180 has them, with any line end, and keeps
// every character of a quoted cell, carriage returns included. Unlike a
// spreadsheet it guesses no types.
type csvReader struct {
	*input
	comma, quote []byte // quote is nil where nothing quotes
	columns      []string
	read         int // lines read
	buf          []byte
	record       []byte
	cells        []string
}

func newCSVReader(in *input, tab bool, o CSVOptions) (reader, error) {
	comma, quote := o.Comma, o.Quote
	if comma == 0 {
		if comma = ','; tab {
			comma = '\t'
		}
	}
	if quote == 0 {
		if quote = '"'; tab {
			quote = -1
		}
	}
	r := &csvReader{input: in, comma: []byte(string(comma))}
	if quote > 0 {
		r.quote = []byte(string(quote))
	}
	if o.Columns != nil {
		r.columns = append([]string(nil), o.Columns...)
		return r, nil
	}
	header, err := r.fields()
	if err == io.EOF {
		return nil, at(in.name, 1, "the first line of a table holds the names of its columns", "the file is empty")
	}
	if err != nil {
		return nil, err
	}
	r.columns = append([]string(nil), header...)
	for i, name := range r.columns {
		if name == "" {
			// pandas writes its index under an empty name, and reads it back so.
			r.columns[i] = "Unnamed: " + strconv.Itoa(i)
		}
	}
	if err := uniqueColumns(r.columns); err != nil {
		return nil, at(in.name, 1, "give each column a name of its own in the first line", "%v", err)
	}
	return r, nil
}

func (r *csvReader) close() error { return r.c.Close() }

func (r *csvReader) next() (Row, error) {
	cells, err := r.fields()
	if err != nil {
		return nil, err
	}
	if len(cells) != len(r.columns) {
		return nil, at(r.name, r.line, "check the quoting of that record, or the divider",
			"the record has %d cells, the header has %d", len(cells), len(r.columns))
	}
	row := make(Row, len(cells)+2)
	for i, name := range r.columns {
		row[name] = cells[i]
	}
	r.rows++
	return row, nil
}

// fields reads one record that is not blank; r.line is then its first line.
func (r *csvReader) fields() ([]string, error) {
	r.record = r.record[:0]
	r.cells = r.cells[:0]
	first := r.read + 1
	open := false // inside quotes, at the end of record
	for {
		r.line = r.read + 1
		line, err := r.readLine(r.buf)
		if err == io.EOF && open {
			return nil, at(r.name, first, "close the cell with a quote", "the quoted cell that begins in this record is never closed")
		}
		if err != nil {
			return nil, err
		}
		if cap(line) > cap(r.buf) && len(line) > r.r.Size() {
			r.buf = line[:0]
		}
		r.read++
		if !open && len(bytes.TrimRight(line, "\r")) == 0 {
			first = r.read + 1
			continue
		}
		if open {
			r.record = append(r.record, '\n')
		}
		if len(r.record)+len(line) > MaxLine {
			return nil, at(r.name, first, hintRow, "the record is longer than %d MiB", MaxLine>>20)
		}
		r.record = append(r.record, line...)
		if r.quote != nil && r.unbalanced(line, &open) {
			continue
		}
		break
	}
	r.line = first
	if err := r.checkText(r.record, first); err != nil {
		return nil, err
	}
	return r.divide(bytes.TrimSuffix(r.record, []byte("\r")))
}

// unbalanced tells whether the record goes on after line: open says whether line
// began inside quotes and is set for the next one. Only a quote at the beginning
// of a cell opens one.
func (r *csvReader) unbalanced(line []byte, open *bool) bool {
	inside, begin := *open, !*open
	for i := 0; i < len(line); {
		rest := line[i:]
		switch {
		case inside && bytes.HasPrefix(rest, r.quote):
			i += len(r.quote)
			if bytes.HasPrefix(line[i:], r.quote) {
				i += len(r.quote) // a doubled quote
			} else {
				inside = false
			}
		case inside:
			i++
		case begin && bytes.HasPrefix(rest, r.quote):
			inside, begin = true, false
			i += len(r.quote)
		case bytes.HasPrefix(rest, r.comma):
			begin = true
			i += len(r.comma)
		default:
			begin = false
			i++
		}
	}
	*open = inside
	return inside
}

// divide splits a whole record into cells.
func (r *csvReader) divide(rec []byte) ([]string, error) {
	for {
		if r.quote == nil || !bytes.HasPrefix(rec, r.quote) {
			i := bytes.Index(rec, r.comma)
			if i < 0 {
				r.cells = append(r.cells, string(rec))
				return r.cells, nil
			}
			r.cells = append(r.cells, string(rec[:i]))
			rec = rec[i+len(r.comma):]
			continue
		}
		rec = rec[len(r.quote):]
		var cell []byte
		for {
			i := bytes.Index(rec, r.quote)
			if i < 0 {
				return nil, at(r.name, r.line, "close the cell with a quote", "cell %d of the record is not closed", len(r.cells)+1)
			}
			cell = append(cell, rec[:i]...)
			rec = rec[i+len(r.quote):]
			if !bytes.HasPrefix(rec, r.quote) {
				break
			}
			cell = append(cell, r.quote...)
			rec = rec[len(r.quote):]
		}
		r.cells = append(r.cells, string(cell))
		if len(rec) == 0 {
			return r.cells, nil
		}
		if !bytes.HasPrefix(rec, r.comma) {
			return nil, at(r.name, r.line, "double a quote that belongs to the text of a cell",
				"text follows the closing quote of cell %d", len(r.cells))
		}
		rec = rec[len(r.comma):]
	}
}
